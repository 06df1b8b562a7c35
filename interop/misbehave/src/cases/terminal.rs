//! `pty`, `env` and `signal`: terminals, environment and signals of a session (RFC 4254 sections 6.2, 6.4,
//! 6.7 and 6.9).

use super::BROKEN;
use super::connection::{
    answers, ask, at_once, done, either, longer, numbers, refused, short_by, strings, tell,
    to_channel,
};
use crate::case::{Answer, Case, Expect, Stage, Step};
use crate::client::{MAX_PACKET, OURS, WINDOW};
use crate::payload::{data, open, u32_at};
use ssh_proto::msg;

/// Opcode and argument of a mode that everyone knows: ECHO (RFC 4254 section 8).
const ECHO_ON: [u8; 5] = [53, 0, 0, 0, 1];

/// The rows that begin with `pty`.
pub(super) fn terminals() -> Vec<Case> {
    let mut cases = terms();
    cases.extend(modes());
    cases.extend(sizes());
    cases.extend(order());
    cases
}

/// The rows that begin with `env`.
pub(super) fn variables() -> Vec<Case> {
    let mut cases = names_and_values();
    cases.extend(many());
    cases
}

fn case(group: &str, id: &str, title: &str, source: &'static str) -> Case {
    Case::new(format!("{group}-{id}"), title, source).at(Stage::Session)
}

fn pty(id: &str, title: &str) -> Case {
    case("pty", id, title, "RFC 4254 section 6.2")
}

fn terminal(term: &[u8], sizes: [u32; 4], modes: &[u8]) -> Vec<u8> {
    [strings([term]), numbers(sizes), strings([modes])].concat()
}

fn usual(modes: &[u8]) -> Vec<u8> {
    terminal(b"xterm", [80, 24, 0, 0], modes)
}

/// What a command says on the channel.
fn says(output: &[u8]) -> Expect {
    Expect::Answered(vec![Answer::Exactly(data(OURS, output))])
}

fn run(command: &str) -> Step {
    ask("exec", strings([command.as_bytes()]))
}

fn terms() -> Vec<Case> {
    let rows: [(&str, &str, Vec<u8>, Expect); 6] = [
        ("empty", "TERM of no letters", Vec::new(), done()),
        (
            "nul",
            "TERM with NUL",
            b"xterm\0x".to_vec(),
            either([refused(), done()]),
        ),
        ("escape", "TERM with ESC", b"\x1b[2J".to_vec(), done()),
        (
            "path",
            "TERM that is a path",
            b"../../../etc/passwd".to_vec(),
            done(),
        ),
        (
            "not-utf8",
            "TERM that is not UTF-8",
            vec![0xff, 0xfe],
            done(),
        ),
        (
            "huge",
            "TERM of 64 kB",
            vec![b't'; 65_536],
            either([refused(), done()]),
        ),
    ];
    let row = |(id, title, term, expect): (&str, &str, Vec<u8>, Expect)| {
        pty(&format!("term-{id}"), title)
            .sends([ask("pty-req", terminal(&term, [80, 24, 0, 0], &[0]))])
            .expects(either([expect.clone(), BROKEN]))
            .ours(expect)
    };
    rows.into_iter().map(row).collect()
}

/// Read leniently: what stands before the mistake counts.
fn modes() -> Vec<Case> {
    let many: Vec<u8> = ECHO_ON.repeat(5000);
    let all: Vec<u8> = (1..=159).flat_map(|opcode| [opcode, 0, 0, 0, 1]).collect();
    let extreme: Vec<u8> = (1..=159)
        .flat_map(|opcode| [opcode, 0xff, 0xff, 0xff, 0xff])
        .collect();
    let rows: [(&str, &str, Vec<u8>); 9] = [
        ("none", "no modes, and no TTY_OP_END", Vec::new()),
        ("no-end", "modes without TTY_OP_END", ECHO_ON.to_vec()),
        ("cut", "a mode cut short", ECHO_ON[..3].to_vec()),
        (
            "undefined",
            "opcodes from 160 on",
            vec![160, 1, 2, 3, 255, 0],
        ),
        (
            "behind-end",
            "modes behind TTY_OP_END",
            [&[0][..], &ECHO_ON].concat(),
        ),
        (
            "twice",
            "a mode that is set and unset",
            [ECHO_ON, [53, 0, 0, 0, 0]].concat(),
        ),
        ("many", "5,000 modes", many),
        ("all", "every opcode there may be", all),
        ("extreme", "every opcode with 4,294,967,295", extreme),
    ];
    let row = |(id, title, modes): (&str, &str, Vec<u8>)| {
        pty(&format!("modes-{id}"), title)
            .by("GHSA-cqjc-rmpq-xprq")
            .sends([ask("pty-req", usual(&modes)), run("echo hi")])
            .expects(either([
                answers(&[
                    msg::CHANNEL_SUCCESS,
                    msg::CHANNEL_SUCCESS,
                    msg::CHANNEL_CLOSE,
                ]),
                BROKEN,
            ]))
            .ours(answers(&[
                msg::CHANNEL_SUCCESS,
                msg::CHANNEL_SUCCESS,
                msg::CHANNEL_CLOSE,
            ]))
    };
    let whole = usual(&[0]);
    let malformed: [(&str, &str, Vec<u8>); 5] = [
        ("missing", "no fields at all", Vec::new()),
        (
            "cut-size",
            "cut inside the size",
            strings([b"xterm".as_slice()]),
        ),
        (
            "cut-modes",
            "modes that are promised and missing",
            short_by(&whole, 1),
        ),
        (
            "modes-4g",
            "modes of 4 GiB",
            [short_by(&whole, 5), numbers([u32::MAX])].concat(),
        ),
        ("trailing", "a byte behind the modes", longer(&whole)),
    ];
    let broken = |(id, title, fields): (&str, &str, Vec<u8>)| {
        pty(id, title)
            .sends([ask("pty-req", fields)])
            .expects(either([refused(), BROKEN]))
            .ours(refused())
    };
    let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
    cases.extend(malformed.into_iter().map(broken));
    cases
}

fn sizes() -> Vec<Case> {
    let sized = |id: &str, title: &str, size: [u32; 4]| {
        pty(&format!("size-{id}"), title)
            .sends([ask("pty-req", terminal(b"xterm", size, &[0]))])
            .expects(done())
    };
    let resized = |id: &str, title: &str, fields: Vec<u8>, expect: Expect| {
        pty(&format!("resize-{id}"), title)
            .by("RFC 4254 section 6.7")
            .sends([
                ask("pty-req", usual(&[0])),
                Step::Await(msg::CHANNEL_SUCCESS),
            ])
            .sends([ask("window-change", fields)])
            .expects(expect)
    };
    let unread = || either([refused(), BROKEN]);
    vec![
        sized("0", "a terminal of 0 by 0", [0; 4]),
        sized(
            "4g",
            "a terminal of 4,294,967,295 by as many",
            [u32::MAX; 4],
        ),
        sized(
            "65536",
            "a terminal of 65,536 by 65,537",
            [65_536, 65_537, 0, 0],
        ),
        resized("0", "a new size of 0 by 0", numbers([0; 4]), done()),
        resized(
            "4g",
            "a new size of 4,294,967,295",
            numbers([u32::MAX; 4]),
            done(),
        ),
        resized(
            "cut",
            "a new size cut short",
            numbers([80, 24, 0]),
            unread(),
        )
        .ours(refused()),
        resized(
            "missing",
            "a new size without numbers",
            Vec::new(),
            unread(),
        )
        .ours(refused()),
        resized(
            "trailing",
            "a new size of five numbers",
            numbers([1; 5]),
            unread(),
        )
        .ours(refused()),
        pty("resize-none", "a new size for no terminal")
            .by("RFC 4254 section 6.7")
            .sends([ask("window-change", numbers([80, 24, 0, 0]))])
            .expects(either([done(), refused()]))
            // As the reference.
            .ours(done()),
        pty("resize-flood", "5,000 new sizes")
            .by("RFC 4254 section 6.7")
            .sends([ask("pty-req", usual(&[0])), run("cat")])
            .sends(at_once([
                tell("window-change", numbers([80, 24, 0, 0])).times(2500),
                tell("window-change", numbers([132, 43, 0, 0])).times(2500),
            ]))
            .expects(answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_SUCCESS])),
    ]
}

fn order() -> Vec<Case> {
    vec![
        pty("twice", "a terminal, twice")
            .sends([ask("pty-req", usual(&[0])), ask("pty-req", usual(&[0]))])
            .expects(either([
                answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_SUCCESS]),
                refused(),
                BROKEN,
            ]))
            // A second one replaces the first, as in the reference.
            .ours(answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_SUCCESS])),
        pty("hundred", "a terminal, 100 times, and a command")
            .by("OpenSSH: no bound but the system's")
            .sends([ask("pty-req", usual(&[0])).times(100), run("echo hi")])
            .expects(either([
                answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_CLOSE]),
                BROKEN,
            ]))
            .ours(Expect::Answered(
                [
                    vec![Answer::Number(msg::CHANNEL_SUCCESS); 101],
                    vec![Answer::Exactly(data(OURS, b"hi\r\n"))],
                ]
                .concat(),
            )),
        pty("late", "a terminal for a command that runs")
            .at(Stage::Running("cat"))
            .sends([ask("pty-req", usual(&[0]))])
            .expects(either([refused(), done(), BROKEN]))
            .ours(refused()),
        pty("sftp", "a terminal, and sftp")
            .sends([
                ask("pty-req", usual(&[0])),
                ask("subsystem", strings([b"sftp".as_slice()])),
            ])
            .expects(answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_SUCCESS])),
    ]
}

fn env(id: &str, title: &str) -> Case {
    case("env", id, title, "RFC 4254 section 6.4")
}

fn set(name: &[u8], value: &[u8]) -> Step {
    ask("env", strings([name, value]))
}

/// Servers may refuse all of them.
fn names_and_values() -> Vec<Case> {
    let allowed = || either([done(), refused()]);
    let bad: [(&str, &str, &[u8], &[u8]); 5] = [
        ("name-empty", "a name of no letters", b"", b"value"),
        (
            "name-equals",
            "a name with =",
            b"LD_PRELOAD=/tmp/x.so;A",
            b"value",
        ),
        ("name-nul", "a name with NUL", b"A\0B", b"value"),
        ("value-nul", "a value with NUL", b"NAME", b"a\0PATH=/tmp"),
        (
            "value-200k",
            "a value of 200,000 letters",
            b"NAME",
            &[b'v'; 200_000],
        ),
    ];
    let good: [(&str, &str, &[u8], &[u8]); 7] = [
        ("value-empty", "a value of no letters", b"NAME", b""),
        ("value-32k", "a value of 32 kB", b"NAME", &[b'v'; 32_768]),
        ("value-newline", "a value with a line end", b"NAME", b"a\nb"),
        (
            "value-not-utf8",
            "a value that is not UTF-8",
            b"NAME",
            &[0xff, 0xfe],
        ),
        (
            "name-not-utf8",
            "a name that is not UTF-8",
            &[0xff, 0xfe],
            b"value",
        ),
        (
            "name-shell",
            "a name that shells take for a function",
            b"BASH_FUNC_ls%%",
            b"() { :; }",
        ),
        (
            "home",
            "HOME, which is the server's affair",
            b"HOME",
            b"/tmp/elsewhere",
        ),
    ];
    let mut cases: Vec<Case> = bad
        .into_iter()
        .map(|(id, title, name, value)| {
            env(id, title)
                .sends([set(name, value)])
                .expects(either([refused(), BROKEN]))
                .ours(refused())
        })
        .collect();
    cases.extend(good.into_iter().map(|(id, title, name, value)| {
        env(id, title)
            .sends([set(name, value)])
            .expects(allowed())
            .ours(done())
    }));
    let whole = strings([b"NAME".as_slice(), b"value"]);
    let malformed: [(&str, &str, Vec<u8>); 4] = [
        ("missing", "no fields at all", Vec::new()),
        (
            "no-value",
            "a name without value",
            strings([b"NAME".as_slice()]),
        ),
        ("cut", "a value cut short", short_by(&whole, 1)),
        ("trailing", "a byte behind the value", longer(&whole)),
    ];
    cases.extend(malformed.into_iter().map(|(id, title, fields)| {
        env(id, title)
            .sends([ask("env", fields)])
            .expects(either([refused(), BROKEN]))
            .ours(refused())
    }));
    cases
}

fn many() -> Vec<Case> {
    let names = |count: u32, value: &'static [u8]| {
        (0..count)
            .map(move |number| tell("env", strings([format!("NAME{number}").as_bytes(), value])))
    };
    const SECOND: u32 = 1;
    // The first one stays open, with its variables.
    let second_session = || {
        Step::act(|peer| {
            peer.say(&open("session", SECOND, WINDOW, MAX_PACKET))?;
            let answer = peer.wait_for(&[msg::CHANNEL_OPEN_CONFIRMATION])?;
            peer.channel = Some(u32_at(&answer, 5));
            Ok(())
        })
    };
    vec![
        env("late", "a variable for a command that runs")
            .at(Stage::Running("cat"))
            .sends([set(b"NAME", b"value")])
            .expects(either([done(), refused(), BROKEN]))
            // As the reference: it is accepted, and has no effect.
            .ours(done()),
        env("names-20000", "20,000 variables, and a command")
            .by("the Go pair: no command of any session runs afterwards")
            .sends(at_once(names(20_000, b"x")))
            .sends([run("echo hi")])
            .expects(says(b"hi\n")),
        env("bytes-20m", "20 MB of variables, and a command")
            .by("the Go pair: no command of any session runs afterwards")
            .sends(at_once(names(1000, &[b'v'; 20_000])))
            .sends([run("echo hi")])
            .expects(says(b"hi\n")),
        env("same-20000", "one variable 20,000 times, and a command")
            .sends(at_once([
                tell("env", strings([b"N".as_slice(), b"v"])).times(20_000)
            ]))
            .sends([run("echo hi")])
            .expects(says(b"hi\n")),
        env("preload", "LD_PRELOAD, and a command")
            .by("CVE-2015-8325")
            .sends([
                set(b"LD_PRELOAD", b"/nonexistent.so"),
                run("echo hi 2>/dev/null"),
            ])
            .expects(says(b"hi\n")),
        env("leak", "variables of one session, and a command of another")
            .by("the Go pair: variables leak into all sessions")
            .sends([set(b"LD_PRELOAD", b""), set(b"SECRET", b"value")])
            .sends([second_session(), run("echo [$SECRET]")])
            .expects(Expect::Answered(vec![Answer::Exactly(data(
                SECOND, b"[]\n",
            ))])),
        env("path", "PATH that leads nowhere, and a command")
            .sends([set(b"PATH", b"/nonexistent"), run("echo hi")])
            .expects(says(b"hi\n")),
        env("shell", "BASH_ENV and ENV that lead nowhere, and a command")
            .sends([
                set(b"BASH_ENV", b"/nonexistent"),
                set(b"ENV", b"/nonexistent"),
            ])
            .sends([run("echo hi")])
            .expects(says(b"hi\n")),
    ]
}

/// The rows that begin with `signal`: the command lives on, unless it was really meant.
pub(super) fn signals() -> Vec<Case> {
    let signal = |id: &str, title: &str| {
        case("signal", id, title, "RFC 4254 section 6.9").at(Stage::Running("cat"))
    };
    let send = |name: &[u8]| ask("signal", strings([name]));
    let echo = || to_channel(|channel| data(channel, b"alive\n"));
    let rows: [(&str, &str, Vec<u8>); 8] = [
        ("unknown", "a signal that there is not", b"MAGIC".to_vec()),
        ("empty", "a signal of no letters", Vec::new()),
        ("prefix", "SIGKILL for KILL", b"SIGKILL".to_vec()),
        ("lower", "kill for KILL", b"kill".to_vec()),
        ("number", "9 for KILL", b"9".to_vec()),
        ("nul", "KILL and NUL", b"KILL\0".to_vec()),
        ("not-utf8", "a signal that is not UTF-8", vec![0xff, 0xfe]),
        ("huge", "a signal of 64 kB", vec![b's'; 65_536]),
    ];
    let mut cases: Vec<Case> = rows
        .into_iter()
        .map(|(id, title, name)| {
            signal(id, title)
                .sends([send(&name), echo()])
                .expects(says(b"alive\n"))
        })
        .collect();
    let malformed: [(&str, &str, Vec<u8>); 3] = [
        ("missing", "a signal without name", Vec::new()),
        (
            "cut",
            "a name cut short",
            short_by(&strings([b"KILL".as_slice()]), 1),
        ),
        (
            "trailing",
            "a byte behind the name",
            longer(&strings([b"KILL".as_slice()])),
        ),
    ];
    cases.extend(malformed.into_iter().map(|(id, title, fields)| {
        signal(id, title)
            .sends([ask("signal", fields), echo()])
            .expects(either([
                answers(&[msg::CHANNEL_FAILURE, msg::CHANNEL_DATA]),
                BROKEN,
            ]))
            .ours(answers(&[msg::CHANNEL_FAILURE, msg::CHANNEL_DATA]))
    }));
    cases.extend([
        signal("early", "a signal before any command")
            .at(Stage::Session)
            .sends([send(b"KILL")])
            .expects(either([done(), refused()]))
            // As the reference.
            .ours(done()),
        signal("sftp", "a signal for sftp")
            .at(Stage::Subsystem("sftp"))
            .sends([send(b"KILL")])
            .expects(either([
                done(),
                refused(),
                Expect::answer(msg::CHANNEL_CLOSE),
            ]))
            .ours(done()),
        signal("break", "a break without a terminal")
            .by("RFC 4335")
            .sends([ask("break", numbers([500])), echo()])
            .expects(either([
                answers(&[msg::CHANNEL_FAILURE, msg::CHANNEL_DATA]),
                answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_DATA]),
            ]))
            .ours(answers(&[msg::CHANNEL_FAILURE, msg::CHANNEL_DATA])),
        signal("kill", "KILL")
            .sends([send(b"KILL")])
            // A server need not deliver signals.
            .expects(either([Expect::answer(msg::CHANNEL_CLOSE), refused()]))
            .ours(Expect::answer(msg::CHANNEL_CLOSE)),
        signal("flood", "5,000 signals that there are not")
            .sends(at_once([
                tell("signal", strings([b"MAGIC".as_slice()])).times(5000)
            ]))
            .sends([echo()])
            .expects(says(b"alive\n")),
        signal("after-end", "KILL for a command that has ended")
            .at(Stage::Session)
            .sends([run("true"), Step::Await(msg::CHANNEL_CLOSE), send(b"KILL")])
            // Our CLOSE is still to come, so that requests may cross the server's.
            .expects(Expect::answer(msg::CHANNEL_EOF)),
    ]);
    cases
}
