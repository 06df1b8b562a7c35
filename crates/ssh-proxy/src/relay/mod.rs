//! The relay: packets of the connection protocol (RFC 4254) from one authenticated transport to
//! another, as they are. Channel numbers, windows and the order of requests stay end to end.
//!
//! One task owns both streams. It knows nothing of users and targets, and sends nothing of its own but
//! the refusals that the [`ledger`] makes: of what no container may open, and of what the operator's
//! [`policy`] takes from users. Whoever [observes](observe) it is told what passes.
//!
//! Back-pressure: while the output towards one side is full, the other side's packets are not polled.
//! The exception is a side that is keying: it can send nothing that would have to be forwarded, and its
//! key exchange has to end before what is held for it can leave. That, and that a rekey is started here
//! only while neither side is keying, keeps two rekeys with data in flight from blocking each other.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ssh_proto::Error;
use ssh_proto::error::Reason;
use ssh_proto::msg;
use ssh_proto::transport::{Event, Transport};
use ssh_tokio::timer::Timer;
use ssh_tokio::wire::now;
use ssh_tokio::{Authenticated, Socket, Wire};
use tokio::time::Instant;
use tracing::info;

mod classify;
mod ledger;
pub mod observe;
pub mod policy;
mod replies;
pub(crate) mod targets;

use classify::{Control, is_data};
use ledger::{Ledger, Ruling};
use observe::{Note, Observer};
use policy::{Capability, Policy};

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The user's client.
    Client,
    /// The daemon in the container.
    Daemon,
}

impl Side {
    /// The name in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Daemon => "daemon",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Client => Self::Daemon,
            Self::Daemon => Self::Client,
        }
    }
}

/// How a relayed connection ended.
#[derive(Debug)]
pub struct RelayEnd {
    /// Whose connection ended first; see [`Self::by`].
    pub side: Side,
    /// Why.
    pub reason: Error,
    /// Payload bytes of all packets from the client to the daemon.
    pub bytes_up: u64,
    /// Payload bytes of all packets from the daemon to the client.
    pub bytes_down: u64,
}

impl RelayEnd {
    /// Who ended it: one of the sides, or the proxy itself, for an operator, a drain or a limit.
    pub fn by(&self) -> &'static str {
        match &self.reason {
            Error::Closed { .. } | Error::Timeout(IDLE | INACTIVE | TOO_LONG) => "proxy",
            _ => self.side.name(),
        }
    }
}

/// What users are told at the end of each limit.
const IDLE: &str = "idle for too long";
const INACTIVE: &str = "inactive for too long: no data in either direction";
const TOO_LONG: &str = "the connection has reached its longest duration";

/// How long a relay may go on; `None` is without limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Nothing read from or written to the client for so long ends it.
    pub idle: Option<Duration>,
    /// No data of channels for so long, in either direction, ends it. Requests, keepalives among them,
    /// and windows do not count.
    pub inactivity: Option<Duration>,
    /// So long after its begin it ends in any case.
    pub total: Option<Duration>,
}

/// Two authenticated connections that are one to their users.
pub struct Relay<C, D, O = ()> {
    client: Wire<C>,
    daemon: Wire<D>,
    books: Books<O>,
    bytes_up: u64,
    bytes_down: u64,
    limits: Limits,
    /// When something was read from the client or written to it.
    last_activity: Instant,
    /// When data of a channel passed.
    last_data: Instant,
    ends_at: Option<Instant>,
    timer: Timer,
}

/// What decides about control packets.
struct Books<O> {
    observer: O,
    ledger: Ledger,
    policy: Arc<Policy>,
    /// Whether the policy has anything to say.
    is_judged: bool,
    /// What was refused and logged: once for each capability, since a client can ask without end.
    told: [bool; Capability::COUNT],
}

/// What stopped the packets of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    /// There are no more of them.
    NeedInput,
    /// The other side has no room for them.
    Blocked,
}

impl<C: Socket, D: Socket> Relay<C, D> {
    /// Joins two connections that nobody watches.
    pub fn new(
        client: Authenticated<C>,
        daemon: Authenticated<D>,
        limits: Limits,
        policy: Arc<Policy>,
    ) -> Self {
        Self::observed(client, daemon, limits, policy, ())
    }
}

impl<C: Socket, D: Socket, O: Observer> Relay<C, D, O> {
    /// Joins two connections, of which `observer` is told.
    pub fn observed(
        client: Authenticated<C>,
        daemon: Authenticated<D>,
        limits: Limits,
        policy: Arc<Policy>,
        observer: O,
    ) -> Self {
        let now = Instant::now();
        Self {
            client: client.into_wire(),
            daemon: daemon.into_wire(),
            books: Books {
                observer,
                ledger: Ledger::default(),
                is_judged: policy.restricts(),
                policy,
                told: [false; Capability::COUNT],
            },
            bytes_up: 0,
            bytes_down: 0,
            limits,
            last_activity: now,
            last_data: now,
            ends_at: limits.total.and_then(|total| now.checked_add(total)),
            timer: Timer::default(),
        }
    }

    /// Relays until one side ends, tells the other side, and closes both. When `stop` completes, both
    /// are told its text.
    pub async fn run(mut self, stop: impl Future<Output = String>) -> RelayEnd {
        let mut stop = std::pin::pin!(stop);
        let (side, reason) = poll_fn(|cx| {
            if let Poll::Ready(text) = stop.as_mut().poll(cx) {
                let error = Error::Closed {
                    reason: Reason::ByApplication,
                    text,
                };
                return Poll::Ready((Side::Client, error));
            }
            match self.poll(cx) {
                Ok(()) => Poll::Pending,
                Err(end) => Poll::Ready(end),
            }
        })
        .await;
        let (for_client, for_daemon) = last_words(side, &reason);
        let client = Box::pin(self.client.close(for_client));
        let daemon = Box::pin(self.daemon.close(for_daemon));
        tokio::join!(client, daemon);
        RelayEnd {
            side,
            reason,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
        }
    }

    /// Moves what can be moved; returns when nothing can, with wake-ups registered.
    fn poll(&mut self, cx: &mut Context<'_>) -> Result<(), (Side, Error)> {
        loop {
            self.rekey_if_due();
            let up = self.forward(Side::Client)?;
            let down = self.forward(Side::Daemon)?;
            let mut moved = self.write(Side::Client, cx)?;
            moved |= self.write(Side::Daemon, cx)?;
            // A side that was blocked may go on once the other's output has left.
            moved &= up == Stopped::Blocked || down == Stopped::Blocked;
            if up == Stopped::NeedInput {
                moved |= self.read(Side::Client, cx)?;
            }
            if down == Stopped::NeedInput {
                moved |= self.read(Side::Daemon, cx)?;
            }
            if !moved && !self.poll_timer(cx)? {
                return Ok(());
            }
        }
    }

    /// Starts a rekey that is due, one leg at a time.
    ///
    /// Not while somebody does not read: the answer would come behind data that wait for that, and would
    /// seem to be late. It is done as soon as anything moves.
    fn rekey_if_due(&mut self) {
        let (client, daemon) = (self.client.transport_mut(), self.daemon.transport_mut());
        if client.is_keying() || daemon.is_keying() || client.room() == 0 || daemon.room() == 0 {
            return;
        }
        let now = now();
        if client.rekey_due(now) {
            client.start_rekey(now);
        } else if daemon.rekey_due(now) {
            daemon.start_rekey(now);
        }
    }

    /// Hands packets of `from` to the other side until one of them has to wait.
    fn forward(&mut self, from: Side) -> Result<Stopped, (Side, Error)> {
        let (client, daemon) = (self.client.transport_mut(), self.daemon.transport_mut());
        let (source, sink, bytes) = match from {
            Side::Client => (client, daemon, &mut self.bytes_up),
            Side::Daemon => (daemon, client, &mut self.bytes_down),
        };
        let mut passed = Passed::default();
        let stopped = forward(from, source, sink, &mut self.books, &mut passed);
        *bytes += passed.bytes;
        if passed.bytes > 0 {
            self.books.observer.passed(from, passed.bytes);
        }
        if passed.data {
            self.last_data = Instant::now();
        }
        stopped
    }

    /// Writes; true if anything left.
    fn write(&mut self, side: Side, cx: &mut Context<'_>) -> Result<bool, (Side, Error)> {
        let before = self.transport(side).output().len();
        if let Poll::Ready(Err(error)) = self.poll_write(side, cx) {
            return Err((side, error));
        }
        let wrote = self.transport(side).output().len() < before;
        if wrote && side == Side::Client {
            self.last_activity = Instant::now();
        }
        Ok(wrote)
    }

    /// Reads once; true if anything came.
    fn read(&mut self, side: Side, cx: &mut Context<'_>) -> Result<bool, (Side, Error)> {
        let polled = match side {
            Side::Client => self.client.poll_read(cx),
            Side::Daemon => self.daemon.poll_read(cx),
        };
        match polled {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err((side, error)),
            Poll::Ready(Ok(())) => {
                if side == Side::Client {
                    self.last_activity = Instant::now();
                }
                Ok(true)
            }
        }
    }

    /// True when a timer fired that does not end the connection.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<bool, (Side, Error)> {
        let idle_at = self.limits.idle.map(|limit| self.last_activity + limit);
        let inactive_at = self.limits.inactivity.map(|limit| self.last_data + limit);
        let kex_at = [Side::Client, Side::Daemon]
            .into_iter()
            .filter_map(|side| self.transport(side).poll_timeout())
            .min()
            .map(Instant::from_std);
        let ends = [
            (idle_at, IDLE),
            (inactive_at, INACTIVE),
            (self.ends_at, TOO_LONG),
        ];
        let next = ends.iter().filter_map(|(at, _)| *at).chain(kex_at).min();
        if self.timer.poll(cx, next).is_pending() {
            return Ok(false);
        }
        let now_at = Instant::now();
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= now_at);
        if let Some((_, text)) = ends.into_iter().find(|(at, _)| has_come(*at)) {
            return Err((Side::Client, Error::Timeout(text)));
        }
        for side in [Side::Client, Side::Daemon] {
            let transport = match side {
                Side::Client => self.client.transport_mut(),
                Side::Daemon => self.daemon.transport_mut(),
            };
            transport
                .handle_timeout(now())
                .map_err(|error| (side, error))?;
        }
        Ok(true)
    }

    fn transport(&self, side: Side) -> &Transport {
        match side {
            Side::Client => self.client.transport(),
            Side::Daemon => self.daemon.transport(),
        }
    }

    fn poll_write(&mut self, side: Side, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match side {
            Side::Client => self.client.poll_write(cx),
            Side::Daemon => self.daemon.poll_write(cx),
        }
    }
}

/// What went through in one go.
#[derive(Default)]
struct Passed {
    bytes: u64,
    /// Whether there was data of a channel among it.
    data: bool,
}

/// Hands packets of `source` to `sink` until there are none, or no room for one.
fn forward<O: Observer>(
    from: Side,
    source: &mut Transport,
    sink: &mut Transport,
    books: &mut Books<O>,
    passed: &mut Passed,
) -> Result<Stopped, (Side, Error)> {
    let now = now();
    loop {
        if sink.room() == 0 && !source.peer_is_keying() {
            return Ok(Stopped::Blocked);
        }
        match source.poll(now).map_err(|error| (from, error))? {
            Event::NeedInput => return Ok(Stopped::NeedInput),
            Event::NeedOutput => return Ok(Stopped::Blocked),
            Event::HostKey => return Err((from, Error::Bug("host key after authentication"))),
            Event::Packet => {}
        }
        let payload = source.packet();
        passed.bytes += payload.len() as u64;
        if is_data(payload) {
            passed.data |= payload.first() != Some(&msg::CHANNEL_WINDOW_ADJUST);
            sink.send(&[payload]);
        } else {
            forward_control(from, source, sink, books).map_err(|error| (from, error))?;
        }
    }
}

fn forward_control<O: Observer>(
    from: Side,
    source: &mut Transport,
    sink: &mut Transport,
    books: &mut Books<O>,
) -> Result<(), Error> {
    match books.rule(from, source.packet())? {
        Ruling::Forward => sink.send(&[source.packet()]),
        Ruling::ForwardThen(times, payload) => {
            sink.send(&[source.packet()]);
            for _ in 0..times {
                sink.send(&[&payload]);
            }
        }
        Ruling::Drop => {}
        Ruling::Answer(payload) => source.send(&[&payload]),
    }
    Ok(())
}

impl<O: Observer> Books<O> {
    /// What becomes of a control packet.
    fn rule(&mut self, from: Side, payload: &[u8]) -> Result<Ruling, Error> {
        let control = Control::parse(payload)?;
        if self.is_judged
            && from == Side::Client
            && let Some(lacking) = self.policy.lacks(payload)?
        {
            self.tell(lacking);
            return self.ledger.refuse(from, control);
        }
        let ruling = self.ledger.rule(from, control)?;
        if ruling == Ruling::Forward
            && let Some(note) = observe::request(from, payload)
        {
            self.observer.note(note);
        }
        if let Some(change) = self.ledger.take_change() {
            self.observer.note(change);
        }
        Ok(ruling)
    }

    fn tell(&mut self, lacking: Capability) {
        self.observer.note(Note::Refused(lacking));
        if let Some(told @ false) = self.told.get_mut(lacking.index()) {
            *told = true;
            info!(
                capability = lacking.name(),
                "handle-connection.refused-by-policy"
            );
        }
    }
}

/// What the client and the daemon are told when `side` ended for `reason`. A side that broke a rule is
/// told which; the other learns that the first is gone.
fn last_words(side: Side, reason: &Error) -> (Error, Error) {
    let gone = |text: &str| Error::Closed {
        reason: Reason::ByApplication,
        text: text.to_owned(),
    };
    match (side, reason) {
        (_, Error::Closed { .. }) => (reason.clone(), reason.clone()),
        (Side::Client, _) => (reason.clone(), gone("the client is gone")),
        // Already cut and made printable.
        (Side::Daemon, Error::Disconnected { description, .. }) => {
            let text = format!("the app instance ended the connection: {description}");
            (gone(&text), reason.clone())
        }
        (Side::Daemon, _) => {
            let text = "the connection to the app instance was lost";
            (gone(text), reason.clone())
        }
    }
}

#[cfg(test)]
mod tests;
