//! Checking raw signatures with raw public keys; their SSH encoding is [`crate::key`]'s business.

use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, UnparsedPublicKey,
};

/// The least RSA modulus that is accepted: keys of processes that were started long ago.
pub(crate) const RSA_MIN_BITS: usize = 1024;
/// The greatest RSA modulus that aws-lc works with; more would only burn time.
pub(crate) const RSA_MAX_BITS: usize = 8192;

/// The curves of RFC 5656 section 10.1 that everyone has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// Every curve.
    pub(crate) const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// Bytes of a coordinate and of a scalar.
    pub(crate) const fn length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The ECDSA with the hash of RFC 5656 section 6.2.1.
    const fn algorithm(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ECDSA_P521_SHA512_FIXED,
        }
    }

    /// True for an uncompressed point that lies on the curve and is not its identity.
    pub(crate) fn has_point(self, point: &[u8]) -> bool {
        point.first() == Some(&4)
            && point.len() == 1 + 2 * self.length()
            && UnparsedPublicKey::new(self.algorithm(), point)
                .parse()
                .is_ok()
    }

    /// Checks `signature`, r and s in their full length one behind the other.
    pub(crate) fn verify(self, point: &[u8], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm(), point)
            .verify(message, signature)
            .is_ok()
    }
}

/// The hash of an RSA signature (RFC 8332).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RsaHash {
    Sha256,
    Sha512,
}

/// Ed25519 (RFC 8032 section 5.1.7).
pub(crate) fn verify_ed25519(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, public)
        .verify(message, signature)
        .is_ok()
}

/// RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2.2) for moduli of [`RSA_MIN_BITS`] to [`RSA_MAX_BITS`].
/// Numbers are big-endian without leading zeros; `signature` is as long as the modulus.
pub(crate) fn verify_rsa(
    modulus: &[u8],
    exponent: &[u8],
    hash: RsaHash,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let parameters = match hash {
        RsaHash::Sha256 => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        RsaHash::Sha512 => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    };
    PublicKeyComponents {
        n: modulus,
        e: exponent,
    }
    .verify(parameters, message, signature)
    .is_ok()
}
