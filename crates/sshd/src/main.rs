//! The daemon's entry: command line, secrets, log, listener, signals, exit codes.
//!
//! Everything else is in the library. Exit codes and messages are the reference's: 0 after SIGINT or
//! SIGTERM, 1 if it cannot be configured or cannot listen, 2 for a wrong command line.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use connector::{Files, Resolver};
use goflag::Stop;
use lager::Redaction;
use ssh_proto::algorithm::{Algorithms, Lists};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::{PrivateKey, PublicKey, parse_authorized_keys};
use ssh_proto::transport;
use ssh_tokio::signals;
use sshd::config::{
    self, AllowedAlgorithms, Config, LogConfig, LogLevel, TimeFormat, UnknownLogLevel,
};
use sshd::environment::DaemonEnvironment;
use sshd::inherited;
use sshd::listen::{self, ListenError};
use sshd::secret;
use sshd::server::Server;
use sshd::stay_behind;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Shorter RSA keys, of apps that were started long ago, are accepted and worth a warning.
const LEAST_RSA_BITS: usize = 2048;

/// Threads that wait for disks. They are held for a piece of a file and not for a session, so that a
/// few serve many; a disk that hangs may take one for each of its users.
const MOST_DISK_THREADS: usize = 16;

/// Threads stay, since there may be no other later. A century is as good.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn main() -> ExitCode {
    match start() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(),
    }
}

/// Why the daemon ends with a failure.
enum Failure {
    /// The command line, and the program's name for the usage text.
    Usage(Stop, String),
    /// The keys could not be hidden.
    Exposed(io::Error),
    /// There can be no process beside the first one.
    Fork(io::Error),
    /// The log level, with which the reference panics.
    LogLevel(UnknownLogLevel),
    /// The log has said it.
    Configuration,
    /// The log has to say it.
    Run(String),
}

impl Failure {
    fn report(self) -> ExitCode {
        match self {
            Self::Usage(stop, program) => {
                eprint!("{stop}{}", goflag::usage(&program, config::FLAGS));
                ExitCode::from(stop.exit_code())
            }
            Self::Exposed(error) => {
                eprintln!("cannot hide the keys: {error}");
                ExitCode::FAILURE
            }
            Self::Fork(error) => {
                eprintln!("cannot start a second process: {error}");
                ExitCode::FAILURE
            }
            Self::LogLevel(error) => {
                eprintln!("panic: {error}");
                ExitCode::from(2)
            }
            Self::Configuration => ExitCode::FAILURE,
            Self::Run(error) => {
                tracing::error!(error, "exited-with-failure");
                ExitCode::FAILURE
            }
        }
    }
}

/// Starts, and gives the exit code in the end.
fn start() -> Result<u8, Failure> {
    let mut words = env::args_os();
    let program = words.next().unwrap_or_else(|| OsString::from("diego-sshd"));
    let name = program.to_string_lossy();
    let flags = goflag::parse(config::FLAGS, words.collect())
        .map_err(|stop| Failure::Usage(stop, name.into_owned()))?;
    if flags.is_true(goflag::VERSION.name) {
        let commit = option_env!("FAIRLEAD_COMMIT");
        let version = goflag::version("diego-sshd", env!("CARGO_PKG_VERSION"), commit);
        // Nobody may listen there.
        let _ = io::stdout().write_all(version.as_bytes());
        return Ok(0);
    }
    // Before the first thread, and before anything that could take time.
    let concealed = secret::conceal(&program, &flags).map_err(Failure::Exposed)?;
    let config = Config::new(&flags, concealed.keys).map_err(Failure::LogLevel)?;
    drop(flags);
    if let Some(code) = stay_behind().map_err(Failure::Fork)? {
        return Ok(code);
    }
    inherited::settle();
    // Only the thread of the runtime allocates much.
    heap::share_one();
    init_logging(&config.log)?;
    let keys = parse_keys(&config)?;
    if let Some(address) = &config.debug_address {
        tracing::warn!(address, "debug-server-not-supported");
    }
    let runtime = runtime().map_err(|error| Failure::Run(error.to_string()))?;
    let ran = runtime.block_on(run(config, keys, concealed.environment));
    // A disk that hangs must not keep the daemon from ending.
    runtime.shutdown_background();
    ran.map(|()| 0)
}

/// One thread for all connections, since the daemon shares its container with an app, which is what the
/// CPUs are for; and a few that wait for disks.
fn runtime() -> io::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MOST_DISK_THREADS)
        .thread_keep_alive(FOR_EVER)
        .build()?;
    // The first one is there before the container's processes have used up what it may have.
    runtime.spawn_blocking(|| ());
    Ok(runtime)
}

/// The keys, parsed.
struct ParsedKeys {
    host: PrivateKey,
    authorized: Option<PublicKey>,
}

/// Parses the keys. What is wrong is reported as the reference does: each by its name, then together.
fn parse_keys(config: &Config) -> Result<ParsedKeys, Failure> {
    let mut problems = Vec::new();
    let host = match &config.keys.host {
        None => Some(PrivateKey::generate_ed25519(&mut SystemRandom)),
        Some(pem) => match PrivateKey::from_pem(pem.expose()) {
            Ok(key) => Some(key),
            Err(error) => {
                tracing::error!(%error, "failed-to-parse-host-key");
                tracing::error!(%error, "failed-to-acquire-host-key");
                problems.push(error.to_string());
                None
            }
        },
    };
    let authorized = match &config.keys.authorized {
        None if config.allow_unauthenticated_clients => None,
        None => {
            tracing::error!("authorized-key-required");
            problems.push("Public user key is required".to_owned());
            None
        }
        Some(line) => match parse_authorized_keys(line.expose().as_bytes()) {
            Ok(key) => Some(key),
            Err(error) => {
                problems.push(error.to_string());
                None
            }
        },
    };
    let keys = host.iter().map(PrivateKey::public).chain(&authorized);
    for bits in keys
        .filter_map(PublicKey::rsa_bits)
        .filter(|bits| *bits < LEAST_RSA_BITS)
    {
        tracing::warn!(bits, "rsa-key-too-short");
    }
    match host {
        Some(host) if problems.is_empty() => Ok(ParsedKeys { host, authorized }),
        _ => {
            tracing::error!(error = problems.join(", "), "configure-failed");
            Err(Failure::Configuration)
        }
    }
}

/// The transport's configuration; names of algorithms that are not used are worth a warning.
fn transport(allowed: &AllowedAlgorithms, host_key: PrivateKey) -> transport::Config {
    let (algorithms, dropped) = Algorithms::from_lists(Lists {
        kex: &allowed.key_exchanges.join(","),
        host_key: &allowed.host_key_algorithms.join(","),
        cipher: &allowed.ciphers.join(","),
        mac: &allowed.macs.join(","),
    });
    for name in dropped {
        tracing::warn!(
            algorithm = name.name,
            known = name.known,
            "algorithm-not-used"
        );
    }
    for category in algorithms.lacking() {
        tracing::error!(category, "no-algorithm-left");
    }
    transport::Config::server("SSH-2.0-diego-sshd", algorithms, vec![host_key])
}

/// Listens and serves until a signal asks to stop.
async fn run(
    config: Config,
    keys: ParsedKeys,
    environment: DaemonEnvironment,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::Run(error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    signals::outlive().map_err(failed)?;
    let server = Server {
        transport: Arc::new(transport(&config.allowed, keys.host)),
        authorized_key: keys.authorized,
        allow_unauthenticated_clients: config.allow_unauthenticated_clients,
        environment: Arc::new(environment),
        inherit_daemon_env: config.inherit_daemon_env,
        bounds: config.bounds,
        resolver: Arc::new(Resolver::new(Files::default())),
    };
    let listener = listen::bind(&config.address, &server.resolver)
        .await
        .map_err(cannot_listen)?;
    tracing::info!("started");
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    server.serve(listener, stop).await;
    tracing::info!("exited");
    Ok(())
}

/// In the words of the process group that the reference runs in.
fn cannot_listen(error: ListenError) -> Failure {
    let text = format!("Exit trace for group:\nsshd exited with error: {error}\n");
    Failure::Run(text)
}

/// Logs to standard output as the flags say.
fn init_logging(config: &LogConfig) -> Result<(), Failure> {
    let redaction = config
        .redact
        .as_ref()
        .map(|redact| Redaction::new(&redact.patterns));
    let redaction = redaction
        .transpose()
        .map_err(|error| Failure::Run(error.to_string()))?;
    let log = lager::Config {
        level: match config.level {
            LogLevel::Debug => lager::Level::Debug,
            LogLevel::Info => lager::Level::Info,
            LogLevel::Error => lager::Level::Error,
            LogLevel::Fatal => lager::Level::Fatal,
        },
        time_format: match config.time_format {
            TimeFormat::UnixEpoch => lager::TimeFormat::UnixEpoch,
            TimeFormat::Rfc3339 => lager::TimeFormat::Rfc3339,
        },
        redaction,
        crates: &["diego_sshd", "sshd"],
        ..lager::Config::new("sshd")
    };
    lager::init(log, std::io::stdout()).map_err(|error| Failure::Run(error.to_string()))?;
    Ok(())
}
