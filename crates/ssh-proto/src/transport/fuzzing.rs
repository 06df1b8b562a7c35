//! What is different for the fuzz targets (`fuzz/`), and doors for them to inner layers. It exists
//! with `cfg(fuzzing)` only, which no build that is shipped sets and no optimised one accepts.
//!
//! Protection is off, so that bytes which a fuzzer makes up get through it to what lies behind:
//!
//! - after NEWKEYS packets are neither encrypted nor authenticated ([`without_protection`]);
//! - a signature of zeros is good, beside those that are ([`is_forged`]).
//!
//! All else is as shipped. Key exchanges run as ever, since any X25519 value can be answered.

use super::buffer::Buffer;
use super::exchange::NewKeys;
use super::packet::Inbound;
use super::{Negotiated, Role, negotiate};
use crate::algorithm::Algorithms;
use crate::crypto::cipher::{Opener, Sealer};
use crate::error::Error;

/// Keys that protect nothing, in place of those that were agreed on.
pub(super) fn without_protection(_agreed: NewKeys) -> NewKeys {
    NewKeys {
        sealer: Sealer::clear(),
        opener: Opener::clear(),
    }
}

/// True for a signature that everyone can make: zeros alone.
pub(crate) fn is_forged(signature: &[u8]) -> bool {
    signature.iter().all(|byte| *byte == 0)
}

/// The packets of one direction under given keys.
pub struct Deframer {
    inbound: Inbound,
    input: Buffer,
}

impl Deframer {
    /// Packets that `opener` opens. Before it there were none with `None`.
    pub fn new(opener: Option<Opener>) -> Self {
        let mut inbound = Inbound::new();
        if let Some(opener) = opener {
            inbound.take_keys(opener, true);
        }
        Self {
            inbound,
            input: Buffer::default(),
        }
    }

    /// Takes in bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.append(bytes);
    }

    /// The payload of the next packet, once all of it is there.
    ///
    /// # Errors
    /// As the transport would end the connection.
    pub fn next_payload(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(frame) = self.inbound.open(&mut self.input)? else {
            return Ok(None);
        };
        let payload = self.input.part(frame.payload).to_vec();
        self.input.consume(frame.total);
        Ok(Some(payload))
    }

    /// Bytes of memory that hold input or wait for it.
    pub fn memory(&mut self) -> usize {
        self.input.len() + self.input.spare(0).len()
    }
}

/// What a side that offers `ours` makes of its peer's KEXINIT; `strict` is what an earlier one found.
///
/// # Errors
/// A malformed KEXINIT, or nothing in common.
pub fn negotiate_with(
    role: Role,
    ours: &Algorithms,
    kexinit: &[u8],
    strict: Option<bool>,
) -> Result<Negotiated, Error> {
    negotiate::negotiate(role, ours, kexinit, strict)
}

impl Negotiated {
    /// True where the peer, a client, reads EXT_INFO.
    pub fn wants_ext_info(&self) -> bool {
        self.wants_ext_info
    }

    /// True where the peer's next packet is to be dropped.
    pub fn drops_guess(&self) -> bool {
        self.drop_guess
    }
}
