//! `hostident`: what a server says first (RFC 4253 section 4.2), and where it says nothing.

use super::{NO_HANDSHAKE, row, unseen};
use crate::case::{Case, Expect, Stage, Step};
use crate::cases::{NO_SSH, raw};
use crate::host::{HostCase, Sees};

const RFC: &str = "RFC 4253 section 4.2";

/// The rows.
pub(super) fn cases() -> Vec<HostCase> {
    let mut cases = good();
    cases.extend(bad());
    cases.extend(ends());
    cases
}

fn case(id: &str, title: &str) -> Case {
    row("hostident", id, title, RFC)
}

/// What clients have to bear with.
fn good() -> Vec<HostCase> {
    let line = "SSH-2.0-misbehave";
    let said = |id: &str, title: &str, identification: &str, bytes: String| {
        let step = Step::Identify(identification.into(), vec![bytes.into_bytes()]);
        case(id, title).sends([step])
    };
    let rows = [
        said(
            "lf",
            "a line that ends with LF alone",
            line,
            format!("{line}\n"),
        ),
        said(
            "1-99",
            "version 1.99 (section 5.1)",
            "SSH-1.99-x",
            "SSH-1.99-x\r\n".into(),
        ),
        said(
            "comment",
            "a comment",
            "SSH-2.0-x a b",
            "SSH-2.0-x a b\r\n".into(),
        ),
        said(
            "line-before",
            "a line before it",
            line,
            format!("hello\r\n{line}\r\n"),
        ),
        said(
            "empty-line-before",
            "an empty line before it",
            line,
            format!("\r\n{line}\r\n"),
        ),
        said("esc-before", "ESC and RTL marks before it", line, {
            format!("\u{1b}[2J\u{202e}\r\n{line}\r\n")
        }),
        said("31-lines-before", "31 lines before it", line, {
            format!("{}{line}\r\n", "hello\r\n".repeat(31))
        }),
        said(
            "longest",
            "255 bytes",
            &format!("{line}{}", "x".repeat(236)),
            format!("{line}{}\r\n", "x".repeat(236)),
        ),
        case("bytewise", "byte by byte").sends([
            Step::Chunks(1),
            Step::Identify(line.into(), vec![format!("{line}\r\n").into_bytes()]),
            Step::Chunks(usize::MAX),
        ]),
    ];
    let fine = |case: Case| case.expects(Expect::Ignored).seen(unseen());
    rows.into_iter().map(fine).collect()
}

fn bad() -> Vec<HostCase> {
    let rows: [(&str, &str, Vec<u8>); 14] = [
        ("ssh-1", "version 1.5", b"SSH-1.5-x\r\n".to_vec()),
        ("ssh-3", "version 3.0", b"SSH-3.0-x\r\n".to_vec()),
        ("ssh-2-1", "version 2.1", b"SSH-2.1-x\r\n".to_vec()),
        ("no-version", "SSH- alone", b"SSH-\r\n".to_vec()),
        (
            "no-dash",
            "no dash behind the version",
            b"SSH-2.0\r\n".to_vec(),
        ),
        ("nul", "NUL in it", b"SSH-2.0-a\0b\r\n".to_vec()),
        (
            "256",
            "256 bytes",
            [b"SSH-2.0-".as_slice(), &[b'x'; 246], b"\r\n"].concat(),
        ),
        (
            "long",
            "30,000 bytes",
            [b"SSH-2.0-".as_slice(), &[b'x'; 30_000], b"\r\n"].concat(),
        ),
        ("endless", "no line end", [b'x'; 4096].to_vec()),
        ("endless-nul", "NULs for ever", vec![0; 4096]),
        ("40-lines", "40 lines before it", b"hello\r\n".repeat(40)),
        ("10000-lines", "10,000 empty lines", b"\r\n".repeat(10_000)),
        (
            "long-line",
            "a line of 300 bytes before it",
            [&[b'x'; 300][..], b"\r\n"].concat(),
        ),
        (
            "tls",
            "a TLS alert and nothing that ends it",
            [&[21, 3, 1, 0, 2, 2, 40][..], &[0xff; 300]].concat(),
        ),
    ];
    let one = |(id, title, bytes): (&str, &str, Vec<u8>)| {
        // How many lines and how long, the RFC leaves to clients.
        case(id, title)
            .sends([raw(bytes)])
            .expects(Expect::Either(vec![NO_SSH, Expect::Over]))
            .proxy(NO_SSH)
            .seen(NO_HANDSHAKE)
    };
    rows.into_iter().map(one).collect()
}

/// A server that goes away. There is nobody left to tell.
fn ends() -> Vec<HostCase> {
    let gone = |id: &str, title: &str, stage, steps: Vec<Step>| {
        case(id, title)
            .at(stage)
            .sends(steps)
            .sends([Step::Finish])
            .expects(Expect::Over)
            .seen(NO_HANDSHAKE)
    };
    let silent = |id: &str, title: &str, stage| {
        // The deadline of the login is the user's.
        row("hostsilence", id, title, "CVE-2024-6387")
            .at(stage)
            .expects(Expect::Over)
            .seen(Sees::Refused("login"))
    };
    vec![
        gone("gone", "the end at once", Stage::Connected, vec![]),
        gone(
            "gone-half",
            "the end in the line",
            Stage::Connected,
            vec![raw("SSH-2.0-x")],
        ),
        gone(
            "gone-lines",
            "the end behind other lines",
            Stage::Connected,
            vec![raw("hello\r\n")],
        ),
        gone(
            "gone-line",
            "the end behind the line",
            Stage::Identified,
            vec![],
        ),
        gone(
            "gone-kexinit",
            "the end behind KEXINIT",
            Stage::Offered,
            vec![],
        ),
        gone(
            "gone-reply",
            "the end behind the reply",
            Stage::Replied,
            vec![],
        ),
        gone(
            "gone-keyed",
            "the end when there are keys",
            Stage::Keyed,
            vec![],
        ),
        gone(
            "gone-served",
            "the end when the service is granted",
            Stage::Served,
            vec![],
        ),
        silent("connected", "silence from the first byte", Stage::Connected),
        silent(
            "identified",
            "silence behind the identification",
            Stage::Identified,
        ),
        silent("offered", "silence behind KEXINIT", Stage::Offered),
        silent("replied", "silence behind the reply", Stage::Replied),
        silent("keyed", "silence when there are keys", Stage::Keyed),
        silent(
            "served",
            "silence when the service is granted",
            Stage::Served,
        ),
    ]
}
