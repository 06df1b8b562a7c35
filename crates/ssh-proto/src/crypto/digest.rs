//! Hashes over the parts of a message: SHA-2 for key exchange, SHA-1 and MD5 for nothing but the
//! fingerprints that old deployments have pinned.

use std::fmt;

use aws_lc_rs::digest as lc;
use md5::Digest as _;

use crate::algorithm::Hash;

/// Bytes of the longest hash, SHA-512.
const MAX_LENGTH: usize = 64;

/// The value of a hash function.
#[derive(Clone, Copy)]
pub struct Digest {
    bytes: [u8; MAX_LENGTH],
    length: usize,
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Digest {}

impl fmt::Debug for Digest {
    /// The length alone: the hash of an exchange says something about its keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({} bytes)", self.length)
    }
}

/// The hash of all `parts`, one behind the other (FIPS 180-4).
pub fn digest(hash: Hash, parts: &[&[u8]]) -> Digest {
    let mut bytes = [0; MAX_LENGTH];
    let length = fill(&mut bytes, algorithm(hash), parts);
    Digest { bytes, length }
}

/// SHA-256 of one message.
pub fn sha256(message: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    fill(&mut bytes, &lc::SHA256, &[message]);
    bytes
}

/// SHA-1, for fingerprints only.
pub fn sha1(message: &[u8]) -> [u8; 20] {
    let mut bytes = [0; 20];
    fill(&mut bytes, &lc::SHA1_FOR_LEGACY_USE_ONLY, &[message]);
    bytes
}

/// MD5 (RFC 1321), for fingerprints only.
pub fn md5(message: &[u8]) -> [u8; 16] {
    md5::Md5::digest(message).into()
}

fn algorithm(hash: Hash) -> &'static lc::Algorithm {
    match hash {
        Hash::Sha256 => &lc::SHA256,
        Hash::Sha384 => &lc::SHA384,
        Hash::Sha512 => &lc::SHA512,
    }
}

/// Writes the hash to the front of `out`, which has room for it, and tells its length.
fn fill(out: &mut [u8], algorithm: &'static lc::Algorithm, parts: &[&[u8]]) -> usize {
    let mut context = lc::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    let value = context.finish();
    for (to, from) in out.iter_mut().zip(value.as_ref()) {
        *to = *from;
    }
    algorithm.output_len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The one-block examples of FIPS 180-4, and RFC 1321 appendix A.5.
    #[test]
    fn known_answers_for_abc() {
        let parts: &[&[u8]] = &[b"a", b"", b"bc"];
        assert_eq!(
            hex(digest(Hash::Sha256, parts).as_ref()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            hex(digest(Hash::Sha384, parts).as_ref()),
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baec\
             a134c825a7"
        );
        assert_eq!(
            hex(digest(Hash::Sha512, parts).as_ref()),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c\
             23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        );
        assert_eq!(sha256(b"abc"), digest(Hash::Sha256, parts).as_ref());
        assert_eq!(
            hex(&sha1(b"abc")),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
        assert_eq!(hex(&md5(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
    }
}
