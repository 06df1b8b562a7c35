//! Watches the attempts of a login, and books those that fail.

use ssh_proto::Error;
use ssh_proto::auth::Methods;
use ssh_proto::key::PublicKey;
use ssh_tokio::{Attempt, Authenticator, Denied};

use super::Admission;
use super::penalties::Offence;

/// Decides as `inner` does.
pub(crate) struct Watched<'a, A> {
    inner: &'a mut A,
    admission: &'a Admission,
}

impl<'a, A> Watched<'a, A> {
    /// Books what fails with `inner`.
    pub(crate) fn new(inner: &'a mut A, admission: &'a Admission) -> Self {
        Self { inner, admission }
    }
}

impl<A: Authenticator> Authenticator for Watched<'_, A> {
    type Grant = A::Grant;

    fn methods(&self) -> Methods {
        self.inner.methods()
    }

    fn knows_key(&self, key: &PublicKey) -> bool {
        self.inner.knows_key(key)
    }

    async fn authenticate(&mut self, user: &str, attempt: Attempt) -> Result<A::Grant, Denied> {
        // Every client asks without a password first.
        let guesses = !matches!(attempt, Attempt::None);
        let decision = self.inner.authenticate(user, attempt).await;
        // What is final was decided after the password had been found right, or is the platform's fault.
        if guesses && matches!(decision, Err(Denied::Retry(_))) {
            self.admission.offends(Offence::Password);
        }
        decision
    }
}

/// What an end before success says about the client, if anything. Who leaves says nothing: that may be
/// a probe, or somebody who has no password at hand.
pub(crate) fn offence(error: &Error, waited_for_us: bool) -> Option<Offence> {
    match error {
        Error::Timeout(_) if waited_for_us => None,
        Error::Timeout(_) => Some(Offence::Deadline),
        Error::Misbehaved(_)
        | Error::Version(_)
        | Error::Integrity
        | Error::KeyExchange(_)
        | Error::Limit(_) => Some(Offence::Protocol),
        _ => None,
    }
}
