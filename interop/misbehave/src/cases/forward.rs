//! `listen`: asking a server to listen (RFC 4254 section 7.1, OpenSSH PROTOCOL section 2.4), and `incoming`:
//! answers to the channels that it opens then.

use super::connection::{
    TOLD, answers, cut, either, longer, numbers, refused_globally, short_by, strings,
};
use super::{BROKEN, say};
use crate::case::{Answer, Case, Expect, Stage, Step};
use crate::client::{MAX_PACKET, WINDOW};
use crate::end::End;
use crate::payload::{data, global_request, open, plain, u32_at, window_adjust};
use crate::peer::Peer;
use ssh_proto::msg;

const LOOPBACK: &[u8] = b"127.0.0.1";

/// Our number of the channel that leads to a listener.
const OUT: u32 = 40;

/// Our number of the channel that comes from it.
const IN: u32 = 41;

/// The rows that begin with `listen`.
pub(super) fn listening() -> Vec<Case> {
    let mut cases = addresses();
    cases.extend(forms());
    cases.extend(again());
    cases.extend(sockets());
    cases
}

fn case(id: &str, title: &str) -> Case {
    Case::new(format!("listen-{id}"), title, "RFC 4254 section 7.1").at(Stage::Authenticated)
}

fn forward(name: &str, address: &[u8], port: u32) -> Vec<u8> {
    [
        global_request(name, true),
        strings([address]),
        numbers([port]),
    ]
    .concat()
}

fn listen(address: &[u8], port: u32) -> Vec<u8> {
    forward("tcpip-forward", address, port)
}

fn cancel(address: &[u8], port: u32) -> Vec<u8> {
    forward("cancel-tcpip-forward", address, port)
}

/// A port that the server has chosen.
fn chosen() -> Expect {
    let is = |payload: &[u8]| {
        payload.len() == 5
            && payload.first() == Some(&msg::REQUEST_SUCCESS)
            && (1..=65_535).contains(&u32_at(payload, 1))
    };
    Expect::Answered(vec![Answer::Like("REQUEST_SUCCESS with a port", is)])
}

fn addresses() -> Vec<Case> {
    let good: [(&str, &str, &[u8]); 5] = [
        ("loopback", "port 0 of 127.0.0.1", LOOPBACK),
        ("localhost", "port 0 of localhost", b"localhost"),
        ("everywhere", "port 0 of no address, which is all", b""),
        ("any-v4", "port 0 of 0.0.0.0", b"0.0.0.0"),
        ("other-loopback", "port 0 of 127.1.2.3", b"127.1.2.3"),
    ];
    let bad: [(&str, &str, Vec<u8>, u32); 10] = [
        ("port-65536", "port 65,536", LOOPBACK.to_vec(), 65_536),
        (
            "port-65558",
            "port 65,558, which is 22 in 16 bits",
            LOOPBACK.to_vec(),
            65_558,
        ),
        ("port-4g", "port 4,294,967,295", LOOPBACK.to_vec(), u32::MAX),
        (
            "foreign",
            "an address of another machine",
            b"192.0.2.1".to_vec(),
            0,
        ),
        ("nul", "an address with NUL", b"127.0.0.1\0".to_vec(), 0),
        (
            "not-utf8",
            "an address that is not UTF-8",
            vec![0xff, 0xfe],
            0,
        ),
        (
            "space",
            "an address with a space",
            b"127.0.0.1 ".to_vec(),
            0,
        ),
        (
            "with-port",
            "an address with a port",
            b"127.0.0.1:80".to_vec(),
            0,
        ),
        ("octal", "an address of 300 dots", vec![b'.'; 300], 0),
        ("huge", "an address of 64 kB", vec![b'a'; 65_536], 0),
    ];
    let mut cases: Vec<Case> = good
        .into_iter()
        .map(|(id, title, address)| {
            case(id, title)
                .sends([say(listen(address, 0))])
                .expects(chosen())
        })
        .collect();
    cases.extend(bad.into_iter().map(|(id, title, address, port)| {
        case(id, title)
            .sends([say(listen(&address, port))])
            .expects(refused_globally())
    }));
    // OpenSSH's word for all addresses, which no RFC has.
    cases.push(
        case("star", "the address *")
            .sends([say(listen(b"*", 0))])
            .expects(either([refused_globally(), chosen()]))
            .ours(refused_globally()),
    );
    cases
}

fn forms() -> Vec<Case> {
    let mut cases = Vec::new();
    for (group, whole) in [("", listen(LOOPBACK, 0)), ("cancel-", cancel(LOOPBACK, 1))] {
        let bare = short_by(&whole, 4 + LOOPBACK.len() + 4);
        let rows: [(&str, &str, Vec<u8>); 5] = [
            ("no-fields", "no fields at all", bare.clone()),
            ("cut-address", "an address cut short", short_by(&whole, 6)),
            ("cut-port", "half a port", short_by(&whole, 2)),
            ("trailing", "a byte behind the port", longer(&whole)),
            (
                "address-4g",
                "an address of 4 GiB",
                [bare, numbers([u32::MAX])].concat(),
            ),
        ];
        cases.extend(rows.into_iter().map(|(id, title, payload)| {
            let what = if group.is_empty() { "listen" } else { "cancel" };
            case(&format!("{group}{id}"), &format!("{what}: {title}"))
                .sends([say(payload)])
                .expects(either([refused_globally(), BROKEN]))
                .ours(refused_globally())
        }));
    }
    cases
}

/// Waits for a listener's port.
fn port_of(peer: &mut Peer) -> Result<u32, End> {
    peer.say(&listen(LOOPBACK, 0))?;
    let answer = peer.wait_for(&[msg::REQUEST_SUCCESS, msg::REQUEST_FAILURE])?;
    match u32_at(&answer, 1) {
        0 => Err(End::Refused),
        port => Ok(port),
    }
}

/// Listens on a port that the server chooses, and goes on with it.
fn with_port(then: impl Fn(&mut Peer, u32) -> Result<(), End> + Send + Sync + 'static) -> Step {
    Step::act(move |peer| {
        let port = port_of(peer)?;
        then(peer, port)
    })
}

fn again() -> Vec<Case> {
    let granted = || Expect::answer(msg::REQUEST_SUCCESS);
    vec![
        case("twice", "a port that is taken, by oneself")
            .sends([with_port(|peer, port| peer.say(&listen(LOOPBACK, port)))])
            .expects(refused_globally()),
        case(
            "taken-everywhere",
            "a port of all addresses that is taken on one, by oneself",
        )
        .sends([with_port(|peer, port| peer.say(&listen(b"0.0.0.0", port)))])
        .expects(refused_globally()),
        case("cancel-never", "a cancelled listener that never was")
            .sends([say(cancel(LOOPBACK, 1))])
            .expects(refused_globally()),
        case("cancel-port-0", "port 0 cancelled by 0, which names none")
            .sends([with_port(|peer, _| peer.say(&cancel(LOOPBACK, 0)))])
            .expects(either([refused_globally(), granted()]))
            .ours(refused_globally()),
        case("cancel-port-65536", "a cancelled port beyond all")
            .sends([with_port(|peer, port| {
                peer.say(&cancel(LOOPBACK, port + 65_536))
            })])
            .expects(refused_globally()),
        case("cancel-other", "a listener cancelled by another address")
            .sends([with_port(|peer, port| {
                peer.say(&cancel(b"127.0.0.2", port))
            })])
            .expects(refused_globally()),
        case("cancel-twice", "a listener cancelled twice")
            .sends([with_port(|peer, port| {
                peer.say(&cancel(LOOPBACK, port))?;
                peer.say(&cancel(LOOPBACK, port))
            })])
            .expects(answers(&[msg::REQUEST_SUCCESS, msg::REQUEST_FAILURE])),
        case(
            "cancel-and-again",
            "a listener cancelled, and its port asked for once more",
        )
        .sends([with_port(|peer, port| {
            peer.say(&cancel(LOOPBACK, port))?;
            peer.say(&listen(LOOPBACK, port))
        })])
        .expects(answers(&[msg::REQUEST_SUCCESS, msg::REQUEST_SUCCESS])),
        case(
            "silent",
            "a listener that wants no reply, and one that does",
        )
        .sends([
            say([
                global_request("tcpip-forward", false),
                strings([LOOPBACK]),
                numbers([0]),
            ]
            .concat()),
            say(listen(LOOPBACK, 0)),
        ])
        .expects(chosen()),
        // Servers may have other bounds, or none.
        case("limit", "64 listeners, and one more")
            .sends([Step::act(|peer| port_of(peer).map(drop)).times(64)])
            .sends([say(listen(LOOPBACK, 0))])
            .expects(either([refused_globally(), chosen()]))
            .ours(refused_globally()),
    ]
}

fn socket(name: &str, path: &[u8]) -> Vec<u8> {
    [global_request(name, true), strings([path])].concat()
}

const UNIX: &str = "streamlocal-forward@openssh.com";
const CANCEL_UNIX: &str = "cancel-streamlocal-forward@openssh.com";

/// A path that no other connection uses.
fn path(peer: &Peer) -> Vec<u8> {
    let id: String = peer
        .session_id()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("/tmp/misbehave-{id}").into_bytes()
}

/// A server may know nothing of them.
fn sockets() -> Vec<Case> {
    let socket_case = |id: &str, title: &str| {
        case(&format!("unix-{id}"), title).by("OpenSSH PROTOCOL section 2.4")
    };
    let mut bad: Vec<(&str, &str, Vec<u8>)> = vec![
        ("empty", "a path of no letters", Vec::new()),
        ("nul", "a path with NUL", b"/tmp/a\0b".to_vec()),
        ("abstract", "an abstract socket", b"\0misbehave".to_vec()),
        (
            "long",
            "a path of 108 letters",
            [b"/tmp/".as_slice(), &[b's'; 103]].concat(),
        ),
        ("huge", "a path of 64 kB", vec![b's'; 65_536]),
        ("file", "a file that there is", b"/etc/passwd".to_vec()),
        ("directory", "a directory", b"/tmp".to_vec()),
        ("root", "the root", b"/".to_vec()),
        (
            "slash",
            "a path that ends with a slash",
            b"/tmp/misbehave/".to_vec(),
        ),
        (
            "nowhere",
            "in a directory that there is not",
            b"/nonexistent/s".to_vec(),
        ),
        ("proc", "in /proc", b"/proc/self/s".to_vec()),
    ];
    let mut cases: Vec<Case> = bad
        .drain(..)
        .map(|(id, title, path)| {
            socket_case(id, title)
                .sends([say(socket(UNIX, &path))])
                .expects(either([refused_globally(), BROKEN]))
                .ours(refused_globally())
        })
        .collect();
    let malformed = [
        ("no-fields", "no path at all", global_request(UNIX, true)),
        (
            "cut",
            "a path cut short",
            short_by(&socket(UNIX, b"/tmp/s"), 1),
        ),
        (
            "trailing",
            "a byte behind the path",
            longer(&socket(UNIX, b"/tmp/s")),
        ),
    ];
    cases.extend(malformed.into_iter().map(|(id, title, payload)| {
        socket_case(id, title)
            .sends([say(payload)])
            .expects(either([refused_globally(), BROKEN]))
            .ours(refused_globally())
    }));
    cases.extend([
        socket_case("cancel-never", "a cancelled socket that never was")
            .sends([say(socket(CANCEL_UNIX, b"/tmp/misbehave-never"))])
            .expects(refused_globally()),
        socket_case("twice", "a socket, twice")
            .sends([Step::act(|peer| {
                let path = path(peer);
                peer.say(&socket(UNIX, &path))?;
                peer.say(&socket(UNIX, &path))
            })])
            .expects(refused_globally())
            .ours(answers(&[msg::REQUEST_SUCCESS, msg::REQUEST_FAILURE])),
        socket_case("relative", "a path that is not absolute")
            .sends([Step::act(|peer| {
                let path = path(peer);
                let name = path.strip_prefix(b"/tmp/").unwrap_or(&path);
                peer.say(&socket(UNIX, name))
            })])
            // Where the server happens to be is as good a place as any.
            .expects(either([
                Expect::answer(msg::REQUEST_SUCCESS),
                refused_globally(),
            ])),
        socket_case("cancel-twice", "a socket cancelled twice")
            .sends([Step::act(|peer| {
                let path = path(peer);
                peer.say(&socket(UNIX, &path))?;
                peer.say(&socket(CANCEL_UNIX, &path))?;
                peer.say(&socket(CANCEL_UNIX, &path))
            })])
            .expects(refused_globally())
            .ours(answers(&[
                msg::REQUEST_SUCCESS,
                msg::REQUEST_SUCCESS,
                msg::REQUEST_FAILURE,
            ])),
    ]);
    cases
}

/// The rows that begin with `incoming`: a listener is reached through the server itself, which then opens
/// a channel.
pub(super) fn incoming() -> Vec<Case> {
    let case = |id: &str, title: &str, then: fn(u32) -> Vec<Vec<u8>>| {
        Case::new(format!("incoming-{id}"), title, "RFC 4254 section 7.2")
            .at(Stage::Authenticated)
            .sends([answered(then)])
    };
    vec![
        case("confirmed", "a channel that is confirmed", |server| {
            vec![confirmation(server)]
        })
        .expects(Expect::answer(msg::CHANNEL_OPEN_CONFIRMATION)),
        case("data", "data both ways", |server| {
            vec![confirmation(server), data(server, b"hello")]
        })
        .expects(Expect::Answered(vec![Answer::Exactly(data(OUT, b"hello"))])),
        case(
            "confirmed-twice",
            "a channel that is confirmed twice",
            |server| vec![confirmation(server), confirmation(server)],
        ),
        case(
            "confirmed-other",
            "another channel is confirmed",
            |server| vec![confirmation(server + 50)],
        ),
        case(
            "confirmed-refused",
            "a channel that is confirmed and refused",
            |server| vec![confirmation(server), refusal(server)],
        ),
        case(
            "refused-confirmed",
            "a channel that is refused and confirmed",
            |server| vec![refusal(server), confirmation(server)],
        ),
        case("refused", "a channel that is refused", |server| {
            vec![refusal(server)]
        })
        .expects(Expect::Answered(vec![Answer::Exactly(plain(
            msg::CHANNEL_EOF,
            OUT,
        ))])),
        case("early-data", "data before the confirmation", |server| {
            vec![data(server, b"x")]
        })
        .expects(early())
        .daemon(BROKEN)
        .proxy(TOLD),
        case(
            "early-adjust",
            "an adjustment before the confirmation",
            |server| vec![window_adjust(server, 1)],
        )
        .expects(early())
        .daemon(BROKEN)
        .proxy(TOLD),
        case("early-eof", "EOF before the confirmation", |server| {
            vec![plain(msg::CHANNEL_EOF, server)]
        })
        .expects(early())
        .daemon(BROKEN)
        .proxy(BROKEN),
        case("early-close", "CLOSE before the confirmation", |server| {
            vec![plain(msg::CHANNEL_CLOSE, server)]
        })
        .expects(early())
        .daemon(BROKEN)
        .proxy(BROKEN),
        case("packet-0", "a packet size of 0", |server| {
            vec![confirmed(server, WINDOW, 0)]
        })
        .expects(early())
        .daemon(BROKEN)
        // It forwards what is the instance's to judge.
        .proxy(TOLD),
        case("packet-1", "a packet size of 1, and EOF", |server| {
            vec![
                confirmed(server, WINDOW, 1),
                plain(msg::CHANNEL_EOF, server),
            ]
        })
        .expects(Expect::Answered(vec![Answer::Exactly(plain(
            msg::CHANNEL_EOF,
            OUT,
        ))])),
        case("confirmation-cut", "a confirmation cut short", |server| {
            vec![cut(&confirmation(server), 9)]
        })
        .proxy(TOLD),
        case("refusal-cut", "a refusal cut short", |server| {
            vec![short_by(&refusal(server), 1)]
        })
        .proxy(TOLD),
        case("refusal-text", "a refusal with 64 kB of ESC", |server| {
            let text = vec![0x1b; 65_536];
            let mut payload = plain(msg::CHANNEL_OPEN_FAILURE, server);
            payload.extend(numbers([u32::MAX]));
            payload.extend(strings([text.as_slice(), b""]));
            vec![payload]
        })
        .expects(Expect::Answered(vec![Answer::Exactly(plain(
            msg::CHANNEL_EOF,
            OUT,
        ))])),
        case("unanswered", "a channel that is not answered", |_| {
            Vec::new()
        })
        .expects(Expect::answer(msg::CHANNEL_OPEN_CONFIRMATION)),
        case(
            "window-0",
            "a channel without window is closed at once",
            |server| {
                vec![
                    confirmed(server, 0, MAX_PACKET),
                    plain(msg::CHANNEL_CLOSE, server),
                ]
            },
        )
        .expects(Expect::Answered(vec![Answer::Exactly(plain(
            msg::CHANNEL_CLOSE,
            IN,
        ))])),
    ]
}

/// What a server may make of messages that come too early; RFC 4254 does not say.
fn early() -> Expect {
    either([BROKEN, Expect::answer(msg::CHANNEL_OPEN_CONFIRMATION)])
}

fn confirmation(server: u32) -> Vec<u8> {
    confirmed(server, WINDOW, MAX_PACKET)
}

fn confirmed(server: u32, window: u32, max_packet: u32) -> Vec<u8> {
    let mut payload = plain(msg::CHANNEL_OPEN_CONFIRMATION, server);
    payload.extend(numbers([IN, window, max_packet]));
    payload
}

fn refusal(server: u32) -> Vec<u8> {
    let mut payload = plain(msg::CHANNEL_OPEN_FAILURE, server);
    payload.extend(numbers([1]));
    payload.extend(strings([b"no".as_slice(), b""]));
    payload
}

/// Listens, connects to that, and answers the server's channel with what `then` makes of its number.
fn answered(then: fn(u32) -> Vec<Vec<u8>>) -> Step {
    with_port(move |peer, port| {
        let mut payload = open("direct-tcpip", OUT, WINDOW, MAX_PACKET);
        payload.extend(strings([LOOPBACK]));
        payload.extend(numbers([port]));
        payload.extend(strings([LOOPBACK]));
        payload.extend(numbers([1]));
        peer.say(&payload)?;
        let ours = |payload: &[u8]| payload.first() == Some(&msg::CHANNEL_OPEN);
        let opened = peer.wait_until(ours)?;
        let server = u32_at(&opened, 1 + 4 + "forwarded-tcpip".len());
        then(server)
            .iter()
            .try_for_each(|payload| peer.say(payload))?;
        Ok(())
    })
}
