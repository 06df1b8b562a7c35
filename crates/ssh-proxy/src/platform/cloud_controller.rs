//! Cloud Controller, which knows who may enter which app, and what Diego calls the app's process.
//!
//! Every question becomes an audit event of the app, so each is asked once.

use std::sync::Arc;
use std::time::Duration;

use connector::Resolver;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use serde::Deserialize;
use thiserror::Error;

use super::call::{self, Answer, CallError, MAX_IDLE};
use super::http::{Client, client};
use super::reread::Reread;

/// Longest process guid that is believed: two UUIDs and a dash have 73 characters.
const MAX_PROCESS_GUID: usize = 256;

/// `CF-InvalidRequest`: SSH is disabled for the app, its space or the platform. It is not told for
/// which.
const INVALID_REQUEST: i64 = 10_004;

/// `CF-NotFound`: not the process is unknown but the path, on a server that is no Cloud Controller of
/// ours.
const UNKNOWN_REQUEST: i64 = 10_000;

/// How to reach Cloud Controller.
#[derive(Debug, Clone)]
pub(crate) struct CloudControllerSettings {
    /// An `http:` or `https:` URL.
    pub(crate) api_url: Uri,
    /// Trust, and who we are.
    pub(crate) tls: Arc<Reread>,
    /// Bound of one call with its retries; `None` leaves it to the caller.
    pub(crate) timeout: Option<Duration>,
}

/// A client of Cloud Controller.
pub(crate) struct CloudController {
    client: Client,
    /// Without a slash at its end.
    url: String,
    timeout: Option<Duration>,
}

/// Why a user may not enter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CloudControllerError {
    /// SSH is disabled for the app, its space or the platform.
    #[error("SSH is disabled")]
    SshDisabled,
    /// The user has no role that allows it.
    #[error("not authorized")]
    NoRole,
    /// There is no such process.
    #[error("no such process")]
    NoSuchProcess,
    /// Cloud Controller does not believe UAA's token.
    #[error("token not accepted")]
    TokenRefused,
    /// Cloud Controller answers something else.
    #[error("unexpected status {0}")]
    Status(u16),
    /// The answer cannot be made sense of.
    #[error("Invalid response from Cloud Controller")]
    Garbled,
    /// There is no answer.
    #[error("{0}")]
    Call(#[from] CallError),
}

impl CloudControllerError {
    /// The status of the answer, where there was one.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::SshDisabled => Some(400),
            Self::TokenRefused => Some(401),
            Self::NoRole => Some(403),
            Self::NoSuchProcess => Some(404),
            Self::Status(status) => Some(*status),
            Self::Garbled | Self::Call(_) => None,
        }
    }
}

/// The answer to who may enter.
#[derive(Deserialize)]
struct Allowed {
    process_guid: String,
}

/// The answer to who may not.
#[derive(Deserialize)]
struct Failed {
    code: i64,
}

impl CloudController {
    /// A client that has not connected yet.
    pub(crate) fn new(settings: &CloudControllerSettings, resolver: Arc<Resolver>) -> Self {
        Self {
            client: client(resolver, Arc::clone(&settings.tls), MAX_IDLE),
            url: settings
                .api_url
                .to_string()
                .trim_end_matches('/')
                .to_owned(),
            timeout: settings.timeout,
        }
    }

    /// Whether the user whose token is in `authorization` may enter instance `index` of the process
    /// `guid`; if so, what Diego calls the process.
    pub(crate) async fn ssh_access(
        &self,
        authorization: HeaderValue,
        guid: &str,
        index: i32,
    ) -> Result<String, CloudControllerError> {
        let url = format!("{}/internal/apps/{guid}/ssh_access/{index}", self.url);
        let request = Request::get(url)
            .header(AUTHORIZATION, authorization)
            .body(Full::default())
            .map_err(|error| CallError::Request(error.to_string()))?;
        let deadline = call::deadline(self.timeout);
        let answer = call::call(&self.client, request, deadline).await?;
        understand(&answer)
    }
}

/// What an answer to who may enter means.
pub(crate) fn understand(answer: &Answer) -> Result<String, CloudControllerError> {
    match answer.status {
        StatusCode::OK => process_guid(answer),
        _ => Err(rejection(answer)),
    }
}

fn process_guid(answer: &Answer) -> Result<String, CloudControllerError> {
    let allowed: Allowed =
        serde_json::from_slice(&answer.body).map_err(|_| CloudControllerError::Garbled)?;
    let guid = allowed.process_guid;
    // BBS takes an empty guid for the wish to see everything.
    if guid.is_empty() || guid.len() > MAX_PROCESS_GUID {
        return Err(CloudControllerError::Garbled);
    }
    Ok(guid)
}

/// What an answer that is not a success means.
fn rejection(answer: &Answer) -> CloudControllerError {
    let failed = serde_json::from_slice::<Failed>(&answer.body);
    let code = failed.ok().map(|failed| failed.code);
    match (answer.status, code) {
        (StatusCode::BAD_REQUEST, Some(INVALID_REQUEST)) => CloudControllerError::SshDisabled,
        (StatusCode::FORBIDDEN, _) => CloudControllerError::NoRole,
        (StatusCode::UNAUTHORIZED, _) => CloudControllerError::TokenRefused,
        // Without a code it is not Cloud Controller that says so.
        (StatusCode::NOT_FOUND, Some(code)) if code != UNKNOWN_REQUEST => {
            CloudControllerError::NoSuchProcess
        }
        (status, _) => CloudControllerError::Status(status.as_u16()),
    }
}

#[cfg(test)]
mod tests;
