use super::*;

fn file(text: &str) -> File {
    File::parse(text.as_bytes()).unwrap()
}

#[test]
fn an_empty_object_is_all_defaults() {
    for text in ["{}", "null", "{\"unknown\": [1, {}]}"] {
        let file = file(text);
        assert_eq!(file.address, "");
        assert_eq!(file.log_level, "");
        assert_eq!(file.login_timeout, None);
        assert_eq!(file.time_format.0, lager::TimeFormat::UnixEpoch);
        assert_eq!(file.loggregator.loggregator_use_v2_api, None);
        assert_eq!(file.host_key.expose(), "");
    }
}

#[test]
fn keys_are_read_as_go_reads_them() {
    let file = file(
        r#"{"ADDRESS": "a", "Address": "b", "address": null, "log_LEVEL": "info",
            "redact_patterns": null, "host_key": "k", "host_key": "l"}
           trailing text {"address": "c"}"#,
    );
    assert_eq!(file.address, "b");
    assert_eq!(file.log_level, "info");
    assert_eq!(file.host_key.expose(), "l");
    assert!(file.redact_patterns.is_empty());
}

/// The file that the acceptance suite of the system we replace writes.
#[test]
fn the_whole_go_struct_is_read() {
    let file = file(
        r#"{"address":"127.0.0.1:7000","health_check_address":"127.0.0.1:7001",
        "disable_health_check_server":false,"host_key":"PEM","bbs_address":"https://127.0.0.1:1",
        "cc_api_url":"https://127.0.0.1:2","cc_api_ca_cert":"/ca","uaa_token_url":"","uaa_password":"p",
        "uaa_username":"u","uaa_ca_cert":"","skip_cert_verify":false,
        "communication_timeout":"10s","idle_connection_timeout":"500ms",
        "enable_cf_auth":true,"enable_diego_auth":true,"diego_credentials":"some-creds",
        "allowed_ciphers":"","allowed_macs":"","allowed_key_exchanges":"",
        "loggregator":{"loggregator_use_v2_api":true,"loggregator_api_port":3458,
          "loggregator_ca_path":"","loggregator_cert_path":"","loggregator_key_path":"",
          "loggregator_job_deployment":"","loggregator_job_name":"","loggregator_job_index":"",
          "loggregator_job_ip":"","loggregator_job_origin":"ssh_proxy","loggregator_source_id":"",
          "loggregator_instance_id":"","loggregator_batch_max_size":10,
          "loggregator_app_metric_exclusion_filter":null,"BatchFlushInterval":10000000},
        "connect_to_instance_address":false,"backends_tls_enabled":false,
        "log_level":"info","redact_secrets":false,"redact_patterns":null,
        "time_format":"unix-epoch","max_data_string_length":0}"#,
    );
    assert_eq!(file.communication_timeout, Some(Duration::from_secs(10)));
    assert_eq!(
        file.idle_connection_timeout,
        Some(Duration::from_millis(500))
    );
    assert_eq!(file.max_connection_duration, None);
    assert_eq!(file.loggregator.batchflushinterval, 10_000_000);
    assert_eq!(file.loggregator.loggregator_use_v2_api, Some(true));
    assert_eq!(file.loggregator.loggregator_job_origin, "ssh_proxy");
    assert!(file.enable_cf_auth && file.enable_diego_auth);
}

#[test]
fn time_formats_have_names_and_numbers() {
    for (value, format) in [
        ("\"unix-epoch\"", lager::TimeFormat::UnixEpoch),
        ("0", lager::TimeFormat::UnixEpoch),
        ("\"rfc3339\"", lager::TimeFormat::Rfc3339),
        ("1", lager::TimeFormat::Rfc3339),
    ] {
        let file = file(&format!("{{\"time_format\": {value}}}"));
        assert_eq!(file.time_format.0, format);
    }
    assert!(File::parse(b"{\"time_format\": \"epoch\"}").is_err());
    assert!(File::parse(b"{\"time_format\": 2}").is_err());
}

#[test]
fn every_problem_is_told_with_its_key_and_without_values() {
    let problems = File::parse(
        br#"{"address": 5, "uaa_password": 123456, "communication_timeout": "10",
            "login_timeout": 10, "enable_cf_auth": "yes", "redact_patterns": ["a", 1],
            "bbs_max_idle_conns_per_host": 1.5,
            "policy": {"exec": "no", "shel": false, "Files": false},
            "loggregator": {"loggregator_api_port": "x", "BatchFlushInterval": "1s"}}"#,
    )
    .unwrap_err();
    assert_eq!(
        problems,
        [
            "address: expected a string, found a number",
            "enable_cf_auth: expected true or false, found a string",
            "uaa_password: expected a string, found a number",
            "bbs_max_idle_conns_per_host: expected a whole number within 64 bits",
            "communication_timeout: missing unit in duration \"10\"",
            "login_timeout: expected a duration such as \"10s\", found a number",
            "policy.exec: expected true or false, found a string",
            "policy.shel: unknown key",
            "redact_patterns: expected a list of strings, found a number in it",
            "loggregator.loggregator_api_port: expected a whole number, found a string",
            "loggregator.batchflushinterval: expected a whole number, found a string",
        ]
    );
}

#[test]
fn a_problem_is_one_line_whatever_the_key_is() {
    let text = format!(
        r#"{{"policy": {{"a\n\u001bb{}": 1}}}}"#,
        "c".repeat(LONGEST_KEY)
    );
    let problems = File::parse(text.as_bytes()).unwrap_err();
    let shown = "c".repeat(LONGEST_KEY - 4);
    assert_eq!(
        problems,
        [format!("policy.a\u{fffd}\u{fffd}b{shown}: unknown key")]
    );
}

#[test]
fn what_is_not_json_is_located_but_not_quoted() {
    for (text, problem) in [
        ("", "ends early (line 1, column 0)"),
        ("{\"a\":\n\"hunter2", "ends early (line 2, column 8)"),
        ("{\"a\" hunter2}", "is not JSON (line 1, column 6)"),
        ("[1]", "is not a JSON object (line 1, column 0)"),
        ("\"x\"", "is not a JSON object (line 1, column 3)"),
    ] {
        assert_eq!(
            File::parse(text.as_bytes()).unwrap_err(),
            [problem],
            "{text}"
        );
    }
}
