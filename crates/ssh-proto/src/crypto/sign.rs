//! Private keys as raw numbers or DER, and raw signatures; PEM, OpenSSH's format and the SSH encoding
//! of signatures are [`crate::key`]'s business.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    KeyPair as _,
};
use rsa::pkcs8::{ObjectIdentifier, PrivateKeyInfo};
use zeroize::Zeroizing;

use super::random::{Random, cannot_go_on};
pub(crate) use super::rsa_key::{RsaKey, RsaNumbers, bit_length};
use super::verify::Curve;

/// Bytes of an Ed25519 seed (RFC 8032 section 5.1.5).
const SEED: usize = 32;

/// id-Ed25519 (RFC 8410 section 3).
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// id-ecPublicKey (RFC 5480 section 2.1.1).
const EC_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// rsaEncryption (RFC 8017 appendix A.1).
const RSA_OID: ObjectIdentifier = rsa::pkcs1::ALGORITHM_OID;

/// Why a private key is not taken, or does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rejected(pub(crate) &'static str);

/// A private key.
pub(crate) enum SigningKey {
    Ed25519(Ed25519KeyPair),
    Ecdsa(Curve, EcdsaKeyPair),
    Rsa(RsaKey),
}

/// The public half of a [`SigningKey`].
pub(crate) enum PublicParts {
    Ed25519(Vec<u8>),
    Ecdsa(Curve, Vec<u8>),
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

impl SigningKey {
    /// A new Ed25519 key, and its public half.
    pub(crate) fn generate_ed25519(random: &mut dyn Random) -> (Self, Vec<u8>) {
        let mut seed = Zeroizing::new([0; SEED]);
        random.fill(seed.as_mut());
        match Ed25519KeyPair::from_seed_unchecked(seed.as_ref()) {
            Ok(key) => {
                let public = key.public_key().as_ref().to_vec();
                (Self::Ed25519(key), public)
            }
            // Every seed makes a key; nothing but want of memory gets here.
            Err(_) => cannot_go_on(),
        }
    }

    /// Seed and public key, which must belong together.
    pub(crate) fn ed25519(seed: &[u8], public: &[u8]) -> Result<Self, Rejected> {
        if seed.len() != SEED {
            return Err(Rejected("Ed25519 seed of the wrong length"));
        }
        Ed25519KeyPair::from_seed_and_public_key(seed, public)
            .map(Self::Ed25519)
            .map_err(|_| Rejected("Ed25519 seed and public key that do not belong together"))
    }

    /// Scalar (big-endian, without leading zeros) and point, which must belong together.
    pub(crate) fn ecdsa(curve: Curve, scalar: &[u8], point: &[u8]) -> Result<Self, Rejected> {
        let mut padded = Zeroizing::new(vec![0; curve.length()]);
        let start = curve
            .length()
            .checked_sub(scalar.len())
            .ok_or(Rejected("scalar that is longer than the curve's order"))?;
        for (to, from) in padded.iter_mut().skip(start).zip(scalar) {
            *to = *from;
        }
        EcdsaKeyPair::from_private_key_and_public_key(signing(curve), &padded, point)
            .map(|key| Self::Ecdsa(curve, key))
            .map_err(|_| Rejected("scalar and point that do not belong together on the curve"))
    }

    /// The numbers of an RSA key.
    pub(crate) fn rsa(numbers: &RsaNumbers<'_>) -> Result<Self, Rejected> {
        RsaKey::from_numbers(numbers).map(Self::Rsa)
    }

    /// An `RSAPrivateKey` (RFC 8017 appendix A.1.2).
    pub(crate) fn from_pkcs1(der: &[u8]) -> Result<Self, Rejected> {
        RsaKey::from_pkcs1(der).map(Self::Rsa)
    }

    /// An `ECPrivateKey` (RFC 5915 section 3).
    pub(crate) fn from_sec1(der: &[u8]) -> Result<Self, Rejected> {
        Self::of_some_curve(|curve| EcdsaKeyPair::from_private_key_der(signing(curve), der).ok())
    }

    /// A `PrivateKeyInfo` or `OneAsymmetricKey` (RFC 5958 section 2).
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, Rejected> {
        let info = PrivateKeyInfo::try_from(der)
            .map_err(|_| Rejected("not a PrivateKeyInfo structure"))?;
        match info.algorithm.oid {
            RSA_OID => Self::from_pkcs1(info.private_key),
            EC_OID => {
                Self::of_some_curve(|curve| EcdsaKeyPair::from_pkcs8(signing(curve), der).ok())
            }
            ED25519_OID => Ed25519KeyPair::from_pkcs8(der)
                .map(Self::Ed25519)
                .map_err(|_| Rejected("Ed25519 key that is damaged")),
            _ => Err(Rejected("PKCS#8 key that is not RSA, EC or Ed25519")),
        }
    }

    /// The key as `parse` reads it for the only curve for which it can.
    fn of_some_curve(parse: impl Fn(Curve) -> Option<EcdsaKeyPair>) -> Result<Self, Rejected> {
        Curve::ALL
            .into_iter()
            .find_map(|curve| parse(curve).map(|key| Self::Ecdsa(curve, key)))
            .ok_or(Rejected(
                "EC key that is damaged or on a curve other than P-256, P-384, P-521",
            ))
    }

    /// The public half.
    pub(crate) fn public_parts(&self) -> Result<PublicParts, Rejected> {
        Ok(match self {
            Self::Ed25519(key) => PublicParts::Ed25519(key.public_key().as_ref().to_vec()),
            Self::Ecdsa(curve, key) => {
                PublicParts::Ecdsa(*curve, key.public_key().as_ref().to_vec())
            }
            Self::Rsa(key) => {
                let (modulus, exponent) = key.public()?;
                PublicParts::Rsa { modulus, exponent }
            }
        })
    }
}

/// Ed25519 (RFC 8032 section 5.1.6).
pub(crate) fn sign_ed25519(key: &Ed25519KeyPair, message: &[u8]) -> Result<Vec<u8>, Rejected> {
    key.try_sign(message)
        .map(|signature| signature.as_ref().to_vec())
        .map_err(|_| Rejected("Ed25519 signing failed"))
}

/// ECDSA with the curve's hash: r and s in their full length, one behind the other.
pub(crate) fn sign_ecdsa(key: &EcdsaKeyPair, message: &[u8]) -> Result<Vec<u8>, Rejected> {
    // aws-lc takes its own random numbers; the argument is there for ring's sake.
    key.sign(&SystemRandom::new(), message)
        .map(|signature| signature.as_ref().to_vec())
        .map_err(|_| Rejected("ECDSA signing failed"))
}

const fn signing(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}
