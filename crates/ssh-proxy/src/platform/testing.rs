//! What tests of this module share: a small HTTP server that answers, or misbehaves, as it is told,
//! and log lines to look into.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use connector::{Files, Resolver};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

use super::http::{self, Client};
use super::reread::{Recipe, Reread};
use super::tls::Policy;

/// What the server does with a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A status and a body.
    Json(u16, String),
    /// A status and a place to go to.
    Redirect(u16, String),
    /// An answer of a router that did not reach the service.
    RouterError,
    /// A body that does not end.
    Endless,
    /// These bytes, then the end.
    Raw(Vec<u8>),
    /// These bytes, then nothing for ever.
    Stall(Vec<u8>),
    /// Nothing for ever.
    Hang,
    /// The end of the connection.
    HangUp,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// The first line.
    pub(crate) line: String,
    /// Names in lower case, and values.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

impl Seen {
    /// The value of a header that is there once.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found: Vec<&(String, String)> =
            self.headers.iter().filter(|(key, _)| key == name).collect();
        assert_eq!(found.len(), 1, "{name} in {:?}", self.headers);
        &found[0].1
    }
}

#[derive(Clone)]
struct State {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// How many requests came.
    count: watch::Sender<usize>,
    /// Connections accepted so far, and those that are open.
    connections: watch::Sender<(usize, usize)>,
    closing: watch::Sender<()>,
}

/// A server on a port of its own; it ends with the runtime of its test.
pub(crate) struct Server {
    /// `http://` or `https://` with its address.
    pub(crate) url: String,
    state: State,
}

impl Server {
    /// Answers the first requests with `replies`, and hangs then.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), replies)
    }

    /// As [`Server::start`], with TLS.
    pub(crate) async fn tls(tls: TlsAcceptor, replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::new(listener, Some(tls), replies)
    }

    /// As [`Server::start`], on this listener.
    pub(crate) fn on(listener: TcpListener, replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::new(listener, None, replies)
    }

    fn new(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        replies: impl IntoIterator<Item = Reply>,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let state = State {
            replies: Arc::new(Mutex::new(replies.into_iter().collect())),
            seen: Arc::default(),
            count: watch::Sender::new(0),
            connections: watch::Sender::new((0, 0)),
            closing: watch::Sender::new(()),
        };
        tokio::spawn(accept(listener, tls, state.clone()));
        Self { url, state }
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Waits for so many requests.
    pub(crate) async fn wait_for(&self, requests: usize) {
        let mut count = self.state.count.subscribe();
        count.wait_for(|count| *count >= requests).await.unwrap();
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.borrow().0
    }

    /// Ends idle connections, and waits until their clients have ended them, too.
    pub(crate) async fn close_idle(&self) {
        self.state.closing.send_replace(());
        let mut connections = self.state.connections.subscribe();
        connections.wait_for(|(_, open)| *open == 0).await.unwrap();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: State) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, state) = (tls.clone(), state.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, &state).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, &state).await,
                    Err(_) => return,
                },
            }
            state.connections.send_modify(|(_, open)| *open -= 1);
        });
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: &State) {
    state.connections.send_modify(|(all, open)| {
        *all += 1;
        *open += 1;
    });
    let mut closing = state.closing.subscribe();
    closing.mark_unchanged();
    loop {
        let request = tokio::select! {
            request = request(&mut stream) => request,
            _ = closing.changed() => {
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut [0]).await;
                return;
            }
        };
        let Some(request) = request else { return };
        state.seen.lock().unwrap().push(request);
        state.count.send_modify(|count| *count += 1);
        let reply = state.replies.lock().unwrap().pop_front();
        if !answer(&mut stream, reply.unwrap_or(Reply::Hang)).await {
            return;
        }
    }
}

/// Reads a request with a body of announced length.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().lines();
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen {
        line,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}

/// Gives a reply; true if the connection goes on.
async fn answer(stream: &mut (impl AsyncWrite + Unpin), reply: Reply) -> bool {
    let with = |status: u16, header: String, body: &str| {
        format!(
            "HTTP/1.1 {status} Text\r\n{header}content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let (bytes, goes_on) = match reply {
        Reply::Json(status, body) => (
            with(
                status,
                "content-type: application/json\r\n".to_owned(),
                &body,
            ),
            true,
        ),
        Reply::Redirect(status, to) => (with(status, format!("location: {to}\r\n"), ""), true),
        Reply::RouterError => {
            let header = "x-cf-routererror: endpoint_failure\r\n".to_owned();
            (with(502, header, "{}"), true)
        }
        Reply::Endless => {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let mut written = stream.write_all(head).await;
            while written.is_ok() {
                written = stream.write_all(b"4\r\n    \r\n").await;
            }
            (Vec::new(), false)
        }
        Reply::Raw(bytes) => (bytes, false),
        Reply::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending().await
        }
        Reply::Hang => std::future::pending().await,
        Reply::HangUp => (Vec::new(), false),
    };
    let written = stream.write_all(&bytes).await;
    written.is_ok() && stream.flush().await.is_ok() && goes_on
}

/// A resolver that knows no names.
pub(crate) fn resolver() -> Arc<Resolver> {
    Arc::new(Resolver::new(Files {
        hosts: "/does/not/exist".into(),
        resolv_conf: "/does/not/exist".into(),
    }))
}

/// TLS that trusts nobody, or everybody.
pub(crate) fn tls(verify: bool) -> Arc<Reread> {
    let recipe = Recipe {
        policy: Policy::General,
        roots: Vec::new(),
        identity: None,
        sessions: 1,
        verify,
    };
    Arc::new(Reread::new(recipe).unwrap())
}

/// A client as those of the services.
pub(crate) fn client() -> Client {
    http::client(resolver(), tls(true), 2)
}

/// The lines of a log.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Captures what this thread logs, at every level, as long as the guard lives.
    pub(crate) fn capture() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let mut config = lager::Config::new("ssh-proxy");
        config.level = lager::Level::Debug;
        config.crates = &["ssh_proxy"];
        let (layer, _) = lager::layer(config, lines.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        (lines, tracing::subscriber::set_default(subscriber))
    }

    /// All that was logged.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines so far.
    pub(crate) fn told(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
