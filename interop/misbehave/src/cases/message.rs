//! `message`: the transport's own messages (RFC 4253 section 11), and numbers that mean nothing where they
//! come, or nothing at all.

use super::{BROKEN, broken_or_unimplemented, say};
use crate::case::{Answer, Case, Expect, Stage, Step};
use crate::kex::Offer;
use crate::payload::{debug, disconnect, ignore, name, string_message, unimplemented};
use ssh_proto::msg;
use ssh_proto::wire::Put;

const DISCONNECT: &str = "RFC 4253 section 11.1";
const IGNORE: &str = "RFC 4253 section 11.2";
const DEBUG: &str = "RFC 4253 section 11.3";
const RESERVED: &str = "RFC 4253 section 11.4";
const PING: &str = "OpenSSH PROTOCOL 1.9";

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = disconnects();
    cases.extend(passed_over());
    cases.extend(pings());
    cases.extend(in_the_clear());
    cases.extend(before_authentication());
    cases.extend(without_a_meaning());
    cases
}

fn case(id: &str, title: &str, source: &'static str) -> Case {
    Case::new(format!("message-{id}"), title, source).at(Stage::Keyed)
}

/// Whatever it says, nobody goes on behind it.
fn disconnects() -> Vec<Case> {
    let good = disconnect(11, "bye");
    let cut = |length: usize| good.get(..length).unwrap_or_default().to_vec();
    let mut bytes = vec![msg::DISCONNECT, 0, 0, 0, 11];
    bytes.put_string(b"\xff\xfe\x1b[2J\0");
    bytes.put_string(b"");
    let rows: [(&str, &str, Vec<u8>); 10] = [
        ("good", "by the rules", good.clone()),
        (
            "reason-0",
            "a reason that there is not",
            disconnect(0, "bye"),
        ),
        (
            "reason-most",
            "a reason of 2^32 - 1",
            disconnect(u32::MAX, "bye"),
        ),
        ("silent", "no text", disconnect(11, "")),
        (
            "long",
            "a text of 30,000 letters",
            disconnect(11, &"x".repeat(30_000)),
        ),
        ("bytes", "a text of control characters", bytes),
        ("number-alone", "nothing but the number", cut(1)),
        ("cut-text", "cut in the text", cut(10)),
        ("no-language", "cut before the language", cut(12)),
        (
            "trailing",
            "a byte behind its end",
            [good.as_slice(), b"x"].concat(),
        ),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| {
        case(
            &format!("disconnect-{id}"),
            &format!("DISCONNECT: {title}"),
            DISCONNECT,
        )
        .sends([say(payload)])
        .expects(Expect::Over)
    };
    let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
    for (place, stage) in [
        ("clear", Stage::Identified),
        ("served", Stage::Served),
        ("login", Stage::Authenticated),
        ("session", Stage::Running("exec cat")),
    ] {
        cases.push(
            case(
                &format!("disconnect-at-{place}"),
                &format!("DISCONNECT at {place}"),
                DISCONNECT,
            )
            .at(stage)
            .sends([say(disconnect(11, "bye")), say(ignore(b"more"))])
            .expects(Expect::Over),
        );
    }
    cases
}

/// IGNORE, DEBUG and UNIMPLEMENTED: nothing in them matters, whatever is wrong with it.
fn passed_over() -> Vec<Case> {
    let rows: [(&str, &str, &'static str, Vec<u8>); 12] = [
        ("ignore", "IGNORE", IGNORE, ignore(b"data")),
        (
            "ignore-long",
            "IGNORE of 30,000 bytes",
            IGNORE,
            ignore(&[0; 30_000]),
        ),
        (
            "ignore-empty",
            "IGNORE without its string",
            IGNORE,
            vec![msg::IGNORE],
        ),
        (
            "ignore-length",
            "IGNORE of 4 GiB",
            IGNORE,
            vec![msg::IGNORE, 255, 255, 255, 255],
        ),
        (
            "ignore-trailing",
            "IGNORE and more",
            IGNORE,
            [&ignore(b"x")[..], b"more"].concat(),
        ),
        ("debug", "DEBUG", DEBUG, debug("text")),
        (
            "debug-control",
            "DEBUG of control characters",
            DEBUG,
            debug("\u{1b}[2J\0\r\n"),
        ),
        (
            "debug-empty",
            "DEBUG without its fields",
            DEBUG,
            vec![msg::DEBUG],
        ),
        (
            "debug-length",
            "DEBUG of 4 GiB",
            DEBUG,
            vec![msg::DEBUG, 1, 255, 255, 255, 255],
        ),
        (
            "unimplemented",
            "UNIMPLEMENTED for a packet that came",
            RESERVED,
            unimplemented(0),
        ),
        (
            "unimplemented-future",
            "UNIMPLEMENTED for a packet to come",
            RESERVED,
            { unimplemented(u32::MAX) },
        ),
        (
            "unimplemented-empty",
            "UNIMPLEMENTED without its number",
            RESERVED,
            { vec![msg::UNIMPLEMENTED] },
        ),
    ];
    let mut cases = Vec::new();
    for (id, title, source, payload) in rows {
        for (place, stage) in [("keyed", Stage::Keyed), ("login", Stage::Authenticated)] {
            cases.push(
                case(
                    &format!("{id}-{place}"),
                    &format!("{title} at {place}"),
                    source,
                )
                .at(stage)
                .sends([say(&payload)])
                .expects(Expect::Either(vec![Expect::Ignored, BROKEN]))
                .ours(Expect::Ignored),
            );
        }
    }
    let flood = |id, title, stage, count| {
        case(id, title, "OpenSSH ca313fef2")
            .at(stage)
            .sends([say(ignore(&[0; 100])).times(count)])
    };
    cases.push(
        flood(
            "ignore-flood-keyed",
            "1,000 IGNOREs before authentication",
            Stage::Keyed,
            1000,
        )
        .expects(Expect::Either(vec![Expect::Ignored, BROKEN]))
        .ours(BROKEN),
    );
    cases.push(
        flood(
            "ignore-flood-served",
            "1,000 IGNOREs during authentication",
            Stage::Served,
            1000,
        )
        .expects(Expect::Either(vec![Expect::Ignored, BROKEN]))
        .ours(BROKEN),
    );
    cases.push(
        flood(
            "ignore-flood-login",
            "10,000 IGNOREs of a user",
            Stage::Authenticated,
            10_000,
        )
        .expects(Expect::Ignored),
    );
    cases
}

fn pings() -> Vec<Case> {
    let ping = |data: &[u8]| string_message(msg::PING, data);
    // Who does not know it says so. It may go further, since only who has announced it may be asked.
    let unknown = |answer: Expect| Expect::Either(vec![answer, broken_or_unimplemented()]);
    let pong =
        |data: &[u8]| Expect::Answered(vec![Answer::Exactly(string_message(msg::PONG, data))]);
    let row = |id: &str, title: &str| case(id, title, PING).at(Stage::Authenticated);
    vec![
        row("ping", "PING")
            .sends([say(ping(b"data"))])
            .expects(unknown(pong(b"data")))
            .ours(pong(b"data")),
        row("ping-empty", "PING of no data")
            .sends([say(ping(b""))])
            .expects(unknown(pong(b"")))
            .ours(pong(b"")),
        row("ping-cut", "PING cut short")
            .sends([say([msg::PING, 0, 0, 0, 9, b'x'])])
            .expects(unknown(BROKEN))
            .ours(BROKEN),
        row("ping-trailing", "PING and a byte more")
            .sends([say([&ping(b"x")[..], b"y"].concat())])
            .expects(unknown(BROKEN))
            .ours(BROKEN),
        row("pong", "PONG that nobody asked for")
            .sends([say(string_message(msg::PONG, b"x"))])
            .expects(unknown(Expect::Ignored))
            .ours(Expect::Ignored),
        row("ping-flood", "1,000 PINGs before any PONG is read")
            .sends([say(ping(&[b'x'; 100])).times(1000)])
            .expects(unknown(Expect::answer(msg::PONG)))
            .ours(Expect::answer(msg::PONG)),
        row("ping-served", "PING before authentication")
            .at(Stage::Served)
            .sends([say(ping(b"x"))])
            .expects(Expect::Either(vec![
                BROKEN,
                pong(b"x"),
                Expect::answer(msg::UNIMPLEMENTED),
            ]))
            .ours(BROKEN),
    ]
}

/// Messages of later layers, in the clear (RFC 4253 section 7.1, CVE-2023-46446, CVE-2025-32433).
fn in_the_clear() -> Vec<Case> {
    let numbers = (5..=7)
        .chain([8, 19, 22, 29, 50, 51, 52, 53, 60, 61, 79, 80, 81, 82])
        .chain(90..=100)
        .chain([128, 191, 192, 193, 255, 0]);
    let row = |number: u8| {
        let title = format!("{} in the clear", name(number));
        case(&format!("clear-{number}"), &title, "CVE-2025-32433")
            .at(Stage::Identified)
            .offering(Offer::default().loose())
            .sends([say([number, 0, 0, 0, 0])])
            .expects(if number < msg::USERAUTH_REQUEST {
                broken_or_unimplemented()
            } else {
                BROKEN
            })
            .ours(BROKEN)
    };
    numbers.map(row).collect()
}

/// What a server says, and what is for users alone (CVE-2018-10933, CVE-2025-32433).
fn before_authentication() -> Vec<Case> {
    let out_of_place = [
        msg::SERVICE_ACCEPT,
        msg::NEWKEYS,
        msg::KEX_ECDH_INIT,
        msg::KEX_ECDH_REPLY,
        msg::USERAUTH_FAILURE,
        msg::USERAUTH_SUCCESS,
        msg::USERAUTH_BANNER,
        msg::USERAUTH_PK_OK,
    ];
    let of_connection = (80..=82).chain(90..=100);
    let unknown = [0, 8, 19, 54, 70, 101, 200, 255];
    let mut cases = Vec::new();
    for (place, stage) in [("keyed", Stage::Keyed), ("served", Stage::Served)] {
        let row = |number: u8, source| {
            let title = format!("{} at {place}", name(number));
            case(&format!("{place}-{number}"), &title, source)
                .at(stage)
                .sends([say([number, 0, 0, 0, 0])])
                .expects(broken_or_unimplemented())
                .ours(BROKEN)
        };
        cases.extend(out_of_place.map(|number| row(number, "CVE-2018-10933")));
        cases.extend(unknown.map(|number| row(number, RESERVED)));
        // RFC 4252 section 6 asks for the end.
        cases.extend(
            of_connection
                .clone()
                .map(|number| row(number, "RFC 4252 section 6").expects(BROKEN)),
        );
    }
    cases
}

/// Numbers that nobody has given a meaning: each is answered by its packet's number.
fn without_a_meaning() -> Vec<Case> {
    let numbers = [
        0, 8, 19, 22, 29, 54, 59, 61, 70, 79, 83, 89, 101, 127, 128, 150, 191, 194, 255,
    ];
    // Behind SERVICE_REQUEST and one USERAUTH_REQUEST, from 0 (strict key exchange).
    let answer = Expect::Answered(vec![Answer::Exactly(unimplemented(2))]);
    let row = |number: u8| {
        case(
            &format!("unknown-{number}"),
            &format!("{} of a user", name(number)),
            RESERVED,
        )
        .at(Stage::Authenticated)
        .sends([say([number, 1, 2, 3])])
        .expects(answer.clone())
    };
    let mut cases: Vec<Case> = numbers.map(row).into();
    cases.push(
        case("unknown-many", "1,000 of them", RESERVED)
            .at(Stage::Authenticated)
            .sends([say([150]).times(1000), Step::Await(msg::UNIMPLEMENTED)])
            .expects(Expect::answer(msg::UNIMPLEMENTED)),
    );
    for number in [
        msg::SERVICE_ACCEPT,
        msg::USERAUTH_FAILURE,
        msg::USERAUTH_SUCCESS,
        msg::USERAUTH_BANNER,
        msg::USERAUTH_PK_OK,
    ] {
        let expect = broken_or_unimplemented();
        cases.push(
            case(
                &format!("login-{number}"),
                &format!("{} of a user", name(number)),
                "CVE-2018-10933",
            )
            .at(Stage::Authenticated)
            .sends([say([number, 0, 0, 0, 0])])
            .expects(expect),
        );
    }
    cases
}
