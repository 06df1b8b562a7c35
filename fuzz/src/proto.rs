//! Targets of ssh-proto: what a peer can send to each of its layers.

use std::sync::Arc;
use std::time::Instant;

use arbitrary::Unstructured;
use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::transport::{Config, Role, Transport};

/// The identification of a peer in either role, in pieces: what is read is what a plain reading of
/// RFC 4253 section 4.2 finds, however it was cut.
pub fn ident(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let role = role(&mut input);
    let piece = 1 + usize::from(byte(&mut input));
    let stream = input.take_rest();
    let mut transport = fresh(role);
    let mut ended = None;
    for piece in stream.chunks(piece) {
        if transport.peer_identification().is_some() || ended.is_some() {
            break;
        }
        feed(&mut transport, piece);
        ended = transport.poll(Instant::now()).err();
    }
    let found = transport.peer_identification().map(<[u8]>::to_vec);
    match reference_identification(role, stream) {
        Reading::Found(line) => assert_eq!(found, Some(line)),
        Reading::Never => assert!(found.is_none() && matches!(ended, Some(Error::Version(_)))),
        Reading::Unfinished => assert!(found.is_none() && ended.is_none()),
    }
}

enum Reading {
    Found(Vec<u8>),
    Never,
    Unfinished,
}

/// RFC 4253 section 4.2 with our bounds: lines of 255 bytes, 31 of them before a server's own.
fn reference_identification(role: Role, stream: &[u8]) -> Reading {
    let mut rest = stream;
    for _ in 0..32 {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            let start = &rest[..rest.len().min(4)];
            let hopeless = role == Role::Server && !b"SSH-".starts_with(start);
            return if rest.len() >= 255 || hopeless {
                Reading::Never
            } else {
                Reading::Unfinished
            };
        };
        if end >= 255 {
            return Reading::Never;
        }
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        if line.starts_with(b"SSH-") {
            let old = role == Role::Client && line.starts_with(b"SSH-1.99-");
            return if (old || line.starts_with(b"SSH-2.0-")) && !line.contains(&0) {
                Reading::Found(line.to_vec())
            } else {
                Reading::Never
            };
        }
        if role == Role::Server {
            return Reading::Never;
        }
    }
    Reading::Never
}

fn role(input: &mut Unstructured<'_>) -> Role {
    if byte(input) & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    }
}

/// The next byte; 0 where there is none.
fn byte(input: &mut Unstructured<'_>) -> u8 {
    input.arbitrary().unwrap_or_default()
}

fn fresh(role: Role) -> Transport {
    let config = match role {
        Role::Client => Config::client("SSH-2.0-fuzz", Algorithms::default()),
        Role::Server => Config::server("SSH-2.0-fuzz", Algorithms::default(), Vec::new()),
    };
    Transport::new(
        role,
        Arc::new(config),
        Box::new(SeededRandom::new(1)),
        Instant::now(),
    )
}

fn feed(transport: &mut Transport, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let input = transport.input();
        let count = input.len().min(bytes.len());
        input[..count].copy_from_slice(&bytes[..count]);
        transport.filled(count);
        bytes = &bytes[count..];
    }
}
