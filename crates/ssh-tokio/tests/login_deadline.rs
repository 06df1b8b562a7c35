//! The deadline of a login, in virtual time: whoever is not done by then learns why and is cut,
//! however far the login has come and whatever was sent meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too"
)]

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::Methods;
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::error::Reason;
use ssh_proto::key::{PrivateKey, PublicKey};
use ssh_proto::transport::{Config, Event, Role, Transport};
use ssh_proto::wire::Put;
use ssh_proto::{Error, msg};
use ssh_tokio::wire::now;
use ssh_tokio::{Attempt, Authenticator, Denied, Wire, accept, login_deadline};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Before that of a key exchange, so that each is told apart.
const DEADLINE: Duration = Duration::from_secs(50);

/// Refuses nobody and lets nobody in: a password is thought about for ever.
struct Ponderer;

impl Authenticator for Ponderer {
    type Grant = ();

    fn methods(&self) -> Methods {
        Methods::Password
    }

    fn knows_key(&self, _: &PublicKey) -> bool {
        false
    }

    async fn authenticate(&mut self, _: &str, attempt: Attempt) -> Result<(), Denied> {
        match attempt {
            Attempt::Password(_) => pending().await,
            _ => Err(Denied::Retry(Some("not like this".to_owned()))),
        }
    }
}

/// A server on one end of a stream; its task gives the error and when it came.
fn server() -> (DuplexStream, JoinHandle<(Error, Duration)>) {
    let (client, stream) = duplex(64 * 1024);
    let key = PrivateKey::generate_ed25519(&mut SystemRandom);
    let config = Config::server("SSH-2.0-server", Algorithms::default(), vec![key]);
    let start = Instant::now();
    let task = tokio::spawn(async move {
        let accepted = accept(
            stream,
            Arc::new(config),
            &mut Ponderer,
            login_deadline(start + DEADLINE),
        )
        .await;
        (accepted.err().unwrap(), start.elapsed())
    });
    (client, task)
}

/// A client that has exchanged keys with the server.
async fn keyed(stream: DuplexStream) -> Wire<DuplexStream> {
    let config = Arc::new(Config::client("SSH-2.0-client", Algorithms::default()));
    let transport = Transport::new(Role::Client, config, Box::new(SystemRandom), now());
    let mut wire = Wire::new(stream, transport);
    assert_eq!(wire.next().await, Ok(Event::HostKey));
    wire.transport_mut().accept_host_key().unwrap();
    wire
}

fn request_service(wire: &mut Wire<DuplexStream>) {
    let mut payload = vec![msg::SERVICE_REQUEST];
    payload.put_string(b"ssh-userauth");
    wire.transport_mut().send(&[&payload]);
}

fn request_access(wire: &mut Wire<DuplexStream>, method: &str) {
    let mut payload = vec![msg::USERAUTH_REQUEST];
    for field in ["user", "ssh-connection", method] {
        payload.put_string(field.as_bytes());
    }
    if method == "password" {
        payload.put_bool(false);
        payload.put_string(b"secret");
    }
    wire.transport_mut().send(&[&payload]);
}

/// Reads to the end: the client is told, at the deadline and not before.
async fn is_told(mut wire: Wire<DuplexStream>, task: JoinHandle<(Error, Duration)>) {
    let start = Instant::now();
    let end = loop {
        match wire.next().await {
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    let told = Error::Disconnected {
        reason: 11,
        description: "timeout: login takes too long".to_owned(),
    };
    assert_eq!(end, told);
    assert!(start.elapsed() <= DEADLINE);
    drop(wire);
    was_cut_in_time(task).await;
}

async fn was_cut_in_time(task: JoinHandle<(Error, Duration)>) {
    let (error, after) = task.await.unwrap();
    assert_eq!(error, Error::Timeout("login takes too long"));
    // The second is for last words to arrive.
    assert!(
        (DEADLINE..=DEADLINE + Duration::from_secs(1)).contains(&after),
        "{after:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing() {
    let (mut client, task) = server();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    let told = b"timeout: login takes too long";
    assert!(heard.windows(told.len()).any(|part| part == told));
    drop(client);
    was_cut_in_time(task).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_drips_and_never_reads() {
    let (mut client, task) = server();
    for byte in b"SSH-2.0-" {
        client.write_all(&[*byte]).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    while client.write_all(b"x").await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
    was_cut_in_time(task).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_after_the_key_exchange() {
    let (client, task) = server();
    is_told(keyed(client).await, task).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_at_a_banner() {
    let (client, task) = server();
    let mut wire = keyed(client).await;
    request_service(&mut wire);
    request_access(&mut wire, "none");
    is_told(wire, task).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_busy() {
    let (client, task) = server();
    let mut wire = keyed(client).await;
    for _ in 0..12 {
        wire.transport_mut().send(&[&[msg::IGNORE, 0, 0, 0, 0]]);
        wire.flush().await.unwrap();
        sleep(Duration::from_secs(4)).await;
    }
    is_told(wire, task).await;
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_does_not_come() {
    let (client, task) = server();
    let mut wire = keyed(client).await;
    request_service(&mut wire);
    request_access(&mut wire, "password");
    is_told(wire, task).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_exchange_has_a_limit_of_its_own_where_a_login_has_none() {
    let (mut client, stream) = duplex(64 * 1024);
    let key = PrivateKey::generate_ed25519(&mut SystemRandom);
    let config = Config::server("SSH-2.0-server", Algorithms::default(), vec![key]);
    let mut ponderer = Ponderer;
    let mut heard = Vec::new();
    let start = Instant::now();
    let (accepted, _) = tokio::join!(
        accept(stream, Arc::new(config), &mut ponderer, pending()),
        client.read_to_end(&mut heard),
    );
    assert_eq!(accepted.err(), Some(Error::Timeout("key exchange")));
    assert!(start.elapsed() <= Duration::from_secs(61));
    let told = b"timeout: key exchange";
    assert!(heard.windows(told.len()).any(|part| part == told));
}

#[tokio::test(start_paused = true)]
async fn whatever_else_ends_a_login_is_told_to_the_client_too() {
    let (mut client, stream) = duplex(64 * 1024);
    let key = PrivateKey::generate_ed25519(&mut SystemRandom);
    let config = Config::server("SSH-2.0-server", Algorithms::default(), vec![key]);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Error::Closed {
            reason: Reason::ByApplication,
            text: "we are closing".to_owned(),
        }
    };
    let mut heard = Vec::new();
    let mut ponderer = Ponderer;
    let (accepted, _) = tokio::join!(
        accept(stream, Arc::new(config), &mut ponderer, stopping),
        client.read_to_end(&mut heard),
    );
    assert!(matches!(accepted.err(), Some(Error::Closed { .. })));
    let text = b"we are closing";
    assert!(heard.windows(text.len()).any(|window| window == text));
}
