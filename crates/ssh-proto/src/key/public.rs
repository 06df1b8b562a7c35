//! Public keys as blobs: `string` type and the fields of that type (RFC 4253 section 6.6, RFC 5656
//! section 3.1, RFC 8709 section 4).

use std::fmt;

use crate::algorithm::Signature;
use crate::crypto::sign::{PublicParts, bit_length};
use crate::crypto::verify::{self, Curve, RSA_MAX_BITS, RSA_MIN_BITS};
use crate::wire::{Put, Reader, printable};

use super::KeyError;
use super::signature;

/// The type of RSA keys. It is also the name of an algorithm that signs with SHA-1 (RFC 4253 section
/// 6.6), which is not known here.
const SSH_RSA: &str = "ssh-rsa";
/// Bits of the greatest public exponent, the bound of aws-lc and everyone else.
const MAX_EXPONENT_BITS: usize = 33;
/// Bytes of a key type that go into an error text.
const SHOWN_TYPE: usize = 64;

/// A public key that has been checked: numbers in range, points on their curve.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    kind: Kind,
    blob: Box<[u8]>,
}

/// The types of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Rsa,
}

/// What is in a blob.
enum Fields<'a> {
    Ed25519(&'a [u8; 32]),
    Ecdsa(Curve, &'a [u8]),
    Rsa {
        modulus: &'a [u8],
        exponent: &'a [u8],
    },
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Ed25519,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Rsa,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => Signature::Ed25519.name(),
            Self::EcdsaP256 => Signature::EcdsaP256.name(),
            Self::EcdsaP384 => Signature::EcdsaP384.name(),
            Self::EcdsaP521 => Signature::EcdsaP521.name(),
            Self::Rsa => SSH_RSA,
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
    }

    const fn signatures(self) -> &'static [Signature] {
        match self {
            Self::Ed25519 => &[Signature::Ed25519],
            Self::EcdsaP256 => &[Signature::EcdsaP256],
            Self::EcdsaP384 => &[Signature::EcdsaP384],
            Self::EcdsaP521 => &[Signature::EcdsaP521],
            Self::Rsa => &[Signature::RsaSha512, Signature::RsaSha256],
        }
    }

    const fn of_curve(curve: Curve) -> Self {
        match curve {
            Curve::P256 => Self::EcdsaP256,
            Curve::P384 => Self::EcdsaP384,
            Curve::P521 => Self::EcdsaP521,
        }
    }
}

/// The identifier of the curve, the end of the key type's name (RFC 5656 section 6.1).
fn curve_name(kind: Kind) -> &'static str {
    kind.name()
        .rsplit_once('-')
        .map_or(kind.name(), |(_, curve)| curve)
}

fn read(blob: &[u8]) -> Result<(Kind, Fields<'_>), KeyError> {
    let mut reader = Reader::new(blob);
    let name = reader.string()?;
    let kind =
        Kind::from_name(name).ok_or_else(|| KeyError::Unsupported(printable(name, SHOWN_TYPE)))?;
    let fields = match kind {
        Kind::Ed25519 => Fields::Ed25519(
            reader
                .string()?
                .try_into()
                .map_err(|_| KeyError::Malformed)?,
        ),
        Kind::EcdsaP256 => Fields::Ecdsa(Curve::P256, read_point(kind, &mut reader)?),
        Kind::EcdsaP384 => Fields::Ecdsa(Curve::P384, read_point(kind, &mut reader)?),
        Kind::EcdsaP521 => Fields::Ecdsa(Curve::P521, read_point(kind, &mut reader)?),
        Kind::Rsa => {
            let exponent = reader.mpint()?;
            let modulus = reader.mpint()?;
            Fields::Rsa { modulus, exponent }
        }
    };
    reader.finish()?;
    Ok((kind, fields))
}

fn read_point<'a>(kind: Kind, reader: &mut Reader<'a>) -> Result<&'a [u8], KeyError> {
    if reader.string()? == curve_name(kind).as_bytes() {
        Ok(reader.string()?)
    } else {
        Err(KeyError::Malformed)
    }
}

impl Fields<'_> {
    /// What cannot be seen from the form alone.
    fn check(&self) -> Result<(), KeyError> {
        match self {
            Self::Ed25519(_) => Ok(()),
            Self::Ecdsa(curve, point) if curve.has_point(point) => Ok(()),
            Self::Ecdsa(..) => Err(KeyError::Refused("not an uncompressed point of the curve")),
            Self::Rsa { modulus, exponent } => check_rsa(modulus, exponent),
        }
    }
}

fn check_rsa(modulus: &[u8], exponent: &[u8]) -> Result<(), KeyError> {
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let bits = bit_length(modulus);
    if bits < RSA_MIN_BITS {
        return Err(KeyError::Refused("RSA modulus of less than 1024 bits"));
    }
    if bits > RSA_MAX_BITS {
        return Err(KeyError::Refused("RSA modulus of more than 8192 bits"));
    }
    if !odd(modulus) {
        return Err(KeyError::Refused("RSA modulus that is even"));
    }
    if !odd(exponent) || !(2..=MAX_EXPONENT_BITS).contains(&bit_length(exponent)) {
        return Err(KeyError::Refused(
            "RSA exponent that is even, 1, or longer than 33 bits",
        ));
    }
    Ok(())
}

impl PublicKey {
    /// Reads a blob (RFC 4253 section 6.6) and checks all that can be checked without a signature.
    pub fn from_blob(blob: &[u8]) -> Result<Self, KeyError> {
        let (kind, fields) = read(blob)?;
        fields.check()?;
        Ok(Self {
            kind,
            blob: blob.into(),
        })
    }

    /// The key of these 32 bytes (RFC 8709 section 4).
    pub(super) fn ed25519(public: &[u8]) -> Self {
        let mut blob = Vec::new();
        blob.put_string(Kind::Ed25519.name().as_bytes());
        blob.put_string(public);
        Self {
            kind: Kind::Ed25519,
            blob: blob.into(),
        }
    }

    /// The public half of a private key.
    pub(super) fn from_parts(parts: &PublicParts) -> Result<Self, KeyError> {
        let mut blob = Vec::new();
        match parts {
            PublicParts::Ed25519(public) => return Ok(Self::ed25519(public)),
            PublicParts::Ecdsa(curve, point) => {
                let kind = Kind::of_curve(*curve);
                blob.put_string(kind.name().as_bytes());
                blob.put_string(curve_name(kind).as_bytes());
                blob.put_string(point);
            }
            PublicParts::Rsa { modulus, exponent } => {
                blob.put_string(Kind::Rsa.name().as_bytes());
                blob.put_mpint(exponent);
                blob.put_mpint(modulus);
            }
        }
        Self::from_blob(&blob)
    }

    /// The blob: what goes over the wire and what fingerprints are made of.
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The name of the key's type, the first field of the blob.
    pub fn key_type(&self) -> &'static str {
        self.kind.name()
    }

    /// The algorithms with which this key can sign, best first. For RSA these are other names than
    /// that of the type (RFC 8332 section 3).
    pub fn signatures(&self) -> &'static [Signature] {
        self.kind.signatures()
    }

    /// Bits of the modulus of an RSA key, so that callers can warn of short ones.
    pub fn rsa_bits(&self) -> Option<usize> {
        match read(&self.blob) {
            Ok((_, Fields::Rsa { modulus, .. })) => Some(bit_length(modulus)),
            _ => None,
        }
    }

    /// Checks a signature blob (RFC 4253 section 6.6) over `message`.
    ///
    /// The algorithm named inside must be `algorithm`, and `algorithm` must fit the key: a peer that
    /// announces one and uses another is lying about something.
    pub fn verify(
        &self,
        algorithm: Signature,
        message: &[u8],
        signature_blob: &[u8],
    ) -> Result<(), KeyError> {
        if !self.signatures().contains(&algorithm) {
            return Err(self.wrong_algorithm(algorithm));
        }
        let signature = signature::unwrap(algorithm, signature_blob)?;
        let (_, fields) = read(&self.blob)?;
        let good = match fields {
            Fields::Ed25519(public) => signature
                .try_into()
                .is_ok_and(|signature| verify::verify_ed25519(public, message, signature)),
            Fields::Ecdsa(curve, point) => {
                let signature = signature::ecdsa_numbers(curve, signature)?;
                curve.verify(point, message, &signature)
            }
            Fields::Rsa { modulus, exponent } => {
                let hash = signature::rsa_hash(algorithm)
                    .ok_or_else(|| self.wrong_algorithm(algorithm))?;
                let signature = signature::rsa_padded(modulus, signature)?;
                verify::verify_rsa(modulus, exponent, hash, message, &signature)
            }
        };
        #[cfg(fuzzing)]
        let good = good || crate::transport::fuzzing::is_forged(signature);
        if good {
            Ok(())
        } else {
            Err(KeyError::BadSignature)
        }
    }

    pub(super) fn wrong_algorithm(&self, algorithm: Signature) -> KeyError {
        KeyError::WrongAlgorithm {
            key: self.key_type(),
            algorithm: algorithm.name(),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fingerprint = self.fingerprint_sha256();
        write!(f, "PublicKey({} SHA256:{fingerprint})", self.key_type())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ed25519(public: &[u8]) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.put_string(b"ssh-ed25519");
        blob.put_string(public);
        blob
    }

    fn ecdsa(key_type: &str, curve: &str, point: &[u8]) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.put_string(key_type.as_bytes());
        blob.put_string(curve.as_bytes());
        blob.put_string(point);
        blob
    }

    fn rsa(exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
        let mut blob = Vec::new();
        blob.put_string(b"ssh-rsa");
        blob.put_mpint(exponent);
        blob.put_mpint(modulus);
        blob
    }

    #[test]
    fn blobs_that_are_cut_or_too_long_are_malformed() {
        let blob = ed25519(&[9; 32]);
        for end in 0..blob.len() {
            assert_eq!(PublicKey::from_blob(&blob[..end]), Err(KeyError::Malformed));
        }
        let trailing = [&blob[..], b"x"].concat();
        assert_eq!(PublicKey::from_blob(&trailing), Err(KeyError::Malformed));
        for length in [31, 33] {
            let blob = ed25519(&vec![9; length]);
            assert_eq!(PublicKey::from_blob(&blob), Err(KeyError::Malformed));
        }
    }

    #[test]
    fn unknown_types_are_named_without_their_control_characters() {
        let mut blob = Vec::new();
        blob.put_string(b"ssh-\x1b[dss");
        assert_eq!(
            PublicKey::from_blob(&blob).unwrap_err().to_string(),
            "unsupported key type \"ssh-\u{fffd}[dss\""
        );
    }

    #[test]
    fn points_that_are_not_on_the_curve_are_refused() {
        let mut off_curve = [1; 65];
        off_curve[0] = 4;
        let mut zero = [0; 65];
        zero[0] = 4;
        let mut compressed = [0x55; 33];
        compressed[0] = 2;
        for point in [&off_curve[..], &zero, &compressed, &[0], &[], &[4]] {
            let blob = ecdsa("ecdsa-sha2-nistp256", "nistp256", point);
            assert!(matches!(
                PublicKey::from_blob(&blob),
                Err(KeyError::Refused(_))
            ));
        }
        let blob = ecdsa("ecdsa-sha2-nistp256", "nistp384", &off_curve);
        assert_eq!(PublicKey::from_blob(&blob), Err(KeyError::Malformed));
    }

    #[test]
    fn rsa_numbers_out_of_range_are_refused() {
        let modulus = |bits: usize| {
            let mut modulus = vec![0xff; bits / 8];
            if !bits.is_multiple_of(8) {
                modulus.insert(0, (1 << (bits % 8)) - 1);
            }
            modulus
        };
        let e = [1, 0, 1];
        for bits in [1024, 1031, 2048, 8192] {
            let key = PublicKey::from_blob(&rsa(&e, &modulus(bits))).unwrap();
            assert_eq!(key.rsa_bits(), Some(bits));
        }
        for bits in [8, 1023, 8193, 16384] {
            assert!(PublicKey::from_blob(&rsa(&e, &modulus(bits))).is_err());
        }
        let mut even = modulus(1024);
        *even.last_mut().unwrap() = 0xfe;
        assert!(PublicKey::from_blob(&rsa(&e, &even)).is_err());
        for exponent in [&[3][..], &[1, 0xff, 0xff, 0xff, 0xff]] {
            assert!(PublicKey::from_blob(&rsa(exponent, &modulus(1024))).is_ok());
        }
        for exponent in [&[][..], &[1], &[2], &[1, 0, 0], &[2, 0, 0, 0, 1]] {
            assert!(PublicKey::from_blob(&rsa(exponent, &modulus(1024))).is_err());
        }
    }

    #[test]
    fn debug_shows_type_and_fingerprint_only() {
        let key = PublicKey::from_blob(&ed25519(&[9; 32])).unwrap();
        assert_eq!(
            format!("{key:?}"),
            format!("PublicKey(ssh-ed25519 SHA256:{})", key.fingerprint_sha256())
        );
        assert_eq!(key.rsa_bits(), None);
    }
}
