//! The client's side of user authentication.
//!
//! Credentials are tried in the order given, without asking first whether one would do: each saves a
//! round trip, and the server knows at most one of our keys anyway.

use std::collections::VecDeque;

use super::{NONE, PASSWORD, USERAUTH, publickey_request, request, signed_data};
use crate::algorithm::Signature;
use crate::error::Error;
use crate::key::PrivateKey;
use crate::msg;
use crate::secret::Secret;
use crate::transport::{HostKeyAccepted, Transport};
use crate::wire::{Put, Reader, printable};

/// How much of a list of methods goes into an error's text.
const METHODS_IN_ERROR: usize = 100;

/// Something to log in with.
#[derive(Debug)]
pub enum Credential {
    /// A private key.
    Key(PrivateKey),
    /// A password.
    Password(Secret<String>),
    /// Nothing: the server may let everyone in.
    None,
}

/// What a packet of the server has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More has to come.
    Pending,
    /// We are in.
    Success,
}

/// The client's side of one connection's authentication.
pub struct ClientAuth {
    user: String,
    credentials: VecDeque<Credential>,
    accepted: bool,
}

impl ClientAuth {
    /// Begins, on a host whose key was accepted.
    pub fn start(
        _host: HostKeyAccepted,
        transport: &mut Transport,
        user: String,
        credentials: impl IntoIterator<Item = Credential>,
    ) -> Self {
        let mut payload = vec![msg::SERVICE_REQUEST];
        payload.put_string(USERAUTH.as_bytes());
        transport.send(&[&payload]);
        Self {
            user,
            credentials: credentials.into_iter().collect(),
            accepted: false,
        }
    }

    /// Deals with the packet that `transport` polled last.
    ///
    /// # Errors
    /// The server broke a rule, or none of the credentials was good enough for it.
    pub fn handle(&mut self, transport: &mut Transport) -> Result<Progress, Error> {
        let mut reader = Reader::new(transport.packet());
        match (self.accepted, reader.u8()?) {
            (false, msg::SERVICE_ACCEPT) => {
                let service = reader.string()?;
                reader.finish()?;
                if service != USERAUTH.as_bytes() {
                    return Err(Error::Misbehaved("another service than the one asked for"));
                }
                self.accepted = true;
                self.try_next(transport, "none left")?;
                Ok(Progress::Pending)
            }
            (true, msg::USERAUTH_SUCCESS) => {
                reader.finish()?;
                transport.set_authenticated();
                Ok(Progress::Success)
            }
            (true, msg::USERAUTH_FAILURE) => {
                let methods = printable(reader.string()?, METHODS_IN_ERROR);
                let _partial_success = reader.bool()?;
                reader.finish()?;
                self.try_next(transport, &methods)?;
                Ok(Progress::Pending)
            }
            (_, msg::USERAUTH_BANNER) => {
                let _text = reader.string()?;
                let _language = reader.string()?;
                reader.finish()?;
                Ok(Progress::Pending)
            }
            _ => Err(Error::Misbehaved(
                "message out of order in user authentication",
            )),
        }
    }

    fn try_next(&mut self, transport: &mut Transport, methods: &str) -> Result<(), Error> {
        let Some(credential) = self.credentials.pop_front() else {
            return Err(Error::Authentication(format!(
                "the server accepts none of our credentials (it would continue with: {methods})"
            )));
        };
        let user = self.user.as_bytes();
        let payload = match credential {
            Credential::None => request(user, NONE),
            Credential::Password(password) => {
                let mut payload = request(user, PASSWORD);
                payload.put_bool(false);
                payload.put_string(password.expose().as_bytes());
                payload
            }
            Credential::Key(key) => signed_request(transport, user, &key)?,
        };
        let payload = Secret::new(payload);
        transport.send(&[payload.expose()]);
        Ok(())
    }
}

fn signed_request(transport: &Transport, user: &[u8], key: &PrivateKey) -> Result<Vec<u8>, Error> {
    let algorithm = signature_for(transport, key).ok_or(Error::Bug("a key that cannot sign"))?;
    let blob = key.public().blob();
    let data = signed_data(transport.session_id(), user, algorithm, blob);
    let signature = key
        .sign(algorithm, &data)
        .map_err(|error| Error::Authentication(format!("our key does not sign: {error}")))?;
    let mut payload = publickey_request(user, algorithm, blob);
    payload.put_string(&signature);
    Ok(payload)
}

/// The best signature of `key` that the server said it takes; the best at all if it said nothing.
fn signature_for(transport: &Transport, key: &PrivateKey) -> Option<Signature> {
    let ours = key.public().signatures();
    let taken = transport
        .extensions()
        .signatures
        .as_deref()
        .unwrap_or(Signature::ALL);
    ours.iter()
        .copied()
        .find(|algorithm| taken.contains(algorithm))
        .or(ours.first().copied())
}
