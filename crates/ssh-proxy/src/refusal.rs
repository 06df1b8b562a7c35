//! Why a user does not get in: one short code for log and metric, one text for the user.
//!
//! Only users whose credentials were right learn anything about apps.

use ssh_tokio::Denied;
use thiserror::Error;

use crate::platform::bbs::BbsError;
use crate::platform::cloud_controller::CloudControllerError;
use crate::platform::uaa::UaaError;
use crate::target::TargetError;

/// What is told where the code may be used up for nothing.
const CODE_UNAVAILABLE: (&str, &str) = (
    "platform_unavailable",
    "a service of the platform does not answer; try again later with a new code (`cf ssh-code`)",
);

/// A login that ends without a relay.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    /// The user name is of no realm that is served here.
    #[error("unknown user")]
    UnknownUser,
    /// The password or code is not the right one.
    #[error("Invalid credentials")]
    InvalidCredentials,
    /// What the user would do could not be recorded, and the operator wants it to be.
    #[error("the audit cannot be written")]
    Unaudited,
    /// UAA does not vouch for the user.
    #[error("UAA: {0}")]
    Uaa(#[from] UaaError),
    /// Cloud Controller does not let the user into the app.
    #[error("Cloud Controller: {0}")]
    CloudController(#[from] CloudControllerError),
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

    /// True if the user has not proven anything. What such users learn, and when, must not depend on
    /// apps.
    pub(crate) fn is_of_stranger(&self) -> bool {
        matches!(
            self,
            Self::Unaudited | Self::UnknownUser | Self::InvalidCredentials | Self::Uaa(_)
        )
    }

    /// What the user is told, and whether another password can help.
    pub(crate) fn denied(&self) -> Denied {
        let (code, text) = self.words();
        let text = format!("{text} [{code}]");
        match self {
            Self::UnknownUser | Self::InvalidCredentials | Self::Uaa(UaaError::InvalidCode) => {
                Denied::Retry(Some(text))
            }
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
            Self::Unaudited => (
                "audit_unavailable",
                "nobody is let in while logins cannot be recorded; try again later, or tell your operator",
            ),
            Self::Uaa(error) => of_uaa(error),
            Self::CloudController(error) => of_cloud_controller(error),
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

/// Code and text of refusals by UAA. None of them is about apps.
fn of_uaa(error: &UaaError) -> (&'static str, &'static str) {
    match error {
        UaaError::InvalidCode => (
            "invalid_code",
            "the one-time code is wrong, has expired or was used before; `cf ssh-code` gives a new one",
        ),
        UaaError::Client => (
            "uaa_client_rejected",
            "UAA does not accept the SSH proxy, or the code is another client's; tell your operator",
        ),
        UaaError::Busy => ("busy", "too many logins at a time; try again in a moment"),
        UaaError::Status(_) | UaaError::Garbled(_) | UaaError::Call(_) => CODE_UNAVAILABLE,
    }
}

/// Code and text of refusals by Cloud Controller, for users whose code was right and is used up now.
fn of_cloud_controller(error: &CloudControllerError) -> (&'static str, &'static str) {
    match error {
        CloudControllerError::SshDisabled => (
            "ssh_disabled",
            "SSH is disabled for the app (`cf enable-ssh`), its space (`cf allow-space-ssh`) or the \
             whole platform (its operator)",
        ),
        CloudControllerError::NoRole => (
            "no_role",
            "you are no developer in the app's space, or its space or organization is suspended",
        ),
        CloudControllerError::NoSuchProcess => (
            "no_such_process",
            "there is no such process; the user name is cf:<process guid>/<instance index>",
        ),
        CloudControllerError::TokenRefused => (
            "token_refused",
            "Cloud Controller does not accept your login; log in again (`cf login`) for a new code",
        ),
        CloudControllerError::Status(_)
        | CloudControllerError::Garbled
        | CloudControllerError::Call(_) => CODE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::call::CallError;

    /// Most bytes of a text, so that it fits into a DISCONNECT that every client shows.
    const MAX_TEXT: usize = 400;

    fn instance() -> (String, i32) {
        ("guid".to_owned(), 0)
    }

    /// Every refusal with its code.
    fn all() -> Vec<(Refusal, &'static str)> {
        let (guid, index) = instance();
        let text = || "10.0.0.1:61001: secret detail".to_owned();
        let call = || CallError::Unavailable(text());
        vec![
            (Refusal::UnknownUser, "invalid_credentials"),
            (Refusal::InvalidCredentials, "invalid_credentials"),
            (Refusal::Unaudited, "audit_unavailable"),
            (UaaError::InvalidCode.into(), "invalid_code"),
            (UaaError::Client.into(), "uaa_client_rejected"),
            (UaaError::Busy.into(), "busy"),
            (UaaError::Status(500).into(), "platform_unavailable"),
            (UaaError::Garbled("x").into(), "platform_unavailable"),
            (UaaError::Call(call()).into(), "platform_unavailable"),
            (CloudControllerError::SshDisabled.into(), "ssh_disabled"),
            (CloudControllerError::NoRole.into(), "no_role"),
            (
                CloudControllerError::NoSuchProcess.into(),
                "no_such_process",
            ),
            (CloudControllerError::TokenRefused.into(), "token_refused"),
            (
                CloudControllerError::Status(500).into(),
                "platform_unavailable",
            ),
            (CloudControllerError::Garbled.into(), "platform_unavailable"),
            (
                CloudControllerError::Call(call()).into(),
                "platform_unavailable",
            ),
            (BbsError::NotFound(text()).into(), "instance_not_found"),
            (
                BbsError::NoInstance { guid, index }.into(),
                "instance_not_found",
            ),
            (
                BbsError::NotRunning { state: text() }.into(),
                "instance_not_running",
            ),
            (BbsError::Timeout.into(), "platform_unavailable"),
            (TargetError::NoRoute.into(), "no_ssh_route"),
            (TargetError::NoPort(2222).into(), "no_ssh_port"),
            (Refusal::Dial(text()), "instance_unreachable"),
            (Refusal::Tls(text()), "instance_certificate"),
            (Refusal::HostKey(text()), "instance_host_key"),
            (Refusal::Handshake(text()), "instance_handshake"),
        ]
    }

    #[test]
    fn users_are_told_a_code_and_a_short_text_without_details() {
        for (refusal, code) in all() {
            assert_eq!(refusal.code(), code, "{refusal}");
            let (Denied::Retry(Some(text)) | Denied::Final(text)) = refusal.denied() else {
                panic!("{refusal} without a text")
            };
            assert!(text.ends_with(&format!("[{code}]")), "{text}");
            assert!(text.len() <= MAX_TEXT && text.is_ascii(), "{text}");
            assert!(!text.contains("secret detail"), "{text}");
        }
    }

    #[test]
    fn only_a_wrong_password_or_code_can_be_tried_again() {
        for (refusal, code) in all() {
            let again = matches!(refusal.denied(), Denied::Retry(_));
            assert_eq!(
                again,
                ["invalid_credentials", "invalid_code"].contains(&code),
                "{refusal}"
            );
        }
    }

    #[test]
    fn strangers_are_told_nothing_about_apps() {
        for (refusal, code) in all() {
            let before_login = [
                "audit_unavailable",
                "invalid_credentials",
                "invalid_code",
                "uaa_client_rejected",
                "busy",
                "platform_unavailable",
            ];
            if refusal.is_of_stranger() {
                assert!(before_login.contains(&code), "{refusal}");
            }
        }
    }
}
