//! The daemon gives a login 60 seconds; time is virtual here.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ssh_proto::algorithm::Algorithms;
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::transport::Config;
use sshd::environment::DaemonEnvironment;
use sshd::server::Server;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_told_and_cut_after_60_seconds() {
    let key = PrivateKey::generate_ed25519(&mut SystemRandom);
    let config = Config::server("SSH-2.0-x", Algorithms::default(), vec![key]);
    let server = Server {
        transport: Arc::new(config),
        authorized_key: None,
        allow_unauthenticated_clients: true,
        environment: Arc::new(DaemonEnvironment::default()),
        inherit_daemon_env: false,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(server.serve(listener, pending()));

    let start = Instant::now();
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    let told = b"timeout: login takes too long";
    assert!(heard.windows(told.len()).any(|part| part == told));
    assert_eq!(start.elapsed().as_secs(), Duration::from_secs(60).as_secs());
    server.abort();
}
