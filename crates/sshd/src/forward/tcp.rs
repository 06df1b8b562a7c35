//! TCP listeners that a user asks for (RFC 4254 section 7.1), and the options of forwarded
//! connections.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use ssh_proto::connection::forward::Tcpip;
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

use super::{Incoming, Stream};
use crate::listen::{lacks_address, listen_on, listen_on_all};

/// Connections that the kernel completes while channels for others are being opened; as OpenSSH.
const BACKLOG: u32 = 128;

/// Addresses of one name that are listened on; each takes a descriptor of the app's.
const MOST_ADDRESSES: usize = 8;

/// How often a port is chosen anew that turns out to be taken on the second of several addresses.
/// With half of all ports taken there, one in 256 such requests gets the first address only.
const CHOICES: usize = 8;

/// An idle forwarded connection is probed this often, as by the reference.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// Where to listen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// All interfaces, of both families.
    Everywhere,
    /// Each of these addresses that this machine has, all with one port.
    Each(Vec<IpAddr>),
}

/// The place that an address stands for; `None` for a name that has to be looked up.
///
/// Section 7.1 gives names to some: empty for everything, `0.0.0.0` and `::` for all interfaces of
/// one family, `localhost` for the loopback addresses of both.
pub(super) fn known_place(address: &str) -> Option<Place> {
    match address {
        "" => Some(Place::Everywhere),
        "localhost" => Some(Place::Each(vec![
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
        ])),
        _ => literal(address).map(|ip| Place::Each(vec![ip])),
    }
}

/// An IP address, where IPv6 may stand in brackets.
fn literal(address: &str) -> Option<IpAddr> {
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(address).parse().ok()
}

/// One `tcpip-forward`.
pub(super) struct TcpipListener {
    /// The address as the request had it, by which the user knows the forward.
    address: String,
    port: u16,
    sockets: Vec<TcpListener>,
    /// Which socket is asked first.
    turn: usize,
}

impl TcpipListener {
    /// Listens on `place`, which was asked for as `address`. Must be called in a tokio runtime.
    pub(super) fn bind(address: &str, place: &Place, port: u16) -> io::Result<Self> {
        let sockets = match place {
            Place::Everywhere => vec![listen_on_all(port, BACKLOG)?],
            Place::Each(ips) => listen_on_each(ips, port)?,
        };
        Ok(Self {
            address: address.to_owned(),
            port: port_of(&sockets)?,
            sockets,
            turn: 0,
        })
    }

    /// The port; one for all addresses.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether it was asked for in these words, but for a port that was left to us.
    pub(super) fn is(&self, address: &str, port: u16) -> bool {
        self.port == port && self.address == address
    }

    /// Whether it is bound to this IP address, which is what the reference knows a forward by.
    pub(super) fn is_bound_to(&self, address: &str, port: u16) -> bool {
        let ip = literal(address);
        let mut bound = self.sockets.iter().flat_map(TcpListener::local_addr);
        self.port == port && bound.any(|it| Some(it.ip()) == ip)
    }

    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
        let all = self.sockets.len();
        for offset in 0..all {
            let number = (self.turn + offset) % all;
            let socket = self.sockets.get(number);
            if let Some(Poll::Ready(accepted)) = socket.map(|it| it.poll_accept(cx)) {
                self.turn = number + 1;
                return Poll::Ready(accepted.map(|(stream, peer)| self.incoming(stream, peer)));
            }
        }
        Poll::Pending
    }

    fn incoming(&self, stream: TcpStream, peer: SocketAddr) -> Incoming {
        debug!(port = self.port, "accepted-connection");
        tune(&stream);
        // A socket of both families shows IPv4 in IPv6 form.
        let originator = peer.ip().to_canonical().to_string();
        let fields = Tcpip {
            host: self.address.as_bytes(),
            port: self.port,
            originator: originator.as_bytes(),
            originator_port: peer.port().into(),
        };
        Incoming {
            kind: Tcpip::FORWARDED,
            payload: fields.encode(),
            stream: Stream::Tcp(stream),
        }
    }
}

/// Sockets for those of `ips` that this machine has, all with one port. The first such has to be
/// free. Others that are taken are left out, since the reference listens on the first alone; unless
/// the port is ours to choose.
fn listen_on_each(ips: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut known = BTreeSet::new();
    let ips: Vec<IpAddr> = (ips.iter().copied())
        .filter(|ip| known.insert(*ip))
        .take(MOST_ADDRESSES)
        .collect();
    let mut choices = 1..CHOICES;
    loop {
        let (sockets, complete) = listen_once(&ips, port)?;
        if complete || port != 0 || choices.next().is_none() {
            return Ok(sockets);
        }
    }
}

/// One attempt, and whether it got all that this machine has.
fn listen_once(ips: &[IpAddr], mut port: u16) -> io::Result<(Vec<TcpListener>, bool)> {
    let mut sockets = Vec::new();
    let mut complete = true;
    let mut lacking = None;
    for ip in ips {
        match listen_on(SocketAddr::new(*ip, port), BACKLOG) {
            Ok(socket) => {
                port = socket.local_addr()?.port();
                sockets.push(socket);
            }
            Err(error) if lacks_address(&error) => lacking = Some(error),
            Err(error) if sockets.is_empty() => return Err(error),
            Err(_) => complete = false,
        }
    }
    match lacking {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok((sockets, complete)),
    }
}

fn port_of(sockets: &[TcpListener]) -> io::Result<u16> {
    let first = sockets.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
    first.local_addr().map(|it| it.port())
}

/// Sets what every forwarded connection wants: no delay for small packets, and peers that are gone
/// without a word noticed. Time-outs of data that are not taken are left out: who stops his program
/// in a debugger wants to find the connection again.
///
/// Where an option cannot be set, the connection is slower or lives longer, and works.
pub(super) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, PROBE_INTERVAL);
    let _ = sockopt::set_tcp_keepintvl(stream, PROBE_INTERVAL);
}
