//! `auth`: user authentication (RFC 4252), but for public keys: order, names, passwords, and how often.

use super::connection::{
    answers, at_once, cut, either, for_user, longer, short_by, strings, unimplemented,
};
use super::{BROKEN, NO_SERVICE, say};
use crate::case::{Case, Expect, Stage, Step};
use crate::payload::{
    ext_info, open, password_request, plain, request, service_request, string_message,
    userauth_request,
};
use ssh_proto::msg;
use ssh_proto::wire::Put;

const RFC: &str = "RFC 4252 section 5";

/// The rows.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = too_early();
    cases.extend(of_servers());
    cases.extend(methods());
    cases.extend(names());
    cases.extend(forms());
    cases.extend(passwords());
    cases.extend(often());
    cases.extend(afterwards());
    cases
}

fn case(id: &str, title: &str) -> Case {
    Case::new(format!("auth-{id}"), title, RFC).at(Stage::Served)
}

fn failure() -> Expect {
    Expect::answer(msg::USERAUTH_FAILURE)
}

/// A request for nothing at all.
fn none(user: &str) -> Vec<u8> {
    userauth_request(user, "ssh-connection", "none")
}

fn wrong() -> Vec<u8> {
    password_request("nobody", "wrong")
}

/// The right request.
fn login() -> Step {
    Step::act(|peer| {
        let request = peer.login_request()?;
        peer.say(&request)
    })
}

/// Each message of the connection protocol before anyone is in.
fn too_early() -> Vec<Case> {
    let all: [(&str, Vec<u8>); 15] = [
        ("global-request", {
            crate::payload::global_request("tcpip-forward", true)
        }),
        ("request-success", vec![msg::REQUEST_SUCCESS]),
        ("request-failure", vec![msg::REQUEST_FAILURE]),
        ("open", open("session", 0, 1 << 20, 1 << 15)),
        ("confirmation", {
            let mut payload = plain(msg::CHANNEL_OPEN_CONFIRMATION, 0);
            payload.extend_from_slice(&[0; 12]);
            payload
        }),
        ("open-failure", {
            let mut payload = plain(msg::CHANNEL_OPEN_FAILURE, 0);
            payload.extend_from_slice(&[0; 12]);
            payload
        }),
        ("adjust", crate::payload::window_adjust(0, 1)),
        ("data", crate::payload::data(0, b"id\n")),
        ("extended", crate::payload::extended_data(0, 1, b"id\n")),
        ("eof", plain(msg::CHANNEL_EOF, 0)),
        ("close", plain(msg::CHANNEL_CLOSE, 0)),
        ("exec", crate::payload::exec(0, "id")),
        ("pty", request(0, "pty-req", true, &[b"xterm"])),
        ("success", plain(msg::CHANNEL_SUCCESS, 0)),
        ("failure", plain(msg::CHANNEL_FAILURE, 0)),
    ];
    let row = |(id, payload): (&str, Vec<u8>)| {
        let number = payload.first().copied().unwrap_or_default();
        let title = format!("{} before login", crate::payload::name(number));
        Case::new(
            format!("auth-early-{id}"),
            title,
            "RFC 4252 section 6, CVE-2025-32433",
        )
        .at(Stage::Served)
        .sends([say(payload)])
    };
    let mut cases: Vec<Case> = all.into_iter().map(row).collect();
    cases.push(
        Case::new(
            "auth-early-unserved",
            "a session and a command before any service",
            "RFC 4252 section 6, CVE-2025-32433",
        )
        .at(Stage::Keyed)
        .sends(at_once([
            say(open("session", 0, 1 << 20, 1 << 15)),
            say(crate::payload::exec(0, "id")),
        ])),
    );
    cases
}

/// Messages that only servers send.
fn of_servers() -> Vec<Case> {
    let list = |name: &[u8]| {
        let mut payload = string_message(msg::USERAUTH_FAILURE, name);
        payload.put_bool(true);
        payload
    };
    let info = |count: u32| {
        let mut payload = vec![61];
        payload.put_u32(count);
        payload
    };
    let rows: [(&str, &str, Vec<u8>); 7] = [
        (
            "says-success",
            "USERAUTH_SUCCESS from a client",
            vec![msg::USERAUTH_SUCCESS],
        ),
        (
            "says-failure",
            "USERAUTH_FAILURE from a client",
            list(b"none"),
        ),
        (
            "says-banner",
            "USERAUTH_BANNER from a client",
            [
                string_message(msg::USERAUTH_BANNER, "hello"),
                strings([b"".as_slice()]),
            ]
            .concat(),
        ),
        (
            "says-accept",
            "SERVICE_ACCEPT from a client",
            string_message(msg::SERVICE_ACCEPT, "ssh-userauth"),
        ),
        (
            "says-pk-ok",
            "USERAUTH_PK_OK, or INFO_REQUEST, from a client",
            vec![msg::USERAUTH_PK_OK],
        ),
        (
            "info-response",
            "INFO_RESPONSE to no request, with no answers",
            info(0),
        ),
        (
            "info-response-4g",
            "INFO_RESPONSE to no request, with 4,294,967,295 answers",
            info(u32::MAX),
        ),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| {
        Case::new(
            format!("auth-{id}"),
            title,
            "CVE-2018-10933, CVE-2026-42189",
        )
        .at(Stage::Served)
        .sends([say(payload)])
        .expects(either([BROKEN, unimplemented()]))
        .ours(BROKEN)
    };
    rows.into_iter().map(row).collect()
}

fn methods() -> Vec<Case> {
    let hostbased = strings([
        b"ssh-ed25519".as_slice(),
        b"",
        b"client.example.com",
        b"nobody",
        b"",
    ]);
    let interactive = strings([b"".as_slice(), b"pam"]);
    let bare: [(&str, &str, Vec<u8>); 7] = [
        ("none", "the method none", b"none".to_vec()),
        (
            "unknown-method",
            "a method that there is not",
            b"magic@example.com".to_vec(),
        ),
        ("empty-method", "a method of no letters", Vec::new()),
        (
            "huge-method",
            "a method of 30,000 letters",
            vec![b'm'; 30_000],
        ),
        ("nul-method", "none and NUL", b"none\0".to_vec()),
        ("upper-method", "NONE", b"NONE".to_vec()),
        (
            "method-not-utf8",
            "a method that is not UTF-8",
            vec![0xff, 0xfe],
        ),
    ];
    let row = |id: &str, title: &str, method: &[u8], fields: Vec<u8>| {
        let method = method.to_vec();
        let request = move |user: &str| {
            [
                userauth_request(user, "ssh-connection", &method),
                fields.clone(),
            ]
            .concat()
        };
        case(id, title)
            .sends([for_user(request)])
            .expects(failure())
    };
    let mut cases: Vec<Case> = bare
        .into_iter()
        .map(|(id, title, method)| row(id, title, &method, Vec::new()))
        .collect();
    cases.extend([
        row("hostbased", "the method hostbased", b"hostbased", hostbased),
        row(
            "interactive",
            "the method keyboard-interactive",
            b"keyboard-interactive",
            interactive,
        ),
    ]);
    cases
}

/// Users and services.
fn names() -> Vec<Case> {
    let rows: [(&str, &str, Vec<u8>); 9] = [
        ("user-empty", "a user of no letters", Vec::new()),
        ("user-nul", "a user with NUL", b"cf:\0/0".to_vec()),
        ("user-escape", "a user with ESC", b"\x1b[2Jroot".to_vec()),
        (
            "user-newline",
            "a user with a line end",
            b"x\nAccepted password for root".to_vec(),
        ),
        (
            "user-not-utf8",
            "a user that is not UTF-8",
            vec![0xc3, 0x28],
        ),
        (
            "user-rtl",
            "a user with a right-to-left mark",
            "x\u{202e}toor".as_bytes().to_vec(),
        ),
        ("user-huge", "a user of 30,000 letters", vec![b'u'; 30_000]),
        (
            "user-path",
            "a user that is a path",
            b"diego:../../etc/0".to_vec(),
        ),
        (
            "user-index",
            "an index beyond all instances",
            b"diego:process/99999999999999999999".to_vec(),
        ),
    ];
    let row = |(id, title, user): (&str, &str, Vec<u8>)| {
        let ended = either([failure(), BROKEN]);
        case(id, title)
            .sends([say(password_request(user, "password"))])
            .expects(ended)
            .ours(failure())
    };
    let mut cases: Vec<Case> = rows.into_iter().map(row).collect();
    let service = |id: &str, title: &str, service: &[u8]| {
        case(id, title)
            .sends([say(userauth_request("nobody", service, "none"))])
            .expects(NO_SERVICE)
    };
    cases.extend([
        service("service-unknown", "a service that there is not", b"ssh-x"),
        service("service-itself", "for ssh-userauth", b"ssh-userauth"),
        service("service-empty", "a service of no letters", b""),
        service(
            "service-huge",
            "a service of 30,000 letters",
            &[b's'; 30_000],
        ),
        case("service-changed", "another service at the second request")
            .sends([say(none("nobody")), Step::Await(msg::USERAUTH_FAILURE)])
            .sends([say(userauth_request("nobody", "ssh-other", "none"))])
            .expects(NO_SERVICE),
        // RFC 4252 section 5: what was gathered for another user must be flushed.
        case("user-changed", "another user at the second request")
            .sends([say(none("nobody")), Step::Await(msg::USERAUTH_FAILURE)])
            .sends([login()])
            .expects(either([Expect::answer(msg::USERAUTH_SUCCESS), BROKEN]))
            .ours(Expect::answer(msg::USERAUTH_SUCCESS))
            .with_login(),
    ]);
    cases
}

/// The fields of a request, one by one.
fn forms() -> Vec<Case> {
    let whole = none("nobody");
    // 1 for the number, 4 and 6 for the user, 4 and 14 for the service, 4 and 4 for the method.
    let rows: [(&str, &str, Vec<u8>); 11] = [
        ("number-alone", "nothing but the number", cut(&whole, 1)),
        (
            "cut-user-length",
            "cut inside the user's length",
            cut(&whole, 3),
        ),
        ("cut-user", "cut inside the user", cut(&whole, 8)),
        ("cut-before-service", "cut behind the user", cut(&whole, 11)),
        ("cut-service", "cut inside the service", cut(&whole, 20)),
        (
            "cut-before-method",
            "cut behind the service",
            cut(&whole, 29),
        ),
        ("cut-method", "cut inside the method", short_by(&whole, 1)),
        ("trailing", "a byte behind none", longer(&whole)),
        (
            "user-4g",
            "a user of 4 GiB",
            [&[msg::USERAUTH_REQUEST], &[0xff; 4][..]].concat(),
        ),
        (
            "service-4g",
            "a service of 4 GiB",
            [cut(&whole, 11), vec![0xff; 4]].concat(),
        ),
        (
            "method-4g",
            "a method of 4 GiB",
            [cut(&whole, 29), vec![0xff; 4]].concat(),
        ),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| case(id, title).sends([say(payload)]);
    rows.into_iter().map(row).collect()
}

/// RFC 4252 section 8. A server without passwords need not read them.
fn passwords() -> Vec<Case> {
    let good: [(&str, &str, Vec<u8>); 5] = [
        ("wrong", "a wrong password", b"wrong".to_vec()),
        ("empty", "a password of no letters", Vec::new()),
        ("huge", "a password of 30,000 letters", vec![b'p'; 30_000]),
        ("nul", "a password with NUL", b"pass\0word".to_vec()),
        ("not-utf8", "a password that is not UTF-8", vec![0xff, 0xfe]),
    ];
    // Behind the method: whether to change it, and the password.
    let whole = [&[0][..], &strings([b"wrong".as_slice()])].concat();
    let bad: [(&str, &str, Vec<u8>); 4] = [
        ("cut", "cut inside the password", short_by(&whole, 1)),
        ("none", "cut before the password", Vec::new()),
        ("trailing", "a byte behind the password", longer(&whole)),
        ("4g", "a password of 4 GiB", vec![0, 0xff, 0xff, 0xff, 0xff]),
    ];
    let change = [&[1][..], &strings([b"old".as_slice(), b"new"])].concat();
    let change_4g = [&[1][..], &strings([b"old".as_slice()]), &[0xff; 4]].concat();
    let with = |id: &str, title: &str, fields: Vec<u8>| {
        let request = move |user: &str| {
            let start = userauth_request(user, "ssh-connection", "password");
            [start, fields.clone()].concat()
        };
        case(&format!("password-{id}"), title).sends([for_user(request)])
    };
    let mut cases: Vec<Case> = good
        .into_iter()
        .map(|(id, title, password)| {
            let fields = [&[0][..], &strings([password.as_slice()])].concat();
            with(id, title, fields).expects(failure())
        })
        .collect();
    cases.extend(bad.into_iter().map(|(id, title, fields)| {
        with(id, title, fields)
            .expects(either([BROKEN, failure()]))
            .proxy(BROKEN)
            // It has no passwords, and reads none.
            .daemon(failure())
    }));
    cases.extend([
        with("change", "a change of passwords", change).expects(failure()),
        with("change-4g", "a change to a password of 4 GiB", change_4g)
            .expects(either([BROKEN, failure()]))
            .proxy(BROKEN)
            .daemon(failure()),
    ]);
    cases
}

/// MaxAuthTries of OpenSSH: six.
fn often() -> Vec<Case> {
    vec![
        case("six", "none, and the sixth failure after it")
            .sends([say(none("nobody"))])
            .sends([say(userauth_request("nobody", "ssh-connection", "magic")).times(6)])
            .expects(BROKEN),
        case("hundred", "100 requests in one piece")
            .sends(at_once([say(none("nobody")).times(100)]))
            .expects(BROKEN),
        case("users", "seven users")
            .sends((0..7).map(|user| say(none(&format!("user{user}")))))
            .expects(BROKEN),
        case(
            "pipelined",
            "two wrong requests and the right one in one piece",
        )
        .sends(at_once([
            for_user(none),
            for_user(|user| userauth_request(user, "ssh-connection", "magic")),
            login(),
        ]))
        .expects(answers(&[
            msg::USERAUTH_FAILURE,
            msg::USERAUTH_FAILURE,
            msg::USERAUTH_SUCCESS,
        ]))
        .with_login(),
        case(
            "pipelined-session",
            "the right request and a session in one piece",
        )
        .sends(at_once([
            login(),
            say(open("session", 0, 1 << 20, 1 << 15)),
        ]))
        // A client may not know that it is in. Those who cut see the message before they let anyone in.
        .expects(either([
            answers(&[msg::USERAUTH_SUCCESS, msg::CHANNEL_OPEN_CONFIRMATION]),
            BROKEN,
        ]))
        .with_login(),
        case(
            "wrong-then-session",
            "a wrong request and a session in one piece",
        )
        .sends(at_once([
            say(wrong()),
            say(open("session", 0, 1 << 20, 1 << 15)),
        ])),
        case("rekey", "a key exchange before login")
            .sends([Step::Exchange])
            // RFC 4253 section 9 has nothing against it; strangers cost too much so.
            .expects(either([Expect::Ignored, BROKEN]))
            .ours(BROKEN),
        case("service-again", "ssh-userauth is asked for after a failure")
            .sends([say(none("nobody")), Step::Await(msg::USERAUTH_FAILURE)])
            .sends([say(service_request("ssh-userauth"))])
            .expects(either([BROKEN, Expect::answer(msg::SERVICE_ACCEPT)]))
            .ours(BROKEN),
        case("ext-info-late", "EXT_INFO after a request")
            .sends([say(none("nobody")), Step::Await(msg::USERAUTH_FAILURE)])
            .sends([say(ext_info(0, &[]))])
            // RFC 8308 section 2.4
            .expects(either([BROKEN, Expect::Ignored]))
            .ours(BROKEN),
    ]
}

/// RFC 4252 section 5.1: no more requests once a user is in.
fn afterwards() -> Vec<Case> {
    let after = |id: &str, title: &str| case(id, title).at(Stage::Authenticated);
    vec![
        after("after-none", "a request when the user is in")
            .sends([for_user(none)])
            .expects(either([Expect::Ignored, unimplemented()]))
            .ours(Expect::Ignored),
        after("after-login", "the right request when the user is in")
            .sends([login()])
            .expects(either([Expect::Ignored, unimplemented()]))
            .ours(Expect::Ignored),
        after("after-other", "another user when the user is in")
            .sends([say(password_request("root", "password"))])
            .expects(either([Expect::Ignored, unimplemented()]))
            .ours(Expect::Ignored),
        after("after-garbage", "a request cut short when the user is in")
            .sends([say([msg::USERAUTH_REQUEST, 0xff])])
            .expects(either([Expect::Ignored, unimplemented()]))
            .ours(Expect::Ignored),
        after("after-many", "1,000 requests when the user is in")
            .sends(at_once([say(none("nobody")).times(1000)]))
            .expects(either([Expect::Ignored, unimplemented()]))
            .ours(Expect::Ignored),
        after("after-success", "USERAUTH_SUCCESS when the user is in")
            .sends([say([msg::USERAUTH_SUCCESS])])
            .expects(either([BROKEN, unimplemented()]))
            .ours(BROKEN),
        after("after-info", "INFO_RESPONSE when the user is in")
            .sends([say([61, 0, 0, 0, 0])])
            .expects(either([unimplemented(), BROKEN]))
            .ours(unimplemented()),
        after("after-ext-info", "EXT_INFO when the user is in")
            .sends([say(ext_info(0, &[]))])
            .expects(either([BROKEN, unimplemented(), Expect::Ignored]))
            .ours(BROKEN),
    ]
}
