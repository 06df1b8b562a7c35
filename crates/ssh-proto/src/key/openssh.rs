//! The inside of `OPENSSH PRIVATE KEY` blocks (OpenSSH's PROTOCOL.key), without encryption.

use crate::crypto::sign::{RsaNumbers, SigningKey};
use crate::crypto::verify::Curve;
use crate::wire::{Reader, printable};

use super::KeyError;

/// What the content starts with.
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// The cipher, and the key derivation, of keys without a passphrase.
const NONE: &[u8] = b"none";
/// Bytes of a key type that go into an error text.
const SHOWN_TYPE: usize = 64;
/// Bytes of the seed in front of the public key in an Ed25519 private key.
const SEED: usize = 32;

/// The private key, and the blob of its public half as the file has it.
pub(super) fn parse(content: &[u8]) -> Result<(SigningKey, &[u8]), KeyError> {
    let content = content.strip_prefix(MAGIC).ok_or(KeyError::Malformed)?;
    let mut reader = Reader::new(content);
    let cipher = reader.string()?;
    let derivation = reader.string()?;
    let _derivation_options = reader.string()?;
    if cipher != NONE || derivation != NONE {
        return Err(KeyError::Encrypted);
    }
    if reader.u32()? != 1 {
        return Err(KeyError::Refused("file with several keys"));
    }
    let public = reader.string()?;
    let private = reader.string()?;
    reader.finish()?;
    Ok((parse_private(private)?, public))
}

fn parse_private(private: &[u8]) -> Result<SigningKey, KeyError> {
    let mut reader = Reader::new(private);
    if reader.u32()? != reader.u32()? {
        return Err(KeyError::Malformed);
    }
    let key_type = reader.utf8()?;
    let key = match key_type {
        "ssh-ed25519" => ed25519(&mut reader)?,
        "ecdsa-sha2-nistp256" => ecdsa(Curve::P256, &mut reader)?,
        "ecdsa-sha2-nistp384" => ecdsa(Curve::P384, &mut reader)?,
        "ecdsa-sha2-nistp521" => ecdsa(Curve::P521, &mut reader)?,
        "ssh-rsa" => rsa(&mut reader)?,
        other => {
            return Err(KeyError::Unsupported(printable(
                other.as_bytes(),
                SHOWN_TYPE,
            )));
        }
    };
    let _comment = reader.string()?;
    let padded = reader.rest().iter().zip(1..).all(|(byte, n)| *byte == n);
    if padded {
        Ok(key)
    } else {
        Err(KeyError::Malformed)
    }
}

fn ed25519(reader: &mut Reader<'_>) -> Result<SigningKey, KeyError> {
    let public = reader.string()?;
    let (seed, again) = reader
        .string()?
        .split_at_checked(SEED)
        .ok_or(KeyError::Malformed)?;
    if again != public {
        return Err(KeyError::Malformed);
    }
    Ok(SigningKey::ed25519(seed, public)?)
}

fn ecdsa(curve: Curve, reader: &mut Reader<'_>) -> Result<SigningKey, KeyError> {
    let _curve_name = reader.string()?;
    let point = reader.string()?;
    let scalar = reader.mpint()?;
    if !curve.has_point(point) {
        return Err(KeyError::Refused("not an uncompressed point of the curve"));
    }
    Ok(SigningKey::ecdsa(curve, scalar, point)?)
}

fn rsa(reader: &mut Reader<'_>) -> Result<SigningKey, KeyError> {
    let modulus = reader.mpint()?;
    let public_exponent = reader.mpint()?;
    let private_exponent = reader.mpint()?;
    let coefficient = reader.mpint()?;
    let prime1 = reader.mpint()?;
    let prime2 = reader.mpint()?;
    Ok(SigningKey::rsa(&RsaNumbers {
        modulus,
        public_exponent,
        private_exponent,
        coefficient,
        prime1,
        prime2,
    })?)
}
