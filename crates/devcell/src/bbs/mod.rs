//! Owns the BBS double: a real TLS server that demands a client certificate, answers the calls an
//! SSH proxy makes from a state that tests change while it runs, and misbehaves when told to.
//! Messages are in [`messages`], the ways to misbehave in [`Fault`], HTTP in `http`.

mod fault;
mod http;
pub mod messages;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certs::{Authority, CertError, Identity, provider};
pub use fault::Fault;
use fault::Schedule;
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

/// What the server's tasks share with its handle.
#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    faults: Schedule,
    calls: Vec<Call>,
    connections: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panicking test must not hide its reason behind a poisoned lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running, or stopped, BBS. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Bbs {
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    shared: Arc<Shared>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Bbs {
    /// Starts on a free port of 127.0.0.1 with `identity`, accepting clients whose certificates
    /// `clients` signed.
    pub async fn start(identity: &Identity, clients: &Authority) -> Result<Self, BbsStartError> {
        let tls = Arc::new(server_config(identity, clients)?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let bbs = Self {
            address: listener.local_addr()?,
            tls,
            shared: Arc::default(),
            server: Mutex::default(),
        };
        bbs.serve(listener);
        Ok(bbs)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value for the proxy's `bbs_address`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Changes what the platform runs.
    pub fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.shared.lock().state)
    }

    /// Misbehaves like this from now on; [`Fault::None`] ends it.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.lock().faults.set(fault);
    }

    /// Misbehaves like this for the next `times` connections or calls, then as before.
    pub fn fail_next(&self, times: u32, fault: Fault) {
        self.shared.lock().faults.set_next(times, fault);
    }

    /// Every call since the start or the last [`forget_calls`](Self::forget_calls), in order.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.clone()
    }

    /// How many calls went to `path`.
    pub fn call_count(&self, path: &str) -> usize {
        let inner = self.shared.lock();
        inner.calls.iter().filter(|call| call.path == path).count()
    }

    /// How many TCP connections were accepted, whatever became of them.
    pub fn connection_count(&self) -> usize {
        self.shared.lock().connections
    }

    /// Starts counting calls and connections afresh.
    pub fn forget_calls(&self) {
        let mut inner = self.shared.lock();
        inner.calls.clear();
        inner.connections = 0;
    }

    /// Closes the port and every connection: a BBS that is down. The state stays.
    pub async fn stop(&self) {
        let server = self.lock_server().take();
        if let Some(server) = server {
            server.abort();
            // The port is free only when the task is gone; that it was cancelled is no news.
            let _ = server.await;
        }
    }

    /// Listens on the same port again after [`stop`](Self::stop).
    pub async fn start_again(&self) -> io::Result<()> {
        self.stop().await;
        self.serve(TcpListener::bind(self.address).await?);
        Ok(())
    }

    fn serve(&self, listener: TcpListener) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        let shared = Arc::clone(&self.shared);
        *self.lock_server() = Some(tokio::spawn(accept(listener, acceptor, shared)));
    }

    fn lock_server(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bbs {
    fn drop(&mut self) {
        if let Some(server) = self.lock_server().take() {
            server.abort();
        }
    }
}

/// The BBS double could not start.
#[derive(Debug, thiserror::Error)]
pub enum BbsStartError {
    /// Its certificates do not work.
    #[error(transparent)]
    Certificates(#[from] CertError),
    /// There is no port to listen on.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
}

fn server_config(identity: &Identity, clients: &Authority) -> Result<ServerConfig, CertError> {
    let roots = Arc::new(clients.roots()?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain(), identity.key_der())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Owns all connections: when this task is aborted, they end with it.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: let others close theirs before trying again.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let fault = {
        let mut inner = shared.lock();
        inner.connections += 1;
        inner.faults.on_connect()
    };
    match fault {
        Fault::CloseAfterAccept => return,
        Fault::HangBeforeTls => std::future::pending().await,
        _ => {}
    }
    // A client without a good certificate has been told by a TLS alert; the double has no log.
    if let Ok(tls) = acceptor.accept(stream).await {
        http::serve(tls, shared).await;
    }
}
