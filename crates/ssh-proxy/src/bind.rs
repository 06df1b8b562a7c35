//! The ports that the proxy listens on, bound all together before anything is served.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use connector::os_text;
use tokio::net::TcpListener;

use crate::settings::Settings;

/// Every port, ready to accept.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// For changing the log level.
    pub(crate) debug: Option<TcpListener>,
    /// For clients.
    pub(crate) ssh: TcpListener,
    /// For load balancers.
    pub(crate) health: Option<TcpListener>,
}

impl Listeners {
    /// Binds the ports in the order in which the reference starts its servers.
    ///
    /// # Errors
    ///
    /// The reference's report of which server failed and which had to stop for it.
    pub(crate) async fn bind(settings: &Settings) -> Result<Self, String> {
        let mut group = Group::default();
        let debug = group
            .bind_if("debug-server", settings.debug_address)
            .await?;
        let ssh = group.bind("ssh-proxy", settings.address).await?;
        let health = group
            .bind_if("healthcheck", settings.health_address)
            .await?;
        Ok(Self { debug, ssh, health })
    }
}

/// The servers that are bound so far.
#[derive(Default)]
struct Group(Vec<&'static str>);

impl Group {
    async fn bind(
        &mut self,
        name: &'static str,
        address: SocketAddr,
    ) -> Result<TcpListener, String> {
        let listener = listen(address).await.map_err(|error| {
            let text = os_text(&error);
            let mut trace = format!(
                "Exit trace for group:\n{name} exited with error: listen tcp {address}: bind: {text}\n"
            );
            for started in self.0.iter().rev() {
                trace.push_str(&format!("{started} exited with nil\n"));
            }
            trace
        })?;
        self.0.push(name);
        Ok(listener)
    }

    async fn bind_if(
        &mut self,
        name: &'static str,
        address: Option<SocketAddr>,
    ) -> Result<Option<TcpListener>, String> {
        match address {
            None => Ok(None),
            Some(address) => self.bind(name, address).await.map(Some),
        }
    }
}

/// An address as Go's `net.Listen` takes it, with an IP literal, `localhost` or nothing for the
/// host. Nothing at all means any port of all interfaces.
pub(crate) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if text.is_empty() {
        return Ok(SocketAddr::new(ANY, 0));
    }
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| format!("address {text}: missing port in address"))?;
    let port = match port {
        "" => 0,
        port => port
            .parse()
            .map_err(|_| format!("address {text}: invalid port"))?,
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let ip = match (bare, host) {
        (None, "") => ANY,
        (None, "localhost") => IpAddr::from([127, 0, 0, 1]),
        (Some(bare), _) => IpAddr::V6(bare.parse().map_err(|_| bad_host(text))?),
        (None, host) if host.contains(':') => {
            return Err(format!("address {text}: too many colons in address"));
        }
        (None, host) => host.parse().map_err(|_| bad_host(text))?,
    };
    Ok(SocketAddr::new(ip, port))
}

fn bad_host(text: &str) -> String {
    format!("address {text}: host is not an IP address")
}

/// Listens on `address`; the unspecified address of either family means both, as in Go, so that
/// IPv4 peers can show up as IPv4-mapped addresses (see `IpAddr::to_canonical`).
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_unspecified() {
        return TcpListener::bind(address).await;
    }
    let port = address.port();
    let both = TcpListener::bind((IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)).await;
    match both {
        // A kernel without IPv6.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).await
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_told_with_what_stopped_for_it() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let mut group = Group::default();
        group
            .bind("debug-server", "127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let trace = group.bind("ssh-proxy", address).await.unwrap_err();
        assert_eq!(
            trace,
            format!(
                "Exit trace for group:\nssh-proxy exited with error: listen tcp {address}: bind: \
                 address already in use\ndebug-server exited with nil\n"
            )
        );
    }

    #[test]
    fn addresses_are_read_as_go_reads_them() {
        for (text, address) in [
            ("", "[::]:0"),
            (":2222", "[::]:2222"),
            ("0.0.0.0:2222", "0.0.0.0:2222"),
            ("127.0.0.1:", "127.0.0.1:0"),
            ("localhost:1", "127.0.0.1:1"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(parse_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for (text, problem) in [
            ("127.0.0.1", "missing port in address"),
            ("::1:1", "too many colons in address"),
            ("127.0.0.1:65536", "invalid port"),
            ("127.0.0.1:ssh", "invalid port"),
            ("ssh.example.com:22", "host is not an IP address"),
            ("[127.0.0.1]:22", "host is not an IP address"),
        ] {
            assert_eq!(
                parse_address(text),
                Err(format!("address {text}: {problem}"))
            );
        }
    }

    #[tokio::test]
    async fn the_unspecified_address_takes_ipv4_clients() {
        for any in ["0.0.0.0:0", "[::]:0"] {
            let listener = listen(any.parse().unwrap()).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .unwrap();
        }
    }
}
