//! RFC 4254 sections 4, 5.1, 5.3 and 5.4, rule by rule.

use ssh_proto::Error;
use ssh_proto::connection::{Event, LimitReached, Limits, Stream};
use ssh_proto::msg::{self, OpenFailure};

use super::wire::{Rig, data, extended, global_request, numbers, open, open_failure, request};

fn rig() -> Rig {
    Rig::new(Limits::default())
}

/// One message of every kind that names a channel, for `channel`, but OPEN's answers.
fn for_channel(channel: u32) -> Vec<Vec<u8>> {
    let mut all = vec![
        numbers(msg::CHANNEL_WINDOW_ADJUST, &[channel, 1]),
        data(channel, b""),
        data(channel, b"x"),
        extended(channel, 1, b"x"),
        request(channel, b"shell", true),
        request(channel, b"shell", false),
    ];
    all.extend([96, 97, 99, 100].map(|number| numbers(number, &[channel])));
    all
}

/// The answers to OPEN.
fn answers(channel: u32) -> [Vec<u8>; 2] {
    [
        numbers(msg::CHANNEL_OPEN_CONFIRMATION, &[channel, 1, 100, 100]),
        open_failure(channel, 2, b"no"),
    ]
}

#[test]
fn the_peer_opens_and_uses_and_closes_a_channel() {
    let mut rig = rig();
    let mut offer = open(7, 1000, 100);
    offer.extend(b"more");
    let event = rig.event(&offer);
    let Event::ChannelOpen {
        channel,
        kind,
        payload,
    } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!((kind.as_str(), &payload[..]), ("session", &b"more"[..]));
    assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
    assert!(!rig.connection.is_open(channel));
    rig.connection.accept(channel, 100, 50, b"xyz");
    let mut confirmation = numbers(msg::CHANNEL_OPEN_CONFIRMATION, &[7, 0, 100, 50]);
    confirmation.extend(b"xyz");
    assert_eq!(rig.heard(), [confirmation]);

    let stream = Stream::Data;
    assert_eq!(
        rig.event(&data(0, b"hello")),
        Event::Data { channel, stream }
    );
    assert_eq!(rig.connection.data(), b"hello");
    assert_eq!(
        rig.event(&numbers(msg::CHANNEL_EOF, &[0])),
        Event::Eof { channel }
    );
    assert_eq!(rig.connection.data(), b"");

    assert_eq!(rig.connection.send_data(channel, stream, b"out"), 3);
    assert_eq!(rig.connection.send_data(channel, Stream::STDERR, b"err"), 3);
    rig.connection.send_eof(channel);
    rig.connection.send_eof(channel);
    assert_eq!(rig.connection.send_data(channel, stream, b"late"), 0);
    rig.connection
        .request(channel, "exit-status", false, &[0; 4])
        .unwrap();
    let mut status = request(7, b"exit-status", false);
    status.extend([0; 4]);
    let eof = numbers(msg::CHANNEL_EOF, &[7]);
    assert_eq!(
        rig.heard(),
        [data(7, b"out"), extended(7, 1, b"err"), eof, status]
    );

    let close = numbers(msg::CHANNEL_CLOSE, &[0]);
    assert_eq!(rig.event(&close), Event::PeerClosed { channel });
    assert_eq!(rig.connection.channels(), 1);
    rig.connection.close(channel);
    assert_eq!(rig.heard(), [numbers(msg::CHANNEL_CLOSE, &[7])]);
    assert_eq!(rig.connection.channels(), 0);
}

#[test]
fn we_open_a_channel() {
    let mut rig = rig();
    let channel = rig.connection.open("session", 1, 2, b"abc").unwrap();
    let mut expected = open(0, 1, 2);
    expected.extend(b"abc");
    assert_eq!(rig.heard(), [expected]);
    let [mut confirmation, _] = answers(0);
    confirmation.extend(b"rest");
    let payload = b"rest".to_vec();
    assert_eq!(
        rig.event(&confirmation),
        Event::OpenConfirmed { channel, payload }
    );
    assert_eq!(rig.connection.writable(channel), 100);
}

#[test]
fn the_peer_refuses_a_channel() {
    let mut rig = rig();
    let channel = rig.opening();
    let event = Event::OpenFailed {
        channel,
        reason: 9,
        text: "no\u{fffd}".into(),
    };
    assert_eq!(rig.event(&open_failure(0, 9, b"no\x1b")), event);
    assert_eq!(rig.connection.channels(), 0);
    assert_eq!(rig.opening(), channel);
}

#[test]
fn we_refuse_a_channel() {
    let mut rig = rig();
    let Event::ChannelOpen { channel, .. } = rig.event(&open(7, 1, 1)) else {
        panic!();
    };
    rig.connection
        .refuse(channel, OpenFailure::ConnectFailed, "no route");
    rig.connection
        .refuse(channel, OpenFailure::ConnectFailed, "again");
    rig.connection.accept(channel, 1, 1, b"");
    assert_eq!(rig.heard(), [open_failure(7, 2, b"no route")]);
    assert_eq!(rig.connection.channels(), 0);
}

#[test]
fn messages_for_a_channel_that_never_was_cut() {
    for number in [0, 1, u32::MAX] {
        for message in for_channel(number).into_iter().chain(answers(number)) {
            rig().cut(&message);
        }
    }
}

#[test]
fn messages_for_a_channel_not_confirmed_cut() {
    for message in for_channel(0) {
        let mut ours = rig();
        ours.opening();
        ours.cut(&message);
        let mut theirs = rig();
        theirs.event(&open(7, 1, 1));
        theirs.cut(&message);
    }
}

#[test]
fn messages_for_a_channel_that_is_gone_cut() {
    for message in for_channel(0).into_iter().chain(answers(0)) {
        for answered in [true, false] {
            let mut rig = rig();
            let channel = rig.accepted(100, 100);
            rig.event(&numbers(msg::CHANNEL_CLOSE, &[0]));
            if answered {
                rig.connection.close(channel);
            }
            rig.heard();
            rig.cut(&message);
        }
    }
}

#[test]
fn unsolicited_answers_cut() {
    let replies = [
        numbers(msg::CHANNEL_SUCCESS, &[0]),
        numbers(msg::CHANNEL_FAILURE, &[0]),
        vec![msg::REQUEST_SUCCESS],
        vec![msg::REQUEST_FAILURE],
    ];
    for message in answers(0).into_iter().chain(replies) {
        let mut accepted = rig();
        accepted.accepted(100, 100);
        accepted.cut(&message);
        let mut offered = rig();
        offered.event(&open(7, 1, 1));
        offered.cut(&message);
    }
}

#[test]
fn malformed_messages_cut_and_are_named() {
    let mut rig = rig();
    rig.accepted(100, 100);
    let mut long = numbers(msg::CHANNEL_EOF, &[0]);
    long.push(0);
    assert_eq!(rig.cut(&long), Error::Misbehaved("malformed CHANNEL_EOF"));
}

#[test]
fn data_after_eof_cut() {
    for message in [data(0, b"x"), data(0, b""), extended(0, 1, b"x")] {
        let mut rig = rig();
        rig.accepted(100, 100);
        rig.event(&numbers(msg::CHANNEL_EOF, &[0]));
        rig.cut(&message);
    }
}

#[test]
fn a_second_eof_says_nothing_new() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    let eof = numbers(msg::CHANNEL_EOF, &[0]);
    assert_eq!(rig.event(&eof), Event::Eof { channel });
    assert_eq!(rig.event(&eof), Event::NeedInput);
}

#[test]
fn after_our_close_the_rest_is_swallowed_until_theirs() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    rig.connection
        .request(channel, "keepalive", true, b"")
        .unwrap();
    rig.event(&request(0, b"shell", true));
    rig.connection.close(channel);
    rig.connection.close(channel);
    assert!(!rig.connection.is_open(channel));
    rig.heard();
    let rest = [
        data(0, &[1; 50]),
        extended(0, 1, &[1; 50]),
        numbers(msg::CHANNEL_WINDOW_ADJUST, &[0, 5]),
        numbers(msg::CHANNEL_SUCCESS, &[0]),
        request(0, b"exit-status", true),
        numbers(msg::CHANNEL_EOF, &[0]),
    ];
    for message in rest {
        assert_eq!(rig.event(&message), Event::NeedInput);
    }
    rig.connection.reply(channel, true);
    rig.connection.send_eof(channel);
    rig.connection.consumed(channel, 100);
    rig.connection.request(channel, "x", true, b"").unwrap();
    assert_eq!(rig.connection.send_data(channel, Stream::Data, b"x"), 0);
    assert_eq!(rig.connection.channels(), 1);
    let close = numbers(msg::CHANNEL_CLOSE, &[0]);
    assert_eq!(rig.event(&close), Event::Closed { channel });
    assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
}

#[test]
fn after_the_peers_close_nothing_passes_but_ours() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    let close = numbers(msg::CHANNEL_CLOSE, &[0]);
    rig.event(&data(0, b"late"));
    assert_eq!(rig.event(&close), Event::PeerClosed { channel });
    rig.connection.reply(channel, true);
    rig.connection.send_eof(channel);
    rig.connection.consumed(channel, 4);
    rig.connection.request(channel, "x", true, b"").unwrap();
    assert_eq!(rig.connection.send_data(channel, Stream::Data, b"x"), 0);
    assert!(!rig.connection.is_open(channel));
    assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
    assert_ne!(rig.opening(), channel);
    rig.connection.close(channel);
    assert_eq!(rig.heard(), [numbers(msg::CHANNEL_CLOSE, &[7])]);
    assert_eq!(rig.opening(), channel);
}

#[test]
fn a_number_is_used_again_only_after_both_closes() {
    let mut rig = rig();
    let first = rig.accepted(100, 100);
    rig.connection.close(first);
    let second = rig.opening();
    assert_ne!(first, second);
    rig.event(&numbers(msg::CHANNEL_CLOSE, &[0]));
    assert_eq!(rig.opening(), first);
}

#[test]
fn channels_beyond_the_bound_are_refused_and_the_rest_goes_on() {
    let mut rig = Rig::new(Limits {
        channels: 2,
        ..Limits::default()
    });
    let channel = rig.accepted(100, 100);
    rig.opening();
    assert_eq!(rig.event(&open(8, 1, 1)), Event::NeedInput);
    assert_eq!(rig.heard(), [open_failure(8, 4, b"too many channels")]);
    assert!(rig.connection.open("session", 1, 1, b"").is_err());
    let stream = Stream::Data;
    assert_eq!(rig.event(&data(0, b"x")), Event::Data { channel, stream });
}

#[test]
fn a_peer_that_takes_no_packet_is_refused_or_cut() {
    let mut rig = rig();
    assert_eq!(rig.event(&open(7, 100, 0)), Event::NeedInput);
    assert_eq!(
        rig.heard(),
        [open_failure(7, 1, b"maximum packet size of 0")]
    );
    assert_eq!(rig.connection.channels(), 0);
    rig.opening();
    rig.cut(&numbers(msg::CHANNEL_OPEN_CONFIRMATION, &[0, 1, 100, 0]));
}

#[test]
fn refused_and_closed_channels_leave_nothing_behind() {
    let mut rig = rig();
    for _ in 0..20_000 {
        let Event::ChannelOpen { channel, .. } = rig.event(&open(7, 1, 1)) else {
            panic!();
        };
        rig.connection
            .refuse(channel, OpenFailure::ConnectFailed, "no");
        let again = rig.accepted(100, 100);
        assert_eq!(again, channel);
        rig.event(&numbers(msg::CHANNEL_CLOSE, &[0]));
        rig.connection.close(channel);
        rig.heard();
    }
    assert_eq!(rig.connection.channels(), 0);
}

#[test]
fn every_request_that_wants_a_reply_gets_one_and_no_other_does() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    for (name, want_reply) in [("a", true), ("b", false), ("c", true)] {
        let event = Event::Request {
            channel,
            request: name.into(),
            want_reply,
            payload: Vec::new(),
        };
        assert_eq!(rig.event(&request(0, name.as_bytes(), want_reply)), event);
    }
    for success in [false, true, true] {
        rig.connection.reply(channel, success);
    }
    let replies = [msg::CHANNEL_FAILURE, msg::CHANNEL_SUCCESS].map(|n| numbers(n, &[7]));
    assert_eq!(rig.heard(), replies);
}

#[test]
fn replies_come_in_order_and_no_more_than_were_asked_for() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    rig.connection.request(channel, "a", true, b"1").unwrap();
    rig.connection.request(channel, "b", false, b"").unwrap();
    let mut first = request(7, b"a", true);
    first.push(b'1');
    assert_eq!(rig.heard(), [first, request(7, b"b", false)]);
    let success = true;
    let reply = numbers(msg::CHANNEL_SUCCESS, &[0]);
    assert_eq!(rig.event(&reply), Event::Reply { channel, success });
    rig.cut(&reply);
}

#[test]
fn global_requests_and_their_replies() {
    let mut rig = rig();
    for want_reply in [true, false, true] {
        let event = Event::GlobalRequest {
            name: "tcpip-forward".into(),
            want_reply,
            payload: Vec::new(),
        };
        assert_eq!(
            rig.event(&global_request(b"tcpip-forward", want_reply)),
            event
        );
    }
    rig.connection.global_reply(false, b"dropped");
    rig.connection.global_reply(true, b"port");
    rig.connection.global_reply(true, b"never");
    let mut success = vec![msg::REQUEST_SUCCESS];
    success.extend(b"port");
    assert_eq!(rig.heard(), [vec![msg::REQUEST_FAILURE], success]);

    rig.connection
        .global_request("keepalive", true, b"p")
        .unwrap();
    rig.connection.global_request("hello", false, b"").unwrap();
    let mut first = global_request(b"keepalive", true);
    first.push(b'p');
    assert_eq!(rig.heard(), [first, global_request(b"hello", false)]);
    let event = Event::GlobalReply {
        success: true,
        payload: vec![1, 2],
    };
    assert_eq!(rig.event(&[msg::REQUEST_SUCCESS, 1, 2]), event);
    rig.cut(&[msg::REQUEST_FAILURE]);
}

#[test]
fn requests_without_a_reply_are_bounded_both_ways() {
    let limits = || Limits {
        replies: 2,
        ..Limits::default()
    };
    let mut rig = Rig::new(limits());
    let channel = rig.accepted(100, 100);
    for _ in 0..2 {
        rig.connection.request(channel, "a", true, b"").unwrap();
        rig.connection.global_request("a", true, b"").unwrap();
        rig.event(&request(0, b"a", true));
        rig.event(&global_request(b"a", true));
    }
    let refused: Result<(), LimitReached> = rig.connection.request(channel, "a", true, b"");
    assert!(refused.is_err() && rig.connection.global_request("a", true, b"").is_err());
    rig.connection.request(channel, "a", false, b"").unwrap();
    rig.event(&request(0, b"a", false));
    rig.connection.reply(channel, true);
    rig.event(&request(0, b"a", true));
    assert!(matches!(rig.cut(&request(0, b"a", true)), Error::Limit(_)));
    let mut rig = Rig::new(limits());
    rig.event(&global_request(b"a", true));
    rig.event(&global_request(b"a", true));
    assert!(matches!(
        rig.cut(&global_request(b"a", true)),
        Error::Limit(_)
    ));
}

#[test]
fn unknown_message_numbers_are_unimplemented() {
    let mut rig = rig();
    rig.accepted(100, 100);
    for number in [83, 89, 101, 127, 191] {
        assert_eq!(rig.event(&[number, 1, 2, 3]), Event::NeedInput);
        // The peer's transport keeps the answer to itself.
        assert!(!rig.connection.transport_mut().output().is_empty());
        assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
    }
    assert_eq!(rig.event(&[msg::USERAUTH_REQUEST, 1]), Event::NeedInput);
    assert!(rig.connection.transport_mut().output().is_empty());
}

#[test]
fn names_that_are_not_text_are_only_unknown_names() {
    let mut rig = rig();
    rig.accepted(100, 100);
    let event = rig.event(&request(0, b"sh\xffell", false));
    assert!(matches!(event, Event::Request { request, .. } if request == "sh\u{fffd}ell"));
    let event = rig.event(&global_request(b"\xff", false));
    assert!(matches!(event, Event::GlobalRequest { name, .. } if name == "\u{fffd}"));
}

#[test]
fn calls_for_a_channel_that_is_gone_do_nothing() {
    let mut rig = rig();
    let channel = rig.accepted(100, 100);
    rig.event(&numbers(msg::CHANNEL_CLOSE, &[0]));
    rig.connection.close(channel);
    rig.heard();
    rig.connection.accept(channel, 1, 1, b"");
    rig.connection
        .refuse(channel, OpenFailure::ConnectFailed, "");
    rig.connection.send_eof(channel);
    rig.connection.close(channel);
    rig.connection.consumed(channel, 1);
    rig.connection.reply(channel, true);
    rig.connection.request(channel, "x", true, b"").unwrap();
    assert_eq!(rig.connection.send_data(channel, Stream::Data, b"x"), 0);
    assert_eq!(rig.connection.writable(channel), 0);
    assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
}

#[test]
fn an_opening_channel_waits_for_its_answer() {
    let mut rig = rig();
    let channel = rig.opening();
    rig.connection.close(channel);
    rig.connection.accept(channel, 1, 1, b"");
    rig.connection
        .refuse(channel, OpenFailure::ConnectFailed, "");
    rig.connection.request(channel, "x", true, b"").unwrap();
    assert_eq!(rig.connection.send_data(channel, Stream::Data, b"x"), 0);
    assert_eq!(rig.heard(), Vec::<Vec<u8>>::new());
    let payload = Vec::new();
    assert_eq!(
        rig.event(&answers(0)[0]),
        Event::OpenConfirmed { channel, payload }
    );
}
