//! `rekey`: key exchanges after the first (RFC 4253 section 9), and what may not come in them.

use super::{BROKEN, KEX_FAILED, broken_or_alive, good_kexinit, kexinit, say};
use crate::case::{Case, Expect, Stage, Step};
use crate::kex::{List, Offer};
use crate::payload::{
    data, debug, disconnect, ext_info, global_request, ignore, kex_init, name, open,
    service_request, string_message, unimplemented, userauth_request, window_adjust,
};
use crate::peer::Peer;
use ssh_proto::algorithm::{Cipher, Kex, Mac};
use ssh_proto::msg;
use ssh_proto::transport::Role;

const RFC: &str = "RFC 4253 section 9";
const ORDER: &str = "RFC 4253 section 7.1";

/// A message for a channel by its number.
type ForChannel = fn(u32) -> Vec<u8>;

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = good();
    cases.extend(early());
    cases.extend(in_between());
    cases.extend(disorder());
    cases.extend(failures());
    cases
}

fn case(id: &str, title: &str, source: &'static str) -> Case {
    Case::new(format!("rekey-{id}"), title, source).at(Stage::Session)
}

fn offer(offer: Offer) -> Step {
    kexinit(offer.kexinit(Role::Client))
}

/// What a client may do.
fn good() -> Vec<Case> {
    let ctr = || Offer::default().under(Cipher::Aes256Ctr, Mac::HmacSha256);
    let row = |id: &str, title: &str, steps: Vec<Step>| {
        case(id, title, RFC).sends(steps).expects(Expect::Ignored)
    };
    vec![
        row("once", "another exchange", vec![Step::Exchange]),
        row(
            "many",
            "a hundred exchanges",
            vec![Step::Exchange.times(100)],
        ),
        row(
            "cipher",
            "another cipher",
            vec![offer(ctr()), Step::Exchange],
        ),
        row("bytewise", "byte by byte", {
            vec![Step::Chunks(1), Step::Exchange, Step::Chunks(usize::MAX)]
        }),
        row("guess-wrong", "a wrong guess", {
            let mut message = good_kexinit().with_first(List::Kex, "guess@example.com");
            message.first_kex_packet_follows = 1;
            vec![kexinit(message), say(kex_init(&[0; 32])), Step::Exchange]
        }),
        case("method", "another method", RFC)
            .offering(Offer::default().by(Kex::MlKem768X25519))
            .sends([
                offer(Offer::default().by(Kex::Curve25519LibSsh)),
                Step::Exchange,
            ])
            .expects(Expect::Ignored),
        case("under-load", "while output comes", RFC)
            .at(Stage::Running("head -c 300000 /dev/zero"))
            .sends([Step::Exchange.times(3)])
            .expects(Expect::answer(msg::CHANNEL_CLOSE)),
    ]
}

/// RFC 4253 has no word against it; nobody needs it, and it is work.
fn early() -> Vec<Case> {
    let row = |id: &str, title: &str, stage, count| {
        case(id, title, "OpenSSH ca313fef2")
            .at(stage)
            .sends([Step::act(Peer::try_exchange).times(count)])
            .expects(broken_or_alive())
            .ours(BROKEN)
    };
    vec![
        row("before-service", "before the service", Stage::Keyed, 1),
        row("before-login", "before authentication", Stage::Served, 1),
        row(
            "flood-before-login",
            "100 before authentication",
            Stage::Served,
            100,
        ),
    ]
}

/// Behind its KEXINIT a side sends nothing else of the upper layers. What becomes of it if it does, no
/// RFC says.
fn in_between() -> Vec<Case> {
    let to_channel: [(&str, u8, ForChannel); 6] = [
        ("data", msg::CHANNEL_DATA, |channel| data(channel, b"x")),
        ("window", msg::CHANNEL_WINDOW_ADJUST, |channel| {
            window_adjust(channel, 1)
        }),
        ("eof", msg::CHANNEL_EOF, |channel| {
            crate::payload::plain(msg::CHANNEL_EOF, channel)
        }),
        ("close", msg::CHANNEL_CLOSE, |channel| {
            crate::payload::plain(msg::CHANNEL_CLOSE, channel)
        }),
        ("request", msg::CHANNEL_REQUEST, |channel| {
            crate::payload::exec(channel, "true")
        }),
        ("success", msg::CHANNEL_SUCCESS, |channel| {
            crate::payload::plain(msg::CHANNEL_SUCCESS, channel)
        }),
    ];
    let others: [(&str, Vec<u8>); 9] = [
        ("service", service_request("ssh-userauth")),
        ("ext-info", ext_info(0, &[])),
        (
            "userauth",
            userauth_request("user", "ssh-connection", "none"),
        ),
        ("global", global_request("x@example.com", true)),
        ("open", open("session", 9, 1 << 20, 1 << 15)),
        ("ping", string_message(msg::PING, "x")),
        ("pong", string_message(msg::PONG, "x")),
        ("unknown", vec![200]),
        ("kexinit", good_kexinit().encode()),
    ];
    let row = |id: &str, number: u8, place: &str, steps: Vec<Step>| {
        let title = format!("{} between {place}", name(number));
        case(&format!("{id}-in-it"), &title, ORDER)
            .sends(steps)
            .expects(broken_or_alive())
            .ours(BROKEN)
    };
    let keying = || vec![kexinit(good_kexinit())];
    let mut cases = Vec::new();
    for (id, number, make) in to_channel {
        let mut steps = keying();
        steps.push(Step::ToChannel(make));
        cases.push(row(id, number, "KEXINIT and NEWKEYS", steps));
    }
    for (id, payload) in others {
        let mut steps = keying();
        steps.push(say(&payload));
        let number = payload.first().copied().unwrap_or_default();
        cases.push(row(id, number, "KEXINIT and NEWKEYS", steps));
    }
    cases.push(row(
        "data-late",
        msg::CHANNEL_DATA,
        "KEX_ECDH_INIT and NEWKEYS",
        {
            let mut steps = keying();
            steps.push(Step::Init);
            steps.push(Step::ToChannel(|channel| data(channel, b"x")));
            steps
        },
    ));
    let passed = [
        ("ignore", ignore(b"x")),
        ("debug", debug("x")),
        ("unimplemented", unimplemented(0)),
    ];
    for (id, payload) in passed {
        let title = format!("{id} between the steps");
        cases.push(
            case(&format!("{id}-in-it"), &title, ORDER)
                .sends(keying())
                .sends([say(&payload), Step::Init, say(&payload), Step::NewKeys])
                .expects(Expect::Ignored),
        );
    }
    cases.push(
        case("disconnect-in-it", "DISCONNECT between the steps", ORDER)
            .sends(keying())
            .sends([say(disconnect(11, "bye"))])
            .expects(Expect::Over),
    );
    cases
}

/// Messages of a key exchange where none of them belongs.
fn disorder() -> Vec<Case> {
    let keying = || kexinit(good_kexinit());
    let newkeys = || say([msg::NEWKEYS]);
    let value = || say(kex_init(&[9; 32]));
    let row = |id: &str, title: &str, steps: Vec<Step>| {
        case(id, title, ORDER)
            .sends(steps)
            .expects(broken_or_alive())
            .ours(BROKEN)
    };
    vec![
        row(
            "newkeys-alone",
            "NEWKEYS without an exchange",
            vec![newkeys()],
        ),
        row(
            "newkeys-early",
            "NEWKEYS behind KEXINIT",
            vec![keying(), newkeys()],
        ),
        row(
            "init-alone",
            "KEX_ECDH_INIT without an exchange",
            vec![value()],
        ),
        row("reply-alone", "KEX_ECDH_REPLY without an exchange", {
            vec![say([msg::KEX_ECDH_REPLY, 0, 0, 0, 0])]
        }),
        row(
            "init-twice",
            "two KEX_ECDH_INITs",
            vec![keying(), Step::Init, value()],
        ),
        row(
            "newkeys-twice",
            "a second NEWKEYS",
            vec![Step::Exchange, newkeys()],
        ),
        row("twice-at-once", "two KEXINITs", vec![keying(), keying()]),
        case(
            "next-at-once",
            "the next KEXINIT in one piece with NEWKEYS",
            RFC,
        )
        .sends([keying(), Step::Init, Step::Await(msg::NEWKEYS)])
        .sends([Step::Cork, Step::NewKeys, keying(), Step::Uncork])
        .expects(Expect::Ignored),
        case("data-behind", "data in one piece with NEWKEYS", RFC)
            .sends([keying(), Step::Init, Step::Cork, Step::NewKeys])
            .sends([say(global_request("x@example.com", true)), Step::Uncork])
            .expects(Expect::answer(msg::REQUEST_FAILURE)),
        case("end-in-it", "the end behind KEXINIT", RFC)
            .sends([keying(), Step::Finish])
            .expects(Expect::Over),
        case("end-before-newkeys", "the end before NEWKEYS", RFC)
            .sends([
                keying(),
                Step::Init,
                Step::Await(msg::NEWKEYS),
                Step::Finish,
            ])
            .expects(Expect::Over),
        case(
            "flood-in-it",
            "10,000 IGNOREs between KEXINIT and NEWKEYS",
            RFC,
        )
        .sends([keying(), say(ignore(&[0; 100])).times(10_000)])
        .expects(Expect::Either(vec![Expect::Ignored, BROKEN]))
        .ours(Expect::Ignored),
    ]
}

/// An exchange that comes to nothing ends a connection that was good so far.
fn failures() -> Vec<Case> {
    let row = |id: &str, title: &str, steps: Vec<Step>| {
        case(id, title, RFC).sends(steps).expects(KEX_FAILED)
    };
    let by = |list, names: &str| kexinit(good_kexinit().with(list, names));
    vec![
        row("low-order", "a point of low order", {
            vec![
                offer(Offer::default().by(Kex::Curve25519LibSsh)),
                say(kex_init(&[0; 32])),
            ]
        }),
        row("short-value", "a value of 31 bytes", {
            vec![
                offer(Offer::default().by(Kex::Curve25519LibSsh)),
                say(kex_init(&[9; 31])),
            ]
        }),
        row(
            "no-method",
            "no method in common",
            vec![by(List::Kex, "x@example.com")],
        ),
        row(
            "no-hostkey",
            "no host key in common",
            vec![by(List::HostKey, "x@example.com")],
        ),
        row(
            "no-cipher",
            "no cipher in common",
            vec![by(List::CipherToClient, "x@example.com")],
        ),
        row(
            "cipher-none",
            "the cipher none",
            vec![by(List::CipherToServer, "none")],
        ),
        row(
            "zlib",
            "nothing but compression",
            vec![by(List::CompressionToServer, "zlib")],
        ),
    ]
}
