//! The `devcell` command as somebody uses it who has only what it prints: its lines, and the passwords
//! below them, pasted into a shell.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use devcell::rig::{Binaries, Signal};
use interop::process::{self, Output};
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::user::PATIENCE;

/// What stands before each password.
pub const PASSWORD: &str = "  password: ";

/// What the app of instance 0 answers to a browser.
pub const PAGE: &str = "This is instance 0 of the app.\n";

/// A running `devcell`. It is killed when this is dropped, and its programs with it.
pub struct Devcell {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Where it puts its files, so that they go in any case.
    place: TempDir,
}

impl Devcell {
    /// Starts it with these arguments.
    pub fn start(arguments: &[&str]) -> Self {
        let place = TempDir::new().unwrap();
        let mut command = Command::new(program("devcell"));
        command
            .args(arguments)
            .env_remove("CARGO")
            .env("TMPDIR", place.path())
            .kill_on_drop(true);
        command.stdout(Stdio::piped());
        command.stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            stdout,
            place,
        }
    }

    /// The next line that it prints, without its end.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.stdout.read_line(&mut line)).await;
        assert_ne!(read.expect("a line").unwrap(), 0, "it ended");
        line.trim_end_matches('\n').to_owned()
    }

    /// Asks for another code.
    pub async fn press_enter(&mut self) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(b"\n").await.unwrap();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().unwrap();
        let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Its files.
    pub fn files(&self) -> Vec<PathBuf> {
        let entries = self.place.path().read_dir().unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits for its end; what it printed since and the files that are left.
    pub async fn end(mut self) -> (ExitStatus, String, Vec<PathBuf>) {
        let mut rest = String::new();
        let end = async {
            self.stdout.read_to_string(&mut rest).await.unwrap();
            self.child.wait().await.unwrap()
        };
        let status = timeout(PATIENCE, end).await.expect("an end");
        (status, rest, self.files())
    }
}

/// A program of the workspace, beside those that `devcell` runs.
pub fn program(name: &str) -> PathBuf {
    let binaries = Binaries::find().unwrap_or_else(|error| panic!("{error}"));
    let program = binaries.ssh_proxy.with_file_name(name);
    assert!(
        program.exists(),
        "no {program:?}: cargo build --workspace --bins"
    );
    program
}

/// Runs a pasted line in a shell where `sshpass` types the password. The user's own files exist, but
/// are empty.
pub async fn paste(line: &str, password: &str) -> Output {
    let mut command = Command::new("sshpass");
    command.env("SSHPASS", password);
    command.args(["-e", "sh", "-c", line]);
    process::run(command, b"").await
}

/// What the command prints for people, line by line.
pub struct Shown {
    /// The command, which runs.
    pub devcell: Devcell,
    /// All of it.
    pub lines: Vec<String>,
}

impl Shown {
    /// Starts it with these arguments and a free port.
    pub async fn start(arguments: &[&str]) -> Self {
        let mut devcell = Devcell::start(&[arguments, &["--port", "0"]].concat());
        let mut lines: Vec<String> = Vec::new();
        while !lines.last().is_some_and(|line| line.starts_with("Ctrl-C")) {
            lines.push(devcell.line().await);
        }
        Self { devcell, lines }
    }

    /// The lines to paste that contain `text`, each with the password that stands next below it.
    pub fn to_paste(&self, text: &str) -> Vec<(&str, &str)> {
        self.all()
            .into_iter()
            .filter(|(line, _)| line.contains(text))
            .collect()
    }

    /// All lines to paste with their passwords.
    pub fn all(&self) -> Vec<(&str, &str)> {
        let programs = ["  ssh ", "  scp ", "  sftp "];
        let numbered = self.lines.iter().enumerate();
        let matching =
            numbered.filter(|(_, line)| programs.iter().any(|program| line.starts_with(program)));
        matching
            .map(|(number, line)| {
                let below = &self.lines[number + 1..];
                let password = below.iter().find_map(|line| line.strip_prefix(PASSWORD));
                (line.trim(), password.expect("a password"))
            })
            .collect()
    }

    /// The only such line.
    pub fn one(&self, text: &str) -> (&str, &str) {
        let found = self.to_paste(text);
        assert_eq!(found.len(), 1, "{text}: {:#?}", self.lines);
        found[0]
    }

    /// The `ssh` lines of a realm that give a shell.
    pub fn shells(&self, realm: &str) -> Vec<(&str, &str)> {
        let mut lines = self.to_paste(realm);
        lines.retain(|(line, _)| line.ends_with("@127.0.0.1") && !line.contains(" -N "));
        lines
    }

    /// Ends it.
    pub async fn stop(self) {
        self.devcell.signal(Signal::INT);
        assert_eq!(self.devcell.end().await.0.code(), Some(0));
    }
}

/// Runs a shell by a pasted line; it takes its commands from here.
pub async fn shell(line: &str, password: &str) -> Output {
    paste(
        &format!("echo 'echo it is $CF_INSTANCE_INDEX' | {line}"),
        password,
    )
    .await
}

/// Lists files by a pasted line of `sftp`.
pub async fn browse(line: &str, password: &str) -> Output {
    paste(&format!("echo ls | {line}"), password).await
}

/// Where a pasted line with `-L` lets the app's page be seen.
pub fn url(line: &str) -> String {
    let place = line.split(" -L ").nth(1).expect("a forward");
    let port = place.split(':').next().expect("a port");
    format!("http://127.0.0.1:{port}/")
}

/// Fetches that page while the line runs.
pub async fn page_through(line: &str, password: &str) -> Output {
    let mut command = Command::new("sshpass");
    command.env("SSHPASS", password);
    command.args(["-e", "sh", "-c", &format!("exec {line}")]);
    let forwarding = process::Process::start(command);
    let url = url(line);
    let curl = format!("curl -sS --retry-connrefused --retry 20 --retry-delay 1 {url}");
    let mut output = paste(&curl, "").await;
    output.stderr += &forwarding.stderr.text();
    output
}
