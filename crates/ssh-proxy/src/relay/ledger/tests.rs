//! Packets in every order that the ledger has to tell apart.

use super::Side::{Client, Daemon};
use super::*;

/// A ledger with one channel: the client calls it 3, the daemon 7.
fn with_channel() -> Ledger {
    let mut ledger = Ledger::default();
    let open = Control::Open {
        kind: b"session",
        sender: 3,
    };
    assert_eq!(ledger.rule(Client, open), Ok(Ruling::Forward));
    let confirm = Control::OpenConfirmation {
        recipient: 3,
        sender: 7,
    };
    assert_eq!(ledger.rule(Daemon, confirm), Ok(Ruling::Forward));
    ledger
}

fn ask(name: &[u8]) -> Control<'_> {
    Control::GlobalRequest {
        name,
        want_reply: true,
    }
}

#[test]
fn a_channel_lives_until_both_sides_closed_it() {
    let mut ledger = with_channel();
    assert_eq!(
        ledger.rule(Client, Control::Eof { recipient: 7 }),
        Ok(Ruling::Forward)
    );
    assert_eq!(
        ledger.rule(Daemon, Control::Close { recipient: 3 }),
        Ok(Ruling::Forward)
    );
    assert!(
        ledger.rule(Daemon, Control::Eof { recipient: 3 }).is_err(),
        "after its CLOSE"
    );
    assert_eq!(
        ledger.rule(Client, Control::Close { recipient: 7 }),
        Ok(Ruling::Forward)
    );
    assert!(
        ledger
            .rule(Client, Control::Close { recipient: 7 })
            .is_err()
    );
    assert!(ledger.channels.is_empty() && ledger.by_daemon_number.is_empty());
    with_channel();
}

#[test]
fn channels_that_were_never_opened_are_cut() {
    for control in [
        Control::Eof { recipient: 3 },
        Control::Close { recipient: 3 },
        Control::Request {
            recipient: 3,
            name: b"exec",
            want_reply: false,
        },
        Control::Reply { recipient: 3 },
        Control::OpenConfirmation {
            recipient: 3,
            sender: 1,
        },
        Control::OpenFailure { recipient: 3 },
        Control::GlobalReply,
    ] {
        for side in [Client, Daemon] {
            assert!(
                Ledger::default().rule(side, control).is_err(),
                "{control:?}"
            );
        }
    }
    assert!(
        with_channel()
            .rule(Client, Control::Eof { recipient: 3 })
            .is_err(),
        "its own number"
    );
}

#[test]
fn replies_need_requests() {
    let mut ledger = with_channel();
    assert!(
        ledger
            .rule(Daemon, Control::Reply { recipient: 3 })
            .is_err()
    );
    let mut ledger = with_channel();
    let request = Control::Request {
        recipient: 7,
        name: b"exec",
        want_reply: true,
    };
    ledger.rule(Client, request).unwrap();
    assert_eq!(
        ledger.rule(Daemon, Control::Reply { recipient: 3 }),
        Ok(Ruling::Forward)
    );
    assert!(
        ledger
            .rule(Daemon, Control::Reply { recipient: 3 })
            .is_err()
    );
}

#[test]
fn local_refusals_wait_for_the_replies_before_them() {
    let mut ledger = Ledger::default();
    let prove = b"hostkeys-prove-00@openssh.com";
    let failure = vec![msg::REQUEST_FAILURE];
    assert_eq!(ledger.rule(Client, ask(prove)), Ok(Ruling::Answer(failure)));
    assert_eq!(
        ledger.rule(Client, ask(b"tcpip-forward")),
        Ok(Ruling::Forward)
    );
    assert_eq!(ledger.rule(Client, ask(prove)), Ok(Ruling::Drop));
    assert_eq!(ledger.rule(Client, ask(prove)), Ok(Ruling::Drop));
    assert_eq!(ledger.rule(Client, ask(b"other")), Ok(Ruling::Forward));
    assert_eq!(
        ledger.rule(Daemon, Control::GlobalReply),
        Ok(Ruling::ForwardThen(2, vec![msg::REQUEST_FAILURE]))
    );
    assert_eq!(
        ledger.rule(Daemon, Control::GlobalReply),
        Ok(Ruling::Forward)
    );
    assert!(ledger.rule(Daemon, Control::GlobalReply).is_err());
}

#[test]
fn host_keys_stay_on_their_hop() {
    let mut ledger = Ledger::default();
    let tell = Control::GlobalRequest {
        name: b"hostkeys-00@openssh.com",
        want_reply: false,
    };
    assert_eq!(ledger.rule(Daemon, tell), Ok(Ruling::Drop));
}

#[test]
fn containers_open_only_what_the_user_asked_for() {
    let prohibited = |ledger: &mut Ledger, kind| {
        let ruling = ledger
            .rule(Daemon, Control::Open { kind, sender: 9 })
            .unwrap();
        matches!(ruling, Ruling::Answer(_))
    };
    let kinds: [&[u8]; 4] = [
        b"forwarded-tcpip",
        b"forwarded-streamlocal@openssh.com",
        b"auth-agent@openssh.com",
        b"x11",
    ];
    for kind in kinds {
        assert!(prohibited(&mut with_channel(), kind));
    }
    for kind in [
        &b"session"[..],
        b"direct-tcpip",
        b"direct-streamlocal@openssh.com",
        b"tun@openssh.com",
    ] {
        assert!(prohibited(&mut with_channel(), kind));
    }
    assert!(!prohibited(&mut with_channel(), b"new-kind@example.com"));

    let invitations: [(Control<'_>, &[u8]); 4] = [
        (ask(b"tcpip-forward"), b"forwarded-tcpip"),
        (
            ask(b"streamlocal-forward@openssh.com"),
            b"forwarded-streamlocal@openssh.com",
        ),
        (
            channel_request(b"auth-agent-req@openssh.com"),
            b"auth-agent@openssh.com",
        ),
        (channel_request(b"x11-req"), b"x11"),
    ];
    for (invitation, kind) in invitations {
        let mut ledger = with_channel();
        ledger.rule(Client, invitation).unwrap();
        assert!(!prohibited(&mut ledger, kind));
    }
}

fn channel_request(name: &[u8]) -> Control<'_> {
    Control::Request {
        recipient: 7,
        name,
        want_reply: true,
    }
}

#[test]
fn channels_beyond_the_bound_are_refused_and_the_rest_goes_on() {
    let mut ledger = with_channel();
    for sender in (10u32..).take(MOST_CHANNELS - 1) {
        let open = Control::Open {
            kind: b"session",
            sender,
        };
        assert_eq!(ledger.rule(Client, open), Ok(Ruling::Forward));
    }
    let open = Control::Open {
        kind: b"session",
        sender: 9,
    };
    assert!(matches!(ledger.rule(Client, open), Ok(Ruling::Answer(_))));
    assert_eq!(
        ledger.rule(Client, Control::Eof { recipient: 7 }),
        Ok(Ruling::Forward)
    );
}

#[test]
fn what_the_platform_refuses_is_answered_in_its_place() {
    let mut ledger = with_channel();
    let failure = channel_failure(3);
    let exec = channel_request(b"exec");
    assert_eq!(
        ledger.refuse(Client, exec),
        Ok(Ruling::Answer(failure.clone()))
    );
    assert_eq!(
        ledger.rule(Client, channel_request(b"env")),
        Ok(Ruling::Forward)
    );
    assert_eq!(ledger.refuse(Client, exec), Ok(Ruling::Drop));
    let silent = Control::Request {
        recipient: 7,
        name: b"exec",
        want_reply: false,
    };
    assert_eq!(ledger.refuse(Client, silent), Ok(Ruling::Drop));
    let reply = Control::Reply { recipient: 3 };
    assert_eq!(
        ledger.rule(Daemon, reply),
        Ok(Ruling::ForwardThen(1, failure))
    );
    assert!(ledger.rule(Daemon, reply).is_err());

    let open = Control::Open {
        kind: b"direct-tcpip",
        sender: 9,
    };
    assert!(matches!(ledger.refuse(Client, open), Ok(Ruling::Answer(_))));
    let again = Control::Open {
        kind: b"direct-tcpip",
        sender: 3,
    };
    assert!(ledger.refuse(Client, again).is_err(), "its number is taken");

    let listen = ask(b"tcpip-forward");
    assert!(matches!(
        ledger.refuse(Client, listen),
        Ok(Ruling::Answer(_))
    ));
    assert!(!ledger.may_container_open(b"forwarded-tcpip"));
}

#[test]
fn nothing_follows_the_close_of_the_daemon() {
    let mut ledger = with_channel();
    ledger
        .rule(Daemon, Control::Close { recipient: 3 })
        .unwrap();
    assert_eq!(
        ledger.refuse(Client, channel_request(b"exec")),
        Ok(Ruling::Drop)
    );
    let unknown = Control::Request {
        recipient: 8,
        name: b"exec",
        want_reply: true,
    };
    assert!(ledger.refuse(Client, unknown).is_err());
}
