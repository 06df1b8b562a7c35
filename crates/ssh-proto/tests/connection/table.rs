//! Every message of RFC 4254 in every state of a channel, and what the application hears of it.
//!
//! The expectations are written down here, not computed by the code under test.

use std::time::Instant;

use ssh_proto::connection::{ChannelId, Event, Limits};
use ssh_proto::{Error, msg, transport};

use super::wire::{
    Rig, carry, data, extended, global_request, numbers, open, open_failure, request,
};

/// Where the channel with our number 0 stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There was never one.
    Never,
    /// We opened it, and the peer has not answered.
    Opening,
    /// The peer opened it, and the application has not answered.
    Offered,
    Open,
    /// We have sent EOF.
    EofSent,
    /// The peer has.
    EofCame,
    EofBoth,
    /// We have sent CLOSE.
    Closing,
    /// The peer has sent EOF and then we CLOSE.
    EofCameClosing,
    /// The peer has sent CLOSE, and the application has not answered.
    Left,
    /// The peer refused it.
    Refused,
    /// We did.
    RefusedByUs,
    /// Both have sent CLOSE, the peer first.
    GoneAfterTheirs,
    /// The same, we first.
    GoneAfterOurs,
}
use State::*;

/// For each state, where no reply is awaited, what becomes of each message. `E` the application hears of
/// it, `.` it goes on and nobody does, `X` the connection is cut and the peer told.
#[rustfmt::skip]
const TABLE: [(State, &str); 14] = [
    // OPEN_CONFIRMATION, OPEN_FAILURE, WINDOW_ADJUST, DATA, DATA without data, EXTENDED_DATA, EOF,
    // CLOSE, REQUEST, REQUEST that wants a reply, SUCCESS, FAILURE
    //                conf fail adj data none ext eof close req req! succ fail
    (Never,           "X    X    X   X    X    X   X   X     X   X    X    X"),
    (Opening,         "E    E    X   X    X    X   X   X     X   X    X    X"),
    (Offered,         "X    X    X   X    X    X   X   X     X   X    X    X"),
    (Open,            "X    X    E   E    .    E   E   E     E   E    X    X"),
    (EofSent,         "X    X    .   E    .    E   E   E     E   E    X    X"),
    (EofCame,         "X    X    E   X    X    X   .   E     E   E    X    X"),
    (EofBoth,         "X    X    .   X    X    X   .   E     E   E    X    X"),
    (Closing,         "X    X    .   .    .    .   .   E     .   .    X    X"),
    (EofCameClosing,  "X    X    .   X    X    X   .   E     .   .    X    X"),
    (Left,            "X    X    X   X    X    X   X   X     X   X    X    X"),
    (Refused,         "X    X    X   X    X    X   X   X     X   X    X    X"),
    (RefusedByUs,     "X    X    X   X    X    X   X   X     X   X    X    X"),
    (GoneAfterTheirs, "X    X    X   X    X    X   X   X     X   X    X    X"),
    (GoneAfterOurs,   "X    X    X   X    X    X   X   X     X   X    X    X"),
];

/// The same for SUCCESS and FAILURE where one reply is awaited, and for a second one behind it.
const AWAITED: [(State, &str); 8] = [
    (Open, "E X"),
    (EofSent, "E X"),
    (EofCame, "E X"),
    (EofBoth, "E X"),
    (Closing, ". X"),
    (EofCameClosing, ". X"),
    (Left, "X X"),
    (GoneAfterOurs, "X X"),
];

/// The messages in the order of [`TABLE`], for channel 0.
fn messages() -> [Vec<u8>; 12] {
    [
        numbers(msg::CHANNEL_OPEN_CONFIRMATION, &[0, 7, 100, 50]),
        open_failure(0, 1, b"no"),
        numbers(msg::CHANNEL_WINDOW_ADJUST, &[0, 10]),
        data(0, b"x"),
        data(0, b""),
        extended(0, msg::EXTENDED_DATA_STDERR, b"x"),
        numbers(msg::CHANNEL_EOF, &[0]),
        numbers(msg::CHANNEL_CLOSE, &[0]),
        request(0, b"exec", false),
        request(0, b"exec", true),
        numbers(msg::CHANNEL_SUCCESS, &[0]),
        numbers(msg::CHANNEL_FAILURE, &[0]),
    ]
}

/// A connection whose channel 0 stands there; with a window of nothing, so that its opening is an event,
/// and with a request of ours that waits for its reply where `asked` says so.
fn rig_in(state: State, asked: bool) -> Rig {
    let mut rig = Rig::new(Limits::default());
    let eof = numbers(msg::CHANNEL_EOF, &[0]);
    let close = numbers(msg::CHANNEL_CLOSE, &[0]);
    let channel = match state {
        Never => return rig,
        Opening | Refused => rig.opening(),
        Offered | RefusedByUs => offered(&mut rig),
        _ => rig.accepted(0, 50),
    };
    if asked {
        rig.connection.request(channel, "x", true, b"").unwrap();
    }
    if matches!(state, EofCame | EofBoth | EofCameClosing) {
        assert_eq!(rig.event(&eof), Event::Eof { channel });
    }
    if matches!(state, Left | GoneAfterTheirs) {
        assert_eq!(rig.event(&close), Event::PeerClosed { channel });
    }
    match state {
        EofSent | EofBoth => rig.connection.send_eof(channel),
        Closing | EofCameClosing | GoneAfterTheirs | GoneAfterOurs => {
            rig.connection.close(channel);
        }
        RefusedByUs => {
            let reason = msg::OpenFailure::ConnectFailed;
            rig.connection.refuse(channel, reason, "no");
        }
        Refused => {
            rig.event(&open_failure(0, 1, b"no"));
        }
        _ => {}
    }
    if state == GoneAfterOurs {
        assert_eq!(rig.event(&close), Event::Closed { channel });
    }
    rig.heard();
    rig
}

fn offered(rig: &mut Rig) -> ChannelId {
    match rig.event(&open(7, 0, 50)) {
        Event::ChannelOpen { channel, .. } => channel,
        event => panic!("{event:?}"),
    }
}

/// Sends the message and sees what comes of it, as a letter of the tables.
fn outcome(rig: &mut Rig, message: &[u8]) -> char {
    rig.say(message);
    match rig.poll() {
        Ok(Event::NeedInput) => {
            assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
            '.'
        }
        Ok(Event::Transport(event)) => panic!("{event:?}"),
        Ok(_) => {
            assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
            'E'
        }
        Err(error) => {
            assert!(matches!(error, Error::Misbehaved(_)), "{error}");
            rig.told(&error);
            'X'
        }
    }
}

#[test]
fn of_the_messages_for_a_channel() {
    for (state, row) in TABLE {
        let wanted: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(wanted.len(), messages().len());
        for (message, wanted) in messages().iter().zip(wanted) {
            let mut rig = rig_in(state, false);
            let outcome = outcome(&mut rig, message).to_string();
            assert_eq!(outcome, wanted, "{state:?} {message:?}");
        }
    }
}

#[test]
fn of_the_replies_to_requests_on_a_channel() {
    for (state, row) in AWAITED {
        for number in [msg::CHANNEL_SUCCESS, msg::CHANNEL_FAILURE] {
            let mut rig = rig_in(state, true);
            for wanted in row.split_whitespace() {
                let outcome = outcome(&mut rig, &numbers(number, &[0])).to_string();
                assert_eq!(outcome, wanted, "{state:?} {number}");
                if outcome == "X" {
                    break;
                }
            }
        }
    }
}

/// OPEN bears the peer's number, which is its own to keep apart; whatever the state of ours, it is
/// offered to the application. Global requests know nothing of channels.
#[test]
fn of_what_is_about_no_channel_of_ours() {
    for (state, _) in TABLE {
        for (message, wanted) in [
            (open(7, 100, 50), 'E'),
            (global_request(b"tcpip-forward", true), 'E'),
            (global_request(b"tcpip-forward", false), 'E'),
            (vec![msg::REQUEST_SUCCESS], 'X'),
            (vec![msg::REQUEST_FAILURE], 'X'),
        ] {
            let mut rig = rig_in(state, false);
            assert_eq!(outcome(&mut rig, &message), wanted, "{state:?} {message:?}");
        }
        let mut rig = rig_in(state, false);
        rig.connection.global_request("x", true, b"").unwrap();
        rig.heard();
        assert_eq!(outcome(&mut rig, &[msg::REQUEST_SUCCESS]), 'E');
        assert_eq!(outcome(&mut rig, &[msg::REQUEST_FAILURE]), 'X');
    }
}

/// All other numbers are the transport's, which answers them in each state of each channel alike.
#[test]
fn of_the_numbers_that_are_not_of_this_protocol() {
    for (state, _) in TABLE {
        let mut rig = rig_in(state, false);
        for number in [0, 54, 79, 83, 89, 101, 127, 191, 194, 255] {
            rig.say(&[number, 0, 0, 0, 0]);
            assert_eq!(rig.poll(), Ok(Event::NeedInput), "{state:?} {number}");
            assert!(!rig.connection.transport().output().is_empty());
            carry(rig.connection.transport_mut(), &mut rig.peer);
            let heard = rig.peer.poll(Instant::now());
            assert_eq!(
                heard,
                Ok(transport::Event::NeedInput),
                "UNIMPLEMENTED alone"
            );
        }
    }
}
