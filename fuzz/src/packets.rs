//! Packets in clear, read out of a stream (RFC 4253 section 6) without the code under test, and by its
//! rules: what a transport takes is found, and what it does not ends everything.

/// The block size without a cipher.
const BLOCK: usize = 8;

/// The longest packet_length that is taken behind the login.
const LONGEST: usize = 256 * 1024;

/// Reads packets out of a stream.
#[derive(Default)]
pub(crate) struct Packets {
    bytes: Vec<u8>,
    /// So many of them were read.
    read: usize,
    /// Something came that cannot be a packet: all that follows is lost.
    broken: bool,
}

impl Packets {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next payload, if it is there.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let rest = &self.bytes[self.read..];
        let (head, _) = rest.split_first_chunk::<5>().filter(|_| !self.broken)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let padding = usize::from(head[4]);
        if !(6..=LONGEST).contains(&length) || !(length + 4).is_multiple_of(BLOCK) {
            self.broken = true;
            return None;
        }
        let packet = rest.get(..4 + length)?;
        if padding < 4 || padding + 1 >= length {
            self.broken = true;
            return None;
        }
        self.read += packet.len();
        Some(packet[5..4 + length - padding].to_vec())
    }

    /// Whether all that came was whole packets.
    pub(crate) fn is_at_end(&self) -> bool {
        !self.broken && self.read == self.bytes.len()
    }
}
