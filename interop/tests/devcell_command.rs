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
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
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
        command.stdin(std::process::Stdio::piped());
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

    async fn press_enter(&mut self) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(b"\n").await.unwrap();
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
        self.ssh_as(&format!("/logins/{index}"))
    }

    /// The same for the login at `pointer`.
    fn ssh_as(&self, pointer: &str) -> String {
        let (host, port) = self.text("/proxy").split_once(':').unwrap();
        let user = self.text(&format!("{pointer}/user"));
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

/// What the command prints for people, line by line.
struct Shown {
    devcell: Devcell,
    lines: Vec<String>,
}

impl Shown {
    async fn start() -> Self {
        let mut devcell = Devcell::start(&["--port", "0"]);
        let mut lines: Vec<String> = Vec::new();
        while !lines.last().is_some_and(|line| line.starts_with("Ctrl-C")) {
            lines.push(devcell.line().await);
        }
        Self { devcell, lines }
    }

    /// The lines to paste that contain `text`, each with the password that stands next below it.
    fn to_paste(&self, text: &str) -> Vec<(&str, &str)> {
        let programs = ["  ssh ", "  scp ", "  sftp "];
        let numbered = self.lines.iter().enumerate();
        let matching = numbered.filter(|(_, line)| {
            line.contains(text) && programs.iter().any(|program| line.starts_with(program))
        });
        matching
            .map(|(number, line)| {
                let below = &self.lines[number + 1..];
                let password = below.iter().find_map(|line| line.strip_prefix(PASSWORD));
                (line.trim(), password.expect("a password"))
            })
            .collect()
    }

    /// The only such line.
    fn one(&self, text: &str) -> (&str, &str) {
        let found = self.to_paste(text);
        assert_eq!(found.len(), 1, "{text}: {:#?}", self.lines);
        found[0]
    }

    /// The `ssh` lines of a realm that give a shell.
    fn shells(&self, realm: &str) -> Vec<(&str, &str)> {
        let mut lines = self.to_paste(realm);
        lines.retain(|(line, _)| line.ends_with("@127.0.0.1") && !line.contains(" -N "));
        lines
    }

    async fn stop(self) {
        self.devcell.signal(Signal::INT);
        assert_eq!(self.devcell.end().await.0.code(), Some(0));
    }
}

const PASSWORD: &str = "  password: ";

/// Runs a shell by a pasted line; it takes its commands from here.
async fn shell(line: &str, password: &str) -> Output {
    paste(
        &format!("echo 'echo it is $CF_INSTANCE_INDEX' | {line}"),
        password,
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_it_prints_can_be_pasted() {
    let shown = Shown::start().await;
    for realm in ["cf:", "diego:"] {
        let lines = shown.shells(realm);
        assert_eq!(lines.len(), 2, "{:#?}", shown.lines);
        for (index, (line, password)) in lines.into_iter().enumerate() {
            let output = shell(line, password).await;
            let expected = format!("it is {index}\n");
            assert!(text(&output).contains(&expected), "{}", output.stderr);
        }
    }
    let (line, code) = shown.one("echo $CF_INSTANCE_INDEX");
    let output = paste(line, code).await;
    let expected = "0: vcap in /";
    assert!(text(&output).starts_with(expected), "{}", output.stderr);

    let (line, code) = shown.one("scp");
    let output = paste(line, code).await;
    assert!(output.status.success(), "{}", output.stderr);
    let (line, code) = shown.one("sftp");
    let output = paste(&format!("echo ls | {line}"), code).await;
    assert!(text(&output).contains("hosts"), "{}", output.stderr);

    let page = "This is instance 0 of the app.\n";
    let (line, code) = shown.one(" -R ");
    let output = paste(line, code).await;
    assert_eq!(text(&output), page, "{}", output.stderr);
    let (line, code) = shown.one(" -L ");
    let place = line
        .split(" -L ")
        .nth(1)
        .and_then(|rest| rest.split(':').next());
    let url = format!("http://127.0.0.1:{}/", place.expect("a port"));
    assert!(shown.lines.iter().any(|line| line.contains(&url)));
    let mut command = Command::new("sshpass");
    command.env("SSHPASS", code);
    command.args(["-e", "sh", "-c", &format!("exec {line}")]);
    let forwarding = process::Process::start(command);
    let curl = format!("curl -s --retry-connrefused --retry 20 --retry-delay 1 {url}");
    let output = paste(&curl, "").await;
    assert_eq!(text(&output), page, "{}", output.stderr);
    drop(forwarding);
    shown.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_code_is_good_once_and_enter_gives_another() {
    let mut shown = Shown::start().await;
    let lines = shown.shells("cf:");
    let (line, code) = (lines[0].0.to_owned(), lines[0].1.to_owned());
    assert!(shell(&line, &code).await.status.success());
    let again = shell(&line, &code).await;
    assert!(!again.status.success());
    assert!(again.stderr.contains("[invalid_code]"), "{}", again.stderr);
    for _ in 0..2 {
        shown.devcell.press_enter().await;
        let printed = shown.devcell.line().await;
        let fresh = printed.strip_prefix(PASSWORD).expect("a code").to_owned();
        assert_ne!(fresh, code);
        let output = shell(&line, &fresh).await;
        assert!(text(&output).contains("it is 0"), "{}", output.stderr);
    }
    shown.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_codes_from_uaa() {
    let mut devcell = Devcell::start(&["--json", "--port", "0"]);
    let summary = Summary::of(&devcell.line().await);
    for index in 0..2 {
        let code = summary.text(&format!("/cf/logins/{index}/password"));
        let line = summary.ssh_as(&format!("/cf/logins/{index}")) + " 'echo $CF_INSTANCE_INDEX'";
        let output = paste(&line, code).await;
        assert_eq!(text(&output), format!("{index}\n"), "{}", output.stderr);
    }
    let curl = format!(
        "curl -sS --cacert {} -H 'Authorization: {}' -o /dev/null -w '%{{redirect_url}}' '{}'",
        summary.text("/cf/ca"),
        summary.text("/cf/authorization"),
        summary.text("/cf/authorize"),
    );
    let output = paste(&curl, "").await;
    let (_, code) = text(&output).split_once("?code=").expect("a code");
    let line = summary.ssh_as("/cf/logins/0") + " 'echo in'";
    let output = paste(&line, code).await;
    assert_eq!(text(&output), "in\n", "{}", output.stderr);

    // Where the proxy is can be asked as the cf CLI does.
    let api = summary.text("/cf/api");
    let curl = format!("curl -sS --cacert {} {api}/", summary.text("/cf/ca"));
    let root = paste(&curl, "").await;
    let root: Value = serde_json::from_str(text(&root)).unwrap();
    assert_eq!(root["links"]["app_ssh"]["href"], summary.text("/proxy"));
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
