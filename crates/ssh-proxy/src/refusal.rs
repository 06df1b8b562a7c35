//! Why a user does not get in: one short code for log and metric, one text for the user.
//!
//! Only users whose credentials were right learn anything about apps.

use ssh_tokio::Denied;
use thiserror::Error;

use crate::platform::bbs::BbsError;
use crate::target::TargetError;

/// A login that ends without a relay.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    /// The user name is of no realm that is served here.
    #[error("unknown user")]
    UnknownUser,
    /// The password or code is not the right one.
    #[error("Invalid credentials")]
    InvalidCredentials,
    /// BBS does not say where the instance is.
    #[error("{0}")]
    Bbs(#[from] BbsError),
    /// The instance cannot be entered as it was desired.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// The instance cannot be reached.
    #[error("dial: {0}")]
    Dial(String),
    /// The instance's TLS server is not what it should be.
    #[error("tls: {0}")]
    Tls(String),
    /// The daemon's host key is not the pinned one.
    #[error("host key: {0}")]
    HostKey(String),
    /// The daemon does not let the proxy in, or speaks no SSH.
    #[error("daemon handshake: {0}")]
    Handshake(String),
}

impl Refusal {
    /// The code that stands in the log, in the metric and in the user's text.
    pub(crate) fn code(&self) -> &'static str {
        self.words().0
    }

    /// What the user is told, and whether another password can help.
    pub(crate) fn denied(&self) -> Denied {
        let (code, text) = self.words();
        let text = format!("{text} [{code}]");
        match self {
            Self::UnknownUser | Self::InvalidCredentials => Denied::Retry(Some(text)),
            _ => Denied::Final(text),
        }
    }

    /// Code and text of each refusal.
    fn words(&self) -> (&'static str, &'static str) {
        match self {
            // One answer for both: whoever guesses learns nothing about names.
            Self::UnknownUser | Self::InvalidCredentials => (
                "invalid_credentials",
                "the user name or the password is not right",
            ),
            Self::Bbs(
                BbsError::NotFound(_) | BbsError::NoInstance { .. } | BbsError::NoDesiredLrp { .. },
            ) => (
                "instance_not_found",
                "there is no such app instance; check process guid and index",
            ),
            Self::Bbs(BbsError::NotRunning { .. }) => (
                "instance_not_running",
                "the app instance is not running; start it and try again",
            ),
            Self::Bbs(BbsError::Ambiguous { .. }) => (
                "instance_ambiguous",
                "the app instance is being moved; try again in a minute",
            ),
            Self::Bbs(_) => (
                "platform_unavailable",
                "a service of the platform does not answer; try again later",
            ),
            Self::Target(TargetError::NoRoute | TargetError::BadRoute) => (
                "no_ssh_route",
                "the app was started without SSH; enable it and restart the app",
            ),
            Self::Target(TargetError::NoPort(_) | TargetError::NoAddress(_)) => (
                "no_ssh_port",
                "the app instance has no SSH port; restart the app",
            ),
            Self::Dial(_) => (
                "instance_unreachable",
                "the app instance cannot be reached; try again",
            ),
            Self::Tls(_) => (
                "instance_certificate",
                "the app instance did not prove its identity (certificate)",
            ),
            Self::HostKey(_) => (
                "instance_host_key",
                "the app instance did not prove its identity (host key)",
            ),
            Self::Handshake(_) => (
                "instance_handshake",
                "the SSH daemon of the app instance does not answer as it should",
            ),
        }
    }
}
