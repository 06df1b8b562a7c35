//! Where connections from clients may lead: a list of hosts and ports.
//!
//! The proxy resolves no names for users. So an entry with addresses matches addresses as the client
//! wrote them, an entry with a name matches that name, and what an allowed name stands for is decided
//! in the container.

use std::net::IpAddr;

use ipnet::IpNet;

/// The list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Targets(Vec<Target>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    host: Host,
    /// Both ends belong to it.
    ports: (u32, u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    /// `*`
    Any,
    /// `10.0.0.0/8`, `[fd00::/8]`, or a single address.
    Net(IpNet),
    /// `db.internal`, in lower case.
    Name(String),
    /// `*.internal`: kept with its dot.
    Below(String),
}

const PORTS: (u32, u32) = (0, 65535);

impl Targets {
    /// Reads `host:port` entries.
    ///
    /// # Errors
    /// What is wrong with the first entry that is not one.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, String> {
        let targets = entries.iter().map(|entry| Target::parse(entry));
        targets.collect::<Result<_, _>>().map(Self)
    }

    /// Whether a client may connect there.
    pub(super) fn contain(&self, host: &[u8], port: u32) -> bool {
        let Ok(host) = std::str::from_utf8(host) else {
            return false;
        };
        let host = bare(host).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let address = host.parse().ok().map(|ip: IpAddr| ip.to_canonical());
        self.0.iter().any(|target| target.is(host, address, port))
    }
}

impl Target {
    fn parse(entry: &str) -> Result<Self, String> {
        let problem = || format!("{entry:?} is not host:port, such as \"10.0.0.0/8:5432\"");
        let (host, ports) = entry.rsplit_once(':').ok_or_else(problem)?;
        let host = Host::parse(host).ok_or_else(problem)?;
        let ports = parse_ports(ports).ok_or_else(problem)?;
        Ok(Self { host, ports })
    }

    fn is(&self, host: &str, address: Option<IpAddr>, port: u32) -> bool {
        let (first, last) = self.ports;
        let right_host = match (&self.host, address) {
            (Host::Any, _) => true,
            (Host::Net(net), Some(address)) => net.contains(&address),
            (Host::Name(name), None) => name == host,
            (Host::Below(domain), None) => host.ends_with(domain),
            _ => false,
        };
        right_host && (first..=last).contains(&port)
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let address = bare(text);
        if let Ok(net) = address.parse() {
            return Some(Self::Net(net));
        }
        if let Ok(ip) = address.parse::<IpAddr>() {
            return Some(Self::Net(IpNet::from(ip)));
        }
        let name = text.to_ascii_lowercase();
        let (name, below) = match name.strip_prefix('*') {
            Some(domain) => (domain.strip_prefix('.')?, true),
            None => (name.as_str(), false),
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(fits) || name.starts_with('.') {
            return None;
        }
        Some(if below {
            Self::Below(format!(".{name}"))
        } else {
            Self::Name(name.to_owned())
        })
    }
}

/// `*`, one port, or two with a dash.
fn parse_ports(text: &str) -> Option<(u32, u32)> {
    let port = |text: &str| text.parse::<u16>().ok().map(u32::from);
    match text.split_once('-') {
        _ if text == "*" => Some(PORTS),
        None => port(text).map(|port| (port, port)),
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            (first <= last).then_some((first, last))
        }
    }
}

/// Without the brackets that IPv6 addresses may have.
fn bare(host: &str) -> &str {
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inside.unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(entries: &[&str]) -> Targets {
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        Targets::parse(&entries).unwrap()
    }

    #[test]
    fn entries_match_what_they_say_and_nothing_else() {
        let targets = targets(&[
            "10.0.0.0/8:5432",
            "192.0.2.7:80-89",
            "[fd00::/8]:443",
            "[::1]:*",
            "db.Internal:6379",
            "*.apps.internal:8080",
            "*:9000",
        ]);
        for (host, port) in [
            ("10.255.0.1", 5432),
            ("::ffff:10.0.0.1", 5432),
            ("192.0.2.7", 80),
            ("192.0.2.7", 89),
            ("fd12::1", 443),
            ("[fd12::1]", 443),
            ("::1", 1),
            ("DB.internal", 6379),
            ("db.internal.", 6379),
            ("x.apps.internal", 8080),
            ("x.y.apps.internal", 8080),
            ("anything", 9000),
            ("203.0.113.9", 9000),
        ] {
            assert!(targets.contain(host.as_bytes(), port), "{host}:{port}");
        }
        for (host, port) in [
            ("10.255.0.1", 5433),
            ("10.255.0.1", 5432 + 65536),
            ("11.0.0.1", 5432),
            // Ways to write 10.0.0.1 that some resolvers know.
            ("10.1", 5432),
            ("0x0a000001", 5432),
            ("167772161", 5432),
            ("010.0.0.1", 5432),
            ("192.0.2.7", 90),
            ("192.0.2.8", 80),
            ("fe00::1", 443),
            ("fd12::1%eth0", 443),
            ("db.internal", 6380),
            ("xdb.internal", 6379),
            ("db.internal..", 6379),
            ("apps.internal", 8080),
            ("xapps.internal", 8080),
            ("", 5432),
        ] {
            assert!(!targets.contain(host.as_bytes(), port), "{host}:{port}");
        }
        assert!(!targets.contain(b"\xff", 9000));
    }

    #[test]
    fn what_is_no_entry_is_told() {
        for entry in [
            "",
            "db",
            ":80",
            "db:",
            "db:http",
            "db:65536",
            "db:9-8",
            "10.0.0.0/33:1",
            "*db:1",
            "a*b:1",
            "*.:1",
            ".db:1",
            "fd00::/129:1",
            "a b:1",
        ] {
            let problem = Targets::parse(&[entry.to_owned()]).unwrap_err();
            assert!(problem.starts_with(&format!("{entry:?} is not host:port")));
        }
    }
}
