//! `window`: data and how much of them (RFC 4254 section 5.2).

use super::BROKEN;
use super::connection::{TOLD, at_once, cut, either, longer, numbers, to_channel};
use crate::case::{Answer, Case, Expect, Stage, Step};
use crate::client::{MAX_PACKET, OURS, WINDOW};
use crate::payload::{data, exec, extended_data, open, plain, u32_at, window_adjust};
use ssh_proto::msg;

const RFC: &str = "RFC 4254 section 5.2";

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = adjustments();
    cases.extend(amounts());
    cases.extend(extended());
    cases.extend(forms());
    cases
}

/// A row on a command that copies what it gets. The proxy does not look at data and windows: there it
/// is always the instance that ends it.
fn case(id: &str, title: &str) -> Case {
    Case::new(format!("window-{id}"), title, RFC)
        .at(Stage::Running("cat"))
        .proxy(TOLD)
}

/// A row whose outcome is the same everywhere.
fn harmless(id: &str, title: &str, expect: Expect) -> Case {
    Case::new(format!("window-{id}"), title, RFC)
        .at(Stage::Running("cat"))
        .expects(expect)
}

fn adjust(bytes: u32) -> Step {
    to_channel(move |channel| window_adjust(channel, bytes))
}

fn send(bytes: &'static [u8]) -> Step {
    to_channel(move |channel| data(channel, bytes))
}

/// What `cat` gives back.
fn copied(bytes: &[u8]) -> Expect {
    Expect::Answered(vec![Answer::Exactly(data(OURS, bytes))])
}

fn adjustments() -> Vec<Case> {
    let overflow = "GHSA-h5rc-j5f5-3gcm, CVE-2025-54804";
    vec![
        case(
            "adjust-4g",
            "a window of more than 4,294,967,295 bytes, at once",
        )
        .by(overflow)
        .sends([adjust(u32::MAX)]),
        case("adjust-one-more", "a full window, and one byte more")
            .by(overflow)
            .sends([adjust(u32::MAX - WINDOW), adjust(1)]),
        case("adjust-many", "a window of more than 4 GiB, bit by bit")
            .by(overflow)
            .sends(at_once([adjust(1 << 24).times(256)])),
        harmless(
            "adjust-full",
            "a window of 4,294,967,295 bytes",
            copied(b"x\n"),
        )
        .sends([adjust(u32::MAX - WINDOW), send(b"x\n")]),
        harmless("adjust-0", "an adjustment by nothing", copied(b"x\n"))
            .sends([adjust(0), send(b"x\n")]),
        harmless("adjust-flood", "10,000 adjustments by 1", copied(b"x\n"))
            .sends(at_once([adjust(1).times(10_000), send(b"x\n")])),
        harmless(
            "adjust-eof",
            "an adjustment after EOF",
            Expect::answer(msg::CHANNEL_CLOSE),
        )
        .sends(at_once([
            to_channel(|channel| plain(msg::CHANNEL_EOF, channel)),
            adjust(1),
        ])),
        case("adjust-cut", "an adjustment with half a number")
            .sends([to_channel(|channel| cut(&window_adjust(channel, 1), 7))]),
        case("adjust-trailing", "an adjustment with a byte behind it")
            .sends([to_channel(|channel| longer(&window_adjust(channel, 1)))]),
        case("adjust-alone", "an adjustment of no channel")
            .sends([Step::Say(vec![msg::CHANNEL_WINDOW_ADJUST])]),
    ]
}

/// A session, in which a command may run, and one byte more for it than the server's window takes, in
/// packets of this size. A flood would do no better: who has much unread is not heard out by every server.
fn overrun(command: Option<&'static str>, size: usize) -> Step {
    const NUMBER: u32 = 7;
    Step::act(move |peer| {
        peer.say(&open("session", NUMBER, WINDOW, MAX_PACKET))?;
        let answer = peer.wait_for(&[msg::CHANNEL_OPEN_CONFIRMATION])?;
        let (channel, window) = (u32_at(&answer, 5), u32_at(&answer, 9));
        if let Some(command) = command {
            peer.say(&exec(channel, command))?;
            peer.wait_for(&[msg::CHANNEL_SUCCESS])?;
        }
        let bytes = vec![b'x'; usize::try_from(window).unwrap_or_default() + 1];
        bytes
            .chunks(size)
            .try_for_each(|chunk| peer.say(&data(channel, chunk)))?;
        Ok(())
    })
}

/// Section 5.2: what is too much MAY be ignored.
fn amounts() -> Vec<Case> {
    let too_much = |id: &str, title: &str| {
        case(id, title)
            .expects(either([BROKEN, Expect::Ignored]))
            .daemon(BROKEN)
    };
    let much = |size: usize, count: usize| {
        to_channel(move |channel| data(channel, &vec![b'x'; size])).times(count)
    };
    vec![
        too_much("packet-one-more", "a byte more than a packet may have")
            .sends([much(32 * 1024 + 1, 1)]),
        too_much("packet-large", "200,000 bytes in a packet").sends([much(200_000, 1)]),
        too_much("packet-extended", "extended data beyond the packet size").sends([to_channel(
            |channel| extended_data(channel, 1, &vec![b'x'; 32 * 1024 + 1]),
        )]),
        // It reads nothing, so that no window is given back, and it ends with the connection.
        too_much(
            "beyond",
            "a byte more than the window, for a command that reads nothing",
        )
        .at(Stage::Authenticated)
        .sends([overrun(Some("yes"), 32 * 1024)])
        .expects(either([BROKEN, Expect::answer(msg::CHANNEL_DATA)])),
        too_much(
            "beyond-idle",
            "a byte more than the window, for a session in which nothing runs",
        )
        .at(Stage::Authenticated)
        .sends([overrun(None, 32 * 1024)]),
        too_much(
            "beyond-small",
            "a byte more than the window, in small packets",
        )
        .at(Stage::Authenticated)
        .sends([overrun(None, 1024)]),
        harmless(
            "packet-full",
            "as much as a packet may have",
            Expect::answer(msg::CHANNEL_DATA),
        )
        .sends([much(32 * 1024, 1)]),
        harmless("empty", "1,000 times data of no bytes", copied(b"x\n"))
            .sends(at_once([send(b"").times(1000), send(b"x\n")])),
        case("empty-flood", "70,000 times data of no bytes")
            // Nothing forbids it.
            .expects(either([BROKEN, Expect::Ignored]))
            .daemon(BROKEN)
            .sends(at_once([send(b"").times(70_000)])),
        harmless(
            "bytes",
            "10,000 times data of one byte",
            Expect::answer(msg::CHANNEL_DATA),
        )
        .sends(at_once([send(b"x").times(10_000)])),
        harmless(
            "unread",
            "a command that writes for ever, into a window that ends",
            Expect::Ignored,
        )
        .at(Stage::Session)
        .sends([
            to_channel(|channel| exec(channel, "yes")),
            Step::Await(msg::CHANNEL_SUCCESS),
            Step::act(|peer| {
                // Up to the window's last byte, and none beyond it.
                let mut left = usize::try_from(WINDOW).unwrap_or_default();
                while left > 0 {
                    let payload = peer.wait_for(&[msg::CHANNEL_DATA])?;
                    left = left
                        .checked_sub(payload.len() - 9)
                        .ok_or(crate::end::End::Garbled("more than the window"))?;
                }
                Ok(())
            }),
        ]),
    ]
}

/// Types of data that mean nothing take window like others, and are to be credited (section 5.2).
fn extended() -> Vec<Case> {
    let kinds = [("0", 0), ("1", 1), ("2", 2), ("4g", u32::MAX)];
    let mut cases: Vec<Case> = kinds
        .into_iter()
        .map(|(id, code)| {
            let title = format!("extended data of type {code} from a client");
            let send_them = to_channel(move |channel| extended_data(channel, code, b"x"));
            harmless(&format!("extended-{id}"), &title, copied(b"y\n"))
                .sends([send_them, send(b"y\n")])
        })
        .collect();
    let flood = to_channel(|channel| extended_data(channel, 7, &[b'x'; 32 * 1024]));
    cases.push(
        harmless(
            "extended-credit",
            "2 MiB of an unknown type: the window comes back",
            Expect::answer(msg::CHANNEL_WINDOW_ADJUST),
        )
        .by("x/crypto b07833c")
        .sends([flood.times(64)]),
    );
    cases
}

fn forms() -> Vec<Case> {
    let lying = |channel: u32, length: u32| {
        let mut payload = plain(msg::CHANNEL_DATA, channel);
        payload.extend(numbers([length]));
        payload.extend_from_slice(b"1234");
        payload
    };
    vec![
        case("length-more", "a length of one byte more than there are")
            .sends([to_channel(move |channel| lying(channel, 5))]),
        case("length-less", "a length of one byte less than there are")
            .sends([to_channel(move |channel| lying(channel, 3))]),
        case("length-4g", "a length of 4,294,967,295")
            .sends([to_channel(move |channel| lying(channel, u32::MAX))]),
        case("length-2g", "a length of 2,147,483,648")
            .sends([to_channel(move |channel| lying(channel, 1 << 31))]),
        case("length-missing", "data without a length")
            .sends([to_channel(|channel| plain(msg::CHANNEL_DATA, channel))]),
        case("extended-length-missing", "extended data without a length")
            .expects(either([BROKEN, Expect::Ignored]))
            .daemon(BROKEN)
            .sends([to_channel(|channel| {
                let mut payload = plain(msg::CHANNEL_EXTENDED_DATA, channel);
                payload.extend(numbers([1]));
                payload
            })]),
        case("extended-code-missing", "extended data without a type").sends([to_channel(
            |channel| plain(msg::CHANNEL_EXTENDED_DATA, channel),
        )]),
        case("channel-missing", "data for no channel").sends([Step::Say(vec![
            msg::CHANNEL_DATA,
            0,
            0,
        ])]),
    ]
}

const _: () = assert!(MAX_PACKET as usize == 32 * 1024);
