//! Forwards with names of their own, and what tests ask of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector::{Files, Resolver};
use ssh_proto::algorithm::Algorithms;
use ssh_proto::connection::forward::{
    BoundPort, DirectStreamlocal, StreamlocalForward, Tcpip, TcpipForward,
};
use ssh_proto::connection::{ChannelId, Connection, Limits};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::transport::{Config, Role, Transport};
use sshd::bounds::Bounds;
use sshd::forward::{Event, Forwards, Incoming, Refusal, Stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{pause, resume, timeout};

/// After this long a test that hangs is one that fails.
pub(crate) const HANGS: Duration = Duration::from_secs(60);

/// Names that only these tests know; the second address of `half.test` is nobody's (RFC 3849).
pub(crate) const HOSTS: &str = "127.0.0.1 one.test\n\
                     127.0.0.2 two.test\n127.0.0.1 two.test\n\
                     127.0.0.1 half.test\n2001:db8::1 half.test\n\
                     2001:db8::1 none.test\n";

/// Forwards, and a directory of the test.
pub(crate) struct Rig {
    pub(crate) forwards: Forwards,
    pub(crate) dir: TempDir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Bounds::default())
    }

    pub(crate) fn with(bounds: Bounds) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files {
            hosts: dir.path().join("hosts"),
            resolv_conf: dir.path().join("resolv.conf"),
        };
        fs::write(&files.hosts, HOSTS).unwrap();
        let forwards = Forwards::new(Arc::new(Resolver::new(files)), &bounds);
        Self { forwards, dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn next(&mut self) -> Event {
        timeout(HANGS, self.forwards.next()).await.unwrap()
    }

    /// Nothing comes, however long one waits.
    pub(crate) async fn assert_idle(&mut self) {
        pause();
        let event = timeout(HANGS, self.forwards.next()).await;
        resume();
        assert!(event.is_err(), "{event:?}");
    }

    pub(crate) async fn reply(&mut self) -> Option<Vec<u8>> {
        match self.next().await {
            Event::Reply(reply) => reply,
            event => panic!("{event:?}"),
        }
    }

    pub(crate) async fn dialed(&mut self) -> (ChannelId, Result<Stream, Refusal>) {
        match self.next().await {
            Event::Dialed { channel, result } => (channel, result),
            event => panic!("{event:?}"),
        }
    }

    pub(crate) async fn incoming(&mut self) -> Incoming {
        match self.next().await {
            Event::Incoming(incoming) => incoming,
            event => panic!("{event:?}"),
        }
    }

    pub(crate) async fn request(&mut self, name: &str, payload: &[u8]) -> Option<Vec<u8>> {
        self.forwards.request(name, true, payload);
        self.reply().await
    }

    /// The port of a new listener that was left to choose it.
    pub(crate) async fn listen(&mut self, address: &str) -> Option<u16> {
        let reply = self.request(TcpipForward::NAME, &tcpip(address, 0)).await?;
        Some(BoundPort::parse(&reply).unwrap().port)
    }

    pub(crate) async fn cancel(&mut self, address: &str, port: u16) -> bool {
        let payload = tcpip(address, port);
        let reply = self.request(TcpipForward::CANCEL, &payload).await;
        reply.inspect(|it| assert!(it.is_empty())).is_some()
    }

    pub(crate) async fn listen_unix(&mut self, path: &Path) -> bool {
        let reply = self.request(StreamlocalForward::NAME, &unix(path)).await;
        reply.inspect(|it| assert!(it.is_empty())).is_some()
    }

    pub(crate) async fn cancel_unix(&mut self, path: &Path) -> bool {
        let reply = self.request(StreamlocalForward::CANCEL, &unix(path)).await;
        reply.is_some()
    }

    pub(crate) async fn dial(&mut self, kind: &str, payload: &[u8]) -> Result<Stream, Refusal> {
        let [channel] = channels();
        self.forwards.dial(channel, kind, payload)?;
        let (dialed, result) = self.dialed().await;
        assert_eq!(dialed, channel);
        result
    }

    pub(crate) async fn dial_tcp(&mut self, host: &str, port: u16) -> Result<Stream, Refusal> {
        self.dial(Tcpip::DIRECT, &direct(host.as_bytes(), port))
            .await
    }

    pub(crate) async fn dial_unix(&mut self, path: &[u8]) -> Result<Stream, Refusal> {
        let payload = DirectStreamlocal { path }.encode();
        self.dial(DirectStreamlocal::NAME, &payload).await
    }
}

/// Channels as a connection numbers them.
pub(crate) fn channels<const N: usize>() -> [ChannelId; N] {
    let config = Arc::new(Config::client("SSH-2.0-x", Algorithms::default()));
    let now = std::time::Instant::now();
    let transport = Transport::new(Role::Client, config, Box::new(SystemRandom), now);
    let mut connection = Connection::new(transport, Limits::default());
    std::array::from_fn(|_| connection.open("x", 1, 1, &[]).unwrap())
}

pub(crate) fn tcpip(address: &str, port: u16) -> Vec<u8> {
    let address = address.as_bytes();
    TcpipForward { address, port }.encode()
}

pub(crate) fn unix(path: &Path) -> Vec<u8> {
    let path = path.as_os_str().as_encoded_bytes();
    StreamlocalForward { path }.encode()
}

pub(crate) fn direct(host: &[u8], port: u16) -> Vec<u8> {
    Tcpip {
        host,
        port,
        originator: b"127.0.0.1",
        originator_port: 1,
    }
    .encode()
}

pub(crate) fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

pub(crate) async fn listener(address: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// Both directions work, and each ends for itself.
pub(crate) async fn assert_joined(stream: Stream, mut other: impl Other) {
    let (mut source, mut sink) = stream.split();
    sink.write_all(b"to").await.unwrap();
    sink.shutdown().await.unwrap();
    let mut got = String::new();
    other.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "to");
    // The other direction has outlived this one.
    other.write_all(b"fro").await.unwrap();
    drop(other);
    let mut got = String::new();
    source.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "fro");
}

pub(crate) trait Other: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Other for T {}
