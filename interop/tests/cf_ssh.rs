//! A client like the cf CLI's (`interop/clients/cf-ssh`), on the library that the CLI is made with,
//! in a release that knows no strict key exchange.
//!
//! In each of these runs it also sends the keepalive of the CLI, and ends if that is not answered.

mod support;

use interop::probe;
use interop::process::{self, Process};
use ssh_proto::key::PublicKey;
use support::languages::prepared;
use support::network::{Peer, Stream};
use support::target::{HOST, Target, both, succeeds};
use support::terminal::{OnTerminal, Terminal};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Data for several windows, both ways.
const DATA: usize = 8 * 1024 * 1024;

/// The client with all that it needs to get in; the caller adds options and the command.
fn cf_ssh(target: &Target) -> Command {
    let mut command = bare(target);
    let key = target.host_key();
    command.args(["-fingerprint", &key.fingerprint_sha256()]);
    command
}

/// The same without a fingerprint.
fn bare(target: &Target) -> Command {
    let program = prepared("cf-ssh");
    let mut command = target.program(program.to_str().expect("UTF-8"));
    let address = format!("{HOST}:{}", target.port);
    command.args(["-address", &address, "-user", &target.user]);
    if let Some(key) = target.key() {
        command.arg("-i").arg(key);
    }
    command.env("CF_SSH_CODE", target.password().unwrap_or_default());
    command
}

/// A shell on a terminal of this size, at its first prompt.
async fn shell(target: &Target, rows: u16, columns: u16) -> OnTerminal {
    let mut shell = Terminal::new(rows, columns).start(|program| {
        let client = cf_ssh(target);
        let client = client.as_std();
        program.arg(client.get_program()).args(client.get_args());
        program.env_clear().env("TERM", "xterm-256color");
        let set = |(name, value): (_, Option<_>)| Some((name, value?));
        program.envs(client.get_envs().filter_map(set));
    });
    shell.types("PS1=; echo now-''type\n");
    shell.sees("now-type\r\n").await;
    shell
}

both! {
    async fn streams_and_status_pass_through(target: Target) {
        let mut command = cf_ssh(&target);
        command.args(["cat; echo err >&2; exit 7"]);
        let input = probe::data(DATA);
        let output = process::run(command, &input).await;
        assert_eq!(output.stderr, "err\n");
        assert_eq!(output.status.code(), Some(7));
        assert!(output.stdout == input, "{} bytes", output.stdout.len());
    }

    async fn a_signal_is_no_status(target: Target) {
        let mut command = cf_ssh(&target);
        command.arg("kill -TERM $$");
        let output = process::run(command, b"").await;
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stderr.contains("signal TERM"), "{}", output.stderr);
    }

    async fn keys_are_exchanged_again_during_transfers(target: Target) {
        let mut command = cf_ssh(&target);
        // It takes no less than this.
        command.args(["-rekey", "262144", "cat"]);
        let input = probe::data(DATA);
        let output = process::run(command, &input).await;
        assert!(output.status.success(), "{}", output.stderr);
        assert!(output.stdout == input, "{} bytes", output.stdout.len());
    }

    async fn a_fingerprint_of_each_kind_is_the_hosts(target: Target) {
        let key = PublicKey::from_blob(target.host_key().blob()).expect("a key");
        for fingerprint in [
            key.fingerprint_md5(),
            key.fingerprint_sha1(),
            key.fingerprint_sha256(),
        ] {
            let mut command = bare(&target);
            command.args(["-fingerprint", &fingerprint, "echo in"]);
            assert_eq!(succeeds(process::run(command, b"").await), "in\n");
        }
        let mut command = bare(&target);
        command.args(["-fingerprint", &"0".repeat(43), "echo in"]);
        let output = process::run(command, b"").await;
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stderr.contains("Host key verification failed"), "{}", output.stderr);
        assert!(output.stdout.is_empty());
    }

    async fn a_shell_knows_the_size_of_its_terminal(target: Target) {
        let shell = shell(&target, 31, 107).await;
        shell.knows_its_size(31, 107).await;
    }

    async fn ports_are_forwarded_without_a_command(target: Target) {
        let peer = Peer::echoes().await;
        let mut command = cf_ssh(&target);
        let to_peer = format!("127.0.0.1:0:127.0.0.1:{}", peer.address.port());
        command.args(["-N", "-L", &to_peer]);
        let client = Process::start(command);
        assert!(client.stderr.has("forwarding ").await, "{}", client.stderr.text());
        let said = client.stderr.text();
        let address = said.trim().strip_prefix("forwarding ").expect("an address");
        let mut held = Stream::of(TcpStream::connect(address).await.expect("the client"));
        held.exchanges(b"first").await;
        for length in [0, 1, DATA] {
            let stream = TcpStream::connect(address).await.expect("the client");
            Stream::of(stream).echoed(&probe::data(length)).await;
        }
        held.exchanges(b"still there").await;
        held.echoed(b"and no more").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_wrong_is_told_in_the_clis_words() {
    let target = Target::proxied().await;
    let mut command = cf_ssh(&target);
    command.env("CF_SSH_CODE", "wrong").arg("echo in");
    let output = process::run(command, b"").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let told = "you are not authorized";
    assert!(output.stderr.contains(told), "{}", output.stderr);
}
