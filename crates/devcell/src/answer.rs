//! Owns the answers that the doubles give over HTTP, true ones and those of a [`Fault`]: their
//! bodies, and how these come to a bad end. What a true answer says is left to the services.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::fault::Fault;

/// Content type of JSON bodies, as UAA and Cloud Controller write it.
pub(crate) const JSON: &str = "application/json;charset=utf-8";

/// An answer of a double.
pub(crate) type Answer = Response<Payload>;

/// The drop of a connection in place of an answer, or of what is left of it.
#[derive(Debug, thiserror::Error)]
#[error("told to drop the connection")]
pub(crate) struct Dropped;

/// 200 with a body of this type.
pub(crate) fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    typed(content_type, Payload::Bytes(body.into()))
}

/// This status with a body of JSON.
pub(crate) fn json(status: StatusCode, body: &Value) -> Answer {
    let mut answer = ok(JSON, body.to_string());
    *answer.status_mut() = status;
    answer
}

/// This status with nothing else.
pub(crate) fn status(status: StatusCode) -> Answer {
    let mut answer = Response::new(Payload::Bytes(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// The same answer with one more header field; a value that no field can have is left out.
pub(crate) fn with(mut answer: Answer, name: HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// What Go's servers say where they have nothing.
pub(crate) fn plain_not_found() -> Answer {
    let mut answer = ok("text/plain; charset=utf-8", "404 page not found\n");
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

/// What a fault makes of a call to a service that answers with `content_type`; `None` where the
/// service has to answer.
pub(crate) async fn misbehave(
    fault: &Fault,
    content_type: &'static str,
) -> Result<Option<Answer>, Dropped> {
    let answer = match fault {
        Fault::None | Fault::ErrorInMessage { .. } => return Ok(None),
        Fault::Slow(delay) => {
            tokio::time::sleep(*delay).await;
            return Ok(None);
        }
        Fault::Hang | Fault::HangBeforeTls => std::future::pending().await,
        Fault::CloseAfterRequest | Fault::CloseAfterAccept | Fault::Reset => return Err(Dropped),
        Fault::Drip(pause) => typed(content_type, Payload::drip(*pause)),
        Fault::Status(code) => status(status_code(*code)),
        Fault::NotProtobuf => plain_not_found(),
        Fault::EmptyOk => status(StatusCode::OK),
        Fault::RouterError(text) => {
            let name = HeaderName::from_static("x-cf-routererror");
            with(status(StatusCode::BAD_GATEWAY), name, text)
        }
        Fault::Redirect { status: code, to } => with(status(status_code(*code)), LOCATION, to),
        // Field 0 does not exist in protobuf, and JSON begins otherwise.
        Fault::Garbage => ok(content_type, &b"\x00\x07 not a message"[..]),
        Fault::HugeBody(len) => typed(content_type, Payload::Zeros(*len)),
        Fault::Truncated => typed(content_type, Payload::Truncated),
    };
    Ok(Some(answer))
}

/// A number that is no status becomes 500, which is as wrong as the test wanted it.
fn status_code(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn typed(content_type: &'static str, payload: Payload) -> Answer {
    let mut answer = Response::new(payload);
    let value = HeaderValue::from_static(content_type);
    answer.headers_mut().insert(CONTENT_TYPE, value);
    answer
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Payload {
    /// All of it, empty once sent.
    Bytes(Bytes),
    /// This many zero bytes, made as they are sent.
    Zeros(u64),
    /// One space at each tick, for ever.
    Drip(Box<Interval>),
    /// Ends in an error after promising more.
    Truncated,
}

/// How many zero bytes one frame carries.
const ZEROS: &[u8] = &[0; 16 * 1024];

impl Payload {
    fn drip(pause: Duration) -> Self {
        // An interval of nothing is none.
        let mut ticks = interval(pause.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Drip(Box::new(ticks))
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        let data = match self.get_mut() {
            Self::Bytes(bytes) => std::mem::take(bytes),
            Self::Zeros(left) => {
                let len = usize::try_from(*left).map_or(ZEROS.len(), |n| n.min(ZEROS.len()));
                *left -= len as u64;
                Bytes::from_static(ZEROS).slice(..len)
            }
            Self::Drip(ticks) => {
                ready!(ticks.poll_tick(context));
                Bytes::from_static(b" ")
            }
            Self::Truncated => return Poll::Ready(Some(Err(Dropped))),
        };
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Zeros(left) => *left == 0,
            Self::Drip(_) | Self::Truncated => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Zeros(left) => SizeHint::with_exact(*left),
            // Sent in chunks: nobody could say how long it will be.
            Self::Drip(_) => SizeHint::default(),
            Self::Truncated => SizeHint::with_exact(100),
        }
    }
}
