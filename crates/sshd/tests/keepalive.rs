//! Signs of life of clients with a terminal; the shells are real and time is virtual.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too"
)]

mod support;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::Credential;
use ssh_proto::connection::request::{Exec, PtyReq, SESSION, Size};
use ssh_proto::connection::{ChannelId, Event as Message, Limits};
use ssh_proto::transport::Config;
use ssh_tokio::connect;
use ssh_tokio::session::{Event, Session};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, pause, timeout};

const INTERVAL: Duration = Duration::from_secs(15);

/// A client whose `cat` runs in the daemon. From here on time is virtual: it passes at once when
/// nothing else is left to do.
struct Client {
    session: Session<TcpStream>,
    channel: ChannelId,
    daemon: JoinHandle<()>,
}

impl Client {
    async fn start(with_terminal: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let daemon = tokio::spawn(support::open_server().serve(listener, pending()));
        let config = Arc::new(Config::client("SSH-2.0-y", Algorithms::default()));
        let none = vec![Credential::None];
        let wire = connect(stream, config, String::new(), none, |_| Ok(()))
            .await
            .unwrap();
        let mut session = Session::new(wire, Limits::default());
        let connection = session.connection();
        let channel = connection.open(SESSION, 1 << 20, 1 << 15, &[]).unwrap();
        let mut client = Self {
            session,
            channel,
            daemon,
        };
        assert!(matches!(
            client.next().await,
            Ok(Message::OpenConfirmed { .. })
        ));
        if with_terminal {
            let size = Size {
                columns: 80,
                rows: 24,
                width: 0,
                height: 0,
            };
            let terminal = PtyReq {
                term: b"xterm",
                size,
                modes: b"",
            };
            client.ask(PtyReq::NAME, &terminal.encode()).await;
        }
        client
            .ask(Exec::NAME, &Exec { command: b"cat" }.encode())
            .await;
        pause();
        client
    }

    async fn next(&mut self) -> Result<Message, Error> {
        match self.session.next().await? {
            Event::Connection(message) => Ok(message),
            Event::Drained(_) | Event::Sunk(_) => panic!("nothing is joined"),
        }
    }

    async fn ask(&mut self, name: &str, payload: &[u8]) {
        self.session
            .connection()
            .request(self.channel, name, true, payload)
            .unwrap();
        assert!(
            matches!(self.next().await, Ok(Message::Reply { success: true, .. })),
            "{name}"
        );
    }

    /// Waits for a keepalive.
    async fn asked(&mut self) {
        match self.next().await.unwrap() {
            Message::Request {
                request,
                want_reply,
                ..
            } => {
                assert_eq!(
                    (request.as_str(), want_reply),
                    ("keepalive@cloudfoundry.org", true)
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

/// In seconds; timers are true to a millisecond.
fn rounded(duration: Duration) -> f64 {
    duration.as_secs_f64().round()
}

impl Drop for Client {
    fn drop(&mut self) {
        self.daemon.abort();
    }
}

#[tokio::test]
async fn any_answer_keeps_a_session_on_a_terminal_alive() {
    let mut client = Client::start(true).await;
    client.asked().await;
    for round in 0..50 {
        let channel = client.channel;
        client.session.connection().reply(channel, round % 2 == 0);
        let before = Instant::now();
        client.asked().await;
        assert_eq!(rounded(before.elapsed()), rounded(INTERVAL));
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_for_five_minutes_is_gone() {
    let mut client = Client::start(true).await;
    client.asked().await;
    let before = Instant::now();
    let told = client.next().await.unwrap_err().to_string();
    assert!(told.contains("no answer to keepalives"), "{told}");
    assert_eq!(rounded(before.elapsed()), 300.0);
}

#[tokio::test]
async fn a_session_without_a_terminal_is_not_asked() {
    let mut client = Client::start(false).await;
    let quiet = timeout(Duration::from_secs(3000), client.next()).await;
    assert!(quiet.is_err());
}
