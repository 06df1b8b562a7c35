//! Reading: packets out of a stream, and the messages of RFC 4254 out of packets.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput};
use ssh_proto::connection::{self, Connection, Limits};
use ssh_proto::msg;
use ssh_proto::transport::{Event, Transport};
use ssh_proto::wire::{Put, Reader};

use crate::support::{Pair, feed, payload, take_output};

/// Packets in one go.
const BATCH: usize = 64;

/// The peer's number for its channel.
const CHANNEL: u32 = 7;

/// From the stream to the payload, with AES-GCM: keystrokes, lines, and pieces of a file.
pub(crate) fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse/packets");
    group.throughput(Throughput::Elements(BATCH as u64));
    for length in [10, 1024, 32 * 1024] {
        group.bench_function(length.to_string(), |bencher| {
            let [mut from, mut to] = Pair::authenticated().ends;
            let (payload, now) = (payload(0, length), Instant::now());
            bencher.iter_batched_ref(
                || sealed(&mut from, &payload),
                |stream| {
                    feed(&mut to, stream);
                    while to.poll(now).unwrap() == Event::Packet {
                        black_box(to.packet());
                    }
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// The same, and what `Connection` makes of them.
pub(crate) fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse/messages");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, message) in [
        ("global-request", global_request as fn(u32) -> Vec<u8>),
        ("channel-request", channel_request),
        ("window-adjust", window_adjust),
        ("data", data),
    ] {
        group.bench_function(name, |bencher| {
            let (mut peer, mut ours, channel) = open();
            let (payload, now) = (message(channel), Instant::now());
            bencher.iter_batched_ref(
                || sealed(&mut peer, &payload),
                |stream| {
                    feed(ours.transport_mut(), stream);
                    take_events(&mut ours, now);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// So many packets, as they are on the wire.
fn sealed(from: &mut Transport, payload: &[u8]) -> Vec<u8> {
    (0..BATCH).for_each(|_| from.send(&[payload]));
    take_output(from)
}

/// Everything is used at once, so that the window never closes.
fn take_events(connection: &mut Connection, now: Instant) {
    loop {
        match connection.poll(now).unwrap() {
            connection::Event::NeedInput => break,
            connection::Event::Data { channel, .. } => {
                let length = connection.data().len();
                connection.consumed(channel, length);
            }
            event => drop(black_box(event)),
        }
    }
    let written = connection.transport().output().len();
    connection.transport_mut().sent(written);
}

/// A peer, a connection on which it has a channel, and the number of that.
fn open() -> (Transport, Connection, u32) {
    let [mut peer, ours] = Pair::authenticated().ends;
    let mut ours = Connection::new(ours, Limits::default());
    let mut payload = vec![msg::CHANNEL_OPEN];
    payload.put_string(b"session");
    for field in [CHANNEL, 0, 32 * 1024] {
        payload.put_u32(field);
    }
    peer.send(&[&payload]);
    feed(ours.transport_mut(), &take_output(&mut peer));
    let connection::Event::ChannelOpen { channel, .. } = ours.poll(Instant::now()).unwrap() else {
        panic!("no channel");
    };
    ours.accept(channel, Limits::WINDOW, Limits::MAX_PACKET, b"");
    feed(&mut peer, &take_output(ours.transport_mut()));
    assert_eq!(peer.poll(Instant::now()), Ok(Event::Packet));
    let mut confirmation = Reader::new(&peer.packet()[5..]);
    let number = confirmation.u32().unwrap();
    (peer, ours, number)
}

/// What OpenSSH sends to see whether somebody is there, but without a wish for an answer.
fn global_request(_: u32) -> Vec<u8> {
    let mut payload = vec![msg::GLOBAL_REQUEST];
    payload.put_string(b"keepalive@openssh.com");
    payload.put_bool(false);
    payload
}

fn channel_request(channel: u32) -> Vec<u8> {
    let mut payload = about(msg::CHANNEL_REQUEST, channel);
    payload.put_string(b"window-change");
    payload.put_bool(false);
    for field in [80, 24, 0, 0] {
        payload.put_u32(field);
    }
    payload
}

/// By nothing: a window has an end.
fn window_adjust(channel: u32) -> Vec<u8> {
    let mut payload = about(msg::CHANNEL_WINDOW_ADJUST, channel);
    payload.put_u32(0);
    payload
}

fn data(channel: u32) -> Vec<u8> {
    let mut payload = about(msg::CHANNEL_DATA, channel);
    payload.put_string(b"a line of some length\r\n");
    payload
}

fn about(number: u8, channel: u32) -> Vec<u8> {
    let mut payload = vec![number];
    payload.put_u32(channel);
    payload
}
