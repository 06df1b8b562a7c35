//! One call to a service that answers in JSON: bounded in size and time, and never made twice.
//!
//! A code of UAA is used up by the first request that shows it, and Cloud Controller records every
//! question. So a call is tried again only where nothing was sent: the connection was refused, or
//! the pool's was dead before the request was written (see [`super::http::client`]).

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes};
use hyper::header::{HeaderValue, InvalidHeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};
use zeroize::Zeroizing;

use super::http::Client;
use super::with_causes;

/// Most bytes of an answer that are read: tokens have some kilobytes, other answers less.
const MAX_BODY: usize = 1024 * 1024;

/// What is set aside for an answer. Tokens fit, so that growing leaves no copy of one behind.
const USUAL_BODY: usize = 32 * 1024;

/// Attempts to reach a service that refuses connections, as towards BBS: services restart.
const ATTEMPTS: u32 = 3;

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Idle connections that are kept to a service, for bursts of logins.
pub(super) const MAX_IDLE: usize = 16;

/// Set by a router in between that could not reach the service.
const ROUTER_ERROR: &str = "X-Cf-Routererror";

/// What a service answered.
pub(crate) struct Answer {
    /// The status, never a redirect.
    pub(super) status: StatusCode,
    /// The body, wiped when dropped. It can hold tokens, and echo codes: not for logs.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum CallError {
    /// The request cannot be written.
    #[error("bad request: {0}")]
    Request(String),
    /// The service was not reached, or went away while answering.
    #[error("{0}")]
    Unavailable(String),
    /// A router in between did not reach the service.
    #[error("a router answered in its place")]
    Router,
    /// The service wants to be asked elsewhere. Credentials do not go where nobody configured.
    #[error("redirects, which are not followed (status {0})")]
    Redirect(u16),
    /// The answer is larger than any we expect.
    #[error("response of more than {MAX_BODY} bytes")]
    TooLarge,
    /// The call took longer than it may.
    #[error("timed out")]
    Timeout,
}

/// When a call that begins now has to be done.
pub(super) fn deadline(limit: Option<Duration>) -> Option<Instant> {
    limit.map(|limit| Instant::now() + limit)
}

/// What `future` comes to if that is before `deadline`.
pub(super) async fn until<T>(
    deadline: Option<Instant>,
    future: impl Future<Output = T>,
) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}

/// A header that shows in no debug output, made of a secret that is wiped afterwards.
pub(super) fn sensitive(text: Zeroizing<Vec<u8>>) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Does `request`, whose answer must be there by `deadline`.
pub(super) async fn call(
    client: &Client,
    request: Request<Full<Bytes>>,
    deadline: Option<Instant>,
) -> Result<Answer, CallError> {
    until(deadline, answer(client, request))
        .await
        .unwrap_or(Err(CallError::Timeout))
}

async fn answer(client: &Client, request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
    let mut attempt = 1;
    let response = loop {
        match client.request(request.clone()).await {
            Ok(response) => break response,
            Err(error) if attempt < ATTEMPTS && was_refused(&error) => {}
            Err(error) => return Err(CallError::Unavailable(with_causes(&error))),
        }
        attempt += 1;
        sleep(PAUSE).await;
    };
    accepted(response).await
}

/// What a response is as an answer: the service's own, and no longer than it may be.
pub(crate) async fn accepted<B>(response: Response<B>) -> Result<Answer, CallError>
where
    B: Body<Data = Bytes, Error: Error + 'static> + Unpin,
{
    let (head, body) = response.into_parts();
    if head.headers.contains_key(ROUTER_ERROR) {
        return Err(CallError::Router);
    }
    if head.status.is_redirection() {
        return Err(CallError::Redirect(head.status.as_u16()));
    }
    Ok(Answer {
        status: head.status,
        body: read(body, MAX_BODY).await?,
    })
}

/// True if no connection came about.
fn was_refused(error: &legacy::Error) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<io::Error>());
    error.is_connect()
        && cause.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

pub(super) async fn read<B>(body: B, most: usize) -> Result<Zeroizing<Vec<u8>>, CallError>
where
    B: Body<Data = Bytes, Error: Error + 'static>,
{
    let mut body = pin!(body);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > most {
        return Err(CallError::TooLarge);
    }
    let mut content = Zeroizing::new(Vec::with_capacity(announced.max(USUAL_BODY)));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CallError::Unavailable(with_causes(&error)))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if data.len() > most - content.len() {
            return Err(CallError::TooLarge);
        }
        content.extend_from_slice(data);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use tokio::net::TcpSocket;

    use super::*;
    use crate::platform::testing::{Reply, Server, client};

    /// Bounds tests that would hang; never reached.
    const PLENTY: Duration = Duration::from_secs(60);

    fn get(server: &Server) -> Request<Full<Bytes>> {
        Request::get(format!("{}/path", server.url))
            .body(Full::default())
            .unwrap()
    }

    async fn error(reply: Reply) -> CallError {
        let server = Server::start([reply]).await;
        let answer = call(&client(), get(&server), deadline(Some(PLENTY))).await;
        assert_eq!(server.seen().len(), 1, "asked once");
        answer.err().unwrap()
    }

    #[tokio::test]
    async fn answers_are_passed_on_with_their_status() {
        let big = "x".repeat(MAX_BODY);
        for (status, body) in [(200, "{}"), (404, ""), (500, "oops"), (200, big.as_str())] {
            let server = Server::start([Reply::Json(status, body.to_owned())]).await;
            let answer = call(&client(), get(&server), None).await.ok().unwrap();
            assert_eq!(answer.status.as_u16(), status);
            assert_eq!(answer.body.as_slice(), body.as_bytes());
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_not_asked_for_again() {
        assert!(matches!(
            error(Reply::HangUp).await,
            CallError::Unavailable(_)
        ));
        assert!(matches!(
            error(Reply::Raw(b"SSH-2.0-no\r\n\r\n".to_vec())).await,
            CallError::Unavailable(_)
        ));
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec();
        assert!(matches!(
            error(Reply::Raw(half)).await,
            CallError::Unavailable(_)
        ));
        assert_eq!(error(Reply::RouterError).await, CallError::Router);
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let elsewhere = Server::start([Reply::Json(200, "{}".to_owned())]).await;
        for status in [301, 302, 303, 307, 308] {
            let reply = Reply::Redirect(status, elsewhere.url.clone());
            assert_eq!(error(reply).await, CallError::Redirect(status));
        }
        assert!(elsewhere.seen().is_empty());
    }

    #[tokio::test]
    async fn answers_that_are_too_large_are_given_up() {
        let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n{".to_vec();
        assert_eq!(error(Reply::Raw(announced)).await, CallError::TooLarge);
        assert_eq!(error(Reply::Endless).await, CallError::TooLarge);
    }

    #[tokio::test]
    async fn a_call_ends_with_its_time_wherever_it_is() {
        let silent = Reply::Hang;
        let half_head = Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-".to_vec());
        let half_body = Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec());
        for reply in [silent, half_head, half_body] {
            let server = Server::start([reply]).await;
            let limit = deadline(Some(Duration::from_millis(200)));
            let answer = call(&client(), get(&server), limit).await;
            assert_eq!(answer.err().unwrap(), CallError::Timeout);
        }
    }

    #[tokio::test]
    async fn a_connection_that_died_in_the_pool_is_replaced_without_asking_twice() {
        let ok = || Reply::Json(200, "{}".to_owned());
        let server = Server::start([ok(), ok()]).await;
        let client = client();
        call(&client, get(&server), None).await.ok().unwrap();
        server.close_idle().await;
        call(&client, get(&server), None).await.ok().unwrap();
        assert_eq!(server.seen().len(), 2);
        assert_eq!(server.connections(), 2);
    }

    #[tokio::test]
    async fn connections_are_used_again() {
        let ok = || Reply::Json(200, "{}".to_owned());
        let server = Server::start([ok(), ok()]).await;
        let client = client();
        call(&client, get(&server), None).await.ok().unwrap();
        call(&client, get(&server), None).await.ok().unwrap();
        assert_eq!((server.seen().len(), server.connections()), (2, 1));
    }

    #[tokio::test]
    async fn a_request_that_was_read_and_not_answered_is_not_repeated() {
        let ok = || Reply::Json(200, "{}".to_owned());
        let server = Server::start([ok(), Reply::HangUp, ok()]).await;
        let client = client();
        call(&client, get(&server), None).await.ok().unwrap();
        let answer = call(&client, get(&server), None).await;
        assert!(matches!(answer.err().unwrap(), CallError::Unavailable(_)));
        assert_eq!((server.seen().len(), server.connections()), (2, 1));
    }

    #[tokio::test]
    async fn a_service_that_restarts_is_waited_for() {
        let socket = TcpSocket::new_v4().unwrap();
        // Bound, so that nobody else gets the port, but not listening: refused.
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let request = Request::get(&url).body(Full::default()).unwrap();
        let client = client();
        let mut answer = pin!(call(&client, request, deadline(Some(PLENTY))));
        poll_fn(|context| {
            assert!(answer.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        let listener = socket.listen(8).unwrap();
        let server = Server::on(listener, [Reply::Json(200, "{}".to_owned())]);
        answer.await.ok().unwrap();
        assert_eq!(server.seen().len(), 1);
    }

    #[tokio::test]
    async fn a_service_that_stays_away_is_given_up() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}/", socket.local_addr().unwrap());
        let request = Request::get(&url).body(Full::default()).unwrap();
        let answer = call(&client(), request, deadline(Some(PLENTY))).await;
        let error = answer.err().unwrap().to_string();
        assert!(error.contains("connection refused"), "{error}");
    }
}
