//! Private keys: making them, reading them from PEM, signing with them.

use std::fmt;

use crate::algorithm::Signature;
use crate::crypto::random::Random;
use crate::crypto::sign::{self, SigningKey};

use super::{KeyError, PublicKey, openssh, pem, signature};

/// A private key together with its public half.
///
/// The secret numbers lie in aws-lc (or, for short RSA keys, in the `rsa` crate), which wipe them.
pub struct PrivateKey {
    key: SigningKey,
    public: PublicKey,
}

impl PrivateKey {
    /// A new Ed25519 key (RFC 8032 section 5.1.5) out of 32 bytes of `random`.
    pub fn generate_ed25519(random: &mut dyn Random) -> Self {
        let (key, public) = SigningKey::generate_ed25519(random);
        Self {
            key,
            public: PublicKey::ed25519(&public),
        }
    }

    /// Reads the first private key of a PEM text. It may be RSA (PKCS#1), EC (SEC 1), any of RSA, EC
    /// and Ed25519 in PKCS#8 or in OpenSSH's own format, without a passphrase.
    ///
    /// RSA keys have 1024 to 8192 bits; those under 2048 are for old deployments only, see
    /// [`PublicKey::rsa_bits`].
    pub fn from_pem(text: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        let block = pem::private_key(text.as_ref())?;
        if block.encrypted {
            return Err(KeyError::Encrypted);
        }
        let content = &block.content;
        match block.label {
            b"RSA PRIVATE KEY" => Self::new(SigningKey::from_pkcs1(content)?),
            b"EC PRIVATE KEY" => Self::new(SigningKey::from_sec1(content)?),
            b"PRIVATE KEY" => Self::new(SigningKey::from_pkcs8(content)?),
            b"OPENSSH PRIVATE KEY" => Self::from_openssh(content),
            b"ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted),
            _ => Err(KeyError::Pem(
                "the block is none of RSA, EC, OPENSSH and plain PRIVATE KEY",
            )),
        }
    }

    fn from_openssh(content: &[u8]) -> Result<Self, KeyError> {
        let (key, public) = openssh::parse(content)?;
        let this = Self::new(key)?;
        if this.public.blob() == public {
            Ok(this)
        } else {
            Err(KeyError::Refused(
                "file whose public key does not belong to its private key",
            ))
        }
    }

    fn new(key: SigningKey) -> Result<Self, KeyError> {
        let public = PublicKey::from_parts(&key.public_parts()?)?;
        Ok(Self { key, public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message`: a signature blob (RFC 4253 section 6.6). The algorithm must be one of
    /// [`PublicKey::signatures`].
    pub fn sign(&self, algorithm: Signature, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        if !self.public.signatures().contains(&algorithm) {
            return Err(self.public.wrong_algorithm(algorithm));
        }
        let signature = match &self.key {
            SigningKey::Ed25519(key) => sign::sign_ed25519(key, message)?,
            SigningKey::Ecdsa(_, key) => signature::ecdsa_mpints(&sign::sign_ecdsa(key, message)?),
            SigningKey::Rsa(key) => {
                let hash = signature::rsa_hash(algorithm)
                    .ok_or_else(|| self.public.wrong_algorithm(algorithm))?;
                key.sign(hash, message)?
            }
        };
        Ok(signature::wrap(algorithm, &signature))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?})", self.public)
    }
}
