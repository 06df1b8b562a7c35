//! Owns the answers of the UAA double: which request gets a code, a token or a refusal, with the
//! statuses and words of UAA. Connections, HTTP and faults are `server`'s.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, LOCATION, PRAGMA, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{AUTHORIZE_PATH, BasicAuth, State, TOKEN_PATH, Tokens, form};
use crate::answer::{self, Answer, JSON, status, with};
use crate::keys::random_hex;
use crate::server::{Call, Service, lock};

/// Where codes are sent if the request names no place: cf CLI never goes there.
const REGISTERED_REDIRECT: &str = "https://uaa.devcell.example.com/login";

/// UAA behind its port.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) state: Mutex<State>,
    pub(super) tokens: Tokens,
}

impl Site {
    pub(super) fn new(state: State, tokens: Tokens) -> Self {
        Self {
            state: Mutex::new(state),
            tokens,
        }
    }
}

impl Service for Site {
    fn content_type(&self) -> &'static str {
        JSON
    }

    fn answer(&self, call: &Call) -> Answer {
        let result = match (call.method.as_str(), call.path.as_str()) {
            ("GET", "/info") => Ok(answer::json(
                StatusCode::OK,
                &json!({"app": {"version": "79.3.0"}, "zone_name": "uaa"}),
            )),
            // A code in a query would be in everybody's access log: UAA refuses to look at it.
            ("POST", TOKEN_PATH) if call.query.is_empty() => self.token(call),
            (_, TOKEN_PATH) => Err(Refused::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Parameters must be passed in the body of the request",
            )),
            ("GET", AUTHORIZE_PATH) => self.authorize(call),
            _ => return status(StatusCode::NOT_FOUND),
        };
        result.unwrap_or_else(Refused::answer)
    }

    fn error(&self, _: &Call, _: i32, message: &str) -> Answer {
        Refused::new(StatusCode::BAD_REQUEST, message, message).answer()
    }
}

/// A refusal in UAA's form.
struct Refused {
    status: StatusCode,
    error: String,
    description: String,
}

impl Refused {
    fn new(status: StatusCode, error: &str, description: &str) -> Self {
        Self {
            status,
            error: error.to_owned(),
            description: description.to_owned(),
        }
    }

    fn bad(error: &str, description: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, description)
    }

    fn unauthorized(error: &str, description: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error, description)
    }

    fn server_error() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "")
    }

    fn answer(self) -> Answer {
        let body = json!({"error": self.error, "error_description": self.description});
        let answer = no_store(answer::json(self.status, &body));
        if self.status != StatusCode::UNAUTHORIZED {
            return answer;
        }
        let scheme = r#"Basic realm="UAA/client", error="unauthorized""#;
        with(answer, WWW_AUTHENTICATE, scheme)
    }
}

type Fields = BTreeMap<String, String>;

impl Site {
    /// RFC 6749, section 4.1.3: a code becomes a token, once.
    fn token(&self, call: &Call) -> Result<Answer, Refused> {
        let mut state = lock(&self.state);
        let client = client_of(call, &state)?;
        let form = std::str::from_utf8(&call.body).ok().and_then(form::fields);
        let form = form.ok_or_else(|| Refused::bad("invalid_request", "Malformed body"))?;
        match form.get("grant_type").map(String::as_str) {
            Some("authorization_code") => {}
            None | Some("") => return Err(Refused::bad("invalid_request", "Missing grant type")),
            Some(other) => {
                let text = format!("Unsupported grant type: {other}");
                return Err(Refused::bad("unsupported_grant_type", &text));
            }
        }
        let code = consume(&mut state, &form)?;
        if code.redirect_uri.as_ref() != form.get("redirect_uri") {
            return Err(Refused::bad("invalid_grant", "Redirect URI mismatch."));
        }
        if code.client != client {
            return Err(Refused::unauthorized(
                "invalid_client",
                "Client ID mismatch",
            ));
        }
        let token = self
            .tokens
            .issue(
                &code.user,
                &client,
                &state.token_shape,
                state.token_lifetime,
            )
            .map_err(|_| Refused::server_error())?;
        let refresh = random_hex(16).map_err(|_| Refused::server_error())?;
        let body = json!({
            "access_token": token,
            "token_type": state.token_type,
            "expires_in": state.token_lifetime.as_secs(),
            "scope": code.user.scopes.join(" "),
            "jti": &refresh,
            "refresh_token": format!("{refresh}-r"),
        });
        Ok(success(&body))
    }

    /// RFC 6749, section 4.1.1, as the cf CLI asks: with a token in place of a page to click on.
    fn authorize(&self, call: &Call) -> Result<Answer, Refused> {
        let query = form::fields(&call.query)
            .ok_or_else(|| Refused::bad("invalid_request", "Malformed query"))?;
        let grant = self.tokens.judge(call.header("authorization"));
        let grant = grant
            .filter(|grant| grant.user.scopes.iter().any(|scope| scope == "uaa.user"))
            .ok_or_else(|| {
                Refused::unauthorized("unauthorized", "Full authentication is required")
            })?;
        let mut state = lock(&self.state);
        let client = query.get("client_id").map_or("", String::as_str);
        if client != state.client {
            let text = format!("No client with requested id: {client}");
            return Err(Refused::unauthorized("invalid_client", &text));
        }
        if query.get("response_type").map(String::as_str) != Some("code") {
            let text = "Unsupported response types";
            return Err(Refused::bad("unsupported_response_type", text));
        }
        let redirect_uri = query.get("redirect_uri").map(String::as_str);
        let code = state.new_code(&grant.user, client, redirect_uri);
        let code = code.map_err(|_| Refused::server_error())?;
        let place = redirect_uri.unwrap_or(REGISTERED_REDIRECT);
        let found = no_store(status(StatusCode::FOUND));
        Ok(with(found, LOCATION, &format!("{place}?code={code}")))
    }
}

/// The client that asks, by its Basic header (RFC 6749, section 2.3.1).
fn client_of(call: &Call, state: &State) -> Result<String, Refused> {
    let bad = || Refused::unauthorized("unauthorized", "Bad credentials");
    let header = call.header("authorization");
    let encoded = header.strip_prefix("Basic ").ok_or_else(bad)?;
    let pair = STANDARD.decode(encoded).map_err(|_| bad())?;
    let pair = String::from_utf8(pair).map_err(|_| bad())?;
    let (name, secret) = pair.split_once(':').ok_or_else(bad)?;
    let encoded = call.header("x-cf-encoded-credentials") == "true";
    let read = |part: &str| match state.basic {
        BasicAuth::Raw if !encoded => Some(part.to_owned()),
        _ => form::decode(part),
    };
    let (name, secret) = read(name).zip(read(secret)).ok_or_else(bad)?;
    if name == state.client && secret == state.secret {
        Ok(name)
    } else {
        Err(bad())
    }
}

/// Takes the code that the form names; whatever comes next, it is gone.
fn consume(state: &mut State, form: &Fields) -> Result<super::Code, Refused> {
    let text = form.get("code").map_or("", String::as_str);
    if text.is_empty() {
        let text = "An authorization code must be supplied.";
        return Err(Refused::bad("invalid_request", text));
    }
    let Some(code) = state.codes.remove(text) else {
        let text = format!("Invalid authorization code: {text}");
        return Err(Refused::bad("invalid_grant", &text));
    };
    if code.expires <= Instant::now() {
        let text = format!("Authorization code expired: {text}");
        return Err(Refused::bad("invalid_grant", &text));
    }
    Ok(code)
}

fn success(body: &Value) -> Answer {
    no_store(answer::json(StatusCode::OK, body))
}

/// RFC 6749, section 5.1: nobody in between may keep a token.
fn no_store(answer: Answer) -> Answer {
    with(with(answer, CACHE_CONTROL, "no-store"), PRAGMA, "no-cache")
}
