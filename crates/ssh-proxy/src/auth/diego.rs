//! The realm `diego:`, whose users all know the operator's credentials.

use ssh_proto::Secret;
use tracing::error;

use crate::refusal::Refusal;

/// The operator's credentials.
pub(crate) struct DiegoRealm {
    credentials: Secret<String>,
}

impl DiegoRealm {
    /// A realm with these credentials, which are not empty.
    pub(crate) fn new(credentials: Secret<String>) -> Self {
        Self { credentials }
    }

    /// Whether `password` is right, in a time that tells nothing about it.
    pub(crate) fn authenticate(&self, password: &[u8]) -> Result<(), Refusal> {
        if self.credentials.matches(password) {
            return Ok(());
        }
        error!("invalid-credentials");
        Err(Refusal::InvalidCredentials)
    }
}
