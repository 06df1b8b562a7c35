//! Files that are fine, and files that are not.

use std::path::PathBuf;

use super::*;

/// A directory with certificates and keys that are fine.
struct Certificates {
    dir: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("crt"), certificate.pem()).unwrap();
        std::fs::write(dir.path().join("key"), key.serialize_pem()).unwrap();
        std::fs::write(dir.path().join("junk"), "junk").unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that is fine with `changes`, an object, on top. `$` stands for the directory.
    fn file(&self, changes: &str) -> File {
        let base = r#"{"address": "127.0.0.1:2222", "health_check_address": ":2223",
            "log_level": "info",
            "bbs_address": "https://bbs.service.cf.internal:8889/", "bbs_ca_cert": "$/crt",
            "bbs_client_cert": "$/crt", "bbs_client_key": "$/key",
            "cc_api_url": "https://cc.internal:9024", "cc_api_ca_cert": "$/crt",
            "uaa_token_url": "https://uaa.internal:8443/oauth/token", "uaa_ca_cert": "$/crt",
            "uaa_username": "ssh-proxy", "uaa_password": "secret",
            "backends_tls_ca_certificates": "$/crt"}"#;
        let mut file: serde_json::Value = serde_json::from_str(base).unwrap();
        let changes: serde_json::Value = serde_json::from_str(changes).unwrap();
        // It serves as a host key too.
        let key = std::fs::read_to_string(self.path("key")).unwrap();
        let keys = file.as_object_mut().unwrap();
        keys.insert("host_key".to_owned(), key.into());
        keys.extend(changes.as_object().unwrap().clone());
        let dir = self.dir.path().to_str().unwrap();
        File::parse(file.to_string().replace('$', dir).as_bytes()).unwrap()
    }

    fn settings(&self, changes: &str) -> Settings {
        Settings::new(self.file(changes)).unwrap()
    }

    fn problems(&self, changes: &str) -> Vec<Problem> {
        Settings::new(self.file(changes)).unwrap_err()
    }
}

#[test]
fn a_plain_file_has_its_defaults() {
    let settings = Certificates::new().settings("{}");
    assert_eq!(settings.address, "127.0.0.1:2222".parse().unwrap());
    assert_eq!(settings.health_address, Some("[::]:2223".parse().unwrap()));
    assert_eq!(settings.debug_address, None);
    assert_eq!(settings.bbs.url, "https://bbs.service.cf.internal:8889");
    assert_eq!(settings.bbs.max_idle, 2);
    assert_eq!(settings.bbs.timeout, None);
    assert_eq!(settings.times.login, Some(Duration::from_secs(60)));
    assert_eq!(settings.times.idle, None);
    assert!(settings.diego_credentials.is_none() && settings.cf.is_none());
    assert!(settings.backend.tls.is_none() && settings.loggregator.is_none());
    assert!(!settings.backend.require_host_fingerprint);
    assert_eq!(settings.times.inactivity, None);
    assert_eq!(settings.drain.delay, Duration::ZERO);
    assert_eq!(settings.drain.timeout, Duration::ZERO);
    assert!(!settings.reuse_port);
}

#[test]
fn everything_can_be_set() {
    let settings = Certificates::new().settings(
        r#"{"disable_health_check_server": true, "debug_address": "127.0.0.1:17016",
            "communication_timeout": "10s", "idle_connection_timeout": "300s",
            "max_connection_duration": "1h", "login_timeout": "0", "inactivity_timeout": "30m",
            "drain_delay": "20s", "drain_timeout": "15m", "reuse_port": true,
            "bbs_max_idle_conns_per_host": 7, "enable_diego_auth": true,
            "diego_credentials": "creds", "enable_cf_auth": true, "skip_cert_verify": true,
            "cc_api_client_cert": "$/crt", "cc_api_client_key": "$/key",
            "backends_tls_enabled": true, "backends_tls_client_certificate": "$/crt",
            "backends_tls_client_private_key": "$/key", "backends_tls_fallback": true,
            "require_host_fingerprint": true, "connect_to_instance_address": true,
            "allowed_ciphers": "aes128-ctr",
            "loggregator": {"loggregator_use_v2_api": true, "loggregator_api_port": 1,
                            "loggregator_ca_path": "$/crt", "loggregator_cert_path": "$/crt",
                            "loggregator_key_path": "$/key", "loggregator_batch_max_size": 5, "BatchFlushInterval": 10000000}}"#,
    );
    assert_eq!(settings.health_address, None);
    assert_eq!(
        settings.debug_address,
        Some("127.0.0.1:17016".parse().unwrap())
    );
    assert_eq!(settings.bbs.timeout, Some(Duration::from_secs(10)));
    assert_eq!(settings.bbs.max_idle, 7);
    assert_eq!(settings.times.idle, Some(Duration::from_secs(300)));
    assert_eq!(settings.times.connection, Some(Duration::from_secs(3600)));
    assert_eq!(settings.times.login, None);
    assert_eq!(settings.times.inactivity, Some(Duration::from_secs(1800)));
    assert_eq!(settings.drain.delay, Duration::from_secs(20));
    assert_eq!(settings.drain.timeout, Duration::from_secs(900));
    assert!(settings.reuse_port);
    assert!(settings.diego_credentials.unwrap().matches(b"creds"));
    let cf = settings.cf.unwrap();
    let (uaa, cc) = (cf.uaa, cf.cloud_controller);
    assert_eq!(cc.api_url.host(), Some("cc.internal"));
    assert_eq!(uaa.token_url.path(), "/oauth/token");
    assert_eq!(
        (uaa.timeout, cc.timeout),
        (settings.bbs.timeout, settings.bbs.timeout)
    );
    let shows_certificate = |tls: &Reread| tls.config().client_auth_cert_resolver.has_certs();
    assert!(cf.skip_cert_verify && shows_certificate(&cc.tls) && !shows_certificate(&uaa.tls));
    let tls = settings.backend.tls.unwrap();
    assert!(tls.fallback && shows_certificate(&tls.files));
    assert!(settings.backend.require_host_fingerprint);
    assert!(settings.backend.connect_to_instance_address);
    assert_eq!(settings.algorithms.cipher, "aes128-ctr");
    let loggregator = settings.loggregator.unwrap();
    assert_eq!((loggregator.port, loggregator.batch_size), (1, 5));
    assert_eq!(loggregator.batch_interval, Duration::from_millis(10));
}

/// Changes, and exit, action and start of the error of the only problem.
const PROBLEMS: &[(&str, Exit, &str, &str)] = &[
    (
        r#"{"bbs_address": ""}"#,
        Exit::Fatal,
        "bbs-address-required",
        "bbsAddress is required",
    ),
    (
        r#"{"bbs_address": ":://goober-swallow#yuck"}"#,
        Exit::Fatal,
        "failed-to-parse-bbs-address",
        "parse URL",
    ),
    (
        r#"{"bbs_address": "https://h:99999"}"#,
        Exit::Fatal,
        "failed-to-parse-bbs-address",
        "parse URL",
    ),
    (
        r#"{"bbs_address": "http://bbs:80"}"#,
        Exit::Fatal,
        "Failed to configure secure BBS client",
        "Expected https URL",
    ),
    (
        r#"{"bbs_ca_cert": ""}"#,
        Exit::Fatal,
        "Failed to configure secure BBS client",
        "open : no such file",
    ),
    (
        r#"{"bbs_ca_cert": "$/junk"}"#,
        Exit::Fatal,
        "Failed to configure secure BBS client",
        "Unable to load caCert",
    ),
    (
        r#"{"bbs_client_cert": "$/none"}"#,
        Exit::Fatal,
        "Failed to configure secure BBS client",
        "open ",
    ),
    (
        r#"{"bbs_client_key": "$/junk"}"#,
        Exit::Fatal,
        "Failed to configure secure BBS client",
        "no private key in ",
    ),
    (
        r#"{"host_key": ""}"#,
        Exit::Fatal,
        "host-key-required",
        "hostKey is required",
    ),
    (
        r#"{"host_key": "host-key"}"#,
        Exit::Fatal,
        "failed-to-parse-host-key",
        "bad PEM: no BEGIN line",
    ),
    (
        r#"{"enable_cf_auth": true, "cc_api_url": ""}"#,
        Exit::Failure,
        "configure-failed",
        "ccAPIURL is required for Cloud Foundry authentication",
    ),
    (
        r#"{"enable_cf_auth": true, "uaa_password": ""}"#,
        Exit::Failure,
        "configure-failed",
        "UAA password is required for Cloud Foundry authentication",
    ),
    (
        r#"{"enable_cf_auth": true, "uaa_username": ""}"#,
        Exit::Failure,
        "configure-failed",
        "UAA username is required for Cloud Foundry authentication",
    ),
    (
        r#"{"enable_cf_auth": true, "uaa_token_url": ""}"#,
        Exit::Failure,
        "configure-failed",
        "uaaTokenURL is required for Cloud Foundry authentication",
    ),
    (
        r#"{"enable_cf_auth": true, "cc_api_url": ":://goober"}"#,
        Exit::Failure,
        "configure-failed",
        "parse URL",
    ),
    (
        r#"{"enable_cf_auth": true, "uaa_token_url": "spitting nickles"}"#,
        Exit::Failure,
        "configure-failed",
        "parse URL",
    ),
    (
        r#"{"enable_cf_auth": true, "cc_api_ca_cert": "doesnotexist"}"#,
        Exit::Failure,
        "configure-failed",
        "failed to read ca cert file: open doesnotexist",
    ),
    (
        r#"{"enable_cf_auth": true, "uaa_ca_cert": "$/junk"}"#,
        Exit::Failure,
        "configure-failed",
        "Unable to load caCert",
    ),
    (
        r#"{"enable_cf_auth": true, "cc_api_client_cert": "$/crt"}"#,
        Exit::Failure,
        "configure-failed",
        "cc_api_client_cert and",
    ),
    (
        r#"{"backends_tls_enabled": true, "backends_tls_ca_certificates": ""}"#,
        Exit::Failure,
        "failed-to-get-tls-config",
        "open : ",
    ),
    (
        r#"{"backends_tls_enabled": true, "backends_tls_ca_certificates": "$/junk"}"#,
        Exit::Failure,
        "failed-to-get-tls-config",
        "Unable",
    ),
    (
        r#"{"backends_tls_enabled": true, "backends_tls_client_certificate": "$/junk", "backends_tls_client_private_key": "$/key"}"#,
        Exit::Failure,
        "failed-to-get-tls-config",
        "no certificate in ",
    ),
    (
        r#"{"address": "nonsense"}"#,
        Exit::Failure,
        "exited-with-failure",
        "Exit trace for group:\nssh-proxy exited with error: listen tcp: address nonsense: missing port",
    ),
    (
        r#"{"proxy_protocol_sources": ["balancer"]}"#,
        Exit::Failure,
        "configure-failed",
        "proxy_protocol_sources: \"balancer\" is not a network",
    ),
    (
        r#"{"policy": {"forward_targets": ["10.0.0.0/8"]}}"#,
        Exit::Failure,
        "configure-failed",
        "policy.forward_targets: \"10.0.0.0/8\" is not host:port",
    ),
    (
        r#"{"loggregator": {"loggregator_use_v2_api": true, "loggregator_ca_path": "$/crt",
            "loggregator_cert_path": "$/junk", "loggregator_key_path": "$/key"}}"#,
        Exit::Failure,
        "failed-to-initialize-metron-client",
        "no certificate in ",
    ),
    (
        r#"{"loggregator": {"loggregator_ca_path": "$/crt", "loggregator_cert_path": "$/crt",
            "loggregator_key_path": "$/key", "loggregator_api_port": 70000}}"#,
        Exit::Failure,
        "failed-to-initialize-metron-client",
        "invalid port 70000",
    ),
];

#[test]
fn each_problem_has_the_words_and_the_exit_of_the_reference() {
    let certificates = Certificates::new();
    for (changes, exit, action, error) in PROBLEMS {
        let problems = certificates.problems(changes);
        assert_eq!(problems.len(), 1, "{changes}: {problems:?}");
        let problem = &problems[0];
        assert_eq!(
            (problem.exit, problem.action),
            (*exit, *action),
            "{changes}"
        );
        assert!(problem.error.starts_with(error), "{changes}: {problem:?}");
    }
}

#[test]
fn all_problems_come_in_the_order_of_the_reference() {
    let problems = Certificates::new().problems(
        r#"{"address": "x", "debug_address": "y", "host_key": "", "bbs_address": "",
            "bbs_ca_cert": "$/none", "backends_tls_enabled": true,
            "backends_tls_ca_certificates": "", "enable_cf_auth": true, "cc_api_url": "",
            "uaa_username": "", "uaa_ca_cert": "$/junk",
            "loggregator": {"loggregator_use_v2_api": true, "loggregator_api_port": -1}}"#,
    );
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key).collect();
    assert_eq!(
        keys,
        [
            "loggregator.loggregator_api_port",
            "loggregator.loggregator_ca_path",
            "bbs_address",
            "bbs_ca_cert",
            "cc_api_url",
            "uaa_username",
            "uaa_ca_cert",
            "host_key",
            "backends_tls_ca_certificates",
            "address",
            "debug_address",
        ]
    );
}

#[test]
fn what_is_switched_off_is_not_checked() {
    let certificates = Certificates::new();
    let settings = certificates.settings(
        r#"{"cc_api_url": "", "uaa_ca_cert": "/none", "backends_tls_ca_certificates": "/none",
            "disable_health_check_server": true, "health_check_address": "nonsense"}"#,
    );
    assert!(settings.cf.is_none() && settings.backend.tls.is_none());
}

#[test]
fn loggregator_is_on_by_word_or_by_its_files() {
    let certificates = Certificates::new();
    let paths = r#""loggregator_ca_path": "$/crt", "loggregator_cert_path": "$/crt", "loggregator_key_path": "$/key""#;
    for (switch, on) in [("", true), (r#""loggregator_use_v2_api": false,"#, false)] {
        let settings = certificates.settings(&format!("{{\"loggregator\": {{{switch} {paths}}}}}"));
        assert_eq!(settings.loggregator.is_some(), on);
    }
    assert!(certificates.path("crt").exists());
}

#[test]
fn logging_needs_a_level() {
    let certificates = Certificates::new();
    let logging = |changes: &str| logging(&certificates.file(changes));
    assert_eq!(
        logging(r#"{"log_level": ""}"#).unwrap_err(),
        ["unknown log level: "]
    );
    assert_eq!(
        logging(r#"{"log_level": "loud", "redact_secrets": true, "redact_patterns": ["("]}"#)
            .unwrap_err()
            .len(),
        2
    );
    let config = logging(
        r#"{"log_level": "error", "time_format": "rfc3339", "max_data_string_length": 40}"#,
    )
    .unwrap();
    assert_eq!(config.level, lager::Level::Error);
    assert_eq!(config.time_format, lager::TimeFormat::Rfc3339);
    assert_eq!(config.max_data_string_length, Some(40));
    assert!(config.redaction.is_none());
}
