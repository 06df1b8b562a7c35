//! `direct`: connections that a client wants from the server (RFC 4254 section 7.2, OpenSSH PROTOCOL
//! section 2.4).

use super::connection::{TOLD, either, longer, not_opened, numbers, short_by, strings};
use super::{BROKEN, say};
use crate::case::{Case, Stage};
use crate::client::{MAX_PACKET, OURS, WINDOW};
use crate::payload::open;

/// Nothing listens there (RFC 6335 section 6: tcpmux, and nobody has it).
const CLOSED: u32 = 1;

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = targets();
    cases.extend(forms());
    cases.extend(sockets());
    cases
}

fn case(id: &str, title: &str) -> Case {
    Case::new(format!("direct-{id}"), title, "RFC 4254 section 7.2")
        .at(Stage::Authenticated)
        .expects(not_opened())
}

fn tcpip(host: &[u8], port: u32, originator: &[u8], originator_port: u32) -> Vec<u8> {
    [
        open("direct-tcpip", OURS, WINDOW, MAX_PACKET),
        strings([host]),
        numbers([port]),
        strings([originator]),
        numbers([originator_port]),
    ]
    .concat()
}

fn targets() -> Vec<Case> {
    let to = |id: &str, title: &str, host: &[u8], port: u32| {
        case(id, title).sends([say(tcpip(host, port, b"127.0.0.1", 1024))])
    };
    let from = |id: &str, title: &str, originator: &[u8], port: u32| {
        case(id, title).sends([say(tcpip(b"127.0.0.1", CLOSED, originator, port))])
    };
    vec![
        to(
            "closed",
            "a port where nobody listens",
            b"127.0.0.1",
            CLOSED,
        ),
        to("port-0", "port 0", b"127.0.0.1", 0),
        to("port-65536", "port 65,536", b"127.0.0.1", 65_536),
        to("port-4g", "port 4,294,967,295", b"127.0.0.1", u32::MAX),
        to("host-empty", "a host of no letters", b"", CLOSED),
        to(
            "host-nul",
            "a host with NUL",
            b"127.0.0.1\0.example.com",
            CLOSED,
        )
        .expects(either([not_opened(), BROKEN]))
        .ours(not_opened()),
        to("host-space", "a host with a space", b"127.0.0.1 ", CLOSED),
        to(
            "host-newline",
            "a host with a line end",
            b"127.0.0.1\r\nHost: x",
            CLOSED,
        ),
        to(
            "host-not-utf8",
            "a host that is not UTF-8",
            &[0xff, 0xfe],
            CLOSED,
        ),
        to("host-dots", "a host of dots", b"....", CLOSED),
        to(
            "host-label",
            "a host with 64 letters between dots",
            &[b'a'; 64],
            CLOSED,
        ),
        to("host-huge", "a host of 64 kB", &[b'h'; 65_536], CLOSED),
        to(
            "host-url",
            "a host that is a URL",
            b"http://127.0.0.1:1/",
            CLOSED,
        ),
        to(
            "host-brackets",
            "an IPv6 address without its end",
            b"[::1",
            CLOSED,
        ),
        from("from-empty", "an originator of no letters", b"", 0),
        from(
            "from-garbage",
            "an originator that is not UTF-8",
            &[0xff, 0xfe],
            1024,
        ),
        from(
            "from-escape",
            "an originator with ESC",
            b"\x1b[2J\r\n",
            1024,
        ),
        from("from-huge", "an originator of 64 kB", &[b'o'; 65_536], 1024),
        from(
            "from-port-4g",
            "an originator's port of 4,294,967,295",
            b"127.0.0.1",
            u32::MAX,
        ),
        case("flood", "200 connections that nobody takes, in one piece").sends(
            super::connection::at_once((0..200).map(|number| {
                let mut payload = open("direct-tcpip", number, WINDOW, MAX_PACKET);
                payload.extend(strings([b"127.0.0.1".as_slice()]));
                payload.extend(numbers([CLOSED]));
                payload.extend(strings([b"127.0.0.1".as_slice()]));
                payload.extend(numbers([1024]));
                say(payload)
            })),
        ),
    ]
}

fn forms() -> Vec<Case> {
    let whole = tcpip(b"127.0.0.1", CLOSED, b"127.0.0.1", 1024);
    let bare = open("direct-tcpip", OURS, WINDOW, MAX_PACKET);
    let rows: [(&str, &str, Vec<u8>); 6] = [
        ("no-fields", "no fields at all", bare.clone()),
        ("cut-port", "half a port at the end", short_by(&whole, 2)),
        (
            "cut-originator",
            "no originator",
            short_by(&whole, 4 + 4 + 9),
        ),
        (
            "cut-host",
            "a host alone",
            [bare.clone(), strings([b"127.0.0.1".as_slice()])].concat(),
        ),
        (
            "host-4g",
            "a host of 4 GiB",
            [bare, numbers([u32::MAX])].concat(),
        ),
        ("trailing", "a byte behind the last port", longer(&whole)),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| {
        case(id, title)
            .sends([say(payload)])
            .expects(either([not_opened(), BROKEN, TOLD]))
            .ours(not_opened())
    };
    rows.into_iter().map(row).collect()
}

fn sockets() -> Vec<Case> {
    let kind = "direct-streamlocal@openssh.com";
    let to = |path: &[u8]| {
        [
            open(kind, OURS, WINDOW, MAX_PACKET),
            strings([path, b""]),
            numbers([0]),
        ]
        .concat()
    };
    let whole = to(b"/nonexistent/s");
    let rows: [(&str, &str, Vec<u8>); 12] = [
        ("empty", "a path of no letters", to(b"")),
        ("nul", "a path with NUL", to(b"/tmp/a\0b")),
        ("abstract", "an abstract socket", to(b"\0misbehave")),
        (
            "relative",
            "a path that is not absolute",
            to(b"nonexistent"),
        ),
        ("long", "a path of 108 letters", to(&[b's'; 108])),
        ("huge", "a path of 64 kB", to(&[b's'; 65_536])),
        ("file", "a file", to(b"/etc/passwd")),
        ("directory", "a directory", to(b"/")),
        ("nowhere", "a path where nothing is", whole.clone()),
        ("device", "a device", to(b"/dev/null")),
        ("cut", "the reserved fields cut short", short_by(&whole, 1)),
        (
            "trailing",
            "a byte behind the reserved fields",
            longer(&whole),
        ),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| {
        case(&format!("unix-{id}"), title)
            .by("OpenSSH PROTOCOL section 2.4")
            .sends([say(payload)])
            .expects(either([not_opened(), BROKEN]))
            .ours(not_opened())
    };
    rows.into_iter().map(row).collect()
}
