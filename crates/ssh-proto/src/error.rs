//! What ends a connection, grouped by whose fault it is, and the one mapping from there to the
//! reason code of SSH_MSG_DISCONNECT (RFC 4253 section 11.1).

use thiserror::Error;

use crate::wire::Malformed;

/// Why a connection ends. Every variant but [`Error::Disconnected`] is told to the peer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The peer broke a rule of the protocol.
    #[error("protocol error: {0}")]
    Misbehaved(&'static str),
    /// The two sides have nothing in common in one category of algorithms.
    #[error("no common {what}: ours {ours}, theirs {theirs}")]
    Incompatible {
        /// The category, as RFC 4253 section 7.1 calls it.
        what: &'static str,
        /// Our list.
        ours: String,
        /// The peer's list, cut and made printable.
        theirs: String,
    },
    /// The peer speaks another version of SSH, or something else.
    #[error("not an SSH-2.0 peer: {0}")]
    Version(&'static str),
    /// A packet failed its integrity check.
    #[error("message authentication code mismatch")]
    Integrity,
    /// The key exchange failed: a bad public value or signature.
    #[error("key exchange failed: {0}")]
    KeyExchange(&'static str),
    /// The peer's host key was not accepted by the application.
    #[error("host key not verifiable: {0}")]
    HostKey(String),
    /// A bound of ours was reached.
    #[error("limit reached: {0}")]
    Limit(&'static str),
    /// The peer was too slow.
    #[error("timeout: {0}")]
    Timeout(&'static str),
    /// Authentication ended without success.
    #[error("authentication: {0}")]
    Authentication(String),
    /// We end the connection on purpose, with this text for the peer.
    #[error("{text}")]
    Closed {
        /// The reason code that the peer gets.
        reason: Reason,
        /// The text that the peer gets.
        text: String,
    },
    /// The peer sent SSH_MSG_DISCONNECT.
    #[error("disconnected by the peer: {description} (reason {reason})")]
    Disconnected {
        /// The reason code as sent.
        reason: u32,
        /// The text as sent, cut and made printable.
        description: String,
    },
    /// The stream ended or failed underneath.
    #[error("connection lost: {0}")]
    Lost(String),
    /// A state that our own code should have made impossible. One connection ends, not the process.
    #[error("internal error: {0}")]
    Bug(&'static str),
}

/// Reason codes of SSH_MSG_DISCONNECT, RFC 4253 section 11.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// SSH_DISCONNECT_HOST_NOT_ALLOWED_TO_CONNECT
    HostNotAllowedToConnect = 1,
    /// SSH_DISCONNECT_PROTOCOL_ERROR
    ProtocolError = 2,
    /// SSH_DISCONNECT_KEY_EXCHANGE_FAILED
    KeyExchangeFailed = 3,
    /// SSH_DISCONNECT_MAC_ERROR
    MacError = 5,
    /// SSH_DISCONNECT_SERVICE_NOT_AVAILABLE
    ServiceNotAvailable = 7,
    /// SSH_DISCONNECT_PROTOCOL_VERSION_NOT_SUPPORTED
    ProtocolVersionNotSupported = 8,
    /// SSH_DISCONNECT_HOST_KEY_NOT_VERIFIABLE
    HostKeyNotVerifiable = 9,
    /// SSH_DISCONNECT_CONNECTION_LOST
    ConnectionLost = 10,
    /// SSH_DISCONNECT_BY_APPLICATION
    ByApplication = 11,
    /// SSH_DISCONNECT_TOO_MANY_CONNECTIONS
    TooManyConnections = 12,
    /// SSH_DISCONNECT_NO_MORE_AUTH_METHODS_AVAILABLE
    NoMoreAuthMethodsAvailable = 14,
}

impl Error {
    /// The reason code that the peer is told, or none where there is no use in telling.
    pub fn reason(&self) -> Option<Reason> {
        Some(match self {
            Self::Misbehaved(_) | Self::Limit(_) => Reason::ProtocolError,
            Self::Incompatible { .. } | Self::KeyExchange(_) => Reason::KeyExchangeFailed,
            Self::Version(_) => Reason::ProtocolVersionNotSupported,
            Self::Integrity => Reason::MacError,
            Self::HostKey(_) => Reason::HostKeyNotVerifiable,
            Self::Timeout(_) | Self::Bug(_) => Reason::ByApplication,
            Self::Authentication(_) => Reason::NoMoreAuthMethodsAvailable,
            Self::Closed { reason, .. } => *reason,
            Self::Disconnected { .. } | Self::Lost(_) => return None,
        })
    }

    /// The text that the peer is told: what it did wrong, and nothing about our inside.
    pub fn description(&self) -> String {
        match self {
            Self::Bug(_) => "internal error".into(),
            other => other.to_string(),
        }
    }
}

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        Self::Misbehaved("malformed message")
    }
}
