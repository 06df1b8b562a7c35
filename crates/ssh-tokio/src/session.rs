//! A connection whose channels are joined to pipes and sockets, all in the owner's task.
//!
//! The owner calls [`Session::next`] again and again and sees what needs a decision: channels to open,
//! requests, replies. Data flow underneath, each channel for itself: a sink that takes nothing stops
//! its own channel by its window and no other.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use ssh_proto::Error;
use ssh_proto::connection::{self, ChannelId, Connection, Limits, Stream};
use ssh_proto::transport;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::timer::Timer;
use crate::wire::{Authenticated, Socket, Wire, now, poll_read, poll_write};

/// Where the peer's data go.
pub type Sink = Box<dyn AsyncWrite + Send + Unpin>;

/// Where data for the peer come from.
pub type Source = Box<dyn AsyncRead + Send + Unpin>;

/// Packets that one source may fill before the others get their turn.
const PACKETS_A_TURN: usize = 4;

/// With less room than this, sources wait for output to leave: small packets would cost more.
const LEAST_ROOM: usize = 32 * 1024;

/// Packets with up to so many bytes of data go to their sink together.
const SMALL: usize = 8 * 1024;

/// What a channel is joined to.
#[derive(Default)]
pub struct Pipes {
    /// Takes the peer's data.
    pub sink: Option<Sink>,
    /// Gives data.
    pub source: Option<Source>,
    /// Gives data for the peer's standard error.
    pub errors: Option<Source>,
}

/// What the owner has to see.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Something of the connection protocol; never data, windows, or the need for input.
    Connection(connection::Event),
    /// The sources of a channel have ended, and all their data are sent.
    Drained(ChannelId),
    /// The peer's data and their end have reached the sink of a channel, or the sink is broken.
    Sunk(ChannelId),
}

/// The connection protocol on a stream, with its channels joined to [`Pipes`].
pub struct Session<S> {
    stream: S,
    unflushed: bool,
    connection: Connection,
    /// In the order of their turns. There are few, and most packets are for the same one.
    joints: Vec<(ChannelId, Joint)>,
    timer: Timer,
}

impl<S: Socket> Session<S> {
    /// Begins the connection protocol on an authenticated wire.
    pub fn new(wire: Authenticated<S>, limits: Limits) -> Self {
        let (stream, transport) = wire.into_wire().into_parts();
        Self {
            stream,
            unflushed: false,
            connection: Connection::new(transport, limits),
            joints: Vec::new(),
            timer: Timer::default(),
        }
    }

    /// The connection, for what the owner wants to send. Call [`Self::next`] afterwards.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Joins a channel to `pipes`. Data that came before are kept for them.
    ///
    /// When the peer closes the channel, the sink still gets what came before, and its end; the
    /// sources are dropped at once. Only then is the channel closed, which needs no call.
    pub fn join(&mut self, channel: ChannelId, pipes: Pipes) {
        self.joint(channel).join(pipes);
    }

    /// Drops the pipes of a channel that has any, and what its sink has not taken.
    pub fn part(&mut self, channel: ChannelId) {
        // None is made for a channel that is gone: the next of its number would find it.
        let mut joints = self.joints.iter_mut();
        let Some((_, joint)) = joints.find(|(joined, _)| *joined == channel) else {
            return;
        };
        *joint = Joint {
            sink: SinkState::Gone,
            peer: joint.peer,
            ..Joint::default()
        };
    }

    /// The next thing that the owner has to see. May be dropped and called again at any time.
    ///
    /// # Errors
    /// The connection is over; [`Self::close`] tells the peer.
    pub async fn next(&mut self) -> Result<Event, Error> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Ends the connection so that the peer learns why. All that was sent before goes first, but for what
    /// waits for the end of a key exchange.
    pub async fn close(self, error: Error) -> Error {
        Wire::new(self.stream, self.connection.into_transport())
            .close(error)
            .await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, Error>> {
        loop {
            self.rekey_if_due();
            let starved = match self.take_events(cx)? {
                Taken::Event(event) => return Poll::Ready(Ok(event)),
                Taken::NeedsInput => true,
                Taken::NeedsOutput => false,
            };
            let mut moved = false;
            if let Some(event) = self.pump(cx, &mut moved) {
                return Poll::Ready(Ok(event));
            }
            moved |= self.write(cx)?;
            if starved {
                moved |= self.read(cx)?;
            }
            if !moved && self.poll_timer(cx)?.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Not while the peer does not read: the answer would seem to be late.
    fn rekey_if_due(&mut self) {
        let now = now();
        let transport = self.connection.transport_mut();
        if transport.rekey_due(now) && transport.room() > 0 {
            transport.start_rekey(now);
        }
    }

    /// Hands data to their sinks up to the first event that is the owner's.
    fn take_events(&mut self, cx: &mut Context<'_>) -> Result<Taken, Error> {
        let now = now();
        loop {
            let polled = self.connection.poll(now);
            if polled.is_err() {
                self.flush(cx);
            }
            let event = match polled? {
                connection::Event::NeedInput => return Ok(Taken::NeedsInput),
                connection::Event::Transport(transport::Event::NeedOutput) => {
                    return Ok(Taken::NeedsOutput);
                }
                connection::Event::Transport(_) => {
                    return Err(Error::Bug("transport event after authentication"));
                }
                connection::Event::WindowOpened { .. } => continue,
                connection::Event::Data { channel, stream } => {
                    let joint = joint(&mut self.joints, channel);
                    let data = self.connection.data();
                    let used = match stream {
                        Stream::Data => joint.take(cx, data),
                        // Nobody reads standard error of a client.
                        Stream::Extended(_) => data.len(),
                    };
                    self.connection.consumed(channel, used);
                    continue;
                }
                event => event,
            };
            self.flush(cx);
            match &event {
                connection::Event::Eof { channel } => self.joint(*channel).peer = Peer::Ended,
                connection::Event::PeerClosed { channel } => self.joint(*channel).leave(),
                connection::Event::Closed { channel } => {
                    self.joints.retain(|(joined, _)| joined != channel);
                }
                _ => {}
            }
            return Ok(Taken::Event(Event::Connection(event)));
        }
    }

    /// Hands on what waits: the owner may act on what came behind it, or look no more. That may be the
    /// end of the connection, too.
    fn flush(&mut self, cx: &mut Context<'_>) {
        for (channel, joint) in &mut self.joints {
            let used = joint.flush(cx);
            self.connection.consumed(*channel, used);
        }
    }

    /// Moves data between pipes and channels; stops early at what the owner has to see.
    fn pump(&mut self, cx: &mut Context<'_>, moved: &mut bool) -> Option<Event> {
        let mut has_left = false;
        for (channel, joint) in &mut self.joints {
            let used = joint.flush(cx);
            self.connection.consumed(*channel, used);
            *moved |= joint.pump_sources(cx, *channel, &mut self.connection);
            has_left |= joint.has_left();
            if joint.is_newly_sunk() {
                return Some(Event::Sunk(*channel));
            }
            if joint.is_newly_drained() {
                return Some(Event::Drained(*channel));
            }
        }
        if has_left {
            self.close_left();
        }
        // Whoever comes first in the map would take all the room of a slow connection.
        if self.connection.transport().room() < LEAST_ROOM && !self.joints.is_empty() {
            self.joints.rotate_left(1);
        }
        None
    }

    /// Answers the CLOSE of peers whose data are where they belong.
    fn close_left(&mut self) {
        for (channel, _) in self.joints.extract_if(.., |(_, joint)| joint.has_left()) {
            self.connection.close(channel);
        }
    }

    fn joint(&mut self, channel: ChannelId) -> &mut Joint {
        joint(&mut self.joints, channel)
    }

    /// Writes; true if anything left.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let transport = self.connection.transport_mut();
        let before = transport.output().len();
        match poll_write(&mut self.stream, transport, &mut self.unflushed, cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(self.connection.transport().output().len() < before),
        }
    }

    /// Reads once; true if anything came.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        match poll_read(&mut self.stream, self.connection.transport_mut(), cx) {
            Poll::Pending => Ok(false),
            Poll::Ready(read) => read.map(|()| true),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Error> {
        let transport = self.connection.transport_mut();
        let deadline = transport.poll_timeout().map(Instant::from_std);
        let polled = self.timer.poll(cx, deadline);
        if polled.is_ready() {
            transport.handle_timeout(now())?;
        }
        Ok(polled)
    }
}

/// What [`Session::take_events`] stopped at.
enum Taken {
    Event(Event),
    NeedsInput,
    NeedsOutput,
}

/// The joint of `channel`; a new one where there is none yet.
fn joint(joints: &mut Vec<(ChannelId, Joint)>, channel: ChannelId) -> &mut Joint {
    let position = joints.iter().position(|(joined, _)| *joined == channel);
    let position = position.unwrap_or_else(|| {
        joints.push((channel, Joint::default()));
        joints.len() - 1
    });
    // The position was just found or made.
    #[allow(clippy::indexing_slicing)]
    &mut joints[position].1
}

/// One channel and what it is joined to.
#[derive(Default)]
struct Joint {
    sink: SinkState,
    /// Data that the sink has not taken. The channel's window bounds them.
    waiting: VecDeque<u8>,
    peer: Peer,
    source: Option<Source>,
    errors: Option<Source>,
    /// Pipes were joined and the end of the sink was not told yet.
    sinks: bool,
    /// Pipes were joined and the end of the sources was not told yet.
    drains: bool,
}

/// What the peer has said of its direction.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Peer {
    /// Nothing: more may come.
    #[default]
    Sends,
    /// EOF.
    Ended,
    /// CLOSE.
    Left,
}

/// The way of the peer's data.
#[derive(Default)]
enum SinkState {
    /// Not joined yet: data wait.
    #[default]
    Unset,
    Open(Sink),
    /// It ended or broke: data are dropped, as a broken pipe would.
    Gone,
}

impl Joint {
    fn join(&mut self, pipes: Pipes) {
        self.sink = pipes.sink.map_or(SinkState::Gone, SinkState::Open);
        self.source = pipes.source;
        self.errors = pipes.errors;
        self.sinks = true;
        self.drains = true;
    }

    /// The peer has closed: nothing more can be sent, and nothing needs to be told.
    fn leave(&mut self) {
        self.peer = Peer::Left;
        if matches!(self.sink, SinkState::Unset) {
            self.sink = SinkState::Gone;
        }
        self.source = None;
        self.errors = None;
        self.sinks = false;
        self.drains = false;
    }

    /// The peer has closed, and its data are where they belong.
    fn has_left(&self) -> bool {
        self.peer == Peer::Left && matches!(self.sink, SinkState::Gone)
    }

    /// Takes data of the peer; gives how many bytes are done with.
    ///
    /// Small packets that come together wait for one write: to wake a program for each of them would cost
    /// more than to copy them. For large ones it is the other way round.
    fn take(&mut self, cx: &mut Context<'_>, data: &[u8]) -> usize {
        let (mut flushed, mut direct) = (0, 0);
        if data.len() > SMALL || matches!(self.sink, SinkState::Gone) {
            flushed = self.flush(cx);
            if self.waiting.is_empty() {
                direct = self.write(cx, data);
            }
        }
        self.waiting.extend(data.get(direct..).unwrap_or_default());
        flushed + direct
    }

    /// Writes data that wait, and passes the peer's end on behind them; gives how many bytes are done
    /// with.
    fn flush(&mut self, cx: &mut Context<'_>) -> usize {
        let mut waiting = std::mem::take(&mut self.waiting);
        let mut used = 0;
        while !waiting.is_empty() {
            // The queue goes round its memory: it may be in two pieces.
            let (piece, _) = waiting.as_slices();
            let written = self.write(cx, piece);
            waiting.drain(..written);
            used += written;
            if written == 0 {
                self.waiting = waiting;
                return used;
            }
        }
        if self.peer != Peer::Sends
            && let SinkState::Open(sink) = &mut self.sink
            && Pin::new(sink).poll_shutdown(cx).is_ready()
        {
            self.sink = SinkState::Gone;
        }
        used
    }

    /// Writes as much of `data` as the sink takes now.
    fn write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> usize {
        let mut used = 0;
        while let Some(rest) = data.get(used..).filter(|rest| !rest.is_empty()) {
            let SinkState::Open(sink) = &mut self.sink else {
                break;
            };
            match Pin::new(sink).poll_write(cx, rest) {
                Poll::Pending => return used,
                Poll::Ready(Ok(count)) if count > 0 => used += count,
                Poll::Ready(_) => self.sink = SinkState::Gone,
            }
        }
        if matches!(self.sink, SinkState::Gone) {
            data.len()
        } else {
            used
        }
    }

    /// Sends what the sources have; true if that was anything.
    fn pump_sources(
        &mut self,
        cx: &mut Context<'_>,
        channel: ChannelId,
        connection: &mut Connection,
    ) -> bool {
        let errors = pump(cx, &mut self.errors, channel, Stream::STDERR, connection);
        let output = pump(cx, &mut self.source, channel, Stream::Data, connection);
        errors || output
    }

    /// True once, when the sink is done.
    fn is_newly_sunk(&mut self) -> bool {
        let sunk = self.sinks && matches!(self.sink, SinkState::Gone);
        self.sinks &= !sunk;
        sunk
    }

    /// True once, when all sources have ended.
    fn is_newly_drained(&mut self) -> bool {
        let drained = self.drains && self.source.is_none() && self.errors.is_none();
        self.drains &= !drained;
        drained
    }
}

/// Sends what one source has, up to its turn; true if that was anything. A source that ended is gone
/// afterwards.
fn pump(
    cx: &mut Context<'_>,
    place: &mut Option<Source>,
    channel: ChannelId,
    stream: Stream,
    connection: &mut Connection,
) -> bool {
    let mut moved = false;
    for _ in 0..PACKETS_A_TURN {
        let Some(source) = place else { return moved };
        if connection.transport().room() < LEAST_ROOM {
            return moved;
        }
        let read = connection.send_data_with(channel, stream, |room| {
            let mut buffer = ReadBuf::new(room);
            let polled = Pin::new(&mut *source).poll_read(cx, &mut buffer);
            (
                buffer.filled().len(),
                polled.map_ok(|()| buffer.filled().len()),
            )
        });
        match read {
            None | Some(Poll::Pending) => return moved,
            Some(Poll::Ready(Ok(count))) if count > 0 => moved = true,
            // The end; an error of a pipe or a terminal is one too.
            Some(Poll::Ready(_)) => {
                *place = None;
                moved = true;
            }
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes at each call, and only at every second one.
    struct Slow {
        at_a_time: usize,
        blocked: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            self.blocked = !self.blocked;
            if self.blocked {
                return Poll::Pending;
            }
            Poll::Ready(Ok(data.len().min(self.at_a_time)))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A peer that is always ahead of the sink, by no more than its window: the memory for what waits
    /// once grew by all that ever came.
    #[test]
    fn a_sink_that_is_always_behind_costs_no_more_than_the_window() {
        const WINDOW: usize = 10_000;
        const PACKET: usize = 1_000;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut joint = Joint::default();
        joint.join(Pipes {
            sink: Some(Box::new(Slow {
                at_a_time: 700,
                blocked: false,
            })),
            ..Pipes::default()
        });
        let (mut sent, mut used) = (0, 0);
        while sent < 100 * WINDOW {
            if sent - used + PACKET <= WINDOW {
                used += joint.take(&mut cx, &[7; PACKET]);
                sent += PACKET;
            }
            used += joint.flush(&mut cx);
            assert!(joint.waiting.capacity() <= 2 * WINDOW);
            assert!(joint.waiting.len() <= WINDOW);
        }
    }
}
