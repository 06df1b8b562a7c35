//! Packets of one direction, in clear and under each kind of cipher.

use ssh_proto::Error;
use ssh_proto::algorithm::{Cipher, Mac};
use ssh_proto::crypto::cipher::{Opener, Sealer};
use ssh_proto::transport::fuzzing::Deframer;

use crate::input::{Input, Pieces};

/// packet_length at most, before keys and with them.
const LONGEST: [usize; 2] = [35_000, 256 * 1024];

/// A buffer has a power of two of room, for a packet and what was read behind it.
const MOST_MEMORY: usize = 1024 * 1024;

/// Packets without protection, before the keys and afterwards: what comes out is what a plain reading
/// of RFC 4253 section 6 finds, however the stream was cut.
pub fn deframer_clear(data: &[u8]) {
    let mut input = Input::new(data);
    let keyed = input.flag();
    let mut pieces = Pieces::new(&mut input);
    let stream = input.rest();
    let mut deframer = Deframer::new(keyed.then(Opener::clear));
    let (payloads, end) = read(&mut deframer, stream, &mut pieces);
    let (expected, broken) = expected(stream, LONGEST[usize::from(keyed)]);
    assert_eq!(payloads, expected);
    assert_eq!(end.is_err(), broken);
}

/// AES-GCM: see [`under`].
pub fn deframer_gcm(data: &[u8]) {
    let mut input = Input::new(data);
    let cipher = input.pick(&[Cipher::Aes128Gcm, Cipher::Aes256Gcm]);
    under(cipher, None, input);
}

/// chacha20-poly1305: see [`under`].
pub fn deframer_chacha(data: &[u8]) {
    under(Cipher::ChaCha20Poly1305, None, Input::new(data));
}

/// Counter mode with every MAC, over the packet and over its encryption: see [`under`].
pub fn deframer_ctr(data: &[u8]) {
    let mut input = Input::new(data);
    let cipher = input.pick(&[Cipher::Aes128Ctr, Cipher::Aes192Ctr, Cipher::Aes256Ctr]);
    let mac = input.pick(Mac::ALL);
    under(cipher, Some(mac), input);
}

/// Packets that were sealed, some with padding that cannot be, and changed on their way, or bytes that
/// were never sealed. Nothing comes out but what was sealed, in its order, up to the first change.
fn under(cipher: Cipher, mac: Option<Mac>, mut input: Input<'_>) {
    let key = |length| vec![length as u8; length];
    let (enc, iv) = (key(cipher.key_length()), key(cipher.iv_length()));
    let code = key(mac.map_or(0, Mac::length));
    let opener = Opener::new(cipher, mac, &enc, &iv, &code).expect("keys that fit");
    let sealer = Sealer::new(cipher, mac, &enc, &iv, &code).expect("keys that fit");
    let mut deframer = Deframer::new(Some(opener));
    let mut pieces = Pieces::new(&mut input);
    if input.flag() {
        let (payloads, _) = read(&mut deframer, input.rest(), &mut pieces);
        assert!(payloads.is_empty(), "a packet that nobody sealed");
        return;
    }
    let sent = sealed(sealer, &mut input);
    let (payloads, end) = read(&mut deframer, &sent.stream, &mut pieces);
    assert_eq!(payloads, sent.payloads);
    // A changed length may leave the reader waiting for more.
    assert!(sent.changed || end.is_err() == sent.broken);
}

struct Sent {
    stream: Vec<u8>,
    /// What has to come out: up to a change, or to padding that cannot be.
    payloads: Vec<Vec<u8>>,
    broken: bool,
    changed: bool,
}

fn sealed(mut sealer: Sealer, input: &mut Input<'_>) -> Sent {
    let mut sent = Sent {
        stream: Vec::new(),
        payloads: Vec::new(),
        broken: false,
        changed: false,
    };
    for sequence in 0..32 {
        if input.is_empty() {
            break;
        }
        let change = input.byte();
        // padding_length, payload and padding; rounded up, since half a block cannot be sealed.
        let mut body = input.bytes().to_vec();
        let ahead = if sealer.length_is_padded() { 4 } else { 0 };
        let least = sealer.block_size().max(8);
        let length = (ahead + body.len())
            .next_multiple_of(sealer.block_size())
            .max(least)
            - ahead;
        body.resize(length, 0);
        let mut packet = u32::try_from(length)
            .expect("inputs are short")
            .to_be_bytes()
            .to_vec();
        packet.extend_from_slice(&body);
        packet.resize(packet.len() + sealer.tag_length(), 0);
        sealer
            .seal(sequence, &mut packet)
            .expect("packets that fit");
        if change & 0x80 != 0 {
            let at = input.number() as usize % packet.len();
            packet[at] ^= 1 << (change & 7);
            sent.changed = true;
        }
        sent.stream.extend(packet);
        if sent.changed || sent.broken {
            continue;
        }
        match payload(&body) {
            Some(payload) => sent.payloads.push(payload),
            None => sent.broken = true,
        }
    }
    sent
}

/// What padding_length leaves of the rest of a packet: at least four bytes of padding, and a payload.
fn payload(body: &[u8]) -> Option<Vec<u8>> {
    let padding = usize::from(*body.first()?);
    let end = body.len().checked_sub(padding)?;
    (padding >= 4 && end > 1).then(|| body[1..end].to_vec())
}

/// RFC 4253 section 6 without protection: the payloads, and whether what follows them cannot be.
fn expected(mut stream: &[u8], longest: usize) -> (Vec<Vec<u8>>, bool) {
    let mut payloads = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length < 6 || length > longest || !(length + 4).is_multiple_of(8) {
            return (payloads, true);
        }
        let Some((body, behind)) = rest.split_at_checked(length) else {
            return (payloads, false);
        };
        match payload(body) {
            Some(payload) => payloads.push(payload),
            None => return (payloads, true),
        }
        stream = behind;
    }
    (payloads, false)
}

/// Everything that comes out of a stream in pieces, and how it ended.
fn read(
    deframer: &mut Deframer,
    stream: &[u8],
    pieces: &mut Pieces,
) -> (Vec<Vec<u8>>, Result<(), Error>) {
    let (mut payloads, mut end) = (Vec::new(), Ok(()));
    pieces.cut(stream, |piece| {
        deframer.feed(piece);
        loop {
            match deframer.next_payload() {
                Ok(Some(payload)) => payloads.push(payload),
                Ok(None) => break,
                Err(error) => {
                    assert!(
                        matches!(error, Error::Misbehaved(_) | Error::Integrity),
                        "{error}"
                    );
                    end = Err(error);
                    break;
                }
            }
        }
        assert!(deframer.memory() <= MOST_MEMORY);
        end.is_ok()
    });
    (payloads, end)
}
