//! The binary packet protocol (RFC 4253 section 6), one direction each: framing, sequence numbers,
//! and how much has passed under the present keys.

use std::ops::Range;

use super::buffer::Buffer;
use crate::crypto::cipher::{Opener, Sealer};
use crate::crypto::random::Random;
use crate::error::Error;

/// packet_length and padding_length in front of the payload.
const HEADER: usize = 5;

/// RFC 4253 section 6: at least so much padding.
const LEAST_PADDING: usize = 4;

/// RFC 4253 section 6.1: what every implementation must accept, and all that a peer needs before a user
/// is authenticated.
pub(super) const LONGEST_BEFORE_AUTH: usize = 35_000;

/// What OpenSSH accepts. Longer packets would let a peer make us hold more.
pub(super) const LONGEST: usize = 256 * 1024;

/// The longest payload that fits a packet of [`LONGEST`] with any cipher.
const LONGEST_PAYLOAD: usize = LONGEST - 1 - 255;

/// Refuses the length of a payload that is too long for a packet, now or when it is no longer held.
pub(super) fn check_payload(length: usize) -> Result<(), Error> {
    if length > LONGEST_PAYLOAD {
        return Err(Error::Limit("payload does not fit a packet"));
    }
    Ok(())
}

/// A packet that was opened, at the front of the input.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Where the payload is, counted from the front.
    pub(super) payload: Range<usize>,
    /// How long the packet is with its code.
    pub(super) total: usize,
}

/// What has passed since the present keys were taken.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Usage {
    pub(super) bytes: u64,
    pub(super) packets: u64,
}

impl Usage {
    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.packets += 1;
    }

    /// The sequence number must not come round under one key (RFC 4344 section 3.1).
    fn check(self) -> Result<(), Error> {
        if self.packets >= u64::from(u32::MAX) {
            return Err(Error::Limit("2^32 packets without a key exchange"));
        }
        Ok(())
    }
}

/// The direction from the peer to us.
pub(super) struct Inbound {
    opener: Opener,
    next_sequence: u32,
    pub(super) usage: Usage,
    /// packet_length of the packet at the front, once it is known.
    length: Option<usize>,
    longest: usize,
}

impl Inbound {
    pub(super) fn new() -> Self {
        Self {
            opener: Opener::clear(),
            next_sequence: 0,
            usage: Usage::default(),
            length: None,
            longest: LONGEST_BEFORE_AUTH,
        }
    }

    /// The sequence number of the packet that was opened last.
    pub(super) fn last_sequence(&self) -> u32 {
        self.next_sequence.wrapping_sub(1)
    }

    /// Takes long packets from now on: a user is authenticated.
    pub(super) fn take_long(&mut self) {
        self.longest = LONGEST;
    }

    /// How long the packet at the front of the input is with its code, once that is known, or 0.
    pub(super) fn wanted(&self) -> usize {
        let tag = self.opener.tag_length();
        self.length.map_or(0, |length| 4 + length + tag)
    }

    /// Opens the packet at the front of `input` in place, if all of it is there.
    #[inline]
    pub(super) fn open(&mut self, input: &mut Buffer) -> Result<Option<Frame>, Error> {
        let length = match self.length {
            Some(length) => length,
            None => match self.open_length(input)? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        let total = 4 + length + self.opener.tag_length();
        if input.len() < total {
            return Ok(None);
        }
        self.length = None;
        self.usage.check()?;
        let packet = input
            .filled_mut()
            .get_mut(..total)
            .ok_or(Error::Bug("packet bounds"))?;
        self.opener.open(self.next_sequence, packet)?;
        self.next_sequence = self.next_sequence.wrapping_add(1);
        self.usage.add(total);
        let padding = packet.get(4).copied().map_or(0, usize::from);
        if padding < LEAST_PADDING || padding + 1 >= length {
            return Err(Error::Misbehaved("padding length out of range"));
        }
        Ok(Some(Frame {
            payload: HEADER..4 + length - padding,
            total,
        }))
    }

    /// Reads packet_length, and refuses it before any memory is taken for it.
    fn open_length(&mut self, input: &mut Buffer) -> Result<Option<usize>, Error> {
        let Some(head) = input.filled_mut().get_mut(..self.opener.head_length()) else {
            return Ok(None);
        };
        let length = self.opener.open_length(self.next_sequence, head)?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < LEAST_PADDING + 2 || length > self.longest {
            return Err(Error::Misbehaved("packet length out of range"));
        }
        let padded = if self.opener.length_is_padded() {
            length + 4
        } else {
            length
        };
        if padded % self.opener.block_size() != 0 {
            return Err(Error::Misbehaved(
                "packet length is not a multiple of the block size",
            ));
        }
        self.length = Some(length);
        Ok(Some(length))
    }

    /// Takes new keys: what follows is under them.
    pub(super) fn take_keys(&mut self, opener: Opener, restart_sequence: bool) {
        self.opener = opener;
        self.usage = Usage::default();
        if restart_sequence {
            self.next_sequence = 0;
        }
    }
}

/// The direction from us to the peer.
pub(super) struct Outbound {
    sealer: Sealer,
    next_sequence: u32,
    pub(super) usage: Usage,
    padding: Padding,
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self {
            sealer: Sealer::clear(),
            next_sequence: 0,
            usage: Usage::default(),
            padding: Padding::default(),
        }
    }

    /// Appends a packet with the payload that `parts` make up.
    pub(super) fn seal(
        &mut self,
        output: &mut Buffer,
        random: &mut dyn Random,
        parts: &[&[u8]],
    ) -> Result<(), Error> {
        let length = parts.iter().map(|part| part.len()).sum();
        let mut rest = self.begin(output, length)?;
        for part in parts {
            let (to, behind) = rest
                .split_at_mut_checked(part.len())
                .ok_or(Error::Bug("payload"))?;
            to.copy_from_slice(part);
            rest = behind;
        }
        self.finish(output, random, length)
    }

    /// Appends a packet whose payload is `head` and the string that `fill` writes: up to `room`
    /// bytes, in place. Where it writes none, nothing is sent.
    pub(super) fn seal_with<R>(
        &mut self,
        output: &mut Buffer,
        random: &mut dyn Random,
        head: &[u8],
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
    ) -> Result<R, Error> {
        let payload = self.begin(output, head.len() + 4 + room)?;
        let (filled, result) = super::fill_string(payload, head, room, fill)?;
        if filled > 0 {
            self.finish(output, random, head.len() + 4 + filled)?;
        }
        Ok(result)
    }

    /// Room for a packet behind what waits in `output`; what is returned is where its payload goes.
    fn begin<'o>(&self, output: &'o mut Buffer, payload: usize) -> Result<&'o mut [u8], Error> {
        check_payload(payload)?;
        let most_padding = LEAST_PADDING + self.sealer.block_size();
        let most = HEADER + payload + most_padding + self.sealer.tag_length();
        let room = output.spare(most).get_mut(HEADER..HEADER + payload);
        room.ok_or(Error::Bug("room for a packet"))
    }

    /// Frames, pads and seals the payload that was written where [`Self::begin`] said.
    fn finish(
        &mut self,
        output: &mut Buffer,
        random: &mut dyn Random,
        payload: usize,
    ) -> Result<(), Error> {
        self.usage.check()?;
        let block = self.sealer.block_size();
        let unpadded = if self.sealer.length_is_padded() {
            4 + 1 + payload
        } else {
            1 + payload
        };
        let padding = (unpadded + LEAST_PADDING).next_multiple_of(block) - unpadded;
        let length = 1 + payload + padding;
        let total = 4 + length + self.sealer.tag_length();
        let packet = output
            .spare(total)
            .get_mut(..total)
            .ok_or(Error::Bug("packet bounds"))?;
        let (header, rest) = packet
            .split_at_mut_checked(HEADER)
            .ok_or(Error::Bug("header"))?;
        let (length_bytes, padding_byte) = header.split_at_mut(4);
        let length = u32::try_from(length).map_err(|_| Error::Bug("packet length"))?;
        length_bytes.copy_from_slice(&length.to_be_bytes());
        padding_byte.fill(u8::try_from(padding).map_err(|_| Error::Bug("padding"))?);
        let pad = rest
            .get_mut(payload..payload + padding)
            .ok_or(Error::Bug("padding bounds"))?;
        self.padding.fill(random, pad);
        self.sealer.seal(self.next_sequence, packet)?;
        output.add(total);
        self.next_sequence = self.next_sequence.wrapping_add(1);
        self.usage.add(total);
        Ok(())
    }

    /// Takes new keys: what follows is under them.
    pub(super) fn take_keys(&mut self, sealer: Sealer, restart_sequence: bool) {
        self.sealer = sealer;
        self.usage = Usage::default();
        if restart_sequence {
            self.next_sequence = 0;
        }
    }
}

/// Random bytes fetched in advance: a call for each packet's few would cost more than its cipher.
struct Padding {
    pool: [u8; 256],
    used: usize,
}

impl Default for Padding {
    fn default() -> Self {
        Self {
            pool: [0; 256],
            used: 256,
        }
    }
}

impl Padding {
    fn fill(&mut self, random: &mut dyn Random, out: &mut [u8]) {
        if self.pool.len() - self.used < out.len() {
            random.fill(&mut self.pool);
            self.used = 0;
        }
        let from = self
            .pool
            .get(self.used..self.used + out.len())
            .unwrap_or_default();
        for (to, from) in out.iter_mut().zip(from) {
            *to = *from;
        }
        self.used += out.len();
    }
}
