//! Owns the BBS double: a real TLS server that demands a client certificate, answers the calls an
//! SSH proxy makes from a state that tests change while it runs, and misbehaves when told to.
//! Messages are in [`messages`], answers in `http`, the ways to misbehave in [`Fault`].

mod http;
pub mod messages;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

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

/// A running, or stopped, BBS. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Bbs {
    server: Server<Platform>,
}

impl Bbs {
    /// Starts on a free port of 127.0.0.1 with `identity`, accepting clients whose certificates
    /// `clients` signed.
    pub async fn start(identity: &Identity, clients: &Authority) -> Result<Self, StartError> {
        let tls = tls_config(identity, Some(clients))?;
        let server = Server::start(Platform::default(), Some(tls)).await?;
        Ok(Self { server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The value for the proxy's `bbs_address`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Changes what the platform runs.
    pub fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut lock(&self.server.service().state))
    }

    /// Misbehaves like this from now on; [`Fault::None`] ends it.
    pub fn set_fault(&self, fault: Fault) {
        self.server.set_fault(fault);
    }

    /// Misbehaves like this for the next `times` connections or calls, then as before.
    pub fn fail_next(&self, times: u32, fault: Fault) {
        self.server.fail_next(times, fault);
    }

    /// Shows another certificate to connections that come from now on.
    pub fn show(&self, identity: &Identity, clients: &Authority) -> Result<(), CertError> {
        self.server.set_tls(tls_config(identity, Some(clients))?);
        Ok(())
    }

    /// Every call since the start or the last [`forget_calls`](Self::forget_calls), in order.
    pub fn calls(&self) -> Vec<Call> {
        self.server.calls().into_iter().map(Call::from).collect()
    }

    /// How many calls went to `path`.
    pub fn call_count(&self, path: &str) -> usize {
        let calls = self.server.calls();
        calls.iter().filter(|call| call.path == path).count()
    }

    /// How many TCP connections were accepted, whatever became of them.
    pub fn connection_count(&self) -> usize {
        self.server.connection_count()
    }

    /// Starts counting calls and connections afresh.
    pub fn forget_calls(&self) {
        self.server.forget_calls();
    }

    /// Closes the port and every connection: a BBS that is down. The state stays.
    pub async fn stop(&self) {
        self.server.stop().await;
    }

    /// Listens on the same port again after [`stop`](Self::stop).
    pub async fn start_again(&self) -> io::Result<()> {
        self.server.start_again().await
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
