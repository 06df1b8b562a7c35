//! Reading a control packet of RFC 4254 just far enough to know whom it is about.
//!
//! Everything is borrowed from the packet, and the rest of it is left unread: what one end says to the
//! other is theirs to judge.

use ssh_proto::msg;
use ssh_proto::wire::{Malformed, Reader};

/// A control packet, as far as a relay has to understand it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control<'a> {
    /// Section 4.
    GlobalRequest { name: &'a [u8], want_reply: bool },
    /// Section 4: success or failure. Replies carry no number: their order tells what they answer.
    GlobalReply,
    /// Section 5.1.
    Open { kind: &'a [u8], sender: u32 },
    /// Section 5.1.
    OpenConfirmation { recipient: u32, sender: u32 },
    /// Section 5.1.
    OpenFailure { recipient: u32 },
    /// Section 5.3.
    Eof { recipient: u32 },
    /// Section 5.3.
    Close { recipient: u32 },
    /// Section 5.4.
    Request {
        recipient: u32,
        name: &'a [u8],
        want_reply: bool,
    },
    /// Section 5.4: success or failure.
    Reply { recipient: u32 },
}

/// True for packets that are forwarded unseen: data and the windows for it.
#[inline]
pub(super) fn is_data(payload: &[u8]) -> bool {
    matches!(
        payload.first(),
        Some(&(msg::CHANNEL_WINDOW_ADJUST | msg::CHANNEL_DATA | msg::CHANNEL_EXTENDED_DATA))
    )
}

impl<'a> Control<'a> {
    /// Reads a packet that is not [`is_data`].
    pub(super) fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        Ok(match reader.u8()? {
            msg::GLOBAL_REQUEST => Self::GlobalRequest {
                name: reader.string()?,
                want_reply: reader.bool()?,
            },
            msg::REQUEST_SUCCESS | msg::REQUEST_FAILURE => Self::GlobalReply,
            msg::CHANNEL_OPEN => Self::Open {
                kind: reader.string()?,
                sender: reader.u32()?,
            },
            msg::CHANNEL_OPEN_CONFIRMATION => Self::OpenConfirmation {
                recipient: reader.u32()?,
                sender: reader.u32()?,
            },
            msg::CHANNEL_OPEN_FAILURE => Self::OpenFailure {
                recipient: reader.u32()?,
            },
            msg::CHANNEL_EOF => Self::Eof {
                recipient: reader.u32()?,
            },
            msg::CHANNEL_CLOSE => Self::Close {
                recipient: reader.u32()?,
            },
            msg::CHANNEL_REQUEST => Self::Request {
                recipient: reader.u32()?,
                name: reader.string()?,
                want_reply: reader.bool()?,
            },
            msg::CHANNEL_SUCCESS | msg::CHANNEL_FAILURE => Self::Reply {
                recipient: reader.u32()?,
            },
            _ => return Err(Malformed),
        })
    }
}
