//! `hostkexinit`: KEXINITs of a server (RFC 4253 section 7.1).

use super::{NO_HANDSHAKE, row, unseen};
use crate::case::{Case, Expect, Stage, Step};
use crate::cases::{BROKEN, KEX_FAILED, kexinit, say};
use crate::end::{KEY_EXCHANGE_FAILED, PROTOCOL_ERROR};
use crate::host::HostCase;
use crate::kex::{KexInit, List, Offer};
use crate::payload::string_message;
use ssh_proto::msg;
use ssh_proto::transport::Role;

const RFC: &str = "RFC 4253 section 7.1";

/// The rows.
pub(super) fn cases() -> Vec<HostCase> {
    let mut cases = nothing_in_common();
    cases.extend(forms());
    cases.extend(good());
    cases
}

fn case(id: &str, title: &str) -> Case {
    row("hostkexinit", id, title, RFC).at(Stage::Identified)
}

fn good_kexinit() -> KexInit {
    Offer::default().kexinit(Role::Server)
}

fn nothing_in_common() -> Vec<HostCase> {
    let lists = [
        ("kex", List::Kex),
        ("host-key", List::HostKey),
        ("cipher-to-server", List::CipherToServer),
        ("cipher-to-client", List::CipherToClient),
        ("compression-to-server", List::CompressionToServer),
        ("compression-to-client", List::CompressionToClient),
    ];
    // Names are of US-ASCII (RFC 4251 section 6): others break a rule, and are not only unknown.
    let names: [(&str, &str, Vec<u8>, Expect); 4] = [
        (
            "unknown",
            "nothing known",
            b"x@example.com".to_vec(),
            KEX_FAILED,
        ),
        ("empty", "no names", Vec::new(), KEX_FAILED),
        (
            "not-utf8",
            "names that are not UTF-8",
            vec![0xff, b',', 0xfe],
            BROKEN,
        ),
        (
            "nul",
            "names with NUL",
            b"curve25519-sha256\0,none\0,aes128-ctr\0".to_vec(),
            BROKEN,
        ),
    ];
    let mut cases = Vec::new();
    for (list_id, list) in lists {
        for (id, title, value, expect) in &names {
            cases.push(
                case(&format!("{list_id}-{id}"), &format!("{list_id}: {title}"))
                    .sends([kexinit(good_kexinit().with(list, value))])
                    .expects(Expect::Cut(&[KEY_EXCHANGE_FAILED, PROTOCOL_ERROR]))
                    .proxy(expect.clone())
                    .seen(NO_HANDSHAKE),
            );
        }
    }
    cases
}

fn forms() -> Vec<HostCase> {
    let whole = good_kexinit().encode();
    let cut = |length: usize| whole.get(..length).unwrap_or_default().to_vec();
    let mut endless = whole.clone();
    for byte in endless.iter_mut().skip(17).take(4) {
        *byte = 0xff;
    }
    let many = vec!["x"; 15_000].join(",");
    let rows = [
        ("number-alone", "nothing but the number", cut(1)),
        ("cookie-cut", "cut in the cookie", cut(9)),
        ("no-lists", "no lists", cut(17)),
        ("list-cut", "cut in a list", cut(30)),
        ("one-less", "a byte too few", cut(whole.len() - 1)),
        ("one-more", "a byte too many", [&whole[..], b"x"].concat()),
        ("length-4g", "a list of 4 GiB", endless),
        (
            "reply-first",
            "a reply before it",
            string_message(msg::KEX_ECDH_REPLY, "x"),
        ),
        ("newkeys-first", "NEWKEYS before it", vec![msg::NEWKEYS]),
        (
            "service-first",
            "SERVICE_ACCEPT before it",
            string_message(msg::SERVICE_ACCEPT, "ssh-userauth"),
        ),
        (
            "success-first",
            "USERAUTH_SUCCESS before it",
            vec![msg::USERAUTH_SUCCESS],
        ),
        (
            "channel-first",
            "CHANNEL_OPEN before it",
            string_message(msg::CHANNEL_OPEN, "session"),
        ),
        (
            "unknown-first",
            "an unknown message before it",
            vec![200, 1],
        ),
    ];
    let one = |(id, title, payload): (&str, &str, Vec<u8>)| {
        case(id, title)
            .sends([say(payload)])
            .expects(BROKEN)
            .seen(NO_HANDSHAKE)
    };
    let mut cases: Vec<HostCase> = rows.into_iter().map(one).collect();
    cases.push(
        case("huge", "more than 35,000 bytes")
            .sends([kexinit(
                good_kexinit().with(List::LanguagesToClient, vec![b'a'; 40_000]),
            )])
            .expects(BROKEN)
            .seen(NO_HANDSHAKE),
    );
    cases.push(
        case("twice", "a second one")
            .at(Stage::Offered)
            .sends([say(&whole)])
            .expects(BROKEN)
            .seen(NO_HANDSHAKE),
    );
    cases.push(
        case("many-names", "15,000 names, the right one last")
            .sends([kexinit(good_kexinit().with_first(List::Kex, many))])
            .expects(Expect::Either(vec![
                Expect::Ignored,
                Expect::Cut(&[PROTOCOL_ERROR]),
            ]))
            .proxy(Expect::Ignored)
            .seen(unseen()),
    );
    cases
}

fn good() -> Vec<HostCase> {
    let fine = |id: &str, title: &str, message: KexInit| {
        case(id, title)
            .sends([kexinit(message)])
            .expects(Expect::Ignored)
            .seen(unseen())
    };
    let guessing = |message: KexInit| KexInit {
        first_kex_packet_follows: 1,
        ..message
    };
    vec![
        fine("good", "by the rules", good_kexinit()),
        fine(
            "loose",
            "without strict key exchange",
            Offer::default().loose().kexinit(Role::Server),
        ),
        fine("unknown-names", "unknown names before the right ones", {
            good_kexinit()
                .with_first(List::Kex, "x@example.com,y")
                .with_first(List::HostKey, "z")
        }),
        fine(
            "languages",
            "languages",
            good_kexinit().with(List::LanguagesToClient, "de,en"),
        ),
        case("guess-wrong", "a wrong guess, and the packet of it")
            .sends([
                kexinit(guessing(
                    good_kexinit().with_first(List::Kex, "guess@example.com"),
                )),
                say(string_message(msg::KEX_ECDH_REPLY, "guess")),
                Step::Exchange,
            ])
            .expects(Expect::Ignored)
            .seen(unseen()),
    ]
}
