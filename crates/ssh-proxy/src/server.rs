//! Small HTTP servers of our own, for whoever watches over the proxy: bounded in connections, in
//! time and in what they read.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// Connections at a time. Watchers come one by one; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;

/// How long a request may take to arrive, and how long a connection may idle between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request's head that are read.
const MAX_HEAD: usize = 16 * 1024;

/// How long to wait when no connection can be accepted, for want of descriptors, say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers every request on `listener` with `answer`; ends only by being dropped.
pub(crate) async fn serve<F, A>(listener: TcpListener, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        // Never closed.
        let Ok(permit) = connections.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answer = answer(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        // Those that are done are not kept; those that are not end with the server.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            // Whoever breaks off has seen enough.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(MAX_HEAD)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
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
