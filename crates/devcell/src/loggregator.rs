//! Owns the double of the loggregator agent: a gRPC server behind mutual TLS that takes batches of
//! envelopes, keeps them for tests to look at, and dies, comes back, stops reading, or misbehaves in
//! the way of any [`Fault`] when told to.
//!
//! The messages are written from the published field numbers and not shared with the proxy: if both
//! sides used one definition, a wrong number would be wrong on both sides and go unnoticed.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::server::{ClientStreamingService, Grpc};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use crate::answer::{Dropped, misbehave};
use crate::certs::{Authority, CertError, Identity};
use crate::fault::Fault;
use crate::server::{StartError, accept, lock, strikes_at_connect, tls_config_for};

/// The only call that is served.
pub const BATCH_SENDER: &str = "/loggregator.v2.Ingress/BatchSender";

/// The content type of its answers.
const GRPC: &str = "application/grpc";

/// The name in the certificate of every agent.
pub const SERVER_NAME: &str = "metron";

/// Envelopes that are kept; a cell may run for days.
const MAX_ENVELOPES: usize = 10_000;

/// Bytes that the peer may send without our reading: little, so that a test need not send much to
/// meet an agent that does not read.
const WINDOW: u32 = 4096;

/// How long a test waits for an envelope: longer than metrics take to come the first time.
const PATIENCE: Duration = Duration::from_secs(20);

/// `EnvelopeBatch`.
#[derive(Clone, PartialEq, Message)]
pub struct EnvelopeBatch {
    /// The envelopes.
    #[prost(message, repeated, tag = "1")]
    pub batch: Vec<Envelope>,
}

/// `Envelope`.
#[derive(Clone, PartialEq, Message)]
pub struct Envelope {
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// The app or component that it is about.
    #[prost(string, tag = "2")]
    pub source_id: String,
    /// `deprecated_tags`, which nobody sends; as bytes, to see that nobody does.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub deprecated_tags: Vec<Vec<u8>>,
    /// A line of a log.
    #[prost(message, optional, tag = "4")]
    pub log: Option<Log>,
    /// A count.
    #[prost(message, optional, tag = "5")]
    pub counter: Option<Counter>,
    /// Values.
    #[prost(message, optional, tag = "6")]
    pub gauge: Option<Gauge>,
    /// The instance of it.
    #[prost(string, tag = "8")]
    pub instance_id: String,
    /// Tags.
    #[prost(btree_map = "string, string", tag = "9")]
    pub tags: BTreeMap<String, String>,
}

/// `Log`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Log {
    /// The line.
    #[prost(bytes = "vec", tag = "1")]
    pub payload: Vec<u8>,
    /// 0 for OUT, 1 for ERR.
    #[prost(int32, tag = "2")]
    pub kind: i32,
}

/// `Counter`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Counter {
    /// What is counted.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How often since last time.
    #[prost(uint64, tag = "2")]
    pub delta: u64,
    /// How often at all.
    #[prost(uint64, tag = "3")]
    pub total: u64,
}

/// `Gauge`.
#[derive(Clone, PartialEq, Message)]
pub struct Gauge {
    /// Values by name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub metrics: BTreeMap<String, GaugeValue>,
}

/// `GaugeValue`.
#[derive(Clone, PartialEq, Message)]
pub struct GaugeValue {
    /// What the number counts.
    #[prost(string, tag = "1")]
    pub unit: String,
    /// The number.
    #[prost(double, tag = "2")]
    pub value: f64,
}

/// `BatchSenderResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BatchSenderResponse {}

impl Envelope {
    /// The line of a log, if it is one.
    pub fn line(&self) -> Option<String> {
        let log = self.log.as_ref()?;
        Some(String::from_utf8_lossy(&log.payload).into_owned())
    }

    /// The value of the gauge `name`, if it has one.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        let value = self.gauge.as_ref()?.metrics.get(name)?;
        Some(value.value)
    }
}

/// What the server's tasks share with its handle.
#[derive(Debug)]
struct Shared {
    received: Mutex<Received>,
    /// Counts up with every batch and every stream.
    changed: watch::Sender<u64>,
    reading: watch::Sender<bool>,
    fault: Mutex<Fault>,
}

#[derive(Debug, Default)]
struct Received {
    envelopes: VecDeque<Envelope>,
    largest_batch: usize,
    streams: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Received> {
        lock(&self.received)
    }

    fn stream_opened(&self) {
        self.lock().streams += 1;
        self.changed.send_modify(|count| *count += 1);
    }

    fn take(&self, batch: Vec<Envelope>) {
        let mut received = self.lock();
        received.largest_batch = received.largest_batch.max(batch.len());
        received.envelopes.extend(batch);
        let excess = received.envelopes.len().saturating_sub(MAX_ENVELOPES);
        received.envelopes.drain(..excess);
        drop(received);
        self.changed.send_modify(|count| *count += 1);
    }
}

/// A running, or stopped, agent. Dropping it closes the port and every connection.
#[derive(Debug)]
pub struct Agent {
    address: SocketAddr,
    tls: Mutex<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Agent {
    /// Starts on a free port of 127.0.0.1 with `identity`, accepting clients whose certificates
    /// `clients` signed.
    pub async fn start(identity: &Identity, clients: &Authority) -> Result<Self, StartError> {
        let tls = Mutex::new(Arc::new(tls_config_for("h2", identity, Some(clients))?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let shared = Shared {
            received: Mutex::default(),
            changed: watch::Sender::new(0),
            reading: watch::Sender::new(true),
            fault: Mutex::default(),
        };
        let agent = Self {
            address: listener.local_addr()?,
            tls,
            shared: Arc::new(shared),
            server: Mutex::default(),
        };
        agent.serve(listener);
        Ok(agent)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every envelope since the start or the last [`forget`](Self::forget), in order, as far as
    /// memory bounds allow.
    pub fn envelopes(&self) -> Vec<Envelope> {
        self.shared.lock().envelopes.iter().cloned().collect()
    }

    /// The size of the largest batch so far.
    pub fn largest_batch(&self) -> usize {
        self.shared.lock().largest_batch
    }

    /// How many streams were opened so far.
    pub fn streams(&self) -> usize {
        self.shared.lock().streams
    }

    /// Forgets all envelopes.
    pub fn forget(&self) {
        self.shared.lock().envelopes.clear();
    }

    /// Waits for an envelope that `is_it` knows, however long ago it came. `None` if it does not come.
    pub async fn wait_for(&self, is_it: impl Fn(&Envelope) -> bool) -> Option<Envelope> {
        self.wait_until(|received| received.envelopes.iter().find(|e| is_it(e)).cloned())
            .await
    }

    /// Waits until so many streams were opened. `None` if that does not happen.
    pub async fn wait_for_streams(&self, count: usize) -> Option<()> {
        self.wait_until(|received| (received.streams >= count).then_some(()))
            .await
    }

    async fn wait_until<T>(&self, mut find: impl FnMut(&Received) -> Option<T>) -> Option<T> {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            loop {
                changed.mark_unchanged();
                let found = find(&self.shared.lock());
                if found.is_some() {
                    return found;
                }
                // The sender lives as long as we do.
                changed.changed().await.ok()?;
            }
        };
        timeout(PATIENCE, wait).await.ok().flatten()
    }

    /// Reads no stream any more, or all of them again. Connections are accepted either way.
    pub fn set_reading(&self, reading: bool) {
        self.shared.reading.send_replace(reading);
    }

    /// Does this to every new connection and call from now on.
    pub fn set_fault(&self, fault: Fault) {
        *lock(&self.shared.fault) = fault;
    }

    /// Shows another certificate to those who connect after [`start_again`](Self::start_again).
    pub fn set_identity(&self, identity: &Identity, clients: &Authority) -> Result<(), CertError> {
        let config = Arc::new(tls_config_for("h2", identity, Some(clients))?);
        *lock(&self.tls) = config;
        Ok(())
    }

    /// Closes the port and every connection: an agent that died. What it has received stays.
    pub async fn stop(&self) {
        let server = lock(&self.server).take();
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
        let acceptor = TlsAcceptor::from(Arc::clone(&lock(&self.tls)));
        let shared = Arc::clone(&self.shared);
        let handle = move |stream| connection(stream, acceptor.clone(), Arc::clone(&shared));
        *lock(&self.server) = Some(tokio::spawn(accept(listener, handle)));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(server) = lock(&self.server).take() {
            server.abort();
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let fault = lock(&shared.fault).clone();
    if strikes_at_connect(&fault, &stream).await {
        return;
    }
    // A client without a good certificate has been told by a TLS alert; the double has no log.
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| respond(request, Arc::clone(&shared)));
    let connection = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .serve_connection(TokioIo::new(stream), service);
    // How a connection ends is for the client to judge.
    let _ = connection.await;
}

async fn respond(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Body>, Dropped> {
    let fault = lock(&shared.fault).clone();
    if let Some(answer) = misbehave(&fault, GRPC).await? {
        return Ok(answer.map(Body::new));
    }
    if request.uri().path() != BATCH_SENDER {
        return Ok(Status::unimplemented("unknown method").into_http());
    }
    let codec = ProstCodec::<BatchSenderResponse, EnvelopeBatch>::default();
    let response = Grpc::new(codec)
        .client_streaming(BatchSender(shared), request)
        .await;
    Ok(response)
}

/// The call: takes batches until the client has no more.
struct BatchSender(Arc<Shared>);

impl ClientStreamingService<EnvelopeBatch> for BatchSender {
    type Response = BatchSenderResponse;
    type Future =
        Pin<Box<dyn Future<Output = Result<tonic::Response<BatchSenderResponse>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Streaming<EnvelopeBatch>>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            shared.stream_opened();
            let mut batches = request.into_inner();
            let mut reading = shared.reading.subscribe();
            loop {
                if reading.wait_for(|reading| *reading).await.is_err() {
                    return pending().await;
                }
                tokio::select! {
                    biased;
                    _ = reading.wait_for(|reading| !*reading) => {}
                    message = batches.message() => match message? {
                        Some(message) => shared.take(message.batch),
                        None => return Ok(tonic::Response::new(BatchSenderResponse {})),
                    },
                }
            }
        })
    }
}
