//! The signature blob: `string` algorithm, `string` signature (RFC 4253 section 6.6), and what the
//! inner string is for ECDSA (RFC 5656 section 3.1.2) and RSA (RFC 8332 section 3).

use crate::algorithm::Signature;
use crate::crypto::verify::{Curve, RsaHash};
use crate::wire::{Put, Reader};

use super::KeyError;

/// Makes a blob.
pub(super) fn wrap(algorithm: Signature, signature: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(algorithm.name().len() + signature.len() + 8);
    blob.put_string(algorithm.name().as_bytes());
    blob.put_string(signature);
    blob
}

/// Takes the signature out of a blob that must name `algorithm` and end there.
pub(super) fn unwrap(algorithm: Signature, blob: &[u8]) -> Result<&[u8], KeyError> {
    let mut reader = Reader::new(blob);
    let named = reader.string().map_err(|_| KeyError::BadSignature)?;
    let signature = reader.string().map_err(|_| KeyError::BadSignature)?;
    if named == algorithm.name().as_bytes() && reader.is_empty() {
        Ok(signature)
    } else {
        Err(KeyError::BadSignature)
    }
}

/// The hash of an RSA algorithm.
pub(super) fn rsa_hash(algorithm: Signature) -> Option<RsaHash> {
    match algorithm {
        Signature::RsaSha256 => Some(RsaHash::Sha256),
        Signature::RsaSha512 => Some(RsaHash::Sha512),
        Signature::Ed25519 | Signature::EcdsaP256 | Signature::EcdsaP384 | Signature::EcdsaP521 => {
            None
        }
    }
}

/// Puts zeros in front of a signature that some implementations send without them; OpenSSH takes
/// those too. Longer than the modulus is no signature.
pub(super) fn rsa_padded(modulus: &[u8], signature: &[u8]) -> Result<Vec<u8>, KeyError> {
    pad(signature, modulus.len())
}

/// r and s in their full length, one behind the other, from `mpint` r and `mpint` s.
pub(super) fn ecdsa_numbers(curve: Curve, signature: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut reader = Reader::new(signature);
    let r = reader.mpint().map_err(|_| KeyError::BadSignature)?;
    let s = reader.mpint().map_err(|_| KeyError::BadSignature)?;
    reader.finish().map_err(|_| KeyError::BadSignature)?;
    let mut numbers = pad(r, curve.length())?;
    numbers.extend(pad(s, curve.length())?);
    Ok(numbers)
}

/// `mpint` r and `mpint` s from both in their full length, one behind the other.
pub(super) fn ecdsa_mpints(numbers: &[u8]) -> Vec<u8> {
    let (r, s) = numbers.split_at(numbers.len() / 2);
    let mut signature = Vec::with_capacity(numbers.len() + 10);
    signature.put_mpint(r);
    signature.put_mpint(s);
    signature
}

fn pad(number: &[u8], length: usize) -> Result<Vec<u8>, KeyError> {
    let zeros = length
        .checked_sub(number.len())
        .ok_or(KeyError::BadSignature)?;
    let mut padded = vec![0; zeros];
    padded.extend_from_slice(number);
    Ok(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_names_its_algorithm_and_ends_there() {
        let blob = wrap(Signature::RsaSha256, b"sig");
        assert_eq!(unwrap(Signature::RsaSha256, &blob), Ok(&b"sig"[..]));
        assert_eq!(
            unwrap(Signature::RsaSha512, &blob),
            Err(KeyError::BadSignature)
        );
        let trailing = [&blob[..], b"\0"].concat();
        assert_eq!(
            unwrap(Signature::RsaSha256, &trailing),
            Err(KeyError::BadSignature)
        );
        for end in 0..blob.len() {
            assert!(unwrap(Signature::RsaSha256, &blob[..end]).is_err());
        }
    }

    #[test]
    fn ecdsa_numbers_lose_and_regain_their_leading_zeros() {
        let mut numbers = vec![0; 64];
        numbers[2] = 0x80;
        numbers[63] = 1;
        let mpints = ecdsa_mpints(&numbers);
        assert_eq!(ecdsa_numbers(Curve::P256, &mpints), Ok(numbers));
        let too_long = ecdsa_mpints(&[1; 66]);
        assert!(ecdsa_numbers(Curve::P256, &too_long).is_err());
        assert!(ecdsa_numbers(Curve::P256, &[&mpints[..], b"x"].concat()).is_err());
    }

    #[test]
    fn rsa_signatures_may_lack_leading_zeros_but_not_have_more() {
        assert_eq!(rsa_padded(&[9; 4], &[1, 2]), Ok(vec![0, 0, 1, 2]));
        assert_eq!(rsa_padded(&[9; 4], &[0; 5]), Err(KeyError::BadSignature));
    }
}
