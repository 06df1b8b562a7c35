//! How the gate treats those who have proven nothing. Time is virtual.

use std::net::{IpAddr, Ipv4Addr};

use connector::{Files, Resolver};
use ssh_proto::Secret;

use super::*;
use crate::platform::bbs::BbsSettings;
use crate::platform::cloud_controller::CloudControllerSettings;
use crate::platform::testing::tls;
use crate::platform::uaa::UaaSettings;
use crate::settings::{BackendSettings, CfSettings};

/// A gate to nowhere: nobody listens at any of its addresses.
fn gate() -> Arc<Gate> {
    let resolver = Arc::new(Resolver::new(Files::default()));
    let cf = CfSettings {
        uaa: UaaSettings {
            token_url: "http://127.0.0.1:1/".parse().unwrap(),
            username: "ssh-proxy".to_owned(),
            password: Secret::new("secret".to_owned()),
            tls: tls(true),
            timeout: None,
        },
        cloud_controller: CloudControllerSettings {
            api_url: "http://127.0.0.1:1/".parse().unwrap(),
            tls: tls(true),
            timeout: None,
        },
        skip_cert_verify: false,
    };
    let bbs = BbsSettings {
        url: "https://127.0.0.1:1".to_owned(),
        tls: tls(true),
        max_idle: 1,
        timeout: None,
    };
    let backend = BackendSettings {
        connect_to_instance_address: false,
        tls: None,
        require_host_fingerprint: false,
    };
    Arc::new(Gate {
        diego: Some(DiegoRealm::new(Secret::new("creds".to_owned()))),
        cf: Some(CfRealm::new(&cf, &resolver)),
        bbs: Bbs::new(&bbs, Arc::clone(&resolver)),
        dialer: Dialer::new(resolver, backend),
        metrics: Arc::default(),
        audit: Arc::default(),
    })
}

const SOMEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5);

/// The answer to a password, and how long it took.
async fn attempt(user: &str, attempt: Attempt) -> (Denied, Duration) {
    let began = Instant::now();
    let denied = Login::new(gate(), SOMEWHERE)
        .authenticate(user, attempt)
        .await;
    (denied.err().unwrap(), began.elapsed())
}

fn password(text: &[u8]) -> Attempt {
    Attempt::Password(Secret::new(text.to_vec()))
}

#[tokio::test(start_paused = true)]
async fn strangers_are_refused_after_the_same_time_whatever_is_wrong() {
    let cf = "cf:16b8a1a0-0b2f-4f3c-9f57-0123456789ab/0";
    let most = FAILURE_FLOOR + Duration::from_millis(u64::from(FAILURE_JITTER) + 1);
    for (user, text) in [
        ("root", "creds"),
        ("diego:guid/0", "wrong"),
        ("diego:guid/0", ""),
        ("cf:app/0", "code"),
        // Not a code: nobody is asked.
        (cf, ""),
    ] {
        let (denied, elapsed) = attempt(user, password(text.as_bytes())).await;
        assert!(matches!(denied, Denied::Retry(Some(_))), "{denied:?}");
        assert!(elapsed >= FAILURE_FLOOR && elapsed <= most, "{elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn asking_without_a_password_costs_no_time() {
    let (denied, elapsed) = attempt("diego:guid/0", Attempt::None).await;
    assert_eq!((denied, elapsed), (Denied::Retry(None), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_decided_before_it_waits() {
    let mut login = Login::new(gate(), SOMEWHERE);
    let wait = login.authenticate("diego:guid/0", password(b"wrong"));
    let limit = FAILURE_FLOOR / 2;
    assert!(tokio::time::timeout(limit, wait).await.is_err());
    assert_eq!(login.undecided, None);
}
