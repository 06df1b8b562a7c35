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
        if cfg!(fuzzing) && port != 0 {
            // A fuzzer must not be in the way of others on its machine.
            return Err(io::ErrorKind::AddrInUse.into());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    fn has_ipv6() -> bool {
        std::net::TcpListener::bind("[::1]:0").is_ok()
    }

    /// What is bound for `address`, with one port for all, and whether the first serves both families.
    fn bound(address: &str) -> Option<(Vec<IpAddr>, bool)> {
        let listener = TcpipListener::bind(address, &known_place(address)?, 0).ok()?;
        let locals = listener.sockets.iter().map(|it| it.local_addr().unwrap());
        let ips = locals.map(|local| {
            assert_eq!(local.port(), listener.port());
            local.ip()
        });
        let v6only = sockopt::ipv6_v6only(&listener.sockets[0]);
        Some((ips.collect(), v6only == Ok(false)))
    }

    #[tokio::test]
    async fn addresses_mean_what_the_rfc_says() {
        let any_v4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let any_v6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
        assert_eq!(bound("0.0.0.0"), Some((vec![any_v4], false)));
        assert_eq!(bound("127.0.0.1"), Some((vec![V4], false)));
        let with_ipv6 = [
            ("", Some((vec![any_v6], true))),
            ("localhost", Some((vec![V4, V6], false))),
            ("::", Some((vec![any_v6], false))),
            ("::1", Some((vec![V6], false))),
            ("[::1]", Some((vec![V6], false))),
        ];
        let without = [
            ("", Some((vec![any_v4], false))),
            ("localhost", Some((vec![V4], false))),
            ("::", None),
            ("::1", None),
            ("[::1]", None),
        ];
        for (address, expected) in if has_ipv6() { with_ipv6 } else { without } {
            assert_eq!(bound(address), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn an_address_that_the_machine_lacks_is_left_out() {
        // RFC 3849: nobody has this one.
        let lacking = "2001:db8::1".parse().unwrap();
        let sockets = listen_on_each(&[lacking, V4, V4], 0).unwrap();
        assert_eq!(sockets.len(), 1);
        assert_eq!(sockets[0].local_addr().unwrap().ip(), V4);
        let error = listen_on_each(&[lacking], 0).unwrap_err();
        assert!(lacks_address(&error), "{error}");
    }

    #[tokio::test]
    async fn of_several_addresses_the_first_has_to_be_free() {
        let addresses = ["127.0.0.12", "127.0.0.13"].map(|it| it.parse().unwrap());
        let taken = listen_on(SocketAddr::new(addresses[1], 0), 1).unwrap();
        let port = taken.local_addr().unwrap().port();
        let sockets = listen_on_each(&addresses, port).unwrap();
        assert_eq!(sockets.len(), 1);
        drop(sockets);
        let turned = [addresses[1], addresses[0]];
        listen_on_each(&turned, port).unwrap_err();
    }

    #[tokio::test]
    async fn one_name_takes_a_few_descriptors_at_most() {
        let many: Vec<IpAddr> = (1..100).map(|n| [127, 0, 1, n].into()).collect();
        let sockets = listen_on_each(&many, 0).unwrap();
        assert_eq!(sockets.len(), MOST_ADDRESSES);
    }
}
