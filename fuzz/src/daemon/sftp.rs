//! The subsystem sftp: packets in any pieces, against files in memory.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ssh_proto::wire::{Put as _, Reader};
use sshd::sftp::{self, Breach, Ended, LONGEST_PACKET};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf, duplex};

use crate::input::{Input, Pieces};
use crate::place::Place;
use crate::runtime::runtime;

/// Packets of one run: each READ can cost a quarter of a megabyte.
const MOST_PACKETS: usize = 32;

/// Bytes behind the whole packets: enough for a length and the beginning of a packet.
const LONGEST_TAIL: usize = 15;

/// The number of INIT, which has a version where others have their id.
const INIT: u8 = 1;

/// Every request gets one reply with its id, in order, whatever is in it and however it is cut; a
/// packet that cannot be ends the session, and nothing else does. No name leads out of the working
/// directory, since there is none to lead there.
pub fn sftp(data: &[u8]) {
    let mut input = Input::new(data);
    let pieces = Pieces::new(&mut input);
    // What is behind the whole packets.
    let tail = input.short();
    let tail = &tail[..tail.len().min(LONGEST_TAIL)];
    let (ids, mut stream) = requests(&mut input);
    stream.extend_from_slice(tail);
    let place = Place::enter();
    let (ended, replies) = serve(&stream, pieces);
    place.assert_confined();
    check_end(&ended, tail);
    check_replies(&ids, &replies);
}

/// Packets made of the input, as a stream, and the ids that their replies have.
fn requests(input: &mut Input<'_>) -> (Vec<Option<u32>>, Vec<u8>) {
    let mut ids = Vec::new();
    let mut stream = Vec::new();
    while ids.len() < MOST_PACKETS && !input.is_empty() {
        let packet = input.short();
        if packet.is_empty() {
            continue;
        }
        let packet = harmless(packet);
        let id = packet
            .get(1..5)
            .map(|id| u32::from_be_bytes(id.try_into().expect("four")));
        ids.push(id.filter(|_| packet[0] != INIT));
        stream.put_string(&packet);
    }
    (ids, stream)
}

/// The packet without what could reach beyond the directory.
///
/// A slash stays only behind `sub`: no length of a string ends in these three bytes, so no name begins
/// with a slash. And no name has two dots.
fn harmless(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for at in 0..packet.len() {
        if packet[at] == b'/' && !packet[..at].ends_with(b"sub") {
            packet[at] = b'_';
        }
        if packet[at] == b'.' && packet[..at].ends_with(b".") {
            packet[at] = b'-';
        }
    }
    packet
}

fn serve(stream: &[u8], mut pieces: Pieces) -> (Ended, Vec<u8>) {
    runtime().block_on(async {
        let (server, mut client) = duplex(64 * 1024);
        let mut input = Chunks::default();
        pieces.cut(stream, |piece| {
            input.0.push_back(piece.to_vec());
            true
        });
        let mut replies = Vec::new();
        let read = async {
            client
                .read_to_end(&mut replies)
                .await
                .expect("the server's end");
        };
        let (ended, ()) = tokio::join!(sftp::serve(input, server, sftp::Context::default()), read);
        (ended, replies)
    })
}

/// Gives one piece for each read.
#[derive(Default)]
struct Chunks(VecDeque<Vec<u8>>);

impl AsyncRead for Chunks {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn check_end(ended: &Ended, tail: &[u8]) {
    let claimed = tail.first_chunk().map(|length| u32::from_be_bytes(*length));
    let fits = |length: u32| length != 0 && length as usize <= LONGEST_PACKET;
    match (ended, claimed) {
        (Ended::Done, _) => assert!(tail.is_empty() || is_whole(tail)),
        (Ended::Breach(Breach::Length(length)), _) => assert!(!fits(*length)),
        (Ended::Breach(Breach::Truncated), _) => assert!(!tail.is_empty()),
        (other, _) => panic!("{other}"),
    }
    if tail.is_empty() {
        assert!(matches!(ended, Ended::Done));
    }
}

/// Whether the tail happens to be packets, too.
fn is_whole(tail: &[u8]) -> bool {
    let mut fields = Reader::new(tail);
    while !fields.is_empty() {
        if !fields.string().is_ok_and(|packet| !packet.is_empty()) {
            return false;
        }
    }
    true
}

fn check_replies(ids: &[Option<u32>], replies: &[u8]) {
    let mut replies = Reader::new(replies);
    let mut greeted = false;
    for (at, id) in ids.iter().enumerate() {
        let reply = replies.string().expect("each request is answered");
        assert!(
            (5..=LONGEST_PACKET).contains(&reply.len()),
            "{} bytes",
            reply.len()
        );
        let mut fields = Reader::new(reply);
        let kind = fields.u8().expect("a number");
        let got = fields.u32().expect("an id");
        match kind {
            // VERSION, which has no id, comes once.
            2 => {
                assert!(id.is_none() && !greeted && got == sftp::VERSION);
                greeted = true;
            }
            101..=105 | 201 => {
                if let Some(id) = id {
                    assert_eq!(got, *id, "the id of request {at}");
                }
                assert!(greeted || kind == 101, "nothing is done before INIT");
            }
            other => panic!("a reply of type {other}"),
        }
    }
}
