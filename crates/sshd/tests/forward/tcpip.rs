//! `tcpip-forward` and its cancellation (RFC 4254 section 7.1).

use std::io;

use ssh_proto::connection::forward::{Tcpip, TcpipForward};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{HANGS, Rig, assert_joined, has_ipv6, listener, tcpip};

/// Connects, and whatever comes of it is told as one `forwarded-tcpip` of `address`.
async fn assert_forwarded(rig: &mut Rig, address: &str, to: &str, port: u16) {
    let client = TcpStream::connect((to, port)).await.unwrap();
    let from = client.local_addr().unwrap();
    let incoming = rig.incoming().await;
    assert_eq!(incoming.kind, "forwarded-tcpip");
    let fields = Tcpip::parse(&incoming.payload).unwrap();
    assert_eq!(fields.host, address.as_bytes());
    assert_eq!(fields.port, port);
    assert_eq!(fields.originator, from.ip().to_string().as_bytes());
    assert_eq!(fields.originator_port, u32::from(from.port()));
    assert_joined(incoming.stream, client).await;
}

/// Somebody in the queue of a listener. Whether the port is free afterwards would not show that this
/// listener is closed: it may be another's by then.
async fn queued(to: &str, port: u16) -> TcpStream {
    TcpStream::connect((to, port)).await.unwrap()
}

/// The listener that this one had queued at is closed.
async fn assert_sent_away(mut client: TcpStream) {
    let read = timeout(HANGS, client.read(&mut [0])).await.unwrap();
    let error = read.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Which addresses are bound, and which are not, is in the unit tests of `forward::tcp`.
#[tokio::test]
async fn forwards_come_under_the_address_that_was_asked_for() {
    let ipv6 = has_ipv6();
    for (address, on_v4, on_v6) in [
        ("", true, ipv6),
        ("localhost", true, ipv6),
        ("0.0.0.0", true, false),
        ("127.0.0.1", true, false),
        ("one.test", true, false),
        // The machine does not have the other address.
        ("half.test", true, false),
        ("::", false, ipv6),
        ("::1", false, ipv6),
        ("[::1]", false, ipv6),
    ] {
        let mut rig = Rig::new();
        let Some(port) = rig.listen(address).await else {
            assert!(!on_v4 && !on_v6, "{address}");
            continue;
        };
        assert!(on_v4 || on_v6, "{address}");
        for (to, open) in [("127.0.0.1", on_v4), ("::1", on_v6)] {
            if open {
                assert_forwarded(&mut rig, address, to, port).await;
            }
        }
    }
}

#[tokio::test]
async fn places_that_cannot_be_listened_on_fail() {
    let mut rig = Rig::new();
    let long = "x".repeat(300);
    for address in ["none.test", "2001:db8::1", &long] {
        assert_eq!(rig.listen(address).await, None, "{address}");
    }
    let (_taken, port) = listener("127.0.0.1:0").await;
    for address in ["127.0.0.1", "localhost", "one.test"] {
        let payload = tcpip(address, port);
        assert_eq!(rig.request(TcpipForward::NAME, &payload).await, None);
    }
}

#[tokio::test]
async fn only_who_leaves_the_port_to_us_is_told_it() {
    let mut rig = Rig::new();
    // Free on another address of the machine, since nobody can have it on all.
    let (_other, port) = listener("127.0.0.9:0").await;
    let payload = tcpip("127.0.0.10", port);
    let reply = rig.request(TcpipForward::NAME, &payload).await;
    assert_eq!(reply, Some(Vec::new()));
    assert_forwarded(&mut rig, "127.0.0.10", "127.0.0.10", port).await;
}

#[tokio::test]
async fn a_forward_is_cancelled_by_its_address_as_asked_for_or_as_bound() {
    let everywhere = if has_ipv6() { "::" } else { "0.0.0.0" };
    for (asked_for, cancelled) in [
        ("", ""),
        ("", everywhere),
        ("localhost", "localhost"),
        ("localhost", "127.0.0.1"),
        ("one.test", "one.test"),
        ("one.test", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
    ] {
        let mut rig = Rig::new();
        let port = rig.listen(asked_for).await.unwrap();
        let client = queued("127.0.0.1", port).await;
        let other_port = port.checked_add(1).unwrap_or(1);
        assert!(!rig.cancel(cancelled, other_port).await);
        assert!(!rig.cancel("two.test", port).await);
        assert!(!rig.cancel(cancelled, 0).await);
        assert!(rig.cancel(cancelled, port).await, "{asked_for} {cancelled}");
        assert_sent_away(client).await;
        assert!(!rig.cancel(cancelled, port).await);
    }
}

#[tokio::test]
async fn of_two_forwards_the_one_named_is_cancelled() {
    let mut rig = Rig::new();
    let port = rig.listen("one.test").await.unwrap();
    let payload = tcpip("127.0.0.11", port);
    let other = rig.request(TcpipForward::NAME, &payload).await;
    assert_eq!(other, Some(Vec::new()));
    let client = queued("127.0.0.11", port).await;
    assert!(rig.cancel("127.0.0.11", port).await);
    assert_sent_away(client).await;
    assert_forwarded(&mut rig, "one.test", "127.0.0.1", port).await;
}

#[tokio::test]
async fn listeners_end_with_the_connection() {
    let mut rig = Rig::new();
    let port = rig.listen("localhost").await.unwrap();
    let path = rig.path("socket");
    assert!(rig.listen_unix(&path).await);
    let agent = rig.forwards.agent().unwrap().to_owned();
    let client = queued("127.0.0.1", port).await;
    let Rig {
        forwards,
        dir: _dir,
    } = rig;
    drop(forwards);
    assert_sent_away(client).await;
    assert!(!path.exists());
    assert!(!agent.parent().unwrap().exists());
}
