//! `auth`: user authentication (RFC 4252), but for public keys: order, names, passwords, and how often.

use super::connection::{answers, at_once, cut, either, longer, short_by, strings};
use super::{BROKEN, NO_SERVICE, say};
use crate::case::{Case, Expect, Stage, Step};
use crate::end::End;
use crate::payload::{
    ext_info, open, password_request, plain, request, service_request, string_message,
    userauth_request,
};
use crate::peer::Peer;
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
fn none(user: impl AsRef<[u8]>) -> Vec<u8> {
    userauth_request(user, "ssh-connection", "none")
}

fn wrong() -> Vec<u8> {
    password_request("nobody", "wrong")
}

/// What the peer, or its user, decides.
fn say_by(make: impl Fn(&Peer) -> Result<Vec<u8>, End> + Send + Sync + 'static) -> Step {
    Step::act(move |peer| {
        let payload = make(peer)?;
        peer.say(&payload)
    })
}

fn login() -> Step {
    say_by(Peer::login_request)
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
        Case::new(format!("auth-early-{id}"), title, "CVE-2025-32433")
            .at(Stage::Served)
            .sends([say(payload)])
    };
    let mut cases: Vec<Case> = all.into_iter().map(row).collect();
    cases.push(
        Case::new(
            "auth-early-unserved",
            "a session and a command before any service",
            "CVE-2025-32433",
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
    };
    rows.into_iter().map(row).collect()
}

fn methods() -> Vec<Case> {
    let of = |method: &[u8]| userauth_request("nobody", "ssh-connection", method);
    let mut hostbased = of(b"hostbased");
    for field in ["ssh-ed25519", "", "client.example.com", "nobody", ""] {
        hostbased.put_string(field.as_bytes());
    }
    let interactive = [
        of(b"keyboard-interactive"),
        strings([b"".as_slice(), b"pam"]),
    ]
    .concat();
    let rows: [(&str, &str, Vec<u8>); 9] = [
        ("none", "the method none", of(b"none")),
        (
            "unknown-method",
            "a method that there is not",
            of(b"magic@example.com"),
        ),
        ("empty-method", "a method of no letters", of(b"")),
        (
            "huge-method",
            "a method of 30,000 letters",
            of(&[b'm'; 30_000]),
        ),
        ("nul-method", "none and NUL", of(b"none\0")),
        ("upper-method", "NONE", of(b"NONE")),
        (
            "method-not-utf8",
            "a method that is not UTF-8",
            of(&[0xff, 0xfe]),
        ),
        ("hostbased", "the method hostbased", hostbased),
        (
            "interactive",
            "the method keyboard-interactive",
            interactive,
        ),
    ];
    let row = |(id, title, payload): (&str, &str, Vec<u8>)| {
        case(id, title).sends([say(payload)]).expects(failure())
    };
    rows.into_iter().map(row).collect()
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
    let mut change = userauth_request("nobody", "ssh-connection", "password");
    change.put_bool(true);
    change.put_string(b"old");
    let mut endless = change.clone();
    change.put_string(b"new");
    endless.put_u32(u32::MAX);
    let whole = wrong();
    let no_password = userauth_request("nobody", "ssh-connection", "password");
    let good: [(&str, &str, Vec<u8>); 6] = [
        ("password-wrong", "a wrong password", whole.clone()),
        (
            "password-empty",
            "a password of no letters",
            password_request("nobody", ""),
        ),
        (
            "password-huge",
            "a password of 30,000 letters",
            password_request("nobody", [b'p'; 30_000]),
        ),
        (
            "password-nul",
            "a password with NUL",
            password_request("nobody", b"pass\0word"),
        ),
        (
            "password-not-utf8",
            "a password that is not UTF-8",
            password_request("nobody", [0xff, 0xfe]),
        ),
        ("password-change", "a change of passwords", change),
    ];
    let bad: [(&str, &str, Vec<u8>); 4] = [
        (
            "password-cut",
            "cut inside the password",
            short_by(&whole, 1),
        ),
        ("password-none", "cut before the password", no_password),
        (
            "password-trailing",
            "a byte behind the password",
            longer(&whole),
        ),
        (
            "password-4g",
            "a password of 4 GiB",
            [short_by(&whole, 9), vec![0xff; 4]].concat(),
        ),
    ];
    let good = good
        .into_iter()
        .map(|(id, title, payload)| case(id, title).sends([say(payload)]).expects(failure()));
    let bad = bad.into_iter().map(|(id, title, payload)| {
        case(id, title)
            .sends([say(payload)])
            .expects(either([BROKEN, failure()]))
            .proxy(BROKEN)
            // It has no passwords, and reads none.
            .daemon(failure())
    });
    let mut cases: Vec<Case> = good.chain(bad).collect();
    cases.push(
        case("password-change-4g", "a change to a password of 4 GiB")
            .sends([say(endless)])
            .expects(either([BROKEN, failure()]))
            .ours(failure()),
    );
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
            .sends((0..7).map(|user| say(none(format!("user{user}")))))
            .expects(BROKEN),
        case(
            "pipelined",
            "two wrong requests and the right one in one piece",
        )
        .sends(at_once([
            say(none("nobody")),
            say(userauth_request("nobody", "ssh-connection", "magic")),
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
            .sends([say_by(|peer| Ok(none(peer.user())))])
            .expects(Expect::Ignored),
        after("after-login", "the right request when the user is in")
            .sends([login()])
            .expects(Expect::Ignored),
        after("after-other", "another user when the user is in")
            .sends([say(password_request("root", "password"))])
            .expects(Expect::Ignored),
        after("after-garbage", "a request cut short when the user is in")
            .sends([say([msg::USERAUTH_REQUEST, 0xff])])
            .expects(Expect::Ignored),
        after("after-many", "1,000 requests when the user is in")
            .sends(at_once([say(none("nobody")).times(1000)]))
            .expects(Expect::Ignored),
        after("after-success", "USERAUTH_SUCCESS when the user is in")
            .sends([say([msg::USERAUTH_SUCCESS])]),
        after("after-info", "INFO_RESPONSE when the user is in")
            .sends([say([61, 0, 0, 0, 0])])
            .expects(either([Expect::answer(msg::UNIMPLEMENTED), BROKEN]))
            .ours(Expect::answer(msg::UNIMPLEMENTED)),
        after("after-ext-info", "EXT_INFO when the user is in")
            .sends([say(ext_info(0, &[]))])
            .expects(either([BROKEN, Expect::Ignored]))
            .ours(BROKEN),
    ]
}
