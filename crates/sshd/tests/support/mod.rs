//! What tests of a daemon in their own process share: the daemon, and a client of our own.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "compiled into each test, which uses only a part; helpers of tests are tests too"
)]

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use connector::{Files, Resolver};
use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::Credential;
use ssh_proto::connection::request::{Exec, ExitStatus, PtyReq, SESSION, Size};
use ssh_proto::connection::{ChannelId, Event as Message, Limits};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::transport::Config;
use ssh_tokio::connect;
use ssh_tokio::session::{Event, Session};
use sshd::bounds::Bounds;
use sshd::environment::DaemonEnvironment;
use sshd::server::Server;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A daemon that lets everyone in.
pub(crate) fn open_server() -> Server {
    let key = PrivateKey::generate_ed25519(&mut SystemRandom);
    let config = Config::server("SSH-2.0-x", Algorithms::default(), vec![key]);
    Server {
        transport: Arc::new(config),
        authorized_key: None,
        allow_unauthenticated_clients: true,
        environment: Arc::new(DaemonEnvironment::default()),
        inherit_daemon_env: false,
        bounds: Bounds::default(),
        resolver: Arc::new(Resolver::new(Files::default())),
    }
}

/// A daemon that serves, up to the end of the test.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(server.serve(listener, pending()));
        Self { address, task }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client that is logged in.
pub(crate) struct Client {
    pub(crate) session: Session<TcpStream>,
}

impl Client {
    pub(crate) async fn log_in(address: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await.unwrap();
        let config = Arc::new(Config::client("SSH-2.0-y", Algorithms::default()));
        let none = vec![Credential::None];
        let wire = connect(stream, config, String::new(), none, |_| Ok(())).await?;
        let session = Session::new(wire, Limits::default());
        Ok(Self { session })
    }

    pub(crate) async fn next(&mut self) -> Result<Message, Error> {
        match self.session.next().await? {
            Event::Connection(message) => Ok(message),
            Event::Drained(_) | Event::Sunk(_) => panic!("nothing is joined"),
        }
    }

    /// Opens a channel, or gives the text of the refusal.
    pub(crate) async fn open(&mut self, kind: &str, payload: &[u8]) -> Result<ChannelId, String> {
        let connection = self.session.connection();
        connection.open(kind, 1 << 20, 1 << 15, payload).unwrap();
        loop {
            match self.next().await.unwrap() {
                Message::OpenConfirmed { channel, .. } => return Ok(channel),
                Message::OpenFailed { text, .. } => return Err(text),
                _ => {}
            }
        }
    }

    /// A session, unless the connection has ended.
    pub(crate) async fn try_session(&mut self) -> Result<ChannelId, Error> {
        let connection = self.session.connection();
        connection.open(SESSION, 1 << 20, 1 << 15, b"").unwrap();
        loop {
            if let Message::OpenConfirmed { channel, .. } = self.next().await? {
                return Ok(channel);
            }
        }
    }

    pub(crate) async fn open_session(&mut self) -> Result<ChannelId, String> {
        self.open(SESSION, b"").await
    }

    /// Sends a request of a channel and waits for the reply.
    pub(crate) async fn ask(&mut self, channel: ChannelId, name: &str, payload: &[u8]) -> bool {
        let connection = self.session.connection();
        connection.request(channel, name, true, payload).unwrap();
        match self.next().await.unwrap() {
            Message::Reply { success, .. } => success,
            other => panic!("{name}: {other:?}"),
        }
    }

    pub(crate) async fn ask_for_terminal(&mut self, channel: ChannelId) -> bool {
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
        self.ask(channel, PtyReq::NAME, &terminal.encode()).await
    }

    pub(crate) async fn exec(&mut self, channel: ChannelId, command: &[u8]) -> bool {
        self.ask(channel, Exec::NAME, &Exec { command }.encode())
            .await
    }

    /// Waits for the end of a channel; the exit status, if there is one.
    pub(crate) async fn finish(&mut self, channel: ChannelId) -> Option<u32> {
        let mut status = None;
        loop {
            match self.next().await.unwrap() {
                Message::Request {
                    request, payload, ..
                } if request == ExitStatus::NAME => {
                    status = Some(ExitStatus::parse(&payload).unwrap().status);
                }
                Message::PeerClosed { channel: closed } if closed == channel => return status,
                _ => {}
            }
        }
    }

    /// Closes a channel and waits until it is gone.
    pub(crate) async fn close(&mut self, channel: ChannelId) {
        self.session.connection().close(channel);
        while self.next().await.unwrap() != (Message::Closed { channel }) {}
    }
}
