//! Forwarding for one connection: what a user reaches out to from the container, what reaches the
//! user through listeners in it, and the user's agent (RFC 4254 section 7, OpenSSH PROTOCOL section
//! 2.4, OpenSSH PROTOCOL.agent).
//!
//! [`Forwards`] is owned by the task of the connection and ends with it: dials are given up,
//! listeners closed, their files removed. It opens and accepts no channel itself; it says what to do,
//! and the owner does it. There is no policy: a user may reach whatever the container may.
//!
//! | module        | owns                                                            |
//! |---------------|-----------------------------------------------------------------|
//! | `dial`        | connections that the peer asks for                              |
//! | `requests`    | global requests, done and answered in their order               |
//! | `listeners`   | everything that listens, and the pace of accepting              |
//! | `tcp`         | TCP listeners: the addresses of RFC 4254 section 7.1            |
//! | `streamlocal` | Unix sockets and their files                                    |
//! | `agent`       | the socket that stands for the user's agent                     |

mod agent;
mod dial;
mod listeners;
mod requests;
mod streamlocal;
mod tcp;

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use connector::Resolver;
use ssh_proto::connection::ChannelId;
use ssh_proto::msg::OpenFailure;
use ssh_tokio::session::{Sink, Source};
use tokio::net::{TcpStream, UnixStream};

use crate::bounds::Bounds;
pub use agent::Agent;
use dial::Dials;
use listeners::Listeners;
use requests::Requests;

/// A connection of a forward.
#[derive(Debug)]
pub enum Stream {
    /// With `TCP_NODELAY`: whoever forwards waits for single packets.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// The two directions, for the channel's pipes. Shutting down the sink tells the other side that
    /// nothing more comes, while the source goes on.
    pub fn split(self) -> (Source, Sink) {
        match self {
            Self::Tcp(stream) => {
                let (source, sink) = stream.into_split();
                (Box::new(source), Box::new(sink))
            }
            Self::Unix(stream) => {
                let (source, sink) = stream.into_split();
                (Box::new(source), Box::new(sink))
            }
        }
    }
}

/// Why a channel is not opened: the fields of CHANNEL_OPEN_FAILURE (RFC 4254 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason code.
    pub reason: OpenFailure,
    /// The text for the user, in the reference's words.
    pub text: String,
}

/// Something came to a listener: open a channel for it (RFC 4254 section 7.2).
#[derive(Debug)]
pub struct Incoming {
    /// The channel type.
    pub kind: &'static str,
    /// The fields that belong to the type.
    pub payload: Vec<u8>,
    /// What came, for [`Forwards::hold`].
    pub stream: Stream,
}

/// What the owner has to do.
#[derive(Debug)]
pub enum Event {
    /// A dial is over: accept the channel and join it to the stream, or refuse it.
    Dialed {
        /// The channel that the peer opens.
        channel: ChannelId,
        /// What it is to be joined to.
        result: Result<Stream, Refusal>,
    },
    /// Answer the oldest unanswered global request: with success and this payload, or with failure.
    Reply(Option<Vec<u8>>),
    /// Open a channel, and [`Forwards::hold`] the stream until it is confirmed.
    Incoming(Incoming),
}

/// The forwards of one connection.
pub struct Forwards {
    most_unconfirmed: usize,
    dials: Dials,
    requests: Requests,
    listeners: Listeners,
    unconfirmed: BTreeMap<ChannelId, Stream>,
}

impl Forwards {
    /// No forwards yet; names will be looked up by `resolver`.
    pub fn new(resolver: Arc<Resolver>, bounds: &Bounds) -> Self {
        Self {
            most_unconfirmed: bounds.unconfirmed,
            dials: Dials::new(Arc::clone(&resolver), bounds.dials),
            requests: Requests::new(resolver),
            listeners: Listeners::new(bounds.forwards),
            unconfirmed: BTreeMap::new(),
        }
    }

    /// Begins to connect to what a channel that the peer opens is for. [`Event::Dialed`] tells the
    /// outcome.
    ///
    /// # Errors
    /// The channel is to be refused now: what it is for cannot be read, or is not forwarding, or too
    /// many dials are under way.
    pub fn dial(&mut self, channel: ChannelId, kind: &str, payload: &[u8]) -> Result<(), Refusal> {
        self.dials.start(channel, kind, payload)
    }

    /// Deals with a global request, also with one that is not about forwarding: since replies carry no
    /// name, all that want one have to come in the order of the requests. [`Event::Reply`] tells it.
    pub fn request(&mut self, name: &str, want_reply: bool, payload: &[u8]) {
        self.requests.push(name, want_reply, payload);
    }

    /// The socket for `SSH_AUTH_SOCK` of the user's processes; the same for all sessions.
    ///
    /// # Errors
    /// There is no place for a socket: refuse `auth-agent-req@openssh.com`.
    pub fn agent(&mut self) -> io::Result<&Path> {
        self.listeners.agent()
    }

    /// Keeps what came to a listener while the channel for it is being opened.
    pub fn hold(&mut self, channel: ChannelId, stream: Stream) {
        self.unconfirmed.insert(channel, stream);
    }

    /// Gives back what was held for a channel that the peer has confirmed; dropping it is all there is
    /// to do for one that the peer has refused.
    pub fn release(&mut self, channel: ChannelId) -> Option<Stream> {
        self.unconfirmed.remove(&channel)
    }

    /// The next thing to do. May be dropped and called again at any time; any other method makes
    /// another call necessary.
    pub async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(reply) = self.requests.poll(cx, &mut self.listeners) {
            return Poll::Ready(Event::Reply(reply));
        }
        if let Poll::Ready((channel, result)) = self.dials.poll(cx) {
            return Poll::Ready(Event::Dialed { channel, result });
        }
        if self.unconfirmed.len() >= self.most_unconfirmed {
            return Poll::Pending;
        }
        self.listeners.poll_accept(cx).map(Event::Incoming)
    }
}
