//! The software that peers say they run, as a label: its name and version, without what comes behind
//! them, and no more of them than somebody can read.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Label;

/// Different software that is told apart at each hop. Whoever invents names ends up in [`OTHER`].
const MOST_NAMES: usize = 100;

/// All that came when there was no room for more, or that is no name.
const OTHER: &str = "other";

/// Bytes of a name, which the common ones are far below.
const LONGEST_NAME: usize = 40;

type Counters = Family<[Label<String>; 2], Counter>;

/// Counts peers by hop and software.
#[derive(Debug, Default)]
pub(super) struct Peers {
    counters: Counters,
    known: Mutex<HashSet<(&'static str, String)>>,
}

impl Peers {
    /// A peer at `hop` has identified itself so.
    pub(super) fn count(&self, hop: &'static str, identification: &[u8]) {
        let name = self.known_name(hop, software(identification));
        let labels = [("hop", hop.to_owned()), ("software", name)];
        self.counters.get_or_create(&labels).inc();
    }

    /// What is scraped.
    pub(super) fn counters(&self) -> Counters {
        self.counters.clone()
    }

    fn known_name(&self, hop: &'static str, name: &str) -> String {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (hop, name.to_owned());
        let full = known.iter().filter(|(at, _)| *at == hop).count() >= MOST_NAMES;
        if !known.contains(&key) {
            if full {
                return OTHER.to_owned();
            }
            known.insert(key);
        }
        name.to_owned()
    }
}

/// The `softwareversion` of RFC 4253 section 4.2, without comments.
fn software(identification: &[u8]) -> &str {
    let text = std::str::from_utf8(identification).unwrap_or_default();
    let rest = text.strip_prefix("SSH-2.0-").unwrap_or_default();
    let name = rest.split(' ').next().unwrap_or_default();
    let is_name = !name.is_empty() && name.len() <= LONGEST_NAME;
    let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    if is_name && is_plain && !name.contains(['"', '\\']) {
        name
    } else {
        OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_is_told_without_what_comes_behind_it() {
        for (identification, name) in [
            (
                &b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10"[..],
                "OpenSSH_9.2p1",
            ),
            (b"SSH-2.0-Go", "Go"),
            (b"SSH-2.0-PuTTY_Release_0.83", "PuTTY_Release_0.83"),
            (b"SSH-2.0-", OTHER),
            (b"SSH-2.0- x", OTHER),
            (b"SSH-2.0-a\"b", OTHER),
            (b"SSH-2.0-a\\b", OTHER),
            (b"SSH-2.0-\xff", OTHER),
            (b"SSH-1.99-x", OTHER),
            (b"", OTHER),
        ] {
            assert_eq!(software(identification), name);
        }
        let long = format!("SSH-2.0-{}", "x".repeat(LONGEST_NAME + 1));
        assert_eq!(software(long.as_bytes()), OTHER);
    }

    #[test]
    fn invented_names_are_counted_together() {
        let peers = Peers::default();
        for number in 0..3 * MOST_NAMES {
            peers.count("client", format!("SSH-2.0-{number}").as_bytes());
        }
        peers.count("client", b"SSH-2.0-0");
        peers.count("daemon", b"SSH-2.0-diego-sshd");
        let at = |hop: &str, name: &str| {
            let labels = [("hop", hop.to_owned()), ("software", name.to_owned())];
            peers.counters.get_or_create(&labels).get()
        };
        assert_eq!(at("client", OTHER), 2 * MOST_NAMES as u64);
        assert_eq!((at("client", "0"), at("daemon", "diego-sshd")), (2, 1));
    }
}
