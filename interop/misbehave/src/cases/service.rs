//! `service`: what a client asks for once there are keys (RFC 4253 section 10).

use super::{BROKEN, NO_SERVICE, broken_or_unimplemented, say};
use crate::case::{Case, Expect, Stage, Step};
use crate::payload::{service_request, string_message, userauth_request};
use ssh_proto::msg;

const RFC: &str = "RFC 4253 section 10";

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = names();
    cases.extend(forms());
    cases.extend(order());
    cases
}

fn case(id: &str, title: &str) -> Case {
    Case::new(format!("service-{id}"), title, RFC).at(Stage::Keyed)
}

fn names() -> Vec<Case> {
    let rows: [(&str, &str, Vec<u8>); 8] = [
        (
            "unknown",
            "a service that there is not",
            b"ssh-other".to_vec(),
        ),
        (
            "connection",
            "ssh-connection before authentication",
            b"ssh-connection".to_vec(),
        ),
        ("empty", "a name of no letters", Vec::new()),
        ("prefix", "ssh-userauth cut short", b"ssh-userau".to_vec()),
        (
            "longer",
            "ssh-userauth and more",
            b"ssh-userauth@example.com".to_vec(),
        ),
        ("nul", "ssh-userauth and NUL", b"ssh-userauth\0".to_vec()),
        (
            "not-utf8",
            "a name that is not UTF-8",
            vec![0xff, 0xfe, b'x'],
        ),
        ("huge", "a name of 30,000 letters", vec![b'a'; 30_000]),
    ];
    let row = |(id, title, name): (&str, &str, Vec<u8>)| {
        case(id, title)
            .sends([say(service_request(name))])
            .expects(NO_SERVICE)
    };
    rows.into_iter().map(row).collect()
}

fn forms() -> Vec<Case> {
    let whole = service_request("ssh-userauth");
    let cut = |length: usize| whole.get(..length).unwrap_or_default().to_vec();
    let longer = [whole.as_slice(), b"x"].concat();
    let mut endless = whole.clone();
    for byte in endless.iter_mut().skip(1).take(4) {
        *byte = 0xff;
    }
    let rows = [
        ("number-alone", "nothing but the number", cut(1)),
        ("cut-length", "cut inside the length", cut(3)),
        ("cut-name", "cut inside the name", cut(9)),
        ("trailing", "a byte behind its end", longer),
        ("length-4g", "a name of 4 GiB", endless),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| {
        case(id, title).sends([say(payload)]).expects(BROKEN)
    };
    rows.into_iter().map(row).collect()
}

fn order() -> Vec<Case> {
    let ask = || say(service_request("ssh-userauth"));
    let accept = || say(string_message(msg::SERVICE_ACCEPT, "ssh-userauth"));
    vec![
        // RFC 4253 does not forbid it. A second one does no good, though.
        case("twice", "asked for twice")
            .at(Stage::Served)
            .sends([ask()])
            .expects(Expect::Either(vec![
                BROKEN,
                Expect::answer(msg::SERVICE_ACCEPT),
                Expect::Ignored,
            ]))
            .ours(BROKEN),
        case(
            "connection-later",
            "ssh-connection when ssh-userauth is accepted",
        )
        .at(Stage::Served)
        .sends([say(service_request("ssh-connection"))])
        .expects(Expect::Either(vec![BROKEN, NO_SERVICE]))
        .ours(BROKEN),
        case("in-clear", "asked for before there are keys")
            .at(Stage::Identified)
            .sends([ask()]),
        case("in-clear-keying", "asked for between KEXINIT and NEWKEYS")
            .at(Stage::Offered)
            .sends([ask()]),
        case("before-newkeys", "asked for in the clear before NEWKEYS")
            .at(Stage::Replied)
            .sends([ask()]),
        case("accept-from-client", "SERVICE_ACCEPT from a client")
            .sends([accept()])
            .expects(broken_or_unimplemented())
            .ours(BROKEN),
        case(
            "accept-in-clear",
            "SERVICE_ACCEPT from a client in the clear",
        )
        .at(Stage::Identified)
        .sends([accept()]),
        case("userauth-unasked", "USERAUTH_REQUEST without the service")
            .sends([say(userauth_request("user", "ssh-connection", "none"))])
            .expects(broken_or_unimplemented())
            .ours(BROKEN),
        Case::new(
            "service-userauth-in-clear",
            "USERAUTH_REQUEST in the clear",
            "CVE-2023-46446",
        )
        .at(Stage::Identified)
        .sends([say(userauth_request("user", "ssh-connection", "none"))]),
        case("after-login", "asked for when the user is logged in")
            .at(Stage::Authenticated)
            .sends([ask()])
            .expects(Expect::Either(vec![
                Expect::answer(msg::UNIMPLEMENTED),
                Expect::Ignored,
                BROKEN,
            ]))
            .ours(Expect::answer(msg::UNIMPLEMENTED)),
        case("good", "asked for by the rules")
            .sends([ask(), Step::Await(msg::SERVICE_ACCEPT)])
            .expects(Expect::Ignored),
    ]
}
