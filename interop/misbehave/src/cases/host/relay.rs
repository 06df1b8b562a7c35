//! `hostrelay`: a server whose user is logged in, and a session open (RFC 4254). What goes end to end
//! reaches the user as it is; the rest stays where it was said.

use super::{LOST, passed, row, unseen};
use crate::case::{Answer, Case, Expect, Stage, Step};
use crate::cases::{BROKEN, FORGED, faulty, say};
use crate::client::OURS;
use crate::end::End;
use crate::host::{HostCase, Sees, confirmation};
use crate::packet::{At, Fault};
use crate::payload::{
    data, debug, disconnect, exec, ext_info, global_request, ignore, name, open, plain, request,
    service_request, string_message, u32_at, unimplemented, userauth_failure, userauth_request,
    window_adjust,
};
use crate::peer::Peer;
use ssh_proto::msg;
use ssh_proto::transport::Role;
use ssh_proto::wire::Put;

const OPEN: &str = "RFC 4254 section 5.1";
const SESSION: &str = "RFC 4254 section 6.1";
const FORWARD: &str = "RFC 4254 section 7.2";
const UNOPENED: &str = "GHSA-47hw-gvq5-r2gm";
const UNASKED: &str = "CVE-2026-39830";
const KEYS: &str = "OpenSSH PROTOCOL section 2.5";
const REKEY: &str = "RFC 4253 section 9";
const UNKNOWN: &str = "RFC 4253 section 11.4";

/// A row's id and title, and its message for the open channel.
type ForChannel = (&'static str, &'static str, fn(u32) -> Vec<u8>);

/// A channel that nobody has opened.
const NOBODY: u32 = 77;

/// The rows.
pub(super) fn cases() -> Vec<HostCase> {
    let mut cases = opens();
    cases.extend(unopened());
    cases.extend(malformed());
    cases.extend(transport());
    cases.extend(end_to_end());
    cases.extend(host_keys());
    cases.extend(rekeys());
    cases.extend(ends());
    cases
}

fn case(id: &str, title: &str, source: &'static str) -> Case {
    row("hostrelay", id, title, source).at(Stage::Session)
}

fn broken(case: Case) -> HostCase {
    case.expects(BROKEN).seen(LOST)
}

/// What would act on the user's machine needs the user's wish; what is never a server's to open is
/// refused at once.
fn opens() -> Vec<HostCase> {
    let kinds = [
        ("session", "session", SESSION),
        ("direct-tcpip", "direct-tcpip", FORWARD),
        (
            "direct-streamlocal",
            "direct-streamlocal@openssh.com",
            FORWARD,
        ),
        ("direct-unknown", "direct-x@example.com", FORWARD),
        ("forwarded-tcpip", "forwarded-tcpip", FORWARD),
        (
            "forwarded-streamlocal",
            "forwarded-streamlocal@openssh.com",
            FORWARD,
        ),
        ("agent", "auth-agent@openssh.com", "CVE-2023-38408"),
        ("agent-old", "auth-agent", "CVE-2023-38408"),
        ("x11", "x11", "RFC 4254 section 6.3.2"),
        ("tun", "tun@openssh.com", "OpenSSH PROTOCOL section 2.3"),
    ];
    let mut cases: Vec<HostCase> = kinds
        .into_iter()
        .map(|(id, kind, source)| {
            case(&format!("open-{id}"), &format!("opens {kind}"), source)
                .sends([say(open(kind, 3, 1 << 20, 1 << 15))])
                .expects(Expect::Answered(vec![Answer::Like(
                    "a refusal",
                    |payload| {
                        payload.first() == Some(&msg::CHANNEL_OPEN_FAILURE)
                            && u32_at(payload, 1) == 3
                    },
                )]))
                .seen(unseen())
        })
        .collect();
    cases.push(
        case("open-flood", "opens 5,000 sessions", OPEN)
            .sends([say(open("session", 3, 1 << 20, 1 << 15)).times(5000)])
            .expects(Expect::answer(msg::CHANNEL_OPEN_FAILURE))
            .seen(unseen()),
    );
    cases.push(broken(
        case(
            "open-taken",
            "opens a channel by a number that is taken",
            OPEN,
        )
        .sends([say(open("x@example.com", OURS, 1 << 20, 1 << 15))]),
    ));
    let twice = open("x@example.com", 3, 1 << 20, 1 << 15);
    cases.push(
        broken(case("open-twice", "opens a channel twice", OPEN).sends([say(&twice), say(&twice)]))
            .case
            // The user may have seen the first one.
            .seen(LOST),
    );
    cases
}

/// Messages about channels that are not open, and replies that nobody is owed.
fn unopened() -> Vec<HostCase> {
    let mut failure = plain(msg::CHANNEL_OPEN_FAILURE, NOBODY);
    failure.put_u32(1);
    failure.put_string(b"no");
    failure.put_string(b"");
    let rows = [
        ("eof", UNOPENED, plain(msg::CHANNEL_EOF, NOBODY)),
        ("close", UNOPENED, plain(msg::CHANNEL_CLOSE, NOBODY)),
        (
            "request",
            UNOPENED,
            request(NOBODY, "exit-status", false, &[]),
        ),
        ("request-max", UNOPENED, exec(u32::MAX, "true")),
        ("success", UNOPENED, plain(msg::CHANNEL_SUCCESS, NOBODY)),
        ("failure", UNOPENED, plain(msg::CHANNEL_FAILURE, NOBODY)),
        ("confirmation", UNOPENED, confirmation(NOBODY, 5)),
        ("open-failure", UNOPENED, failure),
        ("global-success", UNASKED, vec![msg::REQUEST_SUCCESS]),
        ("global-failure", UNASKED, vec![msg::REQUEST_FAILURE]),
    ];
    let mut cases: Vec<HostCase> = rows
        .into_iter()
        .map(|(id, source, payload)| {
            let number = payload.first().copied().unwrap_or_default();
            let title = format!("{} for nothing", name(number));
            broken(case(&format!("unasked-{id}"), &title, source).sends([say(payload)]))
        })
        .collect();
    let rows: [ForChannel; 3] = [
        ("success-here", "CHANNEL_SUCCESS for no request", |it| {
            plain(msg::CHANNEL_SUCCESS, it)
        }),
        ("failure-here", "CHANNEL_FAILURE for no request", |it| {
            plain(msg::CHANNEL_FAILURE, it)
        }),
        ("confirmation-twice", "a confirmation twice", |it| {
            confirmation(it, 5)
        }),
    ];
    let here = |(id, title, make): ForChannel| {
        broken(case(id, title, UNASKED).sends([Step::ToChannel(make)]))
    };
    cases.extend(rows.into_iter().map(here));
    let after_close = |id: &str, title: &str, make: fn(u32) -> Vec<u8>| {
        case(id, title, "RFC 4254 section 5.3")
            .sends([
                Step::ToChannel(|it| plain(msg::CHANNEL_CLOSE, it)),
                Step::ToChannel(make),
            ])
            .expects(BROKEN)
            .seen(LOST)
    };
    cases.push(after_close("close-twice", "CLOSE twice", |it| {
        plain(msg::CHANNEL_CLOSE, it)
    }));
    cases.push(after_close("eof-after-close", "EOF behind CLOSE", |it| {
        plain(msg::CHANNEL_EOF, it)
    }));
    cases.push(after_close(
        "request-after-close",
        "a request behind CLOSE",
        |it| request(it, "exit-status", false, &[]),
    ));
    cases
}

fn malformed() -> Vec<HostCase> {
    let rows = [
        ("open-cut", vec![msg::CHANNEL_OPEN, 0, 0, 0, 7, b's']),
        ("open-4g", vec![msg::CHANNEL_OPEN, 255, 255, 255, 255]),
        ("open-no-number", string_message(msg::CHANNEL_OPEN, "x")),
        ("global-alone", vec![msg::GLOBAL_REQUEST]),
        (
            "global-4g",
            vec![msg::GLOBAL_REQUEST, 255, 255, 255, 255, b'x'],
        ),
        ("global-no-reply", string_message(msg::GLOBAL_REQUEST, "x")),
        ("eof-cut", vec![msg::CHANNEL_EOF, 0, 0]),
        ("close-alone", vec![msg::CHANNEL_CLOSE]),
        ("request-alone", vec![msg::CHANNEL_REQUEST]),
        (
            "confirmation-cut",
            vec![msg::CHANNEL_OPEN_CONFIRMATION, 0, 0, 0, 0, 0],
        ),
        ("failure-alone", vec![msg::CHANNEL_FAILURE]),
    ];
    rows.into_iter()
        .map(|(id, payload)| {
            let number = payload.first().copied().unwrap_or_default();
            let title = format!("{} that is cut short, or says so", name(number));
            broken(case(&format!("short-{id}"), &title, "RFC 4251 section 5").sends([say(payload)]))
        })
        .collect()
}

/// Numbers 1 to 79 are of this hop, and so are 192 and 193.
fn transport() -> Vec<HostCase> {
    let cut = [
        vec![msg::NEWKEYS],
        string_message(msg::KEX_ECDH_INIT, "x"),
        string_message(msg::KEX_ECDH_REPLY, "x"),
        vec![msg::KEXINIT],
        ext_info(0, &[]),
        userauth_failure("x"),
        vec![msg::USERAUTH_SUCCESS],
        string_message(msg::USERAUTH_BANNER, "x"),
        string_message(msg::USERAUTH_PK_OK, "x"),
    ];
    let mut cases: Vec<HostCase> = cut
        .into_iter()
        .map(|payload| {
            let number = payload.first().copied().unwrap_or_default();
            let title = format!("{} behind the login", name(number));
            broken(
                case(&format!("late-{number}"), &title, "RFC 4250 section 4.1")
                    .sends([say(payload)]),
            )
        })
        .collect();
    let unknown = [
        service_request("ssh-userauth"),
        string_message(msg::SERVICE_ACCEPT, "ssh-userauth"),
        userauth_request("x", "ssh-connection", "none"),
        vec![8],
        vec![19],
        vec![22],
        vec![54],
        vec![61],
        vec![79],
        vec![83],
        vec![101],
        vec![127],
        vec![128],
        vec![191],
        vec![194],
        vec![255],
        vec![0],
    ];
    cases.extend(unknown.into_iter().map(|payload| {
        let number = payload.first().copied().unwrap_or_default();
        case(&format!("unknown-{number}"), &name(number), UNKNOWN)
            .sends([say(payload)])
            .expects(Expect::answer(msg::UNIMPLEMENTED))
            .seen(unseen())
    }));
    let ignored = [
        ("ignore", ignore(b"x")),
        ("debug", debug("\u{1b}[2J")),
        ("unimplemented", unimplemented(3)),
        ("pong", string_message(msg::PONG, "x")),
    ];
    cases.extend(ignored.into_iter().map(|(id, payload)| {
        case(id, &format!("{id} stays on its hop"), "RFC 4253 section 11")
            .sends([say(payload)])
            .expects(Expect::Ignored)
            .seen(unseen())
    }));
    cases.push(
        case(
            "ping",
            "PING is answered on its hop",
            "OpenSSH PROTOCOL section 1.9",
        )
        .sends([say(string_message(msg::PING, "x"))])
        .expects(Expect::Either(vec![
            Expect::answer(msg::PONG),
            Expect::answer(msg::UNIMPLEMENTED),
        ]))
        .proxy(Expect::Answered(vec![Answer::Exactly(string_message(
            msg::PONG,
            "x",
        ))]))
        .seen(unseen()),
    );
    cases.push(
        case(
            "ignore-flood",
            "10,000 times IGNORE",
            "RFC 4253 section 11.2",
        )
        .sends([say(ignore(&[0; 100])).times(10_000)])
        .expects(Expect::Ignored)
        .seen(unseen()),
    );
    cases
}

/// What is for the user to judge reaches the user: windows, data, and requests of its channel.
fn end_to_end() -> Vec<HostCase> {
    let through = |id: &str, title: &str, source, payloads: Vec<Vec<u8>>| {
        case(id, title, source)
            .sends(payloads.iter().map(say))
            .expects(Expect::Alive)
            .seen(passed(payloads))
    };
    // The channel of the proxy's user: the client's number is the first one.
    let status = || request(OURS, "exit-status", false, &[]);
    vec![
        through(
            "data-unopened",
            "data for a channel that nobody opened",
            UNOPENED,
            vec![data(NOBODY, b"x")],
        ),
        through(
            "window-unopened",
            "a window for a channel that nobody opened",
            UNOPENED,
            vec![window_adjust(NOBODY, 1)],
        ),
        through(
            "window-overflow",
            "a window beyond 2^32",
            "CVE-2025-54804",
            vec![window_adjust(OURS, u32::MAX), window_adjust(OURS, u32::MAX)],
        ),
        through(
            "data-cut",
            "data that are cut short",
            "RFC 4251 section 5",
            vec![vec![msg::CHANNEL_DATA, 0]],
        ),
        through(
            "data-large",
            "data beyond what a packet may have",
            "RFC 4254 section 5.2",
            vec![data(OURS, &[b'x'; 40_000])],
        ),
        through(
            "exit-status-twice",
            "exit-status twice",
            "RFC 4254 section 6.10",
            vec![status(), status()],
        ),
        through(
            "exit-status-cut",
            "exit-status without a number",
            "RFC 4254 section 6.10",
            vec![status()],
        ),
        through(
            "request-unknown",
            "a request that nobody knows",
            "RFC 4254 section 5.4",
            vec![request(OURS, "x@example.com", false, &[b"\x1b[2J"])],
        ),
        through(
            "global-unknown",
            "a global request that nobody knows",
            "RFC 4254 section 4",
            vec![global_request("x@example.com", false)],
        ),
        through(
            "global-esc",
            "a global request with ESC in its name",
            "RFC 4254 section 4",
            vec![global_request("\u{1b}[2J\u{202e}", false)],
        ),
        through(
            "global-long",
            "a global request with 30,000 letters",
            "RFC 4254 section 4",
            vec![global_request(&"x".repeat(30_000), false)],
        ),
        through(
            "eof-twice",
            "EOF twice",
            "RFC 4254 section 5.3",
            vec![plain(msg::CHANNEL_EOF, OURS); 2],
        ),
        through(
            "data-after-eof",
            "data behind EOF",
            "RFC 4254 section 5.3",
            vec![plain(msg::CHANNEL_EOF, OURS), data(OURS, b"x")],
        ),
    ]
}

/// Host keys belong to the hop.
fn host_keys() -> Vec<HostCase> {
    let row = |id: &str, title: &str, name: &str, want_reply: bool, expect| {
        let mut payload = global_request(name, want_reply);
        payload.put_string(b"key");
        case(id, title, KEYS)
            .sends([say(payload)])
            .expects(expect)
            .seen(unseen())
    };
    let (notice, prove) = ("hostkeys-00@openssh.com", "hostkeys-prove-00@openssh.com");
    vec![
        row("hostkeys", "its host keys", notice, false, Expect::Ignored),
        row(
            "hostkeys-reply",
            "its host keys, with a reply",
            notice,
            true,
            Expect::answer(msg::REQUEST_FAILURE),
        ),
        row(
            "hostkeys-prove",
            "proves of keys",
            prove,
            true,
            Expect::answer(msg::REQUEST_FAILURE),
        ),
        row(
            "hostkeys-prove-quiet",
            "proves of keys without a reply",
            prove,
            false,
            Expect::Ignored,
        ),
    ]
}

fn rekeys() -> Vec<HostCase> {
    let kexinit = || crate::kex::Offer::default().kexinit(Role::Server);
    let fine = |id: &str, title: &str, steps: Vec<Step>| {
        case(id, title, REKEY)
            .sends(steps)
            .expects(Expect::Ignored)
            .seen(unseen())
    };
    let bad = |id: &str, title: &str, steps: Vec<Step>, expect| {
        case(id, title, REKEY)
            .sends(steps)
            .expects(expect)
            .seen(LOST)
    };
    vec![
        fine("rekey", "another exchange", vec![Step::Exchange]),
        fine(
            "rekey-flood",
            "a hundred exchanges",
            vec![Step::Exchange.times(100)],
        ),
        fine(
            "rekey-slow",
            "an exchange byte by byte",
            vec![Step::Chunks(1), Step::Exchange, Step::Chunks(usize::MAX)],
        ),
        bad(
            "rekey-data",
            "data between KEXINIT and NEWKEYS",
            vec![
                Step::KexInit(Box::new(kexinit())),
                Step::ToChannel(|it| data(it, b"x")),
            ],
            BROKEN,
        ),
        bad(
            "rekey-global",
            "a request between KEXINIT and NEWKEYS",
            vec![
                Step::KexInit(Box::new(kexinit())),
                say(global_request("x@example.com", true)),
            ],
            BROKEN,
        ),
        bad(
            "rekey-twice",
            "a second KEXINIT",
            vec![Step::KexInit(Box::new(kexinit())), say(kexinit().encode())],
            BROKEN,
        ),
        bad(
            "rekey-other-key",
            "another host key",
            vec![Step::KexInit(Box::new(kexinit())), Step::act(other_key)],
            Expect::Cut(&[9, 3]),
        ),
        bad(
            "rekey-low-order",
            "a value of low order",
            vec![
                Step::KexInit(Box::new(
                    kexinit().with(crate::kex::List::Kex, "curve25519-sha256"),
                )),
                Step::act(low_order),
            ],
            Expect::Cut(&[3]),
        ),
        bad(
            "rekey-nothing",
            "nothing in common",
            vec![Step::KexInit(Box::new(
                kexinit().with(crate::kex::List::Kex, "x@example.com"),
            ))],
            Expect::Cut(&[3]),
        ),
    ]
}

/// The key was pinned; who else comes later is somebody else.
fn other_key(peer: &mut Peer) -> Result<(), End> {
    use ssh_proto::crypto::random::SystemRandom;
    use ssh_proto::key::PrivateKey;

    peer.use_host_key(PrivateKey::generate_ed25519(&mut SystemRandom));
    peer.say_reply()?;
    peer.say_newkeys()
}

fn low_order(peer: &mut Peer) -> Result<(), End> {
    let mut payload = peer.reply()?;
    // Behind the number and the key, 4 + 51 bytes, and the value's length.
    payload
        .iter_mut()
        .skip(1 + 4 + 51 + 4)
        .take(32)
        .for_each(|byte| *byte = 0);
    peer.say(&payload)
}

fn ends() -> Vec<HostCase> {
    let told = "the app instance ended the connection: ";
    let over = |id: &str, title: &str, steps: Vec<Step>, sees| {
        case(id, title, "RFC 4253 section 11.1")
            .sends(steps)
            .sends([Step::Finish])
            .expects(Expect::Over)
            .seen(sees)
    };
    let forged = |id: &str, title: &str, at| {
        case(id, title, "RFC 4253 section 6.4")
            .sends([faulty(ignore(b"x"), Fault::Flipped(at, 0))])
            .expects(FORGED)
            .seen(LOST)
    };
    vec![
        over(
            "disconnect",
            "DISCONNECT",
            vec![say(disconnect(11, "bye"))],
            Sees::Lost("the app instance ended the connection: bye"),
        ),
        over(
            "disconnect-esc",
            "DISCONNECT with ESC, BEL, CR LF and RTL marks",
            vec![say(disconnect(2, "\u{1b}[2J\u{7}\r\n\u{202e}bye"))],
            Sees::Lost(told),
        ),
        over(
            "disconnect-long",
            "DISCONNECT with 30,000 bytes",
            vec![say(disconnect(2, &"x".repeat(30_000)))],
            Sees::Lost(told),
        ),
        over(
            "disconnect-not-utf8",
            "DISCONNECT with bytes that are not UTF-8",
            vec![{
                let mut payload = vec![msg::DISCONNECT, 0, 0, 0, 2];
                payload.put_string(&[0xff, 0xfe]);
                payload.put_string(b"");
                say(payload)
            }],
            Sees::Lost(told),
        ),
        over(
            "disconnect-alone",
            "DISCONNECT: nothing but the number",
            vec![say([msg::DISCONNECT])],
            Sees::Lost("the"),
        ),
        over("gone", "the end", vec![], LOST),
        over(
            "gone-in-packet",
            "the end in a packet",
            vec![faulty(ignore(&[0; 100]), Fault::Short(20))],
            LOST,
        ),
        forged(
            "forged-text",
            "a packet that is not authentic: its text",
            At::Start(8),
        ),
        forged(
            "forged-tag",
            "a packet that is not authentic: its tag",
            At::End(0),
        ),
    ]
}
