//! `extinfo`: SSH_MSG_EXT_INFO of a client (RFC 8308). In the clear it is among the rows of `strict`.

use super::{BROKEN, broken_or_unimplemented, say};
use crate::case::{Case, Expect, Stage, Step};
use crate::kex::Offer;
use crate::payload::{ext_info, ignore, service_request};
use ssh_proto::msg;
use ssh_proto::wire::Put;

const PLACE: &str = "RFC 8308 section 2.4";
const FORM: &str = "RFC 8308 section 2.3";
const COUNT: &str = "CVE-2026-55199";

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = good();
    cases.extend(malformed());
    cases.extend(places());
    cases
}

fn case(id: &str, title: &str, source: &'static str) -> Case {
    Case::new(format!("extinfo-{id}"), title, source).at(Stage::Keyed)
}

/// A server that has not said `ext-info-s` need not know the message at all.
fn ignored_or_unknown() -> Expect {
    Expect::Either(vec![Expect::Ignored, Expect::answer(msg::UNIMPLEMENTED)])
}

/// Whatever is not known is passed over (RFC 8308 section 2.5).
fn good() -> Vec<Case> {
    let many: Vec<(String, String)> = (0..32)
        .map(|number| (format!("{number}@example.com"), "x".repeat(number)))
        .collect();
    let many: Vec<(&str, &str)> = (many.iter())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let long = "x".repeat(30_000);
    let rows: [(&str, &str, Vec<u8>); 10] = [
        ("none", "no extensions", ext_info(0, &[])),
        (
            "unknown",
            "an unknown extension",
            ext_info(1, &[("x@example.com", "y")]),
        ),
        (
            "no-name",
            "an extension without a name",
            ext_info(1, &[("", "")]),
        ),
        ("many", "32 extensions", ext_info(32, &many)),
        (
            "long",
            "a value of 30,000 bytes",
            ext_info(1, &[("x@example.com", &long)]),
        ),
        ("sig-algs", "server-sig-algs of a client", {
            ext_info(1, &[("server-sig-algs", "ssh-rsa,,none")])
        }),
        (
            "flow",
            "no-flow-control",
            ext_info(1, &[("no-flow-control", "p")]),
        ),
        (
            "compression",
            "delay-compression",
            ext_info(1, &[("delay-compression", "\0\0\0\0")]),
        ),
        ("elevation", "elevation", ext_info(1, &[("elevation", "y")])),
        (
            "nul",
            "NUL in name and value",
            ext_info(1, &[("a\0b", "c\0d")]),
        ),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| {
        case(id, title, "RFC 8308 section 2.5")
            .sends([say(payload)])
            .expects(ignored_or_unknown())
            .ours(Expect::Ignored)
    };
    rows.into_iter().map(row).collect()
}

fn malformed() -> Vec<Case> {
    let one = ext_info(1, &[("x@example.com", "y")]);
    let cut = |length: usize| one.get(..length).unwrap_or_default().to_vec();
    let mut endless = vec![msg::EXT_INFO];
    endless.put_u32(1);
    endless.extend_from_slice(&[0xff; 8]);
    let rows: [(&str, &str, Vec<u8>, &'static str); 9] = [
        ("number-alone", "nothing but the number", cut(1), FORM),
        ("cut-count", "cut in the count", cut(3), FORM),
        ("cut-name", "cut in a name", cut(12), FORM),
        ("cut-value", "cut in a value", cut(one.len() - 1), FORM),
        (
            "trailing",
            "a byte behind its end",
            [one.as_slice(), b"x"].concat(),
            FORM,
        ),
        (
            "count-2",
            "a count of 2 and one extension",
            ext_info(2, &[("x@example.com", "y")]),
            FORM,
        ),
        (
            "count-most",
            "a count of 2^32 - 1",
            ext_info(u32::MAX, &[]),
            COUNT,
        ),
        (
            "count-2g",
            "a count of 2^31 and one extension",
            { ext_info(1 << 31, &[("x@example.com", "y")]) },
            COUNT,
        ),
        ("length-4g", "a name of 4 GiB", endless, FORM),
    ];
    let row = |(id, title, payload, source): (&str, &str, Vec<u8>, &'static str)| {
        case(id, title, source)
            .sends([say(payload)])
            .expects(broken_or_unimplemented())
            .ours(BROKEN)
    };
    rows.into_iter().map(row).collect()
}

fn places() -> Vec<Case> {
    let either = || Expect::Either(vec![BROKEN, ignored_or_unknown()]);
    let info = || say(ext_info(0, &[]));
    let row = |id, title, stage| {
        case(id, title, PLACE)
            .at(stage)
            .expects(either())
            .ours(BROKEN)
    };
    vec![
        row("twice", "a second one", Stage::Keyed).sends([info(), info()]),
        row("second", "not the first packet under keys", Stage::Keyed)
            .sends([say(ignore(b"")), info()]),
        row("behind-service", "behind SERVICE_REQUEST", Stage::Keyed)
            .sends([say(service_request("ssh-userauth")), info()]),
        row("later", "when authentication may begin", Stage::Served).sends([info()]),
        row(
            "after-login",
            "when the user is logged in",
            Stage::Authenticated,
        )
        .sends([info()]),
        row(
            "after-rekey",
            "behind a later NEWKEYS",
            Stage::Authenticated,
        )
        .sends([Step::Exchange, info()]),
        case("unasked", "of a client that reads none itself", PLACE)
            .offering(Offer {
                ext_info: false,
                ..Offer::default()
            })
            .sends([info()])
            .expects(ignored_or_unknown())
            .ours(Expect::Ignored),
    ]
}
