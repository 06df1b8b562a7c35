//! Strict key exchange (OpenSSH PROTOCOL section 1.10) against Terrapin, in both roles, and peers that
//! do not know it.

use ssh_proto::Error;
use ssh_proto::algorithm::{Cipher, Mac};
use ssh_proto::error::Reason;
use ssh_proto::msg;
use ssh_proto::transport::{Event, Role};

use crate::support::payload;
use crate::support::peer::{Offer, Peer};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

const IGNORE: &[u8] = &[msg::IGNORE, 0, 0, 0, 0];
const UNIMPLEMENTED: &[u8] = &[msg::UNIMPLEMENTED, 0, 0, 0, 0];
const DEBUG: &[u8] = &[msg::DEBUG, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const EXT_INFO: &[u8] = &[msg::EXT_INFO, 0, 0, 0, 0];

/// The peer's part of a key exchange, one message at a time.
const STEPS: [fn(&mut Peer); 3] = [Peer::say_kexinit, Peer::say_kex_message, Peer::say_newkeys];

/// Sends `message` in the first key exchange in front of the peer's packet `position`.
fn with_injection(role: Role, offer: Offer, position: usize, message: &[u8]) -> Peer {
    let mut peer = Peer::new(role, offer);
    peer.identify();
    for (number, step) in STEPS.iter().enumerate() {
        if number == position {
            peer.say(message);
        }
        step(&mut peer);
        if peer.poll().is_err() {
            break;
        }
        peer.heard();
    }
    peer
}

#[test]
fn any_other_message_in_a_strict_first_key_exchange_is_cut() {
    for role in ROLES {
        for message in [IGNORE, UNIMPLEMENTED, DEBUG, EXT_INFO] {
            for position in 0..3 {
                let mut peer = with_injection(role, Offer::default(), position, message);
                let error = peer.must_be_cut();
                assert_eq!(error.reason(), Some(Reason::ProtocolError), "{error}");
            }
        }
    }
}

#[test]
fn a_disconnect_is_heard_in_a_strict_first_key_exchange() {
    let message = [&[1, 0, 0, 0, 11, 0, 0, 0, 2][..], b"no", &[0; 4]].concat();
    for role in ROLES {
        let mut peer = with_injection(role, Offer::default(), 1, &message);
        let error = peer.poll().unwrap_err();
        assert!(matches!(error, Error::Disconnected { reason: 11, .. }));
    }
}

#[test]
fn a_peer_without_strict_key_exchange_may_send_them_but_no_ext_info() {
    let offer = Offer {
        strict: false,
        ..Offer::default()
    };
    for role in ROLES {
        for position in 0..3 {
            for message in [IGNORE, UNIMPLEMENTED, DEBUG] {
                let mut peer = with_injection(role, offer.clone(), position, message);
                peer.heard();
                peer.transport.set_authenticated();
                peer.say(&payload(0, 20));
                assert_eq!(peer.poll(), Ok(Event::Packet));
            }
            let mut peer = with_injection(role, offer.clone(), position, EXT_INFO);
            peer.must_be_cut();
        }
    }
}

fn offers() -> impl Iterator<Item = Offer> {
    Cipher::ALL.iter().flat_map(|cipher| {
        [Mac::HmacSha256, Mac::HmacSha256Etm].map(|mac| Offer {
            cipher: *cipher,
            mac,
            ..Offer::default()
        })
    })
}

#[test]
fn without_strict_key_exchange_chacha20_is_refused_and_the_rest_works() {
    for role in ROLES {
        for offer in offers() {
            let chacha = offer.cipher == Cipher::ChaCha20Poly1305;
            let strict = false;
            let mut peer = Peer::new(role, Offer { strict, ..offer });
            peer.identify();
            peer.say_kexinit();
            if chacha {
                let text = "chacha20-poly1305 needs strict key exchange";
                assert_eq!(peer.must_be_cut(), Error::KeyExchange(text));
                continue;
            }
            let mut peer = Peer::authenticated(role, peer.offer);
            assert!(!peer.transport.negotiated().unwrap().strict);
            for _ in 0..3 {
                peer.say(&payload(0, 20));
                assert_eq!(peer.poll(), Ok(Event::Packet));
                peer.transport.send(&[b"\x5ehello"]);
                assert_eq!(peer.heard(), [b"\x5ehello"]);
                peer.kex().unwrap();
                peer.heard();
            }
            assert!(peer.sequence_out > 10);
        }
    }
}

#[test]
fn sequence_numbers_restart_with_every_newkeys() {
    // Which of them are used is seen where the number goes into the MAC or the nonce.
    for role in ROLES {
        for offer in offers().filter(|offer| !matches!(offer.cipher, Cipher::Aes128Gcm)) {
            let mut peer = Peer::authenticated(role, offer);
            for _ in 0..3 {
                peer.say(&payload(0, 20));
                assert_eq!(peer.poll(), Ok(Event::Packet));
                peer.transport.send(&[b"\x5ehello"]);
                assert_eq!(peer.heard(), [b"\x5ehello"]);
                peer.kex().unwrap();
                peer.heard();
                assert_eq!((peer.sequence_in, peer.sequence_out), (0, 0));
            }
        }
    }
}

#[test]
fn a_peer_whose_sequence_numbers_go_on_is_cut() {
    let offer = Offer {
        cipher: Cipher::Aes256Ctr,
        mac: Mac::HmacSha512Etm,
        ..Offer::default()
    };
    for role in ROLES {
        for rekey in [false, true] {
            let mut peer = Peer::authenticated(role, offer.clone());
            if rekey {
                peer.kex().unwrap();
                peer.heard();
            }
            peer.sequence_out = 3;
            assert_eq!(peer.cut(&payload(0, 20)), Error::Integrity);
        }
    }
}

#[test]
fn a_packet_taken_out_behind_newkeys_is_noticed() {
    // Terrapin: an IGNORE in the first key exchange would make up for the missing EXT_INFO.
    for role in ROLES {
        for offer in offers() {
            let mut peer = Peer::connected(role, offer);
            peer.sealed(EXT_INFO);
            peer.transport.set_authenticated();
            peer.say(&payload(0, 20));
            // Without its length, which may be garbage now, a packet is waited for.
            peer.say_raw(&vec![0; 300_000]);
            let error = peer.must_be_cut();
            assert!(
                matches!(error, Error::Integrity | Error::Misbehaved(_)),
                "{error}"
            );
        }
    }
}

#[test]
fn strictness_is_what_the_first_key_exchange_said() {
    for role in ROLES {
        for strict in [false, true] {
            let offer = Offer {
                cipher: Cipher::Aes256Ctr,
                mac: Mac::HmacSha512Etm,
                strict,
                ..Offer::default()
            };
            let mut peer = Peer::authenticated(role, offer);
            peer.ignored(IGNORE);
            // Later the marker says nothing.
            peer.offer.strict = !strict;
            peer.say_kexinit();
            peer.offer.strict = strict;
            peer.poll().unwrap();
            peer.heard();
            for step in &STEPS[1..] {
                step(&mut peer);
                peer.poll().unwrap();
                peer.heard();
            }
            peer.say(&payload(0, 20));
            assert_eq!(peer.poll(), Ok(Event::Packet));
            assert_eq!(peer.sequence_out == 1, strict);
        }
    }
}
