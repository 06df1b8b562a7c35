//! AES-GCM as SSH uses it (RFC 5647 with OpenSSH's PROTOCOL section 1.6): the packet length is
//! authenticated but not encrypted, the nonce counts packets.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::algorithm::Cipher;
use crate::error::Error;

/// Bytes of the authentication tag (RFC 5647 section 5.1).
pub(super) const TAG: usize = 16;

/// The nonce (RFC 5647 section 7.1): four fixed bytes and the invocation counter, which starts
/// anywhere and counts modulo 2^64.
struct Invocation {
    fixed: [u8; 4],
    first: u64,
    next: u64,
    /// Set when all 2^64 nonces are used.
    spent: bool,
}

impl Invocation {
    fn new(iv: &[u8]) -> Option<Self> {
        let (fixed, counter) = iv.split_first_chunk()?;
        let first = u64::from_be_bytes(counter.try_into().ok()?);
        Some(Self {
            fixed: *fixed,
            first,
            next: first,
            spent: false,
        })
    }

    /// A nonce that was never given before.
    #[inline]
    fn take(&mut self) -> Result<Nonce, Error> {
        if self.spent {
            return Err(Error::Bug("AES-GCM nonces are used up"));
        }
        let [a, b, c, d] = self.fixed;
        let [e, f, g, h, i, j, k, l] = self.next.to_be_bytes();
        self.next = self.next.wrapping_add(1);
        self.spent = self.next == self.first;
        Ok(Nonce::assume_unique_for_key([
            a, b, c, d, e, f, g, h, i, j, k, l,
        ]))
    }
}

/// Key and nonce of one direction. The key lies in aws-lc's context, which wipes itself.
pub(super) struct Gcm {
    key: LessSafeKey,
    invocation: Invocation,
}

impl Gcm {
    pub(super) fn new(cipher: Cipher, key: &[u8], iv: &[u8]) -> Result<Self, Error> {
        let algorithm = match cipher {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            _ => return Err(Error::Bug("not AES-GCM")),
        };
        Ok(Self {
            key: UnboundKey::new(algorithm, key)
                .map(LessSafeKey::new)
                .map_err(|_| Error::Bug("AES-GCM key of the wrong length"))?,
            invocation: Invocation::new(iv)
                .ok_or(Error::Bug("AES-GCM nonce of the wrong length"))?,
        })
    }

    /// Encrypts `text` in place, authenticates it together with the `length` and writes the tag.
    #[inline]
    pub(super) fn seal(
        &mut self,
        length: [u8; 4],
        text: &mut [u8],
        tag: &mut [u8; TAG],
    ) -> Result<(), Error> {
        let nonce = self.invocation.take()?;
        let made = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(length), text)
            .map_err(|_| Error::Bug("AES-GCM failed"))?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    /// Checks and decrypts `text`, which ends with its tag, in place.
    #[inline]
    pub(super) fn open(&mut self, length: [u8; 4], text: &mut [u8]) -> Result<(), Error> {
        let nonce = self.invocation.take()?;
        self.key
            .open_in_place(nonce, Aad::from(length), text)
            .map(|_| ())
            .map_err(|_| Error::Integrity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(invocation: &mut Invocation) -> Result<[u8; 12], Error> {
        invocation.take().map(|nonce| *nonce.as_ref())
    }

    #[test]
    fn the_counter_counts_modulo_two_to_the_64_and_leaves_the_fixed_field_alone() {
        let mut iv = [0xff; 12];
        iv[..4].copy_from_slice(b"sshx");
        let mut invocation = Invocation::new(&iv).unwrap();
        assert_eq!(nonce(&mut invocation), Ok(iv));
        assert_eq!(nonce(&mut invocation), Ok(*b"sshx\0\0\0\0\0\0\0\0"));
        assert_eq!(nonce(&mut invocation), Ok(*b"sshx\0\0\0\0\0\0\0\x01"));
    }

    #[test]
    fn no_nonce_comes_twice() {
        let mut invocation = Invocation::new(&[7; 12]).unwrap();
        invocation.next = invocation.first.wrapping_sub(1);
        assert!(nonce(&mut invocation).is_ok());
        assert!(matches!(nonce(&mut invocation), Err(Error::Bug(_))));
        assert!(matches!(nonce(&mut invocation), Err(Error::Bug(_))));
    }

    #[test]
    fn nonces_of_another_length_are_refused() {
        for length in [0, 4, 11, 13] {
            assert!(Invocation::new(&vec![0; length]).is_none());
        }
    }
}
