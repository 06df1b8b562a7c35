//! The connection protocol: two connections against a model, and one against a hostile peer.

use std::time::Instant;

use ssh_proto::connection::request::ExitStatus;
use ssh_proto::connection::{ChannelId, Connection, Event, Limits, Stream};
use ssh_proto::msg::{self, OpenFailure};
use ssh_proto::transport::{self, Role};
use ssh_proto::wire::Put;

use super::clear::{self, Ear, Peer};
use super::userauth::anything;
use crate::input::Input;
use model::Operation;

// The tests of the connection protocol run the same model, on operations that proptest draws.
#[path = "../../../crates/ssh-proto/tests/connection/model.rs"]
mod model;
mod wire;

/// More operations say nothing new, and the model keeps all bytes.
const MOST_OPERATIONS: usize = 200;

/// A bit of an application's mood: the peer does not read what is sent.
const READS_NOTHING: u8 = 8;

/// How often a message comes that floods. With longer ones, more output than a transport holds.
const FLOOD: usize = 400;

/// So low that an input gets to each.
pub(super) const LIMITS: Limits = Limits {
    channels: 3,
    window: 100,
    total_window: 1000,
    max_packet: 60,
    replies: 2,
};

/// Two connections back to back under a list of operations: each channel delivers what the model says.
/// Or one connection, an application and a peer that says anything: the bounds hold, and it ends with
/// a reason or not at all.
pub fn channels(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() {
        return hostile(input);
    }
    let mut operations = Vec::new();
    while !input.is_empty() && operations.len() < MOST_OPERATIONS {
        operations.push(operation(&mut input));
    }
    model::run(operations);
}

fn operation(input: &mut Input<'_>) -> Operation {
    let kind = input.below(25);
    let side = input.below(2);
    let mut size = || u32::from(input.byte());
    match kind {
        0 => Operation::Open(side, size(), size()),
        1 | 2 => Operation::Accept(side, size(), size()),
        3 => Operation::Refuse(side),
        4..=6 => Operation::Send(side, input.below(8), stream(input), length(input)),
        7..=9 => Operation::SendWith(side, input.below(8), stream(input), length(input)),
        10..=12 => Operation::Consume(side, input.below(8), length(input)),
        13 => Operation::Eof(side, input.below(8)),
        14 => Operation::Close(side, input.below(8)),
        15 => Operation::Request(side, input.below(8), input.flag()),
        16 => Operation::Reply(side, input.below(8), input.flag()),
        17 => Operation::GlobalRequest(side, input.flag()),
        18 => Operation::GlobalReply(side, input.flag()),
        19..=21 => Operation::Poll(side),
        _ => Operation::Pump,
    }
}

fn stream(input: &mut Input<'_>) -> Stream {
    input.pick(&[Stream::Data, Stream::STDERR])
}

fn length(input: &mut Input<'_>) -> usize {
    2 * usize::from(input.byte())
}

fn hostile(mut input: Input<'_>) {
    let role = input.pick(&[Role::Server, Role::Client]);
    let Peer {
        mut transport,
        mut ear,
        now,
        ..
    } = Peer::keyed(role);
    transport.set_authenticated();
    let mut connection = Connection::new(transport, LIMITS);
    let mut flooded = false;
    while !input.is_empty() {
        let mood = input.byte();
        let kind = input.below(32);
        let message = match kind {
            0..=3 => kex_message(role, &mut input),
            _ => message(&mut input),
        };
        // One flood shows what there is to see, and takes its time.
        let floods = kind == 31 && !flooded;
        flooded |= floods;
        let times = if floods { FLOOD } else { 1 };
        for _ in 0..times {
            start_something(&mut connection, now, mood);
            clear::feed(connection.transport_mut(), &clear::packet(&message));
            if !attend(&mut connection, &mut ear, now, mood) {
                return;
            }
        }
    }
}

/// Polls a connection for an application in this mood, whose peer may read nothing for as long as it
/// can. False when the connection has ended, as it should.
pub(super) fn attend(connection: &mut Connection, ear: &mut Ear, now: Instant, mood: u8) -> bool {
    loop {
        let polled = connection.poll(now);
        assert!(connection.channels() <= LIMITS.channels);
        match polled {
            Ok(Event::NeedInput) => break,
            Ok(Event::Transport(event)) => {
                assert_eq!(event, transport::Event::NeedOutput);
                ear.hear(connection.transport_mut());
            }
            Ok(event) => answer(connection, &event, mood),
            Err(error) => {
                ear.check_end(connection.transport_mut(), now, &error);
                return false;
            }
        }
    }
    if mood & READS_NOTHING == 0 {
        ear.hear(connection.transport_mut());
    }
    true
}

fn answer(connection: &mut Connection, event: &Event, mood: u8) {
    let yes = mood & 1 == 0;
    match *event {
        Event::ChannelOpen { channel, .. } if yes => connection.accept(channel, 100, 60, b""),
        Event::ChannelOpen { channel, .. } => {
            connection.refuse(channel, OpenFailure::ConnectFailed, "no");
        }
        Event::Data { channel, .. } => {
            let length = connection.data().len();
            assert!(length > 0 && length <= LIMITS.max_packet as usize);
            connection.consumed(channel, length);
        }
        Event::Request { channel, .. } => connection.reply(channel, yes),
        Event::GlobalRequest { .. } => connection.global_reply(yes, b"x"),
        Event::Eof { channel } if yes => connection.close(channel),
        Event::PeerClosed { channel } => connection.close(channel),
        Event::WindowOpened { channel } | Event::OpenConfirmed { channel, .. } => {
            use_channel(connection, channel, mood);
        }
        Event::OpenFailed { ref text, .. } => assert!(text.len() <= 3 * 256),
        _ => {}
    }
}

fn use_channel(connection: &mut Connection, channel: ChannelId, mood: u8) {
    if mood & 0x80 == 0 {
        connection.send_data(channel, Stream::Data, &[mood; 100]);
    }
    connection.send_data_with(channel, Stream::STDERR, |room| {
        room.fill(mood);
        (room.len() / 2, ())
    });
    let _ = connection.request(channel, ExitStatus::NAME, true, b"\0\0\0\0");
    match mood >> 1 & 3 {
        0 => connection.send_eof(channel),
        1 => connection.close(channel),
        _ => {}
    }
}

/// What the application does of its own accord.
pub(super) fn start_something(connection: &mut Connection, now: Instant, mood: u8) {
    match mood >> 4 {
        1 | 2 => {
            let _ = connection.open("session", 100, 60, b"");
        }
        3 => {
            let _ = connection.global_request("x", true, b"");
        }
        4 => connection.transport_mut().start_rekey(now),
        _ if connection.transport().rekey_due(now) => connection.transport_mut().start_rekey(now),
        _ => {}
    }
}

/// A message of a key exchange, as it should be, or with a byte changed.
pub(super) fn kex_message(role: Role, input: &mut Input<'_>) -> Vec<u8> {
    let mut message = input
        .pick(&clear::handshake(role).each_ref().map(Vec::as_slice))
        .to_vec();
    if input.below(4) == 3 {
        let at = input.number() as usize % message.len();
        message[at] = input.byte();
    }
    message
}

/// A message of RFC 4254, near to what is allowed, and some far from it.
pub(super) fn message(input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.below(24);
    let mut out = Vec::new();
    let mut head = |number, input: &mut Input<'_>| {
        out.put_u8(number);
        out.put_u32(number_below(input, 3));
    };
    match kind {
        0..=2 => {
            out.put_u8(msg::CHANNEL_OPEN);
            out.put_string(input.pick(&[&b"session"[..], b"direct-tcpip", b"x", b"\xff"]));
            out.put_u32(number_below(input, 3));
            out.put_u32(number_below(input, 70));
            out.put_u32(number_below(input, 70));
            out.extend(input.short());
        }
        3 | 4 => {
            head(msg::CHANNEL_OPEN_CONFIRMATION, input);
            out.put_u32(number_below(input, 3));
            out.put_u32(number_below(input, 70));
            out.put_u32(number_below(input, 70));
        }
        5 => {
            head(msg::CHANNEL_OPEN_FAILURE, input);
            out.put_u32(number_below(input, 5));
            out.put_string(input.bytes());
            out.put_string(b"");
        }
        6 | 7 => {
            head(msg::CHANNEL_WINDOW_ADJUST, input);
            out.put_u32(number_below(input, 70));
        }
        8..=11 => {
            head(msg::CHANNEL_DATA, input);
            out.put_string(&vec![0; input.below(64)]);
        }
        12 | 13 => {
            head(msg::CHANNEL_EXTENDED_DATA, input);
            out.put_u32(number_below(input, 2));
            out.put_string(&vec![0; input.below(64)]);
        }
        14..=17 => {
            let numbers = [
                msg::CHANNEL_EOF,
                msg::CHANNEL_CLOSE,
                msg::CHANNEL_SUCCESS,
                msg::CHANNEL_FAILURE,
            ];
            head(input.pick(&numbers), input);
        }
        18 | 19 => {
            head(msg::CHANNEL_REQUEST, input);
            out.put_string(input.pick(&[&b"exec"[..], b"exit-status", b"\xff"]));
            out.put_bool(input.flag());
            out.extend(input.short());
        }
        20 => {
            out.put_u8(msg::GLOBAL_REQUEST);
            out.put_string(input.pick(&[&b"tcpip-forward"[..], b"keepalive@openssh.com", b"\xff"]));
            out.put_bool(input.flag());
            out.extend(input.short());
        }
        21 => out.extend([input.pick(&[msg::REQUEST_SUCCESS, msg::REQUEST_FAILURE])]),
        22 => {
            out.put_u8(msg::PING);
            out.put_string(input.short());
        }
        _ => return anything(input),
    }
    out
}

/// Mostly a number below the limit, sometimes any.
fn number_below(input: &mut Input<'_>, limit: u8) -> u32 {
    match input.byte() {
        255 => input.number(),
        byte => u32::from(byte % limit),
    }
}
