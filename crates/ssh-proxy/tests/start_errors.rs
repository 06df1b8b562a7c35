//! Every reason for not starting, with the words and the exit code that operators' alarms know: the
//! table of the system that is replaced, run against the real binary.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml frees tests, but not the helpers beside them"
)]

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::{Value, json};

const FATAL: i32 = 2;
const FAILURE: i32 = 1;

/// A directory with certificates, keys and a configuration that works, with everything on.
struct Rig {
    dir: tempfile::TempDir,
    config: Value,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |to| {
            let mut params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
            params.self_signed(&key).unwrap().pem()
        };
        let files = [
            ("crt", certificate(2049)),
            ("old", certificate(2001)),
            ("key", key.serialize_pem()),
            ("other", rcgen::KeyPair::generate().unwrap().serialize_pem()),
            ("junk", "junk".to_owned()),
        ];
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let config = json!({
            "address": "127.0.0.1:0", "health_check_address": "127.0.0.1:0",
            "debug_address": "127.0.0.1:0", "log_level": "info", "host_key": key.serialize_pem(),
            "bbs_address": "https://bbs.service.cf.internal:8889", "bbs_ca_cert": "$/crt",
            "bbs_client_cert": "$/crt", "bbs_client_key": "$/key",
            "enable_diego_auth": true, "diego_credentials": "creds",
            "enable_cf_auth": true, "cc_api_url": "https://cc.internal:9024",
            "cc_api_ca_cert": "$/crt", "uaa_token_url": "https://uaa.internal:8443/oauth/token",
            "uaa_ca_cert": "$/crt", "uaa_username": "ssh-proxy", "uaa_password": "marker-secret",
            "backends_tls_enabled": true, "backends_tls_ca_certificates": "$/crt",
            "backends_tls_client_certificate": "$/crt", "backends_tls_client_private_key": "$/key",
            "loggregator": {"loggregator_use_v2_api": false},
        });
        Self { dir, config }
    }

    /// Runs the binary with `changes` on top of the configuration; `$` stands for the directory.
    fn run(&self, changes: &Value) -> Output {
        let mut config = self.config.clone();
        let keys = config.as_object_mut().unwrap();
        keys.extend(changes.as_object().unwrap().clone());
        let dir = self.dir.path().to_str().unwrap();
        self.run_text(&config.to_string().replace("$/", &format!("{dir}/")))
    }

    fn run_text(&self, config: &str) -> Output {
        let path = self.dir.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        Command::new(env!("CARGO_BIN_EXE_ssh-proxy"))
            .arg(format!("-config={}", path.display()))
            .output()
            .unwrap()
    }
}

/// An agent at a port where nobody listens, with files that are fine.
fn loggregator(changes: Value) -> Value {
    // It was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let mut agent = json!({
        "loggregator_use_v2_api": true, "loggregator_api_port": port.unwrap().port(),
        "loggregator_ca_path": "$/crt", "loggregator_cert_path": "$/crt",
        "loggregator_key_path": "$/key",
    });
    let keys = agent.as_object_mut().unwrap();
    keys.extend(changes.as_object().unwrap().clone());
    json!({"loggregator": agent})
}

fn lines(output: &Output) -> Vec<Value> {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = stdout.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

/// Changes; exit code; last line's action, error (its start) and key.
type Row = (Value, i32, &'static str, &'static str, &'static str);

/// In the order of the reference.
fn rows() -> Vec<Row> {
    let metron = "failed-to-initialize-metron-client";
    let bbs = "Failed to configure secure BBS client";
    let backend = "failed-to-get-tls-config";
    vec![
        (
            loggregator(json!({})),
            FAILURE,
            metron,
            "context deadline exceeded: connect 127.0.0.1:",
            "loggregator.loggregator_api_port",
        ),
        (
            loggregator(json!({"loggregator_cert_path": ""})),
            FAILURE,
            metron,
            "open : no such file or directory",
            "loggregator.loggregator_cert_path",
        ),
        (
            loggregator(json!({"loggregator_ca_path": "$/junk"})),
            FAILURE,
            metron,
            "Unable to load caCert",
            "loggregator.loggregator_ca_path",
        ),
        (
            loggregator(json!({"loggregator_key_path": "$/other"})),
            FAILURE,
            metron,
            "failed to load keypair: ",
            "loggregator.loggregator_key_path",
        ),
        (
            json!({"bbs_address": ""}),
            FATAL,
            "bbs-address-required",
            "bbsAddress is required",
            "bbs_address",
        ),
        (
            json!({"bbs_address": "://example.com:8889"}),
            FATAL,
            "failed-to-parse-bbs-address",
            "parse URL: missing protocol scheme",
            "bbs_address",
        ),
        (
            json!({"bbs_address": "http://bbs.service.cf.internal:8889"}),
            FATAL,
            bbs,
            "Expected https URL",
            "bbs_address",
        ),
        (
            json!({"bbs_ca_cert": "$/none"}),
            FATAL,
            bbs,
            "open /",
            "bbs_ca_cert",
        ),
        (
            json!({"bbs_client_cert": "$/junk"}),
            FATAL,
            bbs,
            "no certificate in /",
            "bbs_client_cert",
        ),
        (
            json!({"bbs_client_cert": "$/old"}),
            FATAL,
            bbs,
            "/",
            "bbs_client_cert",
        ),
        (
            json!({"bbs_client_key": "$/other"}),
            FATAL,
            bbs,
            "failed to load keypair: ",
            "bbs_client_key",
        ),
        (
            json!({"cc_api_url": ""}),
            FAILURE,
            "configure-failed",
            "ccAPIURL is required for Cloud Foundry authentication",
            "cc_api_url",
        ),
        (
            json!({"uaa_password": ""}),
            FAILURE,
            "configure-failed",
            "UAA password is required for Cloud Foundry authentication",
            "uaa_password",
        ),
        (
            json!({"uaa_username": ""}),
            FAILURE,
            "configure-failed",
            "UAA username is required for Cloud Foundry authentication",
            "uaa_username",
        ),
        (
            json!({"uaa_token_url": ""}),
            FAILURE,
            "configure-failed",
            "uaaTokenURL is required for Cloud Foundry authentication",
            "uaa_token_url",
        ),
        (
            json!({"cc_api_url": ":://goober-swallow#yuck"}),
            FAILURE,
            "configure-failed",
            "parse URL: missing protocol scheme",
            "cc_api_url",
        ),
        (
            json!({"uaa_token_url": ":://goober-swallow#yuck"}),
            FAILURE,
            "configure-failed",
            "parse URL: missing protocol scheme",
            "uaa_token_url",
        ),
        (
            json!({"cc_api_ca_cert": "$/none"}),
            FAILURE,
            "configure-failed",
            "failed to read ca cert file: open /",
            "cc_api_ca_cert",
        ),
        (
            json!({"uaa_ca_cert": "$/none"}),
            FAILURE,
            "configure-failed",
            "failed to read ca cert file: open /",
            "uaa_ca_cert",
        ),
        (
            json!({"uaa_ca_cert": "$/junk"}),
            FAILURE,
            "configure-failed",
            "Unable to load caCert",
            "uaa_ca_cert",
        ),
        (
            json!({"host_key": ""}),
            FATAL,
            "host-key-required",
            "hostKey is required",
            "host_key",
        ),
        (
            json!({"host_key": "marker-secret"}),
            FATAL,
            "failed-to-parse-host-key",
            "",
            "host_key",
        ),
        (
            json!({"backends_tls_ca_certificates": ""}),
            FAILURE,
            backend,
            "open : no such file or directory",
            "backends_tls_ca_certificates",
        ),
        (
            json!({"backends_tls_ca_certificates": "$/none"}),
            FAILURE,
            backend,
            "open /",
            "backends_tls_ca_certificates",
        ),
        (
            json!({"backends_tls_ca_certificates": "$/junk"}),
            FAILURE,
            backend,
            "Unable to load caCert",
            "backends_tls_ca_certificates",
        ),
        (
            json!({"backends_tls_client_private_key": "$/other"}),
            FAILURE,
            backend,
            "failed to load keypair: ",
            "backends_tls_client_private_key",
        ),
        (
            json!({"address": "nonsense"}),
            FAILURE,
            "exited-with-failure",
            "Exit trace for group:\nssh-proxy exited with error: listen tcp",
            "address",
        ),
    ]
}

#[test]
fn each_reason_has_its_words_and_its_exit_code() {
    let rig = Rig::new();
    for (changes, exit, action, error, key) in rows() {
        let output = rig.run(&changes);
        assert_eq!(output.status.code(), Some(exit), "{changes}: {output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("marker-secret"));
        let lines = lines(&output);
        let (last, others) = lines.split_last().unwrap();
        assert_eq!(last["message"], format!("ssh-proxy.{action}"), "{last}");
        let text = last["data"]["error"].as_str().unwrap();
        assert!(text.starts_with(error), "{text}");
        assert_eq!(last["data"]["key"], key);
        assert_eq!(last["data"]["problems"], Value::Null, "{last}");
        let fatal = exit == FATAL;
        assert_eq!(last["log_level"], if fatal { 3 } else { 2 });
        assert_eq!(last["data"]["trace"].is_string(), fatal);
        // One reason has two lines.
        let others: Vec<&Value> = others.iter().map(|line| &line["message"]).collect();
        match action {
            "failed-to-parse-host-key" => {
                assert_eq!(others, ["ssh-proxy.failed-to-parse-private-key"]);
            }
            _ => assert!(others.is_empty(), "{others:?}"),
        }
    }
}

/// One of each kind, all at once, then without the first, and so on.
#[test]
fn the_first_in_the_order_of_the_reference_speaks_and_names_the_others() {
    let rig = Rig::new();
    let kinds = [
        "failed-to-initialize-metron-client",
        "bbs-address-required",
        "configure-failed",
        "host-key-required",
        "failed-to-get-tls-config",
        "exited-with-failure",
    ];
    let rows = rows();
    let rows = kinds.map(|kind| rows.iter().find(|row| row.2 == kind).unwrap());
    for first in 0..rows.len() {
        let mut changes = json!({});
        for row in &rows[first..] {
            let keys = changes.as_object_mut().unwrap();
            keys.extend(row.0.as_object().unwrap().clone());
        }
        let output = rig.run(&changes);
        let (_, exit, action, error, key) = rows[first];
        assert_eq!(output.status.code(), Some(*exit), "{action}");
        let line = lines(&output).pop().unwrap();
        assert_eq!(line["message"], format!("ssh-proxy.{action}"));
        assert_eq!(line["data"]["key"], *key);
        assert!(line["data"]["error"].as_str().unwrap().starts_with(error));
        let others = line["data"]["problems"].as_str().unwrap_or_default();
        for (_, _, _, error, key) in &rows[first + 1..] {
            // Its end may be cut off: the first line is enough.
            let other = format!("{key}: {error}");
            assert!(others.contains(&other), "{other:?} in {others:?}");
        }
    }
}

/// What cannot be logged is told on stderr, with the key that is wrong and without values.
#[test]
fn a_file_that_cannot_be_read_ends_without_a_log() {
    let rig = Rig::new();
    let told = |output: &Output, words: &str| {
        assert_eq!(output.status.code(), Some(FATAL), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("marker-secret"), "{text}");
    };
    for (changes, words) in [
        (json!({"log_level": ""}), "unknown log level: "),
        (json!({"log_level": "loud"}), "unknown log level: loud"),
        (
            json!({"communication_timeout": "10"}),
            "communication_timeout: missing unit in duration",
        ),
        (
            json!({"idle_connection_timeout": 10}),
            "idle_connection_timeout: expected a duration",
        ),
        (json!({"time_format": "epoch"}), "time_format: expected"),
        (
            json!({"redact_secrets": true, "redact_patterns": ["("]}),
            "redact_patterns: ",
        ),
        (
            json!({"uaa_password": ["marker-secret"]}),
            "uaa_password: expected",
        ),
    ] {
        told(&rig.run(&changes), words);
    }
    told(
        &rig.run_text("{\"uaa_password\": \"marker-secret"),
        "ends early",
    );
    told(&rig.run_text("[\"marker-secret\"]"), "not a JSON object");
}

/// Which server failed, and which had started before it.
#[test]
fn a_port_that_is_taken_is_told_with_the_server_it_was_for() {
    let rig = Rig::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (key, server, stopped) in [
        ("debug_address", "debug-server", ""),
        ("address", "ssh-proxy", "debug-server exited with nil\n"),
        (
            "health_check_address",
            "healthcheck",
            "ssh-proxy exited with nil\ndebug-server exited with nil\n",
        ),
    ] {
        let output = rig.run(&json!({key: taken}));
        assert_eq!(output.status.code(), Some(FAILURE));
        let line = lines(&output).pop().unwrap();
        assert_eq!(line["message"], "ssh-proxy.exited-with-failure");
        assert_eq!(line["log_level"], 2);
        let expected = format!(
            "Exit trace for group:\n{server} exited with error: listen tcp {taken}: bind: \
             address already in use\n{stopped}"
        );
        assert_eq!(line["data"]["error"], expected);
    }
}
