//! The bounds of one connection, each with the reason for its size.
//!
//! What a session may do inside these bounds (environment, ptys, processes) is the application's.

use crate::error::Error;

/// The most data that one CHANNEL_DATA of ours carries, whatever the peer would take: RFC 4253
/// section 6.1 asks every implementation for 32,768 bytes of payload, and all known peers announce
/// this much per channel.
pub(super) const SEND_MAX: u32 = 32 * 1024;

/// The smallest window that a crowded connection still grants; half a packet keeps data moving.
pub(super) const WINDOW_FLOOR: u32 = 16 * 1024;

/// Data messages without data in a row. They cost no window, so something else must end a flood;
/// one every 15 seconds as a keepalive goes on for 11 days before it counts as one.
pub(super) const EMPTY_RUN: u32 = 65_536;

/// Bytes kept of the peer's text in an open failure: enough for a reason, fit for a log line.
pub(super) const FAILURE_TEXT: usize = 256;

/// What one connection may hold (RFC 4254 sections 4 and 5 set no bounds of their own).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Channels at one time, opened by either side, closing ones included.
    pub channels: usize,
    /// The largest window for one channel: the bytes of it that the application may have to hold.
    pub window: u32,
    /// What all windows of the connection share; later channels get less when it runs out.
    pub total_window: u32,
    /// The most data in one message that we take.
    pub max_packet: u32,
    /// Requests without an answer: each way, for each channel and for the connection.
    pub replies: u16,
}

impl Limits {
    /// A browser behind `ssh -D` holds some dozens of channels; an entry costs us under 50 bytes.
    pub const CHANNELS: usize = 256;
    /// As OpenSSH: fills 100 Mbit/s at 160 ms.
    pub const WINDOW: u32 = 2 * 1024 * 1024;
    /// Four full windows; with the floor for each of 256 channels a peer that fills all windows of
    /// an application that consumes nothing makes it hold 12 MiB.
    pub const TOTAL_WINDOW: u32 = 4 * Self::WINDOW;
    /// As OpenSSH and Go: the size that RFC 4253 section 6.1 makes everyone capable of.
    pub const MAX_PACKET: u32 = 32 * 1024;
    /// More than any client sends ahead (OpenSSH: one pty, some environment, one command).
    pub const REPLIES: u16 = 256;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            channels: Self::CHANNELS,
            window: Self::WINDOW,
            total_window: Self::TOTAL_WINDOW,
            max_packet: Self::MAX_PACKET,
            replies: Self::REPLIES,
        }
    }
}

/// A bound of [`Limits`] stands against a call of the application; nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limit reached: {0}")]
pub struct LimitReached(pub(super) &'static str);

impl From<LimitReached> for Error {
    fn from(limit: LimitReached) -> Self {
        Self::Limit(limit.0)
    }
}
