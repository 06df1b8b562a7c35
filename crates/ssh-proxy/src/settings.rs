//! What the configuration file means: read once into values that cannot be wrong, certificates and
//! keys included.
//!
//! All problems are found at once. They are ordered as the system that we replace would meet them,
//! and the first one decides on the words in the log and on the exit code.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use ssh_proto::Secret;
use ssh_proto::key::PrivateKey;

use crate::admin::settings::AdminSettings;
use crate::audit::settings::AuditSettings;
use crate::bind;
use crate::config::File;
use crate::edge::drain::DrainTimes;
use crate::edge::settings::{self as edge, EdgeSettings};
use crate::platform::bbs::BbsSettings;
use crate::platform::http::DEFAULT_MAX_IDLE;
use crate::platform::reread::{Broken, KeyedFile, Recipe, Reread};
use crate::platform::tls::{DEFAULT_SESSION_CACHE, Policy};
use crate::relay;

pub(crate) use cf::CfSettings;

pub(crate) mod cf;

pub(crate) mod loggregator;

use loggregator::LoggregatorSettings;

/// How long a login may take unless told otherwise, from accept to success.
pub(crate) const DEFAULT_LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything that the file says, except how to log.
#[derive(Debug)]
pub struct Settings {
    /// Where SSH clients are awaited; see [`crate::bind`] for the unspecified address.
    pub(crate) address: SocketAddr,
    /// Where the health server listens, if it does.
    pub(crate) health_address: Option<SocketAddr>,
    /// Where the debug server listens, if it does.
    pub(crate) debug_address: Option<SocketAddr>,
    /// Where metrics are scraped, if they are.
    pub(crate) metrics_address: Option<SocketAddr>,
    /// Where sessions are shown and ended, if they are.
    pub(crate) admin: Option<AdminSettings>,
    /// What is recorded of users.
    pub(crate) audit: AuditSettings,
    /// Our host key.
    pub(crate) host_key: PrivateKey,
    /// Algorithms as operators list them.
    pub(crate) algorithms: AlgorithmLists,
    /// How to reach BBS.
    pub(crate) bbs: BbsSettings,
    /// The password of the realm `diego:`, if it is served. Never empty.
    pub(crate) diego_credentials: Option<Secret<String>>,
    /// The realm `cf:`, if it is served.
    pub(crate) cf: Option<CfSettings>,
    /// How to enter instances.
    pub(crate) backend: BackendSettings,
    /// Bounds in time.
    pub(crate) times: Times,
    /// How long each step to the end takes.
    pub(crate) drain: DrainTimes,
    /// Who may begin a login.
    pub(crate) edge: EdgeSettings,
    /// What users may do.
    pub(crate) policy: relay::policy::Policy,
    /// Other processes may listen on the same ports.
    pub(crate) reuse_port: bool,
    /// The loggregator agent, if there is one.
    pub(crate) loggregator: Option<LoggregatorSettings>,
}

/// Comma-separated lists for `ssh_proto::algorithm::parse_list`; an empty one means the defaults.
#[derive(Debug, Clone)]
pub(crate) struct AlgorithmLists {
    /// `allowed_key_exchanges`
    pub(crate) kex: String,
    /// `allowed_host_key_algorithms`
    pub(crate) host_key: String,
    /// `allowed_ciphers`
    pub(crate) cipher: String,
    /// `allowed_macs`
    pub(crate) mac: String,
}

/// How to enter instances.
#[derive(Debug, Clone)]
pub(crate) struct BackendSettings {
    /// Dial instances that have no preference at their own address.
    pub(crate) connect_to_instance_address: bool,
    /// TLS for instances that have a TLS port; `None` never touches that port.
    pub(crate) tls: Option<BackendTls>,
    /// Refuse instances without a host fingerprint even if TLS proved them.
    pub(crate) require_host_fingerprint: bool,
}

/// TLS to instances.
#[derive(Debug, Clone)]
pub(crate) struct BackendTls {
    /// Trust and identity.
    pub(crate) files: Arc<Reread>,
    /// Go on in clear where TLS fails.
    pub(crate) fallback: bool,
}

/// Bounds in time; `None` for no bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// A login, from accept to success.
    pub(crate) login: Option<Duration>,
    /// Silence of a client.
    pub(crate) idle: Option<Duration>,
    /// A connection without data in its channels.
    pub(crate) inactivity: Option<Duration>,
    /// A connection, from its login on.
    pub(crate) connection: Option<Duration>,
}

/// Something that keeps the proxy from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key in the file that it is about.
    pub key: &'static str,
    /// What goes before the line in the log, for want of a better word of the reference.
    pub prelude: Option<&'static str>,
    /// The action in the log.
    pub action: &'static str,
    /// The error in the log.
    pub error: String,
    /// How the program ends.
    pub exit: Exit,
}

/// How the program ends on a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Exit code 2 and a fatal line.
    Fatal,
    /// Exit code 1 and an error line.
    Failure,
}

/// How to log, for those who cannot log yet.
///
/// # Errors
///
/// All problems, for stderr.
pub fn logging(file: &File) -> Result<lager::Config, Vec<String>> {
    let mut problems = Vec::new();
    let mut config = lager::Config::new("ssh-proxy");
    config.crates = &["ssh_proxy", "ssh_tokio", "ssh_proto"];
    config.time_format = file.time_format.0;
    config.max_data_string_length = positive(file.max_data_string_length);
    match file.log_level.parse() {
        Ok(level) => config.level = level,
        Err(error) => problems.push(error.to_string()),
    }
    if file.redact_secrets {
        match lager::Redaction::new(&file.redact_patterns) {
            Ok(redaction) => config.redaction = Some(redaction),
            Err(error) => problems.push(format!("redact_patterns: {error}")),
        }
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems)
    }
}

impl Settings {
    /// Makes sense of `file`.
    ///
    /// # Errors
    ///
    /// Every problem, in the order of the reference; at least one.
    pub fn new(file: File) -> Result<Self, Vec<Problem>> {
        let mut found = Problems::default();
        let loggregator = loggregator::read(&file.loggregator, &mut found);
        let bbs = bbs(&file, &mut found);
        let cf = file.enable_cf_auth.then(|| cf::settings(&file, &mut found));
        let diego = (file.enable_diego_auth && !file.diego_credentials.expose().is_empty())
            .then(|| file.diego_credentials.clone());
        let host_key = host_key(&file, &mut found);
        let backend_tls = file
            .backends_tls_enabled
            .then(|| backend_tls(&file, &mut found));
        let mut listen = |key, address: &str| found.listen(key, address);
        let address = listen("address", &file.address);
        let health = (!file.disable_health_check_server)
            .then(|| listen("health_check_address", &file.health_check_address));
        let debug =
            (!file.debug_address.is_empty()).then(|| listen("debug_address", &file.debug_address));
        let metrics = (!file.metrics_address.is_empty())
            .then(|| listen("metrics_address", &file.metrics_address));
        let admin = (!file.admin_address.is_empty()).then(|| AdminSettings::new(&file, &mut found));
        let audit = AuditSettings::new(&file, &mut found);
        let edge = EdgeSettings::new(&file, &mut found);
        let policy = edge::policy(&file.policy, &mut found);
        let (
            Some(loggregator),
            Some(bbs),
            Some(cf),
            Some(host_key),
            Some(backend_tls),
            Some(address),
            Some(health),
            Some(debug),
            Some(metrics),
            Some(admin),
            Some(audit),
            Some(edge),
            Some(policy),
        ) = (
            loggregator,
            bbs,
            all(cf),
            host_key,
            all(backend_tls),
            address,
            all(health),
            all(debug),
            all(metrics),
            all(admin),
            audit,
            edge,
            policy,
        )
        else {
            return Err(found.0);
        };
        Ok(Self {
            address,
            health_address: health,
            debug_address: debug,
            metrics_address: metrics,
            admin,
            audit,
            host_key,
            bbs,
            diego_credentials: diego,
            cf,
            backend: BackendSettings {
                connect_to_instance_address: file.connect_to_instance_address,
                tls: backend_tls,
                require_host_fingerprint: file.require_host_fingerprint,
            },
            times: times(&file),
            drain: DrainTimes {
                delay: file.drain_delay.unwrap_or_default(),
                timeout: file.drain_timeout.unwrap_or_default(),
            },
            edge,
            policy,
            reuse_port: file.reuse_port,
            algorithms: AlgorithmLists {
                kex: file.allowed_key_exchanges,
                host_key: file.allowed_host_key_algorithms,
                cipher: file.allowed_ciphers,
                mac: file.allowed_macs,
            },
            loggregator,
        })
    }
}

/// What is not wanted is fine; what is wanted must be there.
fn all<T>(wanted: Option<Option<T>>) -> Option<Option<T>> {
    match wanted {
        None => Some(None),
        Some(value) => value.map(Some),
    }
}

/// What was found so far.
#[derive(Default)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    fn add(&mut self, key: &'static str, action: &'static str, error: String, exit: Exit) {
        self.0.push(Problem {
            key,
            prelude: None,
            action,
            error,
            exit,
        });
    }

    /// The value of `result`, or its problem booked.
    pub(crate) fn check<T>(
        &mut self,
        key: &'static str,
        action: &'static str,
        exit: Exit,
        result: Result<T, String>,
    ) -> Option<T> {
        result
            .map_err(|error| self.add(key, action, error, exit))
            .ok()
    }

    /// Files of certificates and keys.
    pub(crate) fn files<C>(
        &mut self,
        action: &'static str,
        exit: Exit,
        result: Result<Reread<C>, Vec<Broken>>,
    ) -> Option<Arc<Reread<C>>> {
        match result {
            Ok(files) => Some(Arc::new(files)),
            Err(broken) => {
                for Broken { key, error } in broken {
                    self.add(key, action, error, exit);
                }
                None
            }
        }
    }

    /// The address of a server; a bad one is told like one that is taken.
    pub(crate) fn listen(&mut self, key: &'static str, address: &str) -> Option<SocketAddr> {
        let server = match key {
            "health_check_address" => "healthcheck",
            "debug_address" => "debug-server",
            "metrics_address" => "metrics-server",
            _ => "ssh-proxy",
        };
        let result = bind::parse_address(address).map_err(|error| {
            format!("Exit trace for group:\n{server} exited with error: listen tcp: {error}\n")
        });
        self.check(key, "exited-with-failure", Exit::Failure, result)
    }
}

/// How to reach BBS.
pub(crate) fn bbs(file: &File, found: &mut Problems) -> Option<BbsSettings> {
    const FILES: &str = "Failed to configure secure BBS client";
    let before = found.0.len();
    if file.bbs_address.is_empty() {
        let error = "bbsAddress is required".to_owned();
        found.add("bbs_address", "bbs-address-required", error, Exit::Fatal);
    } else {
        match parse_url(&file.bbs_address) {
            Err(error) => {
                found.add(
                    "bbs_address",
                    "failed-to-parse-bbs-address",
                    error,
                    Exit::Fatal,
                );
            }
            Ok(url) if url.scheme_str() != Some("https") => {
                found.add(
                    "bbs_address",
                    FILES,
                    "Expected https URL".to_owned(),
                    Exit::Fatal,
                );
            }
            Ok(_) => {}
        }
    }
    let files = Reread::new(Recipe {
        policy: Policy::Internal,
        roots: vec![KeyedFile::new("bbs_ca_cert", &file.bbs_ca_cert)],
        identity: Some((
            KeyedFile::new("bbs_client_cert", &file.bbs_client_cert),
            KeyedFile::new("bbs_client_key", &file.bbs_client_key),
        )),
        sessions: positive(file.bbs_client_session_cache_size).unwrap_or(DEFAULT_SESSION_CACHE),
        verify: true,
    });
    let tls = found.files(FILES, Exit::Fatal, files)?;
    (found.0.len() == before).then(|| BbsSettings {
        url: file.bbs_address.trim_end_matches('/').to_owned(),
        tls,
        max_idle: positive(file.bbs_max_idle_conns_per_host).unwrap_or(DEFAULT_MAX_IDLE),
        timeout: limit(file.communication_timeout),
    })
}

/// Our host key.
pub(crate) fn host_key(file: &File, found: &mut Problems) -> Option<PrivateKey> {
    if file.host_key.expose().is_empty() {
        let error = "hostKey is required".to_owned();
        found.add("host_key", "host-key-required", error, Exit::Fatal);
        return None;
    }
    PrivateKey::from_pem(file.host_key.expose())
        .map_err(|error| error.to_string())
        .map_err(|error| {
            found.0.push(Problem {
                key: "host_key",
                prelude: Some("failed-to-parse-private-key"),
                action: "failed-to-parse-host-key",
                error,
                exit: Exit::Fatal,
            });
        })
        .ok()
}

/// TLS to instances, where it is switched on.
pub(crate) fn backend_tls(file: &File, found: &mut Problems) -> Option<BackendTls> {
    const ACTION: &str = "failed-to-get-tls-config";
    let certificate = &file.backends_tls_client_certificate;
    let key = &file.backends_tls_client_private_key;
    // One without the other does not count, as in the reference.
    let both = !certificate.is_empty() && !key.is_empty();
    let policy = if both {
        Policy::Internal
    } else {
        Policy::General
    };
    let ca = &file.backends_tls_ca_certificates;
    let identity = both.then(|| {
        (
            KeyedFile::new("backends_tls_client_certificate", certificate),
            KeyedFile::new("backends_tls_client_private_key", key),
        )
    });
    let files = Reread::new(Recipe {
        policy,
        roots: vec![KeyedFile::new("backends_tls_ca_certificates", ca)],
        identity,
        sessions: DEFAULT_SESSION_CACHE,
        verify: true,
    });
    Some(BackendTls {
        files: found.files(ACTION, Exit::Failure, files)?,
        fallback: file.backends_tls_fallback,
    })
}

fn times(file: &File) -> Times {
    Times {
        login: limit(Some(file.login_timeout.unwrap_or(DEFAULT_LOGIN_TIMEOUT))),
        idle: limit(file.idle_connection_timeout),
        inactivity: limit(file.inactivity_timeout),
        connection: limit(file.max_connection_duration),
    }
}

/// Zero means no limit.
fn limit(duration: Option<Duration>) -> Option<Duration> {
    duration.filter(|duration| !duration.is_zero())
}

/// A number that counts only if it is above zero.
fn positive(number: i64) -> Option<usize> {
    usize::try_from(number).ok().filter(|number| *number > 0)
}

/// A URL; the error does not show it, since it may hold a password.
fn parse_url(text: &str) -> Result<Uri, String> {
    if text.starts_with(':') {
        return Err("parse URL: missing protocol scheme".to_owned());
    }
    let url: Uri = text
        .parse()
        .map_err(|error| format!("parse URL: {error}"))?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let (_, port) = authority.rsplit_once(':').unwrap_or_default();
    // What is left of an IPv6 literal ends with its bracket, what is left of a password has an @.
    if url.port_u16().is_none() && !port.is_empty() && !port.contains([']', '@']) {
        return Err("parse URL: invalid port".to_owned());
    }
    Ok(url)
}

/// A URL of the web with a host.
fn parse_web_url(text: &str) -> Result<Uri, String> {
    let url = parse_url(text)?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(url),
        _ => Err("parse URL: not an http or https URL with a host".to_owned()),
    }
}

#[cfg(test)]
mod tests;
