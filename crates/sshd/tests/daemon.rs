//! The real binary: command line, secrecy of keys, signals, exit codes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // Helpers of tests are tests.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

const BINARY: &str = env!("CARGO_BIN_EXE_diego-sshd");

/// Made for these tests and used for nothing else.
const HOST_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIGj0UFNXp1Zw5A840PKgKi64UxM8ZBZIAfnbMumzbOq8
-----END PRIVATE KEY-----
";
const AUTHORIZED_KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIKcUj1eG6sm50jMXbbD5vK8bhqReHR/GlPVxrAKnc8ll marker-of-the-authorized-key";

/// Parts of the keys, and of texts that stand for keys.
const MARKERS: [&str; 3] = [
    "IGj0UFNXp1Zw5A840PKgKi64UxM8ZBZIAfnbMumz",
    "j1eG6sm50jMXbbD5vK8bhqReHR/GlPVxrAKnc8ll",
    "marker-of",
];

/// A daemon that has said `started`, killed when dropped.
struct Daemon {
    process: Child,
    stdout: BufReader<ChildStdout>,
}

impl Daemon {
    fn start(command: &mut Command) -> Self {
        command.arg("-address=127.0.0.1:0");
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("sshd.started") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "ended early");
        }
        Self { process, stdout }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Words of the command line.
    fn command_line(&self) -> Vec<String> {
        let text = self.proc("cmdline");
        text.split('\0').map(str::to_owned).collect()
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.process.id());
        String::from_utf8(fs::read(path).unwrap()).unwrap()
    }

    fn assert_no_keys(&self) {
        for file in ["cmdline", "environ"] {
            let text = self.proc(file);
            for marker in MARKERS {
                assert!(!text.contains(marker), "{marker} in {file}");
            }
        }
    }

    fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.process.wait().unwrap().code(), rest)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn daemon(words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(words).env("OTHER", "kept");
    command
}

fn run(words: &[&str]) -> Output {
    daemon(words).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn keys_on_the_command_line_are_not_to_be_seen() {
    let host_key = format!("-hostKey={HOST_KEY}");
    let daemon = Daemon::start(
        daemon(&[&host_key, "-authorizedKey", AUTHORIZED_KEY])
            .args([
                "-timeFormat=rfc3339",
                "-redactPatterns=a",
                "-redactPatterns=b",
                "word",
            ])
            .arg0("some/diego-sshd"),
    );
    daemon.assert_no_keys();
    // The same process, with everything else that the operator has set.
    let mut line = daemon.command_line();
    line.truncate(5);
    let expected = [
        "some/diego-sshd",
        "-timeFormat=rfc3339",
        "-redactPatterns=a",
        "-redactPatterns=b",
        "",
    ];
    assert_eq!(line, expected);
    assert_eq!(daemon.proc("comm"), "diego-sshd\n");
}

/// Without a host key to move, as where executing again is impossible.
#[test]
fn a_command_line_is_overwritten_in_place() {
    let daemon = Daemon::start(&mut daemon(&[
        "-authorizedKey",
        AUTHORIZED_KEY,
        "-inheritDaemonEnv",
    ]));
    daemon.assert_no_keys();
    let line = daemon.command_line();
    let expected = [
        BINARY,
        "-inheritDaemonEnv=true",
        "-address=127.0.0.1:0",
        "",
        "",
    ];
    assert_eq!(line[..5], expected);
    assert!(line[3..].iter().all(String::is_empty));
}

#[test]
fn keys_in_the_environment_are_not_to_be_seen() {
    let daemon = Daemon::start(
        daemon(&["-authorizedKey=marker-of-an-ignored-key"])
            .env("SSHD_HOSTKEY", HOST_KEY)
            .env("SSHD_AUTHKEY", AUTHORIZED_KEY),
    );
    daemon.assert_no_keys();
    let environ = daemon.proc("environ");
    assert!(environ.bytes().all(|byte| byte == 0), "{environ:?}");
}

/// Executing again is impossible without `/proc`.
#[test]
fn without_proc_keys_are_hidden_all_the_same() {
    let empty = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        // Without root's rights, those of root in a namespace: where that may not be, this fails.
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args([
            "--mount",
            "sh",
            "-c",
            r#"mount --bind "$0" /proc && exec "$@""#,
        ])
        .arg(empty.path())
        .args([
            BINARY,
            "-hostKey",
            HOST_KEY,
            "-authorizedKey",
            AUTHORIZED_KEY,
        ]);
    let daemon = Daemon::start(&mut command);
    daemon.assert_no_keys();
    assert_eq!(daemon.command_line()[..2], [BINARY, "-address=127.0.0.1:0"]);
    // The attempt has left no traces, such as a SIGPIPE that kills.
    daemon.signal(Signal::PIPE);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn no_core_is_dumped_and_its_memory_is_roots() {
    let mut command = daemon(&["-allowUnauthenticatedClients"]);
    if geteuid().is_root() {
        // Root's memory is root's in any case.
        command.uid(1000).gid(1000);
    }
    let daemon = Daemon::start(&mut command);
    let environ = fs::metadata(format!("/proc/{}/environ", daemon.process.id())).unwrap();
    assert_eq!(environ.uid(), 0);
}

#[test]
fn signals_that_stop_end_with_success() {
    for signal in [Signal::INT, Signal::TERM] {
        let daemon = Daemon::start(&mut daemon(&["-allowUnauthenticatedClients"]));
        for harmless in [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::PIPE] {
            daemon.signal(harmless);
        }
        daemon.signal(signal);
        let (code, log) = daemon.stop();
        assert_eq!(code, Some(0));
        assert!(log.contains("sshd.exited\""), "{log}");
    }
}

#[test]
fn a_hang_up_kills() {
    let mut daemon = Daemon::start(&mut daemon(&["-allowUnauthenticatedClients"]));
    daemon.signal(Signal::HUP);
    let status = daemon.process.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::HUP.as_raw()));
}

#[test]
fn wrong_command_lines_end_with_2_and_help_with_0() {
    let wrong = run(&["-nope"]);
    assert_eq!(wrong.status.code(), Some(2));
    let usage = format!("Usage of {BINARY}:\n  -address string\n    \tlisten");
    let expected = format!("flag provided but not defined: -nope\n{usage}");
    assert!(text(&wrong.stderr).starts_with(&expected));

    let help = run(&["-help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stderr).starts_with(&usage));
    assert!(help.stdout.is_empty());

    let version = run(&["-version"]);
    assert_eq!(version.status.code(), Some(0));
    let expected = concat!("diego-sshd ", env!("CARGO_PKG_VERSION"));
    assert!(text(&version.stdout).starts_with(expected));
    assert!(version.stderr.is_empty());

    let level = run(&["-logLevel=loud"]);
    assert_eq!(level.status.code(), Some(2));
    assert_eq!(text(&level.stderr), "panic: unknown log level: loud\n");
}

#[test]
fn an_authorized_key_is_required() {
    let output = run(&["-hostKey=", "-authorizedKey="]);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stdout);
    assert!(log.contains("sshd.authorized-key-required"), "{log}");
    assert!(log.contains("sshd.configure-failed"), "{log}");
    assert!(log.contains("Public user key is required"), "{log}");
}

#[test]
fn a_taken_port_ends_with_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = run(&[
        "-allowUnauthenticatedClients",
        &format!("-address={address}"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stdout);
    assert!(log.contains("sshd.exited-with-failure"), "{log}");
    assert!(!log.contains("sshd.started"), "{log}");
    let error = format!("listen tcp {address}: bind: address already in use");
    assert!(log.contains(&error), "{log}");
}
