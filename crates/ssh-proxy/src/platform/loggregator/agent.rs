//! One connection to the agent, from dialling it to the end of its stream: mutual TLS, HTTP/2, and
//! the call `loggregator.v2.Ingress/BatchSender`, which takes batches until we have no more.
//!
//! The agent answers that call only at its end, and there is no receipt for a batch. So what was
//! handed to a stream that breaks is lost, and nothing is ever sent twice.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use connector::os_text;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::envelope::{BatchSenderResponse, EnvelopeBatch};
use super::queue::Queue;
use crate::platform::tls::{self, DEFAULT_SESSION_CACHE, Identity, Policy};
use crate::platform::with_causes;
use crate::settings::loggregator::LoggregatorSettings;

/// The name in the agent's certificate, wherever it runs.
const SERVER_NAME: &str = "metron";

/// The call that takes batches.
const BATCH_SENDER: &str = "/loggregator.v2.Ingress/BatchSender";

/// How long the agent may take to accept us (the reference's limit, for the same).
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// What is wrong with an agent that lets that time pass.
pub(super) const SILENT: &str = "the agent does not answer";

/// How long the agent may leave a batch where it is before a new connection is better than this one.
/// It is on the same machine: even one that collects garbage or logs to a full disk is faster.
const STUCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Batches between the queue and the stream: what waits should wait in the queue, which is counted.
const BATCHES_AHEAD: usize = 1;

/// Bytes that HTTP/2 may hold for the agent, for the same reason; what a window takes at once.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// A file that is of no use, by its key in the configuration.
#[derive(Debug)]
pub(crate) struct Unusable {
    pub(crate) key: &'static str,
    pub(crate) error: String,
}

/// Trust for the agent and who we are for it, from files that are read every time, since platforms
/// replace certificates while we run.
pub(crate) fn tls_config(settings: &LoggregatorSettings) -> Result<ClientConfig, Unusable> {
    let of = |key| move |error| Unusable { key, error };
    let roots =
        tls::roots_from_file(&settings.ca_path).map_err(of("loggregator.loggregator_ca_path"))?;
    let identity = Identity::from_files(&settings.cert_path, &settings.key_path)
        .map_err(of("loggregator.loggregator_cert_path"))?;
    let identity = Some(identity);
    let mut config = tls::client_config(Policy::Internal, roots, identity, DEFAULT_SESSION_CACHE)
        .map_err(of("loggregator.loggregator_key_path"))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// An agent that has accepted us.
pub(super) struct Agent {
    sender: SendRequest<Body>,
    connection: Pin<Box<AgentConnection>>,
}

type AgentConnection = Connection<TokioIo<Heard<TlsStream<TcpStream>>>, Body, TokioExecutor>;

impl Agent {
    /// Connects within [`DIAL_TIMEOUT`].
    pub(super) async fn dial(settings: &LoggregatorSettings) -> Result<Self, String> {
        timeout(DIAL_TIMEOUT, Self::connect(settings))
            .await
            .unwrap_or_else(|_| Err(SILENT.to_owned()))
    }

    async fn connect(settings: &LoggregatorSettings) -> Result<Self, String> {
        let config = tls_config(settings).map_err(|unusable| unusable.error)?;
        let address = (Ipv4Addr::LOCALHOST, settings.port);
        let stream = TcpStream::connect(address).await.map_err(|error| {
            let text = os_text(&error);
            format!("connect 127.0.0.1:{}: {text}", settings.port)
        })?;
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| format!("tls: {}", with_causes(&error)))?;
        let (stream, heard) = Heard::new(stream);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .max_send_buf_size(MAX_SEND_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("http: {}", with_causes(&error)))?;
        let mut connection = Box::pin(connection);
        // In TLS 1.3 a client is done before the server has seen its certificate. Whoever sends us
        // something likes it.
        let end = tokio::select! {
            end = &mut connection => end,
            result = heard => match result {
                Ok(()) => return Ok(Self { sender, connection }),
                Err(_) => Ok(()),
            },
        };
        // Whether its alert arrives before the end of the connection is a matter of luck.
        Err(format!("{} (does it accept our certificate?)", ended(end)))
    }

    /// Sends what `queue` has until that is closed and the agent has taken all of it.
    ///
    /// # Errors
    ///
    /// Why the agent is of no use any more.
    pub(super) async fn stream(
        self,
        queue: &Queue,
        settings: &LoggregatorSettings,
    ) -> Result<(), String> {
        let Self {
            sender,
            mut connection,
        } = self;
        let (batches, stream) = mpsc::channel(BATCHES_AHEAD);
        let feed = async move {
            loop {
                // First room, then the batch: while there is none, the queue keeps it.
                let room = timeout(STUCK_TIMEOUT, batches.reserve()).await;
                let room = room.map_err(|_| "the agent does not read".to_owned())?;
                let room = room.map_err(|_| "the stream has ended".to_owned())?;
                let batch = queue.batch(settings.batch_size, settings.batch_interval);
                match batch.await {
                    Some(batch) => room.send(EnvelopeBatch { batch }),
                    None => return Ok::<(), String>(()),
                }
            }
        };
        let mut call = pin!(batch_sender(sender, ReceiverStream::new(stream)));
        tokio::select! {
            result = &mut call => {
                let text = result.map_or_else(|status| refusal(&status), |()| "no reason".to_owned());
                return Err(format!("the agent ended the stream: {text}"));
            }
            end = &mut connection => return Err(ended(end)),
            fed = feed => fed?,
        }
        tokio::select! {
            // An answer of any kind means that the agent has read to the end.
            _ = call => Ok(()),
            end = connection => Err(ended(end)),
        }
    }
}

/// The whole call: its future completes when the agent answers.
async fn batch_sender(
    sender: SendRequest<Body>,
    batches: ReceiverStream<EnvelopeBatch>,
) -> Result<(), Status> {
    let origin = Uri::builder()
        .scheme("https")
        .authority(SERVER_NAME)
        .path_and_query("/")
        .build()
        .map_err(|error| Status::internal(error.to_string()))?;
    let codec = ProstCodec::<EnvelopeBatch, BatchSenderResponse>::default();
    let path = PathAndQuery::from_static(BATCH_SENDER);
    let request = tonic::Request::new(batches);
    Grpc::with_origin(Http2(sender), origin)
        .client_streaming(request, path, codec)
        .await?;
    Ok(())
}

/// How the connection ended.
fn ended(end: hyper::Result<()>) -> String {
    match end {
        Ok(()) => "the agent closed the connection".to_owned(),
        Err(error) => with_causes(&error),
    }
}

fn refusal(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// hyper's sender of requests as the service that tonic makes calls with.
struct Http2(SendRequest<Body>);

impl Service<Request<Body>> for Http2 {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A stream that tells when its peer has said something.
struct Heard<S> {
    stream: S,
    tell: Option<oneshot::Sender<()>>,
}

impl<S> Heard<S> {
    fn new(stream: S) -> (Self, oneshot::Receiver<()>) {
        let (tell, heard) = oneshot::channel();
        let tell = Some(tell);
        (Self { stream, tell }, heard)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before
            && let Some(tell) = self.tell.take()
        {
            // Who does not wait any more has given up on this agent.
            let _ = tell.send(());
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
