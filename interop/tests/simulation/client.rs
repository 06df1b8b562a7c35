//! The client: sends, reads slowly and ends as it is planned, and holds what it sees against the plan at
//! once: bytes, replies, and the order of the ends.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ssh_proto::Error;
use ssh_proto::connection::forward::TcpipForward;
use ssh_proto::connection::request::SESSION;
use ssh_proto::connection::{ChannelId, Connection, Event, Limits, Stream};
use ssh_proto::error::Reason;
use ssh_proto::msg::OpenFailure;
use ssh_proto::transport;
use ssh_tokio::timer::Timer;
use ssh_tokio::wire::now;
use ssh_tokio::{Authenticated, Wire};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::daemon::{KEEPALIVE, exit_message, ping};
use super::plan::{self, Behind, Kind, Plan, Step, What};
use super::{Dice, Lane, Trace, bytes};

/// Names that nobody knows: the relay hands them through.
pub(crate) const REQUEST: &str = "request@example.com";
pub(crate) const GLOBAL: &str = "global@example.com";

/// One channel, as the client sees it.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    id: Option<ChannelId>,
    is_open: bool,
    pub(crate) refused: bool,
    /// Bytes of input that were sent.
    pub(crate) sent: usize,
    /// EOF or CLOSE was sent behind all of the input.
    pub(crate) ended: bool,
    /// The client has closed it before it saw the daemon do so.
    pub(crate) closed: bool,
    /// Requests that were sent.
    pub(crate) requests: Vec<u8>,
    /// Replies that they want, and those that came.
    pub(crate) wanted: Vec<bool>,
    pub(crate) got: Vec<bool>,
    /// Replies to the daemon's requests.
    pub(crate) replied: Vec<bool>,
    /// Bytes of output and of standard error that came.
    pub(crate) heard: [usize; 2],
    pub(crate) exits: usize,
    pub(crate) eof: bool,
    /// CLOSE came.
    pub(crate) over: bool,
    unconsumed: usize,
    /// Before that it does nothing.
    rests_until: Option<Instant>,
}

/// The client.
pub(crate) struct Client {
    plan: Arc<Plan>,
    trace: Trace,
    stream: DuplexStream,
    connection: Connection,
    pub(crate) channels: Vec<Channel>,
    by_id: BTreeMap<ChannelId, usize>,
    steps: VecDeque<Step>,
    /// Channels to be opened: when, and which.
    opens: VecDeque<(u64, usize)>,
    /// Replies to global requests, wanted and got.
    pub(crate) wanted: Vec<bool>,
    pub(crate) got: Vec<bool>,
    start: Instant,
    timer: Timer,
    daemon_ready: Option<oneshot::Receiver<()>>,
    dice: Dice,
}

impl Client {
    pub(crate) fn new(
        wire: Authenticated<DuplexStream>,
        plan: Arc<Plan>,
        trace: Trace,
        daemon_ready: oneshot::Receiver<()>,
    ) -> Self {
        let (stream, transport) = wire.into_wire().into_parts();
        let steps = plan.steps.iter().filter(|step| step.by_client);
        let channels = plan.channels.iter().enumerate();
        let opens = channels.filter(|(_, plan)| plan.kind != Kind::Forwarded);
        let mut opens: Vec<_> = opens.map(|(index, plan)| (plan.opens_at, index)).collect();
        opens.sort_unstable();
        Self {
            trace,
            stream,
            connection: Connection::new(transport, Limits::default()),
            channels: plan.channels.iter().map(|_| Channel::default()).collect(),
            by_id: BTreeMap::new(),
            steps: steps.cloned().collect(),
            opens: opens.into(),
            wanted: Vec::new(),
            got: Vec::new(),
            start: Instant::now(),
            timer: Timer::default(),
            daemon_ready: Some(daemon_ready),
            dice: Dice::new(plan.seed, 20),
            plan,
        }
    }

    /// Does all that is planned, and ends the connection when every channel is closed and every reply
    /// has come.
    pub(crate) async fn run(mut self) -> Report {
        if (self.plan.channels.iter()).any(|plan| plan.kind == Kind::Forwarded) {
            self.ask_globally(TcpipForward::NAME, Some(true));
        }
        std::future::poll_fn(|cx| self.poll(cx)).await;
        self.trace.note("client", "ends");
        assert_eq!(self.connection.channels(), 0);
        let end = Error::Closed {
            reason: Reason::ByApplication,
            text: "all is done".into(),
        };
        let wire = Wire::new(self.stream, self.connection.into_transport());
        wire.close(end).await;
        Report {
            channels: self.channels,
            wanted: self.wanted,
            got: self.got,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let starved = self.take_events();
            let next = self.act();
            if self.is_done(cx) {
                return Poll::Ready(());
            }
            let wrote = self.write(cx);
            let read = starved && self.read(cx);
            let mut deadlines = (self
                .connection
                .transport()
                .poll_timeout()
                .map(Instant::from_std))
            .into_iter()
            .chain(next);
            let deadline = deadlines.next().into_iter().chain(deadlines).min();
            if !wrote && !read && self.timer.poll(cx, deadline).is_pending() {
                return Poll::Pending;
            }
            let transport = self.connection.transport_mut();
            transport.handle_timeout(now()).unwrap();
        }
    }

    fn is_done(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(ready) = &mut self.daemon_ready {
            match Pin::new(ready).poll(cx) {
                Poll::Pending => return false,
                Poll::Ready(told) => told.unwrap(),
            }
            self.daemon_ready = None;
        }
        self.steps.is_empty()
            && self.got.len() == self.wanted.len()
            && self
                .channels
                .iter()
                .all(|channel| channel.refused || channel.over)
    }

    /// Writes; true if anything left.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        let transport = self.connection.transport_mut();
        let mut wrote = false;
        while !transport.output().is_empty()
            && let Poll::Ready(count) =
                Pin::new(&mut self.stream).poll_write(cx, transport.output())
        {
            transport.sent(count.unwrap());
            wrote = true;
        }
        wrote
    }

    /// Reads once; true if anything came.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        let transport = self.connection.transport_mut();
        let mut buffer = ReadBuf::new(transport.input());
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let count = buffer.filled().len();
        match polled {
            Poll::Pending => return false,
            Poll::Ready(read) => read.unwrap(),
        }
        assert!(count > 0, "the relay closed the connection");
        transport.filled(count);
        true
    }

    /// Handles what is there; true if it needs input for more.
    fn take_events(&mut self) -> bool {
        loop {
            match self.connection.poll(now()).unwrap() {
                Event::NeedInput => return true,
                Event::Transport(transport::Event::NeedOutput) => return false,
                event => self.handle(event),
            }
        }
    }

    /// Does what is due; when there is more.
    fn act(&mut self) -> Option<Instant> {
        let transport = self.connection.transport_mut();
        if transport.rekey_due(now()) {
            transport.start_rekey(now());
        }
        let elapsed = self.start.elapsed().as_millis();
        while let Some(step) = self
            .steps
            .pop_front_if(|step| u128::from(step.at) <= elapsed)
        {
            self.step(step.what);
        }
        while let Some((_, index)) = self.opens.pop_front_if(|it| u128::from(it.0) <= elapsed) {
            self.open(index);
        }
        let steps = self.steps.front().map(|step| step.at);
        let opens = self.opens.front().map(|(at, _)| *at);
        let planned = steps.into_iter().chain(opens);
        let start = self.start;
        let mut next = planned.map(|at| start + Duration::from_millis(at)).min();
        for index in 0..self.channels.len() {
            let rest = self.work(index);
            next = next.into_iter().chain(rest).min();
        }
        next
    }

    fn step(&mut self, what: What) {
        self.trace.note("client", format_args!("{what:?}"));
        match what {
            What::Rekey => self.connection.transport_mut().start_rekey(now()),
            What::Ping => self.connection.transport_mut().send(&[&ping()]),
            What::Global(reply) => self.ask_globally(GLOBAL, reply),
            What::Prove => self.ask_globally("hostkeys-prove-00@openssh.com", Some(false)),
            What::Keepalive(..) => {}
        }
    }

    fn ask_globally(&mut self, name: &str, reply: plan::Reply) {
        let payload = [u8::from(reply == Some(true))];
        let asked = self
            .connection
            .global_request(name, reply.is_some(), &payload);
        asked.unwrap();
        self.wanted.extend(reply);
    }

    fn open(&mut self, index: usize) {
        let plan = &self.plan.channels[index];
        let (window, packet) = plan.windows[0];
        let kind = match plan.kind {
            Kind::Session => SESSION,
            _ => "direct-tcpip",
        };
        let payload = [u8::try_from(index).unwrap()];
        let id = self
            .connection
            .open(kind, window, packet, &payload)
            .unwrap();
        self.adopt(index, id);
    }

    fn adopt(&mut self, index: usize, id: ChannelId) {
        self.channels[index].id = Some(id);
        self.by_id.insert(id, index);
    }

    /// Takes and gives some of a channel's data; until when it rests, if it does.
    fn work(&mut self, index: usize) -> Option<Instant> {
        let (channel, plan) = (&mut self.channels[index], &self.plan.channels[index]);
        let id = channel.id.filter(|_| channel.is_open && !channel.over)?;
        loop {
            if channel
                .rests_until
                .is_some_and(|until| until > Instant::now())
            {
                return channel.rests_until;
            }
            let took = channel.take(id, plan, &mut self.connection, &mut self.dice);
            let gave = channel.give(id, index, plan, &mut self.connection, &mut self.dice);
            if !took && !gave {
                return None;
            }
            if self.dice.chance(plan.slow) {
                let rest = Duration::from_millis(1 + self.dice.below(20) as u64);
                channel.rests_until = Some(Instant::now() + rest);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match &event {
            Event::Data { channel, stream } => return self.hear(*channel, *stream),
            Event::WindowOpened { .. } => return,
            event => self.trace.note("client", format_args!("{event:?}")),
        }
        match event {
            Event::ChannelOpen {
                channel,
                kind,
                payload,
            } => {
                assert_eq!(kind, "forwarded-tcpip");
                self.accept(usize::from(payload[0]), channel);
            }
            Event::OpenConfirmed { channel, .. } => {
                let channel = self.channel(channel);
                channel.is_open = true;
            }
            Event::OpenFailed {
                channel, reason, ..
            } => {
                assert_eq!(reason, OpenFailure::ConnectFailed as u32);
                self.channel(channel).refused = true;
            }
            Event::Eof { channel } => {
                let index = self.by_id[&channel];
                let is_session = self.plan.channels[index].kind == Kind::Session;
                self.check_output(index);
                let channel = self.channel(channel);
                assert!(!channel.eof && channel.exits == usize::from(is_session));
                channel.eof = true;
            }
            Event::PeerClosed { channel } => {
                let heard = self.channel(channel);
                assert!(
                    heard.eof && !heard.closed && !heard.over,
                    "CLOSE before EOF"
                );
                heard.over = true;
                self.connection.close(channel);
            }
            Event::Closed { channel } => {
                let channel = self.channel(channel);
                assert!(channel.closed && !channel.over);
                channel.over = true;
            }
            Event::Request {
                channel,
                request,
                want_reply,
                payload,
            } => {
                self.request(channel, &request, want_reply, &payload);
            }
            Event::Reply { channel, success } => self.channel(channel).got.push(success),
            Event::GlobalRequest {
                name,
                want_reply,
                payload,
            } => {
                assert_eq!(name, GLOBAL);
                if want_reply {
                    self.connection.global_reply(payload[0] == 1, b"");
                }
            }
            Event::GlobalReply { success, payload } => {
                // The relay's own refusals have none, as all failures.
                assert_eq!(payload, if success { &[1][..] } else { &[] });
                self.got.push(success);
            }
            other => panic!("{other:?}"),
        }
    }

    fn accept(&mut self, index: usize, id: ChannelId) {
        let plan = &self.plan.channels[index];
        let (window, packet) = plan.windows[0];
        if plan.refused {
            self.channels[index].refused = true;
            return self
                .connection
                .refuse(id, OpenFailure::ConnectFailed, "refused");
        }
        self.connection.accept(id, window, packet, b"");
        self.adopt(index, id);
        self.channels[index].is_open = true;
    }

    fn hear(&mut self, id: ChannelId, stream: Stream) {
        let index = self.by_id[&id];
        let data = self.connection.data();
        let (lane, which) = match stream {
            Stream::Data => (Lane::Output, 0),
            Stream::STDERR => (Lane::Errors, 1),
            other => panic!("{other:?}"),
        };
        let channel = &mut self.channels[index];
        let expected = bytes(index, lane, channel.heard[which], data.len());
        assert!(
            data == expected,
            "{lane:?} of channel {index} at {}",
            channel.heard[which]
        );
        assert!(!channel.eof && channel.exits == 0, "data after the end");
        channel.heard[which] += data.len();
        channel.unconsumed += data.len();
    }

    fn request(&mut self, id: ChannelId, name: &str, want_reply: bool, payload: &[u8]) {
        let index = self.by_id[&id];
        if name == KEEPALIVE {
            let success = payload[0] == 1;
            self.connection.reply(id, success);
            // After its own CLOSE it sees no request.
            self.channels[index]
                .replied
                .extend(want_reply.then_some(success));
            return;
        }
        let plan = &self.plan.channels[index];
        assert_eq!(plan.kind, Kind::Session);
        let (exit, details) = exit_message(plan.exit);
        assert_eq!((name, payload), (exit, &details[..]));
        self.check_output(index);
        let channel = &mut self.channels[index];
        assert!(!want_reply && !channel.eof);
        channel.exits += 1;
        assert_eq!(channel.exits, 1);
    }

    /// All output has come.
    fn check_output(&self, index: usize) {
        let plan = &self.plan.channels[index];
        assert_eq!(
            self.channels[index].heard,
            [plan.output, plan.errors],
            "channel {index}"
        );
    }

    fn channel(&mut self, id: ChannelId) -> &mut Channel {
        &mut self.channels[self.by_id[&id]]
    }
}

/// What the client saw in the end.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) channels: Vec<Channel>,
    /// Replies to global requests, wanted and got.
    pub(crate) wanted: Vec<bool>,
    pub(crate) got: Vec<bool>,
}

impl Channel {
    /// Is done with some of the data that came.
    fn take(
        &mut self,
        id: ChannelId,
        plan: &plan::Channel,
        connection: &mut Connection,
        dice: &mut Dice,
    ) -> bool {
        let bytes = self.unconsumed.min(1 + dice.below(plan.chunk));
        self.unconsumed -= bytes;
        connection.consumed(id, bytes);
        bytes > 0
    }

    /// Sends a request, data or an end: whatever comes next.
    fn give(
        &mut self,
        id: ChannelId,
        index: usize,
        plan: &plan::Channel,
        connection: &mut Connection,
        dice: &mut Dice,
    ) -> bool {
        if self.closed {
            return false;
        }
        let requests = match plan.kind {
            Kind::Session => 1 + plan.requests.len(),
            _ => 0,
        };
        let left = plan.input - self.sent;
        if self.requests.len() < requests
            && (left == 0 || dice.chance(30) || self.requests.is_empty())
        {
            self.ask(id, plan, connection);
            return true;
        }
        if left > 0 {
            let length = left.min(1 + dice.below(plan.chunk));
            let data = bytes(index, Lane::Input, self.sent, length);
            let sent = connection.send_data(id, Stream::Data, &data);
            self.sent += sent;
            return sent > 0;
        }
        self.end(id, plan.behind, connection)
    }

    /// Sends the next request: `exec`, and then others.
    fn ask(&mut self, id: ChannelId, plan: &plan::Channel, connection: &mut Connection) {
        let number = self.requests.len();
        let (name, reply) = match number {
            0 => ("exec", Some(true)),
            number => (REQUEST, plan.requests[number - 1]),
        };
        let payload = [u8::try_from(number).unwrap(), u8::from(reply == Some(true))];
        (connection.request(id, name, reply.is_some(), &payload)).unwrap();
        self.requests.extend(&payload[..1]);
        self.wanted.extend(reply);
    }

    /// Sends the end behind the data; true if that was new.
    fn end(&mut self, id: ChannelId, behind: Behind, connection: &mut Connection) -> bool {
        match behind {
            Behind::Eof | Behind::EofThenClose if !self.ended => connection.send_eof(id),
            Behind::Close | Behind::EofThenClose => {
                connection.close(id);
                self.closed = true;
            }
            Behind::Eof | Behind::Nothing => return false,
        }
        self.ended = true;
        true
    }
}
