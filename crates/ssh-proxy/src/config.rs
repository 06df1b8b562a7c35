//! The configuration file: the JSON that the BOSH job renders, key by key.
//!
//! Read as Go reads it: keys in any case, unknown keys ignored, the last of two equal keys wins,
//! `null` counts as absent, and nothing behind the first JSON value is looked at. Values keep their
//! JSON types here, which are those of `value`; [`crate::settings`] makes sense of them.
//!
//! What stands here of a key is all there is about it: [`reference`] prints the comments for operators.

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::Value;
use ssh_proto::Secret;
use ssh_proto::algorithm::{Algorithms, Cipher, Kex, Mac, Signature};
use ssh_proto::wire::printable;

use crate::audit::settings::DROP;
use crate::edge::settings::{DEFAULT_MOST_LOGINS, DEFAULT_MOST_LOGINS_OF_SOURCE};
use crate::platform::http::DEFAULT_MAX_IDLE;
use crate::platform::tls::DEFAULT_SESSION_CACHE;
use crate::settings::DEFAULT_LOGIN_TIMEOUT;
use crate::settings::loggregator::{DEFAULT_BATCH_INTERVAL, DEFAULT_BATCH_SIZE, DEFAULT_PORT};
use value::{FromJson, Object, TimeFormat};

pub mod reference;

#[cfg(test)]
mod tests;
mod value;

use reference::{Key, Since, json, names, span, words};

/// Bytes of an unknown key that a problem shows: twice the longest known one.
const LONGEST_KEY: usize = 96;

/// In place of a default.
const MUST: &str = "must be given";

/// In place of a default, of keys of the realm `cf:`.
const MUST_FOR_CF: &str = "must be given with `enable_cf_auth`";

/// In place of a default, of addresses.
const ANY_PORT: &str = "a free port of all addresses";

/// What users may do unless it is taken from them.
const ALLOWED: bool = true;

/// Makes a struct whose fields are keys of a JSON object of the same name, in groups. A key that is the
/// `Reference`'s or `New` says so, with the default where that is not the empty value of its type.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident { $($group:literal {
        $($(#[doc = $doc:literal])+ $field:ident: $ty:ty = $since:ident $(($default:expr))?,)*
    })* }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name {
            $($($(#[doc = $doc])+ pub(crate) $field: $ty,)*)*
        }

        impl $name {
            fn take(object: &mut Object, inside: &str, problems: &mut Vec<String>) -> Self {
                Self {
                    $($($field: object.take(stringify!($field), inside, problems),)*)*
                }
            }

            fn list(inside: &str, keys: &mut Vec<Key>) {
                $($(
                    let name = format!("{inside}{}", stringify!($field));
                    let key = Key::new::<$ty>($group, &name, Since::$since, &[$($doc),+]);
                    keys.push(key$(.by_default($default))?);
                    <$ty>::list_inside(&format!("{name}."), keys);
                )*)*
            }
        }
    };
}

object! {
    /// The file. Texts are empty, numbers zero and switches off where a key is absent.
    File {
        "Where it listens" {
            /// Where SSH clients are awaited, as `IP:PORT`, `localhost:PORT` or `:PORT` for all addresses.
            /// A port that is taken ends the proxy with exit code 1. A listener that it inherits
            /// (`LISTEN_FDS`, as systemd passes it) is taken instead.
            address: String = Reference(words(ANY_PORT)),
            /// Where balancers ask for `GET /`: 200 while users are let in, 503 once the proxy has been
            /// asked to stop. The second inherited listener is taken instead.
            health_check_address: String = Reference(words(ANY_PORT)),
            /// Do without the health server.
            disable_health_check_server: bool = Reference,
            /// Let other processes listen on the same ports (`SO_REUSEPORT`), so that the next proxy starts
            /// while this one drains. Connections can get lost when one of them closes, unless the sysctl
            /// `net.ipv4.tcp_migrate_req` is 1; inherited listeners lose none.
            reuse_port: bool = New,
        }
        "Who the proxy is" {
            /// Private host key as PEM text, not a path: RSA, ECDSA or Ed25519, without a passphrase. All
            /// proxies behind a balancer have the same. The proxy does not start without it.
            host_key: Secret<String> = Reference(words(MUST)),
            /// Ciphers to offer to users, best first, with commas between them. A given list replaces ours;
            /// names that are unknown or too weak are left out with a warning in the log. The same goes for
            /// the three lists that follow. What is spoken with instances is not restricted by them.
            allowed_ciphers: String = Reference(names(&Algorithms::default().cipher, Cipher::name)),
            /// Message authentication codes to offer to users.
            allowed_macs: String = Reference(names(&Algorithms::default().mac, Mac::name)),
            /// Key exchange methods to offer to users.
            allowed_key_exchanges: String = Reference(names(&Algorithms::default().kex, Kex::name)),
            /// Signature algorithms to offer to users; of these, those that `host_key` can make count.
            allowed_host_key_algorithms: String
                = Reference(names(&Algorithms::default().host_key, Signature::name)),
        }
        "Who may log in" {
            /// Serve users named `cf:PROCESS-GUID/INDEX`, whose password is a one-time code of UAA
            /// (`cf ssh`).
            enable_cf_auth: bool = Reference,
            /// Serve users named `diego:PROCESS-GUID/INDEX`, who all have one password.
            enable_diego_auth: bool = Reference,
            /// That password. Where it is empty, nobody gets in by it.
            diego_credentials: Secret<String> = Reference,
            /// URL where UAA exchanges codes for tokens, such as
            /// `https://uaa.service.cf.internal:8443/oauth/token`.
            uaa_token_url: String = Reference(words(MUST_FOR_CF)),
            /// Name of the proxy's OAuth client: `ssh-proxy` in every known deployment.
            uaa_username: String = Reference(words(MUST_FOR_CF)),
            /// Secret of this client.
            uaa_password: Secret<String> = Reference(words(MUST_FOR_CF)),
            /// Path of the CA certificates for UAA. Cloud Controller is verified with them, too; nothing
            /// else is trusted.
            uaa_ca_cert: String = Reference,
            /// URL of Cloud Controller, which says whether a user may enter an app.
            cc_api_url: String = Reference(words(MUST_FOR_CF)),
            /// Path of the CA certificates for Cloud Controller. UAA is verified with them, too.
            cc_api_ca_cert: String = Reference,
            /// Path of the client certificate shown to Cloud Controller; `cc_api_client_key` goes with it.
            cc_api_client_cert: String = Reference,
            /// Path of the key of this certificate.
            cc_api_client_key: String = Reference,
            /// Believe whatever UAA and Cloud Controller show. Only for experiments: whoever is between
            /// them and the proxy can let anybody in. The log warns of it.
            skip_cert_verify: bool = Reference,
        }
        "Where instances are" {
            /// URL of BBS, with `https`. The proxy does not start without it, but BBS may come later.
            bbs_address: String = Reference(words(MUST)),
            /// Path of the CA certificates that BBS is verified with. Like all files of certificates and
            /// keys it is read again when it changes.
            bbs_ca_cert: String = Reference(words(MUST)),
            /// Path of the client certificate shown to BBS.
            bbs_client_cert: String = Reference(words(MUST)),
            /// Path of the key of this certificate.
            bbs_client_key: String = Reference(words(MUST)),
            /// TLS sessions with BBS that are remembered. Zero is the default.
            bbs_client_session_cache_size: i64 = Reference(json(DEFAULT_SESSION_CACHE)),
            /// Idle connections to BBS that are kept. Zero is the default.
            bbs_max_idle_conns_per_host: i64 = Reference(json(DEFAULT_MAX_IDLE)),
            /// Bound of one call to UAA or Cloud Controller with its retries, and of each attempt to ask
            /// BBS, of which two may take so long. Zero or nothing is what is left of the login
            /// (`login_timeout`); the BOSH job sets `"10s"`.
            communication_timeout: Option<Duration> = Reference,
        }
        "How instances are entered" {
            /// Connect to instances that have no preference at their own address, not at the one of
            /// their cell.
            connect_to_instance_address: bool = Reference,
            /// Speak TLS to instances that have a port for it, and verify that it is them.
            backends_tls_enabled: bool = Reference,
            /// Path of the CA certificates for instances; must be given with `backends_tls_enabled`.
            backends_tls_ca_certificates: String = Reference,
            /// Path of the client certificate shown to instances. It counts only together with its key.
            backends_tls_client_certificate: String = Reference,
            /// Path of the key of this certificate.
            backends_tls_client_private_key: String = Reference,
            /// Go on in clear where TLS to an instance fails, as the Go pair does. Otherwise the login is
            /// refused: the instance did not prove its identity.
            backends_tls_fallback: bool = New,
            /// Refuse instances whose route pins no host key, even if TLS proved them.
            require_host_fingerprint: bool = New,
        }
        "How long things may take" {
            /// How long a login may take, from its connection on until the user is in. Zero is no limit.
            login_timeout: Option<Duration> = New(span(DEFAULT_LOGIN_TIMEOUT)),
            /// Ends connections to whose client nothing was sent and from whom nothing came for so long;
            /// keepalives count as something. Zero or nothing is no limit; the BOSH job sets `"300s"`.
            idle_connection_timeout: Option<Duration> = Reference,
            /// Ends connections without data in any channel for so long, whatever keepalives pass. Zero or
            /// nothing is no limit.
            inactivity_timeout: Option<Duration> = New,
            /// Ends connections so long after their login, whatever passes. Zero or nothing is no limit.
            max_connection_duration: Option<Duration> = Reference,
            /// How long connections are still taken after SIGTERM or SIGINT, while health says 503 already,
            /// for balancers to notice.
            drain_delay: Option<Duration> = New(span(Duration::ZERO)),
            /// How long sessions live on after that; then their users are told, and the proxy ends. It ends
            /// earlier when nobody is left, and at once at a second signal.
            drain_timeout: Option<Duration> = New(span(Duration::ZERO)),
        }
        "Who may connect" {
            /// Networks of balancers, such as `["10.0.0.0/8"]`. From them the PROXY protocol (version 1 or
            /// 2) is required, and the user's address stands in the log; from others it is garbage.
            proxy_protocol_sources: Vec<String> = New,
            /// There is no balancer: whoever connects is a user.
            source_is_user: bool = New,
            /// Logins at one time; more are turned away with a reason. Zero is the default.
            max_unauthenticated_connections: i64 = New(json(DEFAULT_MOST_LOGINS)),
            /// The same for one user's address (IPv6: a /64). It and the penalties for failed logins, from
            /// 5 seconds up to 10 minutes, apply only where one of the two keys above tells addresses of
            /// users: behind a plain balancer all have the same. Zero is the default.
            max_unauthenticated_connections_per_source: i64
                = New(json(DEFAULT_MOST_LOGINS_OF_SOURCE)),
            /// Networks to which neither applies.
            penalty_exempt_sources: Vec<String> = New,
        }
        "What users may do" {
            /// Takes away what is not wanted. Other than elsewhere, an unknown key in it keeps the proxy
            /// from starting: a prohibition that is misspelt must not pass in silence.
            policy: Policy = New,
        }
        "What it tells" {
            /// The least severe level that is logged: `"debug"`, `"info"`, `"error"` or `"fatal"`. Without
            /// it the proxy ends with exit code 2, like the Go pair.
            log_level: String = Reference(words(MUST)),
            /// How times are written in the log.
            time_format: TimeFormat = Reference,
            /// Hide what looks like a secret in log lines.
            redact_secrets: bool = Reference,
            /// What looks like one, as regular expressions (RE2's syntax). An empty list is lager's: access
            /// keys of AWS, hashes of passwords, private keys.
            redact_patterns: Vec<String> = Reference,
            /// Bytes of one text in a log line, the rest is cut. Zero is the default.
            max_data_string_length: i64 = Reference(json(lager::LONGEST_TEXT)),
            /// Where `PUT /log-level` changes the level of a running proxy. Whoever reaches it may: use a
            /// loopback address. Empty for nowhere.
            debug_address: String = Reference,
            /// Where Prometheus finds `/metrics`, in clear. Empty for nowhere.
            metrics_address: String = New,
            /// Where sessions are shown and ended, in a browser or with `ssh-proxy sessions` and
            /// `ssh-proxy end`: `127.0.0.1:PORT` for everybody on this machine, `unix:/PATH` for who runs
            /// the proxy, another address for who has a certificate. Empty for nowhere.
            admin_address: String = New,
            /// Path of the CA certificates of those who may come. This key and the next two must be given
            /// where `admin_address` is not loopback.
            admin_ca_cert: String = New,
            /// Path of the certificate shown to them.
            admin_server_cert: String = New,
            /// Path of the key of this certificate.
            admin_server_key: String = New,
            /// Path of the file that gets a line of JSON for each event: logins, refusals, channels,
            /// programs, forwards, ends of sessions. It is made with mode 0600, appended to, and opened anew
            /// after a rotation. A file that cannot be opened at the start ends the proxy with exit code 1.
            /// Empty for none.
            audit_file: String = New,
            /// Tell the same events in the log, too, at level info: with `log_level` error they are not told.
            audit_log: bool = New,
            /// Tell commands and the targets of forwards in these events.
            audit_details: bool = New,
            /// What happens while `audit_file` cannot be written: with `"drop"`, lines wait, and those for
            /// which there is no room are lost and counted in a metric; with `"refuse"`, nobody is let in
            /// until it can be written again, and whoever is in stays in. `"refuse"` needs an `audit_file`.
            audit_when_unwritable: String = New(json(DROP)),
            /// How to reach the loggregator agent, which brings lines into apps' logs and metrics to the
            /// platform. The agent must be there when the proxy starts; later it may come and go.
            loggregator: Loggregator = Reference,
        }
    }
}

object! {
    /// The object under `policy`. What is absent is allowed.
    Policy {
        "The keys of `policy`" {
            /// Interactive shells.
            shell: Option<bool> = New(json(ALLOWED)),
            /// Commands, and subsystems other than sftp; `rsync`, and a file server started by its path,
            /// among them.
            exec: Option<bool> = New(json(ALLOWED)),
            /// sftp and `scp`, which the daemon serves without a shell. Whoever has `exec` or `shell` can
            /// copy files all the same.
            files: Option<bool> = New(json(ALLOWED)),
            /// Connections from the client through the container: `-L`, `-D`, `-W`.
            local_forwarding: Option<bool> = New(json(ALLOWED)),
            /// Listeners in the container: `-R`.
            remote_forwarding: Option<bool> = New(json(ALLOWED)),
            /// Unix sockets, in both directions.
            streamlocal_forwarding: Option<bool> = New(json(ALLOWED)),
            /// The user's agent: `-A`.
            agent_forwarding: Option<bool> = New(json(ALLOWED)),
            /// X11: `-X`.
            x11_forwarding: Option<bool> = New(json(ALLOWED)),
            /// Where `-L`, `-D` and `-W` may lead, as `HOST:PORT`, such as `"10.0.0.0/8:5432"`,
            /// `"*.db.internal:5000-5999"` or `"[fd00::/8]:*"`. An empty list is anywhere. An entry with
            /// addresses matches addresses as the client names them, an entry with a name matches that name:
            /// the proxy resolves nothing.
            forward_targets: Vec<String> = New,
        }
    }
}

object! {
    /// The object under `loggregator`.
    #[allow(dead_code, reason = "a mirror of the file; some keys have no effect")]
    Loggregator {
        "The keys of `loggregator`" {
            /// Send to the agent. `false` means that nothing is sent and the other keys do not count.
            loggregator_use_v2_api: Option<bool>
                = Reference(words("`true` if the three paths are given")),
            /// Port of the agent on this machine. Zero is the default.
            loggregator_api_port: i64 = Reference(json(DEFAULT_PORT)),
            /// Path of the CA certificates for the agent, whose certificate names it `metron`.
            loggregator_ca_path: String = Reference,
            /// Path of the client certificate shown to the agent.
            loggregator_cert_path: String = Reference,
            /// Path of the key of this certificate.
            loggregator_key_path: String = Reference,
            /// Known but without effect, like the next three: the agent adds its own.
            loggregator_job_deployment: String = Reference,
            /// Without effect.
            loggregator_job_name: String = Reference,
            /// Without effect.
            loggregator_job_index: String = Reference,
            /// Without effect.
            loggregator_job_ip: String = Reference,
            /// The tag `origin` of all that is sent.
            loggregator_job_origin: String = Reference,
            /// Source id of the proxy's own metrics.
            loggregator_source_id: String = Reference,
            /// Instance id of the proxy's own metrics.
            loggregator_instance_id: String = Reference,
            /// Envelopes in a batch. Zero is the default.
            loggregator_batch_max_size: i64 = Reference(json(DEFAULT_BATCH_SIZE)),
            /// Known but without effect.
            loggregator_app_metric_exclusion_filter: Vec<String> = Reference,
            /// Nanoseconds between batches, as a number. The Go pair writes it `BatchFlushInterval`; case
            /// does not matter in any key. Zero is the default.
            batchflushinterval: i64 = Reference(json(DEFAULT_BATCH_INTERVAL.as_nanos())),
        }
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

impl FromJson for Loggregator {
    const TYPE: &'static str = "object";
    const ABSENT: &'static str = "`{}`";

    fn absent() -> Self {
        Self::take(&mut Object::default(), "", &mut Vec::new())
    }

    fn from_json(value: Value, key: &str, problems: &mut Vec<String>) -> Result<Self, String> {
        let mut object = Object::inner(value)?;
        Ok(Self::take(&mut object, &format!("{key}."), problems))
    }

    fn list_inside(inside: &str, keys: &mut Vec<Key>) {
        Self::list(inside, keys);
    }
}

impl FromJson for Policy {
    const TYPE: &'static str = "object";
    const ABSENT: &'static str = "`{}`";

    fn absent() -> Self {
        Self::take(&mut Object::default(), "", &mut Vec::new())
    }

    fn from_json(value: Value, key: &str, problems: &mut Vec<String>) -> Result<Self, String> {
        let mut object = Object::inner(value)?;
        let policy = Self::take(&mut object, &format!("{key}."), problems);
        // A prohibition that is misspelt must not pass in silence.
        problems.extend(object.keys().map(|unknown| {
            let unknown = printable(unknown.as_bytes(), LONGEST_KEY);
            format!("{key}.{unknown}: unknown key")
        }));
        Ok(policy)
    }

    fn list_inside(inside: &str, keys: &mut Vec<Key>) {
        Self::list(inside, keys);
    }
}
