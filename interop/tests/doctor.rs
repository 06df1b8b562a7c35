//! `ssh-proxy doctor`: it finds nothing where nothing is wrong, and names what is broken where something
//! is, and that alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use devcell::bbs::State;
use devcell::certs::{Authority, Identity, Request, Validity};
use devcell::fault::Fault;
use devcell::keys::{KeyKind, SshKey};
use devcell::rig::{Binaries, InstanceCertificate, InstanceTls};
use devcell::{Cell, CellOptions};
use packets::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

/// A cell and a place for the files of a test.
struct Patient {
    cell: Cell,
    dir: TempDir,
}

impl Patient {
    async fn new() -> Self {
        Self::with(None).await
    }

    /// One whose instances have TLS.
    async fn with(instance_tls: Option<InstanceTls>) -> Self {
        let options = CellOptions {
            cf_auth: true,
            loggregator: true,
            instance_tls,
            // Long enough for three attempts.
            proxy_config: json!({"communication_timeout": "3s"}),
            ..options()
        };
        let cell = Cell::start(options).await.unwrap();
        let dir = TempDir::new().unwrap();
        Self { cell, dir }
    }

    /// Writes a file, and gives its path.
    fn write(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The proxy's configuration with `changes`.
    fn config(&self, changes: &Value) -> PathBuf {
        let text = fs::read_to_string(self.cell.proxy_config()).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        let keys = config.as_object_mut().unwrap();
        keys.extend(changes.as_object().unwrap().clone());
        PathBuf::from(self.write("config.json", &config.to_string()))
    }

    /// Exit code and findings of the doctor, for the first instance too.
    async fn examined(&self, changes: &Value) -> (i32, Vec<Value>) {
        let instance = format!("-instance={}/0", self.cell.process_guid());
        let (code, output) = self.doctor(changes, &[&instance, "-json"]).await;
        let report: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(report["ok"], code == 0);
        (code, report["checks"].as_array().unwrap().clone())
    }

    async fn doctor(&self, changes: &Value, arguments: &[&str]) -> (i32, String) {
        let config = format!("-config={}", self.config(changes).display());
        let output = Command::new(Binaries::find().unwrap().ssh_proxy)
            .args(["doctor", &config])
            .args(arguments)
            .kill_on_drop(true)
            .output();
        let output = within("the doctor", output).await.unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text)
    }

    /// With `changes`, `id` is broken and nothing else is, and what was seen of it has `words`.
    async fn suffers(&self, changes: Value, id: &str, words: &str) {
        let (code, checks) = self.examined(&changes).await;
        let broken: Vec<&Value> = checks
            .iter()
            .filter(|check| check["state"] == "broken")
            .collect();
        let ids: Vec<&str> = broken
            .iter()
            .map(|check| check["id"].as_str().unwrap())
            .collect();
        assert_eq!((code, ids.as_slice()), (1, &[id][..]), "{broken:#?}");
        let seen = broken[0]["seen"].as_str().unwrap();
        assert!(seen.contains(words), "{id}: {seen}");
        assert!(broken[0]["remedy"].as_str().unwrap().ends_with('.'));
    }

    /// The same, once BBS says something else about the app.
    async fn suffers_after(&self, change: impl FnOnce(&mut State), id: &str, words: &str) {
        self.cell.bbs().update(change);
        self.suffers(json!({}), id, words).await;
    }
}

/// The route of the app as it is, with `changes` on top.
fn change_route(state: &mut State, changes: &Value) {
    let desired = &mut state.desired[0];
    let text = &desired.routes.as_ref().unwrap().routes["diego-ssh"];
    let mut route: Value = serde_json::from_slice(text).unwrap();
    let keys = route.as_object_mut().unwrap();
    keys.extend(changes.as_object().unwrap().clone());
    desired.set_ssh_route(&route);
}

/// A server's certificate by `authority`, for UAA, Cloud Controller or BBS.
fn server(authority: &Authority) -> Identity {
    authority.issue(&Request::server(&["localhost"])).unwrap()
}

/// What `docs/doctor.md` says that there is, in its order.
fn explained() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/doctor.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_healthy_proxy_has_nothing() {
    for tls in [None, Some(InstanceTls::default())] {
        let patient = Patient::with(tls).await;
        let (code, checks) = patient.examined(&json!({})).await;
        assert_eq!(code, 0, "{checks:#?}");
        let ids: Vec<&str> = checks
            .iter()
            .map(|check| check["id"].as_str().unwrap())
            .collect();
        let asked_for = |id: &str| match id {
            "instance-tls-files" => tls.is_some(),
            "algorithms" | "realms" | "cf-verification" => false,
            _ => true,
        };
        let page = explained();
        let expected: Vec<&str> = page
            .iter()
            .map(String::as_str)
            .filter(|id| asked_for(id))
            .collect();
        assert_eq!(ids, expected);
        assert!(checks.iter().all(|check| check["state"] != "not_checked"));
    }
}

#[tokio::test]
async fn people_read_columns_and_no_secrets() {
    let patient = Patient::new().await;
    let (code, text) = patient.doctor(&json!({}), &[]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("ok           config"), "{text}");
    assert!(text.ends_with("\n0 broken, 0 to look at\n"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
    let secret = json!({"uaa_password": "a-secret-word", "diego_credentials": "a-secret-word"});
    let (code, text) = patient.doctor(&secret, &[]).await;
    assert_eq!(code, 1);
    assert!(text.contains("BROKEN       uaa-client"), "{text}");
    assert!(!text.contains("a-secret-word"), "{text}");
}

#[tokio::test]
async fn it_is_called_with_a_file_and_nothing_that_it_does_not_know() {
    let program = Binaries::find().unwrap().ssh_proxy;
    for (arguments, code, said) in [
        (&["doctor"][..], 2, "-config is needed"),
        (&["doctor", "-nonsense"], 2, "flag provided but not defined"),
        (
            &["doctor", "-config=x", "-instance=y"],
            2,
            "PROCESS-GUID/INDEX",
        ),
        (&["doctor", "-h"], 0, "Usage of ssh-proxy doctor"),
        (
            &["doctor", "-config=/nowhere"],
            1,
            "open /nowhere: no such file",
        ),
    ] {
        let output = Command::new(&program)
            .args(arguments)
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(said), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_file() {
    let patient = Patient::new().await;
    let other = server(&Authority::new("others").unwrap());
    let other_key = patient.write("other.key", &other.key_pem());
    let expired = Request::client("ssh-proxy").valid(Validity::Expired);
    let expired = patient.cell.authority().issue(&expired).unwrap();
    let certificate = patient.write("expired.crt", expired.certificate_pem());
    let key = patient.write("expired.key", &expired.key_pem());
    let expired = json!({"bbs_client_cert": certificate, "bbs_client_key": key});
    for (changes, id, words) in [
        (
            json!({"address": 5}),
            "config",
            "address: expected a string, found a number",
        ),
        (
            json!({"policy": {"shel": true}}),
            "config",
            "policy.shel: unknown key",
        ),
        (json!({"host_key": "-----BEGIN"}), "host-key", "host_key: "),
        (json!({"log_level": "loud"}), "settings", "log_level: "),
        (
            json!({"allowed_ciphers": "aes128-cbc,3des-cbc"}),
            "algorithms",
            "no algorithm is left for encryption",
        ),
        (
            json!({"address": "192.0.2.1:2222"}),
            "addresses",
            "address: 192.0.2.1:2222",
        ),
        (json!({"uaa_token_url": "x"}), "cf-files", "uaa_token_url: "),
        (expired, "bbs-files", "certificate has expired"),
        (
            json!({"bbs_client_key": other_key}),
            "bbs-files",
            "bbs_client_key: ",
        ),
        (
            json!({"bbs_ca_cert": "/nowhere"}),
            "bbs-files",
            "open /nowhere: no such file",
        ),
    ] {
        patient.suffers(changes, id, words).await;
    }
}

/// Nothing of it keeps a proxy from serving, but no operator wants it so.
#[tokio::test]
async fn what_is_odd_is_told() {
    let patient = Patient::new().await;
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let taken = stranger.local_addr().unwrap().to_string();
    for (changes, id, words) in [
        (
            json!({"require_host_fingerprnt": true}),
            "config",
            "require_host_fingerprnt is no key; require_host_fingerprint is",
        ),
        (
            json!({"address": taken}),
            "addresses",
            "is in use by something else",
        ),
        (
            json!({"enable_cf_auth": false, "enable_diego_auth": false}),
            "realms",
            "nobody can log in",
        ),
        (
            json!({"allowed_key_exchanges": "diffie-hellman-group14-sha256,curve25519-sha256"}),
            "algorithms",
            "not used: diffie-hellman-group14-sha256",
        ),
        (
            json!({"skip_cert_verify": true}),
            "cf-verification",
            "not verified",
        ),
    ] {
        let (code, checks) = patient.examined(&changes).await;
        assert_eq!(code, 0, "{checks:#?}");
        let odd: Vec<&Value> = checks
            .iter()
            .filter(|check| check["state"] == "warning")
            .collect();
        assert_eq!(odd.len(), 1, "{odd:#?}");
        assert_eq!(odd[0]["id"], id);
        assert!(odd[0]["seen"].as_str().unwrap().contains(words), "{odd:#?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_uaa_and_cloud_controller() {
    let patient = Patient::new().await;
    let cell = &patient.cell;
    let (others, ours) = (Authority::new("others").unwrap(), cell.authority());
    let elsewhere = {
        let mut request = Request::server(&["elsewhere"]);
        request.ips.clear();
        ours.issue(&request).unwrap()
    };
    let none = || json!({});

    patient
        .suffers(
            json!({"uaa_password": "wrong"}),
            "uaa-client",
            "does not accept the client",
        )
        .await;
    cell.uaa().show(&server(&others)).unwrap();
    patient.suffers(none(), "uaa", "certificate").await;
    cell.uaa().show(&server(ours)).unwrap();
    cell.uaa().stop().await;
    patient.suffers(none(), "uaa", "connection refused").await;
    cell.uaa().start_again().await.unwrap();

    cell.cloud_controller().show(&elsewhere, None).unwrap();
    patient.suffers(none(), "cc", "certificate").await;
    cell.cloud_controller().show(&server(ours), None).unwrap();
    cell.cloud_controller().set_fault(Fault::Status(500));
    patient.suffers(none(), "cc", "unexpected status 500").await;
    cell.cloud_controller().set_fault(Fault::Hang);
    patient.suffers(none(), "cc", "timed out").await;
    cell.cloud_controller().set_fault(Fault::None);
    cell.cloud_controller().stop().await;
    patient.suffers(none(), "cc", "connection refused").await;
    cell.cloud_controller().start_again().await.unwrap();
    assert_eq!(patient.examined(&none()).await.0, 0);
}

#[tokio::test]
async fn what_is_wrong_with_bbs_and_the_loggregator_agent() {
    let patient = Patient::new().await;
    let cell = &patient.cell;
    let others = Authority::new("others").unwrap();
    let good = server(cell.authority());

    // It asks for certificates that we do not have.
    cell.bbs().show(&good, &others).unwrap();
    patient.suffers(json!({}), "bbs", "alert").await;
    cell.bbs().show(&good, cell.authority()).unwrap();
    cell.bbs().set_fault(Fault::Hang);
    patient.suffers(json!({}), "bbs", "timed out").await;
    cell.bbs().set_fault(Fault::None);
    cell.bbs().stop().await;
    patient
        .suffers(json!({}), "bbs", "connection refused")
        .await;
    cell.bbs().start_again().await.unwrap();

    // A port at which nobody listens.
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let text = fs::read_to_string(cell.proxy_config()).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    let mut agent = config["loggregator"].clone();
    agent["loggregator_api_port"] = bound.local_addr().unwrap().port().into();
    let away = json!({"loggregator": agent});
    patient
        .suffers(away, "loggregator", "connection refused")
        .await;
    assert_eq!(patient.examined(&json!({})).await.0, 0);
}

#[tokio::test]
async fn what_is_wrong_with_an_instance() {
    let patient = Patient::new().await;
    let bbs = patient.cell.bbs();
    let good = bbs.update(|state| state.clone());
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let gone = silent.local_addr().unwrap().port();
    drop(silent);
    let key = SshKey::generate(KeyKind::Ed25519).unwrap();
    let stranger = json!({"private_key": key.private_pem()});
    let other = key.fingerprint_sha256();
    let pin = json!({"host_fingerprint": other, "host_256_fingerprint": other});

    let stopped = |state: &mut State| state.actual[0].state = "CLAIMED".to_owned();
    patient
        .suffers_after(stopped, "instance", "not running: CLAIMED")
        .await;
    bbs.update(|state| *state = good.clone());
    let without = |state: &mut State| state.desired[0].routes = None;
    patient
        .suffers_after(without, "instance-route", "SSH routing info not found")
        .await;
    bbs.update(|state| *state = good.clone());
    let away = |state: &mut State| {
        let net = state.actual[0].net_info.as_mut().unwrap();
        for mapping in &mut net.ports {
            mapping.host_port = gone.into();
        }
    };
    patient
        .suffers_after(away, "instance-address", "connection refused")
        .await;
    bbs.update(|state| *state = good.clone());
    let pinned = |state: &mut State| change_route(state, &pin);
    patient
        .suffers_after(pinned, "instance-host-key", "is not the pinned one")
        .await;
    bbs.update(|state| *state = good.clone());
    let keyed = |state: &mut State| change_route(state, &stranger);
    patient
        .suffers_after(keyed, "instance-login", "daemon handshake")
        .await;
    bbs.update(|state| *state = good.clone());
    assert_eq!(patient.examined(&json!({})).await.0, 0);
}

#[tokio::test]
async fn an_instance_that_shows_the_certificate_of_another() {
    let patient = Patient::with(Some(InstanceTls {
        certificate: InstanceCertificate::OtherInstance,
        ..InstanceTls::default()
    }))
    .await;
    patient
        .suffers(json!({}), "instance-tls", "certificate")
        .await;
}
