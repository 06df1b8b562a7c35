//! Signs of life of clients with a terminal; the shells are real and time is virtual.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too"
)]

mod support;

use std::time::Duration;

use ssh_proto::connection::{ChannelId, Event as Message};
use support::{Client, Running};
use tokio::time::{Instant, pause, timeout};

const INTERVAL: Duration = Duration::from_secs(15);

/// A client whose `cat` runs in the daemon. From here on time is virtual: it passes at once when
/// nothing else is left to do.
struct Cat {
    client: Client,
    channel: ChannelId,
    _daemon: Running,
}

impl Cat {
    async fn start(with_terminal: bool) -> Self {
        let daemon = Running::start(support::open_server()).await;
        let mut client = Client::log_in(daemon.address).await.unwrap();
        let channel = client.open_session().await.unwrap();
        if with_terminal {
            assert!(client.ask_for_terminal(channel).await);
        }
        assert!(client.exec(channel, b"cat").await);
        pause();
        Self {
            client,
            channel,
            _daemon: daemon,
        }
    }

    /// Waits for a keepalive.
    async fn asked(&mut self) {
        match self.client.next().await.unwrap() {
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

#[tokio::test]
async fn any_answer_keeps_a_session_on_a_terminal_alive() {
    let mut cat = Cat::start(true).await;
    cat.asked().await;
    for round in 0..50 {
        let channel = cat.channel;
        cat.client
            .session
            .connection()
            .reply(channel, round % 2 == 0);
        let before = Instant::now();
        cat.asked().await;
        assert_eq!(rounded(before.elapsed()), rounded(INTERVAL));
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_for_five_minutes_is_gone() {
    let mut cat = Cat::start(true).await;
    cat.asked().await;
    let before = Instant::now();
    let told = cat.client.next().await.unwrap_err().to_string();
    assert!(told.contains("no answer to keepalives"), "{told}");
    assert_eq!(rounded(before.elapsed()), 300.0);
}

#[tokio::test]
async fn a_session_without_a_terminal_is_not_asked() {
    let mut cat = Cat::start(false).await;
    let quiet = timeout(Duration::from_secs(3000), cat.client.next()).await;
    assert!(quiet.is_err());
}
