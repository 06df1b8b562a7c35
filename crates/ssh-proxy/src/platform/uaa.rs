//! UAA, which exchanges the one-time code that a user typed for a token of this user.
//!
//! The token is shown to Cloud Controller as it is. What it says about the user is not verified here
//! and serves log lines alone.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use connector::Resolver;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use serde::Deserialize;
use serde_json::Value;
use ssh_proto::Secret;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{Instrument as _, error, info_span};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::call::{self, Answer, CallError, MAX_IDLE, sensitive};
use super::http::{Client, client};
use super::reread::Reread;

/// Calls at one time. Every password that somebody guesses costs UAA the check of a slow hash and
/// work in its database; a foundation's UAA serves some hundred requests a second.
const MAX_CALLS: usize = 32;

/// Logins that wait for one of these calls: some seconds' worth. Whoever comes then is sent away with
/// the code unused.
const MAX_WAITING: usize = 256;

/// Longest code that is shown to UAA. Its codes have 32 characters, once 6 to 10.
const MAX_CODE: usize = 4096;

/// Bytes of a user's id and name that go into log lines; ids are UUIDs, names mostly addresses.
const MAX_CLAIM: usize = 256;

/// What stands for the id and the name of a user whose token does not tell them.
const UNKNOWN: &str = "unknown";

/// Tells UAA that the Basic credentials are form-encoded (RFC 6749 section 2.3.1), whatever its mode.
const ENCODED_CREDENTIALS: &str = "X-CF-ENCODED-CREDENTIALS";

/// The error of RFC 6749 section 5.2 for codes.
const INVALID_GRANT: &str = "invalid_grant";

/// How to reach UAA.
#[derive(Debug, Clone)]
pub(crate) struct UaaSettings {
    /// Where codes are exchanged: an `http:` or `https:` URL.
    pub(crate) token_url: Uri,
    /// Name of our OAuth client.
    pub(crate) username: String,
    /// Its secret.
    pub(crate) password: Secret<String>,
    /// Trust.
    pub(crate) tls: Arc<Reread>,
    /// Bound of the wait for a turn, and of one call with its retries; `None` leaves both to the caller.
    pub(crate) timeout: Option<Duration>,
}

/// A client of UAA.
pub(crate) struct Uaa {
    client: Client,
    url: Uri,
    /// The header with our credentials.
    basic: Zeroizing<Vec<u8>>,
    timeout: Option<Duration>,
    /// For each call one.
    turns: Semaphore,
    /// For each call, and for each login that waits for its turn.
    places: Semaphore,
}

/// What UAA says about a user.
pub(crate) struct Token {
    /// The header that shows the token to others.
    pub(crate) authorization: HeaderValue,
    /// Whose token it is.
    pub(crate) user: User,
}

/// A user as the token has it, for log lines; not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// The claim `user_id`, or `unknown`.
    pub(crate) id: String,
    /// The claim `user_name`, or `unknown`.
    pub(crate) name: String,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum UaaError {
    /// The code is not one, has expired, or was used before.
    #[error("invalid code")]
    InvalidCode,
    /// UAA does not accept our client, or the code is another client's.
    #[error("UAA does not accept the client: check uaa_username and uaa_password")]
    Client,
    /// Too many calls are under way. The code was not used.
    #[error("more than {MAX_CALLS} calls under way and {MAX_WAITING} waiting, or no turn in time")]
    Busy,
    /// UAA answers something else.
    #[error("unexpected status {0}")]
    Status(u16),
    /// The answer cannot be made sense of.
    #[error("no token in the answer: {0}")]
    Garbled(&'static str),
    /// There is no answer.
    #[error("{0}")]
    Call(#[from] CallError),
}

/// The answer to a good code (RFC 6749 section 5.1), as far as it matters.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct Granted {
    access_token: String,
    token_type: String,
}

/// The answer to a bad request (RFC 6749 section 5.2). Its description echoes the code.
#[derive(Deserialize)]
struct Rejected {
    error: String,
}

/// What a token says about its user, of any type.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    user_id: Value,
    #[serde(default)]
    user_name: Value,
}

impl Uaa {
    /// A client that has not connected yet.
    pub(crate) fn new(settings: &UaaSettings, resolver: Arc<Resolver>) -> Self {
        Self {
            client: client(resolver, Arc::clone(&settings.tls), MAX_IDLE),
            url: settings.token_url.clone(),
            basic: basic(&settings.username, settings.password.expose()),
            timeout: settings.timeout,
            turns: Semaphore::new(MAX_CALLS),
            places: Semaphore::new(MAX_CALLS + MAX_WAITING),
        }
    }

    /// Exchanges `code`, which is used up by that.
    pub(crate) async fn exchange(&self, code: &[u8]) -> Result<Token, UaaError> {
        if code.is_empty() || code.len() > MAX_CODE {
            return Err(UaaError::InvalidCode);
        }
        self.exchange_in_turn(code)
            .instrument(info_span!("exchange-access-code-for-token"))
            .await
    }

    async fn exchange_in_turn(&self, code: &[u8]) -> Result<Token, UaaError> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(busy());
        };
        let patience = call::deadline(self.timeout);
        let Some(Ok(_turn)) = call::until(patience, self.turns.acquire()).await else {
            return Err(busy());
        };
        // Whoever waited has as long for the call as whoever did not: a call that is cut short has used
        // up its code, and with all of them cut short nobody would ever get in.
        let deadline = call::deadline(self.timeout);
        let answer = self.ask(code, deadline).await.inspect_err(|error| {
            error!(%error, "request-failed");
        })?;
        understand(&answer)
    }

    async fn ask(&self, code: &[u8], deadline: Option<Instant>) -> Result<Answer, CallError> {
        let bad_request = |error: &dyn std::error::Error| CallError::Request(error.to_string());
        let basic = sensitive(self.basic.clone()).map_err(|error| bad_request(&error))?;
        let request = Request::post(&self.url)
            .header(AUTHORIZATION, basic)
            .header(ENCODED_CREDENTIALS, "true")
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from_owner(form(code))))
            .map_err(|error| bad_request(&error))?;
        call::call(&self.client, request, deadline).await
    }
}

fn busy() -> UaaError {
    error!(error = %UaaError::Busy, "request-failed");
    UaaError::Busy
}

/// What an answer to a code means.
pub(crate) fn understand(answer: &Answer) -> Result<Token, UaaError> {
    match answer.status {
        StatusCode::OK => token(&answer.body)
            .map_err(UaaError::Garbled)
            .inspect_err(|error| error!(%error, "decode-token-response-failed")),
        status => {
            let rejection = rejection(answer);
            error!(
                error = %rejection,
                "status-code" = status.as_u16(),
                "response-status-not-ok"
            );
            Err(rejection)
        }
    }
}

/// What an answer that is not a success means.
fn rejection(answer: &Answer) -> UaaError {
    let rejected = serde_json::from_slice::<Rejected>(&answer.body);
    let about_code = rejected.is_ok_and(|rejected| rejected.error == INVALID_GRANT);
    match answer.status {
        status if status.is_client_error() && about_code => UaaError::InvalidCode,
        StatusCode::UNAUTHORIZED => UaaError::Client,
        status => UaaError::Status(status.as_u16()),
    }
}

/// Reads the answer to a good code.
fn token(body: &[u8]) -> Result<Token, &'static str> {
    // The error of the parser can quote what it does not like.
    let granted: Granted = serde_json::from_slice(body).map_err(|_| "not the JSON of a token")?;
    let (kind, token) = (&granted.token_type, &granted.access_token);
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_word(kind) || !is_word(token) {
        return Err("token_type and access_token are no words");
    }
    let mut header = Zeroizing::new(Vec::with_capacity(kind.len() + 1 + token.len()));
    header.extend_from_slice(kind.as_bytes());
    header.push(b' ');
    header.extend_from_slice(token.as_bytes());
    Ok(Token {
        authorization: sensitive(header).map_err(|_| "the token does not fit into a header")?,
        user: user(token),
    })
}

/// Whose token it is, if it is a JWT (RFC 7519) and tells. An opaque one is as good.
fn user(token: &str) -> User {
    let claims = claims(token);
    let claim = |pick: fn(&Claims) -> &Value| {
        let text = claims.as_ref().and_then(|claims| pick(claims).as_str());
        match text {
            Some(text) if !text.is_empty() => shortened(text).to_owned(),
            _ => UNKNOWN.to_owned(),
        }
    };
    User {
        id: claim(|claims| &claims.user_id),
        name: claim(|claims| &claims.user_name),
    }
}

/// The payload of a JWS in its compact form (RFC 7515 section 3.1).
fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_CLAIM))
        .unwrap_or(text)
}

/// Basic credentials, both parts form-encoded (RFC 6749 section 2.3.1).
fn basic(username: &str, password: &str) -> Zeroizing<Vec<u8>> {
    let length = 3 * (username.len() + password.len()) + 1;
    let mut pair = Zeroizing::new(Vec::with_capacity(length));
    form_encode(username.as_bytes(), &mut pair);
    pair.push(b':');
    form_encode(password.as_bytes(), &mut pair);
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_slice()));
    Zeroizing::new([b"Basic ", encoded.as_bytes()].concat())
}

/// The body of the request (RFC 6749 section 4.1.3).
fn form(code: &[u8]) -> Zeroizing<Vec<u8>> {
    const BEFORE: &[u8] = b"code=";
    const AFTER: &[u8] = b"&grant_type=authorization_code";
    let length = BEFORE.len() + 3 * code.len() + AFTER.len();
    let mut form = Zeroizing::new(Vec::with_capacity(length));
    form.extend_from_slice(BEFORE);
    form_encode(code, &mut form);
    form.extend_from_slice(AFTER);
    form
}

/// Appends `bytes` in the encoding of `application/x-www-form-urlencoded`; up to three for each.
fn form_encode(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(*byte),
            b' ' => out.push(b'+'),
            byte => out.extend([b'%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
}

#[cfg(test)]
mod tests;
