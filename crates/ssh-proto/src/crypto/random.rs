//! Where random bytes come from: the system in production, a seed in tests and simulation.
//!
//! House rule 1: randomness of cookies, padding and X25519 keys is an argument. What aws-lc draws
//! inside itself (ECDH keys, ML-KEM, ECDSA nonces, blinding) is not seen here.

use std::process;

use zeroize::Zeroize;

use crate::algorithm::Hash;

use super::digest::digest;

/// A source of random bytes.
pub trait Random: Send {
    /// Overwrites all of `bytes`. There is no failure: see [`SystemRandom`].
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The random numbers of the system, through aws-lc.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            cannot_go_on();
        }
    }
}

/// Ends the process where the system refuses what no program can do without: entropy, or a few
/// hundred bytes of memory inside aws-lc.
///
/// aws-lc itself aborts when the kernel gives no entropy, and Rust aborts when memory is out, so that
/// this is reached by neither; but going on with keys that are not random is not an answer.
pub(crate) fn cannot_go_on() -> ! {
    process::abort()
}

/// A reproducible stream made from a number: SHA-256 in counter mode.
///
/// **Never for production**: who knows the seed knows every key. It is for tests and simulations,
/// where a failure must come again.
#[derive(Debug, Clone)]
pub struct SeededRandom {
    seed: u64,
    block: u64,
}

impl SeededRandom {
    /// The stream of this `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, block: 0 }
    }
}

impl Random for SeededRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let parts = [self.seed.to_be_bytes(), self.block.to_be_bytes()];
            let block = digest(Hash::Sha256, &[parts.as_flattened()]);
            self.block = self.block.wrapping_add(1);
            for (to, from) in chunk.iter_mut().zip(block.as_ref()) {
                *to = *from;
            }
        }
    }
}

/// The random numbers of the system as the `rsa` crate wants them, for its blinding.
pub(super) struct Blinding;

impl rsa::rand_core::CryptoRng for Blinding {}

impl rsa::rand_core::RngCore for Blinding {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        SystemRandom.fill(&mut bytes);
        u32::from_ne_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        SystemRandom.fill(&mut bytes);
        let number = u64::from_ne_bytes(bytes);
        bytes.zeroize();
        number
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        SystemRandom.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        SystemRandom.fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_bytes_again_and_never_the_same_block_twice() {
        let (mut one, mut other) = (SeededRandom::new(7), SeededRandom::new(7));
        let (mut a, mut b) = ([0; 100], [0; 100]);
        one.fill(&mut a);
        other.fill(&mut b);
        assert_eq!(a, b);
        one.fill(&mut b);
        assert_ne!(a, b);
        assert_ne!(a[..32], a[32..64]);
        SeededRandom::new(8).fill(&mut b);
        assert_ne!(a, b);
    }

    #[test]
    fn the_system_fills_everything() {
        let mut bytes = [0; 64];
        SystemRandom.fill(&mut bytes);
        assert!(bytes.chunks(16).all(|part| part != [0; 16]));
    }
}
