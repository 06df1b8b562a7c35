//! BBS, which knows where every instance runs: two calls of its HTTP API with mutual TLS.
//!
//! Of several BBS behind one name only the leader listens, so each attempt tries all addresses; a
//! call that fails for want of a usable answer is tried again on a fresh or still living
//! connection.

pub(crate) mod models;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use connector::Resolver;
use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, Response, StatusCode, Uri};
use prost::Message;
use thiserror::Error;
use tokio::time::sleep;
use tracing::{Instrument as _, debug, error, info_span};

pub(crate) use models::{
    ActualLrp, ActualLrpNetInfo, DesiredLrp, DynamicTag, MetricTagValue, PortMapping,
    PreferredAddress, Presence,
};
use models::{
    ActualLrpsRequest, ActualLrpsResponse, DesiredLrpRequest, DesiredLrpResponse,
    RESOURCE_NOT_FOUND,
};

use super::call::{self, CallError};
use super::http::{Client, client};
use super::reread::Reread;
use super::with_causes;

/// Attempts of one call (the reference's client).
const ATTEMPTS: u32 = 3;

/// Pause between two attempts (the reference's client).
const PAUSE: Duration = Duration::from_millis(500);

/// Attempts that may take their whole time: the second is for the leader that has taken over from one
/// that is gone without a word.
const SLOW_ATTEMPTS: u32 = 2;

/// Most bytes of an answer that are read. A desired LRP carries the files of service bindings, up to a
/// megabyte, and the app's environment once for each process and sidecar.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// Media type of requests, and of answers that are to be decoded.
const PROTOBUF: &str = "application/x-protobuf";

/// Set by a router in between that could not reach BBS.
const ROUTER_ERROR: &str = "X-Cf-Routererror";

/// Ties lines of several components together; we have nothing to tie, but the header is expected.
const REQUEST_ID: &str = "X-Vcap-Request-Id";

/// State of an instance that can be entered.
const RUNNING: &str = "RUNNING";

/// A call of the API.
struct Call {
    name: &'static str,
    path: &'static str,
}

const ACTUAL_LRPS: Call = Call {
    name: "ActualLRPs",
    path: "/v1/actual_lrps/list",
};

const DESIRED_LRP: Call = Call {
    name: "DesiredLRPByProcessGuid_r3",
    path: "/v1/desired_lrps/get_by_process_guid.r3",
};

/// How to reach BBS.
#[derive(Debug, Clone)]
pub(crate) struct BbsSettings {
    /// An `https:` URL without a slash at its end.
    pub(crate) url: String,
    /// Trust and identity.
    pub(crate) tls: Arc<Reread>,
    /// Idle connections to keep.
    pub(crate) max_idle: usize,
    /// Bound of one attempt; `None` leaves it to the caller.
    pub(crate) timeout: Option<Duration>,
}

/// A client of BBS.
pub(crate) struct Bbs {
    client: Client,
    url: String,
    timeout: Option<Duration>,
}

/// An instance and what was asked to run in it.
#[derive(Debug, Clone)]
pub(crate) struct Lrp {
    /// The instance.
    pub(crate) actual: ActualLrp,
    /// What was asked for.
    pub(crate) desired: DesiredLrp,
}

/// Why there is no instance to enter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum BbsError {
    /// BBS was not reached or went away while answering.
    #[error("{0}")]
    Unavailable(String),
    /// A router in between did not reach BBS.
    #[error("{0}")]
    Router(String),
    /// Something answered that is not BBS, or BBS before it is ready.
    #[error("Invalid Response with status code: {0}")]
    Status(u16),
    /// The answer cannot be decoded.
    #[error("invalid protobuf message: {0}")]
    Garbled(String),
    /// The answer is larger than any we expect.
    #[error("response of more than {MAX_BODY} bytes")]
    TooLarge,
    /// There was no answer in time.
    #[error("timed out")]
    Timeout,
    /// BBS answered that it would not.
    #[error("{message}")]
    Application {
        /// Error type of BBS.
        kind: i32,
        /// BBS's words.
        message: String,
    },
    /// Nobody desires this process.
    #[error("{0}")]
    NotFound(String),
    /// The instance does not exist.
    #[error("no matching ActualLRP for ProcessGuid: {guid}, Index: {index}")]
    NoInstance {
        /// The process that was asked for.
        guid: String,
        /// The instance that was asked for.
        index: i32,
    },
    /// Several rows could be the instance.
    #[error("multiple matching ActualLRP for ProcessGuid: {guid}, Index: {index}")]
    Ambiguous {
        /// The process that was asked for.
        guid: String,
        /// The instance that was asked for.
        index: i32,
    },
    /// The instance exists but does not run.
    #[error("instance is not running: {state}")]
    NotRunning {
        /// What it does instead.
        state: String,
    },
    /// BBS answered without the desired LRP.
    #[error("no DesiredLRP in the response for ProcessGuid: {guid}")]
    NoDesiredLrp {
        /// The process that was asked for.
        guid: String,
    },
}

impl BbsError {
    /// How many attempts there are that end like this: more than one if BBS itself has not answered yet.
    fn attempts(&self) -> u32 {
        match self {
            Self::Unavailable(_) | Self::Router(_) | Self::Status(_) | Self::Garbled(_) => ATTEMPTS,
            Self::Timeout => SLOW_ATTEMPTS,
            _ => 1,
        }
    }
}

impl Bbs {
    /// A client that has not connected yet.
    pub(crate) fn new(settings: &BbsSettings, resolver: Arc<Resolver>) -> Self {
        Self {
            client: client(resolver, settings.tls.clone(), settings.max_idle),
            url: settings.url.clone(),
            timeout: settings.timeout,
        }
    }

    /// Looks up an instance that runs, and what runs in it.
    pub(crate) async fn instance(&self, guid: &str, index: i32) -> Result<Lrp, BbsError> {
        let actual = choose(self.actual_lrps(guid, index).await?, guid, index)?;
        let desired = self.desired_lrp(guid).await?;
        Ok(Lrp { actual, desired })
    }

    async fn actual_lrps(&self, guid: &str, index: i32) -> Result<Vec<ActualLrp>, BbsError> {
        let request = ActualLrpsRequest {
            process_guid: guid.to_owned(),
            index: Some(index),
        };
        let response: ActualLrpsResponse = self.call(&ACTUAL_LRPS, &request).await?;
        Ok(response.actual_lrps)
    }

    async fn desired_lrp(&self, guid: &str) -> Result<DesiredLrp, BbsError> {
        let request = DesiredLrpRequest {
            process_guid: guid.to_owned(),
        };
        let response: DesiredLrpResponse = self.call(&DESIRED_LRP, &request).await?;
        response.desired_lrp.ok_or_else(|| BbsError::NoDesiredLrp {
            guid: guid.to_owned(),
        })
    }

    /// Does a call, and again where that can help.
    async fn call<R: Answer>(&self, call: &Call, request: &impl Message) -> Result<R, BbsError> {
        let body = Bytes::from(request.encode_to_vec());
        let span = info_span!("do-request");
        self.attempts(call, body).instrument(span).await
    }

    async fn attempts<R: Answer>(&self, call: &Call, body: Bytes) -> Result<R, BbsError> {
        let mut attempt = 1;
        loop {
            debug!(attempt, request_name = call.name, "creating-request");
            debug!(attempt, request_path = call.path, "doing-request");
            let started = Instant::now();
            let deadline = call::deadline(self.timeout);
            let result = call::until(deadline, self.attempt(call, body.clone())).await;
            let result = result.unwrap_or(Err(BbsError::Timeout));
            let problem = result.as_ref().err().filter(|error| error.attempts() > 1);
            if let Some(problem) = problem {
                error!(error = %problem, "failed-doing-request");
            }
            debug!(
                request_path = call.path,
                duration_in_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX),
                "complete"
            );
            if problem.is_none_or(|problem| attempt >= problem.attempts()) {
                return result;
            }
            attempt += 1;
            sleep(PAUSE).await;
        }
    }

    async fn attempt<R: Answer>(&self, call: &Call, body: Bytes) -> Result<R, BbsError> {
        let uri: Uri = format!("{}{}", self.url, call.path)
            .parse()
            .map_err(unavailable)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, PROTOBUF)
            .header(REQUEST_ID, "")
            .body(Full::new(body))
            .map_err(unavailable)?;
        let response = self.client.request(request).await.map_err(unavailable)?;
        understand(response).await
    }
}

/// An answer that can be an error.
pub(crate) trait Answer: Message + Default {
    fn error(&self) -> Option<&models::Error>;
}

impl Answer for ActualLrpsResponse {
    fn error(&self) -> Option<&models::Error> {
        self.error.as_ref()
    }
}

impl Answer for DesiredLrpResponse {
    fn error(&self) -> Option<&models::Error> {
        self.error.as_ref()
    }
}

/// What a response means: an answer, or why there is none.
pub(crate) async fn understand<R, B>(response: Response<B>) -> Result<R, BbsError>
where
    R: Answer,
    B: Body<Data = Bytes, Error: std::error::Error + 'static>,
{
    let answer: R = decode(response).await?;
    match answer.error() {
        None => Ok(answer),
        Some(models::Error { kind, message }) if *kind == RESOURCE_NOT_FOUND => {
            Err(BbsError::NotFound(message.clone()))
        }
        Some(models::Error { kind, message }) => Err(BbsError::Application {
            kind: *kind,
            message: message.clone(),
        }),
    }
}

/// Reads an answer by the rules of the reference's client, in its order: a router's error, then
/// protobuf whatever the status, then the status.
async fn decode<R, B>(response: Response<B>) -> Result<R, BbsError>
where
    R: Answer,
    B: Body<Data = Bytes, Error: std::error::Error + 'static>,
{
    let (head, body) = response.into_parts();
    if let Some(error) = head.headers.get(ROUTER_ERROR) {
        let error = String::from_utf8_lossy(error.as_bytes()).into_owned();
        return Err(BbsError::Router(error));
    }
    if !is_protobuf(&head.headers) {
        return match head.status {
            // A success without content: the reference takes it for an empty answer.
            status if status < StatusCode::MULTIPLE_CHOICES => Ok(R::default()),
            status => Err(BbsError::Status(status.as_u16())),
        };
    }
    // Routes have private keys in them.
    let body = call::read(body, MAX_BODY).await;
    let body = body.map_err(|error| match error {
        CallError::TooLarge => BbsError::TooLarge,
        error => BbsError::Unavailable(error.to_string()),
    })?;
    R::decode(body.as_slice()).map_err(|error| BbsError::Garbled(error.to_string()))
}

/// True if the media type, whatever its parameters, is that of protobuf.
fn is_protobuf(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(PROTOBUF))
}

fn unavailable(error: impl std::error::Error + 'static) -> BbsError {
    BbsError::Unavailable(with_causes(&error))
}

/// The row that is the instance.
///
/// While a cell is evacuated or suspect, BBS has two rows for an instance. The reference gives up
/// then; here the one that runs counts, and of several the ordinary one.
pub(crate) fn choose(
    mut rows: Vec<ActualLrp>,
    guid: &str,
    index: i32,
) -> Result<ActualLrp, BbsError> {
    let guid = guid.to_owned();
    let Some(first) = rows.first() else {
        return Err(BbsError::NoInstance { guid, index });
    };
    let state = first.state.clone();
    // BBS always tells a state; doubles in tests of the system that we replace do not.
    rows.retain(|row| row.state.is_empty() || row.state == RUNNING);
    if rows.len() > 1 && rows.iter().any(is_ordinary) {
        rows.retain(is_ordinary);
    }
    match (rows.pop(), rows.is_empty()) {
        (None, _) => Err(BbsError::NotRunning { state }),
        (Some(row), true) => Ok(row),
        (Some(_), false) => Err(BbsError::Ambiguous { guid, index }),
    }
}

fn is_ordinary(row: &ActualLrp) -> bool {
    row.presence == Presence::Ordinary as i32
}
