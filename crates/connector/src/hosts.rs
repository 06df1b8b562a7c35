//! The hosts file.

use std::collections::HashMap;
use std::net::IpAddr;

/// Addresses by lower-case names without a final dot.
pub(crate) type Hosts = HashMap<String, Vec<IpAddr>>;

/// A name as it is looked for: their case does not count, nor does a final dot.
pub(crate) fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Lines of an address and names, as in hosts(5); lines that are none are passed over.
pub(crate) fn parse(text: &str) -> Hosts {
    let mut hosts = Hosts::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else {
            continue;
        };
        for name in words {
            hosts.entry(normal(name)).or_default().push(address);
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::net::Ipv6Addr;

    #[test]
    fn the_hosts_file_is_read_leniently() {
        let hosts = parse("# x\n::1 Localhost # y\nnonsense a\n10.0.0.1\tb. c\r\n10.0.0.2 b\n");
        assert_eq!(hosts["localhost"], [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert_eq!(
            hosts["b"],
            [IpAddr::from([10, 0, 0, 1]), [10, 0, 0, 2].into()]
        );
        assert_eq!(hosts["c"].len(), 1);
        assert_eq!(hosts.len(), 3);
    }
}
