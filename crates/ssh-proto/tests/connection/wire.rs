//! Two transports and the wire between them: the one place of these tests that knows how payloads
//! get from one end to the other.

use std::time::Instant;

use ssh_proto::Error;
use ssh_proto::connection::{ChannelId, Connection, Event, Limits};
use ssh_proto::msg;
use ssh_proto::transport::{self, Transport};
use ssh_proto::wire::Put;

use crate::support::{Pair, feed, take_output};

/// Two ends that are ready for the connection protocol.
pub(crate) fn transports() -> (Transport, Transport) {
    let [client, server] = Pair::authenticated().ends;
    (client, server)
}

/// Carries everything that either end has sent to the other.
pub(crate) fn carry(a: &mut Transport, b: &mut Transport) {
    feed(b, &take_output(a));
    feed(a, &take_output(b));
}

/// Two connections back to back.
pub(crate) fn pair(limits: &Limits) -> (Connection, Connection) {
    let (a, b) = transports();
    (
        Connection::new(a, limits.clone()),
        Connection::new(b, limits.clone()),
    )
}

/// Carries everything that either connection has sent to the other.
pub(crate) fn pump(a: &mut Connection, b: &mut Connection) {
    carry(a.transport_mut(), b.transport_mut());
}

/// One connection, a server's, and a peer that says whatever the test wants.
pub(crate) struct Rig {
    pub(crate) connection: Connection,
    pub(crate) peer: Transport,
}

impl Rig {
    pub(crate) fn new(limits: Limits) -> Self {
        let (peer, ours) = transports();
        let connection = Connection::new(ours, limits);
        Self { connection, peer }
    }

    /// The peer sends a payload.
    pub(crate) fn say(&mut self, payload: &[u8]) {
        self.peer.send(&[payload]);
        carry(self.connection.transport_mut(), &mut self.peer);
    }

    pub(crate) fn poll(&mut self) -> Result<Event, Error> {
        self.connection.poll(Instant::now())
    }

    /// What comes of a payload of the peer.
    pub(crate) fn event(&mut self, payload: &[u8]) -> Event {
        self.say(payload);
        self.poll().unwrap()
    }

    /// The payload ends the connection as a protocol error, and the peer is told so.
    pub(crate) fn cut(&mut self, payload: &[u8]) -> Error {
        self.say(payload);
        let error = self.poll().expect_err("must end the connection");
        self.told(&error);
        error
    }

    /// The peer is told of the error, as one of its own.
    pub(crate) fn told(&mut self, error: &Error) {
        carry(self.connection.transport_mut(), &mut self.peer);
        let told = loop {
            match self.peer.poll(Instant::now()) {
                Ok(transport::Event::NeedInput) => panic!("the peer was not told: {error}"),
                Ok(_) => {}
                Err(told) => break told,
            }
        };
        let description = error.description();
        assert_eq!(
            told,
            Error::Disconnected {
                reason: 2,
                description
            }
        );
    }

    /// The payloads that the peer got since the last time.
    pub(crate) fn heard(&mut self) -> Vec<Vec<u8>> {
        carry(self.connection.transport_mut(), &mut self.peer);
        let mut payloads = Vec::new();
        while self.peer.poll(Instant::now()).unwrap() == transport::Event::Packet {
            payloads.push(self.peer.packet().to_vec());
        }
        payloads
    }

    /// A channel that the peer opened, with number 7 on its side.
    pub(crate) fn accepted(&mut self, window: u32, max_packet: u32) -> ChannelId {
        let Event::ChannelOpen { channel, .. } = self.event(&open(7, window, max_packet)) else {
            panic!("no channel");
        };
        self.connection.accept(channel, 100, 50, b"");
        self.heard();
        channel
    }

    /// A channel that we opened, not answered yet.
    pub(crate) fn opening(&mut self) -> ChannelId {
        let channel = self.connection.open("session", 100, 50, b"").unwrap();
        self.heard();
        channel
    }
}

/// CHANNEL_OPEN of a session.
pub(crate) fn open(sender: u32, window: u32, max_packet: u32) -> Vec<u8> {
    let mut payload = vec![msg::CHANNEL_OPEN];
    payload.put_string(b"session");
    for number in [sender, window, max_packet] {
        payload.put_u32(number);
    }
    payload
}

/// A message number and numbers behind it.
pub(crate) fn numbers(message: u8, fields: &[u32]) -> Vec<u8> {
    let mut payload = vec![message];
    fields.iter().for_each(|field| payload.put_u32(*field));
    payload
}

/// CHANNEL_DATA.
pub(crate) fn data(channel: u32, bytes: &[u8]) -> Vec<u8> {
    let mut payload = numbers(msg::CHANNEL_DATA, &[channel]);
    payload.put_string(bytes);
    payload
}

/// CHANNEL_EXTENDED_DATA.
pub(crate) fn extended(channel: u32, code: u32, bytes: &[u8]) -> Vec<u8> {
    let mut payload = numbers(msg::CHANNEL_EXTENDED_DATA, &[channel, code]);
    payload.put_string(bytes);
    payload
}

/// CHANNEL_REQUEST.
pub(crate) fn request(channel: u32, name: &[u8], want_reply: bool) -> Vec<u8> {
    let mut payload = numbers(msg::CHANNEL_REQUEST, &[channel]);
    payload.put_string(name);
    payload.put_bool(want_reply);
    payload
}

/// GLOBAL_REQUEST.
pub(crate) fn global_request(name: &[u8], want_reply: bool) -> Vec<u8> {
    let mut payload = vec![msg::GLOBAL_REQUEST];
    payload.put_string(name);
    payload.put_bool(want_reply);
    payload
}

/// CHANNEL_OPEN_FAILURE.
pub(crate) fn open_failure(channel: u32, reason: u32, text: &[u8]) -> Vec<u8> {
    let mut payload = numbers(msg::CHANNEL_OPEN_FAILURE, &[channel, reason]);
    payload.put_string(text);
    payload.put_string(b"");
    payload
}
