//! `request`: what is asked of a session (RFC 4254 section 6), but for terminals, environment and signals.

use super::connection::{
    TOLD, answers, ask, at_once, cut, done, either, longer, numbers, refused, refused_globally,
    short_by, strings, tell, to_channel,
};
use super::{BROKEN, say};
use crate::case::{Answer, Case, Expect, Stage, Step};
use crate::client::{MAX_PACKET, OURS, WINDOW};
use crate::payload::{data, exec, global_request, open, plain, request};
use ssh_proto::msg;

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = starts();
    cases.extend(commands());
    cases.extend(subsystems());
    cases.extend(strange());
    cases.extend(forms());
    cases.extend(agents());
    cases.extend(global());
    cases
}

fn case(id: &str, title: &str) -> Case {
    Case::new(format!("request-{id}"), title, "RFC 4254 section 6").at(Stage::Session)
}

/// A request that cannot be read. It may be refused, or the connection with it.
fn malformed(id: &str, title: &str, steps: Step) -> Case {
    case(id, title)
        .sends([steps])
        .expects(either([refused(), BROKEN]))
        .ours(refused())
}

fn command(text: &[u8]) -> Vec<u8> {
    strings([text])
}

/// Section 6.5: only one of them can succeed for each channel.
fn starts() -> Vec<Case> {
    let started = [
        ("exec", "exec", command(b"cat")),
        ("shell", "shell", Vec::new()),
        ("sftp", "subsystem", command(b"sftp")),
    ];
    let mut cases = Vec::new();
    for (first_id, first, fields) in &started {
        for (second_id, second, more) in &started {
            let title = format!("{second_id} on a channel with {first_id}");
            cases.push(
                case(&format!("{first_id}-{second_id}"), &title)
                    .by("RFC 4254 section 6.5")
                    .sends([ask(first, fields), Step::Await(msg::CHANNEL_SUCCESS)])
                    .sends([ask(second, more)])
                    .expects(either([refused(), BROKEN]))
                    .ours(refused()),
            );
        }
    }
    cases.push(
        case("hundred", "100 commands on one channel in one piece")
            .by("RFC 4254 section 6.5")
            .sends(at_once([ask("exec", command(b"cat")).times(100)]))
            .expects(either([
                answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_FAILURE]),
                BROKEN,
            ]))
            .ours(answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_FAILURE])),
    );
    cases
}

/// What a command says, and the end of its channel.
fn runs(output: &[u8]) -> Expect {
    Expect::Answered(vec![
        Answer::Number(msg::CHANNEL_SUCCESS),
        Answer::Exactly(data(OURS, output)),
        Answer::Number(msg::CHANNEL_CLOSE),
    ])
}

/// The command is not run: the request is refused, or the command fails.
fn not_run() -> Expect {
    either([
        refused(),
        answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_CLOSE]),
    ])
}

fn commands() -> Vec<Case> {
    let long = |length: usize| [b"echo hi #".as_slice(), &vec![b'x'; length]].concat();
    let whole = command(b"echo hi");
    vec![
        case("exec-good", "a command")
            .sends([ask("exec", &whole)])
            .expects(runs(b"hi\n")),
        case("exec-empty", "a command of no letters")
            .sends([ask("exec", command(b""))])
            .expects(not_run()),
        case("exec-nul", "a command with NUL")
            .by("security.md 2c: F18")
            .sends([ask("exec", command(b"echo hi\0; echo ho"))])
            .expects(either([not_run(), BROKEN]))
            .ours(not_run()),
        case("exec-not-utf8", "a command that is not UTF-8")
            .sends([ask("exec", command(b"printf '%s\\n' '\xff'"))])
            .expects(runs(b"\xff\n")),
        case("exec-30k", "a command of 30,000 letters")
            .sends([ask("exec", command(&long(30_000)))])
            .expects(runs(b"hi\n")),
        case(
            "exec-200k",
            "a command of 200,000 letters, more than Linux has room for",
        )
        .sends([ask("exec", command(&long(200_000)))])
        .expects(either([not_run(), BROKEN]))
        .ours(not_run()),
        case("exec-1m", "a command of 1 MB")
            .sends([ask("exec", command(&long(1_000_000)))])
            .expects(either([not_run(), BROKEN]))
            .ours(BROKEN),
        malformed("exec-missing", "exec without a command", ask("exec", b"")),
        malformed(
            "exec-cut",
            "exec with its command cut short",
            ask("exec", short_by(&whole, 1)),
        ),
        malformed(
            "exec-trailing",
            "exec with a byte behind its command",
            ask("exec", longer(&whole)),
        ),
        malformed(
            "exec-4g",
            "exec with a command of 4 GiB",
            ask("exec", numbers([u32::MAX])),
        ),
        malformed("shell-trailing", "shell with fields", ask("shell", &whole)),
        case(
            "unopened",
            "a command in one piece with the session's opening",
        )
        .at(Stage::Authenticated)
        .sends(at_once([
            say(open("session", OURS, WINDOW, MAX_PACKET)),
            say(exec(0, "echo hi")),
        ]))
        // A guess of the number that the server is about to give.
        .expects(either([BROKEN, answers(&[msg::CHANNEL_OPEN_CONFIRMATION])]))
        .daemon(answers(&[
            msg::CHANNEL_OPEN_CONFIRMATION,
            msg::CHANNEL_SUCCESS,
        ]))
        .proxy(BROKEN),
        case("unopened-alone", "a command without a session")
            .at(Stage::Authenticated)
            .sends([say(exec(0, "echo hi"))]),
        case("close-at-once", "a command and CLOSE in one piece")
            .sends(at_once([
                ask("exec", command(b"cat")),
                to_channel(|channel| plain(msg::CHANNEL_CLOSE, channel)),
            ]))
            .expects(Expect::answer(msg::CHANNEL_CLOSE)),
    ]
}

fn subsystems() -> Vec<Case> {
    let rows: [(&str, &str, Vec<u8>); 6] = [
        (
            "unknown",
            "a subsystem that there is not",
            b"magic".to_vec(),
        ),
        ("empty", "a subsystem of no letters", Vec::new()),
        ("huge", "a subsystem of 64 kB", vec![b's'; 65_536]),
        ("nul", "sftp and NUL", b"sftp\0".to_vec()),
        ("path", "a subsystem that is a path", b"/bin/sh".to_vec()),
        ("command", "sftp and a command", b"sftp; id".to_vec()),
    ];
    let row = |(id, title, name): (&str, &str, Vec<u8>)| {
        case(&format!("subsystem-{id}"), title)
            .sends([ask("subsystem", command(&name))])
            .expects(refused())
    };
    let whole = command(b"sftp");
    let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
    cases.extend([
        malformed(
            "subsystem-cut",
            "a subsystem's name cut short",
            ask("subsystem", short_by(&whole, 1)),
        ),
        malformed(
            "subsystem-trailing",
            "sftp with a byte behind its name",
            ask("subsystem", longer(&whole)),
        ),
        malformed(
            "subsystem-missing",
            "a subsystem without name",
            ask("subsystem", b""),
        ),
    ]);
    cases
}

/// Names that mean nothing to a server.
fn strange() -> Vec<Case> {
    let rows: [(&str, &str, Vec<u8>, Vec<u8>); 11] = [
        (
            "unknown",
            "a request that there is not",
            b"magic@example.com".to_vec(),
            vec![1; 100],
        ),
        ("empty", "a request of no letters", Vec::new(), Vec::new()),
        ("nul", "exec and NUL", b"exec\0".to_vec(), command(b"id")),
        ("upper", "EXEC", b"EXEC".to_vec(), command(b"id")),
        (
            "not-utf8",
            "a name that is not UTF-8",
            vec![0xff, 0xfe],
            Vec::new(),
        ),
        ("huge", "a name of 64 kB", vec![b'r'; 65_536], Vec::new()),
        (
            "keepalive",
            "keepalive@openssh.com",
            b"keepalive@openssh.com".to_vec(),
            Vec::new(),
        ),
        (
            "exit-status",
            "exit-status from a client",
            b"exit-status".to_vec(),
            numbers([0]),
        ),
        (
            "exit-signal",
            "exit-signal from a client",
            b"exit-signal".to_vec(),
            [
                strings([b"KILL".as_slice()]),
                vec![0],
                strings([b"".as_slice(), b""]),
            ]
            .concat(),
        ),
        (
            "xon-xoff",
            "xon-xoff from a client",
            b"xon-xoff".to_vec(),
            vec![1],
        ),
        (
            "eow",
            "eow@openssh.com, answer wanted",
            b"eow@openssh.com".to_vec(),
            Vec::new(),
        ),
    ];
    let row = |(id, title, name, fields): (&str, &str, Vec<u8>, Vec<u8>)| {
        [
            case(&format!("name-{id}"), title)
                .sends([ask(&name, &fields)])
                .expects(refused()),
            case(
                &format!("name-{id}-silent"),
                &format!("{title}, no reply wanted"),
            )
            .sends([tell(name, fields)])
            .expects(Expect::Ignored),
        ]
    };
    rows.into_iter().flat_map(row).collect()
}

fn forms() -> Vec<Case> {
    let whole = |channel: u32| exec(channel, "echo hi");
    let flag = |flag: u8| {
        to_channel(move |channel| {
            let mut payload = request(channel, "exec", false, &[b"echo hi"]);
            // Behind the number, the channel, and a name of four letters.
            if let Some(byte) = payload.get_mut(13) {
                *byte = flag;
            }
            payload
        })
    };
    vec![
        case("cut-channel", "cut inside the channel's number")
            .sends([say([msg::CHANNEL_REQUEST, 0])]),
        case("cut-name", "cut inside the name")
            .sends([to_channel(move |channel| cut(&whole(channel), 11))]),
        case("cut-reply", "cut before want_reply")
            .sends([to_channel(move |channel| cut(&whole(channel), 13))]),
        case("name-4g", "a name of 4 GiB").sends([to_channel(|channel| {
            [plain(msg::CHANNEL_REQUEST, channel), numbers([u32::MAX])].concat()
        })]),
        // RFC 4251 section 5: all values that are not 0 are true.
        case("reply-2", "want_reply of 2")
            .by("RFC 4251 section 5")
            .sends([flag(2)])
            .expects(runs(b"hi\n")),
        case("reply-255", "want_reply of 255")
            .by("RFC 4251 section 5")
            .sends([flag(255)])
            .expects(runs(b"hi\n")),
        case("after-close", "a command after CLOSE")
            .sends(at_once([
                to_channel(|channel| plain(msg::CHANNEL_CLOSE, channel)),
                ask("exec", command(b"cat")),
            ]))
            .expects(either([BROKEN, Expect::answer(msg::CHANNEL_CLOSE)]))
            .ours(BROKEN),
        case("flood", "200 requests in one piece")
            .sends(at_once([ask("magic@example.com", b"").times(200)]))
            .expects(Expect::Answered(vec![
                Answer::Number(msg::CHANNEL_FAILURE);
                200
            ])),
        case("silent-flood", "20,000 requests that want no reply")
            .sends(at_once([tell("magic@example.com", b"").times(20_000)]))
            .expects(Expect::Ignored),
    ]
}

fn agents() -> Vec<Case> {
    let agent = || ask("auth-agent-req@openssh.com", b"");
    let x11 = |fields: &[u8]| ask("x11-req", fields);
    let fields = [
        vec![0],
        strings([b"MIT-MAGIC-COOKIE-1".as_slice(), b"00"]),
        numbers([0]),
    ]
    .concat();
    let allowed = || either([refused(), done()]);
    vec![
        case("agent-twice", "an agent, twice")
            .sends([agent(), agent()])
            .expects(either([
                answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_SUCCESS]),
                refused(),
            ]))
            .ours(answers(&[msg::CHANNEL_SUCCESS, msg::CHANNEL_SUCCESS])),
        case("agent-late", "an agent for a command that runs")
            .at(Stage::Running("cat"))
            .sends([agent()])
            .expects(allowed())
            .ours(refused()),
        malformed(
            "agent-trailing",
            "an agent with fields",
            ask("auth-agent-req@openssh.com", b"x"),
        ),
        case("x11", "x11-req")
            .sends([x11(&fields)])
            .expects(allowed())
            .ours(refused()),
        case("x11-cut", "x11-req cut short")
            .sends([x11(&short_by(&fields, 1))])
            .expects(either([refused(), BROKEN]))
            .ours(refused()),
        case("x11-huge", "x11-req with a cookie of 30,000 letters")
            .sends([x11(&[
                vec![0],
                strings([b"MIT-MAGIC-COOKIE-1".as_slice(), &[b'0'; 30_000]]),
                numbers([u32::MAX]),
            ]
            .concat())])
            .expects(either([refused(), BROKEN, done()]))
            .ours(refused()),
    ]
}

/// Requests outside of any channel that are not about forwarding.
fn global() -> Vec<Case> {
    let global = |id: &str, title: &str| {
        Case::new(format!("request-global-{id}"), title, "RFC 4254 section 4")
            .at(Stage::Authenticated)
    };
    let rows: [(&str, &str, Vec<u8>); 7] = [
        (
            "unknown",
            "a global request that there is not",
            b"magic@example.com".to_vec(),
        ),
        ("empty", "a global request of no letters", Vec::new()),
        (
            "not-utf8",
            "a global request that is not UTF-8",
            vec![0xff, 0xfe],
        ),
        ("huge", "a global request of 64 kB", vec![b'g'; 65_536]),
        (
            "keepalive",
            "keepalive@openssh.com",
            b"keepalive@openssh.com".to_vec(),
        ),
        (
            "hostkeys",
            "hostkeys-00@openssh.com from a client",
            b"hostkeys-00@openssh.com".to_vec(),
        ),
        (
            "hostkeys-prove",
            "hostkeys-prove-00@openssh.com for no keys",
            b"hostkeys-prove-00@openssh.com".to_vec(),
        ),
    ];
    let mut cases: Vec<Case> = rows
        .into_iter()
        .flat_map(|(id, title, name)| {
            [
                global(id, title)
                    .sends([say(global_request(&name, true))])
                    .expects(either([
                        refused_globally(),
                        Expect::answer(msg::REQUEST_SUCCESS),
                    ]))
                    .ours(refused_globally()),
                global(
                    &format!("{id}-silent"),
                    &format!("{title}, no reply wanted"),
                )
                .sends([say(global_request(&name, false))])
                .expects(Expect::Ignored),
            ]
        })
        .collect();
    let prove = [
        global_request("hostkeys-prove-00@openssh.com", true),
        strings([[0xff; 64].as_slice()]),
    ]
    .concat();
    let no_more = "no-more-sessions@openssh.com";
    cases.extend([
        global(
            "prove-garbage",
            "hostkeys-prove-00@openssh.com for a key that is none",
        )
        .sends([say(prove)])
        .expects(either([refused_globally(), TOLD, BROKEN]))
        .ours(refused_globally()),
        global("no-more-sessions", "no more sessions, and then one")
            .by("OpenSSH PROTOCOL section 2.2")
            .sends([
                say(global_request(no_more, false)),
                say(open("session", OURS, WINDOW, MAX_PACKET)),
            ])
            .expects(either([Expect::answer(msg::CHANNEL_OPEN_FAILURE), BROKEN]))
            .ours(Expect::answer(msg::CHANNEL_OPEN_FAILURE)),
        global("flood", "200 global requests in one piece")
            .sends(at_once([
                say(global_request("magic@example.com", true)).times(200)
            ]))
            .expects(Expect::Answered(vec![
                Answer::Number(msg::REQUEST_FAILURE);
                200
            ])),
        global("silent-flood", "20,000 global requests that want no reply")
            .sends(at_once([
                say(global_request("magic@example.com", false)).times(20_000)
            ]))
            .expects(Expect::Ignored),
    ]);
    cases
}
