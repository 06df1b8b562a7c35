//! Control packets cut at every byte, lengthened, and with wrong lengths and numbers: the relay reads as
//! far as it has to judge, and leaves the rest to the far end.

use super::*;
use crate::relay::policy::Capability;
use crate::relay::targets::Targets;
use crate::sample::{Sample, report, sweep};

/// The books of a connection on which the client's channel 3 is the daemon's 7 and each waits for a reply
/// on it, and the client's channel 4 waits for its confirmation.
fn books(policy: Policy) -> Books<()> {
    let mut books = Books {
        observer: (),
        ledger: Ledger::default(),
        is_judged: policy.restricts(),
        policy: Arc::new(policy),
        told: [false; Capability::COUNT],
    };
    for (from, payload) in [
        (Side::Client, open(b"session", 3)),
        (Side::Daemon, confirm(3, 7)),
        (Side::Client, open(b"session", 4)),
        (Side::Client, request(7, b"env", true)),
        (Side::Daemon, request(3, b"odd", true)),
        (Side::Client, global(b"odd", true)),
        (Side::Daemon, global(b"odd", true)),
    ] {
        assert_eq!(books.rule(from, &payload), Ok(Ruling::Forward));
    }
    books
}

/// A policy with something to say about everything, and no objection to what is asked here.
fn strict() -> Policy {
    let mut policy = Policy::default();
    policy.deny(Capability::X11Forwarding);
    policy.restrict_targets(Targets::parse(&["*:5432".to_owned()]).unwrap());
    policy
}

/// What either end may send about the channel, by the number that the other gave.
fn of_both(recipient: u32) -> Vec<Sample> {
    let named = |number, name: &str| Sample::new(name, "bw|", about(number, recipient));
    let odd = request(recipient, b"odd", true);
    vec![
        named(msg::CHANNEL_EOF, "EOF"),
        named(msg::CHANNEL_CLOSE, "CLOSE"),
        named(msg::CHANNEL_SUCCESS, "SUCCESS"),
        named(msg::CHANNEL_FAILURE, "FAILURE"),
        Sample::new("REQUEST", "bwkb|*", odd),
        Sample::new("GLOBAL_REQUEST", "bkb|*", global(b"odd", true)),
        Sample::new("OPEN", "bkw|ww*", open(b"odd@example.com", 99)),
        Sample::new("REQUEST_SUCCESS", "b|", vec![msg::REQUEST_SUCCESS]),
        Sample::new("REQUEST_FAILURE", "b|", vec![msg::REQUEST_FAILURE]),
    ]
}

/// What only the daemon has an occasion for.
fn of_the_daemon() -> Vec<Sample> {
    let mut refusal = about(msg::CHANNEL_OPEN_FAILURE, 4);
    refusal.put_u32(2);
    refusal.put_string(b"no route");
    refusal.put_string(b"");
    vec![
        Sample::new("OPEN_CONFIRMATION", "bww|ww", confirm(4, 8)),
        Sample::new("OPEN_FAILURE", "bw|wss", refusal),
    ]
}

/// What the policy reads further.
fn of_the_client() -> Vec<Sample> {
    let mut connection = vec![msg::CHANNEL_OPEN];
    connection.put_string(b"direct-tcpip");
    for number in [99, 1 << 21, 1 << 15] {
        connection.put_u32(number);
    }
    connection.put_string(b"db.internal");
    connection.put_u32(5432);
    connection.put_string(b"10.0.0.1");
    connection.put_u32(50_000);
    let with = |name: &[u8], argument: &[u8]| {
        let mut payload = about(msg::CHANNEL_REQUEST, 7);
        payload.put_string(name);
        payload.put_bool(true);
        payload.put_string(argument);
        payload
    };
    vec![
        Sample::new("direct-tcpip", "bkwwwkw|sw", connection),
        Sample::new("exec", "bwkbs|", with(b"exec", b"ls -l")),
        Sample::new("subsystem", "bwkbs|", with(b"subsystem", b"sftp")),
    ]
}

#[test]
fn control_packets() {
    let mut cases = 0;
    let mut run = |from, policy: fn() -> Policy, samples: &[Sample]| {
        cases += sweep(
            samples,
            |_| books(policy()),
            |books, bytes| books.rule(from, bytes).into(),
        );
    };
    for policy in [Policy::default, strict] {
        run(Side::Client, policy, &of_both(7));
        run(Side::Daemon, policy, &of_both(3));
        run(Side::Daemon, policy, &of_the_daemon());
    }
    run(Side::Client, strict, &of_the_client());
    report(cases, 1100);
}
