//! Owns the BBS double: a real TLS server that demands a client certificate, answers the calls an
//! SSH proxy makes from a state that tests change while it runs, and misbehaves when told to.
//! Messages are in [`messages`], answers in `http`, the ways to misbehave in [`Fault`].

mod http;
pub mod messages;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::certs::{Authority, CertError, Identity};
pub use crate::fault::Fault;
use crate::server::{self, Server, StartError, lock, tls_config};
use http::Platform;
use messages::{ActualLrp, DesiredLrp};

/// Path of the call that lists instances.
pub const LIST_PATH: &str = "/v1/actual_lrps/list";
/// Path of the call that gets one process.
pub const DESIRED_PATH: &str = "/v1/desired_lrps/get_by_process_guid.r3";
/// Path of the call that says whether the BBS is there.
pub const PING_PATH: &str = "/v1/ping";
/// Content type of every body.
pub const PROTOBUF: &str = "application/x-protobuf";

/// What the platform runs, as tests and the cell set it.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The instances; more than one row for an index is what evacuation looks like.
    pub actual: Vec<ActualLrp>,
    /// The processes.
    pub desired: Vec<DesiredLrp>,
}

/// One request as it arrived, for assertions.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method; the BBS only knows `POST`.
    pub method: String,
    /// The path.
    pub path: String,
    /// Header fields by lower-case name; the last of each name counts.
    pub headers: BTreeMap<String, String>,
    /// The decoded body.
    pub body: CallBody,
}

/// The decoded body of a [`Call`].
#[derive(Clone, Debug, PartialEq)]
pub enum CallBody {
    /// A call to [`LIST_PATH`].
    List(messages::ActualLrpsRequest),
    /// A call to [`DESIRED_PATH`].
    Desired(messages::DesiredLrpRequest),
    /// Anything else, or bytes that do not decode.
    Other(Vec<u8>),
}

/// A running, or stopped, BBS; what it has in common with the other doubles it has from [`Server`].
/// Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Bbs {
    platform: Arc<Platform>,
    server: Server,
}

impl Bbs {
    /// Starts on a free port of 127.0.0.1 with `identity`, accepting clients whose certificates
    /// `clients` signed.
    pub async fn start(identity: &Identity, clients: &Authority) -> Result<Self, StartError> {
        let tls = tls_config(identity, Some(clients))?;
        let platform = Arc::<Platform>::default();
        let server = Server::start(Arc::clone(&platform) as _, Some(tls))?;
        Ok(Self { platform, server })
    }

    /// Changes what the platform runs.
    pub fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.platform.state))
    }

    /// Shows another certificate to connections that come from now on.
    pub fn show(&self, identity: &Identity, clients: &Authority) -> Result<(), CertError> {
        self.server.set_tls(tls_config(identity, Some(clients))?);
        Ok(())
    }

    /// Every call since the start or the last [`forget_calls`](Server::forget_calls), in order.
    pub fn calls(&self) -> Vec<Call> {
        self.server.calls().into_iter().map(Call::from).collect()
    }

    /// How many calls went to `path`.
    pub fn call_count(&self, path: &str) -> usize {
        let calls = self.server.calls();
        calls.iter().filter(|call| call.path == path).count()
    }
}

impl Deref for Bbs {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl From<server::Call> for Call {
    fn from(call: server::Call) -> Self {
        Self {
            body: http::decode(&call),
            method: call.method,
            path: call.path,
            headers: call.headers,
        }
    }
}
