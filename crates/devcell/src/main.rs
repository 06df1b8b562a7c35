//! The `devcell` command: a local Cloud Foundry with one app, for trying the proxy and the daemon
//! with any SSH client. Owns the command line and the life of the process; [`Cell`] does the rest.

#![forbid(unsafe_code)]

mod compile;
mod enter;
mod summary;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use devcell::rig::RigError;
use devcell::{Cell, CellOptions};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use compile::CompileError;
use enter::Enter;
use summary::{Summary, Tour};

/// Where the proxy may be watched.
const ANY_PORT: &str = "127.0.0.1:0";

/// What ends the command with exit code 1. Every text is one line.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Rig(#[from] RigError),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    #[error("cannot print JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

fn main() -> ExitCode {
    let arguments = command_line().get_matches();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // One line, whatever a program's last words were; nobody left to tell is fine too.
            let text = failure.to_string().replace('\n', " ");
            let _ = writeln!(io::stderr(), "devcell: {text}");
            ExitCode::FAILURE
        }
    }
}

fn command_line() -> Command {
    Command::new("devcell")
        .about(
            "Runs a local Cloud Foundry with one app: doubles of BBS, UAA and Cloud Controller, the \
             real ssh-proxy and a real diego-sshd per instance. Prints what to paste, and runs \
             until Ctrl-C. Enter prints a new one-time code.",
        )
        .after_help(
            "Under `cargo run` it first builds ssh-proxy and diego-sshd; otherwise it takes them \
             from the directory in DEVCELL_BIN_DIR, or from beside itself.\n\n\
             Programs get new one-time codes by GET of the URL in `cf.authorize` of the JSON object, \
             with `cf.authorization` as the Authorization header: the code is in the Location.",
        )
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("N")
                .value_parser(value_parser!(u16))
                .default_value("2222")
                .help("Port of the proxy on 127.0.0.1; 0 takes a free one"),
        )
        .arg(
            Arg::new("instances")
                .long("instances")
                .value_name("N")
                .value_parser(value_parser!(u16).range(1..=100))
                .default_value("2")
                .help("How many instances of the app to run"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON object instead of text"),
        )
}

fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let port = arguments.get_one("port").copied().unwrap_or(2222);
    let instances = arguments.get_one("instances").copied().unwrap_or(2u16);
    let mut options = CellOptions {
        instances: instances.into(),
        proxy_port: (port != 0).then_some(port),
        cf_auth: true,
        proxy_config: json!({"admin_address": ANY_PORT, "metrics_address": ANY_PORT}),
        ..CellOptions::default()
    };
    // Before the build: it can take minutes, and a taken port is known at once.
    options.check_port()?;
    options.binaries = Some(compile::binaries()?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(serve(options, arguments.get_flag("json")))
}

async fn serve(options: CellOptions, json: bool) -> Result<(), Failure> {
    let mut stop = StopSignals::new().map_err(Failure::Runtime)?;
    let cell = tokio::select! {
        cell = Cell::start(options) => cell?,
        // Dropping the half-started cell ends what it had started.
        () = stop.wait() => return Ok(()),
    };
    let summary = Summary::of(&cell).await?;
    let ended = if json {
        print(&summary.json()?)?;
        tokio::select! {
            () = stop.wait() => None,
            error = cell.program_ended() => Some(error),
        }
    } else {
        print(&summary.text(&Tour::of(&cell)?))?;
        tokio::select! {
            () = stop.wait() => None,
            error = cell.program_ended() => Some(error),
            failure = codes_on_enter(&cell) => return Err(failure),
        }
    };
    cell.stop().await;
    ended.map_or(Ok(()), |error| Err(error.into()))
}

/// Prints a code whenever Enter is pressed, until that fails.
async fn codes_on_enter(cell: &Cell) -> Failure {
    let mut enter = Enter::new();
    loop {
        enter.pressed().await;
        let printed = cell
            .cf_login(0)
            .map_err(Failure::from)
            .and_then(|login| Ok(print(&format!("  password: {}\n", login.password))?));
        if let Err(failure) = printed {
            return failure;
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The signals that ask us to clean up and go.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command_line().debug_assert();
    }

    #[test]
    fn defaults_and_flags() {
        let parse = |words: &[&str]| command_line().try_get_matches_from(words);
        let matches = parse(&["devcell"]).unwrap();
        assert_eq!(matches.get_one("port"), Some(&2222u16));
        assert!(!matches.get_flag("json"));
        let matches = parse(&["devcell", "--port", "0", "--json"]).unwrap();
        assert_eq!(matches.get_one("port"), Some(&0u16));
        assert!(matches.get_flag("json"));
        assert!(parse(&["devcell", "--port", "66000"]).is_err());
    }
}
