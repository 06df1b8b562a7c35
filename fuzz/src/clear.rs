//! Packets in clear (RFC 4253 section 6): the far end of a transport that protects nothing, read and
//! written without the code under test.

use std::collections::VecDeque;

/// The block size without a cipher.
const BLOCK: usize = 8;

/// The longest packet_length that is taken behind the login.
const LONGEST: usize = 256 * 1024;

/// Appends a packet with this payload.
pub(crate) fn seal(payload: &[u8], stream: &mut Vec<u8>) {
    let padding = BLOCK - (5 + payload.len()) % BLOCK;
    let padding = if padding < 4 {
        padding + BLOCK
    } else {
        padding
    };
    let length = u32::try_from(1 + payload.len() + padding).expect("payloads are short");
    stream.extend_from_slice(&length.to_be_bytes());
    stream.push(u8::try_from(padding).expect("at most 11"));
    stream.extend_from_slice(payload);
    stream.resize(stream.len() + padding, 0);
}

/// Reads packets out of a stream.
#[derive(Default)]
pub(crate) struct Packets {
    bytes: VecDeque<u8>,
    /// Something came that cannot be a packet: all that follows is lost.
    broken: bool,
}

impl Packets {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The next payload, if it is there.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        if self.broken || self.bytes.len() < 5 {
            return None;
        }
        let head: Vec<u8> = self.bytes.iter().copied().take(5).collect();
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let padding = usize::from(head[4]);
        let in_range = (6..=LONGEST).contains(&length) && (length + 4).is_multiple_of(BLOCK);
        if !in_range || padding < 4 || padding + 1 >= length {
            // With a length in range the transport waits for the whole packet first.
            self.broken = !in_range || self.bytes.len() >= 4 + length;
            return None;
        }
        if self.bytes.len() < 4 + length {
            return None;
        }
        let packet: Vec<u8> = self.bytes.drain(..4 + length).collect();
        Some(packet[5..4 + length - padding].to_vec())
    }

    /// Whether all that came was whole packets.
    pub(crate) fn is_at_end(&self) -> bool {
        !self.broken && self.bytes.is_empty()
    }
}
