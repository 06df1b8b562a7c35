//! Key exchanges as the transport runs them: when they start and end, what is held meanwhile, and when
//! the keys change. The steps themselves are in [`super::exchange`].

use std::time::Instant;

use super::exchange::{self, Agreed, Exchange};
use super::table::Stage;
use super::{HostKeyAccepted, KEX_TIMEOUT, Transport, ext_info, negotiate, packet};
use crate::algorithm::Signature;
use crate::error::Error;
use crate::msg;

impl Transport {
    /// True when the present keys have served long enough and no exchange is going on.
    pub fn rekey_due(&self, now: Instant) -> bool {
        let limits = self.config.rekey;
        let spent =
            |usage: packet::Usage| usage.bytes >= limits.bytes || usage.packets >= limits.packets;
        self.stage == Stage::Open
            && matches!(self.exchange, Exchange::Idle)
            && (spent(self.inbound.usage)
                || spent(self.outbound.usage)
                || now.saturating_duration_since(self.keyed_at) >= limits.interval)
    }

    /// Starts a key exchange unless one is going on.
    pub fn start_rekey(&mut self, now: Instant) {
        if !matches!(self.exchange, Exchange::Idle) || self.failed.is_some() {
            return;
        }
        let first = self.session_id.is_empty();
        let ours = negotiate::encode_kexinit(
            self.role,
            &self.config.algorithms,
            first,
            self.random.as_mut(),
        );
        self.seal(&[&ours]);
        self.exchange = Exchange::Sent { ours };
        self.kex_deadline = Some(now + KEX_TIMEOUT);
    }

    /// True from our KEXINIT or the peer's until both sides use the new keys.
    pub fn is_keying(&self) -> bool {
        !matches!(self.exchange, Exchange::Idle)
    }

    /// True while the peer can send nothing but the rest of a key exchange, so that polling yields at
    /// most one packet for the layer above: the first behind the peer's NEWKEYS.
    pub fn peer_is_keying(&self) -> bool {
        self.peer_keying
    }

    /// Client: the host key is the right one. The proof lets user authentication begin.
    ///
    /// # Errors
    /// There is no host key to decide about, or the connection is over.
    pub fn accept_host_key(&mut self) -> Result<HostKeyAccepted, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::Undecided(agreed) => {
                self.take_keys(agreed).map_err(|error| self.fail(error))?;
                Ok(HostKeyAccepted(()))
            }
            other => {
                self.exchange = other;
                Err(Error::Bug("no host key to accept"))
            }
        }
    }

    pub(super) fn on_kexinit(&mut self, now: Instant) -> Result<(), Error> {
        // A peer's KEXINIT is always answered at once.
        self.start_rekey(now);
        let Exchange::Sent { ours } = std::mem::replace(&mut self.exchange, Exchange::Idle) else {
            return Err(Error::Misbehaved("KEXINIT during a key exchange"));
        };
        let first = self.session_id.is_empty();
        let (next, negotiated, payload) = exchange::begin(
            self.role,
            &self.config,
            ours,
            self.input.part(
                self.current
                    .as_ref()
                    .map(|f| f.payload.clone())
                    .unwrap_or_default(),
            ),
            self.their_identification.as_deref().unwrap_or_default(),
            if first {
                None
            } else {
                self.negotiated.map(|negotiated| negotiated.strict)
            },
            self.random.as_mut(),
        )?;
        if first && negotiated.strict {
            if self.inbound.last_sequence() != 0 {
                return Err(Error::Misbehaved(
                    "strict key exchange: KEXINIT was not first",
                ));
            }
            self.stage = Stage::FirstKex { strict: true };
        }
        self.peer_keying = true;
        self.drop_guess = negotiated.drop_guess;
        self.exchange = next;
        if let Some(payload) = payload {
            self.seal(&[&payload]);
        }
        Ok(())
    }

    pub(super) fn on_kex_message(&mut self, number: u8) -> Result<(), Error> {
        if std::mem::take(&mut self.drop_guess) {
            return Ok(());
        }
        let payload = self.packet().to_vec();
        match (
            std::mem::replace(&mut self.exchange, Exchange::Idle),
            number,
        ) {
            (
                Exchange::AwaitInit {
                    negotiated,
                    transcript,
                },
                msg::KEX_ECDH_INIT,
            ) => {
                let (agreed, reply) = exchange::answer(
                    &self.config,
                    negotiated,
                    &transcript,
                    &payload,
                    self.random.as_mut(),
                )?;
                self.seal(&[&reply]);
                self.take_keys(agreed)
            }
            (
                Exchange::AwaitReply {
                    negotiated,
                    transcript,
                    exchange,
                    public,
                },
                msg::KEX_ECDH_REPLY,
            ) => {
                let agreed =
                    exchange::conclude(negotiated, &transcript, exchange, &public, &payload)?;
                match &self.host_key {
                    None => {
                        self.exchange = Exchange::Undecided(agreed);
                        Ok(())
                    }
                    Some(known) if *known == agreed.host_key => self.take_keys(agreed),
                    Some(_) => Err(Error::HostKey("it changed while rekeying".into())),
                }
            }
            _ => Err(Error::Misbehaved("key exchange message out of order")),
        }
    }

    /// Sends NEWKEYS and everything from here on under the new keys.
    pub(super) fn take_keys(&mut self, agreed: Agreed) -> Result<(), Error> {
        let first = self.session_id.is_empty();
        if first {
            self.session_id.clone_from(&agreed.exchange_hash);
        }
        let keys = agreed.keys(self.role, &self.session_id)?;
        #[cfg(fuzzing)]
        let keys = super::fuzzing::without_protection(keys);
        let negotiated = agreed.negotiated;
        self.seal(&[&[msg::NEWKEYS]]);
        self.outbound.take_keys(keys.sealer, negotiated.strict);
        self.exchange = Exchange::AwaitNewKeys {
            opener: keys.opener,
            strict: negotiated.strict,
        };
        self.host_key = Some(agreed.host_key);
        self.negotiated = Some(negotiated);
        if first && negotiated.wants_ext_info {
            self.seal(&[&ext_info::encode(Signature::ALL)]);
        }
        self.held_pongs = 0;
        let Self {
            hold,
            outbound,
            output,
            random,
            ..
        } = self;
        hold.release(|payload| outbound.seal(output, random.as_mut(), &[payload]))
    }

    pub(super) fn on_newkeys(&mut self, now: Instant) -> Result<(), Error> {
        if self.packet().len() != 1 {
            return Err(Error::Misbehaved("malformed NEWKEYS"));
        }
        let Exchange::AwaitNewKeys { opener, strict } =
            std::mem::replace(&mut self.exchange, Exchange::Idle)
        else {
            return Err(Error::Misbehaved("NEWKEYS out of order"));
        };
        self.inbound.take_keys(opener, strict);
        if matches!(self.stage, Stage::FirstKex { .. }) {
            self.stage = Stage::Authentication;
        }
        self.peer_keying = false;
        self.kex_deadline = None;
        self.keyed_at = now;
        Ok(())
    }

    /// True while payloads have to wait: our KEXINIT is sent and our NEWKEYS is not.
    pub(super) fn holds(&self) -> bool {
        !matches!(
            self.exchange,
            Exchange::Idle | Exchange::AwaitNewKeys { .. }
        )
    }
}
