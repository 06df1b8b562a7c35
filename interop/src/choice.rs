//! The table of algorithms: each one alone, with usual ones in the other categories.
//!
//! It is made from what `ssh-proto` knows, so that a new algorithm is tested from its first day.

use std::fmt;

use ssh_proto::algorithm::{Algorithms, Cipher, Kex, Mac, Signature};
use ssh_proto::transport::{Config, Negotiated, RekeyLimits};

/// One algorithm in each category: no peer that agrees can have used another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// The key exchange method.
    pub kex: Kex,
    /// The signature algorithm of the host key.
    pub host_key: Signature,
    /// The cipher.
    pub cipher: Cipher,
    /// The message authentication code; unused where the cipher needs none.
    pub mac: Mac,
}

/// What all peers have.
pub const USUAL: Choice = Choice {
    kex: Kex::Curve25519,
    host_key: Signature::Ed25519,
    cipher: Cipher::Aes128Gcm,
    mac: Mac::HmacSha256Etm,
};

/// Every kex, every host key, and every way to protect packets, once.
pub fn all() -> Vec<Choice> {
    let kex = Kex::ALL.iter().map(|&kex| Choice { kex, ..USUAL });
    let host_key = (Signature::ALL.iter()).map(|&host_key| Choice { host_key, ..USUAL });
    kex.chain(host_key).chain(packets()).collect()
}

/// Every cipher, those without authentication with every MAC.
pub fn packets() -> impl Iterator<Item = Choice> {
    Cipher::ALL.iter().flat_map(|&cipher| {
        let macs = match cipher.is_aead() {
            true => &[USUAL.mac],
            false => Mac::ALL,
        };
        macs.iter().map(move |&mac| Choice {
            cipher,
            mac,
            ..USUAL
        })
    })
}

impl Choice {
    /// The choice as what a side of ours offers.
    pub fn algorithms(self) -> Algorithms {
        Algorithms {
            kex: vec![self.kex],
            host_key: vec![self.host_key],
            cipher: vec![self.cipher],
            mac: vec![self.mac],
        }
    }

    /// Checks that this was agreed on, with strict key exchange.
    ///
    /// # Panics
    /// Something else was.
    pub fn check(self, negotiated: &Negotiated) {
        let packets = (self.cipher, (!self.cipher.is_aead()).then_some(self.mac));
        assert_eq!(negotiated.kex, self.kex);
        assert_eq!(negotiated.host_key, self.host_key);
        assert_eq!(negotiated.to_server(), packets);
        assert_eq!(negotiated.to_client(), packets);
        assert!(negotiated.strict, "no strict key exchange");
    }
}

/// Who starts key exchanges after the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rekeys {
    /// We.
    Ours,
    /// The peer.
    Theirs,
    /// Both, so that some begin at the same time.
    Both,
}

impl Rekeys {
    /// All ways.
    pub const ALL: [Self; 3] = [Self::Ours, Self::Theirs, Self::Both];

    /// Bytes after which OpenSSH starts one, if it is to start any. Under half of this, one message of
    /// 32 KiB alone makes it start one: it takes bytes for blocks of 16.
    pub const THEIR_BYTES: u32 = 1024 * 1024;

    /// Bytes after which we start one, if we are to start any.
    const OUR_BYTES: u64 = 512 * 1024;

    /// Data that lead to several exchanges: more than two windows, both ways.
    pub const DATA: usize = 5 * 1024 * 1024;

    /// So many key exchanges there must have been after that, at the least: the first, and one for
    /// each of `THEIR_BYTES` that went one way, but for what was on its way in the meantime.
    pub const LEAST: usize = 4;

    /// `config` with limits that make us start key exchanges, if we are to.
    pub fn limit(self, config: Config) -> Config {
        match self {
            Self::Theirs => config,
            Self::Ours | Self::Both => config.with_rekey_limits(RekeyLimits {
                bytes: Self::OUR_BYTES,
                ..RekeyLimits::default()
            }),
        }
    }

    /// The bytes after which the peer is to start one, if it is to start any.
    pub fn theirs(self) -> Option<u32> {
        (self != Self::Ours).then_some(Self::THEIR_BYTES)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kex, host_key) = (self.kex.name(), self.host_key.name());
        write!(f, "{kex} {host_key} {}", self.cipher.name())?;
        if !self.cipher.is_aead() {
            write!(f, " {}", self.mac.name())?;
        }
        Ok(())
    }
}
