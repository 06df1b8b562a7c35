//! `ssh-proxy sessions` and `ssh-proxy end ID`: the admin server asked from a shell.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use connector::os_text;
use goflag::{Flag, Kind, Parsed};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use ssh_proto::wire::printable;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::settings::UNIX;
use crate::config::File;
use crate::platform::tls::{self, DEFAULT_SESSION_CACHE, Identity, Policy};

/// How long the whole conversation may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of one answer: a thousand sessions have some hundred kilobytes.
const MOST_ANSWER: usize = 16 * 1024 * 1024;

/// Called wrongly.
const EXIT_USAGE: u8 = 2;

/// Where the server is.
macro_rules! ways {
    ($($more:expr),*) => {
        &[
            Flag {
                name: "config",
                kind: Kind::Text,
                default: "",
                usage: "The proxy's configuration file, whose admin_address is asked",
            },
            Flag {
                name: "admin",
                kind: Kind::Text,
                default: "",
                usage: "The address to ask, in place of that in the file: HOST:PORT or unix:/PATH",
            },
            Flag {
                name: "ca",
                kind: Kind::Text,
                default: "",
                usage: "CA certificates of the admin server, where it speaks TLS",
            },
            Flag {
                name: "cert",
                kind: Kind::Text,
                default: "",
                usage: "Certificate to show to the admin server",
            },
            Flag {
                name: "key",
                kind: Kind::Text,
                default: "",
                usage: "Key of this certificate",
            },
            $($more),*
        ]
    };
}

/// Flags of `ssh-proxy sessions`.
pub(crate) const SESSIONS: &[Flag] = ways!(Flag {
    name: "json",
    kind: Kind::Bool,
    default: "false",
    usage: "Print JSON, one session a line",
});

/// Flags of `ssh-proxy end`, behind the session.
pub(crate) const END: &[Flag] = ways!(Flag {
    name: "message",
    kind: Kind::Text,
    default: "",
    usage: "What the user is told",
});

/// Why a command came to nothing.
enum Failure {
    /// It was called wrongly.
    Usage(String),
    /// It was not possible.
    Impossible(String),
}

/// `ssh-proxy sessions`: prints who is in.
pub(crate) fn sessions(words: Vec<OsString>) -> ExitCode {
    const NAME: &str = "ssh-proxy sessions";
    finish(
        NAME,
        SESSIONS,
        parse(SESSIONS, words).and_then(|flags| {
            let sessions = in_runtime(list(&Server::find(&flags)?))?;
            let text = match flags.is_true("json") {
                true => sessions
                    .iter()
                    .map(|session| format!("{session}\n"))
                    .collect(),
                false => table(&sessions),
            };
            print(&text);
            Ok(())
        }),
    )
}

/// `ssh-proxy end ID`: ends a session.
pub(crate) fn end(mut words: Vec<OsString>) -> ExitCode {
    const NAME: &str = "ssh-proxy end ID";
    let id = match words.first().and_then(|word| word.to_str()) {
        Some(id) if !id.starts_with('-') => id.to_owned(),
        _ => String::new(),
    };
    if !id.is_empty() {
        words.remove(0);
    }
    finish(
        NAME,
        END,
        parse(END, words).and_then(|flags| {
            if id.is_empty() {
                return Err(Failure::Usage(
                    "which session? `ssh-proxy sessions` lists them".to_owned(),
                ));
            }
            let body = json!({"message": flags.text("message")}).to_string();
            let path = format!("/sessions/{}", printable(id.as_bytes(), 64));
            let server = Server::find(&flags)?;
            in_runtime(server.ask(Method::DELETE, &path, body))?;
            print(&format!("ended {id}\n"));
            Ok(())
        }),
    )
}

fn parse(table: &'static [Flag], words: Vec<OsString>) -> Result<Parsed, Failure> {
    goflag::parse(table, words).map_err(|stop| match stop {
        goflag::Stop::Help => Failure::Usage(String::new()),
        goflag::Stop::Bad(text) => Failure::Usage(text),
    })
}

/// Says what went wrong, and how the command is called if it was not called so.
fn finish(name: &str, table: &'static [Flag], done: Result<(), Failure>) -> ExitCode {
    let (text, code) = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(text)) if text.is_empty() => {
            (goflag::usage(name, table), ExitCode::SUCCESS)
        }
        Err(Failure::Usage(text)) => {
            let usage = goflag::usage(name, table);
            (format!("{text}\n{usage}"), ExitCode::from(EXIT_USAGE))
        }
        Err(Failure::Impossible(text)) => (format!("ssh-proxy: {text}\n"), ExitCode::FAILURE),
    };
    // Nobody may listen there.
    let _ = io::stderr().write_all(text.as_bytes());
    code
}

fn print(text: &str) {
    // A pager may be gone.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn in_runtime<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Impossible(format!("no runtime: {error}")))?;
    let work = async { timeout(PATIENCE, work).await };
    runtime
        .block_on(work)
        .unwrap_or_else(|_| Err("the admin server does not answer in time".to_owned()))
        .map_err(Failure::Impossible)
}

/// The admin server, and how to reach it.
struct Server {
    address: String,
    tls: Option<TlsConnector>,
}

impl Server {
    fn find(flags: &Parsed) -> Result<Self, Failure> {
        let mut address = flags.text("admin").to_owned();
        if address.is_empty() {
            let config = flags.text("config");
            if config.is_empty() {
                return Err(Failure::Usage(
                    "either -config or -admin is needed".to_owned(),
                ));
            }
            let problem = |text: String| Failure::Impossible(format!("{config}: {text}"));
            let text = tls::read(config).map_err(Failure::Impossible)?;
            let file = File::parse(&text).map_err(|problems| problem(problems.join("; ")))?;
            address = file.admin_address;
            if address.is_empty() {
                return Err(problem("there is no admin_address".to_owned()));
            }
        }
        let tls = match flags.text("ca") {
            "" => None,
            ca => Some(connector(ca, flags).map_err(Failure::Impossible)?),
        };
        Ok(Self { address, tls })
    }

    /// The answer to a request, if it is a good one.
    async fn ask(&self, method: Method, path: &str, body: String) -> Result<Bytes, String> {
        if let Some(path_of_socket) = self.address.strip_prefix(UNIX) {
            let stream = UnixStream::connect(path_of_socket).await;
            let stream = stream.map_err(|error| self.unreachable(&error))?;
            return converse(stream, "localhost", method, path, body).await;
        }
        let stream = TcpStream::connect(&self.address).await;
        let stream = stream.map_err(|error| self.unreachable(&error))?;
        let Some(tls) = &self.tls else {
            return converse(stream, &self.address, method, path, body).await;
        };
        let (host, _) = self.address.rsplit_once(':').unwrap_or_default();
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let stream = tls.connect(name, stream).await;
        let stream = stream.map_err(|error| self.unreachable(&error))?;
        converse(stream, &self.address, method, path, body).await
    }

    fn unreachable(&self, error: &io::Error) -> String {
        format!(
            "the admin server at {} cannot be reached: {}",
            self.address,
            os_text(error)
        )
    }
}

fn connector(ca: &str, flags: &Parsed) -> Result<TlsConnector, String> {
    let roots = tls::roots_from_file(ca)?;
    let identity = Identity::from_files(flags.text("cert"), flags.text("key"))?;
    let policy = Policy::Internal;
    let config = tls::client_config(policy, roots, Some(identity), DEFAULT_SESSION_CACHE)?;
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn converse<S>(
    stream: S,
    host: &str,
    method: Method,
    path: &str,
    body: String,
) -> Result<Bytes, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lost = |error: hyper::Error| format!("the admin server has gone away: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // Ends with the runtime.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(lost)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_ANSWER)
        .collect()
        .await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    match status {
        StatusCode::OK | StatusCode::NO_CONTENT => Ok(body),
        status => {
            let text = printable(body.trim_ascii(), 200);
            Err(format!(
                "the admin server says: {text} (status {})",
                status.as_u16()
            ))
        }
    }
}

/// All sessions, in as many answers as it takes.
async fn list(server: &Server) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    let mut path = "/sessions".to_owned();
    loop {
        let answer = server.ask(Method::GET, &path, String::new()).await?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|_| "the admin server does not answer as it should".to_owned())?;
        let sessions = answer.get("sessions").and_then(Value::as_array);
        all.extend(sessions.into_iter().flatten().cloned());
        match answer.get("next").and_then(Value::as_str) {
            Some(next) => path = format!("/sessions?after={next}"),
            None => return Ok(all),
        }
    }
}

/// The sessions in columns, as wide as what is in them.
fn table(sessions: &[Value]) -> String {
    let mut rows = vec![
        [
            "SESSION", "USER", "APP", "INSTANCE", "FROM", "SECONDS", "UP", "DOWN", "OPEN",
        ]
        .map(str::to_owned),
    ];
    rows.extend(sessions.iter().map(row));
    let mut widths = [0; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One line of the table; whatever users sent has become harmless for a terminal.
fn row(session: &Value) -> [String; 9] {
    let cell = |key: &str| match session.get(key) {
        Some(Value::String(text)) => printable(text.as_bytes(), 120),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let or = |first: &str, second: &str| match cell(first) {
        empty if empty.is_empty() => cell(second),
        text => text,
    };
    let channels = session.get("channels").and_then(Value::as_object);
    let open: Vec<String> = channels
        .into_iter()
        .flatten()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    [
        cell("session_id"),
        or("user_name", "user"),
        or("app_name", "process_guid"),
        cell("index"),
        cell("source"),
        cell("seconds"),
        cell("bytes_up"),
        cell("bytes_down"),
        open.join(", "),
    ]
}
