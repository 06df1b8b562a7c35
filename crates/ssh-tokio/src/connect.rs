//! The client's side of a new connection: key exchange, the host's key, and user authentication.

use std::sync::Arc;

use ssh_proto::Error;
use ssh_proto::auth::{ClientAuth, Credential, Progress};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::PublicKey;
use ssh_proto::transport::{Config, Event, Role, Transport};

use crate::wire::{Authenticated, Socket, Wire, now};

/// Logs in as `user` with the first of `credentials` that the server takes.
///
/// `is_right_host` decides about the host's key, before any credential is sent. The caller bounds the
/// time.
///
/// # Errors
/// The server broke a rule, is not the right host, or takes none of the credentials. It has been told,
/// and the stream is closed.
pub async fn connect<S: Socket>(
    stream: S,
    config: Arc<Config>,
    user: String,
    credentials: Vec<Credential>,
    is_right_host: impl FnOnce(&PublicKey) -> Result<(), String>,
) -> Result<Authenticated<S>, Error> {
    let transport = Transport::new(Role::Client, config, Box::new(SystemRandom), now());
    let mut wire = Wire::new(stream, transport);
    match login(&mut wire, user, credentials, is_right_host).await {
        Ok(()) => Ok(Authenticated::new(wire)),
        Err(error) => Err(wire.close(error).await),
    }
}

async fn login<S: Socket>(
    wire: &mut Wire<S>,
    user: String,
    credentials: Vec<Credential>,
    is_right_host: impl FnOnce(&PublicKey) -> Result<(), String>,
) -> Result<(), Error> {
    if wire.next().await? != Event::HostKey {
        return Err(Error::Misbehaved("message before the host key"));
    }
    let transport = wire.transport_mut();
    let host_key = transport.host_key().ok_or(Error::Bug("no host key"))?;
    is_right_host(host_key).map_err(Error::HostKey)?;
    let accepted = transport.accept_host_key()?;
    let mut auth = ClientAuth::start(accepted, transport, user, credentials);
    loop {
        wire.next().await?;
        if auth.handle(wire.transport_mut())? == Progress::Success {
            return Ok(());
        }
    }
}
