//! `strict`: strict key exchange (OpenSSH PROTOCOL section 1.10) and the attack that it is against,
//! Terrapin (CVE-2023-48795).

use super::{
    BROKEN, BROKEN_OR_FORGED, FORGED, KEX_FAILED, broken_or_unimplemented, faulty, good_kexinit,
    kexinit, say,
};
use crate::case::{Case, Expect, Stage, Step};
use crate::kex::{List, Offer, STRICT_CLIENT, STRICT_SERVER};
use crate::packet::Fault;
use crate::payload::{debug, disconnect, ext_info, ignore, string_message, unimplemented};
use ssh_proto::algorithm::{Cipher, Kex, Mac};
use ssh_proto::msg;

const PROTOCOL: &str = "OpenSSH PROTOCOL 1.10";
const TERRAPIN: &str = "CVE-2023-48795";

/// Packets of a client in a first key exchange.
const FIRST_PACKETS: u32 = 3;

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = injections();
    cases.extend(sequences());
    cases.extend(markers());
    cases.extend(rekeys());
    cases
}

fn case(id: &str, title: &str, source: &'static str) -> Case {
    Case::new(format!("strict-{id}"), title, source)
}

/// Where a packet can be put in, as far as its peer has come then.
const PLACES: [(&str, &str, Stage); 3] = [
    ("kexinit", "before KEXINIT", Stage::Identified),
    ("init", "before KEX_ECDH_INIT", Stage::Offered),
    ("newkeys", "before NEWKEYS", Stage::Replied),
];

/// One packet more in the first key exchange.
fn injections() -> Vec<Case> {
    let harmless = [
        ("ignore", "IGNORE", ignore(b"")),
        ("debug", "DEBUG", debug("x")),
        ("unimplemented", "UNIMPLEMENTED", unimplemented(0)),
    ];
    let mut cases = Vec::new();
    for (place, where_, stage) in PLACES {
        for (id, name, payload) in &harmless {
            // Before KEXINIT nobody knows yet: it is the KEXINIT that ends it.
            cases.push(
                case(
                    &format!("{id}-{place}"),
                    &format!("{name} {where_}"),
                    TERRAPIN,
                )
                .at(stage)
                .sends([say(payload), Step::Exchange]),
            );
            cases.push(
                case(
                    &format!("loose-{id}-{place}"),
                    &format!("{name} {where_}, of a client that is not strict"),
                    "RFC 4253 section 11",
                )
                .at(stage)
                .offering(Offer::default().loose())
                .sends([say(payload)])
                .expects(Expect::Ignored),
            );
        }
        let cut = [
            ("ext-info", "EXT_INFO", ext_info(0, &[]), "CVE-2023-46445"),
            (
                "ping",
                "PING",
                string_message(msg::PING, "x"),
                "OpenSSH PROTOCOL 1.9",
            ),
        ];
        for (id, name, payload, source) in cut {
            for (prefix, offer) in [("", Offer::default()), ("loose-", Offer::default().loose())] {
                cases.push(
                    case(
                        &format!("{prefix}{id}-{place}"),
                        &format!("{name} {where_}"),
                        source,
                    )
                    .at(stage)
                    .offering(offer)
                    .sends([say(&payload), Step::Exchange])
                    .expects(if prefix.is_empty() {
                        BROKEN
                    } else {
                        broken_or_unimplemented()
                    })
                    .ours(BROKEN),
                );
            }
        }
        cases.push(
            case(
                &format!("disconnect-{place}"),
                &format!("DISCONNECT {where_}"),
                PROTOCOL,
            )
            .at(stage)
            .sends([say(disconnect(11, "bye"))])
            .expects(Expect::Over),
        );
    }
    cases
}

/// Both numbers start again at 0 behind each NEWKEYS. MACs behind the text have the length in the clear,
/// so that nothing else can be seen first.
fn sequences() -> Vec<Case> {
    let etm = || Offer::default().under(Cipher::Aes128Ctr, Mac::HmacSha256Etm);
    let back = FIRST_PACKETS.wrapping_neg();
    vec![
        case("sequence-goes-on", "sequence numbers that go on", PROTOCOL)
            .at(Stage::Keyed)
            .offering(etm())
            .sends([faulty(ignore(b""), Fault::Ahead(FIRST_PACKETS))])
            .expects(FORGED),
        case(
            "loose-sequence-restarts",
            "sequence numbers that restart, of a client that is not strict",
            "RFC 4253 section 6.4",
        )
        .at(Stage::Keyed)
        .offering(etm().loose())
        .sends([faulty(ignore(b""), Fault::Ahead(back))])
        .expects(FORGED),
        case(
            "rekey-sequence-goes-on",
            "sequence numbers that go on in a later exchange",
            PROTOCOL,
        )
        .at(Stage::Authenticated)
        .offering(etm())
        .sends([
            Step::Exchange,
            faulty(ignore(b""), Fault::Ahead(FIRST_PACKETS)),
        ])
        .expects(FORGED),
        case(
            "prefix-truncation",
            "the attack: under chacha20-poly1305, a packet put in front",
            TERRAPIN,
        )
        .at(Stage::Identified)
        .offering(Offer::default().under(Cipher::ChaCha20Poly1305, Mac::HmacSha256))
        .sends([say(ignore(b"")), Step::Exchange]),
        case(
            "chacha-alone",
            "chacha20-poly1305 of a client that is not strict",
            TERRAPIN,
        )
        .at(Stage::Identified)
        .offering(
            Offer::default()
                .loose()
                .under(Cipher::ChaCha20Poly1305, Mac::HmacSha256),
        )
        .sends([Step::Exchange])
        .expects(Expect::Either(vec![Expect::Ignored, KEX_FAILED]))
        .ours(KEX_FAILED),
    ]
}

/// What makes it strict: the client's marker in a client's first KEXINIT.
fn markers() -> Vec<Case> {
    let loose = || {
        Offer::default()
            .loose()
            .kexinit(ssh_proto::transport::Role::Client)
    };
    let at_end = |name: &str| {
        let now = String::from_utf8_lossy(loose().list(List::Kex)).into_owned();
        loose().with(List::Kex, format!("{now},{name}"))
    };
    let row = |id: &str, title: &str, message| {
        case(id, title, PROTOCOL).at(Stage::Identified).sends([
            kexinit(message),
            say(ignore(b"")),
            Step::Exchange,
        ])
    };
    vec![
        row(
            "marker-of-server",
            "the server's marker makes nothing strict",
            at_end(STRICT_SERVER),
        )
        .expects(Expect::Ignored),
        row(
            "marker-as-hostkey",
            "the marker among host keys makes nothing strict",
            loose().with_first(List::HostKey, STRICT_CLIENT),
        )
        .expects(Expect::Ignored),
        row(
            "marker-of-version-1",
            "another version of the marker makes nothing strict",
            at_end("kex-strict-c-v01@openssh.com"),
        )
        .expects(Expect::Ignored),
        row("marker-first", "the marker as the first name", {
            loose().with_first(List::Kex, STRICT_CLIENT)
        }),
        row("marker-twice", "the marker twice", {
            good_kexinit().with_first(List::Kex, STRICT_CLIENT)
        }),
        row("markers-both", "the markers of both sides", {
            good_kexinit().with_first(List::Kex, STRICT_SERVER)
        }),
    ]
}

/// Later exchanges are as strict as the first one, and only as far as numbers go.
fn rekeys() -> Vec<Case> {
    let etm = || Offer::default().under(Cipher::Aes128Ctr, Mac::HmacSha256Etm);
    let message = |offer: Offer| kexinit(offer.kexinit(ssh_proto::transport::Role::Client));
    let row = |id: &str, title: &str, offer: Offer| {
        case(id, title, PROTOCOL)
            .at(Stage::Authenticated)
            .offering(offer)
    };
    vec![
        row(
            "rekey-without-marker",
            "no marker in a later KEXINIT changes nothing",
            etm(),
        )
        .sends([message(etm().loose()), Step::Exchange])
        .expects(Expect::Ignored),
        row(
            "rekey-with-marker",
            "a marker in a later KEXINIT alone changes nothing",
            etm().loose(),
        )
        .sends([message(etm()), Step::Exchange])
        .expects(Expect::Ignored),
        row("rekey-many", "fifty exchanges, each from 0", etm())
            .sends([Step::Exchange.times(50)])
            .expects(Expect::Ignored),
        row(
            "rekey-loose-many",
            "fifty exchanges of a client that is not strict",
            etm().loose(),
        )
        .sends([Step::Exchange.times(50)])
        .expects(Expect::Ignored),
        row(
            "rekey-ignore",
            "IGNORE between the steps of a later exchange",
            etm(),
        )
        .sends([
            message(etm()),
            say(ignore(b"x")),
            Step::Init,
            say(ignore(b"x")),
        ])
        .sends([Step::NewKeys, say(ignore(b"x"))])
        .expects(Expect::Ignored),
        row("rekey-old-keys", "the old keys behind NEWKEYS", etm())
            .sends([message(etm()), Step::Init, Step::Await(msg::NEWKEYS)])
            .sends([say([msg::NEWKEYS]), say(ignore(b"x"))])
            .expects(BROKEN_OR_FORGED)
            .ours(FORGED),
        row(
            "rekey-new-keys-early",
            "the new keys without NEWKEYS",
            etm(),
        )
        .sends([message(etm()), Step::Init, Step::Await(msg::NEWKEYS)])
        .sends([Step::act(crate::peer::Peer::take_sealer), say(ignore(b"x"))])
        .expects(BROKEN_OR_FORGED)
        .ours(FORGED),
        row(
            "rekey-old-method",
            "a later exchange by another method",
            Offer::default(),
        )
        .sends([message(Offer::default().by(Kex::EcdhP256)), Step::Exchange])
        .expects(Expect::Ignored),
        row(
            "rekey-nothing-new",
            "data between KEXINIT and NEWKEYS of a later exchange",
            etm(),
        )
        .sends([
            message(etm()),
            say(string_message(msg::GLOBAL_REQUEST, "x")),
        ])
        .expects(BROKEN),
    ]
}
