//! What `ssh-audit` says about both programs with a host key of RSA-3072: no failures, and only the
//! warnings that are known and meant.

mod support;

use devcell::keys::KeyKind;
use devcell::{Cell, CellOptions};
use interop::openssh::Key;
use interop::process;
use serde_json::{Value, json};
use support::languages::prepared;
use tokio::process::Command;

/// The lists in docs/operate.md, "Algorithms", for clients of the last ten years that know
/// encrypt-then-MAC.
const STRICT_KEY_EXCHANGES: &str = "mlkem768x25519-sha256,curve25519-sha256";
const STRICT_MACS: &str = "hmac-sha2-256-etm@openssh.com";

/// Without ML-KEM, recordings of today can be read by quantum computers to come; but most clients of
/// today have none.
const NOT_POST_QUANTUM: &str = "does not provide protection against post-quantum attacks";

/// dropbear has no other MAC that we have. It is only used with the ciphers of counter mode, and needs
/// no padding oracle to be feared: the length is not checked before the MAC except for bounds.
const ENCRYPT_AND_MAC: &str = "using encrypt-and-MAC mode";

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    algorithm: String,
    text: String,
}

#[tokio::test]
async fn with_the_default_algorithms_there_are_the_known_warnings() {
    let cell = start(json!({}), Vec::new()).await;
    for (name, port) in ports(&cell) {
        let findings = audit(port).await;
        assert_eq!(findings.failures, [], "{name}");
        let expected = [
            ("curve25519-sha256@libssh.org", NOT_POST_QUANTUM),
            ("hmac-sha2-256", ENCRYPT_AND_MAC),
        ];
        assert_eq!(findings.warnings, expected.map(finding), "{name}");
    }
    cell.stop().await;
}

#[tokio::test]
async fn with_the_strict_lists_there_is_one_warning() {
    let proxy = json!({
        "allowed_key_exchanges": STRICT_KEY_EXCHANGES,
        "allowed_macs": STRICT_MACS,
    });
    let daemon = vec![
        format!("-allowedKeyExchanges={STRICT_KEY_EXCHANGES}"),
        format!("-allowedMACs={STRICT_MACS}"),
    ];
    let cell = start(proxy, daemon).await;
    for (name, port) in ports(&cell) {
        let findings = audit(port).await;
        assert_eq!(findings.failures, [], "{name}");
        let expected = [("curve25519-sha256", NOT_POST_QUANTUM)];
        assert_eq!(findings.warnings, expected.map(finding), "{name}");
    }
    cell.stop().await;
}

/// The lists that are tested here are those that operators read.
#[test]
fn the_strict_lists_are_documented() {
    let guide = include_str!("../../docs/operate.md");
    for text in [STRICT_KEY_EXCHANGES, STRICT_MACS] {
        assert!(guide.contains(text), "docs/operate.md does not have {text}");
    }
}

async fn start(mut proxy_config: Value, mut daemon_flags: Vec<String>) -> Cell {
    let key = Key::generate(&["-t", "rsa", "-b", "3072", "-m", "PEM"]).await;
    proxy_config["host_key"] = json!(key.pem);
    daemon_flags.push(format!("-hostKey={}", key.pem));
    let options = CellOptions {
        instances: 1,
        proxy_key: KeyKind::Ed25519,
        instance_key: KeyKind::Ed25519,
        proxy_config,
        daemon_flags,
        ..CellOptions::default()
    };
    let cell = Cell::start(options).await;
    cell.unwrap_or_else(|error| panic!("no cell: {error}"))
}

fn ports(cell: &Cell) -> [(&'static str, u16); 2] {
    let daemon = cell.daemon_address(0).expect("an instance");
    [
        ("ssh-proxy", cell.proxy_address().port()),
        ("diego-sshd", daemon.port()),
    ]
}

fn finding((algorithm, text): (&str, &str)) -> Finding {
    Finding {
        algorithm: algorithm.to_owned(),
        text: text.to_owned(),
    }
}

struct Findings {
    failures: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// Looks at the server on this port. How fast it takes connections is not tried: what a flood of them
/// does is tested elsewhere.
async fn audit(port: u16) -> Findings {
    let mut command = Command::new(prepared("python/bin/python"));
    command.args(["-B", "-m", "ssh_audit"]);
    command.args(["-j", "--skip-rate-test", "-p", &port.to_string()]);
    command.arg("127.0.0.1");
    let output = process::run(command, b"").await;
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", output.stderr));
    assert_eq!(report["compression"], json!(["none"]), "{report}");
    Findings {
        failures: all(&report, "fail"),
        warnings: all(&report, "warn"),
    }
}

/// The findings of one level about algorithms of each kind.
fn all(report: &Value, level: &str) -> Vec<Finding> {
    let algorithms = ["kex", "key", "enc", "mac"].into_iter().flat_map(|kind| {
        let list = report[kind].as_array();
        list.unwrap_or_else(|| panic!("no {kind} in {report}"))
    });
    let findings = algorithms.flat_map(|entry| {
        let algorithm = entry["algorithm"].as_str().expect("a name");
        let texts = entry["notes"][level].as_array().into_iter().flatten();
        texts.map(move |text| finding((algorithm, text.as_str().expect("a text"))))
    });
    findings.collect()
}
