//! The `devcell` command as a user or a script has it: what it prints works as it stands, and when it
//! goes nothing is left.

mod support;

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use devcell::rig::Signal;
use interop::process;
use serde_json::Value;
use support::shown::{
    Devcell, PAGE, PASSWORD, Shown, browse, page_through, paste, program, shell, url,
};
use support::user::{lives, text, until};
use tokio::process::Command;

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

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_it_prints_can_be_pasted() {
    let shown = Shown::start(&[]).await;
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
    let output = browse(line, code).await;
    assert!(text(&output).contains("hosts"), "{}", output.stderr);

    let (line, code) = shown.one(" -R ");
    let output = paste(line, code).await;
    assert_eq!(text(&output), PAGE, "{}", output.stderr);
    let (line, code) = shown.one(" -L ");
    assert!(shown.lines.iter().any(|shown| shown.contains(&url(line))));
    let output = page_through(line, code).await;
    assert_eq!(text(&output), PAGE, "{}", output.stderr);
    shown.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_code_is_good_once_and_enter_gives_another() {
    let mut shown = Shown::start(&[]).await;
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
async fn who_is_in_can_be_watched() {
    let mut devcell = Devcell::start(&["--json", "--port", "0"]);
    let summary = Summary::of(&devcell.line().await);
    let mut command = Command::new("sshpass");
    command.env("SSHPASS", summary.text("/cf/logins/1/password"));
    let line = summary.ssh_as("/cf/logins/1") + " 'echo in; sleep 1000'";
    command.args(["-e", "sh", "-c", &line]);
    let session = process::Process::start(command);
    assert!(
        session.stdout.has("in\n").await,
        "{}",
        session.stderr.text()
    );

    let (page, metrics) = (summary.text("/admin"), summary.text("/metrics"));
    let curl = format!("curl -sS --fail {page} {page}sessions {metrics}");
    let output = paste(&curl, "").await;
    for shown in [
        "<!doctype html>",
        summary.text("/cf/logins/1/user"),
        "devcell-space",
        "ssh_proxy_sessions 1\n",
    ] {
        assert!(text(&output).contains(shown), "{shown}: {output:?}");
    }
    devcell.signal(Signal::INT);
    assert_eq!(devcell.end().await.0.code(), Some(0));
    assert_eq!(session.finish().await.status.code(), Some(255));
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
    let mut command = Command::new(program("devcell"));
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
