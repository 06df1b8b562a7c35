//! The `devcell` command as a user or a script has it: what it prints works as it stands, and when it
//! goes nothing is left.

mod support;

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitStatus;

use devcell::rig::{Binaries, Signal};
use interop::process::{self, Output};
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use support::user::{PATIENCE, lives, text, until};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// A running `devcell`. It is killed when this is dropped, and its programs with it.
struct Devcell {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Where it puts its files, so that they go in any case.
    place: TempDir,
}

impl Devcell {
    fn start(arguments: &[&str]) -> Self {
        let place = TempDir::new().unwrap();
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env_remove("CARGO")
            .env("TMPDIR", place.path())
            .kill_on_drop(true);
        command.stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            stdout,
            place,
        }
    }

    /// The next line that it prints, without its end.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.stdout.read_line(&mut line)).await;
        assert_ne!(read.expect("a line").unwrap(), 0, "it ended");
        line.trim_end_matches('\n').to_owned()
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().unwrap();
        let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Its files.
    fn files(&self) -> Vec<PathBuf> {
        let entries = self.place.path().read_dir().unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits for its end; what it printed since and the files that are left.
    async fn end(mut self) -> (ExitStatus, String, Vec<PathBuf>) {
        let mut rest = String::new();
        let end = async {
            self.stdout.read_to_string(&mut rest).await.unwrap();
            self.child.wait().await.unwrap()
        };
        let status = timeout(PATIENCE, end).await.expect("an end");
        (status, rest, self.files())
    }
}

/// Beside the programs that it runs.
fn program() -> PathBuf {
    let binaries = Binaries::find().unwrap_or_else(|error| panic!("{error}"));
    let program = binaries.ssh_proxy.with_file_name("devcell");
    assert!(
        program.exists(),
        "no {program:?}: cargo build --workspace --bins"
    );
    program
}

/// Runs a pasted line in a shell where `sshpass` types the password. The user's own files exist, but
/// are empty.
async fn paste(line: &str, password: &str) -> Output {
    let mut command = Command::new("sshpass");
    command.env("SSHPASS", password);
    command.args(["-e", "sh", "-c", line]);
    process::run(command, b"").await
}

/// The part of the JSON object that programs use.
struct Summary {
    value: Value,
}

impl Summary {
    fn of(line: &str) -> Self {
        let value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { value }
    }

    fn text(&self, pointer: &str) -> &str {
        let value = self.value.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("no text at {pointer} in {}", self.value))
    }

    fn pids(&self) -> Vec<String> {
        let pids = self.value["pids"].as_array().unwrap();
        pids.iter().map(|entry| entry["pid"].to_string()).collect()
    }

    /// An `ssh` command line for an instance.
    fn ssh(&self, index: usize) -> String {
        let (host, port) = self.text("/proxy").split_once(':').unwrap();
        let user = self.text(&format!("/logins/{index}/user"));
        let known_hosts = self.text("/known_hosts");
        format!("ssh -p {port} -o UserKnownHostsFile={known_hosts} {user}@{host}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_first_line_is_all_that_a_program_needs() {
    let mut devcell = Devcell::start(&["--json", "--port", "0"]);
    let summary = Summary::of(&devcell.line().await);
    for index in 0..2 {
        let password = summary.text(&format!("/logins/{index}/password"));
        let line = summary.ssh(index) + " 'echo instance $CF_INSTANCE_INDEX'";
        let output = paste(&line, password).await;
        assert_eq!(
            text(&output),
            format!("instance {index}\n"),
            "{}",
            output.stderr
        );
        assert!(output.status.success());
    }
    let line = summary.ssh(0) + " -o FingerprintHash=sha256 -v true";
    let output = paste(&line, summary.text("/logins/0/password")).await;
    let shown = format!(
        "Server host key: ssh-rsa {}",
        summary.text("/host_key_sha256")
    );
    assert!(output.stderr.contains(&shown), "{}", output.stderr);
    devcell.signal(Signal::INT);
    let (status, rest, _) = devcell.end().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(rest, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_it_prints_can_be_pasted() {
    let mut devcell = Devcell::start(&["--port", "0"]);
    let mut lines = Vec::new();
    while !lines
        .last()
        .is_some_and(|line: &String| line.starts_with("Ctrl-C"))
    {
        lines.push(devcell.line().await);
    }
    let all = lines.join("\n");
    let password = |line: &String| line.trim().strip_prefix("password: ").map(str::to_owned);
    let password = lines.iter().find_map(password).expect("a password");
    let pasted: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("ssh -p"))
        .collect();
    let [first, second, command] = pasted[..] else {
        panic!("lines to paste: {all}");
    };
    for (index, line) in [first, second].into_iter().enumerate() {
        // A shell, which takes its commands from here.
        let line = format!("echo 'echo it is $CF_INSTANCE_INDEX' | {line}");
        let output = paste(&line, &password).await;
        assert!(
            text(&output).contains(&format!("it is {index}\n")),
            "{}",
            output.stderr
        );
    }
    let output = paste(command, &password).await;
    assert!(
        text(&output).starts_with("0: vcap in /"),
        "{}",
        output.stderr
    );
    devcell.signal(Signal::INT);
    assert_eq!(devcell.end().await.0.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut devcell = Devcell::start(&["--json", "--port", "0", "--instances", "3"]);
        let summary = Summary::of(&devcell.line().await);
        let pids = summary.pids();
        assert_eq!(pids.len(), 4);
        assert!(pids.iter().all(|pid| lives(pid)));
        // A session in the middle of something goes too.
        let mut command = Command::new("sshpass");
        command.env("SSHPASS", summary.text("/logins/0/password"));
        // With a terminal it is in no group that is ours, and it does not mind when that closes.
        let line = summary.ssh(0) + " -tt 'trap \"\" HUP; echo here $$.; sleep 1000; sleep 1000'";
        command.args(["-e", "sh", "-c", &line]);
        let session = process::Process::start(command);
        assert!(
            session.stdout.has(".\r\n").await,
            "{}",
            session.stderr.text()
        );
        let printed = session.stdout.text();
        let inner = printed
            .strip_prefix("here ")
            .unwrap()
            .trim_end_matches(".\r\n");
        assert_eq!(devcell.files().len(), 1);
        devcell.signal(signal);
        let (status, _, files) = devcell.end().await;
        assert_eq!(status.code(), Some(0), "on {signal:?}");
        assert!(!pids.iter().any(|pid| lives(pid)), "on {signal:?}");
        assert_eq!(files, [] as [PathBuf; 0], "on {signal:?}");
        assert!(TcpStream::connect(summary.text("/proxy")).is_err());
        until("the session's program is gone", || !lives(inner)).await;
        let output = session.finish().await;
        assert_eq!(output.status.code(), Some(255), "{}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_programs_go_with_it_even_when_it_is_killed() {
    let mut devcell = Devcell::start(&["--json", "--port", "0"]);
    let summary = Summary::of(&devcell.line().await);
    devcell.signal(Signal::KILL);
    let (status, _, _) = devcell.end().await;
    assert_eq!(status.code(), None);
    let gone = || !summary.pids().iter().any(|pid| lives(pid));
    until("its programs are gone", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_one_line() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut command = Command::new(program());
    command.args(["--port", &port]).env_remove("CARGO");
    let output = process::run(command, b"").await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output), "");
    let expected = format!(
        "devcell: port {port} on 127.0.0.1 is already taken; choose another with --port N \
         (0 takes any free one)\n"
    );
    assert_eq!(output.stderr, expected);
}
