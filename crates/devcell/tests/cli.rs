//! The `devcell` command judged from outside: every failure is one line and exit code 1.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn devcell(args: &[&str], bin_dir: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_devcell"))
        .args(args)
        .env_remove("CARGO")
        .env("DEVCELL_BIN_DIR", bin_dir)
        .output()
        .unwrap()
}

fn only_line(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    text
}

#[test]
fn a_taken_port_is_named_with_the_way_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let line = only_line(&devcell(&["--port", &port.to_string()], "/nonexistent"));
    let expected = format!("devcell: port {port} on 127.0.0.1 is already taken");
    assert!(line.starts_with(&expected), "{line}");
    assert!(line.contains("--port N"), "{line}");
}

#[test]
fn missing_programs_are_named() {
    let line = only_line(&devcell(&["--port", "0"], "/nonexistent"));
    assert!(line.contains("ssh-proxy is not in /nonexistent"), "{line}");
}

#[test]
fn a_program_that_ends_at_once_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["ssh-proxy", "diego-sshd"] {
        std::os::unix::fs::symlink("/bin/false", dir.path().join(name)).unwrap();
    }
    let line = only_line(&devcell(&["--port", "0"], dir.path().to_str().unwrap()));
    let expected = "devcell: diego-sshd of instance 0 ended (exit status: 1)";
    assert!(line.starts_with(expected), "{line}");
}

#[test]
fn help_explains() {
    let output = devcell(&["--help"], "/nonexistent");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("--port <N>"), "{text}");
    assert!(text.contains("--json"), "{text}");
}
