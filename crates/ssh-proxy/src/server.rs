//! Small HTTP servers of our own, for whoever watches over the proxy: bounded in connections, in
//! time and in what they read.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// Connections at a time. Watchers come one by one; more wait in the kernel's queue, so that whoever
/// holds some does not keep a balancer's question out for long.
pub(crate) const MAX_CONNECTIONS: usize = 256;

/// How long the head of a request may take to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take, with its one request and the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);

/// Bytes of a request's head that are read.
const MAX_HEAD: usize = 16 * 1024;

/// Answers every request on `listener` with `answer`; ends only by being dropped.
pub(crate) async fn serve<F, A>(listener: TcpListener, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    ssh_tokio::serve::serve(listener, MAX_CONNECTIONS, pending(), |stream, _, _| {
        converse(stream, answer.clone())
    })
    .await;
}

/// Answers the one request of a connection.
pub(crate) async fn converse<S, F, A>(stream: S, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        // As Go writes them: some scripts that watch look for nothing else.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever breaks off has seen enough, and so has whoever takes that long.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, conversation).await;
}

/// The status for a method that a path does not know, and those that it does.
pub(crate) fn wrong_method(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

/// A status without content.
pub(crate) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// A status with a line of text, as Go's `http.Error` writes it.
pub(crate) fn error(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What Go's router answers to paths that there are not.
pub(crate) fn not_found() -> Response<Full<Bytes>> {
    error(StatusCode::NOT_FOUND, "404 page not found\n")
}
