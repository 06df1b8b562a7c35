//! The listening socket.
//!
//! Owns how an address is written and what goes wrong when it is bound, both as in Go's
//! `net.Listen("tcp", address)`. Accepting is the server's; listening for users is
//! [`crate::forward`]'s, with the sockets that are made here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use connector::{Resolver, os_text};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

/// Connections that the kernel completes before they are accepted; it caps this at `somaxconn`.
const BACKLOG: u32 = 4096;

/// How long a name to listen on may take; as long as a name server is asked twice by default
/// (resolv.conf(5)).
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no listener, in Go's words.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be understood.
    #[error("listen tcp: address {address}: {problem}")]
    Address {
        /// The address, or the part of it that is wrong.
        address: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The address has a host name that has no address.
    #[error("listen tcp: lookup {host}: {problem}")]
    Lookup {
        /// The name.
        host: String,
        /// What came of asking for it.
        problem: String,
    },
    /// The kernel refused it.
    #[error("listen tcp {address}: bind: {}", os_text(.source))]
    Bind {
        /// The address as bound.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Listens on `address`: `host:port`, where no host means all interfaces, and port 0 any port. Of the
/// addresses of a name the first is taken, of IPv4 if there is one.
///
/// Must be called in a tokio runtime.
pub async fn bind(address: &str, resolver: &Resolver) -> Result<TcpListener, ListenError> {
    let (host, port) = parse(address)?;
    let bound = |address: String| |source| ListenError::Bind { address, source };
    if host.is_empty() {
        return listen_on_all(port, BACKLOG).map_err(bound(format!(":{port}")));
    }
    let address = SocketAddr::new(ip(host, resolver).await?, port);
    let listener = if address.ip() == Ipv6Addr::UNSPECIFIED {
        listen_on_both_families(port, BACKLOG)
    } else {
        listen_on(address, BACKLOG)
    };
    listener.map_err(bound(address.to_string()))
}

/// One socket for all interfaces of both families, or of IPv4 alone where the kernel has no IPv6.
pub(crate) fn listen_on_all(port: u16, backlog: u32) -> io::Result<TcpListener> {
    match listen_on_both_families(port, backlog) {
        Err(error) if lacks_address(&error) => {
            listen_on(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), backlog)
        }
        listener => listener,
    }
}

/// A socket for this address and its family alone.
pub(crate) fn listen_on(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            sockopt::set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    listen(socket, address, backlog)
}

fn listen_on_both_families(port: u16, backlog: u32) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    // Whatever the system's default is.
    sockopt::set_ipv6_v6only(&socket, false)?;
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    listen(socket, address, backlog)
}

fn listen(socket: TcpSocket, address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Whether this is about an address, or a family of them, that the machine does not have.
pub(crate) fn lacks_address(error: &io::Error) -> bool {
    let none = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL];
    error
        .raw_os_error()
        .is_some_and(|errno| none.contains(&errno))
}

/// The address of a host.
async fn ip(host: &str, resolver: &Resolver) -> Result<IpAddr, ListenError> {
    if host == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let failed = |problem: String| ListenError::Lookup {
        host: host.to_owned(),
        problem,
    };
    let found = timeout(LOOKUP_TIMEOUT, resolver.addresses(host, 0))
        .await
        .map_err(|_| failed("i/o timeout".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    let preferred = found.iter().find(|it| it.is_ipv4()).or(found.first());
    preferred
        .map(SocketAddr::ip)
        .ok_or_else(|| failed("no such host".to_owned()))
}

/// The host (empty: all interfaces) and the port of `address`.
fn parse(address: &str) -> Result<(&str, u16), ListenError> {
    if address.is_empty() {
        return Ok(("", 0));
    }
    let (host, port) = split(address).map_err(|problem| ListenError::Address {
        address: address.to_owned(),
        problem,
    })?;
    Ok((host, parse_port(port)?))
}

/// `net.SplitHostPort`.
fn split(address: &str) -> Result<(&str, &str), &'static str> {
    let missing = "missing port in address";
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("missing ']' in address")?;
        return Ok((host, rest.strip_prefix(':').ok_or(missing)?));
    }
    let (host, port) = address.rsplit_once(':').ok_or(missing)?;
    match host.contains(':') {
        true => Err("too many colons in address"),
        false => Ok((host, port)),
    }
}

fn parse_port(port: &str) -> Result<u16, ListenError> {
    if port.is_empty() {
        return Ok(0);
    }
    port.parse()
        .map_err(|_| match port.bytes().all(|b| b.is_ascii_digit()) {
            true => ListenError::Address {
                address: port.to_owned(),
                problem: "invalid port",
            },
            false => ListenError::Address {
                address: format!("tcp/{port}"),
                problem: "unknown port",
            },
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::path::Path;

    use connector::Files;

    fn resolver(hosts: &Path) -> Resolver {
        Resolver::new(Files {
            hosts: hosts.to_owned(),
            resolv_conf: "/does/not/exist".into(),
        })
    }

    #[test]
    fn addresses_are_read_as_in_go() {
        let parsed = |text| parse(text).map_err(|error| error.to_string());
        assert_eq!(parsed("127.0.0.1:22"), Ok(("127.0.0.1", 22)));
        assert_eq!(parsed("localhost:22"), Ok(("localhost", 22)));
        assert_eq!(parsed("[::1]:22"), Ok(("::1", 22)));
        assert_eq!(parsed(":22"), Ok(("", 22)));
        assert_eq!(parsed(""), Ok(("", 0)));
        assert_eq!(parsed("127.0.0.1:"), Ok(("127.0.0.1", 0)));
        for (text, error) in [
            ("x", "listen tcp: address x: missing port in address"),
            (
                "::1:22",
                "listen tcp: address ::1:22: too many colons in address",
            ),
            ("[::1", "listen tcp: address [::1: missing ']' in address"),
            (":ssh", "listen tcp: address tcp/ssh: unknown port"),
            (":70000", "listen tcp: address 70000: invalid port"),
        ] {
            assert_eq!(parsed(text), Err(error.to_owned()));
        }
    }

    #[tokio::test]
    async fn names_are_resolved_and_ipv4_goes_first() {
        let hosts = tempfile::NamedTempFile::new().unwrap();
        fs::write(hosts.path(), "::1 both.test\n127.0.0.2 both.test\n").unwrap();
        let resolver = resolver(hosts.path());
        for (host, ip) in [
            ("both.test", "127.0.0.2"),
            ("localhost", "127.0.0.1"),
            ("127.0.0.3", "127.0.0.3"),
        ] {
            let listener = bind(&format!("{host}:0"), &resolver).await.unwrap();
            assert_eq!(listener.local_addr().unwrap().ip().to_string(), ip);
        }
    }

    #[tokio::test]
    async fn a_name_that_is_none_is_told_as_in_go() {
        let resolver = resolver(Path::new("/does/not/exist"));
        let name = "x".repeat(300);
        let error = bind(&format!("{name}:22"), &resolver).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("listen tcp: lookup {name}: no such host")
        );
    }

    #[tokio::test]
    async fn a_taken_port_is_told_as_in_go() {
        let resolver = resolver(Path::new("/does/not/exist"));
        let first = bind("127.0.0.1:0", &resolver).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(&address.to_string(), &resolver).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("listen tcp {address}: bind: address already in use")
        );
    }

    #[tokio::test]
    async fn no_host_means_all_interfaces() {
        let resolver = resolver(Path::new("/does/not/exist"));
        let listener = bind(":0", &resolver).await.unwrap();
        assert!(listener.local_addr().unwrap().ip().is_unspecified());
    }
}
