//! `open` and `channel`: what opens channels and what ends them (RFC 4254 sections 5.1 and 5.3), and
//! messages for channels that are not there.

use super::connection::{
    CUT, TOLD, answers, at_once, cut, either, longer, not_opened, numbers, strings, to_channel,
};
use super::{BROKEN, say};
use crate::case::{Answer, Case, Expect, Stage, Step};
use crate::client::{MAX_PACKET, OURS, WINDOW};
use crate::payload::{
    data, exec, extended_data, open, plain, request, string_message, window_adjust,
};
use ssh_proto::msg;
use ssh_proto::wire::Put;

/// A number that no server gives to a first channel.
const NOBODY: u32 = 77;

/// The rows that begin with `open`.
pub(super) fn openings() -> Vec<Case> {
    let mut cases = kinds();
    cases.extend(forms());
    cases.extend(numbers_and_sizes());
    cases.extend(limits());
    cases
}

/// The rows that begin with `channel`.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = nowhere();
    cases.extend(unconfirmed());
    cases.extend(unsolicited());
    cases.extend(ends());
    cases
}

fn opening(id: &str, title: &str) -> Case {
    Case::new(format!("open-{id}"), title, "RFC 4254 section 5.1").at(Stage::Authenticated)
}

fn case(id: &str, title: &str) -> Case {
    Case::new(format!("channel-{id}"), title, "RFC 4254 section 5").at(Stage::Session)
}

fn session() -> Vec<u8> {
    open("session", OURS, WINDOW, MAX_PACKET)
}

/// Types that nobody serves, and types that only servers open.
fn kinds() -> Vec<Case> {
    let tcpip = [
        strings([b"127.0.0.1".as_slice()]),
        numbers([80]),
        strings([b"192.0.2.1".as_slice()]),
        numbers([1024]),
    ]
    .concat();
    let x11 = [strings([b"192.0.2.1".as_slice()]), numbers([6000])].concat();
    let rows: [(&str, &str, &[u8], Vec<u8>); 14] = [
        (
            "unknown",
            "a type that there is not",
            b"magic@example.com",
            Vec::new(),
        ),
        ("empty", "a type of no letters", b"", Vec::new()),
        ("nul", "session and NUL", b"session\0", Vec::new()),
        ("upper", "SESSION", b"SESSION", Vec::new()),
        (
            "not-utf8",
            "a type that is not UTF-8",
            &[0xff, 0xfe],
            Vec::new(),
        ),
        (
            "escape",
            "a type with ESC and a line end",
            b"\x1b[2J\r\n",
            Vec::new(),
        ),
        (
            "huge",
            "a type of 30,000 letters",
            &[b't'; 30_000],
            Vec::new(),
        ),
        (
            "forwarded-tcpip",
            "forwarded-tcpip from a client",
            b"forwarded-tcpip",
            tcpip,
        ),
        (
            "forwarded-streamlocal",
            "forwarded-streamlocal from a client",
            b"forwarded-streamlocal@openssh.com",
            strings([b"/tmp/s".as_slice(), b""]),
        ),
        ("x11", "x11 from a client", b"x11", x11),
        (
            "agent",
            "an agent's channel from a client",
            b"auth-agent@openssh.com",
            Vec::new(),
        ),
        (
            "agent-rfc",
            "auth-agent from a client",
            b"auth-agent",
            Vec::new(),
        ),
        (
            "tun",
            "a tunnel device",
            b"tun@openssh.com",
            numbers([1, 0x7fff_ffff]),
        ),
        (
            "payload",
            "an unknown type with 30,000 bytes of its own",
            b"magic",
            vec![1; 30_000],
        ),
    ];
    let row = |(id, title, kind, fields): (&str, &str, &[u8], Vec<u8>)| {
        let payload = [open(kind, OURS, WINDOW, MAX_PACKET), fields].concat();
        opening(id, title)
            .sends([say(payload)])
            .expects(not_opened())
    };
    rows.into_iter().map(row).collect()
}

fn forms() -> Vec<Case> {
    let whole = session();
    // 1 for the number, 4 and 7 for the type, then three numbers. The proxy reads no further than to
    // the first of these.
    let rows = [
        (
            "number-alone",
            "nothing but the number",
            cut(&whole, 1),
            BROKEN,
        ),
        ("cut-type", "cut inside the type", cut(&whole, 8), BROKEN),
        (
            "cut-sender",
            "cut inside the sender's number",
            cut(&whole, 14),
            BROKEN,
        ),
        ("cut-window", "cut inside the window", cut(&whole, 18), TOLD),
        (
            "cut-packet",
            "cut inside the packet size",
            cut(&whole, 23),
            TOLD,
        ),
        (
            "type-4g",
            "a type of 4 GiB",
            [&[msg::CHANNEL_OPEN][..], &[0xff; 4]].concat(),
            BROKEN,
        ),
    ];
    let row = |(id, title, payload, proxy): (&str, &str, Vec<u8>, Expect)| {
        opening(id, title).sends([say(payload)]).proxy(proxy)
    };
    let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
    cases.push(
        opening("trailing", "a session with a byte behind its fields")
            .sends([say(longer(&whole))])
            .expects(either([
                Expect::answer(msg::CHANNEL_OPEN_CONFIRMATION),
                not_opened(),
                BROKEN,
            ])),
    );
    cases
}

fn numbers_and_sizes() -> Vec<Case> {
    let confirmed = || Expect::answer(msg::CHANNEL_OPEN_CONFIRMATION);
    // The number is its sender's own. The proxy has to tell channels apart by it.
    let twice = || either([confirmed(), not_opened(), BROKEN]);
    let hi = |number: u32| Answer::Exactly(data(number, b"hi\n"));
    let run = |size: (u32, u32), command: &'static str| {
        [
            say(open("session", 9, size.0, size.1)),
            Step::act(|peer| {
                let answer = peer.wait_for(&[msg::CHANNEL_OPEN_CONFIRMATION])?;
                peer.channel = Some(crate::payload::u32_at(&answer, 5));
                Ok(())
            }),
            to_channel(move |channel| exec(channel, command)),
        ]
    };
    vec![
        opening("number-twice", "a number that is taken")
            .at(Stage::Session)
            .sends([say(session())])
            .expects(twice())
            .daemon(confirmed())
            .proxy(BROKEN),
        opening(
            "number-twice-at-once",
            "one number for two channels in one piece",
        )
        .sends(at_once([say(session()), say(session())]))
        .expects(twice())
        .daemon(confirmed())
        .proxy(BROKEN),
        opening("number-again", "a number that is free again")
            .at(Stage::Session)
            .sends([
                to_channel(|channel| plain(msg::CHANNEL_CLOSE, channel)),
                Step::Await(msg::CHANNEL_CLOSE),
                say(session()),
            ])
            .expects(confirmed()),
        opening("number-4g", "the number 4,294,967,295")
            .sends([say(open("session", u32::MAX, WINDOW, MAX_PACKET))])
            .expects(Expect::Answered(vec![Answer::Starts(plain(
                msg::CHANNEL_OPEN_CONFIRMATION,
                u32::MAX,
            ))])),
        opening("packet-0", "a packet size of 0")
            .by("asyncssh 2.24")
            .sends([say(open("session", OURS, WINDOW, 0))])
            .expects(either([
                not_opened(),
                BROKEN,
                Expect::answer(msg::CHANNEL_OPEN_CONFIRMATION),
            ]))
            .ours(not_opened()),
        opening("packet-1", "a packet size of 1, and a command")
            .sends(run((WINDOW, 1), "echo hi"))
            .expects(Expect::Answered(vec![
                Answer::Exactly(data(9, b"h")),
                Answer::Exactly(data(9, b"i")),
                Answer::Exactly(data(9, b"\n")),
                Answer::Number(msg::CHANNEL_CLOSE),
            ])),
        opening("packet-4g", "a packet size of 4,294,967,295")
            .sends(run((WINDOW, u32::MAX), "echo hi"))
            .expects(Expect::Answered(vec![
                hi(9),
                Answer::Number(msg::CHANNEL_CLOSE),
            ])),
        opening("window-0", "no window, and then one of 2 bytes")
            .sends(run((0, MAX_PACKET), "echo hi"))
            .sends([
                Step::Await(msg::CHANNEL_SUCCESS),
                to_channel(|channel| window_adjust(channel, 2)),
            ])
            .expects(Expect::Answered(vec![Answer::Exactly(data(9, b"hi"))])),
        opening("window-4g", "a window of 4,294,967,295")
            .sends(run((u32::MAX, MAX_PACKET), "echo hi"))
            .expects(Expect::Answered(vec![
                hi(9),
                Answer::Number(msg::CHANNEL_CLOSE),
            ])),
    ]
}

fn limits() -> Vec<Case> {
    let many = |kind: &'static str, count| {
        (0..count).map(move |number| say(open(kind, number, WINDOW, MAX_PACKET)))
    };
    vec![
        opening("many-sessions", "1,025 sessions")
            .by("x/crypto: no bound")
            .sends(at_once(many("session", 1025)))
            .expects(not_opened()),
        opening("flood", "5,000 channels of a type that there is not")
            .by("CVE-2026-3982")
            .sends(at_once(many("magic@example.com", 5000)))
            .expects(either([not_opened(), BROKEN]))
            .daemon(not_opened())
            // As many as wait for an answer are too many channels to it.
            .proxy(not_opened()),
        opening("open-and-close", "a session opened and closed 200 times")
            .sends((0..200).map(|_| {
                Step::act(|peer| {
                    let channel = peer.open_session()?;
                    peer.say(&plain(msg::CHANNEL_CLOSE, channel))?;
                    peer.wait_for(&[msg::CHANNEL_CLOSE]).map(drop)
                })
            }))
            .expects(Expect::Ignored),
    ]
}

/// Every message that names a channel, by this number.
fn all_about(number: u32) -> Vec<(&'static str, Vec<u8>, Expect)> {
    let mut confirmation = plain(msg::CHANNEL_OPEN_CONFIRMATION, number);
    confirmation.extend(numbers([0, WINDOW, MAX_PACKET]));
    let mut failure = plain(msg::CHANNEL_OPEN_FAILURE, number);
    failure.put_u32(1);
    failure.extend(strings([b"no".as_slice(), b""]));
    vec![
        ("confirmation", confirmation, BROKEN),
        ("open-failure", failure, BROKEN),
        ("adjust", window_adjust(number, 1), TOLD),
        ("data", data(number, b"x"), TOLD),
        ("data-0", data(number, b""), TOLD),
        ("extended", extended_data(number, 1, b"x"), TOLD),
        ("eof", plain(msg::CHANNEL_EOF, number), BROKEN),
        ("close", plain(msg::CHANNEL_CLOSE, number), BROKEN),
        ("request", exec(number, "id"), BROKEN),
        (
            "request-silent",
            request(number, "env", false, &[b"A", b"b"]),
            BROKEN,
        ),
        ("success", plain(msg::CHANNEL_SUCCESS, number), BROKEN),
        ("failure", plain(msg::CHANNEL_FAILURE, number), BROKEN),
    ]
}

fn named(payload: &[u8]) -> String {
    crate::payload::name(payload.first().copied().unwrap_or_default())
}

fn nowhere() -> Vec<Case> {
    // RFC 4254 does not say what becomes of them.
    let lenient = || either([BROKEN, Expect::Ignored]);
    let never = all_about(NOBODY).into_iter().map(|(id, payload, proxy)| {
        let title = format!("{} for a channel that never was", named(&payload));
        case(&format!("never-{id}"), &title)
            .by("GHSA-47hw-gvq5-r2gm")
            .sends([say(payload)])
            .expects(lenient())
            .daemon(BROKEN)
            .proxy(proxy)
    });
    let last = all_about(u32::MAX)
        .into_iter()
        .filter(|(id, ..)| matches!(*id, "adjust" | "data" | "close" | "request"))
        .map(|(id, payload, proxy)| {
            let title = format!("{} for channel 4,294,967,295", named(&payload));
            case(&format!("last-{id}"), &title)
                .sends([say(payload)])
                .expects(lenient())
                .daemon(BROKEN)
                .proxy(proxy)
        });
    // The last ones before there is any channel at all.
    let first = all_about(0)
        .into_iter()
        .filter(|(id, ..)| matches!(*id, "adjust" | "data" | "eof" | "request"))
        .map(|(id, payload, proxy)| {
            let title = format!("{} before any channel", named(&payload));
            case(&format!("before-{id}"), &title)
                .at(Stage::Authenticated)
                .sends([say(payload)])
                .expects(lenient())
                .daemon(BROKEN)
                .proxy(proxy)
        });
    never.chain(last).chain(first).collect()
}

/// A client cannot know the number of a channel that is not confirmed; here it guesses right.
fn unconfirmed() -> Vec<Case> {
    let dial = || {
        let mut payload = open("direct-tcpip", OURS, WINDOW, MAX_PACKET);
        payload.extend(strings([b"127.0.0.1".as_slice()]));
        payload.extend(numbers([1]));
        payload.extend(strings([b"127.0.0.1".as_slice()]));
        payload.extend(numbers([1]));
        say(payload)
    };
    let guesses = all_about(0).into_iter().filter(|(id, ..)| {
        matches!(
            *id,
            "adjust" | "data" | "extended" | "eof" | "close" | "request" | "success"
        )
    });
    let row = |(id, payload, proxy): (&str, Vec<u8>, Expect)| {
        let title = format!(
            "{} in one piece with the channel's opening",
            named(&payload)
        );
        case(&format!("unconfirmed-{id}"), &title)
            .at(Stage::Authenticated)
            .by("GHSA-47hw-gvq5-r2gm")
            .sends(at_once([dial(), say(payload)]))
            .expects(either([BROKEN, not_opened()]))
            .daemon(BROKEN)
            .proxy(proxy)
    };
    guesses.map(row).collect()
}

/// Replies to nothing, for a channel that is open.
fn unsolicited() -> Vec<Case> {
    let cut_or_ignored = || either([BROKEN, Expect::Ignored]);
    let mut cases: Vec<Case> = [
        ("confirmed-twice", msg::CHANNEL_OPEN_CONFIRMATION),
        ("refused-late", msg::CHANNEL_OPEN_FAILURE),
    ]
    .into_iter()
    .map(|(id, number)| {
        let title = format!(
            "{} for a channel that is open",
            crate::payload::name(number)
        );
        let send = to_channel(move |channel| {
            let all = all_about(channel).into_iter();
            let mut fitting = all.filter(|(_, payload, _)| payload.first() == Some(&number));
            fitting
                .next()
                .map(|(_, payload, _)| payload)
                .unwrap_or_default()
        });
        case(id, &title).sends([send])
    })
    .collect();
    for number in [msg::CHANNEL_SUCCESS, msg::CHANNEL_FAILURE] {
        for (id, count) in [("", 1), ("-300", 300)] {
            let name = crate::payload::name(number);
            let short = name.trim_start_matches("CHANNEL_").to_lowercase();
            let title = format!("{count} {name} to nothing that was asked");
            let send = to_channel(move |channel| plain(number, channel)).times(count);
            cases.push(
                case(&format!("unasked-{short}{id}"), &title)
                    .by("CVE-2026-39830")
                    .sends(at_once([send]))
                    .expects(cut_or_ignored())
                    .ours(BROKEN),
            );
        }
    }
    for number in [msg::REQUEST_SUCCESS, msg::REQUEST_FAILURE] {
        for (id, count) in [("", 1), ("-300", 300)] {
            let name = crate::payload::name(number);
            let short = name.trim_start_matches("REQUEST_").to_lowercase();
            let title = format!("{count} {name} to nothing that was asked");
            cases.push(
                case(&format!("unasked-global-{short}{id}"), &title)
                    .at(Stage::Authenticated)
                    .by("CVE-2026-39830")
                    .sends(at_once([say([number]).times(count)]))
                    .expects(cut_or_ignored())
                    .ours(BROKEN),
            );
        }
    }
    cases
}

/// EOF and CLOSE, and what may not follow them.
fn ends() -> Vec<Case> {
    let eof = || to_channel(|channel| plain(msg::CHANNEL_EOF, channel));
    let close = || to_channel(|channel| plain(msg::CHANNEL_CLOSE, channel));
    let mut cases: Vec<Case> = all_about(0)
        .into_iter()
        .filter(|(id, ..)| {
            matches!(
                *id,
                "adjust" | "data" | "extended" | "eof" | "close" | "request" | "success"
            )
        })
        .map(|(id, payload, proxy)| {
            let title = format!("{} after CLOSE", named(&payload));
            let number = payload.clone();
            let after = to_channel(move |channel| {
                let mut payload = number.clone();
                payload.splice(1..5, channel.to_be_bytes());
                payload
            });
            case(&format!("closed-{id}"), &title)
                .sends(at_once([close(), after]))
                .expects(either([BROKEN, Expect::answer(msg::CHANNEL_CLOSE)]))
                .daemon(BROKEN)
                .proxy(proxy)
        })
        .collect();
    cases.extend([
        case("eof-twice", "EOF twice")
            .sends(at_once([eof(), eof()]))
            // Some clients do that, and it says nothing new.
            .expects(either([Expect::Ignored, BROKEN]))
            .ours(Expect::Ignored),
        case("eof-data", "data after EOF")
            .sends(at_once([eof(), to_channel(|channel| data(channel, b"x"))]))
            .expects(either([BROKEN, Expect::Ignored]))
            .daemon(BROKEN)
            .proxy(TOLD),
        case("eof-data-0", "data of no bytes after EOF")
            .sends(at_once([eof(), to_channel(|channel| data(channel, b""))]))
            .expects(either([BROKEN, Expect::Ignored]))
            .daemon(BROKEN)
            .proxy(TOLD),
        case("eof-extended", "extended data after EOF")
            .sends(at_once([
                eof(),
                to_channel(|channel| extended_data(channel, 1, b"x")),
            ]))
            .expects(either([BROKEN, Expect::Ignored]))
            .daemon(BROKEN)
            .proxy(TOLD),
        case("eof-exec", "a command after EOF")
            .sends(at_once([eof(), to_channel(|channel| exec(channel, "cat"))]))
            // Section 5.3: the channel remains open, and requests may go on.
            .expects(Expect::answer(msg::CHANNEL_SUCCESS))
            // And the command sees the end of its input.
            .ours(answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_CLOSE])),
        case("close-idle", "CLOSE of a session in which nothing ran")
            .sends([close()])
            .expects(Expect::answer(msg::CHANNEL_CLOSE)),
        case("close-running", "CLOSE of a session with a command")
            .at(Stage::Running("cat"))
            .sends([close()])
            .expects(Expect::answer(msg::CHANNEL_CLOSE)),
        case(
            "close-endless",
            "CLOSE of a session whose command writes for ever",
        )
        .at(Stage::Running("yes"))
        .sends([close()])
        .expects(Expect::answer(msg::CHANNEL_CLOSE)),
        case("eof-trailing", "EOF with a byte behind it")
            .sends([to_channel(|channel| {
                longer(&plain(msg::CHANNEL_EOF, channel))
            })])
            // The proxy reads control packets only so far as it has to.
            .proxy(TOLD),
        case("close-trailing", "CLOSE with a byte behind it")
            .sends([to_channel(|channel| {
                longer(&plain(msg::CHANNEL_CLOSE, channel))
            })])
            .proxy(TOLD),
        case("eof-cut", "EOF with half a number").sends([say([msg::CHANNEL_EOF, 0, 0])]),
        case("close-alone", "CLOSE without a number").sends([say([msg::CHANNEL_CLOSE])]),
        case("failure-cut", "OPEN_FAILURE without its text")
            .sends([say(plain(msg::CHANNEL_OPEN_FAILURE, NOBODY))]),
        case("global-cut", "GLOBAL_REQUEST without want_reply")
            .sends([say(string_message(msg::GLOBAL_REQUEST, "keepalive"))]),
        case("global-4g", "a GLOBAL_REQUEST whose name has 4 GiB").sends([say([
            &[msg::GLOBAL_REQUEST][..],
            &[0xff; 4],
        ]
        .concat())]),
        case("failure-trailing", "REQUEST_FAILURE with a byte behind it")
            .sends([say([msg::REQUEST_FAILURE, 0])])
            .expects(either([CUT, Expect::Ignored]))
            .ours(BROKEN),
    ]);
    cases
}
