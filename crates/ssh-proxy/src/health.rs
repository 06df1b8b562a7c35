//! The health server, which a load balancer asks whether to send clients here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;

use crate::server;

/// Whether clients are welcome.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    draining: Arc<AtomicBool>,
}

impl Health {
    /// Answers 503 from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Serves on `listener`; ends only by being dropped.
    pub(crate) async fn serve(self, listener: TcpListener) {
        server::serve(listener, move |request| {
            let response = self.answer(&request);
            async move { response }
        })
        .await;
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match (request.uri().path(), request.method()) {
            ("/", &Method::GET) if self.draining.load(Ordering::Relaxed) => {
                server::empty(StatusCode::SERVICE_UNAVAILABLE)
            }
            ("/", &Method::GET) => server::empty(StatusCode::OK),
            ("/", _) => server::wrong_method("GET"),
            _ => server::not_found(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// The answer to a request, without the date.
    async fn ask(health: &Health, request: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(health.clone().serve(listener));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
            .split_inclusive("\r\n")
            .filter(|line| !line.starts_with("Date: "))
            .collect()
    }

    /// Whoever asks again and again on one connection would keep a place that others need.
    #[tokio::test]
    async fn a_connection_has_one_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(Health::default().serve(listener));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(&request.repeat(2)).await.unwrap();
        let mut answers = String::new();
        let read = stream.read_to_string(&mut answers).await;
        assert!(read.is_ok() || !answers.is_empty(), "{read:?}");
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 1, "{answers}");
        server.abort();
    }

    #[tokio::test]
    async fn only_get_of_the_root_is_answered() {
        let health = Health::default();
        let refused = concat!(
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain; charset=utf-8\r\n",
            "X-Content-Type-Options: nosniff\r\nAllow: GET\r\nConnection: close\r\n",
            "Content-Length: 19\r\n\r\n"
        );
        let cases = [
            (
                "GET /",
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
            ),
            ("POST /", format!("{refused}Method Not Allowed\n")),
            ("HEAD /", refused.to_owned()),
            (
                "GET /foo/bar",
                concat!(
                    "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n",
                    "X-Content-Type-Options: nosniff\r\nConnection: close\r\n",
                    "Content-Length: 19\r\n\r\n404 page not found\n"
                )
                .to_owned(),
            ),
        ];
        for (request, answer) in cases {
            assert_eq!(ask(&health, request).await, answer, "{request}");
        }
    }

    #[tokio::test]
    async fn clients_are_sent_elsewhere_while_draining() {
        let health = Health::default();
        health.drain();
        assert!(ask(&health, "GET /").await.starts_with("HTTP/1.1 503 "));
        assert!(ask(&health, "POST /").await.starts_with("HTTP/1.1 405 "));
        assert!(ask(&health, "GET /x").await.starts_with("HTTP/1.1 404 "));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(Health::default().serve(listener));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        server.abort();
    }
}
