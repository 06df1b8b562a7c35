//! The messages of RFC 4254 against a connection in the state for them, and the payloads of all requests
//! and channel types that are known, against what reads those.

use ssh_proto::connection::forward::{
    BoundPort, DirectStreamlocal, ForwardedStreamlocal, StreamlocalForward, Tcpip, TcpipForward,
};
use ssh_proto::connection::pty::{Modes, encode_modes};
use ssh_proto::connection::request::{
    Env, Exec, ExitSignal, ExitStatus, PtyReq, SessionRequest, Signal, Size, Subsystem,
    WindowChange,
};
use ssh_proto::connection::{Event, Limits};
use ssh_proto::wire::{Malformed, Put};
use ssh_proto::{Error, msg};

use crate::sample::{End, Law, Sample, report, sweep};
use crate::wire::{Rig, data, extended, global_request, numbers, open_failure, request};

const SIZE: Size = Size {
    columns: 80,
    rows: 24,
    width: 640,
    height: 480,
};

const TCPIP: Tcpip<'_> = Tcpip {
    host: b"db.internal",
    port: 5432,
    originator: b"10.0.0.1",
    originator_port: 50_000,
};

/// Modes as OpenSSH sends them: speeds, a few flags.
fn modes() -> Vec<u8> {
    encode_modes([(129, 38_400), (128, 38_400), (1, 3), (53, 1), (50, 1)])
}

/// Requests on a channel: name, layout, payload.
fn requests() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let pty = PtyReq {
        term: b"xterm-256color",
        size: SIZE,
        modes: &modes(),
    };
    let env = Env {
        name: b"LC_ALL",
        value: b"de_DE.UTF-8",
    };
    let killed = ExitSignal {
        name: b"KILL",
        core_dumped: false,
        message: b"out of memory",
        language: b"en",
    };
    vec![
        ("pty-req", "swwwws", pty.encode()),
        ("env", "ss", env.encode()),
        ("shell", "", Vec::new()),
        ("exec", "s", Exec { command: b"ls -l" }.encode()),
        ("subsystem", "s", Subsystem { name: b"sftp" }.encode()),
        (
            "window-change",
            "wwww",
            WindowChange { size: SIZE }.encode(),
        ),
        ("signal", "s", Signal { name: b"TERM" }.encode()),
        ("exit-status", "w", ExitStatus { status: 3 }.encode()),
        ("exit-signal", "sbss", killed.encode()),
        ("auth-agent-req@openssh.com", "", Vec::new()),
    ]
}

/// What reads the payload of a channel type or a global request.
type Parse = fn(&[u8]) -> Result<(), Malformed>;

/// Channel types: name, layout, payload, what reads it.
fn channel_types() -> Vec<(&'static str, &'static str, Vec<u8>, Parse)> {
    let tcpip: Parse = |payload| Tcpip::parse(payload).map(drop);
    let direct: Parse = |payload| DirectStreamlocal::parse(payload).map(drop);
    let forwarded: Parse = |payload| ForwardedStreamlocal::parse(payload).map(drop);
    let path = b"/var/run/app.sock";
    let none: Parse = |_| Ok(());
    let mut x11 = Vec::new();
    x11.put_string(b"127.0.0.1");
    x11.put_u32(6000);
    vec![
        ("session", "|", Vec::new(), none),
        ("direct-tcpip", "swsw", TCPIP.encode(), tcpip),
        ("forwarded-tcpip", "swsw", TCPIP.encode(), tcpip),
        (
            DirectStreamlocal::NAME,
            "ssw",
            DirectStreamlocal { path }.encode(),
            direct,
        ),
        (
            ForwardedStreamlocal::NAME,
            "ss",
            ForwardedStreamlocal { path }.encode(),
            forwarded,
        ),
        ("auth-agent@openssh.com", "|", Vec::new(), none),
        ("x11", "|sw", x11, none),
    ]
}

/// Global requests, the same.
fn global_requests() -> Vec<(&'static str, &'static str, Vec<u8>, Parse)> {
    let listen: Parse = |payload| TcpipForward::parse(payload).map(drop);
    let unix: Parse = |payload| StreamlocalForward::parse(payload).map(drop);
    let tcp = TcpipForward {
        address: b"localhost",
        port: 8080,
    };
    let path = b"/tmp/app.sock";
    vec![
        (TcpipForward::NAME, "sw", tcp.encode(), listen),
        (TcpipForward::CANCEL, "sw", tcp.encode(), listen),
        (
            StreamlocalForward::NAME,
            "s",
            StreamlocalForward { path }.encode(),
            unix,
        ),
        (
            StreamlocalForward::CANCEL,
            "s",
            StreamlocalForward { path }.encode(),
            unix,
        ),
        ("keepalive@openssh.com", "|", Vec::new(), |_| Ok(())),
    ]
}

/// The messages, each with whatever payload behind it as a part that is not the connection's.
fn messages() -> Vec<Sample> {
    let mut samples = vec![
        Sample::new(
            "REQUEST_SUCCESS",
            "b|w",
            numbers(msg::REQUEST_SUCCESS, &[8080]),
        ),
        Sample::new("REQUEST_FAILURE", "b", vec![msg::REQUEST_FAILURE]),
        Sample::new(
            "CHANNEL_OPEN_CONFIRMATION",
            "bwwww|",
            numbers(msg::CHANNEL_OPEN_CONFIRMATION, &[1, 7, 1 << 21, 1 << 15]),
        ),
        Sample::new(
            "CHANNEL_OPEN_FAILURE",
            "bwwss",
            open_failure(1, 2, b"no route"),
        ),
        Sample::new(
            "CHANNEL_WINDOW_ADJUST",
            "bww",
            numbers(msg::CHANNEL_WINDOW_ADJUST, &[0, 4096]),
        ),
        Sample::new("CHANNEL_DATA", "bws", data(0, b"forty-two bytes of data")),
        Sample::new("CHANNEL_EXTENDED_DATA", "bwws", extended(0, 1, b"an error")),
    ];
    for (name, number) in [
        ("CHANNEL_EOF", msg::CHANNEL_EOF),
        ("CHANNEL_CLOSE", msg::CHANNEL_CLOSE),
        ("CHANNEL_SUCCESS", msg::CHANNEL_SUCCESS),
        ("CHANNEL_FAILURE", msg::CHANNEL_FAILURE),
    ] {
        samples.push(Sample::new(name, "bw", numbers(number, &[0])));
    }
    let behind = |mut message: Vec<u8>, payload: &[u8]| {
        message.extend(payload);
        message
    };
    for (name, layout, payload) in requests() {
        for want_reply in [false, true] {
            let message = behind(request(0, name.as_bytes(), want_reply), &payload);
            samples.push(Sample::new(name, &format!("bwsb|{layout}"), message));
        }
    }
    for (name, layout, payload, _) in channel_types() {
        let message = behind(open(name), &payload);
        samples.push(Sample::new(name, &format!("bswww|{layout}"), message));
    }
    for (name, layout, payload, _) in global_requests() {
        let message = behind(global_request(name.as_bytes(), true), &payload);
        samples.push(Sample::new(name, &format!("bsb|{layout}"), message));
    }
    samples
}

fn open(kind: &str) -> Vec<u8> {
    let mut message = vec![msg::CHANNEL_OPEN];
    message.put_string(kind.as_bytes());
    for number in [9, 1 << 21, 1 << 15] {
        message.put_u32(number);
    }
    message
}

/// A connection whose channel 0 is open, and whose channel 1 waits for its confirmation; a request on
/// channel 0 and a global one wait for their replies.
fn rig() -> Rig {
    let mut rig = Rig::new(Limits::default());
    let channel = rig.accepted(1 << 21, 1 << 15);
    rig.opening();
    let connection = &mut rig.connection;
    connection.request(channel, "x", true, b"").unwrap();
    connection.global_request("x", true, b"").unwrap();
    rig.heard();
    rig
}

fn handle(rig: &mut Rig, payload: &[u8]) -> End {
    rig.say(payload);
    match rig.poll() {
        Ok(Event::Transport(event)) => panic!("{event:?}"),
        Ok(_) => End::Accepted,
        Err(error) => {
            assert!(matches!(error, Error::Misbehaved(_)), "{error}");
            rig.told(&error);
            End::Error
        }
    }
}

#[test]
fn messages_of_the_connection_protocol() {
    // A payload that is cut to nothing is no packet: that a peer's transport does not send.
    report(sweep(&messages(), |_| rig(), handle), 2200);
}

#[test]
fn payloads_of_requests_and_channel_types() {
    let mut cases = 0;
    for (name, layout, payload) in requests() {
        let samples = [Sample::new(name, layout, payload)];
        cases += sweep(
            &samples,
            |_| (),
            |(), bytes| SessionRequest::parse(name, bytes).into(),
        );
    }
    for (name, layout, payload, parse) in channel_types().into_iter().chain(global_requests()) {
        let samples = [Sample::new(name, layout, payload)];
        cases += sweep(&samples, |_| (), |(), bytes| parse(bytes).into());
    }
    let bound = BoundPort { port: 1024 }.encode();
    let samples = [Sample::new("the port that was bound", "w", bound)];
    cases += sweep(&samples, |_| (), |(), bytes| BoundPort::parse(bytes).into());
    report(cases, 600);
}

/// A list of modes ends where it cannot be read on (RFC 4254 section 8): every cut is a shorter list.
#[test]
fn terminal_modes() {
    let all: Vec<_> = Modes::new(&modes()).collect();
    let samples = [Sample::new("modes", "bwbwbwbwbwb", modes()).under(Law::OpenFrom(0))];
    let cases = sweep(
        &samples,
        |_| (),
        |(), bytes| {
            let read = Modes::new(bytes).count();
            assert!(read <= all.len());
            End::Accepted
        },
    );
    report(cases, 50);
}
