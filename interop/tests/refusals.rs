//! Users who do not get in: what they are told, what the log says, and that nobody else notices.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::net::Ipv4Addr;
use std::process::Output;
use std::time::Duration;

use devcell::bbs::messages::{BbsError, NetInfo};
use devcell::bbs::{Fault, State};
use devcell::keys::{KeyKind, SshKey};
use devcell::rig::Login;
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::{Value, json};
use ssh_proto::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const RUNNING_PORT: u32 = 2222;

/// Logs in with a good password; gives banners and the end that it came to.
async fn refused(cell: &Cell, login: &Login) -> (Vec<String>, u32, String) {
    let mut raw = Raw::served(cell.proxy_address()).await;
    let error = raw
        .try_password(&login.user, &login.password)
        .await
        .unwrap_err();
    let Error::Disconnected {
        reason,
        description,
    } = error
    else {
        panic!("{}: {error}", login.user);
    };
    (raw.banners.clone(), reason, description)
}

/// The login of `login` must be refused for `code`, in the words of the user and in those of the log.
async fn is_refused_as(cell: &Cell, login: &Login, code: &str, text: &str) {
    let mark = cell.proxy().mark();
    let before = metrics::refusals(cell, code).await;
    let (banners, reason, description) = refused(cell, login).await;
    assert_eq!(metrics::refusals(cell, code).await, before + 1.0, "{code}");
    assert_eq!(reason, 11, "{code}: {description}");
    assert_eq!(description, format!("{text} [{code}]"));
    assert_eq!(banners, [format!("{description}\n")]);
    let line = cell
        .proxy()
        .wait_for_log_after(mark, "authentication-failed")
        .await
        .unwrap();
    assert!(line.contains(&format!("\"code\":\"{code}\"")), "{line}");
}

const NOT_FOUND: (&str, &str) = (
    "instance_not_found",
    "there is no such app instance; check process guid and index",
);
const UNAVAILABLE: (&str, &str) = (
    "platform_unavailable",
    "a service of the platform does not answer; try again later",
);
const NO_ROUTE: (&str, &str) = (
    "no_ssh_route",
    "the app was started without SSH; enable it and restart the app",
);
const NOT_RUNNING: (&str, &str) = (
    "instance_not_running",
    "the app instance is not running; start it and try again",
);
const NO_PORT: (&str, &str) = (
    "no_ssh_port",
    "the app instance has no SSH port; restart the app",
);
const UNREACHABLE: (&str, &str) = (
    "instance_unreachable",
    "the app instance cannot be reached; try again",
);
const HOST_KEY: (&str, &str) = (
    "instance_host_key",
    "the app instance did not prove its identity (host key)",
);
const HANDSHAKE: (&str, &str) = (
    "instance_handshake",
    "the SSH daemon of the app instance does not answer as it should",
);
const AMBIGUOUS: (&str, &str) = (
    "instance_ambiguous",
    "the app instance is being moved; try again in a minute",
);

/// The route of the app as it is, with `changes` on top.
fn change_route(state: &mut State, changes: &Value) {
    let desired = &mut state.desired[0];
    let text = &desired.routes.as_ref().unwrap().routes["diego-ssh"];
    let mut route: Value = serde_json::from_slice(text).unwrap();
    let keys = route.as_object_mut().unwrap();
    keys.extend(changes.as_object().unwrap().clone());
    desired.set_ssh_route(&route);
}

#[tokio::test]
async fn a_wrong_password_may_be_corrected_and_asks_nobody() {
    let cell = Cell::start(options()).await.unwrap();
    let login = &cell.logins()[0];
    let mut raw = Raw::served(cell.proxy_address()).await;
    for wrong in ["wrong", "", &format!("{}x", login.password)] {
        raw.banners.clear();
        assert_eq!(raw.try_password(&login.user, wrong).await, Ok(false));
        let text = "the user name or the password is not right [invalid_credentials]\n";
        assert_eq!(raw.banners, [text]);
    }
    assert!(cell.bbs().calls().is_empty());
    let line = cell
        .proxy()
        .wait_for_log("authentication-failed")
        .await
        .unwrap();
    assert!(line.contains(r#""code":"invalid_credentials""#), "{line}");
    assert_eq!(
        raw.try_password(&login.user, &login.password).await,
        Ok(true)
    );
    let finished = raw.run(0, "echo in").await.unwrap();
    assert_eq!(finished.stdout, b"in\n");
    cell.stop().await;
}

#[tokio::test]
async fn six_wrong_passwords_are_enough() {
    let cell = Cell::start(options()).await.unwrap();
    let login = &cell.logins()[0];
    let mut raw = Raw::served(cell.proxy_address()).await;
    for _ in 0..5 {
        assert_eq!(raw.try_password(&login.user, "wrong").await, Ok(false));
    }
    let end = raw.try_password(&login.user, "wrong").await;
    let Err(Error::Disconnected {
        reason,
        description,
    }) = end
    else {
        panic!("{end:?}");
    };
    assert_eq!(
        (reason, description.as_str()),
        (2, "too many authentication failures")
    );
    cell.stop().await;
}

#[tokio::test]
async fn a_user_of_no_realm_looks_like_a_wrong_password_and_asks_nobody() {
    let cell = Cell::start(options()).await.unwrap();
    let good = &cell.logins()[0];
    let guid = cell.process_guid();
    let names = [
        "cf:16b8a1a0-0b2f-4f3c-9f57-0123456789ab/0".to_owned(),
        format!("cf:{guid}/0"),
        format!("goo:{guid}/0"),
        format!("diego:{guid}"),
        format!("diego:{guid}/-1"),
        format!("diego:{guid}/2147483648"),
        format!("diego:{guid}/4294967296"),
        format!(" diego:{guid}/0"),
        format!("diego:{guid}/0\n"),
        format!("diego:{}/0", "x".repeat(30_000)),
        "\u{1b}[2J\u{7}".to_owned(),
        "root".to_owned(),
        String::new(),
    ];
    let mut wrong = Raw::served(cell.proxy_address()).await;
    assert_eq!(wrong.try_password(&good.user, "wrong").await, Ok(false));
    for name in names {
        let mut raw = Raw::served(cell.proxy_address()).await;
        let tried = raw.try_password(&name, &good.password).await;
        assert_eq!(tried, Ok(false), "{name:?}");
        if name.len() <= 256 && !name.contains(char::is_control) {
            assert_eq!(raw.banners, wrong.banners, "{name:?}");
        }
    }
    assert!(cell.bbs().calls().is_empty());
    cell.stop().await;
}

#[tokio::test]
async fn instances_that_cannot_be_entered_are_named_to_their_users() {
    let cell = Cell::start(options()).await.unwrap();
    let mut bystander = Bystander::enter(&proxy_door(&cell)).await;
    let guid = cell.process_guid().to_owned();
    let login = cell.logins()[1].clone();
    let good = cell.bbs().update(|state| state.clone());
    let key = |pem: &str| json!({"private_key": pem});
    let other = SshKey::generate(KeyKind::Ed25519).unwrap();

    for user in ["diego:no-such-guid/0", &format!("diego:{guid}/7")] {
        let login = as_user(&login, user);
        is_refused_as(&cell, &login, NOT_FOUND.0, NOT_FOUND.1).await;
        bystander.is_undisturbed().await;
    }

    type Change<'a> = Box<dyn Fn(&mut State) + 'a>;
    let changes: [(Change<'_>, (&str, &str)); 13] = [
        (Box::new(|s| s.desired.clear()), NOT_FOUND),
        (Box::new(|s| s.desired[0].routes = None), NO_ROUTE),
        (
            Box::new(|s| s.desired[0].set_ssh_route(&Value::Null)),
            NO_ROUTE,
        ),
        (
            Box::new(|s| s.desired[0].set_ssh_route(&json!({"container_port": "x"}))),
            NO_ROUTE,
        ),
        (
            Box::new(|s| s.actual[1].state = "CLAIMED".to_owned()),
            NOT_RUNNING,
        ),
        (
            Box::new(|s| s.actual[1].state = "CRASHED".to_owned()),
            NOT_RUNNING,
        ),
        (
            Box::new(|s| s.actual[1].net_info = Some(NetInfo::plain(8080, 1))),
            NO_PORT,
        ),
        (Box::new(|s| s.actual[1].net_info = None), NO_PORT),
        (
            Box::new(|s| {
                let twin = s.actual[1].clone();
                s.actual.push(twin);
            }),
            AMBIGUOUS,
        ),
        (
            Box::new(|s| {
                let pin = other.fingerprint_sha256_padded();
                change_route(s, &json!({"host_256_fingerprint": pin}));
            }),
            HOST_KEY,
        ),
        (
            Box::new(|s| change_route(s, &json!({"host_256_fingerprint": "nonsense"}))),
            HOST_KEY,
        ),
        (
            Box::new(|s| change_route(s, &key(other.private_pem()))),
            HANDSHAKE,
        ),
        (
            Box::new(|s| change_route(s, &key("not a key at all"))),
            HANDSHAKE,
        ),
    ];
    for (change, (code, text)) in changes {
        cell.bbs().update(|state| change(state));
        is_refused_as(&cell, &login, code, text).await;
        cell.bbs().update(|state| *state = good.clone());
        bystander.all_is_well().await;
    }
    cell.stop().await;
}

#[tokio::test]
async fn daemons_that_are_down_or_something_else_are_named_to_their_users() {
    let cell = Cell::start(options()).await.unwrap();
    let mut bystander = Bystander::enter(&proxy_door(&cell)).await;
    let login = cell.logins()[1].clone();

    cell.daemon(1).unwrap().kill();
    is_refused_as(&cell, &login, UNREACHABLE.0, UNREACHABLE.1).await;
    bystander.all_is_well().await;

    // Something else got the port: a web server, and one that hangs up.
    for words in [&b"HTTP/1.1 400 Bad Request\r\n\r\n<html>\n"[..], b""] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(words).await.unwrap();
        });
        cell.bbs().update(|state| {
            state.actual[1].net_info = Some(NetInfo::plain(RUNNING_PORT, port));
        });
        is_refused_as(&cell, &login, HANDSHAKE.0, HANDSHAKE.1).await;
        server.await.unwrap();
        bystander.all_is_well().await;
    }

    // The real one again.
    cell.daemon(1).unwrap().restart().await.unwrap();
    let port = cell.daemon_address(1).unwrap().port();
    cell.bbs().update(|state| {
        state.actual[1].net_info = Some(NetInfo::plain(RUNNING_PORT, port));
    });
    let mut raw = Raw::served(cell.proxy_address()).await;
    assert_eq!(
        raw.try_password(&login.user, &login.password).await,
        Ok(true)
    );
    cell.stop().await;
}

/// The time of a call with its retries ends before the login's: users learn why they have to wait.
#[tokio::test]
async fn a_bbs_in_trouble_is_named_to_users_before_their_login_times_out() {
    let cell = Cell::start(options()).await.unwrap();
    let mut bystander = Bystander::enter(&proxy_door(&cell)).await;
    let login = cell.logins()[0].clone();
    let faults = [
        Fault::Status(503),
        Fault::NotProtobuf,
        Fault::RouterError("unknown_route".to_owned()),
        Fault::Garbage,
        Fault::Truncated,
        Fault::HugeBody(64 * 1024 * 1024),
        Fault::CloseAfterRequest,
        Fault::Hang,
        Fault::Slow(Duration::from_secs(60)),
        Fault::Redirect {
            status: 302,
            to: "https://127.0.0.1:1/".to_owned(),
        },
        Fault::ErrorInMessage {
            kind: BbsError::INVALID_REQUEST,
            message: "no".to_owned(),
        },
    ];
    for fault in faults {
        cell.bbs().set_fault(fault.clone());
        cell.bbs().forget_calls();
        is_refused_as(&cell, &login, UNAVAILABLE.0, UNAVAILABLE.1).await;
        let calls = cell.bbs().calls().len();
        let most = if matches!(fault, Fault::ErrorInMessage { .. }) {
            1
        } else {
            3
        };
        assert!((1..=most).contains(&calls), "{fault:?}: {calls} calls");
        bystander.is_undisturbed().await;
        cell.bbs().set_fault(Fault::None);
        bystander.all_is_well().await;
    }

    // New connections meet the next faults: those that are open are closed first.
    for fault in [Fault::CloseAfterAccept, Fault::HangBeforeTls] {
        cell.bbs().start_again().await.unwrap();
        cell.bbs().set_fault(fault);
        is_refused_as(&cell, &login, UNAVAILABLE.0, UNAVAILABLE.1).await;
        cell.bbs().set_fault(Fault::None);
        bystander.all_is_well().await;
    }

    cell.bbs().stop().await;
    is_refused_as(&cell, &login, UNAVAILABLE.0, UNAVAILABLE.1).await;
    bystander.is_undisturbed().await;
    cell.bbs().start_again().await.unwrap();
    bystander.all_is_well().await;

    // A hiccup is not noticed at all.
    cell.bbs().fail_next(1, Fault::Status(503));
    bystander.all_is_well().await;
    cell.stop().await;
}

/// What OpenSSH's users see.
#[tokio::test]
async fn openssh_shows_the_reason() {
    let cell = Cell::start(options()).await.unwrap();
    let login = cell.logins()[0].clone();
    let good = ssh(&cell, &login, "echo in").await;
    assert_eq!(good.stdout, b"in\n", "{}", text(&good));

    let wrong = Login {
        password: "wrong".to_owned(),
        ..login.clone()
    };
    let output = ssh(&cell, &wrong, "true").await;
    assert_ne!(output.status.code(), Some(0));
    assert!(
        text(&output).contains("Permission denied"),
        "{}",
        text(&output)
    );

    let unknown = as_user(&login, "diego:no-such-guid/0");
    let output = ssh(&cell, &unknown, "true").await;
    assert_eq!(output.status.code(), Some(255));
    let expected = format!("{} [{}]", NOT_FOUND.1, NOT_FOUND.0);
    // Once in the banner and once in the DISCONNECT.
    assert_eq!(
        text(&output).matches(&expected).count(),
        2,
        "{}",
        text(&output)
    );

    cell.bbs().stop().await;
    let output = ssh(&cell, &login, "true").await;
    let expected = format!("{} [{}]", UNAVAILABLE.1, UNAVAILABLE.0);
    assert_eq!(
        text(&output).matches(&expected).count(),
        2,
        "{}",
        text(&output)
    );
    cell.stop().await;
}

/// Who dawdles is cut at `login_timeout`, however far the login has come and whatever is sent.
#[tokio::test]
async fn the_login_deadline_is_kept_at_every_stage() {
    let cell = Cell::start(CellOptions {
        proxy_config: json!({
            "communication_timeout": "30s", "login_timeout": "2s", "metrics_address": "127.0.0.1:0",
        }),
        ..options()
    })
    .await
    .unwrap();
    let mut bystander = Bystander::enter(&proxy_door(&cell)).await;
    let late = (11, "timeout: login takes too long".to_owned());
    let address = cell.proxy_address();

    let login = cell.logins()[0].clone();
    let in_the_clear = async |bytes: &[u8]| {
        let packets = say_in_the_clear(address, bytes).await;
        read_disconnect(packets.last().unwrap())
    };
    let wrong_password = async {
        let mut raw = Raw::served(address).await;
        assert_eq!(raw.try_password(&login.user, "wrong").await, Ok(false));
        raw.disconnect().await
    };
    let ends = tokio::join!(
        in_the_clear(b""),
        in_the_clear(b"SSH-2.0-"),
        in_the_clear(b"SSH-2.0-half of a packet\r\n\0\0"),
        async { Raw::keyed(address).await.disconnect().await },
        async { Raw::served(address).await.disconnect().await },
        wrong_password,
    );
    let ends: [_; 6] = ends.into();
    for (stage, end) in ends.iter().enumerate() {
        assert_eq!(*end, late, "stage {stage}");
    }

    // The instance takes the connection and never says a word.
    let mark = cell.proxy().mark();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let good = cell.bbs().update(|state| {
        let good = state.clone();
        state.actual[1].net_info = Some(NetInfo::plain(RUNNING_PORT, port));
        good
    });
    let (banners, reason, description) = refused(&cell, &cell.logins()[1]).await;
    assert_eq!((reason, description), late);
    assert!(banners.is_empty());
    let failed = cell
        .proxy()
        .wait_for_log_after(mark, "authentication-failed");
    let line = failed.await.unwrap();
    assert!(line.contains(r#""code":"login_timeout""#), "{line}");
    assert_eq!(metrics::refusals(&cell, "login_timeout").await, 1.0);
    cell.bbs().update(|state| *state = good);

    // So does the BBS, whose own limit is further away.
    cell.bbs().set_fault(Fault::Hang);
    let (_, reason, description) = refused(&cell, &login).await;
    assert_eq!((reason, description), late);
    cell.bbs().set_fault(Fault::None);

    bystander.all_is_well().await;
    cell.stop().await;
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
