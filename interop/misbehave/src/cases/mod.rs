//! The rows, a file for each group or a few of them.
//!
//! A file gives its rows by a function of its own, and stands in [`all`]. An id begins with the name of
//! its group and stays what it is for ever: results of years ago name it.

mod auth;
mod channel;
mod connection;
mod direct;
mod exchange;
mod ext_info;
mod forward;
mod framing;
pub mod host;
mod identification;
mod kexinit;
mod message;
mod publickey;
mod rekey;
mod request;
mod scp;
mod service;
mod sftp;
mod stream;
mod strict;
mod terminal;
mod window;

use crate::case::{Case, Expect, Step};
use crate::end::{
    KEY_EXCHANGE_FAILED, MAC_ERROR, PROTOCOL_ERROR, SERVICE_NOT_AVAILABLE, VERSION_NOT_SUPPORTED,
};
use crate::kex::{KexInit, Offer};
use crate::packet::Fault;
use ssh_proto::msg;
use ssh_proto::transport::Role;

/// All rows, group by group.
pub fn all() -> Vec<Case> {
    FILES.iter().flat_map(|cases| cases()).collect()
}

/// What each file has, in the order in which rows run.
const FILES: &[fn() -> Vec<Case>] = &[
    identification::cases,
    framing::cases,
    kexinit::cases,
    exchange::cases,
    strict::cases,
    ext_info::cases,
    message::cases,
    service::cases,
    rekey::cases,
    auth::cases,
    publickey::cases,
    channel::openings,
    channel::cases,
    window::cases,
    request::cases,
    terminal::terminals,
    terminal::variables,
    terminal::signals,
    forward::listening,
    forward::incoming,
    direct::cases,
    sftp::cases,
    scp::cases,
];

/// The groups in their order.
pub fn groups(cases: &[Case]) -> Vec<String> {
    let mut groups: Vec<String> = cases.iter().map(|case| case.group().to_owned()).collect();
    groups.dedup();
    groups
}

/// DISCONNECT for a broken rule.
const BROKEN: Expect = Expect::Cut(&[PROTOCOL_ERROR]);
/// DISCONNECT for what is not SSH 2.
const NO_SSH: Expect = Expect::Cut(&[VERSION_NOT_SUPPORTED]);
/// DISCONNECT for a key exchange that came to nothing.
const KEX_FAILED: Expect = Expect::Cut(&[KEY_EXCHANGE_FAILED]);
/// DISCONNECT for a packet that is not authentic.
const FORGED: Expect = Expect::Cut(&[MAC_ERROR]);
/// DISCONNECT for a packet that is both: a server may find one first, or the other.
const BROKEN_OR_FORGED: Expect = Expect::Cut(&[PROTOCOL_ERROR, MAC_ERROR]);
/// DISCONNECT for a service that there is not.
const NO_SERVICE: Expect = Expect::Cut(&[SERVICE_NOT_AVAILABLE]);

/// A rule that RFC 4253 section 11.4 has an answer for. Ours end the connection.
fn broken_or_unimplemented() -> Expect {
    Expect::Either(vec![BROKEN, Expect::answer(msg::UNIMPLEMENTED)])
}

/// A rule for the sender; nobody says that the other side has to look.
fn broken_or_alive() -> Expect {
    Expect::Either(vec![BROKEN, Expect::Alive])
}

/// Bytes as they are.
fn raw(bytes: impl AsRef<[u8]>) -> Step {
    Step::Raw(bytes.as_ref().to_vec())
}

/// A payload as it should be sent.
fn say(payload: impl AsRef<[u8]>) -> Step {
    Step::Say(payload.as_ref().to_vec())
}

/// A KEXINIT that enters the exchange hash.
fn kexinit(kexinit: KexInit) -> Step {
    Step::KexInit(Box::new(kexinit))
}

/// The KEXINIT of a client that offers what every server has something of.
fn good_kexinit() -> KexInit {
    Offer::default().kexinit(Role::Client)
}

/// A payload in a packet with a fault.
fn faulty(payload: impl AsRef<[u8]>, fault: Fault) -> Step {
    Step::Faulty(payload.as_ref().to_vec(), fault)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_groups_stand_together() {
        let cases = all();
        let ids: HashSet<&str> = cases.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(ids.len(), cases.len());
        let groups = groups(&cases);
        let unique: HashSet<&String> = groups.iter().collect();
        assert_eq!(unique.len(), groups.len(), "{groups:?}");
    }

    #[test]
    fn ids_are_of_letters_figures_and_dashes() {
        for case in all() {
            let fine =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            assert!(case.id.bytes().all(fine), "{}", case.id);
            assert!(
                case.id.contains('-') && !case.title.is_empty(),
                "{}",
                case.id
            );
        }
    }
}
