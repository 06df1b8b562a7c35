//! The relay: packets of the connection protocol (RFC 4254) from one authenticated transport to
//! another, as they are. Channel numbers, windows and the order of requests stay end to end.
//!
//! One task owns both streams. It knows nothing of users and targets, and sends nothing of its own but
//! the refusals that the [`ledger`] makes.
//!
//! Back-pressure: while the output towards one side is full, the other side's packets are not polled.
//! The exception is a side that is keying: it can send nothing that would have to be forwarded, and its
//! key exchange has to end before what is held for it can leave. That, and that a rekey is started here
//! only while neither side is keying, keeps two rekeys with data in flight from blocking each other.

use std::future::{Future, poll_fn};
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

mod classify;
mod ledger;

use classify::{Control, is_data};
use ledger::{Ledger, Ruling};

/// One of the two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The user's client.
    Client,
    /// The daemon in the container.
    Daemon,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Daemon,
            Self::Daemon => Self::Client,
        }
    }
}

/// How a relayed connection ended.
#[derive(Debug)]
pub(crate) struct RelayEnd {
    /// Whose connection ended first.
    pub(crate) side: Side,
    /// Why.
    pub(crate) reason: Error,
    /// Payload bytes of all packets from the client to the daemon.
    pub(crate) bytes_up: u64,
    /// Payload bytes of all packets from the daemon to the client.
    pub(crate) bytes_down: u64,
}

/// How long a relay may go on; `None` is without limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Nothing read from or written to the client for so long ends it.
    pub(crate) idle: Option<Duration>,
    /// So long after its begin it ends in any case.
    pub(crate) total: Option<Duration>,
}

/// Two authenticated connections that are one to their users.
pub(crate) struct Relay<C, D> {
    client: Wire<C>,
    daemon: Wire<D>,
    ledger: Ledger,
    bytes_up: u64,
    bytes_down: u64,
    idle_timeout: Option<Duration>,
    last_activity: Instant,
    ends_at: Option<Instant>,
    timer: Timer,
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
    /// Joins two connections.
    pub(crate) fn new(client: Authenticated<C>, daemon: Authenticated<D>, limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            client: client.into_wire(),
            daemon: daemon.into_wire(),
            ledger: Ledger::default(),
            bytes_up: 0,
            bytes_down: 0,
            idle_timeout: limits.idle,
            last_activity: now,
            ends_at: limits.total.and_then(|total| now.checked_add(total)),
            timer: Timer::default(),
        }
    }

    /// Relays until one side ends, tells the other side, and closes both. When `stop` completes, both
    /// are told its text.
    pub(crate) async fn run(mut self, stop: impl Future<Output = String>) -> RelayEnd {
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
        tokio::join!(self.client.close(for_client), self.daemon.close(for_daemon));
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
    fn rekey_if_due(&mut self) {
        let (client, daemon) = (self.client.transport_mut(), self.daemon.transport_mut());
        if client.is_keying() || daemon.is_keying() {
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
        forward(from, source, sink, &mut self.ledger, bytes)
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
        let idle_at = self
            .idle_timeout
            .map(|timeout| self.last_activity + timeout);
        let kex_at = [Side::Client, Side::Daemon]
            .into_iter()
            .filter_map(|side| self.transport(side).poll_timeout())
            .min()
            .map(Instant::from_std);
        let next = [idle_at, self.ends_at, kex_at].into_iter().flatten().min();
        if self.timer.poll(cx, next).is_pending() {
            return Ok(false);
        }
        let has_come = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
        if has_come(idle_at) {
            return Err((Side::Client, Error::Timeout("idle for too long")));
        }
        if has_come(self.ends_at) {
            return Err((
                Side::Client,
                Error::Timeout("the connection has reached its longest duration"),
            ));
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

/// Hands packets of `source` to `sink` until there are none, or no room for one.
fn forward(
    from: Side,
    source: &mut Transport,
    sink: &mut Transport,
    ledger: &mut Ledger,
    bytes: &mut u64,
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
        *bytes += payload.len() as u64;
        if is_data(payload) {
            sink.send(&[payload]);
        } else {
            forward_control(from, source, sink, ledger).map_err(|error| (from, error))?;
        }
    }
}

fn forward_control(
    from: Side,
    source: &mut Transport,
    sink: &mut Transport,
    ledger: &mut Ledger,
) -> Result<(), Error> {
    let control = Control::parse(source.packet())?;
    match ledger.rule(from, control)? {
        Ruling::Forward => sink.send(&[source.packet()]),
        Ruling::ForwardThenFail(count) => {
            sink.send(&[source.packet()]);
            for _ in 0..count {
                sink.send(&[&[msg::REQUEST_FAILURE]]);
            }
        }
        Ruling::Drop => {}
        Ruling::Answer(payload) => source.send(&[&payload]),
    }
    Ok(())
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
