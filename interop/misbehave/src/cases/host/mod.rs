//! Rows of a server: whatever it does, a client is not hurt by it, and neither is a proxy or the next
//! user of one. What the user of the proxy sees stands beside each row.

mod auth;
mod exchange;
mod identification;
mod kexinit;
mod order;
mod relay;

use crate::case::{Answer, Case};
use crate::host::{HostCase, Sees};

/// All rows of a server, group by group.
pub fn all() -> Vec<HostCase> {
    FILES.iter().flat_map(|cases| cases()).collect()
}

/// What each file has, in the order in which rows run.
const FILES: &[fn() -> Vec<HostCase>] = &[
    identification::cases,
    kexinit::cases,
    exchange::cases,
    order::cases,
    auth::cases,
    relay::cases,
];

/// The groups in their order.
pub fn groups(rows: &[HostCase]) -> Vec<String> {
    let mut groups: Vec<String> = rows.iter().map(|row| row.case.group().to_owned()).collect();
    groups.dedup();
    groups
}

/// The daemon does not speak as it should.
const NO_HANDSHAKE: Sees = Sees::Refused("[instance_handshake]");
/// The daemon is not the one that is pinned.
const NO_HOST_KEY: Sees = Sees::Refused("[instance_host_key]");
/// The daemon is gone, or broke a rule: which one is not the user's affair.
const LOST: Sees = Sees::Lost("the connection to the app instance was lost");

/// The user is in and sees nothing of it.
fn unseen() -> Sees {
    Sees::Served(Vec::new())
}

/// The user is in and gets this.
fn passed(payloads: impl IntoIterator<Item = Vec<u8>>) -> Sees {
    Sees::Served(payloads.into_iter().map(Answer::Exactly).collect())
}

/// A row, by the name of its group.
fn row(group: &str, id: &str, title: &str, source: &'static str) -> Case {
    Case::new(format!("{group}-{id}"), title, source)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_groups_stand_together() {
        let rows = all();
        let ids: HashSet<&str> = rows.iter().map(|row| row.case.id.as_str()).collect();
        assert_eq!(ids.len(), rows.len());
        let groups = groups(&rows);
        let unique: HashSet<&String> = groups.iter().collect();
        assert_eq!(unique.len(), groups.len(), "{groups:?}");
    }

    #[test]
    fn ids_are_of_letters_figures_and_dashes() {
        for row in all() {
            let fine =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            let id = &row.case.id;
            assert!(id.bytes().all(fine) && id.contains('-'), "{id}");
        }
    }
}
