//! A peer that says anything at all: the connection answers, or it ends with a reason that the peer
//! is told. It never panics, and it never holds more than its limits.

use std::time::Instant;

use proptest::prelude::*;
use ssh_proto::connection::{ChannelId, Connection, Event, Limits, Stream};
use ssh_proto::msg::OpenFailure;

use super::wire::{Rig, data, extended, global_request, numbers, open, open_failure, request};

const LIMITS: Limits = Limits {
    channels: 3,
    window: 100,
    total_window: 1000,
    max_packet: 60,
    replies: 2,
};

/// Payloads near to what is allowed, and some far from it.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let channel = || prop_oneof![20 => 0u32..3, 1 => any::<u32>()];
    let number = || prop_oneof![10 => 0u32..70, 1 => any::<u32>()];
    let bytes = || prop::collection::vec(any::<u8>(), 0..70);
    prop_oneof![
        4 => (number(), number()).prop_map(|(w, p)| open(7, w, p)),
        2 => (channel(), number(), number()).prop_map(|(c, w, p)| numbers(91, &[c, 9, w, p])),
        1 => (channel(), number(), bytes()).prop_map(|(c, r, t)| open_failure(c, r, &t)),
        2 => (channel(), number()).prop_map(|(c, n)| numbers(93, &[c, n])),
        4 => (channel(), bytes()).prop_map(|(c, b)| data(c, &b)),
        2 => (channel(), number(), bytes()).prop_map(|(c, n, b)| extended(c, n, &b)),
        2 => (96u8..=100, channel()).prop_map(|(m, c)| numbers(m, &[c])),
        2 => (channel(), bytes(), any::<bool>()).prop_map(|(c, n, w)| request(c, &n, w)),
        2 => (bytes(), any::<bool>()).prop_map(|(n, w)| global_request(&n, w)),
        1 => (80u8..=82).prop_map(|m| vec![m]),
        1 => (80u8..=100, bytes()).prop_map(|(m, mut b)| { b.insert(0, m); b }),
    ]
}

/// An application that does something with everything, `mood` deciding what.
fn answer(connection: &mut Connection, event: &Event, mood: u8) {
    let yes = mood & 1 == 0;
    match *event {
        Event::ChannelOpen { channel, .. } if yes => connection.accept(channel, 100, 60, b""),
        Event::ChannelOpen { channel, .. } => {
            connection.refuse(channel, OpenFailure::ConnectFailed, "no");
        }
        Event::Data { channel, .. } => {
            let length = connection.data().len();
            assert!((1..=60).contains(&length));
            connection.consumed(channel, length);
        }
        Event::Request { channel, .. } => connection.reply(channel, yes),
        Event::GlobalRequest { .. } => connection.global_reply(yes, b"x"),
        Event::Eof { channel } if yes => connection.close(channel),
        Event::WindowOpened { channel } | Event::OpenConfirmed { channel, .. } => {
            use_channel(connection, channel, mood);
        }
        _ => {}
    }
}

fn use_channel(connection: &mut Connection, channel: ChannelId, mood: u8) {
    connection.send_data(channel, Stream::Data, &[mood; 200]);
    let _ = connection.request(channel, "x", true, b"");
    match mood % 3 {
        0 => connection.send_eof(channel),
        1 => connection.close(channel),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_hostile_peer_gets_an_answer_or_an_end(
        steps in prop::collection::vec((payload(), any::<u8>()), 0..60),
    ) {
        let mut rig = Rig::new(LIMITS);
        rig.accepted(100, 60);
        rig.accepted(0, 60);
        rig.opening();
        for (payload, mood) in steps {
            if mood > 240 {
                let _ = rig.connection.open("session", 100, 60, b"");
                let _ = rig.connection.global_request("x", true, b"");
            }
            rig.say(&payload);
            let ended = loop {
                match rig.poll() {
                    Ok(Event::NeedInput) => break None,
                    Ok(event) => answer(&mut rig.connection, &event, mood),
                    Err(error) => break Some(error),
                }
            };
            prop_assert!(rig.connection.channels() <= LIMITS.channels);
            if let Some(error) = ended {
                prop_assert!(error.reason().is_some());
                prop_assert!(rig.connection.poll(Instant::now()).is_err());
                break;
            }
            rig.heard();
        }
    }
}
