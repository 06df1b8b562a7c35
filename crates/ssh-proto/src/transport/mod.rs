//! STAND-IN, to be replaced at the merge: the contract that `connection` builds on, as an in-memory
//! queue of payloads without packets, keys or time.

use std::collections::VecDeque;
use std::time::Instant;

use crate::error::Error;
use crate::msg;
use crate::wire::{Put, Reader, printable};

/// What [`Transport::poll`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing to do before more input has come.
    NeedInput,
    /// A payload is at [`Transport::packet`].
    Packet,
    /// The peer showed its host key.
    HostKey,
}

/// Output that a transport holds before it asks for a stop.
const OUTPUT: usize = 256 * 1024;

/// Payloads in, payloads out.
#[derive(Debug, Default)]
pub struct Transport {
    incoming: VecDeque<Vec<u8>>,
    packet: Vec<u8>,
    sent: VecDeque<Vec<u8>>,
    queued: usize,
    failed: Option<Error>,
}

impl Transport {
    /// The next thing to do.
    pub fn poll(&mut self, _now: Instant) -> Result<Event, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let Some(packet) = self.incoming.pop_front() else {
            return Ok(Event::NeedInput);
        };
        if packet.first() == Some(&msg::DISCONNECT) {
            return Err(self.disconnected(&packet));
        }
        self.packet = packet;
        Ok(Event::Packet)
    }

    /// The payload that was polled, until the next poll.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// Sends one payload given in parts.
    pub fn send(&mut self, parts: &[&[u8]]) {
        self.push(parts.concat());
    }

    /// Sends `head` and the string that `fill` writes into a buffer of `room` bytes.
    pub fn send_with<R>(
        &mut self,
        head: &[u8],
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
    ) -> R {
        let mut buffer = vec![0; room];
        let (count, result) = fill(&mut buffer);
        buffer.truncate(count);
        if !buffer.is_empty() {
            let mut payload = head.to_vec();
            payload.put_string(&buffer);
            self.push(payload);
        }
        result
    }

    /// Bytes of output that may still be produced.
    pub fn room(&self) -> usize {
        OUTPUT.saturating_sub(self.queued)
    }

    /// Answers the packet just polled with SSH_MSG_UNIMPLEMENTED.
    pub fn send_unimplemented(&mut self) {
        self.push(vec![msg::UNIMPLEMENTED, 0, 0, 0, 0]);
    }

    /// Queues SSH_MSG_DISCONNECT for `error` and closes.
    pub fn fail(&mut self, error: Error) -> Error {
        let mut payload = vec![msg::DISCONNECT];
        payload.put_u32(error.reason().map_or(0, |reason| reason as u32));
        payload.put_string(error.description().as_bytes());
        payload.put_string(b"");
        self.push(payload);
        self.failed = Some(error.clone());
        error
    }

    /// Stand-in only: takes the oldest payload that was sent.
    pub fn take_sent(&mut self) -> Option<Vec<u8>> {
        let payload = self.sent.pop_front()?;
        self.queued = self.queued.saturating_sub(payload.len());
        Some(payload)
    }

    /// Stand-in only: a payload from the peer.
    pub fn deliver(&mut self, payload: Vec<u8>) {
        self.incoming.push_back(payload);
    }

    fn push(&mut self, payload: Vec<u8>) {
        if self.failed.is_none() {
            self.queued = self.queued.saturating_add(payload.len());
            self.sent.push_back(payload);
        }
    }

    fn disconnected(&mut self, packet: &[u8]) -> Error {
        let mut reader = Reader::new(packet);
        let _ = reader.u8();
        let error = Error::Disconnected {
            reason: reader.u32().unwrap_or_default(),
            description: printable(reader.string().unwrap_or_default(), 256),
        };
        self.failed = Some(error.clone());
        error
    }
}
