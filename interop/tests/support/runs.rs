//! A client of our own that runs many commands at a time on a connection and checks each message of
//! each run: first the reply to `exec`, then all output, then how it ended, EOF, and CLOSE.
//!
//! It drives the connection itself, since [`ssh_tokio::session`] keeps data from its owner.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::mem;
use std::sync::Arc;

use devcell::Cell;
use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::Credential;
use ssh_proto::connection::request::{Exec, ExitSignal, ExitStatus, SESSION};
use ssh_proto::connection::{ChannelId, Connection, Event, Limits, Stream};
use ssh_proto::key::PublicKey;
use ssh_proto::secret::Secret;
use ssh_proto::transport::Config;
use ssh_tokio::wire::now;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A command and all that must come of it.
#[derive(Debug)]
pub struct Run {
    /// The command.
    pub command: String,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How it ends.
    pub end: End,
}

/// How a command ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Status(u32),
    /// By a signal.
    Signal(String),
}

impl Run {
    /// One of several kinds of command, unlike all others: with little output, with none, with more
    /// than a packet on either stream, and one that kills itself.
    pub fn number(number: u32) -> Self {
        let status = number % 256;
        let digits = number.to_string();
        let long = |length: usize| "0".repeat(length - digits.len()) + &digits;
        let (command, stdout, stderr, end) = match number % 5 {
            0 => (
                format!("echo out {number}; echo err {number} >&2; exit {status}"),
                format!("out {number}\n"),
                format!("err {number}\n"),
                End::Status(status),
            ),
            1 => (
                format!("exit {status}"),
                String::new(),
                String::new(),
                End::Status(status),
            ),
            2 => (
                format!("printf %0100000d {number}; exit {status}"),
                long(100_000),
                String::new(),
                End::Status(status),
            ),
            3 => (
                format!("printf %070000d {number} >&2; echo {number}"),
                format!("{number}\n"),
                long(70_000),
                End::Status(0),
            ),
            _ => (
                format!("echo {number}; kill -USR1 $$"),
                format!("{number}\n"),
                String::new(),
                End::Signal("USR1".to_owned()),
            ),
        };
        Self {
            command,
            stdout,
            stderr,
            end,
        }
    }
}

/// A connection on which commands run.
pub struct Client {
    stream: TcpStream,
    connection: Connection,
}

impl Client {
    /// Logs in.
    ///
    /// # Panics
    /// That fails.
    pub async fn login(cell: &Cell, index: usize) -> Self {
        let stream = TcpStream::connect(cell.proxy_address()).await;
        let stream = stream.expect("the proxy");
        ssh_tokio::serve::tune(&stream);
        let config = Config::client("SSH-2.0-runs", Algorithms::default());
        let login = cell.logins()[index].clone();
        let password = Credential::Password(Secret::new(login.password));
        let right = |key: &PublicKey| {
            let right = key.blob() == cell.host_key().blob();
            right.then_some(()).ok_or_else(|| "another host".to_owned())
        };
        let config = Arc::new(config);
        let wire = ssh_tokio::connect(stream, config, login.user, vec![password], right).await;
        let wire = wire.unwrap_or_else(|error| panic!("no login: {error}"));
        let (stream, transport) = wire.into_wire().into_parts();
        Self {
            stream,
            connection: Connection::new(transport, Limits::default()),
        }
    }

    /// Runs all of `runs`, so many at a time, and checks each; gives how many there were.
    ///
    /// # Panics
    /// A run has lost something, or its messages came in a wrong order.
    pub async fn check(&mut self, runs: impl IntoIterator<Item = Run>, at_a_time: usize) -> usize {
        let mut runs = runs.into_iter();
        let mut open: HashMap<ChannelId, Progress> = HashMap::new();
        let mut done = 0;
        loop {
            while open.len() < at_a_time
                && let Some(run) = runs.next()
            {
                let (window, packet) = (Limits::WINDOW, Limits::MAX_PACKET);
                let channel = self.connection.open(SESSION, window, packet, b"");
                open.insert(channel.expect("a channel"), Progress::new(run));
            }
            if open.is_empty() {
                return done;
            }
            let event = self.next().await;
            let channel = match &event {
                Event::OpenConfirmed { channel, .. }
                | Event::Data { channel, .. }
                | Event::Eof { channel }
                | Event::PeerClosed { channel }
                | Event::Request { channel, .. }
                | Event::Reply { channel, .. } => *channel,
                Event::WindowOpened { .. } => continue,
                other => panic!("unexpected: {other:?}"),
            };
            let progress = open.get_mut(&channel).expect("a channel of a run");
            progress.handle(&event, channel, &mut self.connection);
            if matches!(event, Event::PeerClosed { .. }) {
                self.connection.close(channel);
                open.remove(&channel);
                done += 1;
            }
        }
    }

    /// Says good-bye.
    pub async fn close(self) {
        let wire = ssh_tokio::Wire::new(self.stream, self.connection.into_transport());
        let error = Error::Closed {
            reason: ssh_proto::error::Reason::ByApplication,
            text: "done".into(),
        };
        wire.close(error).await;
    }

    /// The next event, with all output on its way.
    async fn next(&mut self) -> Event {
        loop {
            let polled = self.connection.poll(now());
            match polled.unwrap_or_else(|error| panic!("the connection ended: {error}")) {
                Event::NeedInput | Event::Transport(_) => self.exchange().await,
                event => return event,
            }
        }
    }

    /// Reads or writes once, whatever is possible first.
    async fn exchange(&mut self) {
        let transport = self.connection.transport_mut();
        let mut interest = Interest::READABLE;
        if !transport.output().is_empty() {
            interest |= Interest::WRITABLE;
        }
        let ready = self.stream.ready(interest).await.expect("a stream");
        if ready.is_writable() && !transport.output().is_empty() {
            match self.stream.try_write(transport.output()) {
                Ok(count) => transport.sent(count),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        if ready.is_readable() {
            match self.stream.try_read(transport.input()) {
                Ok(0) => panic!("closed by the proxy"),
                Ok(count) => transport.filled(count),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
    }
}

/// How far a run has come; each state can only follow the one before.
///
/// ```text
///  Opening ──► Asked ──reply──► Runs ──exit-status, exit-signal──► Ended ──EOF──► NoMore ──CLOSE──► Over
/// ```
#[derive(Debug, PartialEq, Eq)]
enum State {
    Opening,
    Asked,
    Runs,
    Ended,
    NoMore,
    Over,
}

struct Progress {
    run: Run,
    state: State,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Progress {
    fn new(run: Run) -> Self {
        Self {
            run,
            state: State::Opening,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    fn handle(&mut self, event: &Event, channel: ChannelId, connection: &mut Connection) {
        let command = &self.run.command;
        let state = mem::replace(&mut self.state, State::Over);
        self.state = match (state, event) {
            (State::Opening, Event::OpenConfirmed { .. }) => {
                let exec = Exec {
                    command: command.as_bytes(),
                };
                let asked = connection.request(channel, Exec::NAME, true, &exec.encode());
                asked.expect("room for a request");
                State::Asked
            }
            (State::Asked, Event::Reply { success: true, .. }) => State::Runs,
            (State::Runs, Event::Data { stream, .. }) => {
                let data = connection.data();
                match *stream {
                    Stream::Data => self.stdout.extend_from_slice(data),
                    Stream::STDERR => self.stderr.extend_from_slice(data),
                    other => panic!("{command}: data of {other:?}"),
                }
                let count = data.len();
                connection.consumed(channel, count);
                State::Runs
            }
            (
                State::Runs,
                Event::Request {
                    request, payload, ..
                },
            ) => {
                assert_eq!(end(request, payload), self.run.end, "{command}");
                State::Ended
            }
            (State::Ended, Event::Eof { .. }) => State::NoMore,
            (State::NoMore, Event::PeerClosed { .. }) => {
                // Compared first, and not printed: it may be long.
                let complete = self.stdout == self.run.stdout.as_bytes();
                assert!(complete, "{command}: {} bytes", self.stdout.len());
                let complete = self.stderr == self.run.stderr.as_bytes();
                assert!(complete, "{command}: {} bytes of errors", self.stderr.len());
                State::Over
            }
            (state, event) => panic!("{command}: {event:?} in {state:?}"),
        };
    }
}

fn end(request: &str, payload: &[u8]) -> End {
    match request {
        ExitStatus::NAME => End::Status(ExitStatus::parse(payload).expect("a status").status),
        ExitSignal::NAME => {
            let name = ExitSignal::parse(payload).expect("a signal").name;
            End::Signal(String::from_utf8_lossy(name).into_owned())
        }
        other => panic!("unexpected request {other}"),
    }
}
