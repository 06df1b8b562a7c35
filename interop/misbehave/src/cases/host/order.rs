//! `hostorder`: what a server says out of turn before anybody is logged in: strict key exchange
//! (OpenSSH PROTOCOL section 1.10), EXT_INFO (RFC 8308), packets that are not authentic.

use super::{NO_HANDSHAKE, row, unseen};
use crate::case::{Case, Expect, Stage, Step};
use crate::cases::{BROKEN, FORGED, faulty, say};
use crate::host::HostCase;
use crate::kex::Offer;
use crate::packet::{At, Fault};
use crate::payload::{
    debug, disconnect, ext_info, global_request, ignore, open, string_message, unimplemented,
};
use crate::peer::Peer;
use ssh_proto::msg;

const STRICT: &str = "OpenSSH PROTOCOL section 1.10";
const TERRAPIN: &str = "CVE-2023-48795";
const ROGUE: &str = "CVE-2023-46445";
const RFC: &str = "RFC 4253 section 7.1";
const EXTENSIONS: &str = "RFC 8308 section 2.4";
const FORM: &str = "RFC 8308 section 2.3";
const COUNT: &str = "CVE-2026-55199";
const MAC: &str = "RFC 4253 section 6.4";

/// The rows.
pub(super) fn cases() -> Vec<HostCase> {
    let mut cases = strict();
    cases.extend(in_clear());
    cases.extend(forged());
    cases.extend(extensions());
    cases.extend(malformed_extensions());
    cases
}

fn case(id: &str, title: &str, source: &'static str) -> Case {
    row("hostorder", id, title, source)
}

fn broken(case: Case) -> HostCase {
    case.expects(BROKEN).seen(NO_HANDSHAKE)
}

/// A strict server says nothing but the exchange; one that is not may say these.
fn strict() -> Vec<HostCase> {
    let messages = [
        ("ignore", ignore(b"x")),
        ("debug", debug("x")),
        ("unimplemented", unimplemented(0)),
    ];
    let places = [
        ("first", "in front of KEXINIT", Stage::Identified),
        ("offered", "behind KEXINIT", Stage::Offered),
        ("replied", "before NEWKEYS", Stage::Replied),
    ];
    let mut cases = Vec::new();
    for (place, title, stage) in places {
        for (id, payload) in &messages {
            let title = format!("{id} {title}");
            let go_on = || [say(payload), Step::Exchange];
            cases.push(broken(
                case(&format!("strict-{id}-{place}"), &title, TERRAPIN)
                    .at(stage)
                    .sends(go_on()),
            ));
            cases.push(
                case(
                    &format!("loose-{id}-{place}"),
                    &format!("{title}, not strict"),
                    RFC,
                )
                .at(stage)
                .offering(Offer::default().loose())
                .sends(go_on())
                .expects(Expect::Ignored)
                .seen(unseen()),
            );
        }
    }
    cases.push(
        case("sequence-goes-on", "sequence numbers that go on", STRICT)
            .at(Stage::Keyed)
            .sends([faulty(ignore(b""), Fault::Ahead(3))])
            // Under AES-GCM they count for nothing, and no client has a reason to look.
            .expects(Expect::Either(vec![FORGED, Expect::Ignored]))
            .seen(unseen()),
    );
    cases
}

fn in_clear() -> Vec<HostCase> {
    let rows = [
        ("ext-info", ROGUE, ext_info(0, &[])),
        (
            "service-accept",
            RFC,
            string_message(msg::SERVICE_ACCEPT, "ssh-userauth"),
        ),
        ("userauth-success", RFC, vec![msg::USERAUTH_SUCCESS]),
        ("banner", RFC, string_message(msg::USERAUTH_BANNER, "x")),
        (
            "global-request",
            RFC,
            global_request("x@example.com", false),
        ),
        ("open", RFC, open("session", 0, 1, 1)),
        ("ping", RFC, string_message(msg::PING, "x")),
        ("unknown", RFC, vec![200]),
    ];
    let mut cases = Vec::new();
    for (id, source, payload) in rows {
        let loose = || Offer::default().loose();
        let title = format!("{id} in the clear behind KEXINIT");
        cases.push(broken(
            case(&format!("clear-{id}"), &title, source)
                .at(Stage::Offered)
                .offering(loose())
                .sends([say(&payload)]),
        ));
        let title = format!("{id} in the clear before NEWKEYS");
        cases.push(broken(
            case(&format!("clear-late-{id}"), &title, source)
                .at(Stage::Replied)
                .offering(loose())
                .sends([say(&payload)]),
        ));
    }
    cases.push(
        case(
            "clear-disconnect",
            "DISCONNECT in the clear",
            "RFC 4253 section 11.1",
        )
        .at(Stage::Offered)
        .sends([say(disconnect(11, "\u{1b}[2J\u{202e}bye")), Step::Finish])
        .expects(Expect::Over)
        .seen(NO_HANDSHAKE),
    );
    cases
}

fn forged() -> Vec<HostCase> {
    let bits = [
        ("text", "a bit of the text", At::Start(8)),
        ("tag", "a bit of the tag", At::End(0)),
    ];
    let mut cases: Vec<HostCase> = bits
        .into_iter()
        .map(|(id, title, at)| {
            case(&format!("forged-{id}"), &format!("{title} turned"), MAC)
                .at(Stage::Keyed)
                .sends([faulty(ignore(b"x"), Fault::Flipped(at, 0))])
                .expects(FORGED)
                .seen(NO_HANDSHAKE)
        })
        .collect();
    let row = |id: &str, title: &str, step: Step| {
        case(id, title, MAC)
            .at(Stage::Keyed)
            .sends([step])
            .expects(FORGED)
            .seen(NO_HANDSHAKE)
    };
    cases.push(row(
        "replayed",
        "a packet twice",
        faulty(ignore(b"x"), Fault::Twice),
    ));
    cases.push(
        row(
            "clear",
            "a packet in the clear",
            Step::Clear(ignore(&[0; 64])),
        )
        .case
        .expects(Expect::Either(vec![FORGED, BROKEN]))
        .seen(NO_HANDSHAKE),
    );
    cases.push(
        case("cut-off", "the end in a packet", MAC)
            .at(Stage::Keyed)
            .sends([faulty(ignore(b"x"), Fault::Short(4)), Step::Finish])
            .expects(Expect::Over)
            .seen(NO_HANDSHAKE),
    );
    let lengths = [
        ("length-0", 0),
        ("length-1", 1),
        ("length-odd", 35),
        ("length-300k", 300_000),
        ("length-4g", u32::MAX),
    ];
    for (id, length) in lengths {
        cases.push(broken(
            case(
                id,
                "a packet that says another length",
                "RFC 4253 section 6",
            )
            .at(Stage::Offered)
            .sends([faulty(
                string_message(msg::KEX_ECDH_REPLY, "x"),
                Fault::Length(length),
            )]),
        ));
    }
    cases
}

/// EXT_INFO behind NEWKEYS is a server's first place for it.
fn extensions() -> Vec<HostCase> {
    let many: Vec<(String, String)> = (0..32)
        .map(|number| (format!("{number}@example.com"), "x".repeat(number)))
        .collect();
    let many: Vec<(&str, &str)> = (many.iter())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let long = "x,".repeat(15_000);
    let rows = [
        ("none", "no extensions", ext_info(0, &[])),
        ("many", "32 that nobody knows", ext_info(32, &many)),
        ("algorithms", "signatures that are taken", {
            ext_info(1, &[("server-sig-algs", "ssh-ed25519,rsa-sha2-256")])
        }),
        ("algorithms-none", "no signatures that are taken", {
            ext_info(1, &[("server-sig-algs", "")])
        }),
        ("algorithms-long", "15,000 unknown signatures", {
            ext_info(1, &[("server-sig-algs", &long)])
        }),
        ("algorithms-odd", "names with NUL and ESC", {
            ext_info(1, &[("server-sig-algs", "\0,\u{1b}[2J,,,")])
        }),
        (
            "flow",
            "no-flow-control",
            ext_info(1, &[("no-flow-control", "p")]),
        ),
    ];
    let mut cases: Vec<HostCase> = rows
        .into_iter()
        .map(|(id, title, payload)| {
            case(&format!("ext-{id}"), title, EXTENSIONS)
                .at(Stage::Replied)
                .sends([Step::NewKeys, say(payload)])
                .expects(Expect::Ignored)
                .seen(unseen())
        })
        .collect();
    cases.push(
        case(
            "ext-before-success",
            "the second place: before USERAUTH_SUCCESS",
            EXTENSIONS,
        )
        .at(Stage::Replied)
        .sends([Step::NewKeys, say(ext_info(0, &[]))])
        .sends([
            Step::act(Peer::accept_service),
            Step::Await(msg::USERAUTH_REQUEST),
        ])
        .sends([
            say(ext_info(0, &[])),
            say([msg::USERAUTH_SUCCESS]),
            Step::act(|peer| {
                peer.authenticated = true;
                Ok(())
            }),
        ])
        .expects(Expect::Ignored)
        .seen(unseen()),
    );
    cases
}

fn malformed_extensions() -> Vec<HostCase> {
    let one = ("x@example.com", "y");
    let entries = vec![one; 10_000];
    let whole = ext_info(1, &[one]);
    let rows = [
        (
            "one-more",
            FORM,
            "one more than there are",
            ext_info(2, &[one]),
        ),
        (
            "one-less",
            FORM,
            "one less than there are",
            ext_info(1, &[one, one]),
        ),
        (
            "count-max",
            COUNT,
            "2^32-1 of them",
            ext_info(u32::MAX, &[one]),
        ),
        (
            "count-10000",
            COUNT,
            "10,000 of them",
            ext_info(10_000, &entries),
        ),
        (
            "number-alone",
            FORM,
            "nothing but the number",
            vec![msg::EXT_INFO],
        ),
        ("cut", FORM, "cut in a value", {
            whole.get(..whole.len() - 1).unwrap_or_default().to_vec()
        }),
        (
            "longer",
            FORM,
            "a byte behind its end",
            [&whole[..], &[0]].concat(),
        ),
    ];
    rows.into_iter()
        .map(|(id, source, title, payload)| {
            broken(
                case(
                    &format!("ext-bad-{id}"),
                    &format!("EXT_INFO: {title}"),
                    source,
                )
                .at(Stage::Replied)
                .sends([Step::NewKeys, say(payload)]),
            )
        })
        .collect()
}
