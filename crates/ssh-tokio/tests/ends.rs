//! How channels end: what was sent before an end gets to where it belongs, and each side learns of
//! the other's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too"
)]

use std::sync::Arc;

use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::{Credential, Methods};
use ssh_proto::connection::{ChannelId, Event as Message, Limits};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::error::Reason;
use ssh_proto::key::{PrivateKey, PublicKey};
use ssh_proto::transport::Config;
use ssh_tokio::session::{Event, Pipes, Session};
use ssh_tokio::{Attempt, Authenticator, Denied, accept, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// More than fits into the pipe of the side that receives.
const SENT: usize = 100_000;
const PIPE: usize = 1000;

struct Welcome;

impl Authenticator for Welcome {
    type Grant = ();

    fn methods(&self) -> Methods {
        Methods::Password
    }

    fn knows_key(&self, _: &PublicKey) -> bool {
        false
    }

    async fn authenticate(&mut self, _: &str, _: Attempt) -> Result<(), Denied> {
        Ok(())
    }
}

/// Two ends of one connection and the numbers of one open channel.
async fn ends() -> [(Session<DuplexStream>, ChannelId); 2] {
    let (one, other) = duplex(1 << 20);
    let key = PrivateKey::generate_ed25519(&mut SystemRandom);
    let config = Config::server("SSH-2.0-server", Algorithms::default(), vec![key]);
    let mut welcome = Welcome;
    let server = accept(one, Arc::new(config), &mut welcome, std::future::pending());
    let config = Arc::new(Config::client("SSH-2.0-client", Algorithms::default()));
    let none = vec![Credential::None];
    let client = connect(other, config, String::new(), none, |_| Ok(()));
    let (server, client) = tokio::join!(server, client);
    let mut server = Session::new(server.unwrap().0, Limits::default());
    let mut client = Session::new(client.unwrap(), Limits::default());
    let opened = client.connection().open("test", 1 << 20, 1 << 15, b"");
    let offered = tokio::select! {
        event = server.next() => match event {
            Ok(Event::Connection(Message::ChannelOpen { channel, .. })) => channel,
            other => panic!("{other:?}"),
        },
        event = client.next() => panic!("{event:?}"),
    };
    server.connection().accept(offered, 1 << 20, 1 << 15, b"");
    tokio::select! {
        event = client.next() => assert!(matches!(
            event,
            Ok(Event::Connection(Message::OpenConfirmed { .. }))
        )),
        event = server.next() => panic!("{event:?}"),
    }
    [(server, offered), (client, opened.unwrap())]
}

/// The next event of `session`, while the other side does its part and has nothing to say.
async fn event(session: &mut Session<DuplexStream>, other: &mut Session<DuplexStream>) -> Event {
    tokio::select! {
        event = session.next() => event.unwrap(),
        event = other.next() => panic!("{event:?}"),
    }
}

fn pipes() -> (Pipes, DuplexStream, DuplexStream) {
    let (sink, taken) = duplex(PIPE);
    let (given, source) = duplex(PIPE);
    let pipes = Pipes {
        sink: Some(Box::new(sink)),
        source: Some(Box::new(source)),
        errors: None,
    };
    (pipes, taken, given)
}

#[tokio::test]
async fn what_was_sent_before_a_close_is_delivered_and_only_then_the_close_is_answered() {
    let [(mut server, at), (mut client, from)] = ends().await;
    let (pipes, mut taken, mut given) = pipes();
    server.join(at, pipes);
    let connection = client.connection();
    let sent = connection.send_data(from, ssh_proto::connection::Stream::Data, &[7; SENT]);
    assert_eq!(sent, SENT);
    connection.close(from);
    let closed = Event::Connection(Message::PeerClosed { channel: at });
    assert_eq!(event(&mut server, &mut client).await, closed);
    // Nobody is there to read what the source would say.
    assert!(given.write_all(&[1; PIPE + 1]).await.is_err());
    assert_eq!(server.connection().channels(), 1);
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        taken.read_to_end(&mut all).await.unwrap()
    });
    let closed = Event::Connection(Message::Closed { channel: from });
    assert_eq!(event(&mut client, &mut server).await, closed);
    assert_eq!(server.connection().channels(), 0);
    assert_eq!(reader.await.unwrap(), SENT);
}

#[tokio::test]
async fn a_channel_that_is_parted_is_closed_without_its_data() {
    let [(mut server, at), (mut client, from)] = ends().await;
    let (pipes, mut taken, _given) = pipes();
    server.join(at, pipes);
    let connection = client.connection();
    connection.send_data(from, ssh_proto::connection::Stream::Data, &[7; SENT]);
    connection.close(from);
    event(&mut server, &mut client).await;
    server.part(at);
    let closed = Event::Connection(Message::Closed { channel: from });
    assert_eq!(event(&mut client, &mut server).await, closed);
    let mut rest = Vec::new();
    taken.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() <= PIPE);
}

/// Few bytes wait for more, to be written with them.
#[tokio::test]
async fn what_came_with_the_end_of_the_connection_is_delivered() {
    let [(mut server, at), (mut client, from)] = ends().await;
    let (pipes, mut taken, _given) = pipes();
    server.join(at, pipes);
    let connection = client.connection();
    connection.send_data(from, ssh_proto::connection::Stream::Data, b"last words");
    let leaving = client.close(Error::Closed {
        reason: Reason::ByApplication,
        text: "gone".to_owned(),
    });
    let (end, _) = tokio::join!(server.next(), leaving);
    assert!(matches!(end, Err(Error::Disconnected { .. })), "{end:?}");
    drop(server);
    let mut heard = String::new();
    taken.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "last words");
}

/// The number of a channel that has gone is the next one's.
#[tokio::test]
async fn parting_a_channel_that_has_gone_does_nothing_to_the_next() {
    let [(mut server, at), (mut client, from)] = ends().await;
    server.connection().close(at);
    client.connection().close(from);
    let closed = |channel| Event::Connection(Message::Closed { channel });
    let (of_server, of_client) = tokio::join!(server.next(), client.next());
    assert_eq!((of_server, of_client), (Ok(closed(at)), Ok(closed(from))));
    server.part(at);
    let next = client.connection().open("test", 1 << 20, 1 << 15, b"");
    let next = next.unwrap();
    assert!(matches!(
        event(&mut server, &mut client).await,
        Event::Connection(Message::ChannelOpen { channel, .. }) if channel == at
    ));
    server.connection().accept(at, 1 << 20, 1 << 15, b"");
    event(&mut client, &mut server).await;
    let connection = client.connection();
    connection.send_data(next, ssh_proto::connection::Stream::Data, b"early");
    connection.send_eof(next);
    let eof = Event::Connection(Message::Eof { channel: at });
    assert_eq!(event(&mut server, &mut client).await, eof);
    let (pipes, mut taken, _given) = pipes();
    server.join(at, pipes);
    assert_eq!(event(&mut server, &mut client).await, Event::Sunk(at));
    let mut heard = String::new();
    taken.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "early");
}

#[tokio::test]
async fn both_directions_end_by_themselves() {
    let [(mut server, at), (mut client, from)] = ends().await;
    let (pipes, mut taken, given) = pipes();
    server.join(at, pipes);
    let connection = client.connection();
    connection.send_data(from, ssh_proto::connection::Stream::Data, &[7; SENT]);
    connection.send_eof(from);
    let eof = Event::Connection(Message::Eof { channel: at });
    assert_eq!(event(&mut server, &mut client).await, eof);
    let mut all = Vec::new();
    let sunk = tokio::select! {
        event = event(&mut server, &mut client) => event,
        _ = taken.read_to_end(&mut all) => panic!("told before it is true"),
    };
    // The end is in the pipe before it is told; what was before it may still be read.
    assert_eq!(sunk, Event::Sunk(at));
    taken.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), SENT);
    drop(given);
    assert_eq!(event(&mut server, &mut client).await, Event::Drained(at));
}
