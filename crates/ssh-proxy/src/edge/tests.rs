//! Connections at an edge, as their peers see them.

use std::time::Duration;

use ssh_proto::algorithm::Algorithms;
use ssh_proto::key::PrivateKey;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::File;
use crate::settings::Problems;

/// An edge with the keys of `config`, and a listener to come through.
struct Rig {
    edge: Edge,
    listener: TcpListener,
}

impl Rig {
    async fn new(config: &str) -> Self {
        let file = File::parse(config.as_bytes()).unwrap();
        let settings = EdgeSettings::new(&file, &mut Problems::default()).unwrap();
        let key = PrivateKey::generate_ed25519(&mut SystemRandom);
        let transport = Config::server("SSH-2.0-edge", Algorithms::default(), vec![key]);
        Self {
            edge: Edge::new(settings, Arc::new(transport), Arc::default()),
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    /// Somebody comes from `source`, or what a balancer at 127.0.0.1 says in `header`.
    async fn come(&self, source: &str, header: &[u8]) -> (TcpStream, Option<Admission>) {
        let address = self.listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(header).await.unwrap();
        if header.is_empty() && source == "127.0.0.1" {
            client.shutdown().await.unwrap();
        }
        let (stream, _) = self.listener.accept().await.unwrap();
        let peer = SocketAddr::new(source.parse().unwrap(), 1);
        let linger = async {
            // Reads what it is told, so that nobody has to wait for it.
            let mut told = Vec::new();
            let _ = client.read_to_end(&mut told).await;
            std::future::pending::<()>().await
        };
        let admitted = tokio::select! {
            admitted = self.edge.admit(stream, peer) => admitted,
            () = linger => None,
        };
        (client, admitted.map(|(_, admission)| admission))
    }

    async fn admitted(&self, source: &str) -> Option<Admission> {
        self.come(source, b"").await.1
    }

    /// What somebody from `source` is told who is turned away.
    async fn told(&self, source: &str) -> String {
        let address = self.listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = self.listener.accept().await.unwrap();
        let peer = SocketAddr::new(source.parse().unwrap(), 1);
        let read = async move {
            let mut told = Vec::new();
            client.read_to_end(&mut told).await.unwrap();
            // Its end is what the edge waits for.
            told
        };
        let (admitted, told) = tokio::join!(self.edge.admit(stream, peer), read);
        assert!(admitted.is_none());
        assert!(told.starts_with(b"SSH-2.0-edge\r\n"));
        String::from_utf8_lossy(&told).into_owned()
    }
}

#[tokio::test]
async fn logins_have_a_bound_and_whoever_is_over_it_is_told() {
    let rig = Rig::new(r#"{"max_unauthenticated_connections": 2}"#).await;
    let first = rig.admitted("192.0.2.1").await.unwrap();
    let _second = rig.admitted("192.0.2.1").await.unwrap();
    assert!(rig.told("192.0.2.2").await.contains("[too_many_logins]"));
    drop(first);
    assert!(rig.admitted("192.0.2.2").await.is_some());
}

#[tokio::test]
async fn sources_are_nobody_behind_a_plain_balancer() {
    let rig = Rig::new(r#"{"max_unauthenticated_connections_per_source": 1}"#).await;
    let admission = rig.admitted("192.0.2.1").await.unwrap();
    for _ in 0..9 {
        admission.offends(Offence::Password);
    }
    assert!(rig.admitted("192.0.2.1").await.is_some());
}

#[tokio::test]
async fn a_source_that_is_a_user_has_a_bound_of_its_own() {
    let rig = Rig::new(
        r#"{"source_is_user": true, "max_unauthenticated_connections_per_source": 1,
            "penalty_exempt_sources": ["198.51.100.0/24"]}"#,
    )
    .await;
    let first = rig.admitted("192.0.2.1").await.unwrap();
    let told = rig.told("192.0.2.1").await;
    assert!(told.contains("[too_many_from_source]"), "{told}");
    assert!(rig.admitted("192.0.2.2").await.is_some());
    drop(first);
    assert!(rig.admitted("192.0.2.1").await.is_some());
    let exempt = rig.admitted("198.51.100.7").await.unwrap();
    for _ in 0..9 {
        exempt.offends(Offence::Password);
    }
    assert!(rig.admitted("198.51.100.7").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_again_and_again_waits_longer_and_longer() {
    let rig = Rig::new(r#"{"source_is_user": true}"#).await;
    let source = "2001:db8::1";
    let neighbour = "2001:db8::2";
    let admission = rig.admitted(source).await.unwrap();
    admission.offends(Offence::Password);
    assert!(rig.admitted(source).await.is_some(), "one mistake is free");
    admission.offends(Offence::Password);
    assert!(rig.told(source).await.contains("[penalised_source]"));
    assert!(rig.told(neighbour).await.contains("[penalised_source]"));
    assert!(rig.admitted("2001:db8:0:1::1").await.is_some());
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(rig.admitted(source).await.is_some());
    admission.offends(Offence::Password);
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(rig.told(source).await.contains("[penalised_source]"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(rig.admitted(source).await.is_some());
}

#[tokio::test]
async fn a_balancer_tells_its_users_and_others_do_not() {
    let rig = Rig::new(
        r#"{"proxy_protocol_sources": ["127.0.0.1"],
            "max_unauthenticated_connections_per_source": 1}"#,
    )
    .await;
    let user = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 2222\r\n";
    let (_, first) = rig.come("127.0.0.1", user).await;
    let first = first.unwrap();
    assert_eq!(first.address, "192.0.2.1:56324".parse().unwrap());
    assert!(rig.come("127.0.0.1", user).await.1.is_none());
    // The same user may come directly.
    assert!(
        rig.told("192.0.2.1")
            .await
            .contains("[too_many_from_source]")
    );

    // The balancer itself has no bound.
    let own = b"PROXY UNKNOWN\r\n";
    let (_, one) = rig.come("127.0.0.1", own).await;
    let (_, two) = rig.come("127.0.0.1", own).await;
    assert_eq!(one.unwrap().address, "127.0.0.1:1".parse().unwrap());
    assert!(two.is_some());

    // Without a header nobody comes through it, and a probe is nobody.
    assert!(
        rig.come("127.0.0.1", b"SSH-2.0-client\r\n")
            .await
            .1
            .is_none()
    );
    assert!(rig.come("127.0.0.1", b"").await.1.is_none());

    // Who is no balancer has no word in it: the header stays, and is no SSH.
    let (_, direct) = rig
        .come("192.0.2.9", b"PROXY TCP4 192.0.2.1 1.1.1.1 1 1\r\n")
        .await;
    assert_eq!(direct.unwrap().address, "192.0.2.9:1".parse().unwrap());
}
