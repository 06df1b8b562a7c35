//! The daemon's entry: command line, secrets, log, listener, signals, exit codes.
//!
//! Everything else is in the library. Exit codes and messages are the reference's: 0 after SIGINT or
//! SIGTERM, 1 if it cannot be configured or cannot listen, 2 for a wrong command line.

use std::env;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::io;
use std::process::ExitCode;

use sshd::config::{self, Config, LogConfig, UnknownLogLevel};
use sshd::environment::DaemonEnvironment;
use sshd::flags::{self, Stop};
use sshd::listen::{self, ListenError};
use sshd::secret;
use tokio::signal::unix::{SignalKind, signal};

/// Signals that would end the process but do nothing to a Go program.
const HARMLESS: [libc::c_int; 7] = [
    libc::SIGALRM,
    libc::SIGIO,
    libc::SIGPROF,
    libc::SIGPWR,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGVTALRM,
];

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Why the daemon ends with a failure.
enum Failure {
    /// The command line, and the program's name for the usage text.
    Usage(Stop, String),
    /// The keys could not be hidden.
    Exposed(io::Error),
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
                eprint!("{stop}{}", flags::usage(&program, config::FLAGS));
                ExitCode::from(stop.exit_code())
            }
            Self::Exposed(error) => {
                eprintln!("cannot hide the keys: {error}");
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

fn start() -> Result<(), Failure> {
    let mut words = env::args_os();
    let program = words.next().unwrap_or_else(|| OsString::from("diego-sshd"));
    let name = program.to_string_lossy();
    let flags = flags::parse(config::FLAGS, words.collect())
        .map_err(|stop| Failure::Usage(stop, name.into_owned()))?;
    // Before the first thread, and before anything that could take time.
    let concealed = secret::conceal(&program, &flags).map_err(Failure::Exposed)?;
    let config = Config::new(&flags, concealed.keys).map_err(Failure::LogLevel)?;
    drop(flags);
    init_logging(&config.log);
    check_keys(&config)?;
    if let Some(address) = &config.debug_address {
        tracing::warn!(address, "debug-server-not-supported");
    }
    // One thread: the daemon shares its container with an app, which is what the CPUs are for.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(error.to_string()))?
        .block_on(run(config, concealed.environment))
}

/// Reports what is wrong with the keys, as the reference does: each by its name, then all together.
fn check_keys(config: &Config) -> Result<(), Failure> {
    // TODO(keys): parse both with ssh_proto::key, and log `failed-to-parse-host-key`,
    // `failed-to-acquire-host-key`; hand the parsed keys to the server.
    let mut problems = Vec::new();
    if config.keys.authorized.is_none() && !config.allow_unauthenticated_clients {
        tracing::error!("authorized-key-required");
        problems.push("Public user key is required");
    }
    if problems.is_empty() {
        return Ok(());
    }
    tracing::error!(error = problems.join(", "), "configure-failed");
    Err(Failure::Configuration)
}

/// Listens and serves until a signal asks to stop.
async fn run(config: Config, _environment: DaemonEnvironment) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Run(error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    for number in HARMLESS {
        // The handler stays though the stream is dropped.
        drop(signal(SignalKind::from_raw(number)).map_err(failed)?);
    }
    let listener = listen::bind(&config.address).map_err(cannot_listen)?;
    tracing::info!("started");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        // TODO(server): server::serve(listener, ..) in place of waiting.
        () = std::future::pending() => {}
    }
    drop(listener);
    tracing::info!("exited");
    Ok(())
}

/// In the words of the process group that the reference runs in.
fn cannot_listen(error: ListenError) -> Failure {
    let text = format!("Exit trace for group:\nsshd exited with error: {error}\n");
    Failure::Run(text)
}

/// Stands in for `lager::init`, which takes level, time format and patterns.
fn init_logging(_: &LogConfig) {
    _ = tracing::subscriber::set_global_default(PlainLog);
}

/// Writes each event as a line, with as much of lager's form as the start-up tests look at.
struct PlainLog;

impl tracing::Subscriber for PlainLog {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        println!(
            "{{\"source\":\"sshd\",\"message\":\"sshd.{}\",\"data\":{{{}}}}}",
            line.message, line.data
        );
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    data: String,
}

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        // Writing to a `String` cannot fail.
        _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.data, "\"{name}\":{value:?}"),
        };
    }
}
