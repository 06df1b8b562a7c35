//! Terminal modes, and the payloads of requests and channel types around them.

use ssh_proto::connection::forward::{
    BoundPort, DirectStreamlocal, ForwardedStreamlocal, StreamlocalForward, Tcpip, TcpipForward,
};
use ssh_proto::connection::pty::{Modes, encode_modes};
use ssh_proto::connection::request::{SHELL, SessionRequest};

use crate::input::Input;

/// Encoded terminal modes as a plain reading of RFC 4254 section 8 finds them, and payloads of every
/// known request: what was read is written as it was.
pub fn pty_modes(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        0 => modes(input.rest()),
        1 => forward(input.byte(), input.rest()),
        _ => request(input.byte(), input.rest()),
    }
}

fn modes(encoded: &[u8]) {
    let found: Vec<_> = Modes::new(encoded).collect();
    let mut wanted = Vec::new();
    for mode in encoded.chunks(5) {
        match *mode {
            [opcode @ 1..160, a, b, c, d] => {
                wanted.push((opcode, u32::from_be_bytes([a, b, c, d])));
            }
            _ => break,
        }
    }
    assert_eq!(found, wanted);
    let again = encode_modes(found.iter().copied());
    assert_eq!(again.split_last(), Some((&0, &encoded[..found.len() * 5])));
    assert!(Modes::new(&again).eq(found));
}

fn request(name: u8, payload: &[u8]) {
    const NAMES: [&str; 11] = [
        "pty-req",
        "env",
        SHELL,
        "exec",
        "subsystem",
        "window-change",
        "signal",
        "exit-status",
        "exit-signal",
        "auth-agent-req@openssh.com",
        "unknown",
    ];
    let name = NAMES[usize::from(name) % NAMES.len()];
    let Ok(request) = SessionRequest::parse(name, payload) else {
        return;
    };
    let Some(request) = request else {
        return assert_eq!(name, "unknown");
    };
    let written = match &request {
        SessionRequest::Pty(fields) => {
            modes(fields.modes);
            fields.encode()
        }
        SessionRequest::Env(fields) => fields.encode(),
        SessionRequest::Exec(fields) => fields.encode(),
        SessionRequest::Subsystem(fields) => fields.encode(),
        SessionRequest::WindowChange(fields) => fields.encode(),
        SessionRequest::Signal(fields) => fields.encode(),
        SessionRequest::ExitStatus(fields) => fields.encode(),
        SessionRequest::ExitSignal(fields) => {
            // Any byte but 0 is true, and 1 is written.
            let written = fields.encode();
            assert_eq!(written.len(), payload.len());
            assert_eq!(SessionRequest::parse(name, &written), Ok(Some(request)));
            return;
        }
        SessionRequest::Shell | SessionRequest::AuthAgent => Vec::new(),
    };
    assert_eq!(written, payload);
}

fn forward(kind: u8, payload: &[u8]) {
    let written = match kind % 6 {
        0 => Tcpip::parse(payload).map(|it| it.encode()),
        1 => TcpipForward::parse(payload).map(|it| it.encode()),
        2 => BoundPort::parse(payload).map(|it| it.encode()),
        3 => StreamlocalForward::parse(payload).map(|it| it.encode()),
        // These two have reserved fields, which are not kept.
        4 => {
            if let Ok(fields) = DirectStreamlocal::parse(payload) {
                assert_eq!(DirectStreamlocal::parse(&fields.encode()), Ok(fields));
            }
            return;
        }
        _ => {
            if let Ok(fields) = ForwardedStreamlocal::parse(payload) {
                assert_eq!(ForwardedStreamlocal::parse(&fields.encode()), Ok(fields));
            }
            return;
        }
    };
    if let Ok(written) = written {
        assert_eq!(written, payload);
    }
}
