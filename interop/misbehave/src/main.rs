//! The command `misbehave`: runs the rows against a server or against clients, and combines results. Owns
//! the command line.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::process::{self, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use misbehave::case::{Case, Program, Stage};
use misbehave::cases;
use misbehave::client::{CredentialSecret, Credentials};
use misbehave::host::HostCase;
use misbehave::peer::Peer;
use misbehave::report::{Report, Row, markdown, summary, table};
use misbehave::run::{self, Target};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::PrivateKey;

/// How long a server may take to listen after `--restart`.
const START: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments = command_line().get_matches();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            // Nobody left to tell is fine too.
            let _ = writeln!(io::stderr(), "misbehave: {text}");
            ExitCode::from(2)
        }
    }
}

fn command_line() -> Command {
    let value = |name: &'static str, placeholder: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(placeholder).help(help)
    };
    Command::new("misbehave")
        .about(
            "An SSH client that breaks the rules, one at a time, and sees what the server makes of it; with \
             --listen, a server that does so. Exits with 1 if anything is not as expected.",
        )
        .arg(value("server", "HOST:PORT", "The server"))
        .arg(
            value("listen", "ADDRESS", "Play a server there: one row with each client that connects")
                .conflicts_with("server"),
        )
        .arg(
            value("host-key", "KEYFILE", "With --listen: the host key, Ed25519; else a new one")
                .requires("listen"),
        )
        .arg(value("name", "NAME", "What to call the server in results").default_value("server"))
        .arg(value("user", "USER", "Who logs in"))
        .arg(value("password", "PASSWORD", "The user's password").conflicts_with("identity"))
        .arg(value("identity", "KEYFILE", "The user's private key"))
        .arg(value("only", "PREFIX", "Only rows whose id begins so").default_value(""))
        .arg(
            value("as", "PROGRAM", "Whose rules count, where they differ")
                .value_parser(["any", "proxy", "daemon"])
                .default_value("any"),
        )
        .arg(
            value("patience", "SECONDS", "What takes longer hangs")
                .value_parser(value_parser!(u64).range(1..=600))
                .default_value("3"),
        )
        .arg(value(
            "restart",
            "COMMAND",
            "What starts the server again, in the background, where a row was its end",
        ))
        .arg(
            value("format", "FORMAT", "How to print")
                .value_parser(["table", "json", "markdown"])
                .default_value("table"),
        )
        .arg(
            value("combine", "JSON", "Results to put side by side, as Markdown")
                .num_args(1..)
                .conflicts_with("server"),
        )
        .arg(
            Arg::new("all")
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Markdown: every row, not only those that some server does not meet"),
        )
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help("Only print what there is"),
        )
}

/// True if all is as expected.
fn run(arguments: &ArgMatches) -> Result<bool, String> {
    let text = |name: &str| arguments.get_one::<String>(name).map(String::as_str);
    let prefix = text("only").unwrap_or_default();
    if let Some(address) = text("listen") {
        return listen(arguments, address, prefix);
    }
    let mut chosen = cases::all();
    chosen.retain(|case| case.id.starts_with(prefix));
    if arguments.get_flag("list") {
        print(&list(&chosen))?;
        return Ok(true);
    }
    if let Some(files) = arguments.get_many::<String>("combine") {
        let reports: Result<Vec<Report>, String> = files.map(|path| read_report(path)).collect();
        print(&markdown(&reports?, arguments.get_flag("all")))?;
        return Ok(true);
    }
    let report = meet(arguments, chosen)?;
    show(arguments, report)
}

/// Prints it; true if all is as expected.
fn show(arguments: &ArgMatches, report: Report) -> Result<bool, String> {
    let text = |name: &str| arguments.get_one::<String>(name).map(String::as_str);
    let differs = report.results.iter().any(Row::differs) || report.gone_after.is_some();
    match text("format") {
        Some("json") => {
            let json = serde_json::to_string_pretty(&report);
            print(&(json.map_err(|error| error.to_string())? + "\n"))?;
        }
        Some("markdown") => print(&markdown(&[report], arguments.get_flag("all")))?,
        _ => print(&format!("{}\n{}", table(&report.results), summary(&report)))?,
    }
    Ok(!differs)
}

/// Plays the rows of servers to whoever connects, one after the other.
fn listen(arguments: &ArgMatches, address: &str, prefix: &str) -> Result<bool, String> {
    let text = |name: &str| arguments.get_one::<String>(name).map(String::as_str);
    let mut rows = cases::host::all();
    rows.retain(|row| row.case.id.starts_with(prefix));
    if arguments.get_flag("list") {
        let cases: Vec<Case> = rows.into_iter().map(|row| row.case).collect();
        print(&list(&cases))?;
        return Ok(true);
    }
    let pem = text("host-key").map(read).transpose()?;
    let key = || match &pem {
        Some(pem) => PrivateKey::from_pem(pem).map_err(|error| format!("host key: {error}")),
        None => Ok(PrivateKey::generate_ed25519(&mut SystemRandom)),
    };
    let listener = TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    // Results may be read by a program: this is not one of them.
    let _ = writeln!(io::stderr(), "misbehave: listening on {address}");
    let mut report = Report {
        server: text("name").unwrap_or_default().to_owned(),
        results: Vec::new(),
        left_out: 0,
        gone_after: None,
    };
    let program = program(arguments);
    for HostCase { case, .. } in &rows {
        let (stream, _) = listener.accept().map_err(|error| error.to_string())?;
        let offer = case.offer.clone();
        let peer = Peer::server(stream, offer, patience(arguments), key()?);
        let mut peer = peer.map_err(|error| error.to_string())?;
        let outcome = run::meet(&mut peer, case, program);
        report.results.push(Row::new(case, program, &outcome));
    }
    show(arguments, report)
}

fn meet(arguments: &ArgMatches, mut chosen: Vec<Case>) -> Result<Report, String> {
    let text = |name: &str| arguments.get_one::<String>(name).map(String::as_str);
    let server = text("server").ok_or("give --server HOST:PORT, --listen, --combine or --list")?;
    let target = Target {
        address: resolve(server)?,
        credentials: credentials(arguments)?,
        program: program(arguments),
        patience: patience(arguments),
    };
    let stage = if target.credentials.is_some() {
        Stage::Authenticated
    } else {
        Stage::Keyed
    };
    target
        .serves(stage)
        .map_err(|end| format!("{server} does not even serve a good client: {end}"))?;
    let total = chosen.len();
    chosen.retain(|case| target.credentials.is_some() || !case.needs_login());
    let mut report = Report {
        server: text("name").unwrap_or_default().to_owned(),
        results: Vec::new(),
        left_out: total - chosen.len(),
        gone_after: None,
    };
    for case in chosen {
        let outcome = target.run(&case);
        report
            .results
            .push(Row::new(&case, target.program, &outcome));
        if outcome.next.is_some() && !is_back(&target, text("restart"))? {
            report.gone_after = Some(case.id);
            break;
        }
    }
    Ok(report)
}

fn program(arguments: &ArgMatches) -> Program {
    match arguments.get_one::<String>("as").map(String::as_str) {
        Some("proxy") => Program::Proxy,
        Some("daemon") => Program::Daemon,
        _ => Program::Any,
    }
}

fn patience(arguments: &ArgMatches) -> Duration {
    let seconds = arguments.get_one::<u64>("patience").copied();
    Duration::from_secs(seconds.unwrap_or(3))
}

/// Whether a server that did not serve a good client does so now, or once it is started again.
fn is_back(target: &Target, restart: Option<&str>) -> Result<bool, String> {
    if target.serves(Stage::Keyed).is_ok() {
        return Ok(true);
    }
    let Some(command) = restart else {
        return Ok(false);
    };
    let status = process::Command::new("sh").args(["-c", command]).status();
    let status = status.map_err(|error| format!("sh: {error}"))?;
    if !status.success() {
        return Err(format!("{command}: {status}"));
    }
    let deadline = Instant::now() + START;
    while target.serves(Stage::Keyed).is_err() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(START / 100);
    }
    Ok(true)
}

fn credentials(arguments: &ArgMatches) -> Result<Option<Credentials>, String> {
    let text = |name: &str| arguments.get_one::<String>(name);
    let secret = match (text("password"), text("identity")) {
        (Some(password), _) => CredentialSecret::Password(password.clone()),
        (None, Some(path)) => CredentialSecret::Key(read(path)?),
        (None, None) => return Ok(None),
    };
    let user = text("user").ok_or("give --user with --password or --identity")?;
    Ok(Some(Credentials {
        user: user.clone(),
        secret,
    }))
}

fn resolve(server: &str) -> Result<SocketAddr, String> {
    let addresses = server.to_socket_addrs();
    let mut addresses = addresses.map_err(|error| format!("{server}: {error}"))?;
    addresses
        .next()
        .ok_or_else(|| format!("{server} has no address"))
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn read_report(path: &str) -> Result<Report, String> {
    serde_json::from_str(&read(path)?).map_err(|error| format!("{path}: {error}"))
}

fn list(cases: &[Case]) -> String {
    let line = |case: &Case| format!("{}\t{}\t{}\n", case.id, case.title, case.source);
    cases.iter().map(line).collect::<String>() + &format!("{} rows\n", cases.len())
}

fn print(text: &str) -> Result<(), String> {
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| format!("cannot print: {error}"))
}
