//! Identification and packets that are not what they should be, and the reason that the peer gets.

use ssh_proto::algorithm::{Cipher, Mac};
use ssh_proto::error::Reason;
use ssh_proto::msg;
use ssh_proto::transport::{Event, Role};
use ssh_proto::{Error, wire::Put};

use crate::support::peer::{Offer, Peer};
use crate::support::{
    CLIENT, LONGEST_PAYLOAD, Pair, SERVER, clear, clear_packet, clear_payloads, payload,
    read_disconnect, take_output,
};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// What a fresh end says to these bytes: the reason of its DISCONNECT, or that it waits for more.
fn says_to(role: Role, bytes: &[u8]) -> Option<Reason> {
    let mut peer = Peer::new(role, Offer::default());
    peer.say_raw(bytes);
    match peer.transport.poll(peer.now) {
        Ok(Event::NeedInput) => None,
        Ok(event) => panic!("{event:?}"),
        Err(error) => {
            let payloads = clear_payloads(&take_output(&mut peer.transport));
            assert_eq!(payloads.len(), 2, "KEXINIT and DISCONNECT");
            let (reason, text) = read_disconnect(&payloads[1]);
            assert_eq!(text, error.description());
            assert_eq!(Some(reason), error.reason().map(|reason| reason as u32));
            error.reason()
        }
    }
}

#[test]
fn what_is_no_identification_is_refused_as_another_version() {
    use Role::{Client, Server};
    let refused = Some(Reason::ProtocolVersionNotSupported);
    let long = [b"SSH-2.0-".as_slice(), &[b'a'; 246], b"\r\n"].concat();
    let longest = [b"SSH-2.0-".as_slice(), &[b'a'; 245], b"\r\n"].concat();
    let banner = [b"Welcome\r\n".repeat(31).as_slice(), b"SSH-2.0-x\r\n"].concat();
    let banners = [b"Welcome\r\n".repeat(32).as_slice(), b"SSH-2.0-x\r\n"].concat();
    let cases: &[(Role, &[u8], Option<Reason>)] = &[
        (Server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", refused),
        (Server, b"G", refused),
        (Server, b"\r\n", refused),
        (Server, b"\x16\x03\x01\x02\x00\x01", refused),
        (Server, b"SSH-1.5-old\r\n", refused),
        (Server, b"SSH-1.99-both\r\n", refused),
        (Server, b"SSH-2.0-nul\0\r\n", refused),
        (Server, b"ssh-2.0-small\r\n", refused),
        (Server, &[0; 4096], refused),
        (Server, &long, refused),
        (Server, &longest, None),
        (Server, b"SSH-2.0-no_cr\n", None),
        (Server, b"SSH-2.0-", None),
        (Server, &banner, refused),
        (Client, &banner, None),
        (Client, &banners, refused),
        (Client, b"SSH-1.5-old\r\n", refused),
        (Client, b"SSH-1.99-both\r\n", None),
        (Client, &long, refused),
        (Client, &longest, None),
        (Client, &[b'a'; 255], refused),
        (Client, &[0; 4096], refused),
    ];
    for (role, bytes, expected) in cases {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(says_to(*role, bytes), *expected, "{role:?} {text:?}");
    }
}

#[test]
fn the_form_of_a_packet_is_checked_before_the_first_keys() {
    let protocol_error = Some(Reason::ProtocolError);
    let ignore = [msg::IGNORE, 0, 0, 0, 0];
    let length = |length: u32| length.to_be_bytes().to_vec();
    let cases = [
        ("length 0", length(0), protocol_error),
        ("length 5", length(5), protocol_error),
        ("no payload", clear_packet(b"", 11), protocol_error),
        ("misaligned", clear_packet(&ignore, 7), protocol_error),
        ("length 35_001", length(35_001), protocol_error),
        ("length 35_004", length(35_004), protocol_error),
        ("length 2^31", length(1 << 31), protocol_error),
        ("length 2^32-1", length(u32::MAX), protocol_error),
        ("padding 3", clear_packet(&[2; 8], 3), protocol_error),
        ("padding 0", clear_packet(&[2; 11], 0), protocol_error),
        (
            "padding is all",
            [&[0, 0, 0, 12, 11][..], &[0; 11]].concat(),
            protocol_error,
        ),
        (
            "padding is more than all",
            [&[0, 0, 0, 12, 255][..], &[0; 11]].concat(),
            protocol_error,
        ),
        ("the longest waits", length(34_996), None),
        ("the shortest", clear_packet(&[2; 7], 4), None),
        ("much padding", clear_packet(&[2; 4], 255), None),
    ];
    for role in ROLES {
        for (what, packet, expected) in &cases {
            let bytes = [b"SSH-2.0-x\r\n", &packet[..]].concat();
            assert_eq!(says_to(role, &bytes), *expected, "{role:?} {what}");
        }
    }
}

#[test]
fn a_packet_of_35_000_bytes_is_taken_before_the_first_keys() {
    let mut ignore = vec![msg::IGNORE];
    ignore.put_string(&[7; 34_980]);
    let packet = clear(&ignore);
    assert_eq!(packet.len(), 35_000);
    for role in ROLES {
        let bytes = [b"SSH-2.0-x\r\n", &packet[..]].concat();
        assert_eq!(says_to(role, &bytes), None);
    }
}

/// Every framing that there is: length in clear or not, counted into the padding or not.
fn protections() -> Vec<Offer> {
    let offer = |cipher, mac| Offer {
        cipher,
        mac,
        ..Offer::default()
    };
    vec![
        offer(Cipher::Aes256Gcm, Mac::HmacSha256),
        offer(Cipher::ChaCha20Poly1305, Mac::HmacSha256),
        offer(Cipher::Aes128Ctr, Mac::HmacSha256),
        offer(Cipher::Aes192Ctr, Mac::HmacSha512Etm),
    ]
}

#[test]
fn the_form_of_a_packet_is_checked_under_every_cipher() {
    for role in ROLES {
        for offer in protections() {
            let fresh = || Peer::authenticated(role, offer.clone());
            // Right: the least padding and the most.
            let before = match offer.mac.is_etm() || offer.cipher.is_aead() {
                true => 1,
                false => 5,
            };
            let mut peer = fresh();
            for padding in [4, 255] {
                let length = (0..16)
                    .map(|n| 20 + n)
                    .find(|n| (before + n + padding) % 16 == 0);
                let message = payload(padding, length.unwrap());
                let packet = peer.sealed_with(&message, padding);
                peer.say_raw(&packet);
                assert_eq!(peer.poll(), Ok(Event::Packet));
                assert_eq!(peer.transport.packet(), message);
            }
            // Wrong, but authentic.
            for (length, padding) in [(32 - before, 0), (29 - before, 3), (0, 32 - before)] {
                let mut peer = fresh();
                let packet = peer.sealed_with(&vec![94; length], padding);
                peer.say_raw(&packet);
                let error = Error::Misbehaved("padding length out of range");
                assert_eq!(peer.must_be_cut(), error);
            }
            // Where the length is no part of what is encrypted, it can be any.
            let mut peer = fresh();
            if offer.cipher.is_aead() {
                let packet = peer.sealed_with(&[94; 20], 4);
                peer.say_raw(&packet);
            } else if offer.mac.is_etm() {
                peer.say_raw(&25u32.to_be_bytes());
            } else {
                continue;
            }
            let error = Error::Misbehaved("packet length is not a multiple of the block size");
            assert_eq!(peer.must_be_cut(), error);
        }
    }
}

#[test]
fn the_longest_packet_is_taken_and_one_more_block_is_not() {
    for offer in protections() {
        let mut peer = Peer::authenticated(Role::Server, offer.clone());
        let before = match offer.mac.is_etm() || offer.cipher.is_aead() {
            true => 1,
            false => 5,
        };
        // packet_length of at most 256 KiB: what precedes the payload, the payload, four of padding.
        let fits = (256 * 1024 + before - 1) / 16 * 16 - before - 4;
        let message = payload(0, fits);
        let packet = peer.sealed_with(&message, 4);
        peer.say_raw(&packet);
        assert_eq!(peer.poll(), Ok(Event::Packet));
        assert!(peer.transport.packet() == message);
        let packet = peer.sealed_with(&payload(0, fits + 16), 4);
        peer.say_raw(&packet);
        let error = Error::Misbehaved("packet length out of range");
        assert_eq!(peer.must_be_cut(), error);
    }
}

#[test]
fn a_payload_too_long_to_send_is_a_limit_and_the_peer_is_told() {
    let long = payload(0, LONGEST_PAYLOAD + 1);
    let error = Error::Limit("payload does not fit a packet");
    for keying in [false, true] {
        let mut pair = Pair::authenticated();
        if keying {
            pair.ends[CLIENT].start_rekey(pair.now);
        }
        pair.ends[CLIENT].send(&[&payload(1, 100)]);
        pair.ends[CLIENT].send(&[&long]);
        assert_eq!(pair.ends[CLIENT].failure(), Some(&error));
        pair.poll(CLIENT);
        assert_eq!(pair.cut(CLIENT), error);
        assert_eq!(pair.take_got(SERVER).len(), usize::from(!keying));
    }
}

#[test]
fn room_too_long_to_send_is_a_limit_and_the_peer_is_told() {
    for keying in [false, true] {
        for (room, fits) in [(LONGEST_PAYLOAD - 9, true), (LONGEST_PAYLOAD - 8, false)] {
            let mut pair = Pair::authenticated();
            if keying {
                pair.ends[CLIENT].start_rekey(pair.now);
            }
            let sent = pair.ends[CLIENT].send_with(&[94, 0, 0, 0, 1], room, |to| {
                to.fill(7);
                (to.len(), ())
            });
            if fits {
                assert_eq!(sent, Ok(()));
                pair.drive();
                assert_eq!(pair.take_got(SERVER)[0].len(), LONGEST_PAYLOAD);
            } else {
                let error = Error::Limit("payload does not fit a packet");
                assert_eq!(sent, Err(error.clone()));
                pair.poll(CLIENT);
                assert_eq!(pair.cut(CLIENT), error);
            }
        }
    }
}
