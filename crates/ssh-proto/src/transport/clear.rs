//! A transport without ciphers and behind its login, for fuzz targets of what comes after it
//! (`--cfg fuzzing`): they could not get past either.

use std::sync::Arc;
use std::time::Instant;

use super::exchange::Exchange;
use super::table::Stage;
use super::{Config, Role, Transport};
use crate::crypto::random::SeededRandom;

impl Transport {
    /// As if keys and a user had been agreed on, but packets go and are taken in clear until the peer
    /// does a key exchange.
    pub fn open_in_clear(role: Role, config: Arc<Config>, now: Instant) -> Self {
        let mut transport = Self::new(role, config, Box::new(SeededRandom::new(0)), now);
        transport.output.consume(transport.output.len());
        transport.their_identification = Some(b"SSH-2.0-fuzz".to_vec());
        transport.exchange = Exchange::Idle;
        transport.kex_deadline = None;
        transport.session_id = vec![0; 32];
        transport.stage = Stage::Open;
        transport.inbound.take_long();
        transport
    }
}
