//! AES in counter mode (RFC 4344 section 4): one keystream over all packets of a direction.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;

use crate::algorithm::Cipher;
use crate::error::Error;

/// Bytes of an AES block.
pub(super) const BLOCK: usize = 16;

/// The keystream of one direction. Decrypting is the same as encrypting.
pub(super) struct Ctr {
    key: EncryptingKey,
    counter: u128,
}

impl Ctr {
    pub(super) fn new(cipher: Cipher, key: &[u8], iv: &[u8]) -> Result<Self, Error> {
        let algorithm = match cipher {
            Cipher::Aes128Ctr => &AES_128,
            Cipher::Aes192Ctr => &AES_192,
            Cipher::Aes256Ctr => &AES_256,
            _ => return Err(Error::Bug("not a cipher in counter mode")),
        };
        let key = UnboundCipherKey::new(algorithm, key)
            .and_then(EncryptingKey::ctr)
            .map_err(|_| Error::Bug("AES key of the wrong length"))?;
        let iv = iv
            .try_into()
            .map_err(|_| Error::Bug("counter of the wrong length"))?;
        Ok(Self {
            key,
            counter: u128::from_be_bytes(iv),
        })
    }

    /// Applies the next part of the keystream to whole blocks.
    ///
    /// aws-lc starts each call at the counter that it is given, and carries over all 128 bits within
    /// the call; that it goes on over the end of a packet is ours to see to.
    #[inline]
    pub(super) fn apply(&mut self, blocks: &mut [u8]) -> Result<(), Error> {
        if !blocks.len().is_multiple_of(BLOCK) {
            return Err(Error::Misbehaved(
                "packet length is not a multiple of the block size",
            ));
        }
        if blocks.is_empty() {
            return Ok(());
        }
        let counter = FixedLength::from(self.counter.to_be_bytes());
        self.key
            .less_safe_encrypt(blocks, EncryptionContext::Iv128(counter))
            .map_err(|_| Error::Bug("AES-CTR failed"))?;
        let count = (blocks.len() / BLOCK) as u128;
        self.counter = self.counter.wrapping_add(count);
        Ok(())
    }
}
