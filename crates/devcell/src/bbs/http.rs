//! Owns the HTTP of the BBS double: reads a request, records it, applies the fault whose turn it
//! is, and answers from the state as the BBS would.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::messages::{
    ActualLrpsRequest, ActualLrpsResponse, BbsError, DesiredLrpRequest, DesiredLrpResponse,
    PingResponse,
};
use super::{Call, CallBody, DESIRED_PATH, Fault, LIST_PATH, PING_PATH, PROTOBUF, Shared, State};

/// No call needs more than two guids; a request beyond this is a bug in the client.
const MAX_REQUEST: usize = 64 * 1024;

/// The drop of a connection in place of an answer.
#[derive(Debug, thiserror::Error)]
#[error("told to drop the connection")]
struct Dropped;

type Answer = Response<Payload>;

/// Serves one connection until the client closes it or a fault does.
pub(super) async fn serve(stream: TlsStream<TcpStream>, shared: Arc<Shared>) {
    let service = service_fn(move |request| respond(request, Arc::clone(&shared)));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // How a connection ends is for the client to judge.
    let _ = connection.await;
}

async fn respond(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Answer, Dropped> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_REQUEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return status(StatusCode::PAYLOAD_TOO_LARGE),
    };
    let call = Call {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        headers: text_headers(&head.headers),
        body: decode(head.uri.path(), &body),
    };
    let fault = {
        let mut inner = shared.lock();
        inner.calls.push(call.clone());
        inner.faults.on_request()
    };
    if let Fault::Slow(delay) = fault {
        tokio::time::sleep(delay).await;
    } else if fault != Fault::None {
        return misbehave(fault, &call.body).await;
    }
    if head.method != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    if call.headers.get("content-type").map(String::as_str) != Some(PROTOBUF) {
        return status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    answer(&call, &shared)
}

fn text_headers(headers: &hyper::HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.as_str().to_owned(), value.into_owned())
        })
        .collect()
}

fn decode(path: &str, body: &Bytes) -> CallBody {
    let decoded = match path {
        LIST_PATH => ActualLrpsRequest::decode(body.clone())
            .ok()
            .map(CallBody::List),
        DESIRED_PATH => DesiredLrpRequest::decode(body.clone())
            .ok()
            .map(CallBody::Desired),
        _ => None,
    };
    decoded.unwrap_or_else(|| CallBody::Other(body.to_vec()))
}

fn answer(call: &Call, shared: &Shared) -> Result<Answer, Dropped> {
    let state = &shared.lock().state;
    let invalid = || {
        let text = "the request received is invalid";
        Some(BbsError::new(BbsError::INVALID_REQUEST, text))
    };
    match (call.path.as_str(), &call.body) {
        (_, CallBody::List(request)) => message(&list(state, request)),
        (_, CallBody::Desired(request)) => message(&desired(state, request)),
        (PING_PATH, _) => message(&PingResponse { available: true }),
        (LIST_PATH, _) => message(&ActualLrpsResponse {
            error: invalid(),
            actual_lrps: Vec::new(),
        }),
        (DESIRED_PATH, _) => message(&DesiredLrpResponse {
            error: invalid(),
            desired_lrp: None,
        }),
        _ => plain_not_found(),
    }
}

/// A plain filter: every presence and every state, and no error when nothing fits.
fn list(state: &State, request: &ActualLrpsRequest) -> ActualLrpsResponse {
    let wants = |filter: &str, value: &str| filter.is_empty() || filter == value;
    let rows = state.actual.iter().filter(|lrp| {
        let key = lrp.key.clone().unwrap_or_default();
        let instance = lrp.instance_key.clone().unwrap_or_default();
        wants(&request.domain, &key.domain)
            && wants(&request.cell_id, &instance.cell_id)
            && wants(&request.process_guid, &key.process_guid)
            && request.index.is_none_or(|index| index == key.index)
    });
    ActualLrpsResponse {
        error: None,
        actual_lrps: rows.cloned().collect(),
    }
}

fn desired(state: &State, request: &DesiredLrpRequest) -> DesiredLrpResponse {
    let guid = &request.process_guid;
    let found = state.desired.iter().find(|lrp| lrp.process_guid == *guid);
    let error = if guid.is_empty() {
        Some((BbsError::INVALID_REQUEST, "Invalid field: process_guid"))
    } else if found.is_none() {
        let text = "the requested resource could not be found";
        Some((BbsError::RESOURCE_NOT_FOUND, text))
    } else {
        None
    };
    DesiredLrpResponse {
        desired_lrp: found.filter(|_| error.is_none()).cloned(),
        error: error.map(|(kind, text)| BbsError::new(kind, text)),
    }
}

async fn misbehave(fault: Fault, body: &CallBody) -> Result<Answer, Dropped> {
    match fault {
        Fault::Hang | Fault::HangBeforeTls => std::future::pending().await,
        Fault::Status(code) => status(status_code(code)),
        Fault::RouterError(text) => with(StatusCode::BAD_GATEWAY, "x-cf-routererror", &text),
        Fault::Redirect { status, to } => with(status_code(status), LOCATION.as_str(), &to),
        Fault::NotProtobuf => plain_not_found(),
        // Field 0 does not exist in protobuf.
        Fault::Garbage => bytes(Bytes::from_static(b"\x00\x07 not a message")),
        Fault::ErrorInMessage { kind, message } => error_message(body, kind, &message),
        Fault::HugeBody(len) => Ok(protobuf(Payload::Zeros(len))),
        Fault::Truncated => Ok(protobuf(Payload::Truncated)),
        Fault::None | Fault::Slow(_) | Fault::EmptyOk => status(StatusCode::OK),
        Fault::CloseAfterRequest | Fault::CloseAfterAccept => Err(Dropped),
    }
}

fn error_message(body: &CallBody, kind: i32, text: &str) -> Result<Answer, Dropped> {
    let error = Some(BbsError::new(kind, text));
    match body {
        CallBody::Desired(_) => message(&DesiredLrpResponse {
            error,
            desired_lrp: None,
        }),
        _ => message(&ActualLrpsResponse {
            error,
            actual_lrps: Vec::new(),
        }),
    }
}

/// A number that is no status becomes 500, which is as wrong as the test wanted it.
fn status_code(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn message(message: &impl Message) -> Result<Answer, Dropped> {
    bytes(message.encode_to_vec().into())
}

fn bytes(body: Bytes) -> Result<Answer, Dropped> {
    Ok(protobuf(Payload::Bytes(body)))
}

fn protobuf(payload: Payload) -> Answer {
    let mut answer = Response::new(payload);
    let value = hyper::header::HeaderValue::from_static(PROTOBUF);
    answer.headers_mut().insert(CONTENT_TYPE, value);
    answer
}

fn status(status: StatusCode) -> Result<Answer, Dropped> {
    let mut answer = Response::new(Payload::Bytes(Bytes::new()));
    *answer.status_mut() = status;
    Ok(answer)
}

fn with(status: StatusCode, name: &'static str, value: &str) -> Result<Answer, Dropped> {
    Response::builder()
        .status(status)
        .header(name, value)
        .body(Payload::Bytes(Bytes::new()))
        .map_err(|_| Dropped)
}

fn plain_not_found() -> Result<Answer, Dropped> {
    let body = Bytes::from_static(b"404 page not found\n");
    Response::builder()
        .status(StatusCode::NOT_FOUND)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(CONTENT_LENGTH, body.len())
        .body(Payload::Bytes(body))
        .map_err(|_| Dropped)
}

/// The body of an answer.
enum Payload {
    /// All of it, empty once sent.
    Bytes(Bytes),
    /// This many zero bytes, made as they are sent.
    Zeros(u64),
    /// Ends in an error after promising more.
    Truncated,
}

/// How many zero bytes one frame carries.
const ZEROS: &[u8] = &[0; 16 * 1024];

impl Body for Payload {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        let data = match self.get_mut() {
            Self::Bytes(bytes) => std::mem::take(bytes),
            Self::Zeros(left) => {
                let len = usize::try_from(*left).map_or(ZEROS.len(), |n| n.min(ZEROS.len()));
                *left -= len as u64;
                Bytes::from_static(ZEROS).slice(..len)
            }
            Self::Truncated => return Poll::Ready(Some(Err(Dropped))),
        };
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Zeros(left) => *left == 0,
            Self::Truncated => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(left) => *left,
            Self::Truncated => 100,
        })
    }
}
