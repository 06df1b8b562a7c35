//! What a peer may do, and how much of it: budgets, answers, pings, and how a connection ends.

use ssh_proto::Error;
use ssh_proto::error::Reason;
use ssh_proto::msg;
use ssh_proto::transport::{Event, Role};
use ssh_proto::wire::Put;

use crate::support::peer::{Offer, Peer};
use crate::support::{CLIENT, Pair, SERVER, payload};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// A message with one string.
fn with_string(number: u8, string: &[u8]) -> Vec<u8> {
    let mut payload = vec![number];
    payload.put_string(string);
    payload
}

#[test]
fn before_authentication_64_packets_and_256_kib_are_the_budget() {
    let limit = Error::Limit("too much before authentication");
    let userauth = |role| match role {
        Role::Server => msg::USERAUTH_REQUEST,
        Role::Client => msg::USERAUTH_BANNER,
    };
    for role in ROLES {
        for number in [msg::IGNORE, userauth(role)] {
            let mut peer = Peer::connected(role, Offer::default());
            for _ in 0..64 {
                peer.say(&with_string(number, b"x"));
                peer.poll().unwrap();
            }
            assert_eq!(peer.cut(&with_string(number, b"x")), limit);

            let mut peer = Peer::connected(role, Offer::default());
            for _ in 0..7 {
                peer.say(&with_string(number, &[0; 32 * 1024]));
                peer.poll().unwrap();
            }
            assert_eq!(peer.cut(&with_string(number, &[0; 32 * 1024])), limit);
        }
        let mut peer = Peer::authenticated(role, Offer::default());
        for _ in 0..1000 {
            peer.ignored(&with_string(msg::IGNORE, &[0; 1024]));
        }
    }
}

/// Nobody but a user may make us hold more than every implementation has to take (RFC 4253 section 6.1).
#[test]
fn long_packets_are_for_those_who_are_authenticated() {
    let long = with_string(msg::IGNORE, &[0; 36 * 1024]);
    for role in ROLES {
        let mut peer = Peer::connected(role, Offer::default());
        let refused = Error::Misbehaved("packet length out of range");
        assert_eq!(peer.cut(&long), refused);
        Peer::authenticated(role, Offer::default()).ignored(&long);
    }
}

#[test]
fn the_first_key_exchange_has_the_same_budget() {
    for role in ROLES {
        let strict = false;
        let mut peer = Peer::new(
            role,
            Offer {
                strict,
                ..Offer::default()
            },
        );
        peer.identify();
        for _ in 0..64 {
            peer.say(&with_string(msg::IGNORE, b""));
            assert_eq!(peer.poll(), Ok(Event::NeedInput));
        }
        let error = peer.cut(&with_string(msg::IGNORE, b""));
        assert!(matches!(error, Error::Limit(_)));
    }
}

#[test]
fn nobody_rekeys_before_authentication() {
    for role in ROLES {
        let mut peer = Peer::connected(role, Offer::default());
        peer.now += std::time::Duration::from_secs(100_000);
        assert!(!peer.transport.rekey_due(peer.now));
        let kexinit = peer.kexinit();
        let error = Error::Misbehaved("message not allowed in this state");
        assert_eq!(peer.cut(&kexinit), error);
    }
}

#[test]
fn unknown_messages_are_unimplemented_with_their_sequence_numbers() {
    for role in ROLES {
        for strict in [false, true] {
            let mut peer = Peer::authenticated(
                role,
                Offer {
                    strict,
                    ..Offer::default()
                },
            );
            for rekey in [false, true] {
                if rekey {
                    peer.kex().unwrap();
                    peer.heard();
                }
                for number in [0, 8, 83, 200, 255] {
                    let mut answer = vec![msg::UNIMPLEMENTED];
                    answer.put_u32(peer.sequence_out);
                    peer.say(&[number, 1, 2, 3]);
                    assert_eq!(peer.poll(), Ok(Event::NeedInput));
                    assert_eq!(peer.heard(), [answer]);
                    peer.ignored(&with_string(msg::IGNORE, b""));
                }
            }
        }
    }
}

#[test]
fn pings_are_answered_in_their_order() {
    for role in ROLES {
        let mut peer = Peer::authenticated(role, Offer::default());
        for data in [&b""[..], b"data", &[0xff; 1000]] {
            peer.say(&with_string(msg::PING, data));
        }
        assert_eq!(peer.poll(), Ok(Event::NeedInput));
        let pongs = [&b""[..], b"data", &[0xff; 1000]].map(|data| with_string(msg::PONG, data));
        assert_eq!(peer.heard(), pongs);
        peer.ignored(&with_string(msg::PONG, b"unasked"));
        peer.cut(&[msg::PING, 0, 0, 0, 1]);
    }
}

#[test]
fn pongs_wait_for_the_end_of_our_key_exchange_and_are_bounded() {
    for role in ROLES {
        let mut peer = Peer::authenticated(role, Offer::default());
        peer.transport.start_rekey(peer.now);
        peer.say(&with_string(msg::PING, b"1"));
        peer.say(&with_string(msg::PING, b"2"));
        assert_eq!(peer.poll(), Ok(Event::NeedInput));
        let heard = peer.heard();
        assert_eq!((heard.len(), heard[0][0]), (1, msg::KEXINIT));
        peer.say_kexinit();
        peer.poll().unwrap();
        let after_kexinit = peer.heard();
        assert!(after_kexinit.iter().all(|it| it[0] == msg::KEX_ECDH_INIT));
        peer.say_kex_message();
        peer.poll().unwrap();
        let heard = peer.heard();
        let pongs = [with_string(msg::PONG, b"1"), with_string(msg::PONG, b"2")];
        assert_eq!(heard[heard.len() - 3], [msg::NEWKEYS]);
        assert_eq!(heard[heard.len() - 2..], pongs);
        peer.say_newkeys();
        peer.poll().unwrap();

        peer.transport.start_rekey(peer.now);
        for _ in 0..1024 {
            peer.say(&with_string(msg::PING, b""));
            assert_eq!(peer.poll(), Ok(Event::NeedInput));
        }
        let error = peer.cut(&with_string(msg::PING, b""));
        assert_eq!(error, Error::Limit("pings during a key exchange"));
    }
}

#[test]
fn a_peer_that_asks_without_reading_is_not_read_either() {
    let mut peer = Peer::authenticated(Role::Server, Offer::default());
    let ping = with_string(msg::PING, &[1; 10_000]);
    for _ in 0..100 {
        peer.say(&ping);
    }
    assert_eq!(peer.poll(), Ok(Event::NeedOutput));
    assert_eq!(peer.transport.room(), 0);
    let waiting = peer.transport.output().len();
    assert!((512 * 1024..530 * 1024).contains(&waiting), "{waiting}");
    let mut answers = peer.heard().len();
    assert_eq!(peer.poll(), Ok(Event::NeedInput));
    answers += peer.heard().len();
    assert_eq!(answers, 100);
}

/// What is held cannot leave before more is read, so waiting for it would end with the deadline only.
#[test]
fn answers_that_a_key_exchange_holds_are_bounded_in_bytes_too() {
    let mut peer = Peer::authenticated(Role::Server, Offer::default());
    peer.transport.start_rekey(peer.now);
    peer.heard();
    let ping = with_string(msg::PING, &[1; 30_000]);
    for _ in 0..17 {
        peer.say(&ping);
        assert_eq!(peer.poll(), Ok(Event::NeedInput));
    }
    let error = peer.cut(&ping);
    assert_eq!(error, Error::Limit("answers during a key exchange"));
}

#[test]
fn a_disconnect_is_reported_with_printable_text_and_not_answered() {
    let long = [b'a'; 1000];
    let mut cases = vec![
        (&b"bye"[..], "bye".to_owned()),
        (b"", String::new()),
        (
            b"\x1b[31m\r\nroot# \xff",
            "\u{fffd}[31m\u{fffd}\u{fffd}root# \u{fffd}".to_owned(),
        ),
        ("\u{202e}evil".as_bytes(), "\u{fffd}evil".to_owned()),
    ];
    cases.push((&long, "a".repeat(400)));
    for role in ROLES {
        for (text, shown) in &cases {
            let mut message = vec![msg::DISCONNECT];
            message.put_u32(11);
            message.put_string(text);
            message.put_string(b"en");
            let mut peer = Peer::authenticated(role, Offer::default());
            peer.say(&message);
            let error = Error::Disconnected {
                reason: 11,
                description: shown.clone(),
            };
            assert_eq!(peer.poll(), Err(error.clone()));
            assert_eq!(peer.transport.failure(), Some(&error));
            assert_eq!(peer.heard(), Vec::<Vec<u8>>::new());
        }
        let mut peer = Peer::authenticated(role, Offer::default());
        peer.say(&[msg::DISCONNECT]);
        let error = peer.poll().unwrap_err();
        assert!(matches!(error, Error::Disconnected { reason: 0, .. }));
    }
}

#[test]
fn the_first_error_counts_and_its_disconnect_is_the_last_word() {
    let mut pair = Pair::authenticated();
    let first = Error::Closed {
        reason: Reason::TooManyConnections,
        text: "come back later".into(),
    };
    let server = &mut pair.ends[SERVER];
    server.send(&[&payload(1, 20)]);
    assert_eq!(server.fail(first.clone()), first);
    assert_eq!(server.fail(Error::Integrity), first);
    server.send(&[&payload(2, 20)]);
    assert!(server.send_with(&[94], 10, |_| (10, ())).is_err());
    server.start_rekey(pair.now);
    server.send_unimplemented();
    assert_eq!(server.poll(pair.now), Err(first.clone()));
    pair.poll(SERVER);
    assert_eq!(pair.cut(SERVER), first);
    assert_eq!(pair.take_got(CLIENT), [payload(1, 20)]);
}

#[test]
fn an_internal_error_tells_the_peer_nothing_about_the_inside() {
    let mut pair = Pair::authenticated();
    pair.ends[SERVER].fail(Error::Bug("the secret of our inside"));
    pair.drive();
    let told = pair.errors[CLIENT].clone().unwrap().to_string();
    assert_eq!(told, "disconnected by the peer: internal error (reason 11)");
}

#[test]
fn a_packet_stays_until_the_next_poll_and_can_be_wiped() {
    let mut peer = Peer::authenticated(Role::Server, Offer::default());
    peer.say(&payload(1, 50));
    peer.say(&payload(2, 50));
    assert_eq!(peer.poll(), Ok(Event::Packet));
    assert_eq!(peer.transport.packet(), payload(1, 50));
    peer.transport.wipe_packet();
    assert_eq!(peer.transport.packet(), [0; 50]);
    assert_eq!(peer.poll(), Ok(Event::Packet));
    assert_eq!(peer.transport.packet(), payload(2, 50));
    assert_eq!(peer.poll(), Ok(Event::NeedInput));
    assert_eq!(peer.transport.packet(), b"");
    peer.transport.wipe_packet();
}
