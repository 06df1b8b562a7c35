//! The daemon gives a login 60 seconds; time is virtual here.

mod support;

use std::future::pending;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_told_and_cut_after_60_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(support::open_server().serve(listener, pending()));

    let start = Instant::now();
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    let told = b"timeout: login takes too long";
    assert!(heard.windows(told.len()).any(|part| part == told));
    assert_eq!(start.elapsed().as_secs(), Duration::from_secs(60).as_secs());
    server.abort();
}
