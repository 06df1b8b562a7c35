//! The binary from the outside: what it says and how it ends when it is started wrongly, and that
//! it starts and stops.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml frees tests, but not the helpers beside them"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

/// A directory with a configuration that works.
struct Rig {
    dir: tempfile::TempDir,
    config: Value,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let write = |name: &str, text: String| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let certificate = write("crt", certificate.pem());
        let key = write("key", key.serialize_pem());
        let config = json!({
            "address": "127.0.0.1:0", "disable_health_check_server": true, "log_level": "info",
            "host_key": std::fs::read_to_string(&key).unwrap(),
            "bbs_address": "https://127.0.0.1:1", "bbs_ca_cert": certificate,
            "bbs_client_cert": certificate, "bbs_client_key": key,
        });
        Self { dir, config }
    }

    fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config[key] = value.into();
        self
    }

    fn command(&self) -> Command {
        let path = self.dir.path().join("config.json");
        std::fs::write(&path, self.config.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ssh-proxy"));
        command.arg(format!("-config={}", path.display()));
        command
    }

    fn run(&self) -> Output {
        self.command().output().unwrap()
    }
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ssh-proxy"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn lines(output: &Output) -> Vec<Value> {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn wrong_calls_end_with_a_word_on_stderr_only() {
    let cases: [(&[&str], i32, &str); 4] = [
        (&["-help"], 0, "Usage of "),
        (
            &["-nope"],
            2,
            "flag provided but not defined: -nope\nUsage of ",
        ),
        (
            &[],
            2,
            "ssh-proxy: -config: open : no such file or directory\n",
        ),
        (
            &["-config", "/none"],
            2,
            "ssh-proxy: -config: open /none: no such",
        ),
    ];
    for (arguments, code, start) in cases {
        let (exit, stdout, stderr) = run(arguments);
        assert_eq!((exit, stdout.as_str()), (Some(code), ""), "{arguments:?}");
        assert!(stderr.starts_with(start), "{stderr}");
    }
}

/// The list of flags is laid out as Go's `flag` package does; the commands come after it.
#[test]
fn help_explains_every_flag_and_names_every_command() {
    let (_, _, stderr) = run(&["-h"]);
    let (flags, commands) = stderr.split_once("\nCommands").unwrap();
    let lines: Vec<&str> = flags.lines().skip(1).collect();
    let names = ["  -config string", "  -debugAddr string", "  -version"];
    assert_eq!(lines.len(), 2 * names.len());
    for (pair, name) in lines.chunks(2).zip(names) {
        assert_eq!(pair[0], name);
        assert!(pair[1].starts_with("    \t"), "{}", pair[1]);
    }
    let commands: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .collect();
    assert_eq!(commands, ["config", "doctor", "sessions", "end"]);
    for command in commands {
        // A word that is no command would be asked for its -config.
        let (exit, _, stderr) = run(&[command, "-h"]);
        assert_eq!(exit, Some(0), "{command}: {stderr}");
        let usage = format!("Usage of ssh-proxy {command}");
        assert!(stderr.starts_with(&usage), "{stderr}");
    }
}

#[test]
fn the_version_is_told() {
    let (exit, stdout, stderr) = run(&["-version"]);
    assert_eq!((exit, stderr.as_str()), (Some(0), ""));
    let version = concat!("ssh-proxy ", env!("CARGO_PKG_VERSION"));
    assert!(stdout.starts_with(version), "{stdout}");
    assert_eq!(stdout.lines().count(), 1);
}

#[test]
fn the_reference_of_the_configuration_is_printed() {
    let (exit, stdout, stderr) = run(&["config"]);
    assert_eq!((exit, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, ssh_proxy::config::reference::markdown());
    let (exit, stdout, stderr) = run(&["config", "-nope"]);
    assert_eq!((exit, stdout.as_str()), (Some(2), ""));
    assert!(stderr.starts_with("flag provided but not defined: -nope\nUsage of "));
}

#[test]
fn wrong_values_and_levels_end_without_a_log() {
    for (key, value, words) in [
        ("log_level", json!(""), "unknown log level: \n"),
        (
            "communication_timeout",
            json!(10),
            "communication_timeout: expected a duration",
        ),
        (
            "uaa_password",
            json!(12345),
            "uaa_password: expected a string, found a number",
        ),
    ] {
        let output = Rig::new().set(key, value).run();
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.contains(words) && !stderr.contains("12345"),
            "{stderr}"
        );
    }
}

#[test]
fn the_first_problem_decides_and_the_others_follow() {
    let rig = Rig::new()
        .set("host_key", "junk")
        .set("address", "nonsense");
    let output = rig.run();
    assert_eq!(output.status.code(), Some(2));
    let lines = lines(&output);
    assert_eq!(lines[0]["message"], "ssh-proxy.failed-to-parse-private-key");
    assert_eq!(lines[1]["message"], "ssh-proxy.failed-to-parse-host-key");
    assert_eq!(lines[1]["log_level"], 3);
    assert!(lines[1]["data"]["trace"].is_string());
    let others = lines[1]["data"]["problems"].as_str().unwrap();
    assert!(others.starts_with("address: Exit trace"), "{others}");

    let output = Rig::new().set("enable_cf_auth", true).run();
    assert_eq!(output.status.code(), Some(1));
    let line = &self::lines(&output)[0];
    assert_eq!(line["message"], "ssh-proxy.configure-failed");
    assert_eq!(
        line["data"]["error"],
        "ccAPIURL is required for Cloud Foundry authentication"
    );
}

#[test]
fn a_taken_port_is_a_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Rig::new().set("address", address.as_str()).run();
    assert_eq!(output.status.code(), Some(1));
    let line = &lines(&output)[0];
    assert_eq!(line["message"], "ssh-proxy.exited-with-failure");
    let error = line["data"]["error"].as_str().unwrap();
    assert!(error.starts_with("Exit trace for group:\nssh-proxy exited with error: listen tcp"));
    assert!(error.contains("bind: address already in use\n"), "{error}");
}

/// A port that was free a moment ago.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Ends with the test, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_proxy_starts_serves_and_stops_at_a_signal() {
    let (ssh, health) = (free_port(), free_port());
    let rig = Rig::new()
        .set("disable_health_check_server", false)
        .set("health_check_address", health.as_str())
        .set("address", ssh.as_str());
    let mut command = rig.command();
    let mut child = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(
        line.contains("\"message\":\"ssh-proxy.started\",\"log_level\":1,\"data\":{}"),
        "{line}"
    );

    TcpStream::connect(&ssh).unwrap();
    let mut stream = TcpStream::connect(&health).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");

    // Only the last one asks for something.
    for signal in ["-USR1", "-USR2", "-ALRM", "-PIPE", "-XFSZ", "-TERM"] {
        let pid = child.0.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let rest: Vec<Value> = rest
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rest[0]["message"], "ssh-proxy.server.stopping-server");
    assert_eq!(rest[1]["message"], "ssh-proxy.exited");
}

#[test]
fn no_core_is_dumped_and_its_memory_is_roots() {
    const NOBODY_SPECIAL: u32 = 1000;
    let rig = Rig::new();
    let mut command = rig.command();
    if rustix::process::geteuid().is_root() {
        // Root's memory is root's in any case.
        for path in ["", "crt", "key", "config.json"].map(|name| rig.dir.path().join(name)) {
            chown(path, Some(NOBODY_SPECIAL), Some(NOBODY_SPECIAL)).unwrap();
        }
        command.uid(NOBODY_SPECIAL).gid(NOBODY_SPECIAL);
    }
    let mut child = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    let stdout = child.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert!(line.contains("ssh-proxy.started"), "{line}");
    let environ = fs::metadata(format!("/proc/{}/environ", child.0.id())).unwrap();
    assert_eq!(environ.uid(), 0);
}

/// As a service manager with a low soft limit starts it.
#[test]
fn descriptors_are_those_of_the_hard_limit() {
    let rig = Rig::new();
    let proxy = rig.command();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -Sn 100 && ulimit -Hn 1000 && exec \"$@\"",
        "sh",
    ]);
    command.arg(proxy.get_program()).args(proxy.get_args());
    let mut child = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    let stdout = child.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert!(line.contains("ssh-proxy.started"), "{line}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.0.id())).unwrap();
    let mut lines = limits.lines();
    let descriptors = lines.find_map(|line| line.strip_prefix("Max open files"));
    let mut words = descriptors.unwrap().split_whitespace();
    assert_eq!(words.next(), Some("1000"), "{limits}");
}

#[test]
fn who_does_not_verify_is_warned_at_the_start() {
    let mut rig = Rig::new();
    for (key, value) in [
        ("cc_api_url", "https://127.0.0.1:1"),
        ("uaa_token_url", "https://127.0.0.1:1/oauth/token"),
        ("uaa_username", "ssh-proxy"),
        ("uaa_password", "secret"),
    ] {
        rig = rig.set(key, value);
    }
    let rig = rig
        .set("enable_cf_auth", true)
        .set("skip_cert_verify", true);
    let mut child = Running(rig.command().stdout(Stdio::piped()).spawn().unwrap());
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        line["message"],
        "ssh-proxy.uaa-and-cloud-controller-not-verified"
    );
}
