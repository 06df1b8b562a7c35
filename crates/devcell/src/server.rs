//! Owns what the doubles that speak HTTP have in common: a port that closes and opens again, TLS
//! with a certificate that can be exchanged while it runs, the record of calls, and the faults. What
//! an answer says is the [`Service`]'s business.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::answer::{self, Answer, Dropped};
use crate::certs::{Authority, CertError, Identity, provider};
use crate::fault::{Fault, Schedule};

/// No call needs more than two guids or a code; a request beyond this is a bug in the client.
const MAX_REQUEST: usize = 64 * 1024;

/// Connections that wait to be accepted, as many as most systems allow.
const BACKLOG: u32 = 1024;

/// Calls that are remembered: more than any test makes, and a cell that runs for days stays small.
const MAX_CALLS: usize = 100_000;

/// One request as it arrived, for assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// What follows the `?`, or nothing.
    pub query: String,
    /// Header fields by lower-case name; the last of each name counts.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Call {
    /// A header field by its lower-case name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a double knows and says.
pub(crate) trait Service: fmt::Debug + Send + Sync + 'static {
    /// The content type of its answers.
    fn content_type(&self) -> &'static str;

    /// Answers a call.
    fn answer(&self, call: &Call) -> Answer;

    /// An answer to this call in the form of the service that carries an error.
    fn error(&self, call: &Call, kind: i32, message: &str) -> Answer;
}

/// What is the same for all doubles: a running, or stopped, server. Dropping it closes the port and
/// every connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// Keeps the port for us while nobody listens on it: bound, so that no other program gets it,
    /// but not listening, so that connections are refused.
    _place: TcpSocket,
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the tasks share with the handle.
#[derive(Debug)]
struct Shared {
    service: Arc<dyn Service>,
    records: Mutex<Records>,
    /// `None` speaks HTTP in clear.
    tls: Mutex<Option<Arc<ServerConfig>>>,
}

#[derive(Debug, Default)]
struct Records {
    faults: Schedule,
    calls: VecDeque<Call>,
    connections: usize,
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Records> {
        lock(&self.records)
    }
}

/// A panicking test must not hide its reason behind a poisoned lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Starts on a free port of 127.0.0.1, in clear unless there is a configuration for TLS.
    pub(crate) fn start(service: Arc<dyn Service>, tls: Option<ServerConfig>) -> io::Result<Self> {
        let place = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = place.local_addr()?;
        let server = Self {
            address,
            _place: place,
            shared: Arc::new(Shared {
                service,
                records: Mutex::default(),
                tls: Mutex::new(tls.map(Arc::new)),
            }),
            task: Mutex::default(),
        };
        server.serve()?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://` or `http://` with the address: the base of its URLs.
    pub fn url(&self) -> String {
        let scheme = lock(&self.shared.tls).as_ref().map_or("http", |_| "https");
        format!("{scheme}://{}", self.address)
    }

    /// Misbehaves like this from now on; [`Fault::None`] ends it.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.records().faults.set(fault);
    }

    /// Misbehaves like this for the next `times` connections or calls, then as before.
    pub fn fail_next(&self, times: u32, fault: Fault) {
        self.shared.records().faults.set_next(times, fault);
    }

    /// Every call since the start or the last [`forget_calls`](Self::forget_calls), in order.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.records().calls.iter().cloned().collect()
    }

    /// How many TCP connections were accepted, whatever became of them.
    pub fn connection_count(&self) -> usize {
        self.shared.records().connections
    }

    /// Starts counting calls and connections afresh.
    pub fn forget_calls(&self) {
        let mut records = self.shared.records();
        records.calls.clear();
        records.connections = 0;
    }

    /// TLS for connections that come from now on.
    pub(crate) fn set_tls(&self, tls: ServerConfig) {
        *lock(&self.shared.tls) = Some(Arc::new(tls));
    }

    /// Closes the port and every connection: a service that is down. What it knows stays.
    pub async fn stop(&self) {
        let task = lock(&self.task).take();
        if let Some(task) = task {
            task.abort();
            // The port is free only when the task is gone; that it was cancelled is no news.
            let _ = task.await;
        }
    }

    /// Listens on the same port again, with no connection left from before.
    pub async fn start_again(&self) -> io::Result<()> {
        self.stop().await;
        self.serve()
    }

    fn serve(&self) -> io::Result<()> {
        let listener = bind(self.address)?.listen(BACKLOG)?;
        let shared = Arc::clone(&self.shared);
        let handle = move |stream| connection(stream, Arc::clone(&shared));
        let task = tokio::spawn(accept(listener, handle));
        *lock(&self.task) = Some(task);
        Ok(())
    }
}

/// A socket that shares its port with others of ours. A port picked by the system is nobody else's.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// A double could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its certificates do not work.
    #[error(transparent)]
    Certificates(#[from] CertError),
    /// There is no port to listen on.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
}

/// TLS for HTTP/1.1 with this certificate; with `clients`, only for those who have a certificate of
/// theirs.
pub(crate) fn tls_config(
    identity: &Identity,
    clients: Option<&Authority>,
) -> Result<ServerConfig, CertError> {
    tls_config_for("http/1.1", identity, clients)
}

/// The same for another protocol, by its ALPN name.
pub(crate) fn tls_config_for(
    protocol: &str,
    identity: &Identity,
    clients: Option<&Authority>,
) -> Result<ServerConfig, CertError> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(clients.roots()?);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(identity.chain(), identity.key_der())?;
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(config)
}

/// Hands out connections for ever, each in a task of its own. It owns them: when the task that this
/// runs in is aborted, they end with it.
pub(crate) async fn accept<F>(listener: TcpListener, handle: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: let others close theirs before trying again.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        connections.spawn(handle(stream));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let fault = {
        let mut records = shared.records();
        records.connections += 1;
        records.faults.on_connect()
    };
    if strikes_at_connect(&fault, &stream).await {
        return;
    }
    let tls = lock(&shared.tls).clone();
    match tls {
        None => serve(stream, shared).await,
        // A client without a good certificate has been told by a TLS alert; doubles have no log.
        Some(tls) => {
            if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                serve(stream, shared).await;
            }
        }
    }
}

/// Does what a fault does to a connection before anything is read; true if it is to be dropped then.
pub(crate) async fn strikes_at_connect(fault: &Fault, stream: &TcpStream) -> bool {
    match fault {
        Fault::CloseAfterAccept => true,
        Fault::Reset => {
            // Without lingering, closing resets; if that cannot be had, closing has to do.
            let _ = stream.set_zero_linger();
            true
        }
        Fault::HangBeforeTls => std::future::pending().await,
        _ => false,
    }
}

/// Serves one connection until the client closes it or a fault does.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| respond(request, Arc::clone(&shared)));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // How a connection ends is for the client to judge.
    let _ = connection.await;
}

async fn respond(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Answer, Dropped> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_REQUEST).collect().await else {
        return Ok(answer::status(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let call = Call {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: text_headers(&head.headers),
        body: body.to_bytes().to_vec(),
    };
    let fault = {
        let mut records = shared.records();
        if records.calls.len() == MAX_CALLS {
            records.calls.pop_front();
        }
        records.calls.push_back(call.clone());
        records.faults.on_request()
    };
    if let Some(answer) = answer::misbehave(&fault, shared.service.content_type()).await? {
        return Ok(answer);
    }
    Ok(match fault {
        Fault::ErrorInMessage { kind, message } => shared.service.error(&call, kind, &message),
        _ => shared.service.answer(&call),
    })
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
