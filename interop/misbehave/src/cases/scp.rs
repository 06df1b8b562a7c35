//! `scp`: lines of the old protocol of scp (it has no RFC; OpenSSH's `scp.c` is what everyone goes by).
//!
//! What is received goes to /tmp or to /dev/null, and what every server has to refuse would go
//! elsewhere.

use super::stream::Stream;
use crate::case::{Case, Expect, Stage, Step};
use crate::end::End;
use crate::payload::plain;
use ssh_proto::msg;

const NAMES: &str = "CVE-2019-6111";
const LINES: &str = "OpenSSH scp.c";
const COMMAND: &str = "CVE-2020-15778";

/// A file for a directory: would be written, if a name were taken.
const TO_DIRECTORY: &str = "scp -t /tmp";
/// The same with directories.
const TREE_TO_DIRECTORY: &str = "scp -r -t /tmp";
/// Where nothing is kept.
const TO_NULL: &str = "scp -t /dev/null";

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = names();
    cases.extend(lines());
    cases.extend(directories());
    cases.extend(data());
    cases.extend(sources());
    cases.extend(commands());
    cases
}

fn case(id: &str, title: &str, source: &'static str, command: &'static str) -> Case {
    Case::new(format!("scp-{id}"), title, source)
        .at(Stage::Running(command))
        .expects(Expect::Alive)
}

/// The command ends, and nothing else does.
fn ended() -> Expect {
    Expect::answer(msg::CHANNEL_CLOSE)
}

fn eof() -> Step {
    Step::ToChannel(|channel| plain(msg::CHANNEL_EOF, channel))
}

impl Stream<'_> {
    /// The answer to what was sent: nothing but a zero is good.
    fn is_accepted(&mut self) -> Result<(), End> {
        match self.read(1)?.first() {
            Some(0) => Ok(()),
            _ => Err(End::Unlike("with an error".to_owned())),
        }
    }

    /// An error, and a text that steers no terminal.
    fn is_refused(&mut self) -> Result<(), End> {
        if self.read(1)?.first() == Some(&0) {
            return Err(End::Unlike("that it is fine".to_owned()));
        }
        let text = self.read_line()?;
        if text.iter().any(u8::is_ascii_control) {
            return Err(End::Unlike("with control characters".to_owned()));
        }
        Ok(())
    }
}

/// Sends bytes to a receiver, who refuses them.
fn refused(bytes: Vec<u8>) -> Step {
    Step::act(move |peer| {
        let mut stream = Stream::new(peer);
        stream.is_accepted()?;
        stream.write(&bytes)?;
        stream.is_refused()
    })
}

/// Sends bytes to a receiver, whatever it makes of them.
fn send(bytes: impl Into<Vec<u8>>) -> Step {
    let bytes = bytes.into();
    Step::act(move |peer| Stream::new(peer).write(&bytes))
}

fn names() -> Vec<Case> {
    let long = vec![b'x'; 64_000];
    let rows: [(&str, &str, &[u8]); 9] = [
        ("slash", "a name with a slash", b"a/misbehave"),
        ("absolute", "an absolute name", b"/misbehave"),
        ("parent", "a name that leads out", b"../misbehave"),
        ("dots", "the parent", b".."),
        ("dot", "the directory itself", b"."),
        ("empty", "no name", b""),
        ("nul", "a name with NUL", b"misbehave\0x/y"),
        ("long", "a name of 64 kB", &long),
        ("esc", "a name with ESC and a slash", b"\x1b[2J/x"),
    ];
    let mut cases = Vec::new();
    for (id, title, name) in rows {
        for (kind, command, head) in [
            ("file", TO_DIRECTORY, &b"C0644 1 "[..]),
            ("directory", TREE_TO_DIRECTORY, b"D0755 0 "),
        ] {
            cases.push(
                case(
                    &format!("name-{id}-{kind}"),
                    &format!("{title}: {kind}"),
                    NAMES,
                    command,
                )
                .sends([refused([head, name, b"\n"].concat())]),
            );
        }
    }
    cases
}

fn lines() -> Vec<Case> {
    let rows: [(&str, &str, &[u8]); 23] = [
        (
            "size-negative",
            "a negative size",
            b"C0644 -1 misbehave.tmp\n",
        ),
        (
            "size-2-63",
            "2^63 bytes",
            b"C0644 9223372036854775808 misbehave.tmp\n",
        ),
        (
            "size-2-64",
            "2^64 bytes",
            b"C0644 18446744073709551616 misbehave.tmp\n",
        ),
        (
            "size-letters",
            "a size with letters",
            b"C0644 1x misbehave.tmp\n",
        ),
        (
            "size-hex",
            "a size in hexadecimal",
            b"C0644 0x10 misbehave.tmp\n",
        ),
        (
            "size-plus",
            "a size with a plus",
            b"C0644 +1 misbehave.tmp\n",
        ),
        ("size-missing", "no size", b"C0644 misbehave.tmp\n"),
        (
            "mode-long",
            "a mode of 30 figures",
            b"C000000000000000000777777777777 1 misbehave.tmp\n",
        ),
        (
            "mode-9",
            "a mode that is not octal",
            b"C0649 1 misbehave.tmp\n",
        ),
        (
            "mode-letters",
            "a mode with letters",
            b"Crw-r 1 misbehave.tmp\n",
        ),
        ("mode-missing", "no mode", b"C 1 misbehave.tmp\n"),
        (
            "mode-negative",
            "a negative mode",
            b"C-644 1 misbehave.tmp\n",
        ),
        ("alone", "C alone", b"C\n"),
        (
            "space-missing",
            "no space behind the mode",
            b"C06441misbehave.tmp\n",
        ),
        ("times-three", "times of three numbers", b"T1 0 1\n"),
        ("times-letters", "times with letters", b"Tx 0 y 0\n"),
        ("times-negative", "negative times", b"T-1 0 -1 0\n"),
        ("times-micro", "2,000,000 microseconds", b"T1 2000000 1 0\n"),
        (
            "times-huge",
            "times beyond 2^64",
            b"T99999999999999999999 0 1 0\n",
        ),
        ("letter", "an unknown letter", b"X0644 1 misbehave.tmp\n"),
        ("empty", "an empty line", b"\n"),
        ("byte-255", "a byte that is no letter", b"\xff\n"),
        ("ssh", "an identification", b"SSH-2.0-x\r\n"),
    ];
    let mut cases: Vec<Case> = rows
        .into_iter()
        .map(|(id, title, line)| {
            case(&format!("line-{id}"), title, LINES, TO_DIRECTORY).sends([refused(line.to_vec())])
        })
        .collect();
    cases.push(
        case(
            "line-endless",
            "a line of 1 MB without an end",
            LINES,
            TO_DIRECTORY,
        )
        .sends([send(vec![b'C'; 1 << 20])]),
    );
    cases.push(
        case("line-cut", "the end in a line", LINES, TO_DIRECTORY)
            .sends([send("C0644 1"), eof()])
            .expects(ended()),
    );
    cases
}

fn directories() -> Vec<Case> {
    vec![
        case(
            "end-without-directory",
            "E without D",
            LINES,
            TREE_TO_DIRECTORY,
        )
        .sends([refused(b"E\n".to_vec())]),
        case(
            "directory-unasked",
            "D without -r, for a file",
            LINES,
            TO_NULL,
        )
        .sends([refused(b"D0755 0 x\n".to_vec())]),
        case(
            "directory-over-file",
            "a directory where a file is",
            LINES,
            "scp -r -t /dev/null",
        )
        .sends([refused(b"D0755 0 null\n".to_vec())]),
        case("end-more", "E with more to it", LINES, TREE_TO_DIRECTORY)
            .sends([refused(b"Ex\n".to_vec())]),
        case(
            "target-missing",
            "a directory that is not there",
            LINES,
            "scp -d -t /nonexistent",
        )
        .sends([Step::act(|peer| Stream::new(peer).is_refused())]),
    ]
}

fn data() -> Vec<Case> {
    vec![
        case("data", "a file by the rules", LINES, TO_NULL).sends([Step::act(|peer| {
            let mut stream = Stream::new(peer);
            stream.is_accepted()?;
            stream.write(b"C0644 3 x\n")?;
            stream.is_accepted()?;
            stream.write(b"abc\0")?;
            stream.is_accepted()
        })]),
        case("data-crlf", "a line that ends with CR LF", LINES, TO_NULL)
            .sends([send("C0644 0 x\r\n\0"), eof()])
            .expects(ended()),
        case("data-short", "the end in a file", LINES, TO_NULL)
            .sends([send("C0644 1000000 x\nabc"), eof()])
            .expects(ended()),
        case("data-none", "the end in front of a file", LINES, TO_NULL)
            .sends([send("C0644 1000000 x\n"), eof()])
            .expects(ended()),
        case("data-longer", "more than was said", LINES, TO_NULL)
            .sends([send("C0644 1 x\nabcdefgh\n"), eof()])
            .expects(ended()),
        case(
            "data-huge",
            "a file of 2^62 bytes that does not come",
            LINES,
            TO_NULL,
        )
        .sends([send("C0644 4611686018427387904 x\nabc"), eof()])
        .expects(ended()),
        case(
            "data-error",
            "an error of the sender behind a file",
            LINES,
            TO_NULL,
        )
        .sends([send("C0644 1 x\na\x01no\n"), eof()])
        .expects(ended()),
        case("warning", "a warning of the sender", LINES, TO_NULL)
            .sends([send("\x01\x1b[2J\n"), eof()])
            .expects(ended()),
        case("fatal", "a fatal error of the sender", LINES, TO_NULL)
            .sends([send("\x02gone\n"), eof()])
            .expects(ended()),
        case("warning-endless", "a warning of 1 MB", LINES, TO_NULL)
            .sends([send([&[1], &vec![b'x'; 1 << 20][..]].concat())]),
        case("nothing", "the end at once", LINES, TO_NULL)
            .sends([eof()])
            .expects(ended()),
    ]
}

/// A receiver that does not keep to it.
fn sources() -> Vec<Case> {
    const FROM: &str = "scp -f /etc/passwd";
    let row = |id: &str, title: &str, bytes: &'static [u8]| {
        case(&format!("from-{id}"), title, LINES, FROM)
            .sends([send(bytes), eof()])
            .expects(ended())
    };
    vec![
        row("silent", "no answer to anything", b""),
        row("warned", "a warning for an answer", b"\x01no\n"),
        row("fatal", "a fatal error for an answer", b"\x02no\n"),
        row("garbage", "something else for an answer", b"hello\n"),
        row(
            "warned-late",
            "a warning behind the file's line",
            b"\0\x01no\n",
        ),
        row(
            "fatal-late",
            "a fatal error behind the file's line",
            b"\0\x02no\n",
        ),
        row("warned-cut", "a warning without its end", b"\x01no"),
        row("many", "1,000 answers at once", &[0; 1000]),
        case(
            "from-missing",
            "a file that is not there",
            LINES,
            "scp -f /nonexistent/x",
        )
        .sends([send([0]), eof()])
        .expects(ended()),
        case(
            "from-directory",
            "a directory without -r",
            LINES,
            "scp -f /etc",
        )
        .sends([send([0]), eof()])
        .expects(ended()),
        case("from-device", "a device", LINES, "scp -f /dev/zero")
            .sends([send([0]), eof()])
            .expects(ended()),
    ]
}

/// What is no right command ends with a text and a status.
fn commands() -> Vec<Case> {
    let rows = [
        ("no-way", "neither -t nor -f", "scp /tmp"),
        ("both-ways", "-t and -f", "scp -t -f /tmp"),
        ("no-target", "-t without a target", "scp -t"),
        ("no-source", "-f without a source", "scp -f"),
        ("two-targets", "-t with two targets", "scp -t /tmp /dev"),
        ("unknown-flag", "an unknown flag", "scp -Z -t /tmp"),
        (
            "program",
            "a program for the connection",
            "scp -S /bin/sh -t /tmp",
        ),
        ("quote", "a quote without its end", "scp -t '/tmp"),
    ];
    rows.into_iter()
        .map(|(id, title, command)| {
            case(&format!("command-{id}"), title, COMMAND, command)
                .sends([eof()])
                .expects(ended())
        })
        .collect()
}
