//! Our client role: logs in and runs commands.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::Credential;
use ssh_proto::connection::request::{Exec, ExitStatus, SESSION};
use ssh_proto::connection::{Event as Connection, Limits};
use ssh_proto::key::PublicKey;
use ssh_proto::transport::Config;
use ssh_tokio::session::{Event, Pipes, Session};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::openssh::Key;
use crate::probe::Answer;
use crate::server::IDENTIFICATION;

/// A client that offers `algorithms`.
pub fn config(algorithms: Algorithms) -> Config {
    Config::client(IDENTIFICATION, algorithms)
}

/// Logs in on a host that has one of `hosts`.
///
/// # Errors
/// The server does not let us in, or has another key.
pub async fn login(
    address: SocketAddr,
    config: Config,
    user: &str,
    credential: Credential,
    hosts: &[Key],
) -> Result<Session<TcpStream>, Error> {
    let right = |key: &PublicKey| {
        let known = hosts.iter().any(|host| host.public() == *key);
        known.then_some(()).ok_or_else(|| "another host".to_owned())
    };
    let stream = TcpStream::connect(address).await.expect("a server");
    ssh_tokio::serve::tune(&stream);
    let (config, user) = (Arc::new(config), user.to_owned());
    let wire = ssh_tokio::connect(stream, config, user, vec![credential], right).await?;
    Ok(Session::new(wire, Limits::default()))
}

/// Runs `command` with `input`. Standard error is not seen.
///
/// # Errors
/// The connection ends before the channel does.
pub async fn exec(
    session: &mut Session<TcpStream>,
    command: &str,
    input: Vec<u8>,
) -> Result<Answer, Error> {
    let (window, max_packet) = (Limits::WINDOW, Limits::MAX_PACKET);
    let opened = session
        .connection()
        .open(SESSION, window, max_packet, b"")?;
    let output = Collected::default();
    let mut pipes = Some(Pipes {
        sink: Some(Box::new(output.clone())),
        source: Some(Box::new(std::io::Cursor::new(input))),
        errors: None,
    });
    let mut status = None;
    loop {
        match session.next().await? {
            Event::Connection(Connection::OpenConfirmed { channel, .. }) => {
                let command = Exec {
                    command: command.as_bytes(),
                };
                let connection = session.connection();
                connection.request(channel, Exec::NAME, true, &command.encode())?;
            }
            Event::Connection(Connection::Reply { channel, success }) => {
                assert!(success, "the server does not run {command:?}");
                session.join(channel, pipes.take().expect("one reply"));
            }
            Event::Drained(channel) => session.connection().send_eof(channel),
            Event::Connection(Connection::Request {
                request, payload, ..
            }) if request == ExitStatus::NAME => {
                status = Some(ExitStatus::parse(&payload)?.status);
            }
            Event::Connection(Connection::GlobalRequest { .. }) => {
                session.connection().global_reply(false, b"");
            }
            Event::Connection(Connection::PeerClosed { channel }) if channel == opened => {
                return Ok(Answer {
                    stdout: std::mem::take(&mut *output.0.lock().expect("no panic")),
                    stderr: None,
                    status,
                });
            }
            Event::Connection(Connection::OpenFailed { text, .. }) => {
                panic!("the server opens no session: {text}")
            }
            Event::Connection(_) | Event::Sunk(_) => {}
        }
    }
}

/// A sink that keeps what it is given.
#[derive(Debug, Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl AsyncWrite for Collected {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.0.lock().expect("no panic").extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
