//! Owns the answers of the BBS double: each message decoded, looked up in the state and answered as
//! the BBS would. Connections, HTTP and faults are `server`'s.

use std::sync::Mutex;

use hyper::StatusCode;
use prost::Message;

use super::messages::{
    ActualLrpsRequest, ActualLrpsResponse, BbsError, DesiredLrpRequest, DesiredLrpResponse,
    PingResponse,
};
use super::{CallBody, DESIRED_PATH, LIST_PATH, PING_PATH, PROTOBUF, State};
use crate::answer::{Answer, ok, plain_not_found, status};
use crate::server::{Call, Service, lock};

/// The BBS behind its port.
#[derive(Debug, Default)]
pub(super) struct Platform {
    pub(super) state: Mutex<State>,
}

impl Service for Platform {
    fn content_type(&self) -> &'static str {
        PROTOBUF
    }

    fn answer(&self, call: &Call) -> Answer {
        if call.method != "POST" {
            return status(StatusCode::METHOD_NOT_ALLOWED);
        }
        if call.header("content-type") != PROTOBUF {
            return status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        answer(&lock(&self.state), &call.path, &decode(call))
    }

    fn error(&self, call: &Call, kind: i32, text: &str) -> Answer {
        let error = Some(BbsError::new(kind, text));
        match decode(call) {
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
}

/// The body of a call as the message that belongs to its path.
pub(super) fn decode(call: &Call) -> CallBody {
    let body = call.body.as_slice();
    let decoded = match call.path.as_str() {
        LIST_PATH => ActualLrpsRequest::decode(body).ok().map(CallBody::List),
        DESIRED_PATH => DesiredLrpRequest::decode(body).ok().map(CallBody::Desired),
        _ => None,
    };
    decoded.unwrap_or_else(|| CallBody::Other(body.to_vec()))
}

fn answer(state: &State, path: &str, body: &CallBody) -> Answer {
    let invalid = || {
        let text = "the request received is invalid";
        Some(BbsError::new(BbsError::INVALID_REQUEST, text))
    };
    match (path, body) {
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

fn message(message: &impl Message) -> Answer {
    ok(PROTOBUF, message.encode_to_vec())
}
