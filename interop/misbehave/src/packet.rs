//! The binary packet protocol (RFC 4253 section 6) under the present keys: right packets, and packets
//! with one [`Fault`].

use ssh_proto::crypto::cipher::{Opener, Sealer};

use crate::end::End;

/// RFC 4253 section 6: at least so much padding.
const LEAST_PADDING: usize = 4;

/// The longest packet that is read, lest a broken server make us wait for 4 GiB.
const LONGEST: usize = 1 << 20;

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It has so much padding, and says so.
    Padding(usize),
    /// It says that it has so much padding.
    PaddingLength(u8),
    /// It says that it is so long, as far as packet_length can be believed: what is sealed is that.
    Length(u32),
    /// One bit is turned after sealing.
    Flipped(At, u8),
    /// So many bytes are missing at its end.
    Short(usize),
    /// It is sealed for a sequence number so much further on.
    Ahead(u32),
    /// It comes a second time.
    Twice,
    /// It is sealed and does not come.
    Lost,
    /// It has as much padding as there may be: nothing is wrong with that.
    MostPadding,
}

/// A byte of a sealed packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Counted from its first.
    Start(usize),
    /// Counted from its last.
    End(usize),
}

/// Both directions of a connection.
pub struct Packets {
    sealer: Sealer,
    opener: Opener,
    sequence_out: u32,
    sequence_in: u32,
    /// packet_length of what is read next, once it is known: it can be opened once.
    length: Option<usize>,
}

impl Default for Packets {
    fn default() -> Self {
        Self {
            sealer: Sealer::clear(),
            opener: Opener::clear(),
            sequence_out: 0,
            sequence_in: 0,
            length: None,
        }
    }
}

impl Packets {
    /// `payload` in a packet as it should be.
    pub fn seal(&mut self, payload: &[u8]) -> Result<Vec<u8>, End> {
        let padding = self.padding(payload.len());
        self.seal_framed(&frame(payload, padding))
    }

    /// `payload` in a packet with a fault.
    pub fn seal_with(&mut self, payload: &[u8], fault: Fault) -> Result<Vec<u8>, End> {
        let mut framed = frame(payload, self.padding(payload.len()));
        match fault {
            Fault::Padding(padding) => self.seal_framed(&frame(payload, padding)),
            Fault::PaddingLength(byte) => {
                overwrite(&mut framed, 4, &[byte]);
                self.seal_framed(&framed)
            }
            Fault::Length(length) => {
                overwrite(&mut framed, 0, &length.to_be_bytes());
                self.seal_framed(&framed)
            }
            Fault::Flipped(at, bit) => {
                let mut packet = self.seal_framed(&framed)?;
                let index = match at {
                    At::Start(index) => Some(index),
                    At::End(back) => packet.len().checked_sub(1 + back),
                };
                let byte = index.and_then(|index| packet.get_mut(index));
                *byte.ok_or(End::Garbled("no such byte"))? ^= 1 << (bit % 8);
                Ok(packet)
            }
            Fault::Short(count) => {
                let mut packet = self.seal_framed(&framed)?;
                packet.truncate(packet.len().saturating_sub(count));
                Ok(packet)
            }
            Fault::Lost => self.seal_framed(&framed).map(|_| Vec::new()),
            Fault::MostPadding => {
                let least = self.padding(payload.len());
                let block = self.sealer.block_size();
                let more = (usize::from(u8::MAX) - least) / block * block;
                self.seal_framed(&frame(payload, least + more))
            }
            Fault::Ahead(count) => {
                self.sequence_out = self.sequence_out.wrapping_add(count);
                self.seal_framed(&framed)
            }
            Fault::Twice => {
                let packet = self.seal_framed(&framed)?;
                Ok([packet.as_slice(), &packet].concat())
            }
        }
    }

    /// Everything of a packet but its tag, sealed as it is.
    pub fn seal_framed(&mut self, framed: &[u8]) -> Result<Vec<u8>, End> {
        let mut packet = framed.to_vec();
        packet.resize(packet.len() + self.sealer.tag_length(), 0);
        self.sealer
            .seal(self.sequence_out, &mut packet)
            .map_err(|_| End::Garbled("a packet that cannot be sealed"))?;
        self.sequence_out = self.sequence_out.wrapping_add(1);
        Ok(packet)
    }

    /// Takes the packet at the front of `input`, if all of it is there.
    pub fn open(&mut self, input: &mut Vec<u8>) -> Result<Option<Vec<u8>>, End> {
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
        let mut packet: Vec<u8> = input.drain(..total).collect();
        self.opener
            .open(self.sequence_in, &mut packet)
            .map_err(|_| End::Garbled("packet not authentic"))?;
        self.sequence_in = self.sequence_in.wrapping_add(1);
        let padding = packet.get(4).copied().map_or(0, usize::from);
        let payload = packet.get(5..(4 + length).saturating_sub(padding));
        match payload {
            Some(payload @ [_, ..]) => Ok(Some(payload.to_vec())),
            _ => Err(End::Garbled("packet without payload")),
        }
    }

    fn open_length(&mut self, input: &mut [u8]) -> Result<Option<usize>, End> {
        let Some(head) = input.get_mut(..self.opener.head_length()) else {
            return Ok(None);
        };
        let length = self
            .opener
            .open_length(self.sequence_in, head)
            .map_err(|_| End::Garbled("packet length"))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(End::Garbled("packet length"));
        }
        self.length = Some(length);
        Ok(Some(length))
    }

    /// What is sent from here on is under this.
    pub fn take_sealer(&mut self, sealer: Sealer, restart_sequence: bool) {
        self.sealer = sealer;
        if restart_sequence {
            self.sequence_out = 0;
        }
    }

    /// What is read from here on is under this.
    pub fn take_opener(&mut self, opener: Opener, restart_sequence: bool) {
        self.opener = opener;
        if restart_sequence {
            self.sequence_in = 0;
        }
    }

    /// How much padding `length` bytes of payload should have.
    pub fn padding(&self, length: usize) -> usize {
        let before = if self.sealer.length_is_padded() { 5 } else { 1 };
        let least = before + length + LEAST_PADDING;
        least.next_multiple_of(self.sealer.block_size()) - before - length
    }
}

/// packet_length, padding_length, payload and so much padding.
pub fn frame(payload: &[u8], padding: usize) -> Vec<u8> {
    let length = u32::try_from(1 + payload.len() + padding).unwrap_or(u32::MAX);
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding % 256).unwrap_or_default());
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// `payload` in a packet in the clear.
pub fn clear(payload: &[u8]) -> Vec<u8> {
    frame(payload, Packets::default().padding(payload.len()))
}

fn overwrite(bytes: &mut [u8], from: usize, with: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(from).zip(with) {
        *to = *from;
    }
}
