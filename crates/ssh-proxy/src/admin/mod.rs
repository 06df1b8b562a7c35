//! The sessions of this proxy, shown and ended by its operator.
//!
//! | module       | owns                                                                         |
//! |--------------|------------------------------------------------------------------------------|
//! | this one     | the server: what it answers to which request                                 |
//! | [`settings`] | where it is, and who may come                                                |
//! | [`listener`] | the ways to it: TCP on this machine, a Unix socket, mutual TLS               |
//! | [`view`]     | a session as JSON                                                            |
//! | [`command`]  | `ssh-proxy sessions` and `ssh-proxy end`, which ask the server               |
//! | `page/`      | the page that a browser shows, as it is sent                                 |
//!
//! On this machine nobody has to log in, so that pages of others that run in the operator's browser must not
//! get through: a request has to name this machine as its host, at whatever port (`ssh -L` brings operators
//! here from theirs), and may come from no other origin. What users sent is text for the page, never markup.

use std::net::IpAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use ssh_proto::wire::printable;
use tracing::info;

use crate::server;
use crate::sessions::{Session, SessionId, Sessions};
use view::View;

pub(crate) mod command;
mod listener;
pub(crate) mod settings;
mod view;

pub(crate) use listener::Listener;

/// Sessions in one answer; the next ones are asked for by the last one's name.
const MOST_LISTED: usize = 1000;

/// Bytes of a request's body, which is a message for a user.
const MOST_BODY: usize = 4096;

/// Bytes of a message that a user is shown.
const LONGEST_MESSAGE: usize = 400;

/// What users are told without a message.
const ENDED: &str = "an operator has ended your session";

/// Nothing but what this server sends, and nobody who puts it into a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What is sent as it is, by its path.
const FILES: [(&str, &str, &str); 3] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("page/page.html"),
    ),
    (
        "/page.css",
        "text/css; charset=utf-8",
        include_str!("page/page.css"),
    ),
    (
        "/page.js",
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    ),
];

type Answer = Response<Full<Bytes>>;

/// The server.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    sessions: Arc<Sessions>,
    /// Whether a request may name any host, since clients have proven themselves.
    is_proven: bool,
}

/// What comes with a wish to end a session.
#[derive(Debug, Default, Deserialize)]
struct Farewell {
    #[serde(default)]
    message: String,
}

impl Admin {
    /// A server for whoever is on this machine.
    fn local(sessions: Arc<Sessions>) -> Self {
        Self {
            sessions,
            is_proven: false,
        }
    }

    /// A server for those who have shown a certificate.
    fn proven(sessions: Arc<Sessions>) -> Self {
        Self {
            sessions,
            is_proven: true,
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let mut response = match self.refuses(&request) {
            Some(text) => server::error(StatusCode::FORBIDDEN, text),
            None => self.route(request).await,
        };
        let headers = response.headers_mut();
        for (name, value) in [
            (CACHE_CONTROL, "no-store"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_FRAME_OPTIONS, "DENY"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Why a request is not answered, whatever it asks for.
    fn refuses<B>(&self, request: &Request<B>) -> Option<&'static str> {
        let host = request.headers().get(HOST);
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.is_proven && !is_this_machine(host) {
            return Some("this server has another name\n");
        }
        let origin = request.headers().get(ORIGIN)?;
        let ours = [format!("http://{host}"), format!("https://{host}")];
        let is_ours = ours.iter().any(|ours| origin.as_bytes() == ours.as_bytes());
        (!is_ours).then_some("requests of other origins are not answered\n")
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if let Some(file) = FILES.iter().find(|(at, ..)| *at == path) {
            return match head.method {
                Method::GET => content(file.1, file.2.into()),
                _ => server::wrong_method("GET"),
            };
        }
        if path == "/sessions" {
            return match head.method {
                Method::GET => self.list(head.uri.query()),
                _ => server::wrong_method("GET"),
            };
        }
        let Some(id) = path.strip_prefix("/sessions/") else {
            return server::not_found();
        };
        let session = id.parse().ok().and_then(|id| self.sessions.get(id));
        let Some(session) = session else {
            return server::error(StatusCode::NOT_FOUND, "there is no such session\n");
        };
        match head.method {
            Method::GET => json(&View::of(&session)),
            Method::DELETE => end(&session, body).await,
            _ => server::wrong_method("GET, DELETE"),
        }
    }

    fn list(&self, query: Option<&str>) -> Answer {
        let after = match query.and_then(|query| query.strip_prefix("after=")) {
            None => None,
            Some(id) => match id.parse::<SessionId>() {
                Ok(id) => Some(id),
                Err(()) => return server::error(StatusCode::BAD_REQUEST, "after: no session id\n"),
            },
        };
        let total = self.sessions.totals().open;
        let listed = self.sessions.list(after, MOST_LISTED);
        let next = (listed.len() == MOST_LISTED)
            .then(|| listed.last().map(|session| session.id.to_string()))
            .flatten();
        let sessions: Vec<View<'_>> = listed.iter().map(|session| View::of(session)).collect();
        json(&json!({"total": total, "next": next, "sessions": sessions}))
    }
}

/// Whether `host` of a request is this machine for who is on it, with any port or none.
fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| address.is_loopback();
    name == "localhost" || address.parse().is_ok_and(is_loopback)
}

/// Ends `session` with the message in `body`.
async fn end(session: &Session, body: Incoming) -> Answer {
    let Ok(body) = Limited::new(body, MOST_BODY).collect().await else {
        return server::error(StatusCode::PAYLOAD_TOO_LARGE, "the message is too long\n");
    };
    let body = body.to_bytes();
    let farewell = match body.is_empty() {
        true => Ok(Farewell::default()),
        false => serde_json::from_slice(&body),
    };
    let Ok(Farewell { message }) = farewell else {
        let text = "expected {\"message\": \"...\"}\n";
        return server::error(StatusCode::BAD_REQUEST, text);
    };
    let message = printable(message.trim().as_bytes(), LONGEST_MESSAGE);
    let text = match message.is_empty() {
        true => ENDED.to_owned(),
        false => format!("{ENDED}: {message}"),
    };
    info!(
        session_id = %session.id,
        user = session.visitor.user,
        text,
        "session-ended-by-operator"
    );
    session.end(text);
    server::empty(StatusCode::NO_CONTENT)
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(text) => content("application/json", text.into()),
        Err(_) => server::empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn content(kind: &'static str, content: Bytes) -> Answer {
    let mut response = Response::new(Full::new(content));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
