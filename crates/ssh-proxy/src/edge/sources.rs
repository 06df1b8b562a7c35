//! Which connections count as coming from one source, and how many logins a source may begin.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::lock;

/// One user, as far as addresses can tell: an IPv4 address, or the network that an IPv6 user gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// An address.
    V4(u32),
    /// The first 64 bits: who has one address has as many of the others as they like.
    V6(u64),
}

impl Source {
    /// The source that has `address`.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments().map(u64::from);
                Self::V6(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }
}

/// Logins that have begun and not ended, by source. There are no more entries than logins.
#[derive(Debug)]
pub(crate) struct Sources {
    most: usize,
    logins: HashMap<Source, usize>,
}

/// A login of a source that has begun. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Begun {
    source: Source,
    sources: Arc<Mutex<Sources>>,
}

impl Sources {
    /// At most `most` logins for each.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            logins: HashMap::new(),
        }
    }

    /// Begins a login, if the source may.
    pub(crate) fn begin(sources: &Arc<Mutex<Self>>, source: Source) -> Option<Begun> {
        let mut table = lock(sources);
        let most = table.most;
        let count = table.logins.entry(source).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Begun {
            source,
            sources: Arc::clone(sources),
        })
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut table = lock(&self.sources);
        if let Some(count) = table.logins.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                table.logins.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn ipv4_users_have_an_address_and_ipv6_users_a_network() {
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
    }

    #[test]
    fn a_source_begins_no_more_than_its_logins_and_leaves_nothing_behind() {
        let sources = Arc::new(Mutex::new(Sources::new(2)));
        let begin = |address| Sources::begin(&sources, source(address));
        let first = begin("192.0.2.1").unwrap();
        let _second = begin("192.0.2.1").unwrap();
        assert!(begin("192.0.2.1").is_none());
        assert!(begin("192.0.2.2").is_some());
        drop(first);
        assert!(begin("192.0.2.1").is_some());
        drop(_second);
        assert!(lock(&sources).logins.is_empty());
    }
}
