//! Whoever sits on the wire can cut the connection and nothing else.

use ssh_proto::Error;
use ssh_proto::algorithm::{Algorithms, Cipher, Mac};
use ssh_proto::error::Reason;
use ssh_proto::msg;
use ssh_proto::transport::RekeyLimits;

use crate::support::{CLIENT, ENDS, End, Pair, SERVER, fast, payload};

/// Every framing that there is.
const PROTECTIONS: [(Cipher, Mac); 4] = [
    (Cipher::Aes128Gcm, Mac::HmacSha256),
    (Cipher::ChaCha20Poly1305, Mac::HmacSha256),
    (Cipher::Aes256Ctr, Mac::HmacSha256),
    (Cipher::Aes128Ctr, Mac::HmacSha512Etm),
];

/// More than the longest packet: what an end with a wrong length in hand waits for.
static FILLER: [u8; 300 * 1024] = [0; 300 * 1024];

fn pair((cipher, mac): (Cipher, Mac)) -> Pair {
    let algorithms = Algorithms {
        cipher: vec![cipher],
        mac: vec![mac],
        ..fast()
    };
    let pair = Pair::of(&algorithms, RekeyLimits::default());
    pair.connect().authenticate()
}

/// The server got `expected` and not a byte more of these packets, and cut the connection.
fn is_cut(pair: &mut Pair, packets: &[&[u8]], expected: &[&[u8]]) {
    for packet in packets {
        pair.inject(SERVER, packet);
    }
    if pair.errors[SERVER].is_none() {
        pair.inject(SERVER, &FILLER);
    }
    assert_eq!(pair.got[SERVER], expected);
    let error = pair.cut(SERVER);
    match error.reason() {
        Some(Reason::MacError) => assert_eq!(error, Error::Integrity),
        // A length can be seen to be wrong before the code is there.
        reason => assert_eq!(reason, Some(Reason::ProtocolError)),
    }
}

#[test]
fn every_flipped_bit_cuts() {
    for protection in PROTECTIONS {
        let length = pair(protection).sealed(CLIENT, &payload(1, 9)).len();
        for bit in 0..8 * length {
            let mut pair = pair(protection);
            let mut packet = pair.sealed(CLIENT, &payload(1, 9));
            packet[bit / 8] ^= 1 << (bit % 8);
            is_cut(&mut pair, &[&packet], &[]);
        }
    }
}

#[test]
fn packets_replayed_reordered_dropped_or_made_up_cut() {
    for protection in PROTECTIONS {
        let payloads = [1, 2, 3].map(|mark| payload(mark, 30));
        let orders: [(&[usize], usize); 7] = [
            (&[0, 0], 1),
            (&[0, 1, 0], 2),
            (&[0, 1, 1], 2),
            (&[1], 0),
            (&[1, 0], 0),
            (&[0, 2], 1),
            (&[2, 1, 0], 0),
        ];
        for (order, arrive) in orders {
            let mut pair = pair(protection);
            let sealed = payloads.each_ref().map(|it| pair.sealed(CLIENT, it));
            let packets: Vec<_> = order.iter().map(|i| &sealed[*i][..]).collect();
            let expected: Vec<_> = payloads[..arrive].iter().map(|it| &it[..]).collect();
            is_cut(&mut pair, &packets, &expected);
        }
        let mut reflected = pair(protection);
        let own = reflected.sealed(SERVER, &payloads[0]);
        reflected.inject(SERVER, &own);
        reflected.inject(SERVER, &FILLER);
        assert!(reflected.got[SERVER].is_empty() && reflected.errors[SERVER].is_some());
        is_cut(&mut pair(protection), &[b"GET / HTTP/1.1\r\n\r\n"], &[]);
    }
}

#[test]
fn a_packet_of_another_connection_cuts() {
    for protection in PROTECTIONS {
        let mut other = pair(protection);
        other.ends[SERVER].start_rekey(other.now);
        other.drive();
        let packet = other.sealed(CLIENT, &payload(1, 30));
        is_cut(&mut pair(protection), &[&packet], &[]);
    }
}

#[test]
fn half_a_packet_is_nothing() {
    for protection in PROTECTIONS {
        let mut pair = pair(protection);
        let packet = pair.sealed(CLIENT, &payload(1, 30));
        let (head, last) = packet.split_at(packet.len() - 1);
        pair.inject(SERVER, head);
        assert!(pair.got[SERVER].is_empty());
        pair.inject(SERVER, last);
        assert_eq!(pair.take_got(SERVER), [payload(1, 30)]);
    }
}

#[test]
fn only_padding_can_be_changed_in_the_first_key_exchange() {
    // It is in clear until NEWKEYS, so that everything can be changed: the signature tells.
    for from in ENDS {
        let (said, connected) = first_kex(from, None);
        assert!(connected);
        let padding = clear_padding(&said);
        assert!(padding.len() > 300);
        for (position, harmless) in padding.iter().enumerate() {
            let (_, connected) = first_kex(from, Some(position));
            assert_eq!(connected, *harmless, "byte {position} from {from}");
        }
    }
}

/// A first key exchange in which a byte from one end is changed: what that end says, and whether both
/// come to its end.
fn first_kex(from: End, position: Option<usize>) -> (Vec<u8>, bool) {
    let mut pair = Pair::of(&fast(), RekeyLimits::default());
    let mut said = Vec::new();
    for end in ENDS.repeat(3) {
        let mut bytes = pair.intercept(end);
        if end == from {
            let here = position.and_then(|position| position.checked_sub(said.len()));
            said.extend_from_slice(&bytes);
            if let Some(byte) = here.and_then(|here| bytes.get_mut(here)) {
                *byte ^= 1;
            }
        }
        pair.inject(1 - end, &bytes);
    }
    let keyed = pair.ends.iter().all(|end| !end.is_keying());
    (said, keyed && pair.errors == [None, None])
}

/// For every byte up to NEWKEYS whether it is one of the padding.
fn clear_padding(output: &[u8]) -> Vec<bool> {
    let identification = output.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut is_padding = vec![false; identification];
    loop {
        let packet = &output[is_padding.len()..];
        let length = u32::from_be_bytes(packet[..4].try_into().unwrap()) as usize;
        let padding = usize::from(packet[4]);
        is_padding.extend(vec![false; 4 + length - padding]);
        is_padding.extend(vec![true; padding]);
        if packet[5] == msg::NEWKEYS {
            return is_padding;
        }
    }
}
