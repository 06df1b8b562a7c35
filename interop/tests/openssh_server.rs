//! Our client role against the servers of OpenSSH.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use interop::cases::each;
use interop::choice::{self, Choice, Rekeys};
use interop::client::{self, exec, login};
use interop::openssh::{self, Key, OpenSsh};
use interop::probe;
use interop::sshd::Sshd;
use ssh_proto::Error;
use ssh_proto::algorithm::{Algorithms, Kex, Signature};
use ssh_proto::auth::Credential;
use ssh_proto::msg;
use ssh_proto::wire::Put;

/// What sshd says when a key exchange is through.
const NEWKEYS: &str = "SSH2_MSG_NEWKEYS received";

/// A server as it is.
const NO_OPTIONS: &[&str] = &[];

/// What sshd says of messages that come.
fn received(number: u8) -> String {
    format!("receive packet: type {number}")
}

/// A case: what we offer to a server.
#[derive(Clone, Copy)]
struct Case(OpenSsh, Choice);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0, self.1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_alone() {
    let hosts = Key::of_each_type().await;
    for release in OpenSsh::ALL {
        let sshd = Arc::new(Sshd::start(release, &hosts, &hosts[..1], NO_OPTIONS).await);
        let cases = choice::all()
            .into_iter()
            .map(|choice| Case(release, choice));
        each(cases.filter(|case| release.knows(&case.1)), |case| {
            let (sshd, hosts) = (Arc::clone(&sshd), hosts.clone());
            async move {
                let choice = case.1;
                let host = openssh::key_for(&hosts, choice.host_key).clone();
                let config = client::config(choice.algorithms());
                let user = Credential::Key(hosts[0].private());
                let session = login(sshd.address, config, &sshd.user, user, &[host]).await;
                let mut session = session.expect("a session");
                let negotiated = session.connection().transport().negotiated();
                choice.check(negotiated.expect("a key exchange"));
                let input = probe::data(100_000);
                let answer = exec(&mut session, probe::COMMAND, input.clone()).await;
                answer.expect("an answer").check(&input);
            }
        })
        .await;
    }
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
        async move {
            let limit = rekeys.theirs().map(|bytes| format!("RekeyLimit {bytes}"));
            // A server of its own: what it says is counted.
            let sshd = Sshd::start(release, &hosts, &hosts[..1], limit.as_slice()).await;
            let config = rekeys.limit(client::config(choice.algorithms()));
            let user = Credential::Key(hosts[0].private());
            let session = login(sshd.address, config, &sshd.user, user, &hosts).await;
            let mut session = session.expect("a session");
            let answer = exec(&mut session, probe::COMMAND, input.to_vec()).await;
            answer.expect("an answer").check(&input);
            assert!(sshd.log().has_times(NEWKEYS, Rekeys::LEAST).await);
            let negotiated = session.connection().transport().negotiated();
            choice.check(negotiated.expect("a key exchange"));
        }
    })
    .await;
}

/// A server that wants new keys for every packet; nothing is sent but between two key exchanges.
#[tokio::test]
async fn a_server_that_rekeys_without_end() {
    let hosts = [Key::generate(&["-t", "ed25519"]).await];
    for release in OpenSsh::ALL {
        let sshd = Sshd::start(release, &hosts, &hosts, &["RekeyLimit 16"]).await;
        let config = Rekeys::Both.limit(client::config(Algorithms::everything()));
        let user = Credential::Key(hosts[0].private());
        let session = login(sshd.address, config, &sshd.user, user, &hosts).await;
        let mut session = session.expect("a session");
        let input = probe::data(1024 * 1024);
        let answer = exec(&mut session, probe::COMMAND, input.clone()).await;
        answer.expect("an answer").check(&input);
        assert!(sshd.log().has_times(NEWKEYS, 32).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_keys_of_each_type_and_signature() {
    struct KeyCase(OpenSsh, Key, Signature);
    impl fmt::Display for KeyCase {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}: {}", self.0, self.2.name())
        }
    }
    let keys = Key::of_each_type().await;
    let cases = OpenSsh::ALL.into_iter().flat_map(|release| {
        openssh::signatures(&keys)
            .map(move |(key, signature)| KeyCase(release, key.clone(), signature))
    });
    // OpenSSH 9.2 tells all signatures that it knows, not only those that it takes. Like its own
    // client we then make the best one, so nothing makes us sign with SHA-256 there.
    let cases = cases.filter(|case| case.0 == OpenSsh::Ten || case.2 != Signature::RsaSha256);
    each(cases, |KeyCase(release, key, signature)| {
        let hosts = keys.clone();
        async move {
            let option = format!("PubkeyAcceptedAlgorithms {}", signature.name());
            let authorized = [key.clone()];
            let sshd = Sshd::start(release, &hosts, &authorized, &[&option]).await;
            let config = client::config(Algorithms::everything());
            let user = Credential::Key(key.private());
            let session = login(sshd.address, config, &sshd.user, user, &hosts).await;
            let mut session = session.expect("a session");
            let answer = exec(&mut session, probe::COMMAND, Vec::new()).await;
            answer.expect("an answer").check(b"");
            if release == OpenSsh::Ten {
                let extensions = session.connection().transport().extensions();
                assert_eq!(extensions.signatures, Some(vec![signature]));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_stays_out() {
    let keys = Key::of_each_type().await;
    let sshd = Sshd::start(OpenSsh::Installed, &keys, &keys[1..], NO_OPTIONS).await;
    let config = client::config(Algorithms::everything());
    let user = Credential::Key(keys[0].private());
    let refused = login(sshd.address, config, &sshd.user, user, &keys).await;
    let error = refused.err().expect("a refusal");
    assert!(
        matches!(&error, Error::Authentication(text) if text.contains("publickey")),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_host_gets_no_credential_and_is_told() {
    let keys = Key::of_each_type().await;
    for release in OpenSsh::ALL {
        let sshd = Sshd::start(release, &keys[..1], &keys[..1], NO_OPTIONS).await;
        let config = client::config(Algorithms::everything());
        let user = Credential::Key(keys[0].private());
        let refused = login(sshd.address, config, &sshd.user, user, &keys[1..]).await;
        let error = refused.err().expect("a refusal");
        assert_eq!(error, Error::HostKey("another host".into()));
        let told = ":9: host key not verifiable: another host";
        assert!(sshd.log().has(told).await, "{}", sshd.log().text());
        assert_eq!(sshd.log().count(&received(msg::KEX_ECDH_INIT)), 1);
        for number in [msg::SERVICE_REQUEST, msg::USERAUTH_REQUEST] {
            assert_eq!(sshd.log().count(&received(number)), 0, "{number}");
        }
    }
}

/// Both halves of Terrapin's cure, and what servers say about themselves.
#[tokio::test]
async fn servers_see_strict_key_exchange_and_tell_their_extensions() {
    let keys = Key::of_each_type().await;
    for release in OpenSsh::ALL {
        let sshd = Sshd::start(release, &keys, &keys[..1], NO_OPTIONS).await;
        let config = client::config(Algorithms::everything());
        let user = Credential::Key(keys[0].private());
        let session = login(sshd.address, config, &sshd.user, user, &keys).await;
        let mut session = session.expect("a session");
        let strict = "will use strict KEX ordering";
        assert!(sshd.log().has(strict).await, "{}", sshd.log().text());
        let transport = session.connection().transport();
        assert!(transport.negotiated().expect("a key exchange").strict);
        let signatures = transport.extensions().signatures.as_deref();
        let signatures = signatures.expect("server-sig-algs");
        for signature in Signature::ALL {
            assert!(signatures.contains(signature), "{}", signature.name());
        }
        // It came with OpenSSH 9.5.
        assert!(transport.extensions().ping || release == OpenSsh::Installed);
    }
}

#[tokio::test]
async fn a_server_answers_our_ping_and_the_session_goes_on() {
    let keys = Key::of_each_type().await;
    let sshd = Sshd::start(OpenSsh::Ten, &keys, &keys[..1], NO_OPTIONS).await;
    let config = client::config(Algorithms::everything());
    let user = Credential::Key(keys[0].private());
    let session = login(sshd.address, config, &sshd.user, user, &keys).await;
    let mut session = session.expect("a session");
    let mut ping = vec![msg::PING];
    ping.put_string(b"are you there");
    for _ in 0..3 {
        session.connection().transport_mut().send(&[&ping]);
    }
    let answer = exec(&mut session, probe::COMMAND, b"data".to_vec()).await;
    answer.expect("an answer").check(b"data");
}

#[tokio::test]
async fn several_commands_on_one_connection() {
    let keys = Key::of_each_type().await;
    let sshd = Sshd::start(OpenSsh::Installed, &keys, &keys[..1], NO_OPTIONS).await;
    let config = client::config(Algorithms::everything());
    let user = Credential::Key(keys[0].private());
    let session = login(sshd.address, config, &sshd.user, user, &keys).await;
    let mut session = session.expect("a session");
    for length in [0, 1, 32 * 1024, 3 * 1024 * 1024] {
        let input = probe::data(length);
        let answer = exec(&mut session, probe::COMMAND, input.clone()).await;
        answer.expect("an answer").check(&input);
    }
    let end = Error::Closed {
        reason: ssh_proto::error::Reason::ByApplication,
        text: "that was all".into(),
    };
    session.close(end).await;
    let told = ":11: that was all";
    assert!(sshd.log().has(told).await, "{}", sshd.log().text());
}

#[tokio::test]
async fn a_server_that_dies_is_an_error_and_no_hang() {
    let keys = Key::of_each_type().await;
    for release in OpenSsh::ALL {
        let sshd = Sshd::start(release, &keys, &keys[..1], NO_OPTIONS).await;
        let config = client::config(Algorithms::everything());
        let user = Credential::Key(keys[0].private());
        let session = login(sshd.address, config, &sshd.user, user, &keys).await;
        let mut session = session.expect("a session");
        let running = tokio::spawn(async move {
            // Input without end, so that it is in the midst of it.
            exec(&mut session, "cat >/dev/null", probe::data(1 << 26)).await
        });
        let exec_request = received(msg::CHANNEL_REQUEST);
        assert!(sshd.log().has(&exec_request).await);
        sshd.kill();
        let ended = tokio::time::timeout(Duration::from_secs(10), running);
        let error = ended.await.expect("no hang").expect("no panic").err();
        assert!(matches!(error, Some(Error::Lost(_))), "{error:?}");
    }
}
