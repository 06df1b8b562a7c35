//! The identification of a peer.

use std::time::Instant;

use ssh_proto::Error;
use ssh_proto::transport::Role;

use super::clear::Peer;
use crate::input::{Input, Pieces};

/// The identification of a peer in either role: what is read is what a plain reading of RFC 4253
/// section 4.2 finds, however it was cut.
pub fn ident(data: &[u8]) {
    let mut input = Input::new(data);
    let role = input.pick(&[Role::Server, Role::Client]);
    let mut pieces = Pieces::new(&mut input);
    let stream = input.rest();
    let mut transport = Peer::stranger(role).transport;
    let mut ended = None;
    pieces.cut(stream, |piece| {
        super::clear::feed(&mut transport, piece);
        ended = transport.poll(Instant::now()).err();
        transport.peer_identification().is_none() && ended.is_none()
    });
    let found = transport.peer_identification();
    match expected(role, stream) {
        Expected::Line(line) => assert_eq!(found, Some(line)),
        Expected::Never => assert!(found.is_none() && matches!(ended, Some(Error::Version(_)))),
        Expected::More => assert!(found.is_none() && ended.is_none()),
    }
}

enum Expected<'a> {
    Line(&'a [u8]),
    Never,
    More,
}

/// RFC 4253 section 4.2 with our bounds: lines of 255 bytes, and 31 of them before a server's own.
fn expected(role: Role, mut stream: &[u8]) -> Expected<'_> {
    for _ in 0..32 {
        let Some(end) = stream.iter().position(|byte| *byte == b'\n') else {
            let start = &stream[..stream.len().min(4)];
            let hopeless = role == Role::Server && !b"SSH-".starts_with(start);
            return if stream.len() >= 255 || hopeless {
                Expected::Never
            } else {
                Expected::More
            };
        };
        let line = &stream[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b"SSH-") && end < 255 {
            let old = role == Role::Client && line.starts_with(b"SSH-1.99-");
            let good = (old || line.starts_with(b"SSH-2.0-")) && !line.contains(&0);
            return if good {
                Expected::Line(line)
            } else {
                Expected::Never
            };
        }
        if role == Role::Server || end >= 255 {
            return Expected::Never;
        }
        stream = &stream[end + 1..];
    }
    Expected::Never
}
