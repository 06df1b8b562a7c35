//! Over a bound of the daemon's there is a refusal with a reason, and everything else goes on.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too"
)]

mod support;

use ssh_proto::connection::request::Env;
use sshd::bounds::Bounds;
use sshd::server::Server;
use support::{Client, Running, open_server};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

async fn daemon(bounds: Bounds) -> Running {
    Running::start(Server {
        bounds,
        ..open_server()
    })
    .await
}

/// A session of `client` runs a command.
async fn works(client: &mut Client) {
    let channel = client.open_session().await.unwrap();
    assert!(client.exec(channel, b"exit 7").await);
    assert_eq!(client.finish(channel).await, Some(7));
}

#[tokio::test]
async fn connections_that_do_not_log_in_make_room_for_those_that_do() {
    let daemon = daemon(Bounds {
        logins: 2,
        ..Bounds::default()
    })
    .await;
    let mut inside = Client::log_in(daemon.address).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(daemon.address).await.unwrap();
        // What it says first shows that it has room.
        let mut first = [0; 4];
        stream.read_exact(&mut first).await.unwrap();
        silent.push(stream);
    }
    works(&mut Client::log_in(daemon.address).await.unwrap()).await;
    works(&mut inside).await;
    for mut stream in silent {
        let mut told = Vec::new();
        stream.read_to_end(&mut told).await.unwrap();
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("too many connections that are logging in"));
    }
}

#[tokio::test]
async fn users_beyond_the_bound_are_told_so() {
    let daemon = daemon(Bounds {
        connections: 2,
        ..Bounds::default()
    })
    .await;
    let mut first = Client::log_in(daemon.address).await.unwrap();
    let mut second = Client::log_in(daemon.address).await.unwrap();
    works(&mut first).await;
    works(&mut second).await;
    let mut third = Client::log_in(daemon.address).await.unwrap();
    let refused = third.next().await.unwrap_err().to_string();
    assert!(refused.contains("too many connections"), "{refused}");
    works(&mut first).await;
    drop(second);
    loop {
        let mut next = Client::log_in(daemon.address).await.unwrap();
        if let Ok(channel) = next.try_session().await {
            assert!(next.exec(channel, b"exit 7").await);
            break;
        }
    }
}

#[tokio::test]
async fn sessions_beyond_the_bound_are_refused_with_the_reason() {
    let daemon = daemon(Bounds {
        sessions: 3,
        ..Bounds::default()
    })
    .await;
    let mut client = Client::log_in(daemon.address).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(client.open_session().await.unwrap());
    }
    let refused = client.open_session().await.unwrap_err();
    assert!(refused.contains("too many sessions"), "{refused}");
    client.close(open.pop().unwrap()).await;
    works(&mut client).await;
}

#[tokio::test]
async fn terminals_beyond_the_bound_are_refused_for_all_connections_together() {
    let daemon = daemon(Bounds {
        ptys: 2,
        ..Bounds::default()
    })
    .await;
    let mut first = Client::log_in(daemon.address).await.unwrap();
    let mut second = Client::log_in(daemon.address).await.unwrap();
    let one = first.open_session().await.unwrap();
    let other = second.open_session().await.unwrap();
    assert!(first.ask_for_terminal(one).await);
    assert!(second.ask_for_terminal(other).await);
    // A second one of a session replaces the first.
    assert!(second.ask_for_terminal(other).await);
    let third = second.open_session().await.unwrap();
    assert!(!second.ask_for_terminal(third).await);
    assert!(second.exec(third, b"exit 7").await);
    assert_eq!(second.finish(third).await, Some(7));
    first.close(one).await;
    let fourth = second.open_session().await.unwrap();
    assert!(second.ask_for_terminal(fourth).await);
}

#[tokio::test]
async fn variables_beyond_the_bounds_are_refused_and_the_session_goes_on() {
    let daemon = daemon(Bounds {
        env_names: 2,
        env_bytes: 20,
        ..Bounds::default()
    })
    .await;
    let mut client = Client::log_in(daemon.address).await.unwrap();
    let channel = client.open_session().await.unwrap();
    let cases: [(&[u8], &[u8], bool); 5] = [
        (b"A", b"1", true),
        (b"B", b"12345678901234567890", false),
        (b"B", b"2", true),
        (b"C", b"3", false),
        (b"B", b"3", true),
    ];
    for (name, value, taken) in cases {
        let env = Env { name, value };
        assert_eq!(client.ask(channel, Env::NAME, &env.encode()).await, taken);
    }
    let command = b"test \"$A$B$C\" = 13 && exit 7";
    assert!(client.exec(channel, command).await);
    assert_eq!(client.finish(channel).await, Some(7));
}

#[tokio::test]
async fn channels_beyond_the_bound_are_refused_with_the_reason() {
    let daemon = daemon(Bounds {
        channels: 2,
        ..Bounds::default()
    })
    .await;
    let mut client = Client::log_in(daemon.address).await.unwrap();
    let first = client.open_session().await.unwrap();
    client.open_session().await.unwrap();
    let refused = client.open_session().await.unwrap_err();
    assert!(refused.contains("too many channels"), "{refused}");
    client.close(first).await;
    works(&mut client).await;
}
