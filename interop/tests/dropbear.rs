//! Dropbear's client, `dbclient`.

mod support;

use std::fs;

use devcell::CellOptions;
use interop::probe;
use interop::process::{self, Output, Process};
use support::files;
use support::network::{Peer, Port, Stream};
use support::target::{Auth, HOST, Target, both, remote, succeeds};
use support::user::until;
use tokio::net::TcpStream;
use tokio::process::Command;

/// A program that is `dbclient` or runs it, with what that needs in the environment.
fn program(target: &Target, name: &str) -> Command {
    let mut command = target.program(name);
    if let Some(password) = target.password() {
        command.env("DROPBEAR_PASSWORD", password);
    }
    command
}

/// The options of `dbclient`: port, user, and a key that Dropbear's own tool has converted. Hosts that
/// it knows are in the home directory.
async fn options(target: &Target) -> Vec<String> {
    let dot_ssh = target.dir.join(".ssh");
    fs::create_dir_all(&dot_ssh).expect("a directory");
    // It knows hosts by their names alone, without ports.
    let line = format!("{HOST} {}\n", target.host_key().authorized_line());
    fs::write(dot_ssh.join("known_hosts"), line).expect("a file");
    let mut options = vec!["-p".to_owned(), target.port.to_string()];
    options.extend(["-l".to_owned(), target.user.clone()]);
    if let Auth::Key(key) = &target.auth {
        let converted = target.dir.join("key").display().to_string();
        let mut convert = target.program("dropbearconvert");
        convert
            .args(["openssh", "dropbear"])
            .arg(key)
            .arg(&converted);
        succeeds(process::run(convert, b"").await);
        options.extend(["-i".to_owned(), converted]);
    }
    options
}

async fn dbclient(target: &Target, arguments: &[&str], input: &[u8]) -> Output {
    let mut dbclient = program(target, "dbclient");
    dbclient.args(options(target).await).args(arguments);
    process::run(dbclient, input).await
}

both! {
    async fn commands_run(target: Target) {
        let input = probe::data(500_000);
        let output = dbclient(&target, &[HOST, probe::COMMAND], &input).await;
        let answer = probe::Answer {
            status: output.status.code().and_then(|code| u32::try_from(code).ok()),
            stdout: output.stdout,
            stderr: Some(output.stderr),
        };
        answer.check(&input);
    }

    async fn another_host_is_not_entered(target: Target) {
        let mut dbclient = program(&target, "dbclient");
        dbclient.args(options(&target).await).args([HOST, "echo entered"]);
        let other = interop::openssh::Key::generate(&["-t", "ed25519"]).await;
        let known_hosts = target.dir.join(".ssh/known_hosts");
        fs::write(known_hosts, format!("{HOST} {}\n", other.line)).unwrap();
        let output = process::run(dbclient, b"").await;
        assert!(!output.status.success());
        assert_eq!(output.stdout, b"");
    }

    async fn standard_streams_are_a_connection(target: Target) {
        let counts = Peer::reads_then_answers().await;
        let to = counts.address.to_string();
        let output = dbclient(&target, &["-B", &to, HOST], &probe::data(500_000)).await;
        assert_eq!(succeeds(output), "500000 bytes");
    }

    async fn ports_are_forwarded_both_ways(target: Target) {
        let echo = Peer::echoes().await;
        let (here, there) = (Port::reserved(), Port::reserved());
        let mut dbclient = program(&target, "dbclient");
        let (left, right) = (format!("{}:{}", here.address, echo.address), format!("{}:{}", there.address, echo.address));
        dbclient.args(options(&target).await);
        dbclient.args(["-L", &left, "-R", &right, HOST, "echo ready; cat"]);
        let dbclient = Process::start(dbclient);
        assert!(dbclient.stdout.has("ready").await, "{}", dbclient.stderr.text());
        for address in [here.address, there.address] {
            // It may ask for the other side's port behind the command.
            until("the port is open", || std::net::TcpStream::connect(address).is_ok()).await;
            let stream = TcpStream::connect(address).await.unwrap();
            Stream::of(stream).echoed(&probe::data(1_000_000)).await;
        }
        dbclient.kill();
    }

    async fn scp_copies_over_it(target: Target) {
        files::file(&target.dir.join("file"), 1_000_000);
        for protocol in ["-O", "-s"] {
            for arguments in [["file", &remote("up")], [&remote("up"), "back"]] {
                let mut scp = program(&target, "scp");
                // The options that are a word each get through it as they are.
                scp.args([protocol, "-S", &script(&target).await]).args(arguments);
                succeeds(process::run(scp, b"").await);
            }
            files::assert_same(&target.dir.join("file"), &target.home().join("up"));
            files::assert_same(&target.dir.join("file"), &target.dir.join("back"));
        }
    }
}

/// A program that is `dbclient` with our options, as `scp -S` wants it.
async fn script(target: &Target) -> String {
    let path = target.dir.join("dbclient-with-options");
    let words = options(target).await.join(" ");
    fs::write(&path, format!("#!/bin/sh\nexec dbclient {words} \"$@\"\n")).expect("a file");
    files::set_mode(&path, 0o700);
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_with_an_rsa_key_is_known() {
    let target = Target::proxied_with(CellOptions::default()).await;
    let output = dbclient(&target, &[HOST, "echo hello"], b"").await;
    assert_eq!(succeeds(output), "hello\n");
}
