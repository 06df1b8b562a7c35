//! The listening socket.
//!
//! Owns how an address is written and what goes wrong when it is bound, both as in Go's
//! `net.Listen("tcp", address)`. Accepting is the server's. Names other than `localhost` are not
//! resolved: glibc's resolver wants files and shared libraries that need not be there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel completes before they are accepted; it caps this at `somaxconn`.
const BACKLOG: u32 = 4096;

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
    /// The address has a host name that is not known.
    #[error("listen tcp: lookup {0}: no such host")]
    Lookup(String),
    /// The kernel refused it.
    #[error("listen tcp {address}: bind: {}", reason(.source))]
    Bind {
        /// The address as bound.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Listens on `address`: `host:port`, where no host means all interfaces, and port 0 any port.
///
/// Must be called in a tokio runtime.
pub fn bind(address: &str) -> Result<TcpListener, ListenError> {
    let (host, port) = parse(address)?;
    let Some(ip) = host else {
        // One socket for both families, or IPv4 alone where the kernel has no IPv6.
        let all = listen_on(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        return match all {
            Err(error) if lacks_ipv6(&error) => {
                listen_on(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            }
            all => all,
        }
        .map_err(|source| ListenError::Bind {
            address: format!(":{port}"),
            source,
        });
    };
    let address = SocketAddr::from((ip, port));
    listen_on(address).map_err(|source| ListenError::Bind {
        address: address.to_string(),
        source,
    })
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn lacks_ipv6(error: &io::Error) -> bool {
    let none = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL];
    error
        .raw_os_error()
        .is_some_and(|errno| none.contains(&errno))
}

/// The host (none: all interfaces) and the port of `address`.
fn parse(address: &str) -> Result<(Option<IpAddr>, u16), ListenError> {
    if address.is_empty() {
        return Ok((None, 0));
    }
    let (host, port) = split(address).map_err(|problem| ListenError::Address {
        address: address.to_owned(),
        problem,
    })?;
    Ok((parse_host(host)?, parse_port(port)?))
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

fn parse_host(host: &str) -> Result<Option<IpAddr>, ListenError> {
    match host {
        "" => Ok(None),
        "localhost" => Ok(Some(Ipv4Addr::LOCALHOST.into())),
        _ => match host.parse() {
            Ok(ip) => Ok(Some(ip)),
            Err(_) => Err(ListenError::Lookup(host.to_owned())),
        },
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

/// The kernel's reason without the number that Rust adds, in lower case as Go writes it.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_in_go() {
        let parsed = |text: &str| parse(text).map_err(|error| error.to_string());
        let v4 = |ip: [u8; 4]| Some(IpAddr::from(ip));
        assert_eq!(parsed("127.0.0.1:22"), Ok((v4([127, 0, 0, 1]), 22)));
        assert_eq!(parsed("localhost:22"), Ok((v4([127, 0, 0, 1]), 22)));
        assert_eq!(
            parsed("[::1]:22"),
            Ok((Some(Ipv6Addr::LOCALHOST.into()), 22))
        );
        assert_eq!(parsed(":22"), Ok((None, 22)));
        assert_eq!(parsed(""), Ok((None, 0)));
        assert_eq!(parsed("127.0.0.1:"), Ok((v4([127, 0, 0, 1]), 0)));
        for (text, error) in [
            ("x", "listen tcp: address x: missing port in address"),
            (
                "::1:22",
                "listen tcp: address ::1:22: too many colons in address",
            ),
            ("[::1", "listen tcp: address [::1: missing ']' in address"),
            ("x:22", "listen tcp: lookup x: no such host"),
            (":ssh", "listen tcp: address tcp/ssh: unknown port"),
            (":70000", "listen tcp: address 70000: invalid port"),
        ] {
            assert_eq!(parsed(text), Err(error.to_owned()));
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_told_as_in_go() {
        let first = bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(&address.to_string()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("listen tcp {address}: bind: address already in use")
        );
    }

    #[tokio::test]
    async fn no_host_means_all_interfaces() {
        let listener = bind(":0").unwrap();
        assert!(listener.local_addr().unwrap().ip().is_unspecified());
    }
}
