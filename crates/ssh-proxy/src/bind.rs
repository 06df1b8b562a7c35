//! The ports that the proxy listens on, bound all together before anything is served, and those that it
//! was started with.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use connector::os_text;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket};

use crate::admin;
use crate::admin::settings::AdminSettings;
use crate::edge::activation::Inherited;
use crate::settings::Settings;

/// Connections that wait to be accepted: as many as tokio's own listeners let wait.
const BACKLOG: u32 = 1024;

/// Every port, ready to accept.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// For changing the log level.
    pub(crate) debug: Option<TcpListener>,
    /// For clients.
    pub(crate) ssh: TcpListener,
    /// For load balancers.
    pub(crate) health: Option<TcpListener>,
    /// For whoever scrapes metrics.
    pub(crate) metrics: Option<TcpListener>,
    /// For whoever shows and ends sessions.
    pub(crate) admin: Option<admin::Listener>,
    /// The next process may serve the same ports already while this one ends.
    pub(crate) has_successor: bool,
}

impl Listeners {
    /// Binds the ports in the order in which the reference starts its servers.
    ///
    /// # Errors
    ///
    /// The reference's report of which server failed and which had to stop for it.
    pub(crate) fn bind(settings: &Settings, inherited: Inherited) -> Result<Self, String> {
        let mut group = Group::new(settings.reuse_port);
        let has_successor = settings.reuse_port || inherited.ssh.is_some();
        let debug = group.bind_if("debug-server", settings.debug_address)?;
        let ssh = match inherited.ssh {
            None => group.bind("ssh-proxy", settings.address)?,
            Some(listener) => group.adopt("ssh-proxy", settings.address, listener)?,
        };
        let health = match (settings.health_address, inherited.health) {
            (Some(address), Some(listener)) => {
                Some(group.adopt("healthcheck", address, listener)?)
            }
            (address, _) => group.bind_if("healthcheck", address)?,
        };
        let metrics = group.bind_if("metrics-server", settings.metrics_address)?;
        let admin = match &settings.admin {
            None => None,
            Some(settings) => Some(group.bind_admin(settings)?),
        };
        Ok(Self {
            debug,
            ssh,
            health,
            metrics,
            admin,
            has_successor,
        })
    }
}

/// The servers that are bound so far.
struct Group {
    names: Vec<&'static str>,
    reuse_port: bool,
}

impl Group {
    fn new(reuse_port: bool) -> Self {
        Self {
            names: Vec::new(),
            reuse_port,
        }
    }

    fn bind(&mut self, name: &'static str, address: SocketAddr) -> Result<TcpListener, String> {
        let listener = listen(address, self.reuse_port);
        self.add(name, address, listener)
    }

    fn bind_if(
        &mut self,
        name: &'static str,
        address: Option<SocketAddr>,
    ) -> Result<Option<TcpListener>, String> {
        address.map(|address| self.bind(name, address)).transpose()
    }

    fn bind_admin(&mut self, settings: &AdminSettings) -> Result<admin::Listener, String> {
        let name = "admin-server";
        admin::Listener::bind(settings, |address| self.bind(name, address))
    }

    /// Takes a listener that was inherited in place of `address`.
    fn adopt(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        listener: std::net::TcpListener,
    ) -> Result<TcpListener, String> {
        let listener = TcpListener::from_std(listener);
        self.add(name, address, listener)
    }

    fn add(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        listener: io::Result<TcpListener>,
    ) -> Result<TcpListener, String> {
        let listener = listener.map_err(|error| {
            let text = os_text(&error);
            let mut trace = format!(
                "Exit trace for group:\n{name} exited with error: listen tcp {address}: bind: {text}\n"
            );
            for started in self.names.iter().rev() {
                trace.push_str(&format!("{started} exited with nil\n"));
            }
            trace
        })?;
        self.names.push(name);
        Ok(listener)
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
fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let port = address.port();
    let address = match address.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port),
        false => address,
    };
    match listen_on(address, reuse_port) {
        // A kernel without IPv6.
        Err(error) if address.ip().is_unspecified() && error.kind() != io::ErrorKind::AddrInUse => {
            let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
            listen_on(any, reuse_port)
        }
        result => result,
    }
}

fn listen_on(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Both families, whatever the system's default is (net.ipv6.bindv6only).
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_told_with_what_stopped_for_it() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let mut group = Group::new(false);
        group
            .bind("debug-server", "127.0.0.1:0".parse().unwrap())
            .unwrap();
        let trace = group.bind("ssh-proxy", address).unwrap_err();
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
            let listener = listen(any.parse().unwrap(), false).unwrap();
            assert!(!sockopt::ipv6_v6only(&listener).unwrap());
            let port = listener.local_addr().unwrap().port();
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn two_processes_share_a_port_only_if_both_want_to() {
        let first = listen("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = first.local_addr().unwrap();
        listen(address, true).unwrap();
        assert!(listen(address, false).is_err());
    }
}
