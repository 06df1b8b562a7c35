//! What the configuration file means: read once into values that cannot be wrong, certificates and
//! keys included.
//!
//! All problems are found at once. They are ordered as the system that we replace would meet them,
//! and the first one decides on the words in the log and on the exit code.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use rustls::{ClientConfig, RootCertStore};
use ssh_proto::Secret;
use ssh_proto::key::PrivateKey;

use crate::bind;
use crate::config::{File, Loggregator};
use crate::edge::drain::DrainTimes;
use crate::edge::settings::{self as edge, EdgeSettings};
use crate::platform::bbs::BbsSettings;
use crate::platform::http::DEFAULT_MAX_IDLE;
use crate::platform::tls::{self, DEFAULT_SESSION_CACHE, Identity, Policy};
use crate::relay;

/// How long a login may take unless told otherwise, from accept to success.
const DEFAULT_LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Port of the loggregator agent unless told otherwise.
const DEFAULT_AGENT_PORT: u16 = 3458;

/// Envelopes in a batch unless told otherwise.
const DEFAULT_BATCH_SIZE: usize = 100;

/// Time between batches unless told otherwise.
const DEFAULT_BATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Everything that the file says, except how to log.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where SSH clients are awaited; see [`crate::bind`] for the unspecified address.
    pub(crate) address: SocketAddr,
    /// Where the health server listens, if it does.
    pub(crate) health_address: Option<SocketAddr>,
    /// Where the debug server listens, if it does.
    pub(crate) debug_address: Option<SocketAddr>,
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
    #[allow(
        dead_code,
        reason = "read by the loggregator client, which comes later"
    )]
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

/// What deciding on the realm `cf:` takes.
#[allow(dead_code, reason = "read by the realm `cf:`, which comes later")]
#[derive(Debug, Clone)]
pub(crate) struct CfSettings {
    /// Cloud Controller: an `http:` or `https:` URL.
    pub(crate) cc_api_url: Uri,
    /// Where UAA exchanges codes: an `http:` or `https:` URL.
    pub(crate) uaa_token_url: Uri,
    /// Name of our OAuth client.
    pub(crate) uaa_username: String,
    /// Its secret.
    pub(crate) uaa_password: Secret<String>,
    /// Trust for Cloud Controller, and who we are for it. Verifies whatever `skip_cert_verify` says.
    pub(crate) cc_tls: Arc<ClientConfig>,
    /// Trust for UAA. Verifies whatever `skip_cert_verify` says.
    pub(crate) uaa_tls: Arc<ClientConfig>,
    /// Do not verify either.
    pub(crate) skip_cert_verify: bool,
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
    pub(crate) config: Arc<ClientConfig>,
    /// Go on in clear where TLS fails.
    pub(crate) fallback: bool,
}

/// Bounds in time; `None` for no bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// One call to the platform with its retries.
    #[allow(
        dead_code,
        reason = "read by the clients of UAA and Cloud Controller, which comes later"
    )]
    pub(crate) communication: Option<Duration>,
    /// A login, from accept to success.
    pub(crate) login: Option<Duration>,
    /// Silence of a client.
    pub(crate) idle: Option<Duration>,
    /// A connection without data in its channels.
    pub(crate) inactivity: Option<Duration>,
    /// A connection, from its login on.
    pub(crate) connection: Option<Duration>,
}

/// The loggregator agent. Files are not read yet.
#[allow(
    dead_code,
    reason = "read by the loggregator client, which comes later"
)]
#[derive(Debug, Clone)]
pub(crate) struct LoggregatorSettings {
    /// Port of the agent on this machine.
    pub(crate) port: u16,
    /// Path of the CA certificates.
    pub(crate) ca_path: String,
    /// Path of our certificate.
    pub(crate) cert_path: String,
    /// Path of our key.
    pub(crate) key_path: String,
    /// The tag `origin`.
    pub(crate) origin: String,
    /// Source id of our own metrics.
    pub(crate) source_id: String,
    /// Instance id of our own metrics.
    pub(crate) instance_id: String,
    /// Envelopes in a batch, at least 1.
    pub(crate) batch_size: usize,
    /// Time between batches, not zero.
    pub(crate) batch_interval: Duration,
}

/// Something that keeps the proxy from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The key in the file that it is about.
    pub(crate) key: &'static str,
    /// What goes before the line in the log, for want of a better word of the reference.
    pub(crate) prelude: Option<&'static str>,
    /// The action in the log.
    pub(crate) action: &'static str,
    /// The error in the log.
    pub(crate) error: String,
    /// How the program ends.
    pub(crate) exit: Exit,
}

/// How the program ends on a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
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
pub(crate) fn logging(file: &File) -> Result<lager::Config, Vec<String>> {
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
    pub(crate) fn new(file: File) -> Result<Self, Vec<Problem>> {
        let mut found = Problems::default();
        let loggregator = loggregator(&file.loggregator, &mut found);
        let bbs = bbs(&file, &mut found);
        let cf = file.enable_cf_auth.then(|| cf(&file, &mut found));
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

    /// The address of a server; a bad one is told like one that is taken.
    fn listen(&mut self, key: &'static str, address: &str) -> Option<SocketAddr> {
        let server = match key {
            "health_check_address" => "healthcheck",
            "debug_address" => "debug-server",
            _ => "ssh-proxy",
        };
        let result = bind::parse_address(address).map_err(|error| {
            format!("Exit trace for group:\n{server} exited with error: listen tcp: {error}\n")
        });
        self.check(key, "exited-with-failure", Exit::Failure, result)
    }
}

fn bbs(file: &File, found: &mut Problems) -> Option<BbsSettings> {
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
    let roots = found.check(
        "bbs_ca_cert",
        FILES,
        Exit::Fatal,
        tls::roots_from_file(&file.bbs_ca_cert),
    );
    let identity = Identity::from_files(&file.bbs_client_cert, &file.bbs_client_key);
    let identity = found.check("bbs_client_cert", FILES, Exit::Fatal, identity);
    let sessions = positive(file.bbs_client_session_cache_size).unwrap_or(DEFAULT_SESSION_CACHE);
    let config = tls::client_config(Policy::Internal, roots?, Some(identity?), sessions);
    let config = found.check("bbs_client_key", FILES, Exit::Fatal, config)?;
    (found.0.len() == before).then(|| BbsSettings {
        url: file.bbs_address.trim_end_matches('/').to_owned(),
        tls: Arc::new(config),
        max_idle: positive(file.bbs_max_idle_conns_per_host).unwrap_or(DEFAULT_MAX_IDLE),
        timeout: limit(file.communication_timeout),
    })
}

/// The keys of the realm `cf:` that may not be empty, in the order in which the reference looks.
fn cf_missing(file: &File) -> [(&'static str, bool, &'static str); 4] {
    [
        ("cc_api_url", file.cc_api_url.is_empty(), "ccAPIURL"),
        (
            "uaa_password",
            file.uaa_password.expose().is_empty(),
            "UAA password",
        ),
        ("uaa_username", file.uaa_username.is_empty(), "UAA username"),
        (
            "uaa_token_url",
            file.uaa_token_url.is_empty(),
            "uaaTokenURL",
        ),
    ]
}

fn cf(file: &File, found: &mut Problems) -> Option<CfSettings> {
    let mut check = Configure(found);
    for (key, missing, name) in cf_missing(file) {
        if missing {
            let error = format!("{name} is required for Cloud Foundry authentication");
            check.result::<()>(key, Err(error));
        }
    }
    let mut url = |key, text: &str| {
        // Told above.
        (!text.is_empty())
            .then(|| check.result(key, parse_web_url(text)))
            .flatten()
    };
    let cc_api_url = url("cc_api_url", &file.cc_api_url);
    let uaa_token_url = url("uaa_token_url", &file.uaa_token_url);
    let mut roots = RootCertStore::empty();
    let mut roots_fine = true;
    for (key, path) in [
        ("cc_api_ca_cert", &file.cc_api_ca_cert),
        ("uaa_ca_cert", &file.uaa_ca_cert),
    ] {
        if !path.is_empty() {
            let added = tls::add_roots(&mut roots, path).map_err(ca_problem);
            roots_fine &= check.result(key, added).is_some();
        }
    }
    let identity =
        all(cc_identity(file).map(|identity| check.result("cc_api_client_cert", identity)));
    let tls = |roots, identity| {
        tls::client_config(Policy::General, roots, identity, DEFAULT_SESSION_CACHE)
    };
    let cc_tls = check.result("cc_api_client_key", tls(roots.clone(), identity?));
    let uaa_tls = check.result("uaa_ca_cert", tls(roots, None));
    let settings = CfSettings {
        cc_api_url: cc_api_url?,
        uaa_token_url: uaa_token_url?,
        uaa_username: file.uaa_username.clone(),
        uaa_password: file.uaa_password.clone(),
        cc_tls: Arc::new(cc_tls?),
        uaa_tls: Arc::new(uaa_tls?),
        skip_cert_verify: file.skip_cert_verify,
    };
    let complete = cf_missing(file).iter().all(|(_, missing, _)| !missing);
    (complete && roots_fine).then_some(settings)
}

/// Problems that the reference all tells as `configure-failed`.
struct Configure<'a>(&'a mut Problems);

impl Configure<'_> {
    fn result<T>(&mut self, key: &'static str, result: Result<T, String>) -> Option<T> {
        self.0.check(key, "configure-failed", Exit::Failure, result)
    }
}

/// The reference's words for CA files of the realm `cf:`.
fn ca_problem(error: String) -> String {
    if error.starts_with("open ") {
        format!("failed to read ca cert file: {error}")
    } else {
        error
    }
}

/// Who we are for Cloud Controller; `None` if no client certificate is configured.
fn cc_identity(file: &File) -> Option<Result<Identity, String>> {
    match (
        file.cc_api_client_cert.as_str(),
        file.cc_api_client_key.as_str(),
    ) {
        ("", "") => None,
        ("", _) | (_, "") => Some(Err(
            "cc_api_client_cert and cc_api_client_key go together".to_owned()
        )),
        (certificate, key) => Some(Identity::from_files(certificate, key)),
    }
}

fn host_key(file: &File, found: &mut Problems) -> Option<PrivateKey> {
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

fn backend_tls(file: &File, found: &mut Problems) -> Option<BackendTls> {
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
    let roots = tls::roots_from_file(&file.backends_tls_ca_certificates);
    let roots = found.check("backends_tls_ca_certificates", ACTION, Exit::Failure, roots);
    let identity = all(both.then(|| {
        let identity = Identity::from_files(certificate, key);
        found.check(
            "backends_tls_client_certificate",
            ACTION,
            Exit::Failure,
            identity,
        )
    }));
    let config = tls::client_config(policy, roots?, identity?, DEFAULT_SESSION_CACHE);
    let key = "backends_tls_client_private_key";
    let config = found.check(key, ACTION, Exit::Failure, config)?;
    Some(BackendTls {
        config: Arc::new(config),
        fallback: file.backends_tls_fallback,
    })
}

fn times(file: &File) -> Times {
    Times {
        communication: limit(file.communication_timeout),
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

fn loggregator(file: &Loggregator, found: &mut Problems) -> Option<Option<LoggregatorSettings>> {
    let paths = [
        &file.loggregator_ca_path,
        &file.loggregator_cert_path,
        &file.loggregator_key_path,
    ];
    let on = file
        .loggregator_use_v2_api
        .unwrap_or_else(|| paths.iter().all(|path| !path.is_empty()));
    if !on {
        return Some(None);
    }
    let port = match file.loggregator_api_port {
        0 => Ok(DEFAULT_AGENT_PORT),
        port => u16::try_from(port).map_err(|_| format!("invalid port {port}")),
    };
    let action = "failed-to-initialize-metron-client";
    let port = found.check(
        "loggregator.loggregator_api_port",
        action,
        Exit::Failure,
        port,
    )?;
    let interval = u64::try_from(file.batchflushinterval).unwrap_or(0);
    let interval = limit(Some(Duration::from_nanos(interval)));
    Some(Some(LoggregatorSettings {
        port,
        ca_path: file.loggregator_ca_path.clone(),
        cert_path: file.loggregator_cert_path.clone(),
        key_path: file.loggregator_key_path.clone(),
        origin: file.loggregator_job_origin.clone(),
        source_id: file.loggregator_source_id.clone(),
        instance_id: file.loggregator_instance_id.clone(),
        batch_size: positive(file.loggregator_batch_max_size).unwrap_or(DEFAULT_BATCH_SIZE),
        batch_interval: interval.unwrap_or(DEFAULT_BATCH_INTERVAL),
    }))
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
