//! RSA private keys (RFC 8017): in aws-lc, or in the `rsa` crate where aws-lc refuses to sign.
//!
//! Processes that were started long ago still have host keys of 1024 bits. The `rsa` crate's
//! arithmetic does not run in constant time; blinding hides its input, and such keys are too short to
//! be worth more.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding};
use rsa::pkcs1::der::Encode as _;
use rsa::pkcs1::{DecodeRsaPrivateKey as _, UintRef};
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, Pkcs1v15Sign, RsaPrivateKey};
use zeroize::Zeroizing;

use crate::algorithm::Hash;

use super::digest::digest;
use super::random::Blinding;
use super::sign::Rejected;
use super::verify::{RSA_MAX_BITS, RSA_MIN_BITS, RsaHash};

/// The least modulus that aws-lc signs with.
const AWS_LC_MIN_BITS: usize = 2048;

/// DER in front of a SHA-256 value (RFC 8017 section 9.2, note 1).
const SHA256_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];
/// DER in front of a SHA-512 value (RFC 8017 section 9.2, note 1).
const SHA512_PREFIX: [u8; 19] = [
    0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05,
    0x00, 0x04, 0x40,
];

/// The numbers of an RSA key as OpenSSH stores them, big-endian.
pub(crate) struct RsaNumbers<'a> {
    pub(crate) modulus: &'a [u8],
    pub(crate) public_exponent: &'a [u8],
    pub(crate) private_exponent: &'a [u8],
    pub(crate) coefficient: &'a [u8],
    pub(crate) prime1: &'a [u8],
    pub(crate) prime2: &'a [u8],
}

/// An RSA private key.
pub(crate) enum RsaKey {
    Modern(KeyPair),
    Short(Box<RsaPrivateKey>),
}

impl RsaKey {
    /// Reads an `RSAPrivateKey` (RFC 8017 appendix A.1.2).
    pub(super) fn from_pkcs1(der: &[u8]) -> Result<Self, Rejected> {
        let numbers = rsa::pkcs1::RsaPrivateKey::try_from(der)
            .map_err(|_| Rejected("not an RSAPrivateKey structure"))?;
        let bits = bit_length(numbers.modulus.as_bytes());
        if bits < RSA_MIN_BITS {
            return Err(Rejected("RSA modulus of less than 1024 bits"));
        }
        if bits > RSA_MAX_BITS {
            return Err(Rejected("RSA modulus of more than 8192 bits"));
        }
        if bits < AWS_LC_MIN_BITS {
            RsaPrivateKey::from_pkcs1_der(der)
                .map(|key| Self::Short(Box::new(key)))
                .map_err(|_| Rejected("RSA numbers that do not belong together"))
        } else {
            KeyPair::from_der(der)
                .map(Self::Modern)
                .map_err(|_| Rejected("RSA numbers that do not belong together"))
        }
    }

    /// Takes OpenSSH's numbers, which lack the two exponents of the CRT.
    pub(super) fn from_numbers(numbers: &RsaNumbers<'_>) -> Result<Self, Rejected> {
        if bit_length(numbers.modulus) > RSA_MAX_BITS {
            return Err(Rejected("RSA modulus of more than 8192 bits"));
        }
        let exponent1 = crt_exponent(numbers.private_exponent, numbers.prime1)?;
        let exponent2 = crt_exponent(numbers.private_exponent, numbers.prime2)?;
        let der = rsa::pkcs1::RsaPrivateKey {
            modulus: integer(numbers.modulus)?,
            public_exponent: integer(numbers.public_exponent)?,
            private_exponent: integer(numbers.private_exponent)?,
            prime1: integer(numbers.prime1)?,
            prime2: integer(numbers.prime2)?,
            exponent1: integer(&exponent1)?,
            exponent2: integer(&exponent2)?,
            coefficient: integer(numbers.coefficient)?,
            other_prime_infos: None,
        }
        .to_der()
        .map_err(|_| Rejected("RSA numbers that do not fit DER"))?;
        Self::from_pkcs1(&Zeroizing::new(der))
    }

    /// Modulus and public exponent, big-endian.
    pub(super) fn public(&self) -> Result<(Vec<u8>, Vec<u8>), Rejected> {
        match self {
            Self::Modern(key) => {
                let public = rsa::pkcs1::RsaPublicKey::try_from(key.public_key().as_ref())
                    .map_err(|_| Rejected("RSA public key that cannot be read"))?;
                Ok((
                    public.modulus.as_bytes().to_vec(),
                    public.public_exponent.as_bytes().to_vec(),
                ))
            }
            Self::Short(key) => Ok((key.n().to_bytes_be(), key.e().to_bytes_be())),
        }
    }

    /// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2.1); as long as the modulus.
    pub(crate) fn sign(&self, hash: RsaHash, message: &[u8]) -> Result<Vec<u8>, Rejected> {
        match self {
            Self::Modern(key) => sign_modern(key, hash, message),
            Self::Short(key) => sign_short(key, hash, message),
        }
    }
}

fn sign_modern(key: &KeyPair, hash: RsaHash, message: &[u8]) -> Result<Vec<u8>, Rejected> {
    let encoding: &'static dyn RsaEncoding = match hash {
        RsaHash::Sha256 => &RSA_PKCS1_SHA256,
        RsaHash::Sha512 => &RSA_PKCS1_SHA512,
    };
    let mut signature = vec![0; key.public_modulus_len()];
    // aws-lc takes its own random numbers; the argument is there for ring's sake.
    key.sign(encoding, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| Rejected("RSA signing failed"))?;
    Ok(signature)
}

fn sign_short(key: &RsaPrivateKey, hash: RsaHash, message: &[u8]) -> Result<Vec<u8>, Rejected> {
    let (hash, prefix) = match hash {
        RsaHash::Sha256 => (Hash::Sha256, SHA256_PREFIX),
        RsaHash::Sha512 => (Hash::Sha512, SHA512_PREFIX),
    };
    let hashed = digest(hash, &[message]);
    let scheme = Pkcs1v15Sign {
        hash_len: Some(hashed.as_ref().len()),
        prefix: prefix.into(),
    };
    key.sign_with_rng(&mut Blinding, scheme, hashed.as_ref())
        .map_err(|_| Rejected("RSA signing failed"))
}

/// Bits of a big-endian number.
pub(crate) fn bit_length(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let top = number.get(zeros).map_or(0, |byte| byte.leading_zeros());
    (number.len() - zeros) * 8 - top as usize
}

/// d mod (prime - 1).
fn crt_exponent(exponent: &[u8], prime: &[u8]) -> Result<Zeroizing<Vec<u8>>, Rejected> {
    if bit_length(prime) < 2 || bit_length(exponent) > RSA_MAX_BITS {
        return Err(Rejected("RSA numbers that do not belong together"));
    }
    let exponent = Zeroizing::new(BigUint::from_bytes_be(exponent));
    let less_one = Zeroizing::new(BigUint::from_bytes_be(prime) - 1_u8);
    let rest = Zeroizing::new(&*exponent % &*less_one);
    Ok(Zeroizing::new(rest.to_bytes_be()))
}

fn integer(number: &[u8]) -> Result<UintRef<'_>, Rejected> {
    UintRef::new(number).map_err(|_| Rejected("RSA numbers that do not fit DER"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_lengths() {
        assert_eq!(bit_length(&[]), 0);
        assert_eq!(bit_length(&[0, 0]), 0);
        assert_eq!(bit_length(&[1]), 1);
        assert_eq!(bit_length(&[0, 0x80]), 8);
        assert_eq!(bit_length(&[0x01, 0x00]), 9);
    }

    #[test]
    fn primes_that_are_none_do_not_divide_by_zero() {
        for prime in [&[][..], &[0], &[1]] {
            assert!(crt_exponent(&[9], prime).is_err());
        }
        assert_eq!(*crt_exponent(&[9], &[5]).unwrap(), [1]);
    }
}
