//! Shared secrets, and the keys made of them.
//!
//! | method                | RFC                              |
//! |-----------------------|----------------------------------|
//! | Curve25519            | 8731                             |
//! | NIST curves           | 5656 section 4                   |
//! | ML-KEM-768 and X25519 | draft-ietf-sshm-mlkem-hybrid-kex |
//!
//! The messages around the public values, the exchange hash and its signature are `transport`'s.

use aws_lc_rs::agreement::{
    self, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey, X25519,
};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use zeroize::Zeroizing;

use crate::algorithm::{Hash, Kex};
use crate::error::Error;
use crate::wire::Put;

use super::digest::digest;
use super::random::Random;

/// Bytes of an X25519 public value, private key and secret (RFC 7748 section 6.1).
const X25519_LENGTH: usize = 32;
/// Bytes of an ML-KEM-768 encapsulation key (FIPS 203 table 3).
const ML_KEM_PUBLIC: usize = 1184;
/// Bytes of an ML-KEM-768 ciphertext (FIPS 203 table 3).
const ML_KEM_CIPHERTEXT: usize = 1088;
/// The first byte of an uncompressed point (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

const BAD_PUBLIC: Error = Error::KeyExchange("bad public value");
const FAILED: Error = Error::Bug("key agreement failed");

/// Bytes that are wiped when they are dropped.
type SecretBytes = Zeroizing<Vec<u8>>;

/// The shared secret K, in the encoding in which it enters the hashes: `mpint` for Diffie-Hellman
/// (RFC 4253 section 7.2), `string` for the hybrid (draft-ietf-sshm-mlkem-hybrid-kex section 2.4).
pub struct SharedSecret(SecretBytes);

impl SharedSecret {
    /// The bytes to hash, length included.
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    /// RFC 5656 section 4, RFC 8731 section 3.1: the big-endian reading of the raw secret.
    fn mpint(raw: &[u8]) -> Self {
        // Room for length and sign, so that no unwiped copy stays behind.
        let mut encoded = Vec::with_capacity(raw.len() + 5);
        encoded.put_mpint(raw);
        Self(Zeroizing::new(encoded))
    }

    /// K = SHA-256(K_PQ || K_CL).
    fn hybrid(post_quantum: &[u8], classical: &[u8]) -> Self {
        let hash = digest(Hash::Sha256, &[post_quantum, classical]);
        let mut encoded = Vec::with_capacity(hash.as_ref().len() + 4);
        encoded.put_string(hash.as_ref());
        Self(Zeroizing::new(encoded))
    }
}

impl std::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

/// How a method agrees on its secret.
enum Method {
    X25519,
    Ecdh(&'static agreement::Algorithm),
    Hybrid,
}

impl From<Kex> for Method {
    fn from(kex: Kex) -> Self {
        match kex {
            Kex::MlKem768X25519 => Self::Hybrid,
            Kex::Curve25519 | Kex::Curve25519LibSsh => Self::X25519,
            Kex::EcdhP256 => Self::Ecdh(&ECDH_P256),
            Kex::EcdhP384 => Self::Ecdh(&ECDH_P384),
            Kex::EcdhP521 => Self::Ecdh(&ECDH_P521),
        }
    }
}

/// What the client keeps between its public value and the server's.
pub struct ClientExchange(State);

enum State {
    X25519(PrivateKey),
    Ecdh(PrivateKey),
    Hybrid {
        post_quantum: DecapsulationKey,
        classical: PrivateKey,
    },
}

impl ClientExchange {
    /// Makes the client's keys; the bytes are Q_C of RFC 5656 section 4, or C_INIT of the hybrid.
    ///
    /// X25519 keys come out of `random`, all others out of aws-lc.
    pub fn start(kex: Kex, random: &mut dyn Random) -> Result<(Self, Vec<u8>), Error> {
        let state = match Method::from(kex) {
            Method::X25519 => State::X25519(x25519(random)?),
            Method::Ecdh(curve) => State::Ecdh(PrivateKey::generate(curve).map_err(|_| FAILED)?),
            Method::Hybrid => State::Hybrid {
                post_quantum: DecapsulationKey::generate(&ML_KEM_768).map_err(|_| FAILED)?,
                classical: x25519(random)?,
            },
        };
        let public = state.public()?;
        Ok((Self(state), public))
    }

    /// Makes the secret from Q_S of RFC 5656 section 4, or S_REPLY of the hybrid.
    pub fn finish(self, server_public: &[u8]) -> Result<SharedSecret, Error> {
        match self.0 {
            State::X25519(private) => {
                Ok(SharedSecret::mpint(&agree_x25519(&private, server_public)?))
            }
            State::Ecdh(private) => Ok(SharedSecret::mpint(&agree_ecdh(&private, server_public)?)),
            State::Hybrid {
                post_quantum,
                classical,
            } => {
                let (ciphertext, public) = split_exactly(server_public, ML_KEM_CIPHERTEXT)?;
                let classical = agree_x25519(&classical, public)?;
                let post_quantum = post_quantum
                    .decapsulate(Ciphertext::from(ciphertext))
                    .map_err(|_| BAD_PUBLIC)?;
                Ok(SharedSecret::hybrid(post_quantum.as_ref(), &classical))
            }
        }
    }
}

impl State {
    fn public(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::X25519(private) | Self::Ecdh(private) => public_of(private),
            Self::Hybrid {
                post_quantum,
                classical,
            } => {
                let mut init = post_quantum
                    .encapsulation_key()
                    .and_then(|key| key.key_bytes())
                    .map_err(|_| FAILED)?
                    .as_ref()
                    .to_vec();
                init.extend(public_of(classical)?);
                Ok(init)
            }
        }
    }
}

/// The server's part in one step: its public value (Q_S, or S_REPLY of the hybrid) and the secret.
pub fn respond(
    kex: Kex,
    client_public: &[u8],
    random: &mut dyn Random,
) -> Result<(Vec<u8>, SharedSecret), Error> {
    match Method::from(kex) {
        Method::X25519 => {
            let private = x25519(random)?;
            let secret = agree_x25519(&private, client_public)?;
            Ok((public_of(&private)?, SharedSecret::mpint(&secret)))
        }
        Method::Ecdh(curve) => {
            let private = PrivateKey::generate(curve).map_err(|_| FAILED)?;
            let secret = agree_ecdh(&private, client_public)?;
            Ok((public_of(&private)?, SharedSecret::mpint(&secret)))
        }
        Method::Hybrid => respond_hybrid(client_public, random),
    }
}

fn respond_hybrid(
    client_init: &[u8],
    random: &mut dyn Random,
) -> Result<(Vec<u8>, SharedSecret), Error> {
    let (encapsulation_key, public) = split_exactly(client_init, ML_KEM_PUBLIC)?;
    let private = x25519(random)?;
    let classical = agree_x25519(&private, public)?;
    // The check of the modulus (FIPS 203 section 7.2) is made by aws-lc's encapsulation.
    let (ciphertext, post_quantum) = EncapsulationKey::new(&ML_KEM_768, encapsulation_key)
        .map_err(|_| BAD_PUBLIC)?
        .encapsulate()
        .map_err(|_| BAD_PUBLIC)?;
    let mut reply = ciphertext.as_ref().to_vec();
    reply.extend(public_of(&private)?);
    Ok((
        reply,
        SharedSecret::hybrid(post_quantum.as_ref(), &classical),
    ))
}

/// Splits the hybrid's value into its post-quantum part of `length` bytes and an X25519 value.
fn split_exactly(value: &[u8], length: usize) -> Result<(&[u8], &[u8]), Error> {
    value
        .split_at_checked(length)
        .filter(|(_, classical)| classical.len() == X25519_LENGTH)
        .ok_or(BAD_PUBLIC)
}

fn x25519(random: &mut dyn Random) -> Result<PrivateKey, Error> {
    let mut bytes = Zeroizing::new([0; X25519_LENGTH]);
    random.fill(bytes.as_mut());
    PrivateKey::from_private_key(&X25519, bytes.as_ref()).map_err(|_| FAILED)
}

fn public_of(private: &PrivateKey) -> Result<Vec<u8>, Error> {
    let public = private.compute_public_key().map_err(|_| FAILED)?;
    Ok(public.as_ref().to_vec())
}

/// RFC 8731 section 3: a value of another length or a secret of zeros (low order points) ends the
/// exchange.
fn agree_x25519(private: &PrivateKey, public: &[u8]) -> Result<SecretBytes, Error> {
    if public.len() != X25519_LENGTH {
        return Err(BAD_PUBLIC);
    }
    let secret = agree(private, public)?;
    if secret.iter().fold(0, |bits, byte| bits | byte) == 0 {
        return Err(BAD_PUBLIC);
    }
    Ok(secret)
}

/// RFC 5656 section 4: the point is checked to lie on the curve (by aws-lc, when it parses it).
/// Compressed and hybrid forms are refused, as everyone else does.
fn agree_ecdh(private: &PrivateKey, public: &[u8]) -> Result<SecretBytes, Error> {
    let own_length = private
        .compute_public_key()
        .map_err(|_| FAILED)?
        .as_ref()
        .len();
    if public.first() != Some(&UNCOMPRESSED) || public.len() != own_length {
        return Err(BAD_PUBLIC);
    }
    agree(private, public)
}

fn agree(private: &PrivateKey, public: &[u8]) -> Result<SecretBytes, Error> {
    let public = UnparsedPublicKey::new(private.algorithm(), public);
    agreement::agree(private, public, BAD_PUBLIC, |secret| {
        Ok(Zeroizing::new(secret.to_vec()))
    })
}

/// Fills `out` with the key of this `letter` (RFC 4253 section 7.2), extended as far as needed.
pub fn derive_key(
    hash: Hash,
    secret: &SharedSecret,
    exchange_hash: &[u8],
    letter: u8,
    session_id: &[u8],
    out: &mut [u8],
) {
    let (secret, letter) = (secret.encoded(), [letter]);
    let mut made = Zeroizing::new(Vec::with_capacity(out.len() + 64));
    made.extend_from_slice(digest(hash, &[secret, exchange_hash, &letter, session_id]).as_ref());
    while made.len() < out.len() {
        let next = digest(hash, &[secret, exchange_hash, &made]);
        made.extend_from_slice(next.as_ref());
    }
    for (to, from) in out.iter_mut().zip(made.iter()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests;
