//! What must have come about in the end, whatever the wires did: nothing is lost but what came after a
//! CLOSE, and each side knows what the other one did.

use super::plan::{self, Ends, Kind, Plan};
use super::{client, daemon};

/// Holds what both ends have seen against the plan.
pub(crate) fn check(plan: &Plan, client: &client::Report, daemon: &daemon::Report) {
    assert_eq!(client.got, client.wanted, "replies to global requests");
    assert_eq!(
        daemon.got, daemon.wanted,
        "replies to global requests of the daemon"
    );
    let ends = client.channels.iter().zip(&daemon.channels);
    for (index, (plan, (client, daemon))) in plan.channels.iter().zip(ends).enumerate() {
        let what = format!("channel {index}: {plan:?}\n{client:?}\n{daemon:?}");
        assert_eq!(client.refused, plan.refused, "{what}");
        if !plan.refused {
            check_input(plan, client, daemon, &what);
            check_requests(client, daemon, &what);
            check_end(plan, client, &what);
        }
    }
}

/// What the client sent is what the program got, and all of it where the program was there to read it.
fn check_input(
    plan: &plan::Channel,
    client: &client::Channel,
    daemon: &daemon::Channel,
    what: &str,
) {
    let input = daemon.input.expect(what);
    assert!(input.read <= client.sent, "{what}");
    let reads_on = plan.kind != Kind::Session || plan.ends == Ends::AfterInput;
    match plan.reads {
        Some(reads) if reads_on => assert!(input.read >= reads.min(client.sent), "{what}"),
        None if reads_on => {
            assert!(client.ended && input.ended, "{what}");
            assert_eq!(input.read, client.sent, "{what}");
            assert_eq!(client.sent, plan.input, "{what}");
        }
        _ => {}
    }
}

/// Requests arrive in their order, and so do replies; none is lost but behind a CLOSE.
fn check_requests(client: &client::Channel, daemon: &daemon::Channel, what: &str) {
    assert!(client.requests.starts_with(&daemon.requests), "{what}");
    assert!(client.wanted.starts_with(&daemon.replied), "{what}");
    assert!(daemon.replied.starts_with(&client.got), "{what}");
    assert!(daemon.wanted.starts_with(&client.replied), "{what}");
    assert!(client.replied.starts_with(&daemon.got), "{what}");
    if !daemon.closed {
        assert_eq!(client.requests, daemon.requests, "{what}");
        assert_eq!(client.replied, daemon.got, "{what}");
    }
    if !client.closed {
        assert_eq!(daemon.replied, client.got, "{what}");
        assert_eq!(daemon.wanted, client.replied, "{what}");
    }
}

/// A client that stays to the end sees all of it. The order was checked when it came.
fn check_end(plan: &plan::Channel, client: &client::Channel, what: &str) {
    assert!(client.over, "{what}");
    if client.closed {
        assert!(client.exits <= 1, "{what}");
        return;
    }
    let is_session = plan.kind == Kind::Session;
    assert_eq!(client.exits, usize::from(is_session), "{what}");
    assert!(client.eof, "{what}");
    assert_eq!(client.heard, [plan.output, plan.errors], "{what}");
}
