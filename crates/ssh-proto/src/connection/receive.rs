//! What a message of the peer does to the connection: one function for each message of RFC 4254.
//!
//! Owns the answers that need no application: the refusal of a channel that does not fit,
//! UNIMPLEMENTED. Everything else becomes an [`Event`] or the error that ends it all.

use super::channel::{Channel, Closed, Verdict, decrement, increment};
use super::limits::{EMPTY_RUN, FAILURE_TEXT};
use super::message::{End, Message};
use super::{ChannelId, Connection, Event, Stream};
use crate::error::Error;
use crate::msg::{self, OpenFailure};
use crate::wire::printable;

impl Connection {
    /// Handles the packet that the transport has. None: nothing for the application.
    pub(super) fn receive(&mut self) -> Result<Option<Event>, Error> {
        let Some(message) = Message::parse(self.transport.packet())? else {
            self.receive_unknown();
            return Ok(None);
        };
        let channels = &mut self.channels;
        match message {
            Message::GlobalRequest {
                name,
                want_reply,
                payload,
            } => {
                let (name, payload) = (text(name), payload.to_vec());
                self.receive_global_request(name, want_reply, payload)
            }
            Message::RequestSuccess { payload } => {
                let payload = payload.to_vec();
                self.receive_global_reply(true, payload)
            }
            Message::RequestFailure => self.receive_global_reply(false, Vec::new()),
            Message::Open { kind, end, payload } => {
                let (kind, payload) = (text(kind), payload.to_vec());
                Ok(self.receive_open(end, kind, payload))
            }
            Message::OpenConfirmation {
                channel,
                end,
                payload,
            } => {
                channels.named(channel)?.confirmed(end)?;
                Ok(Some(Event::OpenConfirmed {
                    channel: ChannelId(channel),
                    payload: payload.to_vec(),
                }))
            }
            Message::OpenFailure {
                channel,
                reason,
                text,
            } => {
                let text = printable(text, FAILURE_TEXT);
                self.receive_open_failure(ChannelId(channel), reason, text)
            }
            Message::WindowAdjust { channel, bytes } => {
                let verdict = channels.named(channel)?.adjust(bytes)?;
                let channel = ChannelId(channel);
                Ok(verdict.event(|| Event::WindowOpened { channel }))
            }
            Message::Data {
                channel,
                stream,
                length,
            } => self.receive_data(ChannelId(channel), stream, length),
            Message::Eof { channel } => {
                let verdict = channels.named(channel)?.eof()?;
                let channel = ChannelId(channel);
                Ok(verdict.event(|| Event::Eof { channel }))
            }
            Message::Close { channel } => self.receive_close(ChannelId(channel)),
            Message::Request {
                channel,
                name,
                want_reply,
                payload,
            } => {
                let entry = channels.named(channel)?;
                let verdict = entry.request(want_reply, self.limits.replies)?;
                Ok(verdict.event(|| Event::Request {
                    channel: ChannelId(channel),
                    request: text(name),
                    want_reply,
                    payload: payload.to_vec(),
                }))
            }
            Message::Reply { channel, success } => {
                let verdict = channels.named(channel)?.replied()?;
                let channel = ChannelId(channel);
                Ok(verdict.event(|| Event::Reply { channel, success }))
            }
        }
    }

    /// RFC 4252 section 5.1: authentication requests after the success are silently ignored.
    /// RFC 4253 section 11.4: all else that is unknown is answered so.
    fn receive_unknown(&mut self) {
        if self.transport.packet().first() != Some(&msg::USERAUTH_REQUEST) {
            self.transport.send_unimplemented();
        }
    }

    fn receive_global_request(
        &mut self,
        name: String,
        want_reply: bool,
        payload: Vec<u8>,
    ) -> Result<Option<Event>, Error> {
        if want_reply {
            increment(&mut self.owed, self.limits.replies)
                .ok_or(Error::Limit("global requests without a reply"))?;
        }
        Ok(Some(Event::GlobalRequest {
            name,
            want_reply,
            payload,
        }))
    }

    fn receive_global_reply(
        &mut self,
        success: bool,
        payload: Vec<u8>,
    ) -> Result<Option<Event>, Error> {
        decrement(&mut self.awaited)
            .ok_or(Error::Misbehaved("unsolicited reply to a global request"))?;
        Ok(Some(Event::GlobalReply { success, payload }))
    }

    fn receive_open(&mut self, end: End, kind: String, payload: Vec<u8>) -> Option<Event> {
        if end.max_packet == 0 {
            let text = "maximum packet size of 0";
            self.send_open_failure(end.number, OpenFailure::AdministrativelyProhibited, text);
            return None;
        }
        let offer = Channel::offered(end);
        let Some(channel) = self.channels.insert(offer, self.limits.channels) else {
            let text = "too many channels";
            self.send_open_failure(end.number, OpenFailure::ResourceShortage, text);
            return None;
        };
        Some(Event::ChannelOpen {
            channel,
            kind,
            payload,
        })
    }

    fn receive_open_failure(
        &mut self,
        channel: ChannelId,
        reason: u32,
        text: String,
    ) -> Result<Option<Event>, Error> {
        if !self.channels.get(channel).is_some_and(Channel::is_opening) {
            return Err(Error::Misbehaved("unsolicited CHANNEL_OPEN_FAILURE"));
        }
        self.remove(channel);
        Ok(Some(Event::OpenFailed {
            channel,
            reason,
            text,
        }))
    }

    fn receive_data(
        &mut self,
        channel: ChannelId,
        stream: Stream,
        length: usize,
    ) -> Result<Option<Event>, Error> {
        let verdict = self.channels.named(channel.0)?.data(length)?;
        self.count_empty(length)?;
        if verdict == Verdict::Deliver {
            let end = self.transport.packet().len();
            self.data = end.saturating_sub(length)..end;
        }
        Ok(verdict.event(|| Event::Data { channel, stream }))
    }

    fn count_empty(&mut self, length: usize) -> Result<(), Error> {
        self.empty_run = match length {
            0 => self.empty_run.saturating_add(1),
            _ => 0,
        };
        if self.empty_run > EMPTY_RUN {
            return Err(Error::Limit("data messages without data"));
        }
        Ok(())
    }

    /// Section 5.3: the second CLOSE of the two ends the channel.
    fn receive_close(&mut self, channel: ChannelId) -> Result<Option<Event>, Error> {
        let closed = self.channels.named(channel.0)?.closed()?;
        Ok(Some(match closed {
            Closed::First => Event::PeerClosed { channel },
            Closed::Last => {
                self.remove(channel);
                Event::Closed { channel }
            }
        }))
    }
}

impl Verdict {
    fn event(self, event: impl FnOnce() -> Event) -> Option<Event> {
        (self == Self::Deliver).then(event)
    }
}

/// Names are US-ASCII (RFC 4250 section 4.6.1). What is not even UTF-8 becomes a text that is no
/// known name, and is refused as any other unknown name.
fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
