//! HMAC over a packet and its sequence number (RFC 4253 section 6.4, RFC 6668).

use aws_lc_rs::{constant_time, hmac};

use crate::algorithm::Mac;
use crate::error::Error;

/// The key of one direction. It lies in aws-lc's context, which wipes itself when dropped; making a
/// code copies that context on the stack and allocates nothing.
pub(super) struct Hmac {
    key: hmac::Key,
    mac: Mac,
}

impl Hmac {
    pub(super) fn new(mac: Mac, key: &[u8]) -> Result<Self, Error> {
        if key.len() != mac.length() {
            return Err(Error::Bug("MAC key of the wrong length"));
        }
        let algorithm = match mac {
            Mac::HmacSha256 | Mac::HmacSha256Etm => hmac::HMAC_SHA256,
            Mac::HmacSha512 | Mac::HmacSha512Etm => hmac::HMAC_SHA512,
        };
        Ok(Self {
            key: hmac::Key::new(algorithm, key),
            mac,
        })
    }

    #[inline]
    pub(super) fn length(&self) -> usize {
        self.mac.length()
    }

    /// True where the code is made over the encrypted packet (OpenSSH PROTOCOL section 1.5).
    #[inline]
    pub(super) fn is_etm(&self) -> bool {
        self.mac.is_etm()
    }

    /// Writes the code of `packet` to `code`, which is exactly as long.
    #[inline]
    pub(super) fn sign(&self, sequence: u32, packet: &[u8], code: &mut [u8]) {
        code.copy_from_slice(self.code(sequence, packet).as_ref());
    }

    /// Compares in constant time.
    #[inline]
    pub(super) fn verify(&self, sequence: u32, packet: &[u8], code: &[u8]) -> Result<(), Error> {
        constant_time::verify_slices_are_equal(self.code(sequence, packet).as_ref(), code)
            .map_err(|_| Error::Integrity)
    }

    #[inline]
    fn code(&self, sequence: u32, packet: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&sequence.to_be_bytes());
        context.update(packet);
        context.sign()
    }
}
