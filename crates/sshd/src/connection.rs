//! One authenticated connection: its channels, and what each of its messages does.
//!
//! One task owns the stream, the channels and their pipes. What a session may do is in
//! [`crate::session`], and how forwards come about in [`crate::forward`].

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ssh_proto::Error;
use ssh_proto::connection::{ChannelId, Event as Message, Limits, Stream, request};
use ssh_proto::msg::OpenFailure;
use ssh_proto::wire::printable;
use ssh_tokio::Socket;
use ssh_tokio::session::{Event, Pipes, Session};
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::environment::Environment;
use crate::forward::{self, Forwards, Incoming};
use crate::process::ExitOutcome;
use crate::server::Daemon;
use crate::session::{SessionChannel, Task};

/// Clients that use a terminal are asked for a sign of life this often, as the reference does.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// So many intervals without an answer, 5 minutes as in the reference, and the client is taken for
/// dead. One that is suspended survives for so long, or while output waits for it, for as long as TCP lets
/// it (`ssh_tokio::tune`).
const MOST_UNANSWERED: u32 = 20;

/// Bytes of a name of a client's that go into the log. Real ones are a quarter of this.
const LONGEST_LOGGED: usize = 256;

/// One authenticated connection and its channels.
pub(crate) struct Connection<S> {
    daemon: Arc<Daemon>,
    session: Session<S>,
    sessions: BTreeMap<ChannelId, SessionChannel>,
    /// What is joined to a connection out of the container or into it.
    tunnels: BTreeMap<ChannelId, Tunnel>,
    forwards: Forwards,
    /// The client has given up further sessions.
    no_more_sessions: bool,
}

/// A channel that is joined to another connection: what has ended of it. When both directions have,
/// it is closed.
#[derive(Debug, Default)]
struct Tunnel {
    drained: bool,
    sunk: bool,
}

impl<S: Socket> Connection<S> {
    /// A connection on which nothing was asked for yet.
    pub(crate) fn new(daemon: Arc<Daemon>, session: Session<S>) -> Self {
        let server = &daemon.server;
        let resolver = Arc::clone(&server.resolver);
        Self {
            session,
            sessions: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            forwards: Forwards::new(resolver, &server.bounds),
            no_more_sessions: false,
            daemon,
        }
    }

    /// Serves the connection until it is over.
    pub(crate) async fn run(&mut self) -> Error {
        let mut keepalive = interval(KEEPALIVE_INTERVAL);
        keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                event = self.session.next() => match event {
                    Ok(event) => event,
                    Err(error) => return error,
                },
                (channel, outcome) = poll_fn(|cx| poll_exit(&mut self.sessions, cx)) => {
                    self.exited(channel, outcome);
                    continue;
                }
                event = self.forwards.next() => {
                    self.forward(event);
                    continue;
                }
                _ = keepalive.tick() => match self.keep_alive() {
                    Ok(()) => continue,
                    Err(error) => return error,
                },
            };
            match event {
                Event::Drained(channel) => self.drained(channel),
                Event::Sunk(channel) => self.tunnel_ended(channel, |tunnel| tunnel.sunk = true),
                Event::Connection(message) => self.handle(message),
            }
        }
    }

    /// Ends the connection: programs on terminals are hung up, others see their pipes close.
    pub(crate) async fn end(self, error: Error) -> Error {
        for channel in self.sessions.values() {
            channel.hang_up();
        }
        self.session.close(error).await
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::ChannelOpen {
                channel,
                kind,
                payload,
            } => self.open(channel, &kind, &payload),
            Message::OpenConfirmed { channel, .. } => {
                if let Some(stream) = self.forwards.release(channel) {
                    self.tunnel(channel, stream);
                }
            }
            Message::OpenFailed { channel, .. } => drop(self.forwards.release(channel)),
            Message::Request {
                channel,
                request,
                payload,
                ..
            } => {
                self.request(channel, &request, &payload);
            }
            Message::GlobalRequest {
                name,
                want_reply,
                payload,
            } => {
                self.no_more_sessions |= name == request::NO_MORE_SESSIONS && payload.is_empty();
                self.forwards.request(&name, want_reply, &payload);
            }
            Message::Reply { channel, .. } => {
                if let Some(channel) = self.sessions.get_mut(&channel) {
                    channel.answered_keepalive();
                }
            }
            Message::PeerClosed { channel } | Message::Closed { channel } => self.closed(channel),
            // Ends of data go to the pipes by themselves.
            _ => {}
        }
    }

    fn open(&mut self, channel: ChannelId, kind: &str, payload: &[u8]) {
        debug!(channelType = logged(kind), "new-channel");
        if kind == request::SESSION {
            return self.open_session(channel);
        }
        if let Err(refusal) = self.forwards.dial(channel, kind, payload) {
            let connection = self.session.connection();
            connection.refuse(channel, refusal.reason, &refusal.text);
        }
    }

    fn open_session(&mut self, channel: ChannelId) {
        let server = &self.daemon.server;
        let connection = self.session.connection();
        if self.no_more_sessions {
            let text = "no more sessions, as the client asked for";
            return connection.refuse(channel, OpenFailure::AdministrativelyProhibited, text);
        }
        if self.sessions.len() >= server.bounds.sessions {
            let text = "too many sessions on this connection";
            return connection.refuse(channel, OpenFailure::ResourceShortage, text);
        }
        connection.accept(channel, server.bounds.window, Limits::MAX_PACKET, &[]);
        let environment = Environment::new(
            Arc::clone(&server.environment),
            server.inherit_daemon_env,
            &server.bounds,
        );
        let session = SessionChannel::new(Arc::clone(&self.daemon), environment);
        self.sessions.insert(channel, session);
    }

    fn forward(&mut self, event: forward::Event) {
        let window = self.daemon.server.bounds.window;
        let connection = self.session.connection();
        match event {
            forward::Event::Reply(Some(payload)) => connection.global_reply(true, &payload),
            forward::Event::Reply(None) => connection.global_reply(false, &[]),
            forward::Event::Dialed {
                channel,
                result: Ok(stream),
            } => {
                connection.accept(channel, window, Limits::MAX_PACKET, &[]);
                self.tunnel(channel, stream);
            }
            forward::Event::Dialed {
                channel,
                result: Err(refusal),
            } => connection.refuse(channel, refusal.reason, &refusal.text),
            forward::Event::Incoming(incoming) => {
                let Incoming {
                    kind,
                    payload,
                    stream,
                } = incoming;
                // Without room for a channel, whoever came is turned away by dropping the stream.
                if let Ok(channel) = connection.open(kind, window, Limits::MAX_PACKET, &payload) {
                    self.forwards.hold(channel, stream);
                }
            }
        }
    }

    /// Joins an open channel to another connection.
    fn tunnel(&mut self, channel: ChannelId, stream: forward::Stream) {
        let (source, sink) = stream.split();
        self.tunnels.insert(channel, Tunnel::default());
        let pipes = Pipes {
            sink: Some(sink),
            source: Some(source),
            errors: None,
        };
        self.session.join(channel, pipes);
    }

    /// One direction of a channel has ended.
    fn tunnel_ended(&mut self, channel: ChannelId, mark: impl FnOnce(&mut Tunnel)) {
        let Some(tunnel) = self.tunnels.get_mut(&channel) else {
            return;
        };
        mark(tunnel);
        let connection = self.session.connection();
        if tunnel.drained {
            connection.send_eof(channel);
        }
        if tunnel.drained && tunnel.sunk {
            connection.close(channel);
        }
    }

    /// The client has closed a channel. What it sent before still gets to where it belongs, but a
    /// terminal without its user is hung up.
    fn closed(&mut self, id: ChannelId) {
        self.tunnels.remove(&id);
        let Some(channel) = self.sessions.remove(&id) else {
            return;
        };
        channel.hang_up();
        if channel.has_terminal() {
            self.session.part(id);
        }
    }

    fn request(&mut self, id: ChannelId, name: &str, payload: &[u8]) {
        debug!(r#type = logged(name), "received-request");
        let connection = self.session.connection();
        let Some(channel) = self.sessions.get_mut(&id) else {
            return connection.reply(id, false);
        };
        // One with a payload is malformed, and fails below.
        if name == request::AUTH_AGENT && payload.is_empty() {
            let agent = self.forwards.agent();
            let set = agent.is_ok_and(|socket| channel.set_agent(socket));
            return connection.reply(id, set);
        }
        let Some(task) = channel.request(name, payload) else {
            return connection.reply(id, false);
        };
        connection.reply(id, true);
        match task {
            Task::Nothing => {}
            Task::Started(pipes) => self.session.join(id, pipes),
            Task::Failed(text) => {
                let text = format!("diego-sshd: {text}\n");
                connection.send_data(id, Stream::STDERR, text.as_bytes());
                self.finish(id, ExitOutcome::Unknown);
            }
        }
    }

    fn exited(&mut self, id: ChannelId, outcome: ExitOutcome) {
        let Some(channel) = self.sessions.get_mut(&id) else {
            return;
        };
        if channel.exited(outcome) {
            self.finish(id, outcome);
        }
    }

    fn drained(&mut self, id: ChannelId) {
        self.tunnel_ended(id, |tunnel| tunnel.drained = true);
        let Some(channel) = self.sessions.get_mut(&id) else {
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
        for (id, channel) in &mut self.sessions {
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

/// The first session whose work has ended.
fn poll_exit(
    channels: &mut BTreeMap<ChannelId, SessionChannel>,
    cx: &mut Context<'_>,
) -> Poll<(ChannelId, ExitOutcome)> {
    for (id, channel) in channels {
        let Some(work) = channel.running() else {
            continue;
        };
        if let Poll::Ready(outcome) = pin!(work.wait()).poll(cx) {
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
