//! Keys: what is in their blobs and files, and signatures in the encoding of SSH.
//!
//! | module            | owns                                                      | RFC              |
//! |-------------------|-----------------------------------------------------------|------------------|
//! | `public`          | [`PublicKey`]: the blob and what may verify with it        | 4253, 5656, 8709 |
//! | `private`         | [`PrivateKey`]: making and reading keys, signing           |                  |
//! | `signature`       | the signature blob                                        | 4253, 5656, 8332 |
//! | `fingerprint`     | fingerprints, and the forms in which they are pinned      | 4716             |
//! | `pem`             | the armour of private key files                           | 7468, 1421       |
//! | `openssh`         | the inside of `OPENSSH PRIVATE KEY`                       |                  |
//! | `authorized_keys` | one public key in a line of text                          |                  |
//!
//! The arithmetic is [`crate::crypto`]'s. Nothing here reads a file.

mod authorized_keys;
mod fingerprint;
mod openssh;
mod pem;
mod private;
mod public;
mod signature;

use thiserror::Error;

use crate::crypto::sign::Rejected;
use crate::wire::Malformed;

pub use authorized_keys::parse_authorized_keys;
pub use private::PrivateKey;
pub use public::PublicKey;

/// Why a key or a signature is not taken. No variant holds anything secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// A blob whose fields do not have the form that its type asks for.
    #[error("malformed key")]
    Malformed,
    /// A key of a type that we do not know.
    #[error("unsupported key type {0:?}")]
    Unsupported(String),
    /// Text that is not a PEM block with a private key.
    #[error("bad PEM: {0}")]
    Pem(&'static str),
    /// A private key that asks for a passphrase.
    #[error("the private key is encrypted; only keys without a passphrase can be used")]
    Encrypted,
    /// A key that is well-formed but cannot be used.
    #[error("key refused: {0}")]
    Refused(&'static str),
    /// A signature algorithm that does not belong to the type of the key.
    #[error("a key of type {key} makes no {algorithm} signatures")]
    WrongAlgorithm {
        /// The type of the key.
        key: &'static str,
        /// The algorithm that was asked for.
        algorithm: &'static str,
    },
    /// A signature that was not made by this key over this message, or is not one at all.
    #[error("signature verification failed")]
    BadSignature,
    /// Text without any key in the format of `authorized_keys`; the words are those of the system
    /// that we replace.
    #[error("ssh: no key found")]
    NoKeyFound,
}

impl From<Malformed> for KeyError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<Rejected> for KeyError {
    fn from(Rejected(why): Rejected) -> Self {
        Self::Refused(why)
    }
}
