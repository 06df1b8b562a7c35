//! Two connections back to back under lists of operations, against a model of what each channel must
//! deliver: bytes, EOF, requests and replies, each in its order and no other.
//!
//! Where the operations come from is left to others: `operations` draws them at random, and the fuzz
//! target `channels` reads them from its input.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use ssh_proto::connection::{ChannelId, Connection, Event, Limits, Stream};
use ssh_proto::msg::OpenFailure;

use super::wire::{pair, pump};

/// A side of the wire: 0 or 1.
pub(crate) type Side = usize;

/// What the applications on the two sides do. A `usize` picks one of the links there are.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Open(Side, u32, u32),
    Accept(Side, u32, u32),
    Refuse(Side),
    Send(Side, usize, Stream, usize),
    SendWith(Side, usize, Stream, usize),
    Consume(Side, usize, usize),
    Eof(Side, usize),
    Close(Side, usize),
    Request(Side, usize, bool),
    Reply(Side, usize, bool),
    GlobalRequest(Side, bool),
    GlobalReply(Side, bool),
    Poll(Side),
    Pump,
}

/// What one side says on a link, and what the other has heard of it.
#[derive(Debug, Default)]
struct Direction {
    sent: Vec<(u32, u8)>,
    heard: Vec<(u32, u8)>,
    unconsumed: usize,
    eof_sent: bool,
    eof_heard: bool,
    /// By the application; the answer to the peer's CLOSE does not count.
    closed: bool,
    requests: Vec<(String, bool)>,
    requests_heard: Vec<(String, bool)>,
    /// Requests heard that want a reply and have none.
    unanswered: usize,
    /// Requests sent that want a reply and have none.
    awaited: u16,
    /// The replies to this direction's requests.
    replies: Vec<bool>,
    replies_heard: Vec<bool>,
}

/// One channel, seen from both sides.
#[derive(Debug, Default)]
struct Link {
    /// The number on each side, from its open or offer to its end.
    ids: [Option<ChannelId>; 2],
    /// Whether this side may use it.
    confirmed: [bool; 2],
    /// The window that each side gave to the other.
    windows: [u32; 2],
    /// Each side's direction.
    from: [Direction; 2],
}

impl Link {
    fn is_open(&self, side: Side) -> bool {
        self.confirmed[side] && self.ids[side].is_some() && !self.from[side].closed
    }
}

/// Global requests of one side.
#[derive(Debug, Default)]
struct Global {
    requests: Vec<(String, bool)>,
    heard: Vec<(String, bool)>,
    unanswered: usize,
    awaited: u16,
    replies: Vec<(bool, Vec<u8>)>,
    replies_heard: Vec<(bool, Vec<u8>)>,
}

/// Runs the operations, and lets everything arrive that they have sent.
pub(crate) fn run(operations: impl IntoIterator<Item = Operation>) {
    let mut model = Model::new();
    for operation in operations {
        model.run(operation);
        model.check();
    }
    model.settle();
    model.check();
    model.check_settled();
    model.check_windows();
    model.close_all();
    model.check_settled();
}

struct Model {
    ends: [Connection; 2],
    limits: Limits,
    links: Vec<Link>,
    /// From the numbers in use on a side to the links.
    numbers: [HashMap<ChannelId, usize>; 2],
    /// Offers that a side has not answered.
    offers: [VecDeque<usize>; 2],
    global: [Global; 2],
    /// Goes into everything that is sent, so that nothing is like anything else.
    counter: usize,
}

fn code(stream: Stream) -> u32 {
    match stream {
        Stream::Data => 0,
        Stream::Extended(code) => code,
    }
}

impl Model {
    fn new() -> Self {
        let limits = Limits {
            channels: 5,
            replies: 3,
            ..Limits::default()
        };
        let (a, b) = pair(&limits);
        Self {
            ends: [a, b],
            limits,
            links: Vec::new(),
            numbers: Default::default(),
            offers: Default::default(),
            global: Default::default(),
            counter: 0,
        }
    }

    fn next(&mut self) -> usize {
        self.counter += 1;
        self.counter
    }

    fn pump(&mut self) {
        let [a, b] = &mut self.ends;
        pump(a, b);
    }

    /// The link that a number stands for, if the side has a channel for it.
    fn pick(&self, side: Side, link: usize) -> Option<(usize, ChannelId)> {
        let link = link % self.links.len().max(1);
        Some((link, self.links.get(link)?.ids[side]?))
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Open(side, window, max_packet) => self.open(side, window, max_packet),
            Operation::Accept(side, window, max_packet) => self.accept(side, window, max_packet),
            Operation::Refuse(side) => self.refuse(side),
            Operation::Send(side, link, stream, length) => {
                self.send(side, link, stream, length, false);
            }
            Operation::SendWith(side, link, stream, length) => {
                self.send(side, link, stream, length, true);
            }
            Operation::Consume(side, link, bytes) => self.consume(side, link, bytes),
            Operation::Eof(side, link) => self.eof(side, link),
            Operation::Close(side, link) => self.close(side, link),
            Operation::Request(side, link, want_reply) => self.request(side, link, want_reply),
            Operation::Reply(side, link, success) => self.reply(side, link, success),
            Operation::GlobalRequest(side, want_reply) => self.global_request(side, want_reply),
            Operation::GlobalReply(side, success) => self.global_reply(side, success),
            Operation::Poll(side) => self.poll(side),
            Operation::Pump => self.pump(),
        }
    }

    fn open(&mut self, side: Side, window: u32, max_packet: u32) {
        let link = self.links.len();
        let tag = link.to_be_bytes();
        let opened = self.ends[side].open("test", window, max_packet, &tag);
        let full = self.numbers[side].len() >= self.limits.channels;
        assert_eq!(opened.is_err(), full);
        if let Ok(id) = opened {
            let mut ids = [None; 2];
            ids[side] = Some(id);
            let mut windows = [0; 2];
            windows[side] = window;
            self.links.push(Link {
                ids,
                windows,
                ..Link::default()
            });
            assert_eq!(self.numbers[side].insert(id, link), None);
        }
    }

    fn accept(&mut self, side: Side, window: u32, max_packet: u32) {
        if let Some(link) = self.offers[side].pop_front() {
            let id = self.links[link].ids[side].unwrap();
            self.ends[side].accept(id, window, max_packet, b"welcome");
            self.links[link].confirmed[side] = true;
            self.links[link].windows[side] = window;
        }
    }

    fn refuse(&mut self, side: Side) {
        if let Some(link) = self.offers[side].pop_front() {
            let id = self.links[link].ids[side].take().unwrap();
            self.numbers[side].remove(&id);
            self.ends[side].refuse(id, OpenFailure::ConnectFailed, "refused");
        }
    }

    fn send(&mut self, side: Side, link: usize, stream: Stream, length: usize, within: bool) {
        let seed = self.next();
        let Some((link, id)) = self.pick(side, link) else {
            return;
        };
        let bytes: Vec<u8> = (0..length).map(|n| (n + seed).to_be_bytes()[7]).collect();
        let end = &mut self.ends[side];
        let writable = end.writable(id);
        let taken = if within {
            let fill = |buffer: &mut [u8]| {
                assert_eq!(buffer.len(), writable);
                let count = length.min(buffer.len());
                buffer[..count].copy_from_slice(&bytes[..count]);
                (count, count)
            };
            end.send_data_with(id, stream, fill).unwrap_or(0)
        } else {
            end.send_data(id, stream, &bytes)
        };
        assert!(taken >= writable.min(length) && taken <= length);
        let open = self.links[link].is_open(side);
        let from = &mut self.links[link].from[side];
        assert!(taken == 0 || open && !from.eof_sent);
        let sent = bytes[..taken].iter().map(|byte| (code(stream), *byte));
        from.sent.extend(sent);
    }

    fn consume(&mut self, side: Side, link: usize, bytes: usize) {
        if let Some((link, id)) = self.pick(side, link) {
            let from = &mut self.links[link].from[1 - side];
            from.unconsumed = from.unconsumed.saturating_sub(bytes);
            self.ends[side].consumed(id, bytes);
        }
    }

    fn eof(&mut self, side: Side, link: usize) {
        if let Some((link, id)) = self.pick(side, link) {
            self.ends[side].send_eof(id);
            let open = self.links[link].is_open(side);
            self.links[link].from[side].eof_sent |= open;
        }
    }

    fn close(&mut self, side: Side, link: usize) {
        if let Some((link, id)) = self.pick(side, link) {
            self.ends[side].close(id);
            let open = self.links[link].is_open(side);
            self.links[link].from[side].closed |= open;
        }
    }

    fn request(&mut self, side: Side, link: usize, want_reply: bool) {
        let name = self.next().to_string();
        let Some((link, id)) = self.pick(side, link) else {
            return;
        };
        let open = self.links[link].is_open(side);
        let result = self.ends[side].request(id, &name, want_reply, name.as_bytes());
        let from = &mut self.links[link].from[side];
        let full = want_reply && from.awaited == self.limits.replies;
        assert_eq!(result.is_err(), open && full);
        if open && !full {
            from.awaited += u16::from(want_reply);
            from.requests.push((name, want_reply));
        }
    }

    fn reply(&mut self, side: Side, link: usize, success: bool) {
        if let Some((link, id)) = self.pick(side, link) {
            self.ends[side].reply(id, success);
            let open = self.links[link].is_open(side);
            let from = &mut self.links[link].from[1 - side];
            if open && from.unanswered > 0 {
                from.unanswered -= 1;
                from.replies.push(success);
            }
        }
    }

    fn global_request(&mut self, side: Side, want_reply: bool) {
        let name = self.next().to_string();
        let result = self.ends[side].global_request(&name, want_reply, name.as_bytes());
        let global = &mut self.global[side];
        let full = want_reply && global.awaited == self.limits.replies;
        assert_eq!(result.is_err(), full);
        if !full {
            global.awaited += u16::from(want_reply);
            global.requests.push((name, want_reply));
        }
    }

    fn global_reply(&mut self, side: Side, success: bool) {
        let payload = self.next().to_be_bytes();
        self.ends[side].global_reply(success, &payload);
        let global = &mut self.global[1 - side];
        if global.unanswered > 0 {
            global.unanswered -= 1;
            let payload = if success {
                payload.to_vec()
            } else {
                Vec::new()
            };
            global.replies.push((success, payload));
        }
    }

    /// Polls one side until there is no more.
    fn poll(&mut self, side: Side) {
        loop {
            match self.ends[side].poll(Instant::now()).unwrap() {
                Event::NeedInput => return,
                event => self.handle(side, event),
            }
        }
    }

    fn handle(&mut self, side: Side, event: Event) {
        let other = 1 - side;
        match event {
            Event::ChannelOpen {
                channel,
                kind,
                payload,
            } => {
                assert_eq!(kind, "test");
                let link = usize::from_be_bytes(payload.try_into().unwrap());
                self.links[link].ids[side] = Some(channel);
                assert_eq!(self.numbers[side].insert(channel, link), None);
                self.offers[side].push_back(link);
            }
            Event::OpenConfirmed { channel, payload } => {
                assert_eq!(payload, b"welcome");
                self.link(side, channel).confirmed[side] = true;
            }
            Event::OpenFailed { channel, .. } => {
                assert!(!self.link(side, channel).confirmed[side]);
                self.forget(side, channel);
            }
            Event::Data { channel, stream } => {
                let data: Vec<u8> = self.ends[side].data().to_vec();
                let from = self.heard(side, channel);
                assert!(!data.is_empty() && !from.eof_heard);
                from.unconsumed += data.len();
                let heard = data.into_iter().map(|byte| (code(stream), byte));
                from.heard.extend(heard);
            }
            Event::Eof { channel } => {
                let from = self.heard(side, channel);
                assert!(from.eof_sent && !from.eof_heard);
                from.eof_heard = true;
            }
            Event::PeerClosed { channel } => {
                let link = self.link(side, channel);
                assert!(link.from[other].closed && !link.from[side].closed);
                self.ends[side].close(channel);
                self.forget(side, channel);
            }
            Event::Closed { channel } => {
                assert!(self.link(side, channel).from[side].closed);
                self.forget(side, channel);
            }
            Event::Request {
                channel,
                request,
                want_reply,
                payload,
            } => {
                assert_eq!(request.as_bytes(), payload);
                let from = self.heard(side, channel);
                from.unanswered += usize::from(want_reply);
                from.requests_heard.push((request, want_reply));
            }
            Event::Reply { channel, success } => {
                assert!(self.link(side, channel).is_open(side));
                let from = &mut self.link(side, channel).from[side];
                from.awaited -= 1;
                from.replies_heard.push(success);
            }
            Event::WindowOpened { channel } => {
                assert!(self.ends[side].writable(channel) > 0);
            }
            Event::GlobalRequest {
                name,
                want_reply,
                payload,
            } => {
                assert_eq!(name.as_bytes(), payload);
                let global = &mut self.global[other];
                global.unanswered += usize::from(want_reply);
                global.heard.push((name, want_reply));
            }
            Event::GlobalReply { success, payload } => {
                let global = &mut self.global[side];
                global.awaited -= 1;
                global.replies_heard.push((success, payload));
            }
            Event::NeedInput | Event::Transport(_) => panic!("{event:?}"),
        }
    }

    fn link(&mut self, side: Side, channel: ChannelId) -> &mut Link {
        &mut self.links[self.numbers[side][&channel]]
    }

    /// The direction towards `side` of a channel on which something may still be heard there.
    fn heard(&mut self, side: Side, channel: ChannelId) -> &mut Direction {
        let link = self.link(side, channel);
        assert!(link.is_open(side));
        &mut link.from[1 - side]
    }

    fn forget(&mut self, side: Side, channel: ChannelId) {
        let link = self.numbers[side].remove(&channel).unwrap();
        self.links[link].ids[side] = None;
    }

    /// What must hold at any time.
    fn check(&self) {
        for side in [0, 1] {
            assert_eq!(self.ends[side].channels(), self.numbers[side].len());
            for (id, link) in &self.numbers[side] {
                let link = &self.links[*link];
                assert_eq!(self.ends[side].is_open(*id), link.is_open(side));
            }
        }
        for from in self.links.iter().flat_map(|link| &link.from) {
            assert!(from.sent.starts_with(&from.heard));
            assert!(from.requests.starts_with(&from.requests_heard));
            assert!(from.replies.starts_with(&from.replies_heard));
        }
    }

    /// Lets everything that is under way arrive, consumed at once.
    fn settle(&mut self) {
        for _ in 0..8 {
            for side in [0, 1] {
                self.pump();
                self.poll(side);
                while !self.offers[side].is_empty() {
                    self.accept(side, 100, 100);
                }
                for link in 0..self.links.len() {
                    self.consume(side, link, usize::MAX);
                }
            }
        }
    }

    /// What must hold when everything has arrived: nothing is lost but what came after a close.
    fn check_settled(&self) {
        for link in &self.links {
            for side in [0, 1] {
                let from = &link.from[side];
                if !link.from[1 - side].closed {
                    assert_eq!(from.sent, from.heard);
                    assert_eq!(from.eof_sent, from.eof_heard);
                    assert_eq!(from.requests, from.requests_heard);
                }
                if !from.closed {
                    assert_eq!(from.replies, from.replies_heard);
                }
            }
        }
        for global in &self.global {
            assert_eq!(global.requests, global.heard);
            assert_eq!(global.replies, global.replies_heard);
        }
    }

    /// No window leaks: what was given once can be used again and again.
    fn check_windows(&self) {
        for link in &self.links {
            let open = [0, 1].map(|side| link.is_open(side));
            for side in [0, 1] {
                let (window, ended) = (link.windows[1 - side], link.from[side].eof_sent);
                let sendable = open == [true; 2] && !ended && window > 0;
                let writable = link.ids[side].map_or(0, |id| self.ends[side].writable(id));
                assert_eq!(writable > 0, sendable);
            }
        }
    }

    /// Closes every channel; none is left on either side.
    fn close_all(&mut self) {
        for link in 0..self.links.len() {
            self.close(link % 2, link);
            self.close(1 - link % 2, link);
        }
        self.settle();
        assert_eq!(self.ends.each_ref().map(Connection::channels), [0, 0]);
    }
}
