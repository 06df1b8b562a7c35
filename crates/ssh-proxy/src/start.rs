//! From the command line to a running proxy, and back to an exit code: 0 after a signal, 1 if the
//! proxy cannot run, 2 if it was called or configured wrongly.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use goflag::{Flag, Kind};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use tokio::task::JoinSet;
use tracing::{error, info};

use crate::admin;
use crate::audit::Audit;
use crate::bind::Listeners;
use crate::config::{File, reference};
use crate::debug;
use crate::doctor;
use crate::edge::activation::Inherited;
use crate::edge::drain::{self, Signals};
use crate::health::Health;
use crate::metrics::{Exposition, Metrics};
use crate::platform::loggregator::Loggregator;
use crate::platform::tls;
use crate::proxy::Proxy;
use crate::sessions::Sessions;
use crate::settings::loggregator::{self, LoggregatorSettings};
use crate::settings::{self, Exit, Problem, Settings};

/// The proxy was called or configured wrongly.
const EXIT_USAGE: u8 = 2;

/// The command line, as the reference has it.
const FLAGS: &[Flag] = &[
    Flag {
        name: "config",
        kind: Kind::Text,
        default: "",
        usage: "Path to the JSON configuration file",
    },
    Flag {
        name: "debugAddr",
        kind: Kind::Text,
        default: "",
        usage: "Accepted for old scripts and ignored: debug_address in the file counts",
    },
    goflag::VERSION,
];

/// What can stand in place of flags, for the usage text.
const COMMANDS: &str = "
Commands, each with a -h of its own:
  config
    \tPrint what every key of the configuration file means
  doctor
    \tTry everything that a login needs, and say what is broken
  sessions
    \tPrint who is in
  end
    \tEnd a session
";

/// Runs the proxy as this process's command line says, until it has to end.
///
/// `commit` is what the program was made of, if that is known. Must be called before there are threads: what
/// was inherited is looked at here.
pub fn start(commit: Option<&str>) -> ExitCode {
    refuse_dumps();
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_else(|| "ssh-proxy".into());
    let mut words: Vec<OsString> = words.collect();
    if let Some(command) = command(&mut words) {
        return command(words);
    }
    let flags = match goflag::parse(FLAGS, words) {
        Ok(flags) => flags,
        Err(stop) => {
            let usage = goflag::usage(&program.to_string_lossy(), FLAGS);
            complain(&format!("{stop}{usage}{COMMANDS}"));
            return ExitCode::from(stop.exit_code());
        }
    };
    if flags.is_true(goflag::VERSION.name) {
        let version = goflag::version("ssh-proxy", env!("CARGO_PKG_VERSION"), commit);
        let _ = io::stdout().write_all(version.as_bytes());
        return ExitCode::SUCCESS;
    }
    raise_descriptors();
    let (file, logging) = match load(flags.text("config")) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems {
                complain(&format!("ssh-proxy: {problem}\n"));
            }
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let logs = match lager::init(logging, io::stdout()) {
        Ok(logs) => logs,
        Err(error) => return give_up(&error.to_string()),
    };
    let agent = loggregator::of_any(&file);
    match Settings::new(file) {
        // Before the runtime has threads.
        Ok(settings) => match Inherited::take() {
            Ok(inherited) => in_runtime(run(settings, inherited, logs)),
            Err(error) => give_up(&error),
        },
        Err(problems) => in_runtime(refuse(problems, agent)),
    }
}

/// The command that the first word names, which is then taken away.
fn command(words: &mut Vec<OsString>) -> Option<fn(Vec<OsString>) -> ExitCode> {
    let command: fn(Vec<OsString>) -> ExitCode = match words.first()?.to_str()? {
        "config" => reference::command,
        "sessions" => admin::command::sessions,
        "end" => admin::command::end,
        "doctor" => doctor::command,
        _ => return None,
    };
    words.remove(0);
    Some(command)
}

/// No core dumps, and `/proc/PID/{environ,mem}` for root alone: the host key and the credentials of the
/// platform live in this memory, and for a moment each user's.
fn refuse_dumps() {
    // A sandbox may forbid it, which is no reason not to run.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Allows as many descriptors as the hard limit does, as Go's run time does for the reference: soft limits
/// are for programs that use select(2).
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    // A sandbox may forbid it; then the soft limit counts.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
}

/// Writes to stderr, unless nobody listens there (`eprint!` would panic).
fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Reads the file and how to log.
fn load(path: &str) -> Result<(File, lager::Config), Vec<String>> {
    let text = tls::read(path).map_err(|error| vec![format!("-config: {error}")])?;
    let told = |problems: Vec<String>| {
        let in_file = problems
            .into_iter()
            .map(|problem| format!("{path}: {problem}"));
        in_file.collect::<Vec<_>>()
    };
    let file = File::parse(&text).map_err(told)?;
    let logging = settings::logging(&file)?;
    Ok((file, logging))
}

/// Logs what keeps the proxy from starting: the first problem in the words of the reference, the
/// others in `data.problems`.
fn report(problems: &[Problem]) -> ExitCode {
    let Some((first, others)) = problems.split_first() else {
        return ExitCode::FAILURE;
    };
    let others: Vec<String> = others
        .iter()
        .map(|problem| format!("{}: {}", problem.key, problem.error.trim_end()))
        .collect();
    let others = (!others.is_empty()).then(|| others.join("; "));
    let others = others.as_deref();
    if let Some(prelude) = first.prelude {
        error!(error = first.error, "{prelude}");
    }
    match first.exit {
        Exit::Fatal => {
            lager::fatal!(
                error = first.error,
                key = first.key,
                problems = others,
                "{}",
                first.action
            );
            ExitCode::from(EXIT_USAGE)
        }
        Exit::Failure => {
            error!(
                error = first.error,
                key = first.key,
                problems = others,
                "{}",
                first.action
            );
            ExitCode::FAILURE
        }
    }
}

fn in_runtime(program: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(program),
        Err(error) => give_up(&format!("no runtime: {error}")),
    }
}

/// Ends because of `problems`, to which an agent that is not there belongs, too. It comes first: the
/// reference connects to it before it looks at anything else.
async fn refuse(mut problems: Vec<Problem>, agent: Option<LoggregatorSettings>) -> ExitCode {
    if let Err(error) = Loggregator::start(agent).await {
        problems.insert(0, loggregator::refused(error));
    }
    report(&problems)
}

/// Connects to the agent, binds every port, tells so, and serves until a signal.
async fn run(mut settings: Settings, inherited: Inherited, logs: lager::Handle) -> ExitCode {
    let (emitter, loggregator) = match Loggregator::start(settings.loggregator.take()).await {
        Ok(started) => started,
        Err(error) => return report(&[loggregator::refused(error)]),
    };
    let listeners = Listeners::bind(&settings, inherited);
    let (listeners, signals) = match (listeners, Signals::listen()) {
        (Ok(listeners), Ok(signals)) => (listeners, signals),
        (Err(trace), _) => return give_up(&trace),
        (_, Err(error)) => return give_up(&format!("no signals: {error}")),
    };
    let health = Health::default();
    let drain = settings.drain;
    let metrics = Arc::<Metrics>::default();
    let (audit, writer) = match Audit::start(std::mem::take(&mut settings.audit)) {
        Ok((audit, writer)) => (Arc::new(audit), writer),
        Err(error) => return give_up(&error),
    };
    let sessions = Arc::<Sessions>::default();
    let proxy = Proxy::new(
        settings,
        emitter.clone(),
        Arc::clone(&metrics),
        Arc::clone(&sessions),
        Arc::clone(&audit),
    );
    // They end with the set.
    let mut watchers = JoinSet::new();
    if let Some(listener) = listeners.debug {
        watchers.spawn(debug::serve(listener, logs));
    }
    if let Some(listener) = listeners.health {
        watchers.spawn(health.clone().serve(listener));
    }
    if let Some(listener) = listeners.admin {
        watchers.spawn(listener.serve(Arc::clone(&sessions)));
    }
    if let Some(listener) = listeners.metrics {
        if let Ok(address) = listener.local_addr() {
            info!(%address, "serving-metrics");
        }
        let exposition = Exposition::new(&metrics, sessions, emitter.clone(), audit);
        watchers.spawn(exposition.serve(listener));
    } else {
        // Whoever is not asked for its figures must not keep its queue open.
        drop(audit);
    }
    info!("started");
    let turn_away = || match listeners.has_successor {
        // It alone may say how it is: with one port for both, a balancer would hear now one, now the other.
        true => watchers.abort_all(),
        false => health.drain(),
    };
    let (close, end) = drain::plan(signals, turn_away, drain);
    tokio::select! {
        () = proxy.serve(listeners.ssh, close, end) => {}
        () = metrics.emit(&emitter) => {}
    }
    // They hold ends of queues.
    watchers.shutdown().await;
    drop(emitter);
    if let Some(writer) = writer {
        writer.finish().await;
    }
    loggregator.finish().await;
    info!("exited");
    ExitCode::SUCCESS
}

/// Ends with the reference's last words.
fn give_up(trace: &str) -> ExitCode {
    error!(error = trace, "exited-with-failure");
    ExitCode::FAILURE
}
