//! Connections that the peer asks for: `direct-tcpip` (RFC 4254 section 7.2) and
//! `direct-streamlocal@openssh.com` (OpenSSH PROTOCOL section 2.4).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use connector::{Resolver, os_text};
use ssh_proto::connection::ChannelId;
use ssh_proto::connection::forward::{DirectStreamlocal, Tcpip};
use ssh_proto::msg::OpenFailure;
use ssh_proto::wire::printable;
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{Instrument as _, debug, error, info_span};

use super::streamlocal::socket_path;
use super::{Refusal, Stream, tcp};

/// How long a target may take, with looking up its name and trying all its addresses: the kernel asks
/// five times meanwhile, and browsers give up at about this time.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// How soon to ask again at a Unix socket whose queue is full. The kernel would let a blocking caller
/// wait, but tells others nothing when there is room.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a refusal's text: a longest host name or path, and the kernel's words.
const LONGEST_TEXT: usize = 512;

/// The dials under way; given up when dropped.
pub(super) struct Dials {
    resolver: Arc<Resolver>,
    most: usize,
    tasks: JoinSet<(ChannelId, Result<Stream, Refusal>)>,
}

impl Dials {
    pub(super) fn new(resolver: Arc<Resolver>, most: usize) -> Self {
        Self {
            resolver,
            most,
            tasks: JoinSet::new(),
        }
    }

    /// Begins to connect to what the channel is for.
    pub(super) fn start(
        &mut self,
        channel: ChannelId,
        kind: &str,
        payload: &[u8],
    ) -> Result<(), Refusal> {
        let target = Target::parse(kind, payload)?;
        if self.tasks.len() >= self.most {
            error!("too-many-dials");
            return Err(Refusal {
                reason: OpenFailure::ResourceShortage,
                text: "too many connections are being made; try again later".into(),
            });
        }
        let resolver = Arc::clone(&self.resolver);
        let dial = async move { (channel, target.connect(&resolver).await) };
        // The reference's name, with its slip.
        let span = info_span!("directtcip-handle-new-channel");
        self.tasks.spawn(dial.instrument(span));
        Ok(())
    }

    /// The next dial that is over.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<(ChannelId, Result<Stream, Refusal>)> {
        match self.tasks.poll_join_next(cx) {
            Poll::Ready(Some(Ok(dialed))) => Poll::Ready(dialed),
            // Nobody aborts them: a bug ends its connection, as if it were not in a task of its own.
            Poll::Ready(Some(Err(error))) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Poll::Pending,
            },
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// What to connect to. Bytes that are not UTF-8 make a host that does not exist.
enum Target {
    Tcp { host: String, port: u16 },
    Unix { path: Vec<u8> },
}

impl Target {
    fn parse(kind: &str, payload: &[u8]) -> Result<Self, Refusal> {
        let target = match kind {
            Tcpip::DIRECT => Tcpip::parse(payload).map(|it| Self::Tcp {
                host: String::from_utf8_lossy(it.host).into_owned(),
                port: it.port,
            }),
            DirectStreamlocal::NAME => DirectStreamlocal::parse(payload).map(|it| Self::Unix {
                path: it.path.to_owned(),
            }),
            _ => {
                return Err(Refusal {
                    reason: OpenFailure::UnknownChannelType,
                    text: kind.to_owned(),
                });
            }
        };
        target.map_err(|error| {
            error!(%error, "failed-unmarshalling-ssh-message");
            connect_failed("Failed to parse open channel message")
        })
    }

    async fn connect(self, resolver: &Resolver) -> Result<Stream, Refusal> {
        debug!(destination = self.logged(), "dialing-connection");
        let connected = match &self {
            Self::Tcp { host, port } => connect_tcp(resolver, host, *port).await,
            Self::Unix { path } => connect_unix(path).await,
        };
        match connected {
            Ok(stream) => {
                debug!("dialed-connection");
                Ok(stream)
            }
            Err(error) => {
                // Its text has the target in it, which is the user's affair.
                error!(error = %error.kind(), "failed-connecting-to-target");
                Err(connect_failed(&error.to_string()))
            }
        }
    }

    fn logged(&self) -> String {
        match self {
            Self::Tcp { host, port } => format!("{}:{port}", text(host.as_bytes())),
            Self::Unix { path } => text(path),
        }
    }
}

async fn connect_tcp(resolver: &Resolver, host: &str, port: u16) -> io::Result<Stream> {
    // As in Go, no host is this one.
    let host = if host.is_empty() { "localhost" } else { host };
    let stream = resolver.connect(host, port, DIAL_TIMEOUT).await?;
    tcp::tune(&stream);
    Ok(Stream::Tcp(stream))
}

async fn connect_unix(path: &[u8]) -> io::Result<Stream> {
    let connected = match socket_path(path) {
        Ok(path) => timeout(DIAL_TIMEOUT, connect_when_free(path))
            .await
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout"))),
        Err(error) => Err(error),
    };
    connected.map(Stream::Unix).map_err(|error| {
        let text = format!("dial unix {}: connect: {}", text(path), os_text(&error));
        io::Error::new(error.kind(), text)
    })
}

async fn connect_when_free(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BUSY_PAUSE).await,
            connected => return connected,
        }
    }
}

fn connect_failed(problem: &str) -> Refusal {
    Refusal {
        reason: OpenFailure::ConnectFailed,
        text: text(problem.as_bytes()),
    }
}

/// What a peer gave, fit to be shown.
fn text(text: &[u8]) -> String {
    printable(text, LONGEST_TEXT)
}
