//! `hostauth`: a server between the first keys and USERAUTH_SUCCESS (RFC 4253 section 10, RFC 4252).

use super::{NO_HANDSHAKE, row, unseen};
use crate::case::{Case, Expect, Stage, Step};
use crate::cases::{BROKEN, say};
use crate::end::{NO_MORE_AUTH_METHODS, PROTOCOL_ERROR};
use crate::host::{HostCase, confirmation};
use crate::payload::{
    data, disconnect, ext_info, global_request, ignore, name, open, service_request,
    string_message, userauth_failure, userauth_request,
};
use crate::peer::Peer;
use ssh_proto::msg;
use ssh_proto::wire::Put;

const SERVICE: &str = "RFC 4253 section 10";
const RFC: &str = "RFC 4252 section 5.1";
const BANNER: &str = "RFC 4252 section 5.4";
const EARLY: &str = "RFC 4252 section 6";
const FLOOD: &str = "OpenSSH ca313fef2";

/// The rows.
pub(super) fn cases() -> Vec<HostCase> {
    let mut cases = services();
    cases.extend(answers());
    cases.extend(banners());
    cases.extend(early());
    cases.extend(floods());
    cases
}

fn case(id: &str, title: &str, source: &'static str) -> Case {
    row("hostauth", id, title, source).at(Stage::Served)
}

fn broken(case: Case) -> HostCase {
    case.expects(BROKEN).seen(NO_HANDSHAKE)
}

fn served(case: Case) -> HostCase {
    case.expects(Expect::Ignored).seen(unseen())
}

fn asked() -> Step {
    Step::Await(msg::USERAUTH_REQUEST)
}

fn services() -> Vec<HostCase> {
    let accept = string_message(msg::SERVICE_ACCEPT, "ssh-userauth");
    let cut = |length: usize| accept.get(..length).unwrap_or_default().to_vec();
    let rows = [
        (
            "other",
            "another service",
            string_message(msg::SERVICE_ACCEPT, "ssh-connection"),
        ),
        (
            "no-name",
            "a service without a name",
            string_message(msg::SERVICE_ACCEPT, ""),
        ),
        (
            "prefix",
            "a part of the name",
            string_message(msg::SERVICE_ACCEPT, "ssh-user"),
        ),
        ("number-alone", "nothing but the number", cut(1)),
        ("cut", "cut in the name", cut(9)),
        (
            "longer",
            "a byte behind its end",
            [&accept[..], &[0]].concat(),
        ),
        (
            "request",
            "a request instead",
            service_request("ssh-userauth"),
        ),
        (
            "success",
            "USERAUTH_SUCCESS instead",
            vec![msg::USERAUTH_SUCCESS],
        ),
        (
            "failure",
            "USERAUTH_FAILURE instead",
            userauth_failure("publickey"),
        ),
        (
            "pk-ok",
            "USERAUTH_PK_OK instead",
            string_message(msg::USERAUTH_PK_OK, "x"),
        ),
    ];
    let mut cases: Vec<HostCase> = rows
        .into_iter()
        .map(|(id, title, payload)| {
            let steps = [Step::Await(msg::SERVICE_REQUEST), say(payload)];
            broken(
                case(
                    &format!("service-{id}"),
                    &format!("SERVICE_ACCEPT: {title}"),
                    SERVICE,
                )
                .at(Stage::Keyed)
                .sends(steps),
            )
        })
        .collect();
    cases.push(broken(
        case("service-unasked", "SERVICE_ACCEPT a second time", SERVICE).sends([say(accept)]),
    ));
    cases
}

fn answers() -> Vec<HostCase> {
    let mut pk_ok = vec![msg::USERAUTH_PK_OK];
    pk_ok.put_string(b"ssh-ed25519");
    pk_ok.put_string(&[9; 51]);
    let failure = userauth_failure("publickey");
    let rows = [
        ("pk-ok", "PK_OK that was not asked for", pk_ok),
        (
            "pk-ok-empty",
            "PK_OK without a key",
            vec![msg::USERAUTH_PK_OK],
        ),
        ("changereq", "a password to be changed", {
            let mut payload = string_message(msg::USERAUTH_PK_OK, "change it");
            payload.put_string(b"");
            payload
        }),
        (
            "request",
            "USERAUTH_REQUEST",
            userauth_request("x", "ssh-connection", "none"),
        ),
        ("info-response", "message 61", vec![61, 0, 0, 0, 0]),
        (
            "failure-alone",
            "USERAUTH_FAILURE: nothing but the number",
            vec![msg::USERAUTH_FAILURE],
        ),
        ("failure-cut", "USERAUTH_FAILURE without partial success", {
            failure
                .get(..failure.len() - 1)
                .unwrap_or_default()
                .to_vec()
        }),
        (
            "failure-longer",
            "USERAUTH_FAILURE and a byte more",
            [&failure[..], &[0]].concat(),
        ),
        ("failure-4g", "USERAUTH_FAILURE with a list of 4 GiB", {
            vec![msg::USERAUTH_FAILURE, 255, 255, 255, 255, b'x']
        }),
        (
            "success-longer",
            "USERAUTH_SUCCESS and a byte more",
            vec![msg::USERAUTH_SUCCESS, 0],
        ),
    ];
    let mut cases: Vec<HostCase> = rows
        .into_iter()
        .map(|(id, title, payload)| broken(case(id, title, RFC).sends([asked(), say(payload)])))
        .collect();
    let for_ever = |id: &str, title: &str, payload: Vec<u8>| {
        case(id, title, RFC)
            .sends([Step::act(move |peer| {
                loop {
                    peer.wait_for(&[msg::USERAUTH_REQUEST])?;
                    peer.say(&payload)?;
                }
            })])
            .expects(Expect::Cut(&[NO_MORE_AUTH_METHODS]))
            .seen(NO_HANDSHAKE)
    };
    cases.push(for_ever("failures", "USERAUTH_FAILURE for ever", failure));
    cases.push(for_ever("failures-odd", "ESC and RTL marks as methods", {
        userauth_failure(&"\u{1b}[2J\u{202e}".repeat(3000))
    }));
    cases.push(for_ever("failures-partial", "partial success for ever", {
        let mut payload = string_message(msg::USERAUTH_FAILURE, "publickey");
        payload.put_bool(true);
        payload
    }));
    cases.push(for_ever(
        "failures-none",
        "USERAUTH_FAILURE without methods",
        userauth_failure(""),
    ));
    cases.push(served(
        case(
            "success-to-none",
            "USERAUTH_SUCCESS for who shows nothing",
            RFC,
        )
        .sends([asked(), say(userauth_failure("none")), asked()])
        .sends([say([msg::USERAUTH_SUCCESS]), Step::act(is_in)]),
    ));
    cases
}

/// What was said let it in.
fn is_in(peer: &mut Peer) -> Result<(), crate::end::End> {
    peer.authenticated = true;
    Ok(())
}

fn banner(text: &str) -> Vec<u8> {
    let mut payload = string_message(msg::USERAUTH_BANNER, text);
    payload.put_string(b"");
    payload
}

/// Users of a proxy see none of them: they come of the instance, and steer terminals.
fn banners() -> Vec<HostCase> {
    let rows = [
        ("plain", "a banner", banner("welcome\r\n")),
        (
            "esc",
            "a banner with ESC",
            banner("\u{1b}[2J\u{1b}]0;x\u{7}"),
        ),
        (
            "rtl",
            "a banner with RTL marks",
            banner("\u{202e}\u{2066}x"),
        ),
        ("nul", "a banner with NUL", banner("a\0b")),
        ("empty", "an empty banner", banner("")),
        ("long", "a banner of 32 kB", banner(&"x".repeat(32_000))),
    ];
    let mut cases: Vec<HostCase> = rows
        .into_iter()
        .map(|(id, title, payload)| {
            served(case(&format!("banner-{id}"), title, BANNER).sends([say(payload)]))
        })
        .collect();
    cases.push(served(
        case(
            "banner-after-failure",
            "a banner between two requests",
            BANNER,
        )
        .sends([asked(), say(banner("x")), say(userauth_failure("none"))])
        .sends([asked(), say(banner("x"))])
        .sends([say([msg::USERAUTH_SUCCESS]), Step::act(is_in)]),
    ));
    cases.extend([
        // RFC 4253 section 6.1 asks for 35,000 bytes and no more.
        case("banner-huge", "a banner of 64 kB", BANNER)
            .sends([say(banner(&"x".repeat(64_000)))])
            .expects(BROKEN)
            .seen(NO_HANDSHAKE),
        case("banners", "10,000 banners", FLOOD)
            .sends([say(banner("x")).times(10_000)])
            .expects(BROKEN)
            .seen(NO_HANDSHAKE),
    ]);
    cases
}

/// Messages of later layers, and of no layer.
fn early() -> Vec<HostCase> {
    let mut notice = global_request("hostkeys-00@openssh.com", false);
    notice.put_string(b"x");
    let rows = [
        global_request("x@example.com", true),
        vec![msg::REQUEST_SUCCESS],
        vec![msg::REQUEST_FAILURE],
        open("session", 0, 1 << 20, 1 << 15),
        confirmation(0, 0),
        string_message(msg::CHANNEL_OPEN_FAILURE, "x"),
        data(0, b"x"),
        crate::payload::window_adjust(0, 1),
        crate::payload::plain(msg::CHANNEL_EOF, 0),
        crate::payload::plain(msg::CHANNEL_CLOSE, 0),
        crate::payload::exec(0, "true"),
        string_message(msg::PING, "x"),
        vec![200, 1],
        vec![0],
        vec![255],
    ];
    let mut cases: Vec<HostCase> = rows
        .into_iter()
        .map(|payload| {
            let number = payload.first().copied().unwrap_or_default();
            let title = format!("{} before USERAUTH_SUCCESS", name(number));
            broken(case(&format!("early-{number}"), &title, EARLY).sends([asked(), say(payload)]))
        })
        .collect();
    cases.push(broken(
        case("early-hostkeys", "host keys before USERAUTH_SUCCESS", EARLY).sends([say(notice)]),
    ));
    cases.push(broken(
        case("early-keyed", "GLOBAL_REQUEST before the service", EARLY)
            .at(Stage::Keyed)
            .sends([say(global_request("x@example.com", true))]),
    ));
    cases.push(
        case(
            "disconnect",
            "DISCONNECT with ESC and RTL marks",
            "RFC 4253 section 11.1",
        )
        .sends([say(disconnect(11, "\u{1b}[2J\u{202e}bye")), Step::Finish])
        .expects(Expect::Over)
        .seen(NO_HANDSHAKE),
    );
    cases
}

fn floods() -> Vec<HostCase> {
    let flood = |id: &str, title: &str, step: Step, count| {
        case(id, title, FLOOD)
            .sends([step.times(count)])
            .expects(Expect::Either(vec![
                Expect::Cut(&[PROTOCOL_ERROR]),
                Expect::Alive,
            ]))
            .proxy(BROKEN)
            .seen(NO_HANDSHAKE)
    };
    vec![
        flood("ignores", "10,000 times IGNORE", say(ignore(b"x")), 10_000),
        flood(
            "ignores-long",
            "20 MB of IGNORE",
            say(ignore(&[0; 30_000])),
            700,
        ),
        flood(
            "ext-infos",
            "1,000 times EXT_INFO",
            say(ext_info(0, &[])),
            1000,
        ),
        flood(
            "rekey",
            "a key exchange before USERAUTH_SUCCESS",
            Step::act(Peer::try_exchange),
            1,
        ),
    ]
}
