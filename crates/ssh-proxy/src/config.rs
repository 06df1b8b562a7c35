//! The configuration file: the JSON that the BOSH job renders, key by key.
//!
//! Read as Go reads it: keys in any case, unknown keys ignored, the last of two equal keys wins,
//! `null` counts as absent, and nothing behind the first JSON value is looked at. Values keep their
//! JSON types here; [`crate::settings`] makes sense of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use goflag::duration;
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};
use serde_json::Value;
use ssh_proto::Secret;
use ssh_proto::wire::printable;

use crate::edge::settings::{DEFAULT_MOST_LOGINS, DEFAULT_MOST_LOGINS_OF_SOURCE};
use crate::platform::http::DEFAULT_MAX_IDLE;
use crate::platform::tls::DEFAULT_SESSION_CACHE;
use crate::settings::DEFAULT_LOGIN_TIMEOUT;
use crate::settings::loggregator::{DEFAULT_BATCH_INTERVAL, DEFAULT_BATCH_SIZE, DEFAULT_PORT};

pub(crate) mod reference;

/// Bytes of an unknown key that a problem shows: twice the longest known one.
const LONGEST_KEY: usize = 96;

/// Makes a struct whose fields are keys of a JSON object of the same name. Behind `=` stands what an absent
/// key means, where that is not what its type has for nothing. What is said of a key here is what the
/// [`reference`] tells operators; `Ours.` marks those that the Go pair does not know.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident {
        $($(#[doc = $doc:literal])* $field:ident: $ty:ty $(= $default:expr)?,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name {
            $($(#[doc = $doc])* pub(crate) $field: $ty,)*
        }

        impl $name {
            /// Every key, in the order of the reference.
            fn keys() -> Vec<Key> {
                vec![$(Key {
                    name: stringify!($field),
                    kind: <$ty as FromJson>::KIND,
                    default: None$(.or(Some(format!("{:?}", $default))))?,
                    text: concat!($($doc),*),
                },)*]
            }

            fn take(object: &mut Object, inside: &str, problems: &mut Vec<String>) -> Self {
                Self {
                    $($field: object.take(stringify!($field), inside, problems),)*
                }
            }
        }
    };
}

object! {
    /// The file. Texts are empty, numbers zero and switches off where a key is absent.
    File {
        /// Where SSH clients are awaited.
        address: String,
        /// Where the health server listens.
        health_check_address: String,
        /// Do without the health server.
        disable_health_check_server: bool,
        /// Private host key as PEM text, not a path.
        host_key: Secret<String>,
        /// URL of BBS.
        bbs_address: String,
        /// Path of the CA certificates that BBS is verified with.
        bbs_ca_cert: String,
        /// Path of the client certificate shown to BBS.
        bbs_client_cert: String,
        /// Path of the key of this certificate.
        bbs_client_key: String,
        /// TLS sessions to remember; 0 for the default.
        bbs_client_session_cache_size: i64 = DEFAULT_SESSION_CACHE,
        /// Idle connections to keep; 0 for the default.
        bbs_max_idle_conns_per_host: i64 = DEFAULT_MAX_IDLE,
        /// URL of Cloud Controller.
        cc_api_url: String,
        /// Path of the CA certificates for Cloud Controller (and UAA).
        cc_api_ca_cert: String,
        /// Path of the client certificate shown to Cloud Controller.
        cc_api_client_cert: String,
        /// Path of the key of this certificate.
        cc_api_client_key: String,
        /// URL where UAA exchanges codes for tokens.
        uaa_token_url: String,
        /// Name of our OAuth client.
        uaa_username: String,
        /// Its secret.
        uaa_password: Secret<String>,
        /// Path of the CA certificates for UAA (and Cloud Controller).
        uaa_ca_cert: String,
        /// Do not verify UAA and Cloud Controller.
        skip_cert_verify: bool,
        /// Serve the realm `cf:`.
        enable_cf_auth: bool,
        /// Serve the realm `diego:`.
        enable_diego_auth: bool,
        /// The password of the realm `diego:`.
        diego_credentials: Secret<String>,
        /// Comma-separated list; empty for the defaults. Names that are unknown are logged and dropped.
        allowed_ciphers: String,
        /// Comma-separated list.
        allowed_macs: String,
        /// Comma-separated list.
        allowed_key_exchanges: String,
        /// Comma-separated list.
        allowed_host_key_algorithms: String,
        /// Bound of one call to UAA, Cloud Controller or BBS, its retries included.
        communication_timeout: Option<Duration>,
        /// How long a client may be silent, keepalives counted; none or zero for ever.
        idle_connection_timeout: Option<Duration>,
        /// How long a connection may last; none or zero for ever.
        max_connection_duration: Option<Duration>,
        /// How long a login may take. Ours.
        login_timeout: Option<Duration> = DEFAULT_LOGIN_TIMEOUT,
        /// How long a connection may be without data in its channels, whatever keepalives pass. Ours.
        inactivity_timeout: Option<Duration>,
        /// After SIGTERM health is 503 at once, and new clients are taken for so long. Ours.
        drain_delay: Option<Duration>,
        /// How long sessions live on after that; then their users are told, and they end. Ours.
        drain_timeout: Option<Duration>,
        /// Networks of balancers that send the PROXY protocol. Ours.
        proxy_protocol_sources: Vec<String>,
        /// Whoever connects is a user and no balancer. Ours.
        source_is_user: bool,
        /// Logins at one time; 0 for the default. Ours.
        max_unauthenticated_connections: i64 = DEFAULT_MOST_LOGINS,
        /// Logins of one source at one time; 0 for the default. Ours.
        max_unauthenticated_connections_per_source: i64 = DEFAULT_MOST_LOGINS_OF_SOURCE,
        /// Networks without bounds and penalties for sources. Ours.
        penalty_exempt_sources: Vec<String>,
        /// Let other processes listen on the same ports. Ours.
        reuse_port: bool,
        /// What users may do; see below. Ours.
        policy: Policy,
        /// Where Prometheus finds `/metrics`; empty for nowhere. Ours.
        metrics_address: String,
        /// Where sessions are shown and ended: `127.0.0.1:PORT`, `unix:/PATH`, or, with mutual TLS, another
        /// address; empty for nowhere. Ours.
        admin_address: String,
        /// Path of the CA certificates of those who may come to another address than loopback. Ours.
        admin_ca_cert: String,
        /// Path of the certificate shown to them. Ours.
        admin_server_cert: String,
        /// Path of the key of this certificate. Ours.
        admin_server_key: String,
        /// Path of the file that gets a line for each event of the audit; empty for none. Ours.
        audit_file: String,
        /// Events of the audit in the log, too. Ours.
        audit_log: bool,
        /// Tell commands and forward targets in the audit. Ours.
        audit_details: bool,
        /// What to do while the file of the audit cannot be written: `drop` or `refuse`. Ours.
        audit_when_unwritable: String = "drop",
        /// Dial instances at their own address if they have no preference.
        connect_to_instance_address: bool,
        /// Speak TLS to instances that can.
        backends_tls_enabled: bool,
        /// Path of the CA certificates for instances.
        backends_tls_ca_certificates: String,
        /// Path of the client certificate shown to instances.
        backends_tls_client_certificate: String,
        /// Path of the key of this certificate.
        backends_tls_client_private_key: String,
        /// Go on in clear where TLS to an instance fails. Ours.
        backends_tls_fallback: bool,
        /// Refuse instances without a host fingerprint even if TLS proved them. Ours.
        require_host_fingerprint: bool,
        /// Where the debug server listens; empty for none.
        debug_address: String,
        /// `debug`, `info`, `error` or `fatal`; must be given.
        log_level: String,
        /// Form of log lines: `unix-epoch` or `rfc3339`.
        time_format: TimeFormat = "unix-epoch",
        /// Hide secrets in log lines.
        redact_secrets: bool,
        /// What counts as secret, as regular expressions; empty for the defaults.
        redact_patterns: Vec<String>,
        /// Bytes of a text in a log line; 0 for no limit.
        max_data_string_length: i64,
        /// How to reach the loggregator agent; see below.
        loggregator: Loggregator,
    }
}

object! {
    /// The object under `policy`. What is absent is allowed.
    Policy {
        /// Interactive shells.
        shell: Option<bool> = true,
        /// Commands, and subsystems other than sftp.
        exec: Option<bool> = true,
        /// scp and sftp.
        files: Option<bool> = true,
        /// Connections from the client through the container.
        local_forwarding: Option<bool> = true,
        /// Listeners in the container.
        remote_forwarding: Option<bool> = true,
        /// Unix sockets, either way.
        streamlocal_forwarding: Option<bool> = true,
        /// The user's agent.
        agent_forwarding: Option<bool> = true,
        /// X11 connections to the user's screen.
        x11_forwarding: Option<bool> = true,
        /// Where connections from the client may lead, as `host:port`; empty for anywhere.
        forward_targets: Vec<String>,
    }
}

object! {
    /// The object under `loggregator`.
    #[allow(dead_code, reason = "a mirror of the file; some keys have no effect")]
    Loggregator {
        /// Off means that nothing is sent. Absent: on if the three paths are given.
        loggregator_use_v2_api: Option<bool>,
        /// Port of the agent on this machine; 0 for its default.
        loggregator_api_port: i64 = DEFAULT_PORT,
        /// Path of the CA certificates for the agent.
        loggregator_ca_path: String,
        /// Path of the client certificate shown to the agent.
        loggregator_cert_path: String,
        /// Path of the key of this certificate.
        loggregator_key_path: String,
        /// Known but without effect, like the next three: the agent adds its own.
        loggregator_job_deployment: String,
        /// Without effect.
        loggregator_job_name: String,
        /// Without effect.
        loggregator_job_index: String,
        /// Without effect.
        loggregator_job_ip: String,
        /// The tag `origin` of every envelope.
        loggregator_job_origin: String,
        /// Source id of our own metrics.
        loggregator_source_id: String,
        /// Instance id of our own metrics.
        loggregator_instance_id: String,
        /// Envelopes in a batch; 0 for the default.
        loggregator_batch_max_size: i64 = DEFAULT_BATCH_SIZE,
        /// Known but without effect.
        loggregator_app_metric_exclusion_filter: Vec<String>,
        /// `BatchFlushInterval`: nanoseconds between batches; 0 for the default.
        batchflushinterval: i64 = DEFAULT_BATCH_INTERVAL.as_nanos(),
    }
}

impl File {
    /// Reads the first JSON value of `text`.
    ///
    /// # Errors
    ///
    /// What is wrong: one problem of syntax, or every value of a wrong type, each with its key. The
    /// problems never show values, since those of wrong keys can be secrets.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<String>> {
        let mut json = serde_json::Deserializer::from_slice(text);
        let mut object = Option::<Object>::deserialize(&mut json)
            .map_err(|error| vec![syntax_problem(&error)])?
            .unwrap_or_default();
        let mut problems = Vec::new();
        let file = Self::take(&mut object, "", &mut problems);
        if problems.is_empty() {
            Ok(file)
        } else {
            Err(problems)
        }
    }
}

/// What is wrong and where, without the text that serde_json quotes.
fn syntax_problem(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "ends early",
        serde_json::error::Category::Data => "is not a JSON object",
        _ => "is not JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

/// A JSON object by lower-case keys.
#[derive(Debug, Default)]
struct Object(BTreeMap<String, Value>);

impl Object {
    fn insert(&mut self, key: &str, value: Value) {
        // A null leaves what an earlier key has set, as in Go.
        if !value.is_null() {
            self.0.insert(key.to_ascii_lowercase(), value);
        }
    }

    /// An object inside another one.
    fn inner(value: Value) -> Result<Self, String> {
        let Value::Object(map) = value else {
            return Err(expected("an object", &value));
        };
        let mut object = Self::default();
        for (key, value) in map {
            object.insert(&key, value);
        }
        Ok(object)
    }

    /// The value under `key`, or what stands for an absent one.
    fn take<T: FromJson>(&mut self, key: &str, inside: &str, problems: &mut Vec<String>) -> T {
        match self.0.remove(key) {
            None => T::absent(),
            Some(value) => T::from_json(value, key, problems).unwrap_or_else(|problem| {
                problems.push(format!("{inside}{key}: {problem}"));
                T::absent()
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object::default();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    object.insert(&key, value);
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A key as the reference tells of it.
#[derive(Debug)]
struct Key {
    name: &'static str,
    kind: &'static str,
    /// Where it is not what the type has for nothing.
    default: Option<String>,
    text: &'static str,
}

/// Types of values in the file.
trait FromJson: Sized {
    /// What operators are to write.
    const KIND: &'static str;

    /// What stands for an absent key.
    fn absent() -> Self;

    /// Reads `value`; an error tells what was expected, without the value. Objects report the
    /// problems of what they contain themselves.
    fn from_json(value: Value, key: &str, problems: &mut Vec<String>) -> Result<Self, String>;
}

fn expected(what: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("expected {what}, found {found}")
}

impl FromJson for String {
    const KIND: &'static str = "text";

    fn absent() -> Self {
        Self::new()
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(expected("a string", &other)),
        }
    }
}

impl FromJson for Secret<String> {
    const KIND: &'static str = "text, secret";

    fn absent() -> Self {
        Self::new(String::new())
    }

    fn from_json(value: Value, key: &str, problems: &mut Vec<String>) -> Result<Self, String> {
        String::from_json(value, key, problems).map(Self::new)
    }
}

impl FromJson for bool {
    const KIND: &'static str = "true or false";

    fn absent() -> Self {
        false
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| expected("true or false", &value))
    }
}

impl FromJson for Option<bool> {
    const KIND: &'static str = "true or false";

    fn absent() -> Self {
        None
    }

    fn from_json(value: Value, key: &str, problems: &mut Vec<String>) -> Result<Self, String> {
        bool::from_json(value, key, problems).map(Some)
    }
}

impl FromJson for i64 {
    const KIND: &'static str = "whole number";

    fn absent() -> Self {
        0
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        value.as_i64().ok_or_else(|| match value {
            Value::Number(_) => "expected a whole number within 64 bits".to_owned(),
            other => expected("a whole number", &other),
        })
    }
}

impl FromJson for Vec<String> {
    const KIND: &'static str = "list of texts";

    fn absent() -> Self {
        Self::new()
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let Value::Array(values) = value else {
            return Err(expected("a list of strings", &value));
        };
        values
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Ok(text),
                other => Err(expected("a list of strings", &other) + " in it"),
            })
            .collect()
    }
}

impl FromJson for Option<Duration> {
    const KIND: &'static str = "duration, as \"10s\"";

    fn absent() -> Self {
        None
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        match value {
            Value::String(text) => duration::parse(&text).map(Some),
            other => Err(expected("a duration such as \"10s\"", &other)),
        }
    }
}

/// Form of log lines as the file names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeFormat(pub(crate) lager::TimeFormat);

impl FromJson for TimeFormat {
    const KIND: &'static str = "text";

    fn absent() -> Self {
        Self(lager::TimeFormat::UnixEpoch)
    }

    fn from_json(value: Value, _: &str, _: &mut Vec<String>) -> Result<Self, String> {
        let number = value.as_i64();
        match (value.as_str(), number) {
            (Some("unix-epoch" | "0" | ""), _) | (_, Some(0)) => Ok(Self::absent()),
            (Some("rfc3339" | "1"), _) | (_, Some(1)) => Ok(Self(lager::TimeFormat::Rfc3339)),
            _ => Err("expected \"unix-epoch\" or \"rfc3339\"".to_owned()),
        }
    }
}

impl FromJson for Loggregator {
    const KIND: &'static str = "object";

    fn absent() -> Self {
        Self::take(&mut Object::default(), "", &mut Vec::new())
    }

    fn from_json(value: Value, key: &str, problems: &mut Vec<String>) -> Result<Self, String> {
        let mut object = Object::inner(value)?;
        Ok(Self::take(&mut object, &format!("{key}."), problems))
    }
}

impl FromJson for Policy {
    const KIND: &'static str = "object";

    fn absent() -> Self {
        Self::take(&mut Object::default(), "", &mut Vec::new())
    }

    fn from_json(value: Value, key: &str, problems: &mut Vec<String>) -> Result<Self, String> {
        let mut object = Object::inner(value)?;
        let policy = Self::take(&mut object, &format!("{key}."), problems);
        // A prohibition that is misspelt must not pass in silence.
        problems.extend(object.0.keys().map(|unknown| {
            let unknown = printable(unknown.as_bytes(), LONGEST_KEY);
            format!("{key}.{unknown}: unknown key")
        }));
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
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
                "bbs_max_idle_conns_per_host: expected a whole number within 64 bits",
                "uaa_password: expected a string, found a number",
                "enable_cf_auth: expected true or false, found a string",
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
}
