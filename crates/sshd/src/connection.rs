//! One authenticated connection: its channels, and what each of its messages does.
//!
//! One task owns the stream, the channels and their pipes. What a session may do is in
//! [`crate::session`].

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
use ssh_tokio::session::{Event, Session};
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use crate::environment::Environment;
use crate::process::ExitOutcome;
use crate::server::Daemon;
use crate::session::{SessionChannel, Task};

/// Clients that use a terminal are asked for a sign of life this often, as the reference does.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// So many intervals without an answer, 5 minutes as in the reference, and the client is taken for
/// dead. A client that is merely suspended for a while should survive.
const MOST_UNANSWERED: u32 = 20;

/// Bytes of a name of a client's that go into the log. Real ones are a quarter of this.
const LONGEST_LOGGED: usize = 256;

/// One authenticated connection and its sessions.
pub(crate) struct Connection<S> {
    daemon: Arc<Daemon>,
    session: Session<S>,
    channels: BTreeMap<ChannelId, SessionChannel>,
}

impl<S: Socket> Connection<S> {
    /// A connection on which nothing was asked for yet.
    pub(crate) fn new(daemon: Arc<Daemon>, session: Session<S>) -> Self {
        Self {
            daemon,
            session,
            channels: BTreeMap::new(),
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
                Event::Sunk(_) => {}
                Event::Connection(message) => self.handle(message),
            }
        }
    }

    /// Ends the connection: programs on terminals are hung up, others see their pipes close.
    pub(crate) async fn end(self, error: Error) -> Error {
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
            Message::PeerClosed { channel } | Message::Closed { channel } => self.closed(channel),
            // Ends of data go to the pipes by themselves.
            _ => {}
        }
    }

    fn open(&mut self, channel: ChannelId, kind: &str) {
        debug!(channelType = logged(kind), "new-channel");
        let connection = self.session.connection();
        if kind != request::SESSION {
            connection.refuse(channel, OpenFailure::UnknownChannelType, kind);
        } else if self.channels.len() >= self.daemon.server.bounds.sessions {
            let text = "too many sessions on this connection";
            connection.refuse(channel, OpenFailure::ResourceShortage, text);
        } else {
            let server = &self.daemon.server;
            connection.accept(channel, server.bounds.window, Limits::MAX_PACKET, &[]);
            let environment = Environment::new(
                Arc::clone(&server.environment),
                server.inherit_daemon_env,
                &server.bounds,
            );
            let session = SessionChannel::new(Arc::clone(&self.daemon), environment);
            self.channels.insert(channel, session);
        }
    }

    /// The client has closed a channel. What it sent before still gets to where it belongs, but a
    /// terminal without its user is hung up.
    fn closed(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.remove(&id) else {
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
                connection.send_data(id, Stream::STDERR, text.as_bytes());
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
