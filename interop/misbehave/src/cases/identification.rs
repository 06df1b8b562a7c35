//! `ident`: the identification that each side sends first (RFC 4253 section 4.2).

use super::{BROKEN, NO_SSH, good_kexinit, kexinit, raw};
use crate::case::{Case, Expect, Stage, Step};
use crate::peer::IDENTIFICATION;

const RFC: &str = "RFC 4253 section 4.2";

/// RFC 4253 section 4.2: with CR and LF.
const LONGEST_LINE: usize = 255;

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = strangers();
    cases.extend(wrong_lines());
    cases.extend(odd_lines());
    cases.extend(pieces());
    cases.extend(ends());
    cases
}

fn case(id: &str, title: &str) -> Case {
    Case::new(format!("ident-{id}"), title, RFC)
}

/// A line as it is sent, and what the other side makes of it.
fn line(text: impl AsRef<[u8]>, end: &str) -> Step {
    let text = text.as_ref().to_vec();
    let sent = [&text, end.as_bytes()].concat();
    Step::Identify(text, vec![sent])
}

/// An identification of this length, CR and LF included.
fn of_length(length: usize) -> Vec<u8> {
    let mut text = b"SSH-2.0-".to_vec();
    text.resize(length - 2, b'a');
    text
}

/// What is no SSH at all. None of them need be waited for.
fn strangers() -> Vec<Case> {
    let rows: [(&str, &str, Vec<u8>); 8] = [
        (
            "http",
            "an HTTP request",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ),
        (
            "tls",
            "a TLS ClientHello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(),
        ),
        ("zeros", "4,096 bytes of zero", vec![0; 4096]),
        ("ones", "4,096 bytes of 0xff", vec![0xff; 4096]),
        (
            "packet",
            "a packet without an identification",
            crate::packet::clear(&good_kexinit().encode()),
        ),
        ("smtp", "a line of SMTP", b"EHLO example.com\r\n".to_vec()),
        ("newlines", "nothing but line ends", b"\r\n".repeat(1000)),
        (
            "proxy-header",
            "a balancer's header where none is expected",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nSSH-2.0-x\r\n".to_vec(),
        ),
    ];
    let row = |(id, title, bytes): (&str, &str, Vec<u8>)| {
        case(id, title).sends([raw(bytes)]).expects(NO_SSH)
    };
    rows.into_iter().map(row).collect()
}

/// Lines that no SSH 2 client sends.
fn wrong_lines() -> Vec<Case> {
    let rows: [(&str, &str, Vec<u8>); 16] = [
        ("version-15", "SSH-1.5", b"SSH-1.5-old\r\n".to_vec()),
        ("version-13", "SSH-1.3", b"SSH-1.3-old\r\n".to_vec()),
        ("version-30", "SSH-3.0", b"SSH-3.0-new\r\n".to_vec()),
        ("version-21", "SSH-2.1", b"SSH-2.1-new\r\n".to_vec()),
        ("version-20", "SSH-20-", b"SSH-20-x\r\n".to_vec()),
        ("version-none", "SSH- and nothing", b"SSH-\r\n".to_vec()),
        ("version-huge", "a version of 200 figures", {
            [b"SSH-".as_slice(), &[b'9'; 200], b".0-x\r\n"].concat()
        }),
        ("version-negative", "SSH--2.0", b"SSH--2.0-x\r\n".to_vec()),
        ("no-dash", "no software version", b"SSH-2.0\r\n".to_vec()),
        ("lower-case", "ssh-2.0", b"ssh-2.0-x\r\n".to_vec()),
        (
            "space-first",
            "a space before it",
            b" SSH-2.0-x\r\n".to_vec(),
        ),
        (
            "nul",
            "NUL in the software version",
            b"SSH-2.0-x\0y\r\n".to_vec(),
        ),
        (
            "nul-comment",
            "NUL in the comment",
            b"SSH-2.0-x y\0\r\n".to_vec(),
        ),
        (
            "lines-before",
            "a line before it",
            b"hello\r\nSSH-2.0-x\r\n".to_vec(),
        ),
        ("empty-line-before", "an empty line before it", {
            b"\r\nSSH-2.0-x\r\n".to_vec()
        }),
        ("many-lines-before", "100 lines before it", {
            [b"hello\r\n".repeat(100), b"SSH-2.0-x\r\n".to_vec()].concat()
        }),
    ];
    let row = |(id, title, bytes): (&str, &str, Vec<u8>)| {
        case(id, title).sends([raw(bytes)]).expects(NO_SSH)
    };
    let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
    cases.push(
        case("too-long", "256 bytes with CR and LF")
            .sends([line(of_length(LONGEST_LINE + 1), "\r\n")])
            .expects(Expect::Either(vec![NO_SSH, Expect::Ignored]))
            .ours(NO_SSH),
    );
    cases.push(
        case("endless", "64 kB without a line end")
            .sends([raw(of_length(64 * 1024))])
            .expects(NO_SSH),
    );
    cases
}

/// Lines that the RFC forbids or does not speak of, and that harm nobody: a server may take them, and
/// then goes on.
fn odd_lines() -> Vec<Case> {
    let either = || Expect::Either(vec![Expect::Ignored, NO_SSH]);
    vec![
        // RFC 4253 section 5.1 has 1.99 for servers alone.
        case("version-199", "SSH-1.99 from a client")
            .sends([line("SSH-1.99-x", "\r\n")])
            .expects(either())
            .ours(NO_SSH),
        case("longest", "255 bytes with CR and LF")
            .sends([line(of_length(LONGEST_LINE), "\r\n")])
            .expects(Expect::Ignored),
        case("no-cr", "LF alone, as old clients send")
            .sends([line("SSH-2.0-x", "\n")])
            .expects(Expect::Ignored),
        case("comment", "a comment")
            .sends([line("SSH-2.0-x a comment - with a dash", "\r\n")])
            .expects(Expect::Ignored),
        case("empty-software", "a software version of no letters")
            .sends([line("SSH-2.0-", "\r\n")])
            .expects(either()),
        case("not-ascii", "UTF-8 in the comment")
            .sends([line("SSH-2.0-x \u{e9}\u{202e}", "\r\n")])
            .expects(either()),
        case("not-utf8", "bytes that are not UTF-8")
            .sends([line(b"SSH-2.0-x \xff\xfe", "\r\n")])
            .expects(either()),
        case("control", "an escape sequence in the comment")
            .sends([line("SSH-2.0-x \u{1b}[2J\u{7}", "\r\n")])
            .expects(either()),
        case("spaces", "nothing but spaces for a comment")
            .sends([line("SSH-2.0-x      ", "\r\n")])
            .expects(either()),
    ]
}

/// How TCP cuts it up is nobody's business.
fn pieces() -> Vec<Case> {
    let offer = || kexinit(good_kexinit());
    vec![
        case("bytewise", "one byte at a time")
            .sends([
                Step::Chunks(1),
                line("SSH-2.0-x", "\r\n"),
                Step::Chunks(usize::MAX),
            ])
            .expects(Expect::Ignored),
        case("bytewise-all", "one byte at a time up to the keys")
            .sends([Step::Chunks(1), Step::Exchange])
            .expects(Expect::Ignored),
        case("one-piece", "together with the KEXINIT")
            .sends([Step::Cork, line("SSH-2.0-x", "\r\n"), offer(), Step::Uncork])
            .expects(Expect::Ignored),
        case("split-line-end", "CR and LF apart")
            .sends([Step::Identify(
                b"SSH-2.0-x".to_vec(),
                vec![b"SSH-2.0-x\r".to_vec(), b"\n".to_vec()],
            )])
            .expects(Expect::Ignored),
        case("twice", "a second line where a packet is expected")
            .at(Stage::Identified)
            .sends([raw(IDENTIFICATION), raw("\r\n")])
            .expects(BROKEN),
        case("text-behind", "text where a packet is expected")
            .at(Stage::Identified)
            .sends([raw("GET / HTTP/1.1\r\n\r\n")])
            .expects(BROKEN),
    ]
}

/// Nobody waits for somebody who has gone.
fn ends() -> Vec<Case> {
    let row = |id, title, stage, bytes: &[u8]| {
        case(id, title)
            .at(stage)
            .sends([raw(bytes), Step::Finish])
            .expects(Expect::Over)
    };
    vec![
        row(
            "end-at-once",
            "the end, and nothing before it",
            Stage::Connected,
            b"",
        ),
        row(
            "end-inside",
            "the end inside it",
            Stage::Connected,
            b"SSH-2.",
        ),
        row(
            "end-before-lf",
            "the end before LF",
            Stage::Connected,
            b"SSH-2.0-x\r",
        ),
        row("end-behind", "the end behind it", Stage::Identified, b""),
    ]
}
