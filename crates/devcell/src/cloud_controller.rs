//! Owns the Cloud Controller double: a real server that says who may enter which process, from a
//! state that tests change while it runs, and records what it audits.
//!
//! It serves `GET /`, `GET /v2/info` and `GET /internal/apps/:guid/ssh_access/:index`, in clear, by
//! TLS, or by mutual TLS. Connections and faults are `server`'s; tokens are judged by UAA's list.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::answer::{self, Answer, JSON};
use crate::certs::{Authority, CertError, Identity};
use crate::server::{Call, Server, Service, StartError, lock, tls_config};
use crate::uaa::{Grant, SSH_CLIENT, Tokens};

/// Audit events that are remembered: more than any test makes, and no more than that.
const MAX_EVENTS: usize = 100_000;

/// A process of an app, with all that decides on who may enter it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// What users name; the guid of the app for its first web process.
    pub guid: String,
    /// What BBS knows it by: this guid and that of the version.
    pub process_guid: String,
    /// The switch of the app.
    pub app_enable_ssh: bool,
    /// The switch of the space.
    pub space_allow_ssh: bool,
    /// The organization is suspended.
    pub suspended: bool,
    /// Guids of the users who are developers in the space.
    pub developers: Vec<String>,
}

impl Process {
    /// A process that `developer` may enter.
    pub fn new(guid: &str, process_guid: &str, developer: &str) -> Self {
        Self {
            guid: guid.to_owned(),
            process_guid: process_guid.to_owned(),
            app_enable_ssh: true,
            space_allow_ssh: true,
            suspended: false,
            developers: vec![developer.to_owned()],
        }
    }
}

/// What is told to clients that want to find the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppSsh {
    /// Host and port.
    pub endpoint: String,
    /// SHA-256 of the host key, 43 characters.
    pub host_key_fingerprint: String,
}

/// What Cloud Controller knows, as tests and the cell set it.
#[derive(Clone, Debug)]
pub struct State {
    /// The switch of the platform.
    pub allow_app_ssh_access: bool,
    /// All processes.
    pub processes: Vec<Process>,
    /// Where the proxy is.
    pub app_ssh: AppSsh,
}

impl Default for State {
    fn default() -> Self {
        Self {
            allow_app_ssh_access: true,
            processes: Vec::new(),
            app_ssh: AppSsh::default(),
        }
    }
}

/// What was decided on one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// `audit.app.ssh-authorized` or `audit.app.ssh-unauthorized`.
    pub kind: &'static str,
    /// The process.
    pub process: String,
    /// Guid of the user.
    pub actor: String,
    /// Name of the user.
    pub actor_name: String,
    /// The index as it stood in the URL.
    pub index: String,
}

/// Who is served, and how.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// Everybody, in clear: port 9022 of old deployments.
    Http,
    /// Everybody, by TLS.
    Https(&'a Identity),
    /// By TLS those whose certificates the authority signed.
    MutualTls(&'a Identity, &'a Authority),
}

/// A running, or stopped, Cloud Controller; what it has in common with the other doubles it has from
/// [`Server`]. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct CloudController {
    api: Arc<Api>,
    server: Server,
}

impl CloudController {
    /// Starts on a free port of 127.0.0.1. `tokens` are those of UAA.
    pub async fn start(access: Access<'_>, tokens: &Tokens) -> Result<Self, StartError> {
        let tls = match access {
            Access::Http => None,
            Access::Https(identity) => Some(tls_config(identity, None)?),
            Access::MutualTls(identity, clients) => Some(tls_config(identity, Some(clients))?),
        };
        let api = Arc::new(Api {
            state: Mutex::default(),
            events: Mutex::default(),
            tokens: tokens.clone(),
        });
        let server = Server::start(Arc::clone(&api) as _, tls)?;
        Ok(Self { api, server })
    }

    /// Changes what it knows.
    pub fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.api.state))
    }

    /// All audit events since the start or the last [`forget_calls`](Self::forget_calls), in order.
    pub fn audit_events(&self) -> Vec<AuditEvent> {
        lock(&self.api.events).clone()
    }

    /// Shows another certificate to connections that come from now on, by TLS in any case.
    pub fn show(&self, identity: &Identity, clients: Option<&Authority>) -> Result<(), CertError> {
        self.server.set_tls(tls_config(identity, clients)?);
        Ok(())
    }

    /// Starts counting calls, connections and audit events afresh.
    pub fn forget_calls(&self) {
        self.server.forget_calls();
        lock(&self.api.events).clear();
    }
}

impl Deref for CloudController {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Cloud Controller behind its port.
#[derive(Debug)]
struct Api {
    state: Mutex<State>,
    events: Mutex<Vec<AuditEvent>>,
    tokens: Tokens,
}

impl Service for Api {
    fn content_type(&self) -> &'static str {
        JSON
    }

    fn answer(&self, call: &Call) -> Answer {
        let parts: Vec<&str> = call.path.split('/').skip(1).collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", [""]) => found(&root(&lock(&self.state).app_ssh)),
            ("GET", ["v2", "info"]) => found(&info(&lock(&self.state).app_ssh)),
            ("GET", ["internal", "apps", guid, "ssh_access", index]) => {
                self.ssh_access(guid, index, call.header("authorization"))
            }
            _ => UNKNOWN_REQUEST.answer(),
        }
    }

    fn error(&self, _: &Call, kind: i32, message: &str) -> Answer {
        let body = json!({"description": message, "error_code": "CF-ServerError", "code": kind});
        answer::json(StatusCode::INTERNAL_SERVER_ERROR, &body)
    }
}

impl Api {
    fn ssh_access(&self, guid: &str, index: &str, authorization: &str) -> Answer {
        let state = lock(&self.state);
        let grant = self.tokens.judge(authorization);
        let process = state.processes.iter().find(|process| process.guid == guid);
        let decided = decide(&state, process, grant.as_ref(), authorization);
        if process.is_some() {
            self.audit(guid, index, grant.as_ref(), decided.is_ok());
        }
        match decided {
            Ok(process_guid) => found(&json!({"process_guid": process_guid})),
            Err(refusal) => refusal.answer(),
        }
    }

    fn audit(&self, guid: &str, index: &str, grant: Option<&Grant>, authorized: bool) {
        let mut events = lock(&self.events);
        if events.len() == MAX_EVENTS {
            events.remove(0);
        }
        let user = grant.map(|grant| &grant.user);
        let (actor, name) = user.map_or(("unknown-user-guid", "unknown-user-email"), |user| {
            (&user.id, &user.name)
        });
        events.push(AuditEvent {
            kind: if authorized {
                "audit.app.ssh-authorized"
            } else {
                "audit.app.ssh-unauthorized"
            },
            process: guid.to_owned(),
            actor: actor.to_owned(),
            actor_name: name.to_owned(),
            index: index.to_owned(),
        });
    }
}

/// The checks in Cloud Controller's order; the guid that BBS knows if all are passed.
fn decide(
    state: &State,
    process: Option<&Process>,
    grant: Option<&Grant>,
    authorization: &str,
) -> Result<String, Refusal> {
    let Some(grant) = grant else {
        return Err(if authorization.is_empty() {
            NOT_AUTHENTICATED
        } else {
            INVALID_AUTH_TOKEN
        });
    };
    let process = process.ok_or(APP_NOT_FOUND)?;
    let has = |scope: &str| grant.user.scopes.iter().any(|have| have == scope);
    if !has("cloud_controller.admin") {
        if !has("cloud_controller.write") {
            return Err(INSUFFICIENT_SCOPE);
        }
        if process.suspended || !process.developers.contains(&grant.user.id) {
            return Err(NOT_AUTHORIZED);
        }
    }
    if !(state.allow_app_ssh_access && process.space_allow_ssh && process.app_enable_ssh) {
        return Err(SSH_DISABLED);
    }
    Ok(process.process_guid.clone())
}

/// A refusal in Cloud Controller's form.
struct Refusal {
    status: StatusCode,
    code: u32,
    name: &'static str,
    description: &'static str,
}

impl Refusal {
    fn answer(&self) -> Answer {
        let Self {
            status,
            code,
            name,
            description,
        } = self;
        let body = json!({"description": description, "error_code": name, "code": code});
        answer::json(*status, &body)
    }
}

const NOT_AUTHENTICATED: Refusal = Refusal {
    status: StatusCode::UNAUTHORIZED,
    code: 10002,
    name: "CF-NotAuthenticated",
    description: "Authentication error",
};
const INVALID_AUTH_TOKEN: Refusal = Refusal {
    status: StatusCode::UNAUTHORIZED,
    code: 1000,
    name: "CF-InvalidAuthToken",
    description: "Invalid Auth Token",
};
const APP_NOT_FOUND: Refusal = Refusal {
    status: StatusCode::NOT_FOUND,
    code: 100_004,
    name: "CF-AppNotFound",
    description: "The app could not be found",
};
const INSUFFICIENT_SCOPE: Refusal = Refusal {
    status: StatusCode::FORBIDDEN,
    code: 10007,
    name: "CF-InsufficientScope",
    description: "Your token lacks the necessary scopes to access this resource.",
};
const NOT_AUTHORIZED: Refusal = Refusal {
    status: StatusCode::FORBIDDEN,
    code: 10003,
    name: "CF-NotAuthorized",
    description: "You are not authorized to perform the requested action",
};
const SSH_DISABLED: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    code: 10004,
    name: "CF-InvalidRequest",
    description: "The request is invalid",
};
const UNKNOWN_REQUEST: Refusal = Refusal {
    status: StatusCode::NOT_FOUND,
    code: 10000,
    name: "CF-NotFound",
    description: "Unknown request",
};

fn found(body: &Value) -> Answer {
    answer::json(StatusCode::OK, body)
}

fn root(app_ssh: &AppSsh) -> Value {
    json!({"links": {"app_ssh": {
        "href": app_ssh.endpoint,
        "meta": {
            "host_key_fingerprint": app_ssh.host_key_fingerprint,
            "oauth_client": SSH_CLIENT,
        },
    }}})
}

fn info(app_ssh: &AppSsh) -> Value {
    json!({
        "api_version": "",
        "app_ssh_endpoint": app_ssh.endpoint,
        "app_ssh_host_key_fingerprint": app_ssh.host_key_fingerprint,
        "app_ssh_oauth_client": SSH_CLIENT,
    })
}
