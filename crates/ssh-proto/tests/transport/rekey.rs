//! Key exchanges after the first, with payloads in flight.

use std::time::Duration;

use ssh_proto::Error;
use ssh_proto::algorithm::{Algorithms, Cipher};
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::error::Reason;
use ssh_proto::msg;
use ssh_proto::transport::{Event, RekeyLimits, Role};

use crate::support::peer::{Offer, Peer};
use crate::support::{CLIENT, ENDS, LONGEST_PAYLOAD, Pair, Pieces, SERVER, below, fast, payload};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn limited(limits: RekeyLimits) -> Pair {
    Pair::of(&fast(), limits).connect().authenticate()
}

/// Both ends want new keys, or neither does.
fn due(pair: &Pair) -> bool {
    let [client, server] = ENDS.map(|end| pair.ends[end].rekey_due(pair.now));
    assert_eq!(client, server);
    client
}

fn rekey(pair: &mut Pair) {
    pair.ends[CLIENT].start_rekey(pair.now);
    assert!(!pair.ends[CLIENT].rekey_due(pair.now));
    pair.drive();
    assert_eq!(pair.errors, [None, None]);
    assert!(pair.ends.iter().all(|end| !end.is_keying()));
}

#[test]
fn new_keys_are_due_after_bytes_packets_or_time_in_either_direction() {
    let bytes = RekeyLimits {
        bytes: 100_000,
        ..RekeyLimits::default()
    };
    let packets = RekeyLimits {
        packets: 50,
        ..RekeyLimits::default()
    };
    for (limits, count, length) in [(bytes, 10, 10_000), (packets, 50, 10)] {
        for from in ENDS {
            let mut pair = limited(limits);
            for round in 0..3 {
                // EXT_INFO is a packet, too.
                let first = usize::from(round == 0 && from == SERVER && length == 10);
                for number in first..count {
                    assert!(!due(&pair), "{number}");
                    pair.ends[from].send(&[&payload(number, length)]);
                    pair.drive();
                }
                assert!(due(&pair));
                rekey(&mut pair);
            }
        }
    }
    let mut pair = limited(RekeyLimits::default());
    for _ in 0..3 {
        pair.advance(3599);
        assert!(!due(&pair));
        pair.advance(1);
        assert!(due(&pair));
        rekey(&mut pair);
    }
}

#[test]
fn a_hundred_rekeys_in_a_row_keep_the_session_id() {
    let algorithms = Algorithms {
        cipher: vec![Cipher::ChaCha20Poly1305],
        ..fast()
    };
    let pair = Pair::of(&algorithms, RekeyLimits::default());
    let mut pair = pair.connect().authenticate();
    let id = pair.ends[CLIENT].session_id().to_vec();
    for round in 0..100 {
        pair.ends[round % 2].start_rekey(pair.now);
        for end in ENDS {
            pair.ends[end].send(&[&payload(round, 100)]);
        }
        pair.drive();
        for end in ENDS {
            assert_eq!(pair.take_got(end), [payload(round, 100)]);
            assert_eq!(pair.ends[end].session_id(), id);
            assert!(!pair.ends[end].is_keying());
        }
    }
}

#[test]
fn nothing_but_kex_messages_between_our_kexinit_and_newkeys() {
    for role in ROLES {
        let mut peer = Peer::authenticated(role, Offer::default());
        let numbers = |peer: &mut Peer| -> Vec<u8> {
            let heard = peer.heard();
            heard.iter().map(|payload| payload[0]).collect()
        };
        let mut sent = 0;
        let mut send = |peer: &mut Peer| {
            peer.transport.send(&[&payload(sent, 30)]);
            let with = peer
                .transport
                .send_with(&[msg::CHANNEL_EXTENDED_DATA], 4, |to| {
                    to.fill(1);
                    (4, ())
                });
            assert_eq!(with, Ok(()));
            sent += 1;
        };
        send(&mut peer);
        peer.transport.start_rekey(peer.now);
        peer.transport.start_rekey(peer.now);
        send(&mut peer);
        assert_eq!(numbers(&mut peer), [94, 95, 20]);
        // The peer has not seen it yet and goes on.
        peer.say(&payload(0, 20));
        assert_eq!(peer.poll(), Ok(Event::Packet));
        assert!(!peer.transport.peer_is_keying());
        peer.say_kexinit();
        assert_eq!(peer.poll(), Ok(Event::NeedInput));
        assert!(peer.transport.peer_is_keying());
        send(&mut peer);
        let own: &[u8] = match role {
            Role::Client => &[30],
            Role::Server => &[],
        };
        assert_eq!(numbers(&mut peer), own);
        peer.say_kex_message();
        assert_eq!(peer.poll(), Ok(Event::NeedInput));
        // Behind our NEWKEYS all of it leaves, although the peer's has not come.
        send(&mut peer);
        let mut heard = numbers(&mut peer);
        if role == Role::Server {
            assert_eq!(heard.remove(0), 31);
        }
        assert_eq!(heard, [21, 94, 95, 94, 95, 94, 95]);
        assert!(peer.transport.is_keying() && peer.transport.peer_is_keying());
        peer.say_newkeys();
        assert_eq!(peer.poll(), Ok(Event::NeedInput));
        assert!(!peer.transport.is_keying() && !peer.transport.peer_is_keying());
    }
}

#[test]
fn a_peer_that_sends_data_after_its_kexinit_is_cut() {
    for role in ROLES {
        let mut peer = Peer::authenticated(role, Offer::default());
        peer.say_kexinit();
        peer.poll().unwrap();
        peer.heard();
        peer.cut(&payload(0, 20));
    }
}

#[test]
fn payloads_that_wait_take_room() {
    let mut pair = Pair::authenticated();
    let client = &mut pair.ends[CLIENT];
    let whole = client.room();
    assert_eq!(whole, 256 * 1024);
    client.start_rekey(pair.now);
    let mut sent = Vec::new();
    while client.room() > 10_100 {
        let before = client.room();
        sent.push(payload(sent.len(), 10_000));
        client.send(&[&sent[sent.len() - 1]]);
        assert!(client.room() + 10_000 <= before);
    }
    assert!((20..30).contains(&sent.len()));
    // The longest that may come while there is room for a byte; the exchange still comes to its end.
    sent.push(payload(99, LONGEST_PAYLOAD));
    client.send(&[&sent[sent.len() - 1]]);
    assert_eq!(client.room(), 0);
    pair.drive();
    assert_eq!(pair.ends[CLIENT].room(), whole);
    assert!(pair.take_got(SERVER) == sent);
}

#[test]
fn a_key_exchange_that_takes_a_minute_ends_the_connection() {
    let timeout = Error::Timeout("key exchange");
    for role in ROLES {
        for first in [true, false] {
            let mut peer = match first {
                true => Peer::new(role, Offer::default()),
                false => Peer::authenticated(role, Offer::default()),
            };
            if !first {
                assert_eq!(peer.transport.poll_timeout(), None);
                peer.transport.start_rekey(peer.now);
            }
            let deadline = peer.now + Duration::from_secs(60);
            // What the peer says in between buys no time.
            if !first {
                peer.now += Duration::from_secs(30);
                peer.say_kexinit();
                peer.poll().unwrap();
            }
            assert_eq!(peer.transport.poll_timeout(), Some(deadline));
            let early = deadline - Duration::from_millis(1);
            assert_eq!(peer.transport.handle_timeout(early), Ok(()));
            assert_eq!(
                peer.transport.handle_timeout(deadline),
                Err(timeout.clone())
            );
            assert_eq!(timeout.reason(), Some(Reason::ByApplication));
            assert_eq!(peer.must_be_cut(), timeout);
        }
    }
}

#[test]
fn both_sides_rekey_with_data_in_flight_and_blocked_wires() {
    for seed in 0..40 {
        let mut random = SeededRandom::new(seed);
        let mut pair = Pair::authenticated();
        for (wire, seed) in pair.wires.iter_mut().zip([seed + 1, seed + 2]) {
            wire.pieces = Pieces::Random(SeededRandom::new(seed));
        }
        let mut sent = [Vec::new(), Vec::new()];
        let mut rekeys = 0;
        for _ in 0..1500 {
            let end = below(&mut random, 2);
            match below(&mut random, 20) {
                0 => {
                    pair.ends[end].start_rekey(pair.now);
                    rekeys += 1;
                }
                1 => ENDS
                    .map(|end| pair.ends[end].start_rekey(pair.now))
                    .into_iter()
                    .collect(),
                2 => pair.wires[end].capacity = 0,
                3 | 4 => pair.wires[end].capacity = 1 + below(&mut random, 3000),
                5..10 if pair.ends[end].room() > 0 => {
                    let payload = payload(sent[end].len(), below(&mut random, 3000));
                    pair.ends[end].send(&[&payload]);
                    sent[end].push(payload);
                }
                _ => {
                    pair.step();
                }
            }
        }
        pair.wires
            .iter_mut()
            .for_each(|wire| wire.capacity = usize::MAX);
        pair.drive();
        assert_eq!(pair.errors, [None, None]);
        assert!(rekeys > 20 && sent[CLIENT].len() > 100);
        for end in ENDS {
            assert!(pair.got[1 - end] == sent[end], "seed {seed}");
            assert!(!pair.ends[end].is_keying());
        }
    }
}

#[test]
fn keys_change_with_every_exchange() {
    let mut pair = Pair::authenticated();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let packet = pair.sealed(CLIENT, &payload(0, 100));
        pair.inject(SERVER, &packet);
        assert!(!seen.contains(&packet));
        seen.push(packet);
        rekey(&mut pair);
    }
}
