//! User authentication (RFC 4252): the methods none, publickey and password, for both roles.
//!
//! These machines read the current packet of a [`Transport`](crate::transport::Transport) and answer
//! through it. They decide nothing: the server's owner is asked, the client's owner gave credentials.

use crate::algorithm::Signature;
use crate::msg;
use crate::wire::Put;

mod client;
mod server;

pub use client::{ClientAuth, Credential, Progress};
pub use server::{Methods, Request, ServerAuth, VerifiedKey};

/// The service that asks for authentication.
const USERAUTH: &str = "ssh-userauth";

/// The service that is authenticated for, the only one there is.
const CONNECTION: &str = "ssh-connection";

const NONE: &[u8] = b"none";
const PASSWORD: &[u8] = b"password";
const PUBLICKEY: &[u8] = b"publickey";

/// What the signature of a publickey request is made over (RFC 4252 section 7).
fn signed_data(session_id: &[u8], user: &[u8], algorithm: Signature, key: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    data.put_string(session_id);
    data.extend(publickey_request(user, algorithm, key));
    data
}

/// A publickey request up to where its signature goes.
fn publickey_request(user: &[u8], algorithm: Signature, key: &[u8]) -> Vec<u8> {
    let mut request = request(user, PUBLICKEY);
    request.put_bool(true);
    request.put_string(algorithm.name().as_bytes());
    request.put_string(key);
    request
}

/// The fields that all requests begin with (RFC 4252 section 5).
fn request(user: &[u8], method: &[u8]) -> Vec<u8> {
    let mut request = vec![msg::USERAUTH_REQUEST];
    request.put_string(user);
    request.put_string(CONNECTION.as_bytes());
    request.put_string(method);
    request
}
