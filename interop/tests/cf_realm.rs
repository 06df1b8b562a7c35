//! The realm `cf:`: one-time codes from UAA, the consent of Cloud Controller, and what users read who
//! do not get in.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::time::Duration;

use devcell::certs::{Authority, Request};
use devcell::cloud_controller::{Process, State};
use devcell::fault::Fault;
use devcell::rig::{CcAccess, Login};
use devcell::uaa::{BasicAuth, TokenShape, User};
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::json;

const INVALID_CODE: (&str, &str) = (
    "invalid_code",
    "the one-time code is wrong, has expired or was used before; `cf ssh-code` gives a new one",
);
const SSH_DISABLED: (&str, &str) = (
    "ssh_disabled",
    "SSH is disabled for the app (`cf enable-ssh`), its space (`cf allow-space-ssh`) or the whole \
     platform (its operator)",
);
const NO_ROLE: (&str, &str) = (
    "no_role",
    "you are no developer in the app's space, or its space or organization is suspended",
);
const NO_SUCH_PROCESS: (&str, &str) = (
    "no_such_process",
    "there is no such process; the user name is cf:<process guid>/<instance index>",
);
const TOKEN_REFUSED: (&str, &str) = (
    "token_refused",
    "Cloud Controller does not accept your login; log in again (`cf login`) for a new code",
);
const CLIENT_REJECTED: (&str, &str) = (
    "uaa_client_rejected",
    "UAA does not accept the SSH proxy, or the code is another client's; tell your operator",
);
const NOT_FOUND: (&str, &str) = (
    "instance_not_found",
    "there is no such app instance; check process guid and index",
);
const NOT_RUNNING: (&str, &str) = (
    "instance_not_running",
    "the app instance is not running; start it and try again",
);

async fn cell() -> Cell {
    cell_with(options()).await
}

async fn cell_with(options: CellOptions) -> Cell {
    let options = CellOptions {
        cf_auth: true,
        ..options
    };
    Cell::start(options).await.unwrap()
}

/// OpenSSH does not get in as `login`, its user reads why, and the log says the same. `times` is how
/// often: a final refusal stands in the banner and in the DISCONNECT.
async fn is_refused_as(cell: &Cell, login: &Login, (code, text): (&str, &str), times: usize) {
    let mark = cell.proxy().mark();
    let output = ssh(cell, login, "true").await;
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{code}");
    let expected = format!("{text} [{code}]");
    assert_eq!(shown.matches(&expected).count(), times, "{code}: {shown}");
    let failed = cell
        .proxy()
        .wait_for_log_after(mark, "authentication-failed");
    let line = failed.await.unwrap();
    assert!(line.contains(&format!("\"code\":\"{code}\"")), "{line}");
}

#[tokio::test]
async fn openssh_gets_in_with_a_fresh_code() {
    for cc_access in [CcAccess::Http, CcAccess::Https, CcAccess::MutualTls] {
        let cell = cell_with(CellOptions {
            cc_access,
            ..options()
        })
        .await;
        for index in 0..2 {
            let login = cell.cf_login(index).unwrap();
            let output = ssh(&cell, &login, "echo instance $CF_INSTANCE_INDEX").await;
            let expected = format!("instance {index}\n");
            assert_eq!(output.stdout, expected.as_bytes(), "{output:?}");
        }
        let line = cell
            .proxy()
            .wait_for_log("cf-authenticate.app-access-success")
            .await
            .unwrap();
        assert!(line.contains("developer@example.com"), "{line}");
        assert!(line.contains(&cell.developer().id), "{line}");
        let events = cell.cloud_controller().audit_events();
        assert_eq!(events.len(), 2);
        assert_eq!(events[1].kind, "audit.app.ssh-authorized");
        assert_eq!(events[1].actor, cell.developer().id);
        assert_eq!(events[1].index, "1");
        cell.stop().await;
    }
}

/// Also when the one before is used up, and beside the other realm.
#[tokio::test]
async fn each_code_opens_once() {
    let cell = cell().await;
    let login = cell.cf_login(0).unwrap();
    assert_eq!(enter(&cell, &login).await, Ok(()));
    is_refused_as(&cell, &login, INVALID_CODE, 1).await;
    assert_eq!(enter(&cell, &cell.cf_login(0).unwrap()).await, Ok(()));
    assert_eq!(enter(&cell, &cell.logins()[0]).await, Ok(()));
    cell.stop().await;
}

#[tokio::test]
async fn codes_that_are_wrong_or_old_are_refused_and_nobody_else_is_asked() {
    let cell = cell().await;
    let wrong = Login {
        password: "wrong".to_owned(),
        ..cell.cf_login(0).unwrap()
    };
    is_refused_as(&cell, &wrong, INVALID_CODE, 1).await;
    // The other realm's password is no code.
    let other = Login {
        password: cell.logins()[0].password.clone(),
        ..wrong
    };
    is_refused_as(&cell, &other, INVALID_CODE, 1).await;
    cell.uaa()
        .update(|state| state.code_lifetime = Duration::ZERO);
    is_refused_as(&cell, &cell.cf_login(0).unwrap(), INVALID_CODE, 1).await;
    assert_eq!(cell.uaa().calls().len(), 3);
    assert!(cell.cloud_controller().calls().is_empty());
    assert!(cell.bbs().calls().is_empty());
    cell.stop().await;
}

/// A code is a password for anybody who guesses: a good one after a wrong one opens.
#[tokio::test]
async fn a_wrong_code_may_be_corrected() {
    let cell = cell().await;
    let login = cell.cf_login(0).unwrap();
    let mut raw = Raw::served(cell.proxy_address()).await;
    assert_eq!(raw.try_password(&login.user, "wrong").await, Ok(false));
    assert_eq!(
        raw.try_password(&login.user, &login.password).await,
        Ok(true)
    );
    assert_eq!(cell.cloud_controller().calls().len(), 1);
    cell.stop().await;
}

#[tokio::test]
async fn cloud_controllers_refusals_are_told_to_users() {
    let cell = cell().await;
    let mut bystander = Bystander::enter(&proxy_door(&cell)).await;
    let good = cell.cloud_controller().update(|state| state.clone());
    let process: fn(&mut State) -> &mut Process = |state| &mut state.processes[0];
    type Change<'a> = &'a dyn Fn(&mut State);
    let changes: [(Change<'_>, (&str, &str)); 6] = [
        (&|state| process(state).app_enable_ssh = false, SSH_DISABLED),
        (
            &|state| process(state).space_allow_ssh = false,
            SSH_DISABLED,
        ),
        (&|state| state.allow_app_ssh_access = false, SSH_DISABLED),
        (&|state| process(state).developers.clear(), NO_ROLE),
        (&|state| process(state).suspended = true, NO_ROLE),
        (&|state| state.processes.clear(), NO_SUCH_PROCESS),
    ];
    for (change, reason) in changes {
        cell.cloud_controller().update(|state| change(state));
        cell.cloud_controller().forget_calls();
        is_refused_as(&cell, &cell.cf_login(0).unwrap(), reason, 2).await;
        assert_eq!(cell.cloud_controller().calls().len(), 1, "{}", reason.0);
        cell.cloud_controller()
            .update(|state| *state = good.clone());
        bystander.is_undisturbed().await;
    }

    // A token that is not good any more, and one that is not good enough.
    cell.uaa()
        .update(|state| state.token_lifetime = Duration::ZERO);
    is_refused_as(&cell, &cell.cf_login(0).unwrap(), TOKEN_REFUSED, 2).await;
    cell.uaa()
        .update(|state| state.token_lifetime = Duration::from_secs(60));
    let mut reader = cell.developer().clone();
    reader.scopes.retain(|scope| !scope.ends_with(".write"));
    let login = Login {
        password: cell.uaa().new_code(&reader).unwrap(),
        ..cell.cf_login(0).unwrap()
    };
    is_refused_as(&cell, &login, NO_ROLE, 2).await;

    // Somebody else from another space, and an admin.
    let login_of = |user: &User| Login {
        password: cell.uaa().new_code(user).unwrap(),
        ..cell.cf_login(0).unwrap()
    };
    let stranger = User::new("a-guid", "stranger@example.com");
    is_refused_as(&cell, &login_of(&stranger), NO_ROLE, 2).await;
    assert_eq!(enter(&cell, &login_of(&stranger.admin())).await, Ok(()));
    bystander.all_is_well().await;
    cell.stop().await;
}

#[tokio::test]
async fn instances_that_cannot_be_entered_are_named() {
    let cell = cell().await;
    is_refused_as(&cell, &cell.cf_login(7).unwrap(), NOT_FOUND, 2).await;
    cell.bbs()
        .update(|state| state.actual[1].state = "CRASHED".to_owned());
    is_refused_as(&cell, &cell.cf_login(1).unwrap(), NOT_RUNNING, 2).await;
    // Cloud Controller was asked, and audited the index as it was typed.
    let indices: Vec<String> = cell
        .cloud_controller()
        .audit_events()
        .into_iter()
        .map(|event| event.index)
        .collect();
    assert_eq!(indices, ["7", "1"]);
    cell.stop().await;
}

#[tokio::test]
async fn an_operators_wrong_secret_is_not_blamed_on_the_code() {
    let cell = cell().await;
    cell.uaa().update(|state| state.secret = "other".to_owned());
    let login = cell.cf_login(0).unwrap();
    is_refused_as(&cell, &login, CLIENT_REJECTED, 2).await;
    // It was not used up.
    cell.uaa()
        .update(|state| state.secret = "devcell-secret".to_owned());
    assert_eq!(enter(&cell, &login).await, Ok(()));
    cell.stop().await;
}

#[tokio::test]
async fn secrets_of_any_characters_work_in_both_modes_of_uaa() {
    for secret in ["a%41b+c", "50% + more & more = ä:/?#", "%", "+"] {
        let cell = cell_with(CellOptions {
            uaa_secret: secret.to_owned(),
            ..options()
        })
        .await;
        for basic in [BasicAuth::Decoded, BasicAuth::Raw] {
            cell.uaa().update(|state| state.basic = basic);
            let login = cell.cf_login(0).unwrap();
            assert_eq!(enter(&cell, &login).await, Ok(()), "{secret}, {basic:?}");
        }
        cell.stop().await;
    }
}

#[tokio::test]
async fn tokens_that_tell_nothing_open_as_well() {
    let cell = cell().await;
    let mut bystander = Bystander::enter(&proxy_door(&cell)).await;
    for shape in [
        TokenShape::Opaque,
        TokenShape::Exactly("a.b.c".to_owned()),
        TokenShape::Exactly("..".to_owned()),
        TokenShape::Exactly("eyJ.bnVsbA.x".to_owned()),
        TokenShape::Exactly("x".repeat(8000)),
    ] {
        cell.uaa().update(|state| state.token_shape = shape);
        let mark = cell.proxy().mark();
        assert_eq!(enter(&cell, &cell.cf_login(0).unwrap()).await, Ok(()));
        let line = cell.proxy().wait_for_log_after(mark, "app-access-success");
        let line = line.await.unwrap();
        assert!(line.contains(r#""principal":"unknown""#), "{line}");
        assert!(line.contains(r#""username":"unknown""#), "{line}");
    }
    // These cannot be shown to anybody.
    for token in ["", "with space", "line\nbreak"] {
        let shape = TokenShape::Exactly(token.to_owned());
        cell.uaa().update(|state| state.token_shape = shape);
        let told = enter(&cell, &cell.cf_login(0).unwrap()).await.unwrap_err();
        assert!(told.ends_with("[platform_unavailable]"), "{told}");
    }
    bystander.all_is_well().await;
    cell.stop().await;
}

/// One call for each accepted password, since each is audited; also where a connection that was kept
/// turns out to be dead.
#[tokio::test]
async fn cloud_controller_is_asked_once_for_each_password() {
    let cell = cell().await;
    for logins in 1..=3 {
        assert_eq!(enter(&cell, &cell.cf_login(0).unwrap()).await, Ok(()));
        assert_eq!(cell.cloud_controller().audit_events().len(), logins);
        cell.cloud_controller().start_again().await.unwrap();
        cell.uaa().start_again().await.unwrap();
    }
    assert_eq!(cell.cloud_controller().calls().len(), 3);
    assert_eq!(cell.uaa().calls().len(), 3);
    let call = cell.cloud_controller().calls().remove(0);
    let path = format!("/internal/apps/{}/ssh_access/0", cell.app_guid());
    assert_eq!((&*call.method, &call.path), ("GET", &path));
    assert!(call.header("authorization").starts_with("bearer "));
    cell.stop().await;
}

#[tokio::test]
async fn unverified_certificates_are_taken_only_when_told() {
    let stranger = Authority::new("stranger").unwrap();
    let request = Request::server(&["localhost"]);
    let identity = stranger.issue(&request).unwrap();
    for skip in [false, true] {
        let cell = cell_with(CellOptions {
            proxy_config: json!({
                "communication_timeout": "1s", "login_timeout": "5s", "skip_cert_verify": skip,
            }),
            ..options()
        })
        .await;
        cell.uaa().show(&identity).unwrap();
        cell.cloud_controller().show(&identity, None).unwrap();
        let entered = enter(&cell, &cell.cf_login(0).unwrap()).await;
        assert_eq!(entered.is_ok(), skip, "{entered:?}");
        assert_eq!(cell.uaa().calls().len(), usize::from(skip));
        cell.stop().await;
    }
}

/// Codes, tokens and the client's secret are nobody's business, at any level and whatever fails.
#[tokio::test]
async fn no_log_shows_a_code_a_token_or_the_clients_secret() {
    let cell = cell_with(CellOptions {
        uaa_secret: "marker-client-secret-2f7a".to_owned(),
        ..options()
    })
    .await;
    let token = "marker-token-81cd";
    let mut secrets = vec![cell.logins()[0].password.clone()];
    secrets.push("marker-client-secret-2f7a".to_owned());
    secrets.push(token.to_owned());
    cell.uaa().update(|state| {
        state.token_shape = TokenShape::Exactly(token.to_owned());
    });
    let good = cell.cf_login(0).unwrap();
    assert_eq!(enter(&cell, &good).await, Ok(()));
    assert!(enter(&cell, &good).await.is_err());
    secrets.push(good.password.clone());
    let no_switch = cell.cf_login(0).unwrap();
    cell.cloud_controller()
        .update(|state| state.allow_app_ssh_access = false);
    assert!(enter(&cell, &no_switch).await.is_err());
    secrets.push(no_switch.password);
    for fault in [
        Fault::Garbage,
        Fault::Truncated,
        Fault::Status(500),
        Fault::Hang,
    ] {
        let login = cell.cf_login(0).unwrap();
        cell.uaa().fail_next(1, fault.clone());
        assert!(enter(&cell, &login).await.is_err());
        secrets.push(login.password);
        let login = cell.cf_login(0).unwrap();
        cell.cloud_controller().fail_next(1, fault);
        assert!(enter(&cell, &login).await.is_err());
        secrets.push(login.password);
    }
    let call = cell.uaa().calls().remove(0);
    let basic = call.header("authorization").strip_prefix("Basic ");
    secrets.push(basic.unwrap().to_owned());
    // Lines come in order: with this one, all that there will be are here.
    let last = as_user(&good, "nobody");
    assert!(enter(&cell, &last).await.is_err());
    cell.proxy().wait_for_log("unknown user").await.unwrap();
    let log = cell.proxy().log();
    assert!(log.contains("fetching-app-failed"));
    for secret in &secrets {
        assert!(!log.contains(secret), "{secret}");
    }
    cell.stop().await;
}
