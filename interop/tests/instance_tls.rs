//! Instances that are reached by TLS: the certificate proves which instance it is, whatever is wrong
//! with it keeps the user out, and nothing goes on in clear unless the operator wants that.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use devcell::rig::{ClientCertificate, InstanceCertificate, InstanceTls};
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::{Value, json};
use ssh_proto::Error;

const CERTIFICATE: (&str, &str) = (
    "instance_certificate",
    "the app instance did not prove its identity (certificate)",
);

/// A cell whose instances have TLS fronts.
async fn cell(tls: InstanceTls, proxy_config: Value) -> Cell {
    let mut options = CellOptions {
        instance_tls: Some(tls),
        ..options()
    };
    let keys = options.proxy_config.as_object_mut().unwrap();
    keys.extend(proxy_config.as_object().unwrap().clone());
    Cell::start(options).await.unwrap()
}

/// What a user is told who does not get in.
async fn refused(cell: &Cell) -> String {
    let login = &cell.logins()[0];
    let mut raw = Raw::served(cell.proxy_address()).await;
    match raw.try_password(&login.user, &login.password).await {
        Err(Error::Disconnected { description, .. }) => description,
        other => panic!("{other:?}"),
    }
}

/// The login is refused for `reason`, user and log agree on it, and the daemon never heard of it.
async fn is_refused_for(cell: &Cell, (code, text): (&str, &str)) {
    let daemon = cell.daemon(0).unwrap();
    let before = daemon.mark();
    assert_eq!(refused(cell).await, format!("{text} [{code}]"));
    let line = cell.proxy().wait_for_log("authentication-failed").await;
    let line = line.unwrap();
    assert!(line.contains(&format!("\"code\":\"{code}\"")), "{line}");
    assert_eq!(daemon.mark(), before, "{}", daemon.log());
}

#[tokio::test]
async fn an_instance_with_its_own_certificate_is_entered() {
    let cell = cell(InstanceTls::default(), json!({})).await;
    let mut user = Bystander::enter(&proxy_door(&cell)).await;
    user.all_is_well().await;
    // Only TLS leads in: BBS names no other port.
    let ports = cell.bbs().update(|state| state.actual[0].net_info.clone());
    let port = ports.unwrap().ports[0];
    assert_eq!(port.host_port, 0);
    assert_eq!(
        port.host_tls_proxy_port,
        u32::from(cell.front_address(0).unwrap().port())
    );
    cell.stop().await;
}

#[tokio::test]
async fn an_instance_that_asks_for_no_certificate_is_entered_without_one() {
    let tls = InstanceTls {
        requires_client: false,
        client: ClientCertificate::Missing,
        ..InstanceTls::default()
    };
    let cell = cell(tls, json!({})).await;
    let mut user = Bystander::enter(&proxy_door(&cell)).await;
    user.all_is_well().await;
    cell.stop().await;
}

/// Also where a port without TLS is open: the daemon's key alone would have let the user in.
#[tokio::test]
async fn a_certificate_that_proves_nothing_keeps_users_out() {
    for certificate in [
        InstanceCertificate::OtherInstance,
        InstanceCertificate::Expired,
        InstanceCertificate::OtherAuthority,
    ] {
        for plain_port in [false, true] {
            let tls = InstanceTls {
                certificate,
                plain_port,
                ..InstanceTls::default()
            };
            let cell = cell(tls, json!({})).await;
            is_refused_for(&cell, CERTIFICATE).await;
            cell.stop().await;
        }
    }
}

#[tokio::test]
async fn a_proxy_that_the_instance_does_not_let_in_keeps_users_out() {
    for client in [ClientCertificate::OtherName, ClientCertificate::Missing] {
        let tls = InstanceTls {
            client,
            plain_port: true,
            ..InstanceTls::default()
        };
        let cell = cell(tls, json!({})).await;
        let daemon = cell.daemon(0).unwrap();
        let before = daemon.mark();
        let text = refused(&cell).await;
        // TLS 1.3 tells a client of this only once it believes to be in.
        let codes = ["[instance_certificate]", "[instance_handshake]"];
        assert!(codes.iter().any(|code| text.ends_with(code)), "{text}");
        assert_eq!(daemon.mark(), before, "{}", daemon.log());
        cell.stop().await;
    }
}

#[tokio::test]
async fn an_operator_can_have_what_tls_refuses_in_clear() {
    let tls = InstanceTls {
        certificate: InstanceCertificate::OtherInstance,
        plain_port: true,
        ..InstanceTls::default()
    };
    let cell = cell(tls, json!({"backends_tls_fallback": true})).await;
    let mut user = Bystander::enter(&proxy_door(&cell)).await;
    user.all_is_well().await;
    cell.proxy().wait_for_log("tls-dial-failed").await.unwrap();
    cell.stop().await;
}

#[tokio::test]
async fn falling_back_needs_somewhere_to_fall() {
    let tls = InstanceTls {
        certificate: InstanceCertificate::OtherInstance,
        ..InstanceTls::default()
    };
    let cell = cell(tls, json!({"backends_tls_fallback": true})).await;
    is_refused_for(&cell, CERTIFICATE).await;
    cell.stop().await;
}

/// The key of the daemon is checked even if TLS proved the instance.
#[tokio::test]
async fn a_proven_instance_still_has_to_have_the_pinned_key() {
    let cell = Cell::start(CellOptions {
        instance_tls: Some(InstanceTls::default()),
        wrong_host_fingerprint: true,
        ..options()
    })
    .await
    .unwrap();
    let text = refused(&cell).await;
    assert!(text.ends_with("[instance_host_key]"), "{text}");
    cell.stop().await;
}

/// Neither the keys of certificates nor those of daemons are ever logged, whatever fails.
#[tokio::test]
async fn no_log_shows_a_key() {
    for certificate in [InstanceCertificate::Good, InstanceCertificate::Expired] {
        let tls = InstanceTls {
            certificate,
            ..InstanceTls::default()
        };
        let cell = cell(tls, json!({})).await;
        let login = &cell.logins()[0];
        let mut raw = Raw::served(cell.proxy_address()).await;
        let entered = raw.try_password(&login.user, &login.password).await;
        assert_eq!(entered.is_ok(), certificate == InstanceCertificate::Good);
        let mut secrets = vec![login.password.clone()];
        for name in ["backends-client.key", "bbs-client.key"] {
            let pem = std::fs::read_to_string(cell.dir().join(name)).unwrap();
            secrets.extend(pem.lines().skip(1).map(str::to_owned));
        }
        secrets.retain(|secret| !secret.starts_with("-----"));
        assert!(secrets.len() > 4);
        for program in [cell.proxy(), cell.daemon(0).unwrap()] {
            program.stop().await;
            let log = program.log();
            assert!(!secrets.iter().any(|secret| log.contains(secret)), "{log}");
        }
        cell.stop().await;
    }
}
