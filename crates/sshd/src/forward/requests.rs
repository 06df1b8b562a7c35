//! Global requests, done one after the other and answered in their order (RFC 4254 section 4): the
//! next may cancel what this one asks for, and replies do not say which request they are for.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use connector::{Resolver, os_text};
use ssh_proto::connection::forward::{BoundPort, StreamlocalForward, TcpipForward};
use ssh_proto::connection::request::NO_MORE_SESSIONS;
use ssh_proto::wire::{Malformed, printable};
use tokio::time::timeout;
use tracing::{Span, debug, error, info, info_span};

use super::listeners::Listeners;
use super::streamlocal::{self, LONGEST_PATH};
use super::tcp::{self, Place};
use crate::listen::LOOKUP_TIMEOUT;

/// Requests that wait for one whose address is looked up. Those beyond fail in their turn; how many
/// replies a peer may have outstanding is the connection's to bound.
const MOST_WAITING: usize = 64;

/// Bytes of an address to listen on: longer ones are no names (RFC 1035 section 2.3.4).
const LONGEST_ADDRESS: usize = 255;

type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The requests that are not answered yet.
pub(super) struct Requests {
    resolver: Arc<Resolver>,
    queue: VecDeque<Request>,
}

struct Request {
    want_reply: bool,
    task: Task,
    span: Span,
}

/// What is asked for.
enum Task {
    /// Nothing that could be done.
    Fail,
    /// The owner of the connection sees to it.
    Agree,
    Listen {
        address: String,
        port: u16,
        lookup: Option<Lookup>,
    },
    Cancel {
        address: String,
        port: u16,
    },
    ListenUnix(Vec<u8>),
    CancelUnix(Vec<u8>),
}

impl Requests {
    pub(super) fn new(resolver: Arc<Resolver>) -> Self {
        Self {
            resolver,
            queue: VecDeque::new(),
        }
    }

    /// Takes a request; what cannot be read fails once, in its turn.
    pub(super) fn push(&mut self, name: &str, want_reply: bool, payload: &[u8]) {
        let span = span(name);
        let task = span.in_scope(|| {
            Task::parse(name, payload).unwrap_or_else(|error| {
                error!(%error, "unmarshal-failed");
                Task::Fail
            })
        });
        let task = if self.queue.len() < MOST_WAITING {
            task
        } else {
            Task::Fail
        };
        if want_reply || !matches!(task, Task::Fail) {
            self.queue.push_back(Request {
                want_reply,
                task,
                span,
            });
        }
    }

    /// Does what is asked for; the next reply, which is failure for `None`.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        listeners: &mut Listeners,
    ) -> Poll<Option<Vec<u8>>> {
        while let Some(request) = self.queue.front_mut() {
            let span = request.span.clone();
            let _entered = span.enter();
            let reply = ready!(request.task.poll(cx, &self.resolver, listeners));
            let want_reply = request.want_reply;
            self.queue.pop_front();
            if want_reply {
                return Poll::Ready(reply);
            }
        }
        Poll::Pending
    }
}

/// The log's session for a request. Their names are the reference's, for what it knows.
fn span(name: &str) -> Span {
    match name {
        TcpipForward::NAME => info_span!("tcpip-forward"),
        TcpipForward::CANCEL => info_span!("cancel-tcpip-forward"),
        StreamlocalForward::NAME => info_span!("streamlocal-forward"),
        StreamlocalForward::CANCEL => info_span!("cancel-streamlocal-forward"),
        _ => Span::none(),
    }
}

impl Task {
    fn parse(name: &str, payload: &[u8]) -> Result<Self, Malformed> {
        Ok(match name {
            TcpipForward::NAME => {
                let (address, port) = tcpip(payload)?;
                Self::Listen {
                    address,
                    port,
                    lookup: None,
                }
            }
            TcpipForward::CANCEL => {
                let (address, port) = tcpip(payload)?;
                Self::Cancel { address, port }
            }
            StreamlocalForward::NAME => Self::ListenUnix(path(payload)?),
            StreamlocalForward::CANCEL => Self::CancelUnix(path(payload)?),
            NO_MORE_SESSIONS if payload.is_empty() => Self::Agree,
            _ => Self::Fail,
        })
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        resolver: &Arc<Resolver>,
        listeners: &mut Listeners,
    ) -> Poll<Option<Vec<u8>>> {
        Poll::Ready(match self {
            Self::Fail => None,
            Self::Agree => Some(Vec::new()),
            Self::Listen {
                address,
                port,
                lookup,
            } => {
                let place = match tcp::known_place(address) {
                    Some(place) => Ok(place),
                    None => {
                        let lookup = lookup.get_or_insert_with(|| look_up(resolver, address));
                        ready!(lookup.as_mut().poll(cx)).map(place)
                    }
                };
                let bound = place.and_then(|place| listeners.listen(address, &place, *port));
                // Only who left the choice of the port is told it (section 7.1).
                listening(bound.map(|chosen| match port {
                    0 => BoundPort { port: chosen }.encode(),
                    _ => Vec::new(),
                }))
            }
            Self::Cancel { address, port } => cancelled(listeners.cancel(address, *port)),
            Self::ListenUnix(path) => listening(listeners.listen_unix(path).map(|()| Vec::new())),
            Self::CancelUnix(path) => cancelled(listeners.cancel_unix(path)),
        })
    }
}

fn tcpip(payload: &[u8]) -> Result<(String, u16), Malformed> {
    let forward = TcpipForward::parse(payload)?;
    let address = text(forward.address, LONGEST_ADDRESS)?;
    debug!(
        address = printable(forward.address, LONGEST_ADDRESS),
        port = forward.port,
        "received-payload"
    );
    Ok((address.to_owned(), forward.port))
}

fn path(payload: &[u8]) -> Result<Vec<u8>, Malformed> {
    let path = StreamlocalForward::parse(payload)?.path;
    debug!(path = printable(path, LONGEST_PATH), "received-payload");
    streamlocal::socket_path(path).map_err(|_| Malformed)?;
    Ok(path.to_owned())
}

/// A short text.
fn text(bytes: &[u8], limit: usize) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed)?;
    (text.len() <= limit).then_some(text).ok_or(Malformed)
}

fn look_up(resolver: &Arc<Resolver>, name: &str) -> Lookup {
    let (resolver, name) = (Arc::clone(resolver), name.to_owned());
    Box::pin(async move {
        timeout(LOOKUP_TIMEOUT, resolver.addresses(&name, 0))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    })
}

fn place(addresses: Vec<SocketAddr>) -> Place {
    let ips: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    Place::Each(ips)
}

fn listening(bound: io::Result<Vec<u8>>) -> Option<Vec<u8>> {
    match bound {
        Ok(payload) => {
            info!("listening");
            Some(payload)
        }
        Err(error) => {
            error!(error = os_text(&error), "failed-to-listen");
            None
        }
    }
}

fn cancelled(found: bool) -> Option<Vec<u8>> {
    if !found {
        error!("failed-to-cancel");
        return None;
    }
    info!("cancelled");
    Some(Vec::new())
}
