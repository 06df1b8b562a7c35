//! HTTP/1.1 to services of the platform: a pool of connections over our resolver and TLS.
//!
//! No proxies of the environment, no redirects, no compression: none of these services needs them.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use connector::Resolver;
use http_body_util::Full;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::reread::Reread;

/// Bound of resolving a name and connecting to one of its addresses (the reference's dialer).
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Bound of a TLS handshake, so that a connection that nobody waits for any more ends, too.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept (the reference's transport).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Idle connections kept for a host unless told otherwise (Go: `DefaultMaxIdleConnsPerHost`).
pub(crate) const DEFAULT_MAX_IDLE: usize = 2;

/// Bytes of a response's head; services answer with a handful of headers.
const MAX_HEAD: usize = 64 * 1024;

/// A client with its pool.
pub(crate) type Client = hyper_util::client::legacy::Client<Connector, Full<Bytes>>;

/// A client that speaks TLS as `tls` says (or none, for `http:` URLs) and keeps `max_idle` idle
/// connections to a host.
///
/// A request for which a connection of the pool is found to be dead is sent on another one, but only
/// if nothing of it was written; otherwise it fails.
pub(crate) fn client(resolver: Arc<Resolver>, tls: Arc<Reread>, max_idle: usize) -> Client {
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(max_idle)
        .http1_max_buf_size(MAX_HEAD)
        .retry_canceled_requests(true)
        .build(Connector { resolver, tls })
}

/// Makes connections for the pool.
#[derive(Clone)]
pub(crate) struct Connector {
    resolver: Arc<Resolver>,
    tls: Arc<Reread>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> io::Result<Stream> {
        let host = uri.host().ok_or_else(|| bad_url("no host"))?;
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tcp = self.resolver.connect(host, port, DIAL_TIMEOUT).await?;
        tcp.set_nodelay(true)?;
        if !secure {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        }
        let name = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(name).map_err(|_| bad_url("bad host name"))?;
        let tls = TlsConnector::from(self.tls.config());
        let tls = timeout(HANDSHAKE_TIMEOUT, tls.connect(name, tcp))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake timeout"))??;
        Ok(Stream::Tls(Box::new(TokioIo::new(tls))))
    }
}

fn bad_url(problem: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, problem)
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection with or without TLS.
pub(crate) enum Stream {
    /// `http:`
    Plain(TokioIo<TcpStream>),
    /// `https:`
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

/// Calls a poll function on whichever stream it is.
macro_rules! forward {
    ($self:ident, $method:path, $($arg:expr),*) => {
        match $self.get_mut() {
            Self::Plain(stream) => $method(Pin::new(stream), $($arg),*),
            Self::Tls(stream) => $method(Pin::new(stream.as_mut()), $($arg),*),
        }
    };
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, Read::poll_read, context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        forward!(self, Write::poll_write, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, Write::poll_flush, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, Write::poll_shutdown, context)
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
