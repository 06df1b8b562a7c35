//! The daemon as an SSH server: who may log in, and what happens on each connection.
//!
//! One task for each connection owns its stream, its channels and their pipes; what a session may do
//! is in [`crate::session`].

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ssh_proto::Error;
use ssh_proto::auth::Methods;
use ssh_proto::connection::{ChannelId, Event as Message, Limits, request};
use ssh_proto::error::Reason;
use ssh_proto::key::PublicKey;
use ssh_proto::msg::OpenFailure;
use ssh_proto::transport::Config;
use ssh_proto::wire::printable;
use ssh_tokio::serve::{self, Stopping};
use ssh_tokio::session::{Event, Session};
use ssh_tokio::{Attempt, Authenticator, Denied, Socket, accept, login_deadline};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{Instrument, debug, error, info, info_span};

use crate::environment::{DaemonEnvironment, Environment};
use crate::process::ExitOutcome;
use crate::session::{SessionChannel, Task};

/// How long a client may take to log in, counted from accept.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections at one time, logged in or not: each may cost a few hundred kB under load, and the
/// container's memory is the app's.
const MOST_CONNECTIONS: usize = 512;

/// Sessions of one connection. An editor with its tasks and terminals needs about 20.
const MOST_SESSIONS: usize = 64;

/// Clients that use a terminal are asked for a sign of life this often, as the reference does.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// So many intervals without an answer, 5 minutes as in the reference, and the client is taken for
/// dead. A client that is merely suspended for a while should survive.
const MOST_UNANSWERED: u32 = 20;

/// Bytes of a name of a client's that go into the log. Real ones are a quarter of this.
const LONGEST_LOGGED: usize = 256;

/// What all connections share.
pub struct Server {
    /// How the transport is spoken.
    pub transport: Arc<Config>,
    /// The one key that opens the daemon.
    pub authorized_key: Option<PublicKey>,
    /// Whether everyone is let in.
    pub allow_unauthenticated_clients: bool,
    /// The daemon's own environment, for sessions to inherit.
    pub environment: Arc<DaemonEnvironment>,
    /// Whether sessions inherit it.
    pub inherit_daemon_env: bool,
}

impl Server {
    /// Serves connections from `listener` until `stop` completes, then ends those that are open.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()>) {
        let server = Arc::new(self);
        let stop = async {
            stop.await;
            info!("stopping-server");
        };
        serve::serve(
            listener,
            MOST_CONNECTIONS,
            stop,
            |stream, peer, stopping| {
                let span = info_span!("handle-connection", remote_address = %peer);
                Arc::clone(&server)
                    .handle(stream, stopping)
                    .instrument(span)
            },
        )
        .await;
    }

    async fn handle(self: Arc<Self>, stream: TcpStream, mut stopping: Stopping) {
        info!("started");
        let deadline = Instant::now() + LOGIN_TIMEOUT;
        let transport = Arc::clone(&self.transport);
        let mut login = Login(Arc::clone(&self));
        let until = async {
            tokio::select! {
                error = login_deadline(deadline) => error,
                error = stopped(&mut stopping) => error,
            }
        };
        let wire = match accept(stream, transport, &mut login, until).await {
            Ok((wire, ())) => wire,
            Err(error) => return error!(%error, "handshake-failed"),
        };
        let mut connection = Connection::new(self, Session::new(wire, Limits::default()));
        let error = tokio::select! {
            error = connection.run() => error,
            error = stopped(&mut stopping) => error,
        };
        let error = connection.end(error).await;
        info!(reason = %error, "completed");
    }
}

/// Completes when the daemon stops, with what clients are told.
async fn stopped(stopping: &mut Stopping) -> Error {
    stopping.wait().await;
    Error::Closed {
        reason: Reason::ByApplication,
        text: "the app instance is stopping".into(),
    }
}

/// Lets in whoever has the key, or everyone.
struct Login(Arc<Server>);

impl Authenticator for Login {
    type Grant = ();

    fn methods(&self) -> Methods {
        Methods::PublicKey
    }

    fn knows_key(&self, key: &PublicKey) -> bool {
        self.0.authorized_key.as_ref() == Some(key)
    }

    async fn authenticate(&mut self, _user: &str, attempt: Attempt) -> Result<(), Denied> {
        let welcome = match attempt {
            Attempt::Key(key) => self.knows_key(key.key()),
            Attempt::None | Attempt::Password(_) => false,
        };
        if welcome || self.0.allow_unauthenticated_clients {
            Ok(())
        } else {
            Err(Denied::Retry(None))
        }
    }
}

/// One authenticated connection and its sessions.
struct Connection<S> {
    server: Arc<Server>,
    session: Session<S>,
    channels: BTreeMap<ChannelId, SessionChannel>,
}

impl<S: Socket> Connection<S> {
    fn new(server: Arc<Server>, session: Session<S>) -> Self {
        Self {
            server,
            session,
            channels: BTreeMap::new(),
        }
    }

    /// Serves the connection until it is over.
    async fn run(&mut self) -> Error {
        let mut keepalive = interval(KEEPALIVE_INTERVAL);
        keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                event = self.session.next() => match event {
                    Ok(event) => event,
                    Err(error) => return error,
                },
                (channel, outcome) = poll_fn(|cx| poll_exit(&mut self.channels, cx)) => {
                    self.exited(channel, outcome);
                    continue;
                }
                _ = keepalive.tick() => match self.keep_alive() {
                    Ok(()) => continue,
                    Err(error) => return error,
                },
            };
            match event {
                Event::Drained(channel) => self.drained(channel),
                Event::Connection(message) => self.handle(message),
            }
        }
    }

    /// Ends the connection: programs on terminals are hung up, others see their pipes close.
    async fn end(self, error: Error) -> Error {
        for channel in self.channels.values() {
            channel.hang_up();
        }
        self.session.close(error).await
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::ChannelOpen { channel, kind, .. } => self.open(channel, &kind),
            Message::Request {
                channel,
                request,
                payload,
                ..
            } => {
                self.request(channel, &request, &payload);
            }
            Message::GlobalRequest { .. } => self.session.connection().global_reply(false, &[]),
            Message::Reply { channel, .. } => {
                if let Some(channel) = self.channels.get_mut(&channel) {
                    channel.answered_keepalive();
                }
            }
            Message::Closed { channel } => {
                if let Some(channel) = self.channels.remove(&channel) {
                    channel.hang_up();
                }
            }
            // Ends of data go to the pipes by themselves.
            _ => {}
        }
    }

    fn open(&mut self, channel: ChannelId, kind: &str) {
        debug!(channelType = logged(kind), "new-channel");
        let connection = self.session.connection();
        if kind != request::SESSION {
            connection.refuse(channel, OpenFailure::UnknownChannelType, kind);
        } else if self.channels.len() >= MOST_SESSIONS {
            let text = "too many sessions on this connection";
            connection.refuse(channel, OpenFailure::ResourceShortage, text);
        } else {
            connection.accept(channel, Limits::WINDOW, Limits::MAX_PACKET, &[]);
            let environment = Environment::new(
                Arc::clone(&self.server.environment),
                self.server.inherit_daemon_env,
            );
            self.channels
                .insert(channel, SessionChannel::new(environment));
        }
    }

    fn request(&mut self, id: ChannelId, name: &str, payload: &[u8]) {
        debug!(r#type = logged(name), "received-request");
        let connection = self.session.connection();
        let Some(channel) = self.channels.get_mut(&id) else {
            return connection.reply(id, false);
        };
        let Some(task) = channel.request(name, payload) else {
            return connection.reply(id, false);
        };
        connection.reply(id, true);
        match task {
            Task::Nothing => {}
            Task::Started(pipes) => self.session.join(id, pipes),
            Task::Failed(text) => {
                let text = format!("diego-sshd: {text}\n");
                let stream = ssh_proto::connection::Stream::STDERR;
                connection.send_data(id, stream, text.as_bytes());
                self.finish(id, ExitOutcome::Unknown);
            }
        }
    }

    fn exited(&mut self, id: ChannelId, outcome: ExitOutcome) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if channel.exited(outcome) {
            self.finish(id, outcome);
        }
    }

    fn drained(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if let Some(outcome) = channel.drained() {
            self.finish(id, outcome);
        }
    }

    /// All output is sent and the end is known: exit message, EOF, CLOSE, in this order, since there
    /// are clients that stop at EOF and would report success.
    fn finish(&mut self, id: ChannelId, outcome: ExitOutcome) {
        let (name, payload) = exit_message(outcome);
        let connection = self.session.connection();
        // Without a reply there is no bound to reach.
        let _ = connection.request(id, name, false, &payload);
        connection.send_eof(id);
        connection.close(id);
    }

    fn keep_alive(&mut self) -> Result<(), Error> {
        for (id, channel) in &mut self.channels {
            match channel.next_keepalive() {
                None => {}
                Some(unanswered) if unanswered >= MOST_UNANSWERED => {
                    return Err(Error::Timeout("no answer to keepalives"));
                }
                Some(0) => {
                    let connection = self.session.connection();
                    connection.request(*id, "keepalive@cloudfoundry.org", true, &[])?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// A name that a client gave, as it goes into the log: clients may fill packets with one.
fn logged(name: &str) -> String {
    printable(name.as_bytes(), LONGEST_LOGGED)
}

/// The first session whose process has ended.
fn poll_exit(
    channels: &mut BTreeMap<ChannelId, SessionChannel>,
    cx: &mut Context<'_>,
) -> Poll<(ChannelId, ExitOutcome)> {
    for (id, channel) in channels {
        let Some(child) = channel.running() else {
            continue;
        };
        if let Poll::Ready(outcome) = pin!(child.wait()).poll(cx) {
            return Poll::Ready((*id, outcome));
        }
    }
    Poll::Pending
}

/// The request that tells how a process ended (RFC 4254 section 6.10).
fn exit_message(outcome: ExitOutcome) -> (&'static str, Vec<u8>) {
    let status = match outcome {
        ExitOutcome::Signal { name, core_dumped } => {
            let signal = request::ExitSignal {
                name: name.as_bytes(),
                core_dumped,
                message: b"",
                language: b"",
            };
            return (request::ExitSignal::NAME, signal.encode());
        }
        ExitOutcome::Code(status) => status,
        // As the reference where a process could not be started or waited for.
        ExitOutcome::Unknown => 255,
    };
    (
        request::ExitStatus::NAME,
        request::ExitStatus { status }.encode(),
    )
}
