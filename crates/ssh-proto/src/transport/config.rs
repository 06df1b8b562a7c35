//! What a side has to know before it can speak.

use std::time::Duration;

use crate::algorithm::{Algorithms, Signature};
use crate::key::PrivateKey;

/// When new keys are due (RFC 4253 section 9, RFC 4344 section 3), counted for each direction.
#[derive(Debug, Clone, Copy)]
pub struct RekeyLimits {
    /// Bytes under one key.
    pub bytes: u64,
    /// Packets under one key.
    pub packets: u64,
    /// Time under one key.
    pub interval: Duration,
}

impl Default for RekeyLimits {
    fn default() -> Self {
        Self {
            bytes: 1 << 30,
            packets: 1 << 31,
            interval: Duration::from_secs(3600),
        }
    }
}

/// What a side needs to know to speak; shared by all connections.
pub struct Config {
    pub(super) identification: String,
    pub(super) algorithms: Algorithms,
    pub(super) rekey: RekeyLimits,
    pub(super) host_keys: Vec<PrivateKey>,
}

impl Config {
    /// A client that identifies itself as `identification` (`SSH-2.0-name`, without the line end).
    pub fn client(identification: &str, algorithms: Algorithms) -> Self {
        Self {
            identification: identification.to_owned(),
            algorithms,
            rekey: RekeyLimits::default(),
            host_keys: Vec::new(),
        }
    }

    /// A server with `host_keys`. Signature algorithms that no key can make are not offered.
    pub fn server(
        identification: &str,
        mut algorithms: Algorithms,
        host_keys: Vec<PrivateKey>,
    ) -> Self {
        let can = |name: &Signature| {
            host_keys
                .iter()
                .any(|key| key.public().signatures().contains(name))
        };
        algorithms.host_key.retain(can);
        Self {
            identification: identification.to_owned(),
            algorithms,
            rekey: RekeyLimits::default(),
            host_keys,
        }
    }

    /// The same with other limits for rekeying.
    #[must_use]
    pub fn with_rekey_limits(self, rekey: RekeyLimits) -> Self {
        Self { rekey, ..self }
    }

    /// What is offered.
    pub fn algorithms(&self) -> &Algorithms {
        &self.algorithms
    }
}
