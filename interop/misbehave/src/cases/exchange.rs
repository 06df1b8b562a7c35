//! `kex`: what a client says between its KEXINIT and its NEWKEYS, and where (RFC 4253 section 7 and 8,
//! RFC 5656, RFC 8731, draft-ietf-sshm-mlkem-hybrid-kex).

use super::{BROKEN, BROKEN_OR_FORGED, KEX_FAILED, broken_or_unimplemented, say};
use crate::case::{Case, Expect, Stage, Step};
use crate::end::{End, KEY_EXCHANGE_FAILED, PROTOCOL_ERROR};
use crate::kex::Offer;
use crate::payload::{ignore, kex_init, service_request};
use crate::peer::Peer;
use ssh_proto::algorithm::Kex;
use ssh_proto::crypto::kex::ClientExchange;
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::msg;

const X25519: &str = "RFC 8731 section 3";
/// The highest bit of a value counts for nothing.
const MASKED: &str = "RFC 7748 section 5";
const NIST: &str = "RFC 5656 section 4";
const HYBRID: &str = "draft-ietf-sshm-mlkem-hybrid-kex";
const ORDER: &str = "RFC 4253 section 7.1";
const NEWKEYS: &str = "RFC 4253 section 7.3";

/// ML-KEM-768's encapsulation key, in front of the X25519 value of the hybrid.
const ML_KEM_KEY: usize = 1184;

/// Points of low order of Curve25519, and other writings of them (RFC 7748 section 6.1).
const LOW_ORDER: [(&str, u8, [u8; 30], u8); 10] = [
    ("0", 0, [0; 30], 0),
    ("1", 1, [0; 30], 0),
    ("order-8-a", 0xe0, ORDER_8_A, 0),
    ("order-8-b", 0x5f, ORDER_8_B, 0x57),
    ("p-1", 0xec, [0xff; 30], 0x7f),
    ("p", 0xed, [0xff; 30], 0x7f),
    ("p1", 0xee, [0xff; 30], 0x7f),
    ("0-high-bit", 0, [0; 30], 0x80),
    ("1-high-bit", 1, [0; 30], 0x80),
    ("p-high-bit", 0xed, [0xff; 30], 0xff),
];
const ORDER_8_A: [u8; 30] = [
    0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
    0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8,
];
const ORDER_8_B: [u8; 30] = [
    0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
    0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11,
];

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = x25519();
    cases.extend(hybrid());
    cases.extend(nist());
    cases.extend(forms());
    cases.extend(order());
    cases.extend(newkeys());
    cases
}

fn case(id: &str, title: &str, source: &'static str, kex: Kex) -> Case {
    Case::new(format!("kex-{id}"), title, source)
        .at(Stage::Offered)
        .offering(Offer::default().by(kex))
}

pub(super) fn points() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    LOW_ORDER.into_iter().map(|(id, first, middle, last)| {
        let point = [&[first][..], &middle, &[last]].concat();
        (id, point)
    })
}

fn x25519() -> Vec<Case> {
    let row = |(id, title, value): (String, &str, Vec<u8>)| {
        let source = if id.ends_with("high-bit") {
            MASKED
        } else {
            X25519
        };
        case(
            &format!("x25519-{id}"),
            &format!("X25519: {title}"),
            source,
            Kex::Curve25519LibSsh,
        )
        .sends([say(kex_init(&value))])
        .expects(KEX_FAILED)
    };
    let low = points().map(|(id, point)| (format!("low-{id}"), "a point of low order", point));
    let lengths = [0, 1, 31, 33, 64, 30_000].map(|length| {
        let id = format!("length-{length}");
        (id, "a value of another length", vec![9; length])
    });
    low.chain(lengths).map(row).collect()
}

fn hybrid() -> Vec<Case> {
    let kex = Kex::MlKem768X25519;
    let row = |id: &str, title: &str, change: fn(&mut Vec<u8>)| {
        case(
            &format!("mlkem-{id}"),
            &format!("ML-KEM and X25519: {title}"),
            HYBRID,
            kex,
        )
        .sends([Step::act(move |peer| {
            let mut value = good_value(Kex::MlKem768X25519)?;
            change(&mut value);
            peer.say(&kex_init(&value))
        })])
        .expects(KEX_FAILED)
    };
    let mut cases = vec![
        row("empty", "no value", Vec::clear),
        row("one-less", "a byte too few", |value| {
            value.pop();
        }),
        row("one-more", "a byte too many", |value| value.push(9)),
        row("x25519-alone", "the X25519 value alone", |value| {
            value.drain(..ML_KEM_KEY);
        }),
        row("no-x25519", "the encapsulation key alone", |value| {
            value.truncate(ML_KEM_KEY)
        }),
        row(
            "x25519-31",
            "an X25519 value of 31 bytes, and one byte more of the other",
            |value| {
                value.truncate(ML_KEM_KEY + 31);
            },
        ),
        row("swapped", "the X25519 value first", |value| {
            value.rotate_right(32)
        }),
        row("twice", "the value twice", |value| {
            value.extend(value.clone())
        }),
        row("modulus", "coefficients that are not below q", |value| {
            value.iter_mut().take(1152).for_each(|byte| *byte = 0xff);
        }),
        row("modulus-one", "one coefficient that is q", |value| {
            // Twelve bits, the low ones first: 3329.
            for (byte, q) in value.iter_mut().zip([0x01, 0x0d]) {
                *byte = q;
            }
        }),
    ];
    for (id, point) in points() {
        cases.push(
            case(
                &format!("mlkem-low-{id}"),
                "ML-KEM and X25519: a point of low order",
                "CVE-2023-28113",
                kex,
            )
            .sends([Step::act(move |peer| {
                let mut value = good_value(Kex::MlKem768X25519)?;
                value.truncate(ML_KEM_KEY);
                value.extend_from_slice(&point);
                peer.say(&kex_init(&value))
            })])
            .expects(KEX_FAILED),
        );
    }
    cases
}

/// What a good client sends.
fn good_value(kex: Kex) -> Result<Vec<u8>, End> {
    let started = ClientExchange::start(kex, &mut SystemRandom);
    let (_, value) = started.map_err(|_| End::Garbled("our own key exchange"))?;
    Ok(value)
}

fn nist() -> Vec<Case> {
    let row = |id: &str, title: &str, change: fn(&mut Vec<u8>)| {
        case(
            &format!("p256-{id}"),
            &format!("P-256: {title}"),
            NIST,
            Kex::EcdhP256,
        )
        .sends([Step::act(move |peer| {
            let mut value = good_value(Kex::EcdhP256)?;
            change(&mut value);
            peer.say(&kex_init(&value))
        })])
        .expects(KEX_FAILED)
    };
    fn fill(value: &mut [u8], with: u8) {
        value.iter_mut().skip(1).for_each(|byte| *byte = with);
    }
    fn form(value: &mut [u8], form: u8) {
        value.iter_mut().take(1).for_each(|byte| *byte = form);
    }
    vec![
        row("empty", "no value", Vec::clear),
        row("infinity", "the point at infinity", |value| {
            *value = vec![0];
        }),
        row("zero", "(0, 0)", |value| fill(value, 0)),
        row("beyond", "coordinates that are not below p", |value| {
            fill(value, 0xff)
        }),
        row("off-curve", "a point that is not on the curve", |value| {
            value.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
        }),
        row(
            "compressed",
            "a compressed point that is a byte too long",
            |value| form(value, 2),
        ),
        row("hybrid-form", "the hybrid form of SEC 1", |value| {
            let odd = value.last().is_some_and(|byte| byte & 1 == 1);
            form(value, 6 + u8::from(odd));
        }),
        row("compressed-33", "a compressed point", |value| {
            let odd = value.last().is_some_and(|byte| byte & 1 == 1);
            value.truncate(33);
            form(value, 2 + u8::from(odd));
        }),
        row("form-0", "an unknown form", |value| form(value, 0)),
        row("one-less", "a byte too few", |value| {
            value.pop();
        }),
        row("one-more", "a byte too many", |value| value.push(0)),
        row("p384", "a point as long as one of P-384", |value| {
            value.resize(97, 1)
        }),
    ]
}

/// The message around the value.
fn forms() -> Vec<Case> {
    let case = |id: &str, title: &str| case(id, title, "RFC 8731 section 3", Kex::Curve25519LibSsh);
    let good = kex_init(&[9; 32]);
    let longer = [good.as_slice(), &[0]].concat();
    let cut = |length: usize| good.get(..length).unwrap_or_default().to_vec();
    let broken = [
        ("number-alone", "KEX_ECDH_INIT without a value", cut(1)),
        ("cut-length", "KEX_ECDH_INIT cut in the length", cut(3)),
        ("cut-value", "KEX_ECDH_INIT cut in the value", cut(36)),
        (
            "trailing",
            "KEX_ECDH_INIT and a byte behind its end",
            longer,
        ),
        (
            "length-4g",
            "a value of 4 GiB",
            vec![msg::KEX_ECDH_INIT, 255, 255, 255, 255, 9],
        ),
    ];
    let mut cases: Vec<Case> = (broken.into_iter())
        .map(|(id, title, payload)| {
            case(id, title)
                .sends([say(payload)])
                .expects(Expect::Cut(&[PROTOCOL_ERROR, KEY_EXCHANGE_FAILED]))
                .ours(BROKEN)
        })
        .collect();
    // Those of Diffie-Hellman with and without groups, and numbers without a meaning.
    for number in 31..=49 {
        let title = format!("message {number} for the method's 30");
        cases.push(case(&format!("number-{number}"), &title).sends([say([number, 0, 0, 0, 1, 2])]));
    }
    cases
}

fn order() -> Vec<Case> {
    let case =
        |id: &str, title: &str, stage| Case::new(format!("kex-{id}"), title, ORDER).at(stage);
    let value = || say(kex_init(&[9; 32]));
    let mut cases = vec![
        case(
            "init-first",
            "KEX_ECDH_INIT before KEXINIT",
            Stage::Identified,
        )
        .sends([value()]),
        case(
            "init-twice",
            "a second KEX_ECDH_INIT for NEWKEYS",
            Stage::Replied,
        )
        .sends([value()]),
        case(
            "init-twice-at-once",
            "two KEX_ECDH_INITs at once",
            Stage::Offered,
        )
        .sends([Step::Cork, Step::Init, value(), Step::Uncork]),
        case(
            "init-later",
            "KEX_ECDH_INIT under the new keys",
            Stage::Keyed,
        )
        .sends([value()])
        .expects(broken_or_unimplemented())
        .ours(BROKEN),
        case(
            "reply-from-client",
            "KEX_ECDH_REPLY from a client",
            Stage::Replied,
        )
        .sends([say([msg::KEX_ECDH_REPLY, 0, 0, 0, 0])]),
    ];
    let others: [(&str, u8); 8] = [
        ("service", msg::SERVICE_REQUEST),
        ("userauth", msg::USERAUTH_REQUEST),
        ("userauth-success", msg::USERAUTH_SUCCESS),
        ("global", msg::GLOBAL_REQUEST),
        ("open", msg::CHANNEL_OPEN),
        ("data", msg::CHANNEL_DATA),
        ("ping", msg::PING),
        ("unknown", 200),
    ];
    for (id, number) in others {
        let title = crate::payload::name(number);
        for (place, stage) in [("init", Stage::Offered), ("newkeys", Stage::Replied)] {
            cases.push(
                case(
                    &format!("{id}-for-{place}"),
                    &format!("{title} for {place}"),
                    stage,
                )
                .sends([say([number, 0, 0, 0, 0])]),
            );
        }
    }
    cases
}

fn newkeys() -> Vec<Case> {
    let case =
        |id: &str, title: &str, stage| Case::new(format!("newkeys-{id}"), title, NEWKEYS).at(stage);
    let newkeys = || say([msg::NEWKEYS]);
    let mut cases = vec![
        case("first", "NEWKEYS for KEXINIT", Stage::Identified).sends([newkeys()]),
        case("early", "NEWKEYS for KEX_ECDH_INIT", Stage::Offered).sends([newkeys()]),
        case(
            "twice",
            "a second NEWKEYS, under the new keys",
            Stage::Keyed,
        )
        .sends([newkeys()])
        .expects(broken_or_unimplemented())
        .ours(BROKEN),
        case(
            "twice-in-clear",
            "a second NEWKEYS in the clear",
            Stage::Replied,
        )
        .sends([newkeys(), newkeys()])
        .sends([super::raw([0; 256])])
        .expects(BROKEN_OR_FORGED),
        case("missing", "the new keys without NEWKEYS", Stage::Replied)
            .sends([Step::act(Peer::take_sealer)])
            .sends([say(service_request("ssh-userauth"))]),
        case(
            "later",
            "NEWKEYS when the user is logged in",
            Stage::Authenticated,
        )
        .sends([newkeys()])
        .expects(broken_or_unimplemented())
        .ours(BROKEN),
        case(
            "clear-behind",
            "a packet in the clear behind NEWKEYS",
            Stage::Replied,
        )
        .sends([
            Step::NewKeys,
            Step::Clear(ignore(&[0; 100])),
            super::raw([0; 256]),
        ])
        .expects(BROKEN_OR_FORGED),
        case(
            "served-at-once",
            "SERVICE_REQUEST in one piece with NEWKEYS",
            Stage::Replied,
        )
        .sends([
            Step::Cork,
            Step::NewKeys,
            say(service_request("ssh-userauth")),
        ])
        .sends([Step::Uncork, Step::Await(msg::SERVICE_ACCEPT)])
        .expects(Expect::Ignored),
    ];
    for (id, title, payload) in [
        ("body", "NEWKEYS and a byte", vec![msg::NEWKEYS, 0]),
        (
            "long",
            "NEWKEYS and 30,000 bytes",
            [&[msg::NEWKEYS][..], &[0; 30_000]].concat(),
        ),
    ] {
        cases.push(
            case(id, title, Stage::Replied)
                .sends([say(payload)])
                .sends([Step::act(Peer::take_sealer)])
                .expects(Expect::Either(vec![BROKEN, Expect::Ignored]))
                .ours(BROKEN),
        );
    }
    cases
}
