//! The daemon: the session layer that `diego-sshd` stands on, with its rules for ends, and scripted
//! programs in place of processes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ssh_proto::Error;
use ssh_proto::connection::forward::TcpipForward;
use ssh_proto::connection::request::{ExitSignal, ExitStatus, SESSION};
use ssh_proto::connection::{ChannelId, Event as Message, Limits};
use ssh_proto::msg;
use ssh_proto::msg::OpenFailure;
use ssh_proto::wire::Put;
use ssh_tokio::Authenticated;
use ssh_tokio::session::{Event, Session};
use ssh_tokio::wire::now;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::client::{GLOBAL, REQUEST};
use super::plan::{Exit, Kind, Plan, Reply, Step, What};
use super::process::{Input, Process};
use super::{Dice, Trace};

/// The name of the daemon's signs of life.
pub(crate) const KEEPALIVE: &str = "keepalive@example.com";

/// What the daemon saw and did on one channel.
#[derive(Debug, Default, Clone)]
pub(crate) struct Channel {
    /// Requests of the client, by their numbers.
    pub(crate) requests: Vec<u8>,
    /// Replies to those.
    pub(crate) replied: Vec<bool>,
    /// Replies wanted of the client, and got.
    pub(crate) wanted: Vec<bool>,
    pub(crate) got: Vec<bool>,
    /// The daemon has closed it by itself.
    pub(crate) closed: bool,
    pub(crate) input: Option<Input>,
}

/// How a channel's work goes.
#[derive(Debug, Default)]
struct Work {
    index: usize,
    drained: bool,
    sunk: bool,
    exited: bool,
}

/// What the daemon saw in the end.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) channels: Vec<Channel>,
    /// Replies to global requests, wanted and got.
    pub(crate) wanted: Vec<bool>,
    pub(crate) got: Vec<bool>,
}

/// The daemon.
pub(crate) struct Daemon {
    plan: Arc<Plan>,
    trace: Trace,
    session: Session<DuplexStream>,
    works: BTreeMap<ChannelId, Work>,
    steps: VecDeque<Step>,
    /// Channels that the daemon is to open: when, and which.
    forwards: VecDeque<(u64, usize)>,
    start: Instant,
    programs: JoinSet<(usize, Input)>,
    exits: (mpsc::UnboundedSender<usize>, mpsc::UnboundedReceiver<usize>),
    /// Told when there is nothing more to do but what the client wants.
    ready: Option<oneshot::Sender<()>>,
    report: Report,
    dice: Dice,
}

impl Daemon {
    pub(crate) fn new(
        wire: Authenticated<DuplexStream>,
        plan: Arc<Plan>,
        trace: Trace,
        ready: oneshot::Sender<()>,
    ) -> Self {
        let steps = plan.steps.iter().filter(|step| !step.by_client);
        Self {
            trace,
            session: Session::new(wire, Limits::default()),
            works: BTreeMap::new(),
            steps: steps.cloned().collect(),
            forwards: VecDeque::new(),
            start: Instant::now(),
            programs: JoinSet::new(),
            exits: mpsc::unbounded_channel(),
            ready: Some(ready),
            report: Report {
                channels: vec![Channel::default(); plan.channels.len()],
                wanted: Vec::new(),
                got: Vec::new(),
            },
            dice: Dice::new(plan.seed, 10),
            plan,
        }
    }

    /// Serves until the client ends the connection, and programs have read what is in their pipes.
    pub(crate) async fn run(mut self) -> Report {
        let end = loop {
            self.take_steps();
            let next = self.next_step();
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let (exits, session) = (&mut self.exits.1, &mut self.session);
            // What is first when several are ready is a matter of luck in the daemon, too.
            let next = if self.dice.chance(50) {
                tokio::select! {
                    biased;
                    event = session.next() => event.map(Next::Event),
                    exit = exits.recv() => Ok(Next::Exit(exit.unwrap())),
                    () = due => Ok(Next::Step),
                }
            } else {
                tokio::select! {
                    biased;
                    () = due => Ok(Next::Step),
                    exit = exits.recv() => Ok(Next::Exit(exit.unwrap())),
                    event = session.next() => event.map(Next::Event),
                }
            };
            match next {
                Err(error) => break error,
                Ok(Next::Step) => {}
                Ok(Next::Exit(index)) => self.exited(index),
                Ok(Next::Event(event)) => self.handle(event),
            }
        };
        self.trace.note("daemon", format_args!("ends: {end}"));
        let Error::Disconnected { .. } = self.session.close(end).await else {
            panic!("the daemon's connection is lost");
        };
        while let Some(program) = self.programs.join_next().await {
            let (index, input) = program.unwrap_or_else(|failed| {
                std::panic::resume_unwind(failed.into_panic());
            });
            self.report.channels[index].input = Some(input);
        }
        self.report
    }

    fn next_step(&self) -> Option<Instant> {
        let steps = self.steps.front().map(|step| step.at);
        let forwards = self.forwards.front().map(|(at, _)| *at);
        let at = steps.into_iter().chain(forwards).min()?;
        Some(self.start + Duration::from_millis(at))
    }

    /// Does what is due.
    fn take_steps(&mut self) {
        let elapsed = self.start.elapsed().as_millis();
        while let Some(step) = self
            .steps
            .pop_front_if(|step| u128::from(step.at) <= elapsed)
        {
            self.step(step.what);
        }
        while let Some((_, index)) = self.forwards.pop_front_if(|it| u128::from(it.0) <= elapsed) {
            self.open_forward(index);
        }
        if self.steps.is_empty()
            && self.report.got.len() == self.report.wanted.len()
            && let Some(ready) = self.ready.take()
        {
            ready.send(()).unwrap();
        }
    }

    fn step(&mut self, what: What) {
        self.trace.note("daemon", format_args!("{what:?}"));
        let connection = self.session.connection();
        match what {
            What::Rekey => connection.transport_mut().start_rekey(now()),
            What::Ping => connection.transport_mut().send(&[&ping()]),
            What::Global(reply) => {
                let payload = [u8::from(reply == Some(true))];
                let sent = connection.global_request(GLOBAL, reply.is_some(), &payload);
                sent.unwrap();
                self.report.wanted.extend(reply);
            }
            What::Prove => {}
            What::Keepalive(index, reply) => self.keep_alive(index, reply),
        }
    }

    fn keep_alive(&mut self, index: usize, reply: Reply) {
        let connection = self.session.connection();
        let mut works = self.works.iter();
        if let Some((id, _)) =
            works.find(|(id, work)| work.index == index && connection.is_open(**id))
        {
            let payload = [u8::from(reply == Some(true))];
            let sent = connection.request(*id, KEEPALIVE, reply.is_some(), &payload);
            sent.unwrap();
            self.report.channels[index].wanted.extend(reply);
        }
    }

    fn open_forward(&mut self, index: usize) {
        let (window, packet) = self.plan.channels[index].windows[1];
        let payload = [u8::try_from(index).unwrap()];
        let connection = self.session.connection();
        let id = connection
            .open("forwarded-tcpip", window, packet, &payload)
            .unwrap();
        self.works.insert(id, Work::of(index));
    }

    fn handle(&mut self, event: Event) {
        self.trace.note("daemon", format_args!("{event:?}"));
        match event {
            Event::Drained(id) => self.progress(id, |work| work.drained = true),
            Event::Sunk(id) => self.progress(id, |work| work.sunk = true),
            Event::Connection(message) => self.hear(message),
        }
    }

    fn hear(&mut self, message: Message) {
        let connection = self.session.connection();
        match message {
            Message::ChannelOpen {
                channel,
                kind,
                payload,
            } => {
                let index = usize::from(payload[0]);
                let plan = &self.plan.channels[index];
                if plan.refused {
                    return connection.refuse(channel, OpenFailure::ConnectFailed, "refused");
                }
                let (window, packet) = plan.windows[1];
                connection.accept(channel, window, packet, b"");
                self.works.insert(channel, Work::of(index));
                if kind != SESSION {
                    self.start_program(channel);
                }
            }
            Message::OpenConfirmed { channel, .. } => self.start_program(channel),
            Message::OpenFailed { channel, .. } => {
                let work = self.works.remove(&channel).unwrap();
                assert!(self.plan.channels[work.index].refused);
            }
            Message::Request {
                channel,
                request,
                want_reply,
                payload,
            } => {
                self.request(channel, &request, want_reply, &payload);
            }
            Message::Reply { channel, success } => {
                let index = self.works[&channel].index;
                self.report.channels[index].got.push(success);
            }
            Message::GlobalRequest {
                name,
                want_reply,
                payload,
            } => {
                self.global_request(&name, want_reply, &payload);
            }
            Message::GlobalReply { success, .. } => self.report.got.push(success),
            Message::PeerClosed { channel } => drop(self.works.remove(&channel).unwrap()),
            Message::Closed { channel } => drop(self.works.remove(&channel).unwrap()),
            Message::Eof { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn request(&mut self, id: ChannelId, name: &str, want_reply: bool, payload: &[u8]) {
        let index = self.works[&id].index;
        let (number, success) = (payload[0], payload[1] == 1);
        let report = &mut self.report.channels[index];
        report.requests.push(number);
        // After its own CLOSE it can answer nothing.
        if want_reply && !report.closed {
            report.replied.push(success);
        }
        let connection = self.session.connection();
        connection.reply(id, success);
        match name {
            "exec" => self.start_program(id),
            name => assert_eq!(name, REQUEST),
        }
    }

    fn global_request(&mut self, name: &str, want_reply: bool, payload: &[u8]) {
        let connection = self.session.connection();
        if name == TcpipForward::NAME {
            let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap();
            let channels = self.plan.channels.iter().enumerate();
            let forwards = channels.filter(|(_, plan)| plan.kind == Kind::Forwarded);
            let mut forwards: Vec<_> = forwards
                .map(|(index, plan)| (elapsed + plan.opens_at, index))
                .collect();
            forwards.sort_unstable();
            self.forwards = forwards.into();
            return connection.global_reply(true, payload);
        }
        assert_eq!(name, GLOBAL);
        if want_reply {
            connection.global_reply(payload[0] == 1, payload);
        }
    }

    fn start_program(&mut self, id: ChannelId) {
        let index = self.works[&id].index;
        let plan = self.plan.channels[index].clone();
        let dice = Dice::new(self.plan.seed, 100 + index as u64);
        let (program, pipes) = Process::new(index, plan, self.trace.clone(), dice);
        self.session.join(id, pipes);
        let exits = self.exits.0.clone();
        self.programs
            .spawn(async move { (index, program.run(exits).await) });
    }

    fn exited(&mut self, index: usize) {
        self.trace.note("daemon", format_args!("exit of {index}"));
        let mut works = self.works.iter();
        let id = works
            .find(|(_, work)| work.index == index)
            .map(|(id, _)| *id);
        // Its client may have closed the channel.
        if let Some(id) = id {
            self.progress(id, |work| work.exited = true);
        }
    }

    /// Something of a channel's work has ended: the rules of `diego-sshd` for what is told.
    fn progress(&mut self, id: ChannelId, mark: impl FnOnce(&mut Work)) {
        let Some(work) = self.works.get_mut(&id) else {
            return;
        };
        mark(work);
        let plan = &self.plan.channels[work.index];
        let connection = self.session.connection();
        let is_over = match plan.kind {
            Kind::Session => work.drained && work.exited,
            _ => {
                if work.drained {
                    connection.send_eof(id);
                }
                work.drained && work.sunk
            }
        };
        let report = &mut self.report.channels[work.index];
        if !is_over || report.closed {
            return;
        }
        if plan.kind == Kind::Session {
            let (name, payload) = exit_message(plan.exit);
            connection.request(id, name, false, &payload).unwrap();
        }
        connection.send_eof(id);
        connection.close(id);
        report.closed = true;
    }
}

impl Work {
    fn of(index: usize) -> Self {
        Self {
            index,
            ..Self::default()
        }
    }
}

/// What the daemon waits for.
enum Next {
    Event(Event),
    Exit(usize),
    Step,
}

/// SSH2_MSG_PING.
pub(crate) fn ping() -> Vec<u8> {
    let mut payload = vec![msg::PING];
    payload.put_string(b"are you there");
    payload
}

/// The request that tells of an end.
pub(crate) fn exit_message(exit: Exit) -> (&'static str, Vec<u8>) {
    match exit {
        Exit::Status(status) => (ExitStatus::NAME, ExitStatus { status }.encode()),
        Exit::Signal => {
            let signal = ExitSignal {
                name: b"TERM",
                core_dumped: false,
                message: b"",
                language: b"",
            };
            (ExitSignal::NAME, signal.encode())
        }
    }
}
