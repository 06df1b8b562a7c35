//! The debug server: changes the log level of a running proxy. There are no profiles to serve.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpListener;

use crate::server;

/// Bytes of a body that can name a level; longer ones do not.
const MAX_BODY: usize = 16;

/// Serves on `listener`; ends only by being dropped.
pub(crate) async fn serve(listener: TcpListener, logs: lager::Handle) {
    server::serve(listener, move |request| answer(request, logs.clone())).await;
}

/// `/log-level` takes any method and says yes to everything, as the reference does.
async fn answer(request: Request<Incoming>, logs: lager::Handle) -> Response<Full<Bytes>> {
    if request.uri().path() != "/log-level" {
        return server::not_found();
    }
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let level = body.ok().and_then(|body| {
        let body = body.to_bytes();
        lager::Level::from_switch(std::str::from_utf8(&body).ok()?)
    });
    if let Some(level) = level {
        logs.set_level(level);
    }
    server::empty(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use lager::Level;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn the_log_level_can_be_changed() {
        let (_layer, logs) = lager::layer(lager::Config::new("x"), Vec::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, logs.clone()));
        for (path, body, status, level) in [
            ("/log-level", "debug", "200", Level::Debug),
            ("/log-level", "3", "200", Level::Fatal),
            ("/log-level", "nonsense", "200", Level::Fatal),
            (
                "/log-level",
                "INFO and much more than that",
                "200",
                Level::Fatal,
            ),
            ("/debug/pprof/", "debug", "404", Level::Fatal),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let length = body.len();
            let request = format!(
                "PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            assert_eq!(logs.level(), level);
        }
        server.abort();
    }
}
