//! How a connection stands when a case is over, as its scripted peer sees it.

use std::fmt;

/// Reason codes of RFC 4253 section 11.1.
pub const PROTOCOL_ERROR: u32 = 2;
/// SSH_DISCONNECT_KEY_EXCHANGE_FAILED
pub const KEY_EXCHANGE_FAILED: u32 = 3;
/// SSH_DISCONNECT_MAC_ERROR
pub const MAC_ERROR: u32 = 5;
/// SSH_DISCONNECT_SERVICE_NOT_AVAILABLE
pub const SERVICE_NOT_AVAILABLE: u32 = 7;
/// SSH_DISCONNECT_PROTOCOL_VERSION_NOT_SUPPORTED
pub const VERSION_NOT_SUPPORTED: u32 = 8;
/// SSH_DISCONNECT_BY_APPLICATION
pub const BY_APPLICATION: u32 = 11;
/// SSH_DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE
pub const NO_MORE_AUTH_METHODS: u32 = 14;

/// How a connection stands. All but [`End::Alive`] are also why a peer cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It goes on: what a good peer asks is answered.
    Alive,
    /// The other side said DISCONNECT, and closed it.
    Cut {
        /// The reason code.
        reason: u32,
        /// The text.
        text: String,
    },
    /// The other side said DISCONNECT with this reason, and closed nothing.
    Unclosed(u32),
    /// The other side said something in plain text, and closed it.
    Told(String),
    /// The other side closed it without a word.
    Closed,
    /// The other side reset it.
    Reset,
    /// Nothing came for as long as anyone may wait.
    Hang,
    /// The other side does not know an algorithm that the case is about.
    NothingInCommon(&'static str),
    /// The other side refused a login that is right.
    Refused,
    /// The other side goes on with a key exchange that must not go on.
    WentOn,
    /// There are no credentials for a login.
    NoCredentials,
    /// An application behind a channel answers otherwise than it should.
    Unlike(String),
    /// What the other side sent cannot be read.
    Garbled(&'static str),
}

impl End {
    /// True where the other side has ended the connection, in whatever way.
    pub fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Cut { .. } | Self::Told(_) | Self::Closed | Self::Reset
        )
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive => f.write_str("alive"),
            Self::Cut { reason, .. } => write!(f, "cut {reason}"),
            Self::Unclosed(reason) => write!(f, "told {reason}, not closed"),
            Self::Told(_) => f.write_str("closed with plain text"),
            Self::Closed => f.write_str("closed"),
            Self::Reset => f.write_str("reset"),
            Self::Hang => f.write_str("hangs"),
            Self::NothingInCommon(what) => write!(f, "no common {what}"),
            Self::Refused => f.write_str("login refused"),
            Self::WentOn => f.write_str("goes on with the exchange"),
            Self::NoCredentials => f.write_str("no credentials"),
            Self::Unlike(what) => write!(f, "answers {what}"),
            Self::Garbled(what) => write!(f, "unreadable: {what}"),
        }
    }
}
