//! The connection protocol (RFC 4254): channels, their windows, and requests.
//!
//! A [`Connection`] owns an authenticated [`Transport`] and is the same for both roles. It decides
//! what the peer may do and keeps the books: states, windows, replies owed. It leaves to the
//! application what channel types and requests mean, whom to let do what, and every buffer; to the
//! caller of the transport, bytes and time.
//!
//! How to drive it: feed the transport, call [`Connection::poll`] until it says
//! [`Event::NeedInput`], send what the transport has. Calls in between do what they say at once and
//! never block. A call that the channel's state no longer allows (its CLOSE may have come in the
//! meantime) does nothing.
//!
//! Output is bounded by the application: data wait for [`Connection::writable`], and a caller whose
//! transport has no room should poll no further, since the answers to what is polled are sent.
//!
//! | module      | owns                                                                   |
//! |-------------|------------------------------------------------------------------------|
//! | `channel`   | one channel's state, and the table of all                              |
//! | `window`    | flow control                                                           |
//! | `message`   | the form of messages                                                   |
//! | `receive`   | what each message of the peer does                                     |
//! | [`limits`]  | every bound                                                            |
//! | [`request`], [`forward`], [`pty`] | payloads of known requests and channel types     |

mod channel;
pub mod forward;
pub mod limits;
mod message;
pub mod pty;
mod receive;
pub mod request;
mod window;

use std::fmt;
use std::ops::Range;
use std::time::Instant;

use crate::error::Error;
use crate::msg::{self, OpenFailure};
use crate::transport::{self, Transport};
use channel::{Channel, Closing, Table, decrement, increment};
pub use limits::{LimitReached, Limits};
use message::{DataHead, End, head, length};
use window::{Budget, ReceiveWindow};

/// Our number for a channel (RFC 4254 section 5).
///
/// It is free for another channel after [`Event::Closed`], [`Event::OpenFailed`],
/// [`Connection::refuse`], or [`Connection::close`] in answer to [`Event::PeerClosed`], and not before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(u32);

impl ChannelId {
    fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which data of a channel (RFC 4254 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// SSH_MSG_CHANNEL_DATA
    Data,
    /// SSH_MSG_CHANNEL_EXTENDED_DATA with its data type code. Codes that mean nothing to the
    /// application are its to drop; they took window, so it must report them consumed.
    Extended(u32),
}

impl Stream {
    /// SSH_EXTENDED_DATA_STDERR
    pub const STDERR: Self = Self::Extended(msg::EXTENDED_DATA_STDERR);
}

/// What happened, for the application.
///
/// Names are text; bytes that are not UTF-8 are replaced, which makes a name that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing more before new input.
    NeedInput,
    /// The transport wants something that only its owner can give; see its own documentation.
    Transport(transport::Event),
    /// The peer opens a channel (section 5.1). Must be answered, soon or late, by
    /// [`Connection::accept`] or [`Connection::refuse`].
    ChannelOpen {
        /// Our number for it.
        channel: ChannelId,
        /// The channel type.
        kind: String,
        /// The fields that belong to the type.
        payload: Vec<u8>,
    },
    /// The peer accepted a channel of ours (section 5.1).
    OpenConfirmed {
        /// The channel, open now.
        channel: ChannelId,
        /// The fields that belong to the type.
        payload: Vec<u8>,
    },
    /// The peer refused a channel of ours (section 5.1). The channel is gone.
    OpenFailed {
        /// The channel that was to be.
        channel: ChannelId,
        /// The reason code as sent.
        reason: u32,
        /// The text as sent, cut and made printable.
        text: String,
    },
    /// Data came (section 5.2); they are at [`Connection::data`] until the next poll. Never empty.
    Data {
        /// The channel.
        channel: ChannelId,
        /// Which data.
        stream: Stream,
    },
    /// The peer will send no more data (section 5.3). Requests may still come.
    Eof {
        /// The channel.
        channel: ChannelId,
    },
    /// The peer has closed the channel and we have not (section 5.3). Must be answered by
    /// [`Connection::close`], soon or once the data are where they belong: up to then the number is
    /// taken and the window counts. Nothing else can be sent, and no reply that was awaited will come.
    PeerClosed {
        /// The channel.
        channel: ChannelId,
    },
    /// The peer has closed the channel after us (section 5.3). It is gone; no reply that was awaited
    /// on it will come.
    Closed {
        /// The channel.
        channel: ChannelId,
    },
    /// The peer asks for something on a channel (section 5.4). If it wants a reply, it must get one
    /// by [`Connection::reply`], in the order of the requests.
    Request {
        /// The channel.
        channel: ChannelId,
        /// The request type.
        request: String,
        /// Whether there must be a reply.
        want_reply: bool,
        /// The fields that belong to the type.
        payload: Vec<u8>,
    },
    /// The reply to our oldest unanswered request on a channel (section 5.4).
    Reply {
        /// The channel.
        channel: ChannelId,
        /// SUCCESS or FAILURE.
        success: bool,
    },
    /// A window that had been empty takes data again (section 5.2).
    WindowOpened {
        /// The channel.
        channel: ChannelId,
    },
    /// The peer asks for something outside of any channel (section 4). If it wants a reply, it must
    /// get one by [`Connection::global_reply`], in the order of the requests.
    GlobalRequest {
        /// The request name.
        name: String,
        /// Whether there must be a reply.
        want_reply: bool,
        /// The fields that belong to the request.
        payload: Vec<u8>,
    },
    /// The reply to our oldest unanswered global request (section 4).
    GlobalReply {
        /// SUCCESS or FAILURE.
        success: bool,
        /// The fields that belong to the request; none with FAILURE.
        payload: Vec<u8>,
    },
}

/// One side of the connection protocol (RFC 4254).
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    limits: Limits,
    channels: Table,
    budget: Budget,
    /// Where the data of the last [`Event::Data`] stand in the transport's packet.
    data: Range<usize>,
    /// Data messages without data since the last one with data.
    empty_run: u32,
    /// Global requests of the peer that want a reply and have none.
    owed: u16,
    /// Global requests of ours that want a reply and have none.
    awaited: u16,
}

/// Input and events.
impl Connection {
    /// The connection over a transport on which the user is authenticated.
    pub fn new(transport: Transport, limits: Limits) -> Self {
        Self {
            transport,
            budget: Budget::new(limits.total_window),
            limits,
            channels: Table::default(),
            data: 0..0,
            empty_run: 0,
            owed: 0,
            awaited: 0,
        }
    }

    /// Handles what the transport has until the application must see something. After an error
    /// there is only the transport's last output to send.
    pub fn poll(&mut self, now: Instant) -> Result<Event, Error> {
        self.data = 0..0;
        loop {
            match self.transport.poll(now)? {
                transport::Event::NeedInput => return Ok(Event::NeedInput),
                transport::Event::Packet => match self.receive() {
                    Ok(Some(event)) => return Ok(event),
                    Ok(None) => {}
                    Err(error) => return Err(self.transport.fail(error)),
                },
                other => return Ok(Event::Transport(other)),
            }
        }
    }

    /// The data of the [`Event::Data`] just polled.
    pub fn data(&self) -> &[u8] {
        (self.transport.packet().get(self.data.clone())).unwrap_or_default()
    }

    /// The transport underneath.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The transport underneath, for its input, output and time.
    pub fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    /// Ends the connection protocol and leaves the transport.
    pub fn into_transport(self) -> Transport {
        self.transport
    }

    /// Channels at this time, in whichever state.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// True for a channel that was confirmed and on which no CLOSE went either way.
    pub fn is_open(&self, channel: ChannelId) -> bool {
        self.channels.get(channel).is_some_and(Channel::is_open)
    }
}

/// Opening and closing, RFC 4254 sections 5.1 and 5.3.
impl Connection {
    /// Opens a channel, with a window and a packet size of at most what [`Limits`] has. Nothing may
    /// be sent on it before [`Event::OpenConfirmed`].
    pub fn open(
        &mut self,
        kind: &str,
        window: u32,
        max_packet: u32,
        payload: &[u8],
    ) -> Result<ChannelId, LimitReached> {
        if self.channels.len() >= self.limits.channels {
            return Err(LimitReached("channels"));
        }
        let (window, max_packet) = self.grant(window, max_packet);
        let entry = Channel::opening(ReceiveWindow::new(window, max_packet));
        let channel = (self.channels.insert(entry, self.limits.channels))
            .ok_or(LimitReached("channel numbers"))?;
        let end = End {
            number: channel.0,
            window,
            max_packet,
        };
        let kind = kind.as_bytes();
        (self.transport).send(&[
            &[msg::CHANNEL_OPEN],
            &length(kind),
            kind,
            &end.encode(),
            payload,
        ]);
        Ok(channel)
    }

    /// Accepts a channel that the peer opens, with a window and a packet size of at most what
    /// [`Limits`] has.
    pub fn accept(&mut self, channel: ChannelId, window: u32, max_packet: u32, payload: &[u8]) {
        if !self.channels.get(channel).is_some_and(Channel::is_offered) {
            return;
        }
        let (window, max_packet) = self.grant(window, max_packet);
        let Some(entry) = self.channels.get_mut(channel) else {
            return;
        };
        entry.accept(ReceiveWindow::new(window, max_packet));
        let end = End {
            number: channel.0,
            window,
            max_packet,
        };
        let head = head(msg::CHANNEL_OPEN_CONFIRMATION, entry.peer());
        self.transport.send(&[&head, &end.encode(), payload]);
    }

    /// Refuses a channel that the peer opens. The channel is gone.
    pub fn refuse(&mut self, channel: ChannelId, reason: OpenFailure, text: &str) {
        let offered = self.channels.get(channel).filter(|it| it.is_offered());
        if let Some(peer) = offered.map(Channel::peer) {
            self.remove(channel);
            self.send_open_failure(peer, reason, text);
        }
    }

    /// Says that no more data follow (section 5.3). Requests still may.
    pub fn send_eof(&mut self, channel: ChannelId) {
        if let Some(entry) = self.channels.get_mut(channel)
            && entry.end()
        {
            let peer = entry.peer();
            self.send_plain(msg::CHANNEL_EOF, peer);
        }
    }

    /// Closes the channel (section 5.3). Nothing of it is delivered from here on but
    /// [`Event::Closed`]; after [`Event::PeerClosed`] not even that, and the channel is gone. A
    /// channel that is still being opened must be confirmed first.
    pub fn close(&mut self, channel: ChannelId) {
        if let Some(entry) = self.channels.get_mut(channel)
            && let Some(closing) = entry.close()
        {
            let peer = entry.peer();
            self.send_plain(msg::CHANNEL_CLOSE, peer);
            if closing == Closing::Last {
                self.remove(channel);
            }
        }
    }
}

/// Data, RFC 4254 section 5.2.
impl Connection {
    /// How many bytes [`Connection::send_data_with`] would offer: what window, packet size and the
    /// transport's room allow. 0 before the confirmation and after our EOF or CLOSE.
    ///
    /// Where the window is what lacks, [`Event::WindowOpened`] tells of its end.
    pub fn writable(&self, channel: ChannelId) -> usize {
        let sendable = self.channels.get(channel).map_or(0, Channel::sendable);
        sendable.min(self.transport.room())
    }

    /// Sends as much of `data` as may be sent now, in as many messages as it takes. How much.
    pub fn send_data(&mut self, channel: ChannelId, stream: Stream, data: &[u8]) -> usize {
        let mut rest = data;
        while !rest.is_empty() {
            let room = self.writable(channel).min(rest.len());
            let Some((chunk, behind)) = rest.split_at_checked(room) else {
                break;
            };
            let Some(entry) = self.channels.get_mut(channel).filter(|_| room > 0) else {
                break;
            };
            entry.sent(room);
            let head = DataHead::new(entry.peer(), stream);
            (self.transport).send(&[head.as_bytes(), &length(chunk), chunk]);
            rest = behind;
        }
        data.len().saturating_sub(rest.len())
    }

    /// Sends what `fill` writes into a buffer of [`Connection::writable`] bytes, inside of the
    /// packet itself. `fill` returns how much that was, where 0 sends nothing, and a result to hand
    /// through. None, and `fill` was not called, when nothing may be sent now.
    pub fn send_data_with<R>(
        &mut self,
        channel: ChannelId,
        stream: Stream,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
    ) -> Option<R> {
        let room = self.writable(channel);
        let entry = self.channels.get_mut(channel).filter(|_| room > 0)?;
        let head = DataHead::new(entry.peer(), stream);
        let fill = |buffer: &mut [u8]| {
            let (written, result) = fill(buffer);
            (written, (written.min(room), result))
        };
        let (sent, result) = self.transport.send_with(head.as_bytes(), room, fill).ok()?;
        entry.sent(sent);
        Some(result)
    }

    /// The application has no more use for `bytes` that it got from [`Connection::data`], of
    /// whichever stream: the peer may send as many more. It is told when enough have come together.
    pub fn consumed(&mut self, channel: ChannelId, bytes: usize) {
        if let Some(entry) = self.channels.get_mut(channel)
            && let Some(credit) = entry.consume(bytes)
        {
            let head = head(msg::CHANNEL_WINDOW_ADJUST, entry.peer());
            self.transport.send(&[&head, &credit.to_be_bytes()]);
        }
    }
}

/// Requests and replies, RFC 4254 sections 4 and 5.4.
impl Connection {
    /// Sends a request on an open channel. With `want_reply` there comes one [`Event::Reply`] for
    /// it, unless the channel is closed first.
    pub fn request(
        &mut self,
        channel: ChannelId,
        name: &str,
        want_reply: bool,
        payload: &[u8],
    ) -> Result<(), LimitReached> {
        let entry = self.channels.get_mut(channel).filter(|it| it.is_open());
        let Some(entry) = entry else {
            return Ok(());
        };
        if want_reply {
            (entry.await_reply(self.limits.replies))
                .ok_or(LimitReached("channel requests without a reply"))?;
        }
        let head = head(msg::CHANNEL_REQUEST, entry.peer());
        let (name, want_reply) = (name.as_bytes(), [u8::from(want_reply)]);
        (self.transport).send(&[&head, &length(name), name, &want_reply, payload]);
        Ok(())
    }

    /// Answers the oldest request on the channel that wants a reply and has none. When there is no
    /// such request, nothing is sent.
    pub fn reply(&mut self, channel: ChannelId, success: bool) {
        if let Some(entry) = self.channels.get_mut(channel)
            && entry.reply()
        {
            let peer = entry.peer();
            let number = match success {
                true => msg::CHANNEL_SUCCESS,
                false => msg::CHANNEL_FAILURE,
            };
            self.send_plain(number, peer);
        }
    }

    /// Sends a global request. With `want_reply` there comes one [`Event::GlobalReply`] for it.
    pub fn global_request(
        &mut self,
        name: &str,
        want_reply: bool,
        payload: &[u8],
    ) -> Result<(), LimitReached> {
        if want_reply {
            increment(&mut self.awaited, self.limits.replies)
                .ok_or(LimitReached("global requests without a reply"))?;
        }
        let (name, want_reply) = (name.as_bytes(), [u8::from(want_reply)]);
        let number = [msg::GLOBAL_REQUEST];
        (self.transport).send(&[&number, &length(name), name, &want_reply, payload]);
        Ok(())
    }

    /// Answers the oldest global request that wants a reply and has none; `payload` goes with a
    /// success only. When there is no such request, nothing is sent.
    pub fn global_reply(&mut self, success: bool, payload: &[u8]) {
        if decrement(&mut self.owed).is_none() {
            return;
        }
        match success {
            true => self.transport.send(&[&[msg::REQUEST_SUCCESS], payload]),
            false => self.transport.send(&[&[msg::REQUEST_FAILURE]]),
        }
    }
}

impl Connection {
    /// The window and the packet size for a new channel that would have these.
    fn grant(&mut self, window: u32, max_packet: u32) -> (u32, u32) {
        let window = self.budget.grant(window.min(self.limits.window));
        (window, max_packet.min(self.limits.max_packet).max(1))
    }

    fn remove(&mut self, channel: ChannelId) {
        if let Some(entry) = self.channels.remove(channel) {
            self.budget.release(entry.window());
        }
    }

    /// Sends a message that has no field but the recipient.
    fn send_plain(&mut self, number: u8, peer: u32) {
        self.transport.send(&[&head(number, peer)]);
    }

    fn send_open_failure(&mut self, peer: u32, reason: OpenFailure, text: &str) {
        let head = head(msg::CHANNEL_OPEN_FAILURE, peer);
        let reason = (reason as u32).to_be_bytes();
        let (text, no_language) = (text.as_bytes(), length(b""));
        (self.transport).send(&[&head, &reason, &length(text), text, &no_language]);
    }
}
