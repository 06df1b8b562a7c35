//! Who is at the far end of a forwarded connection, and who uses it at the near end.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::user::PATIENCE;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// One end of a connection. Whatever it waits for comes in time, or the test fails.
pub struct Stream(Box<dyn Duplex>);

impl Stream {
    /// A connected one.
    pub fn of(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self(Box::new(stream))
    }

    /// Sends.
    pub async fn write(&mut self, data: &[u8]) {
        let written = timeout(PATIENCE, self.0.write_all(data)).await;
        written.expect("nobody reads").expect("a connection");
    }

    /// Says that no more comes from here.
    pub async fn end(&mut self) {
        self.0.shutdown().await.expect("a connection");
    }

    /// All that comes up to the other side's end; this side's may still be to come.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        read.expect("no end").expect("a connection");
        rest
    }

    /// Sends a few bytes to an echo, which has to send them back; the connection stays.
    pub async fn exchanges(&mut self, data: &[u8]) {
        self.write(data).await;
        let mut back = vec![0; data.len()];
        let read = timeout(PATIENCE, self.0.read_exact(&mut back)).await;
        read.expect("no echo").expect("a connection");
        assert_eq!(back, data);
    }

    /// Sends `data` to an echo, which has to send them back, and then end.
    pub async fn echoed(self, data: &[u8]) {
        let (mut reader, mut writer) = tokio::io::split(self.0);
        let send = async {
            writer.write_all(data).await.expect("a connection");
            writer.shutdown().await.expect("a connection");
        };
        let mut back = Vec::new();
        let both = async { tokio::join!(send, reader.read_to_end(&mut back)) };
        let ((), read) = timeout(PATIENCE, both).await.expect("no echo");
        read.expect("a connection");
        assert!(back == data, "{} of {} bytes", back.len(), data.len());
    }
}

/// A server on this machine; it goes with this.
pub struct Peer {
    /// Where it listens; of no meaning for one at a socket.
    pub address: SocketAddr,
    received: watch::Receiver<Option<usize>>,
    _tasks: JoinSet<()>,
}

/// What it does with each connection.
#[derive(Clone, Copy)]
enum Role {
    Echo,
    Answer,
    Greet,
    Http(&'static str),
}

impl Peer {
    /// Sends back what it gets.
    pub async fn echoes() -> Self {
        Self::at_port(Role::Echo).await
    }

    /// The same at a socket.
    pub async fn echoes_at(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        Self::start(([0; 4], 0).into(), Role::Echo, Listener::Socket(listener))
    }

    /// Reads up to the end, then tells how many bytes there were, and ends.
    pub async fn reads_then_answers() -> Self {
        Self::at_port(Role::Answer).await
    }

    /// Says hello and ends, then reads up to the end; see [`received`](Self::received).
    pub async fn greets_then_reads() -> Self {
        Self::at_port(Role::Greet).await
    }

    /// Answers the first line of a request with this text.
    pub async fn serves_http(text: &'static str) -> Self {
        Self::at_port(Role::Http(text)).await
    }

    /// How many bytes one connection has brought, when it has ended.
    pub async fn received(mut self) -> usize {
        let ended = timeout(PATIENCE, self.received.wait_for(Option::is_some)).await;
        let count = *ended.expect("no end").expect("a server");
        count.expect("it was waited for")
    }

    async fn at_port(role: Role) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self::start(address, role, Listener::Port(listener))
    }

    fn start(address: SocketAddr, role: Role, listener: Listener) -> Self {
        let (sender, received) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let stream = listener.accept().await;
                let sender = sender.clone();
                connections.spawn(async move {
                    // Who is cut off by the other side has nothing to tell.
                    if let Ok(count) = role.play(stream).await {
                        sender.send_replace(Some(count));
                    }
                });
            }
        });
        Self {
            address,
            received,
            _tasks: tasks,
        }
    }
}

enum Listener {
    Port(TcpListener),
    Socket(UnixListener),
}

impl Listener {
    async fn accept(&self) -> Box<dyn Duplex> {
        match self {
            Self::Port(listener) => Box::new(listener.accept().await.expect("a connection").0),
            Self::Socket(listener) => Box::new(listener.accept().await.expect("a connection").0),
        }
    }
}

impl Role {
    async fn play(self, stream: Box<dyn Duplex>) -> io::Result<usize> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut all = Vec::new();
        let count = match self {
            Self::Echo => tokio::io::copy(&mut reader, &mut writer).await? as usize,
            Self::Answer => {
                let count = reader.read_to_end(&mut all).await?;
                writer
                    .write_all(format!("{count} bytes").as_bytes())
                    .await?;
                count
            }
            Self::Greet => {
                writer.write_all(b"hello").await?;
                writer.shutdown().await?;
                reader.read_to_end(&mut all).await?
            }
            Self::Http(text) => {
                // One read is all of so short a request, and what it asks for does not matter.
                let count = reader.read_buf(&mut all).await?;
                let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
                writer.write_all((head + text).as_bytes()).await?;
                count
            }
        };
        writer.shutdown().await?;
        Ok(count)
    }
}

/// A port where nobody listens, held until it is dropped.
///
/// It is bound with `SO_REUSEADDR` and does not listen: connections are refused, the system gives it to
/// nobody else, and a program that is told of it can listen there, as all listeners here reuse too.
pub struct Port {
    /// Where it is.
    pub address: SocketAddr,
    _socket: TcpSocket,
}

impl Port {
    /// Any one.
    pub fn reserved() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("SO_REUSEADDR");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a port");
        Self {
            address: socket.local_addr().expect("an address"),
            _socket: socket,
        }
    }
}
