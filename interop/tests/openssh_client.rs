//! Our server role against the clients of OpenSSH.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use interop::cases::each;
use interop::choice::{self, Choice, Rekeys};
use interop::openssh::{self, Files, HOST_ARGUMENT, Key, OpenSsh};
use interop::probe::{self, Answer};
use interop::process::{self, Output, Process};
use interop::server::{self, Door, Server, With};
use ssh_proto::Error;
use ssh_proto::algorithm::{Kex, Signature};
use tokio::process::Command;

/// What a client says when a key exchange is through.
const NEWKEYS: &str = "SSH2_MSG_NEWKEYS received";

/// A case: a client and what it offers.
#[derive(Clone, Copy)]
struct Case(OpenSsh, Choice);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

/// Runs the probe with `input` by a client's command line.
async fn probe(mut ssh: Command, input: &[u8]) -> Output {
    ssh.args(["-l", "user", HOST_ARGUMENT, probe::COMMAND]);
    process::run(ssh, input).await
}

/// Checks the probe's answer. Its standard error stands among what the client says.
fn check(output: &Output, input: &[u8]) {
    let lines = output.stderr.split_inclusive('\n');
    let answer = Answer {
        stdout: output.stdout.clone(),
        stderr: Some(lines.filter(|line| *line == probe::STDERR).collect()),
        status: output
            .status
            .code()
            .and_then(|code| u32::try_from(code).ok()),
    };
    if output.status.code() != i32::try_from(probe::STATUS).ok() {
        eprintln!("{}", output.stderr);
    }
    answer.check(input);
}

/// What a client says when it ends on its own.
fn assert_client_left(end: &Error) {
    let left = matches!(end, Error::Disconnected { reason: 11, .. });
    assert!(left, "the connection ended with: {end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_alone() {
    let hosts = Key::of_each_type().await;
    let user = hosts[0].clone();
    let config = Arc::new(server::config(&hosts));
    let cases = OpenSsh::ALL.into_iter().flat_map(|release| {
        let cases = choice::all()
            .into_iter()
            .map(move |choice| Case(release, choice));
        cases.filter(|case| case.0.knows(&case.1))
    });
    each(cases, |Case(release, choice)| {
        let (config, hosts, user) = (Arc::clone(&config), hosts.clone(), user.clone());
        async move {
            let mut server = Server::start(config, Door::Key(user.public())).await;
            // Another key of the same host would be an error too.
            let host = openssh::key_for(&hosts, choice.host_key).clone();
            let files = Files::of_client(release, &[host], Some(&user));
            let mut ssh = release.client(server.address, &files);
            ssh.args(openssh::options(choice));
            let input = probe::data(100_000);
            let output = probe(ssh, &input).await;
            check(&output, &input);
            let served = server.served().await.expect("let in");
            choice.check(&served.negotiated);
            assert_eq!((served.user.as_str(), served.with), ("user", With::Key));
            assert_client_left(&served.end);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rekeying_with_data_both_ways() {
    struct RekeyCase(OpenSsh, Choice, Rekeys);
    impl fmt::Display for RekeyCase {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}: {}, rekeys: {:?}", self.0, self.1, self.2)
        }
    }
    let hosts = Key::of_each_type().await;
    let limited = Arc::new(Rekeys::Ours.limit(server::config(&hosts)));
    let unlimited = Arc::new(server::config(&hosts));
    let input = Arc::new(probe::data(Rekeys::DATA));
    let mlkem = Choice {
        kex: Kex::MlKem768X25519,
        ..choice::USUAL
    };
    let choices = choice::packets().map(|choice| (OpenSsh::Installed, choice));
    let cases = choices
        .chain([(OpenSsh::Ten, mlkem)])
        .flat_map(|(release, choice)| Rekeys::ALL.map(|rekeys| RekeyCase(release, choice, rekeys)));
    each(cases, |RekeyCase(release, choice, rekeys)| {
        let (hosts, input) = (hosts.clone(), Arc::clone(&input));
        let config = Arc::clone(if rekeys == Rekeys::Theirs {
            &unlimited
        } else {
            &limited
        });
        async move {
            let mut server = Server::start(config, Door::Open).await;
            let files = Files::of_client(release, &hosts, None);
            let mut ssh = release.client(server.address, &files);
            ssh.args(openssh::options(choice));
            ssh.args(rekeys.theirs().map(|bytes| format!("-oRekeyLimit={bytes}")));
            let output = probe(ssh, &input).await;
            check(&output, &input);
            let exchanges = output.stderr.matches(NEWKEYS).count();
            assert!(exchanges >= Rekeys::LEAST, "{exchanges} key exchanges");
            let served = server.served().await.expect("let in");
            choice.check(&served.negotiated);
            assert_client_left(&served.end);
        }
    })
    .await;
}

/// A client that wants new keys for every packet; nothing is sent but between two key exchanges.
#[tokio::test]
async fn a_client_that_rekeys_without_end() {
    let hosts = [Key::generate(&["-t", "ed25519"]).await];
    let config = Arc::new(Rekeys::Both.limit(server::config(&hosts)));
    for release in OpenSsh::ALL {
        let mut server = Server::start(Arc::clone(&config), Door::Open).await;
        let files = Files::of_client(release, &hosts, None);
        let mut ssh = release.client(server.address, &files);
        ssh.arg("-oRekeyLimit=16");
        let input = probe::data(1024 * 1024);
        let output = probe(ssh, &input).await;
        check(&output, &input);
        let exchanges = output.stderr.matches(NEWKEYS).count();
        assert!(exchanges > 32, "{exchanges} key exchanges");
        assert_client_left(&server.served().await.expect("let in").end);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_keys_of_each_type_and_signature() {
    let keys = Key::of_each_type().await;
    let config = Arc::new(server::config(&keys));
    struct KeyCase(Key, Signature);
    impl fmt::Display for KeyCase {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.1.name())
        }
    }
    let cases = openssh::signatures(&keys).map(|(key, signature)| KeyCase(key.clone(), signature));
    each(cases, |KeyCase(key, signature)| {
        let (config, hosts) = (Arc::clone(&config), keys.clone());
        async move {
            let mut server = Server::start(config, Door::Key(key.public())).await;
            let files = Files::of_client(OpenSsh::Installed, &hosts, Some(&key));
            let mut ssh = OpenSsh::Installed.client(server.address, &files);
            ssh.arg(format!("-oPubkeyAcceptedAlgorithms={}", signature.name()));
            let output = probe(ssh, b"").await;
            check(&output, b"");
            let signed = format!("signing using {} ", signature.name());
            assert!(output.stderr.contains(&signed), "{}", output.stderr);
            assert_eq!(server.served().await.expect("let in").with, With::Key);
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_that_nobody_knows_stays_out() {
    let keys = Key::of_each_type().await;
    let config = Arc::new(server::config(&keys));
    let mut server = Server::start(config, Door::Key(keys[1].public())).await;
    let files = Files::of_client(OpenSsh::Installed, &keys, Some(&keys[0]));
    let output = probe(OpenSsh::Installed.client(server.address, &files), b"").await;
    assert_eq!(output.status.code(), Some(255));
    assert!(output.stderr.contains("Permission denied (publickey)"));
    assert!(server.served().await.is_err());
}

#[tokio::test]
async fn a_password_lets_in_and_a_wrong_one_does_not() {
    let hosts = [Key::generate(&["-t", "ed25519"]).await];
    let config = Arc::new(server::config(&hosts));
    let files = Files::of_client(OpenSsh::Installed, &hosts, None);
    let mut server = Server::start(config, Door::Password("open sesame")).await;

    let ssh = OpenSsh::Installed;
    let right = ssh.client_with_password(server.address, &files, "open sesame");
    check(&probe(right, b"data").await, b"data");
    assert_eq!(server.served().await.expect("let in").with, With::Password);

    let wrong = ssh.client_with_password(server.address, &files, "open barley");
    let output = probe(wrong, b"data").await;
    assert_eq!(output.stdout, b"");
    assert!(output.stderr.contains("Permission denied (password)"));
    assert!(output.stderr.contains("\ntry another one\n"), "no banner");
    assert!(server.served().await.is_err());
}

#[tokio::test]
async fn an_open_door_needs_no_credential() {
    let hosts = [Key::generate(&["-t", "ed25519"]).await];
    let config = Arc::new(server::config(&hosts));
    for release in OpenSsh::ALL {
        let mut server = Server::start(Arc::clone(&config), Door::Open).await;
        let files = Files::of_client(release, &hosts, None);
        let output = probe(release.client(server.address, &files), b"data").await;
        check(&output, b"data");
        assert_eq!(server.served().await.expect("let in").with, With::Nothing);
    }
}

#[tokio::test]
async fn the_reason_of_a_refusal_is_shown() {
    let hosts = [Key::generate(&["-t", "ed25519"]).await];
    let config = Arc::new(server::config(&hosts));
    for release in OpenSsh::ALL {
        let mut server = Server::start(Arc::clone(&config), Door::Closed("come back later")).await;
        let files = Files::of_client(release, &hosts, None);
        let output = probe(release.client(server.address, &files), b"").await;
        assert_eq!(output.status.code(), Some(255));
        assert!(
            output.stderr.contains("\ncome back later\n"),
            "{}",
            output.stderr
        );
        let disconnect = format!("port {}:11: come back later", server.address.port());
        assert!(output.stderr.contains(&disconnect), "{}", output.stderr);
        assert!(matches!(server.served().await, Err(Error::Closed { .. })));
    }
}

#[tokio::test]
async fn clients_see_strict_key_exchange_and_our_extensions() {
    let hosts = Key::of_each_type().await;
    let config = Arc::new(server::config(&hosts));
    for release in OpenSsh::ALL {
        let server = Server::start(Arc::clone(&config), Door::Open).await;
        let files = Files::of_client(release, &hosts, None);
        let output = probe(release.client(server.address, &files), b"").await;
        check(&output, b"");
        for seen in [
            "will use strict KEX ordering",
            "resetting send seqnr",
            "resetting read seqnr",
            "server-sig-algs=<ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,\
             ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256>",
        ] {
            assert!(output.stderr.contains(seen), "{seen}: {}", output.stderr);
        }
        // It came with OpenSSH 9.5.
        let ping = output.stderr.contains("ping@openssh.com=<0>");
        assert!(ping || release == OpenSsh::Installed, "{}", output.stderr);
    }
}

/// With a terminal, OpenSSH hides when keys are typed among packets of `ping@openssh.com`, where the
/// server says that it answers these.
#[tokio::test]
async fn pings_among_keystrokes_are_answered() {
    let hosts = [Key::generate(&["-t", "ed25519"]).await];
    let mut server = Server::start(Arc::new(server::config(&hosts)), Door::Open).await;
    let files = Files::of_client(OpenSsh::Ten, &hosts, None);
    let mut ssh = OpenSsh::Ten.client(server.address, &files);
    ssh.args(["-tt", "-l", "user", HOST_ARGUMENT, probe::COMMAND]);
    let mut ssh = Process::start(ssh);
    for typed in ["a", "ab", "abc"] {
        ssh.write(&typed.as_bytes()[typed.len() - 1..]).await;
        assert!(ssh.stdout.has(typed).await, "{}", ssh.stderr.text());
    }
    // It says so once it has sent no key for a while, and only if there were pings.
    assert!(ssh.stderr.has("chaff packets sent)").await);
    let output = ssh.finish().await;
    check(&output, b"abc");
    assert_client_left(&server.served().await.expect("let in").end);
}

#[tokio::test]
async fn a_client_that_is_killed_ends_its_connection() {
    let hosts = [Key::generate(&["-t", "ed25519"]).await];
    let mut server = Server::start(Arc::new(server::config(&hosts)), Door::Open).await;
    let files = Files::of_client(OpenSsh::Installed, &hosts, None);
    let mut ssh = OpenSsh::Installed.client(server.address, &files);
    ssh.args(["-l", "user", HOST_ARGUMENT, probe::COMMAND]);
    let mut ssh = Process::start(ssh);
    ssh.write(b"begin").await;
    assert!(ssh.stdout.has("begin").await, "{}", ssh.stderr.text());
    ssh.kill();
    let served = tokio::time::timeout(Duration::from_secs(10), server.served());
    let end = served.await.expect("no hang").expect("let in").end;
    assert!(matches!(end, Error::Lost(_)), "{end}");
}
