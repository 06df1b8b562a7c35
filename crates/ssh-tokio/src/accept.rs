//! The server's side of a new connection: key exchange and user authentication, within a deadline.

use std::future::Future;
use std::sync::Arc;

use ssh_proto::auth::{Methods, Request, ServerAuth, VerifiedKey};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::error::Reason;
use ssh_proto::key::PublicKey;
use ssh_proto::transport::{Config, Event, Role, Transport};
use ssh_proto::{Error, Secret};
use tokio::time::Instant;

use crate::wire::{Authenticated, Socket, Wire, now};

/// What a user shows to be let in.
#[derive(Debug)]
pub enum Attempt {
    /// Nothing.
    None,
    /// A password, as typed.
    Password(Secret<Vec<u8>>),
    /// A key that the user was shown to have.
    Key(VerifiedKey),
}

/// Why a user is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// Another attempt may do better. The text, if any, is shown to the user.
    Retry(Option<String>),
    /// No other attempt can help: the text is shown, and the connection ends.
    Final(String),
}

/// Decides who is let in, and with what.
pub trait Authenticator: Send {
    /// What an authenticated user gets.
    type Grant: Send;

    /// Which method is offered.
    fn methods(&self) -> Methods;

    /// Whether a signature by `key` would be enough.
    fn knows_key(&self, key: &PublicKey) -> bool;

    /// Decides about one attempt.
    fn authenticate(
        &mut self,
        user: &str,
        attempt: Attempt,
    ) -> impl Future<Output = Result<Self::Grant, Denied>> + Send;
}

/// Completes at `at` with the error for a login that is not done by then.
pub async fn login_deadline(at: Instant) -> Error {
    tokio::time::sleep_until(at).await;
    Error::Timeout("login takes too long")
}

/// Brings a new connection to an authenticated user, or ends it and says why.
///
/// `until` ends the attempt with its error: usually [`login_deadline`].
///
/// # Errors
/// The client broke a rule, lost interest, was not let in, or `until` completed. It has been told, and
/// the stream is closed.
pub async fn accept<S: Socket, A: Authenticator>(
    stream: S,
    config: Arc<Config>,
    authenticator: &mut A,
    until: impl Future<Output = Error>,
) -> Result<(Authenticated<S>, A::Grant), Error> {
    let transport = Transport::new(Role::Server, config, Box::new(SystemRandom), now());
    let mut wire = Wire::new(stream, transport);
    let accepted = tokio::select! {
        // First, as the limit of a key exchange may come to its end at the same time.
        biased;
        error = until => Err(error),
        accepted = authenticate(&mut wire, authenticator) => accepted,
    };
    match accepted {
        Ok(grant) => Ok((Authenticated::new(wire), grant)),
        Err(error) => Err(Box::pin(wire.close(error)).await),
    }
}

async fn authenticate<S: Socket, A: Authenticator>(
    wire: &mut Wire<S>,
    authenticator: &mut A,
) -> Result<A::Grant, Error> {
    let mut auth = ServerAuth::new(authenticator.methods());
    loop {
        if wire.next().await? != Event::Packet {
            return Err(Error::Bug("a server has no host key to decide about"));
        }
        let Some(request) = auth.handle(wire.transport_mut())? else {
            continue;
        };
        let (user, attempt) = match request {
            Request::None { user } => (user, Attempt::None),
            Request::Password { user, password } => (user, Attempt::Password(password)),
            Request::Key { user, key } => (user, Attempt::Key(key)),
            Request::KeyQuery { key, .. } => {
                if authenticator.knows_key(&key) {
                    auth.key_ok(wire.transport_mut(), &key);
                } else {
                    auth.reject(wire.transport_mut())?;
                }
                continue;
            }
        };
        // Boxed, as whoever has not come so far need not pay for it.
        match Box::pin(authenticator.authenticate(&user, attempt)).await {
            Ok(grant) => {
                auth.accept(wire.transport_mut());
                wire.flush().await?;
                return Ok(grant);
            }
            Err(Denied::Retry(text)) => {
                if let Some(text) = text {
                    auth.banner(wire.transport_mut(), &format!("{text}\n"));
                }
                auth.reject(wire.transport_mut())?;
            }
            Err(Denied::Final(text)) => {
                // OpenSSH shows the banner, the cf CLI the text of the DISCONNECT.
                auth.banner(wire.transport_mut(), &format!("{text}\n"));
                return Err(Error::Closed {
                    reason: Reason::ByApplication,
                    text,
                });
            }
        }
    }
}
