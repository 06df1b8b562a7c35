//! The order of replies, bounds, and the pace of accepting.

use ssh_proto::connection::forward::{ForwardedStreamlocal, StreamlocalForward, TcpipForward};
use sshd::bounds::Bounds;
use tokio::net::{TcpStream, UnixStream};

use crate::rig::{Rig, channels, tcpip, unix};

#[tokio::test]
async fn replies_come_one_for_each_request_and_in_their_order() {
    let mut rig = Rig::new();
    let forwards = &mut rig.forwards;
    forwards.request(TcpipForward::NAME, true, b"garbage");
    forwards.request(TcpipForward::CANCEL, true, b"garbage");
    forwards.request(StreamlocalForward::NAME, true, b"");
    forwards.request(TcpipForward::NAME, true, &tcpip("one.test", 0));
    forwards.request("keepalive@openssh.com", true, &[]);
    forwards.request("no-more-sessions@openssh.com", false, &[]);
    forwards.request("no-more-sessions@openssh.com", true, &[]);
    forwards.request("no-more-sessions@openssh.com", true, b"garbage");
    forwards.request(TcpipForward::NAME, false, b"garbage");
    forwards.request(TcpipForward::NAME, true, &tcpip("127.0.0.1", 0));
    let mut successes = Vec::new();
    for _ in 0..8 {
        successes.push(rig.reply().await.is_some());
    }
    assert_eq!(
        successes,
        [false, false, false, true, false, true, false, true]
    );
    rig.assert_idle().await;
}

#[tokio::test]
async fn a_request_that_wants_no_reply_is_done_without() {
    let mut rig = Rig::new();
    let path = rig.path("socket");
    (rig.forwards).request(StreamlocalForward::NAME, false, &unix(&path));
    rig.assert_idle().await;
    UnixStream::connect(&path).await.unwrap();
}

#[tokio::test]
async fn requests_that_pile_up_fail_in_their_turn() {
    let mut rig = Rig::with(Bounds {
        forwards: 1000,
        ..Bounds::default()
    });
    for _ in 0..100 {
        (rig.forwards).request(TcpipForward::NAME, true, &tcpip("127.0.0.1", 0));
    }
    for number in 0..100 {
        assert_eq!(rig.reply().await.is_some(), number < 64, "{number}");
    }
    assert!(rig.listen("127.0.0.1").await.is_some());
}

#[tokio::test]
async fn listeners_are_bounded() {
    let mut rig = Rig::with(Bounds {
        forwards: 2,
        ..Bounds::default()
    });
    let port = rig.listen("127.0.0.1").await.unwrap();
    assert!(rig.listen_unix(&rig.path("one")).await);
    assert_eq!(rig.listen("127.0.0.1").await, None);
    assert!(!rig.listen_unix(&rig.path("two")).await);
    assert!(rig.cancel("127.0.0.1", port).await);
    assert!(rig.listen_unix(&rig.path("two")).await);
}

#[tokio::test]
async fn accepting_pauses_while_channels_are_unconfirmed() {
    let mut rig = Rig::with(Bounds {
        unconfirmed: 1,
        ..Bounds::default()
    });
    let port = rig.listen("127.0.0.1").await.unwrap();
    let [channel, other] = channels();
    let _clients = [
        TcpStream::connect(("127.0.0.1", port)).await.unwrap(),
        TcpStream::connect(("127.0.0.1", port)).await.unwrap(),
    ];
    let first = rig.incoming().await;
    rig.forwards.hold(channel, first.stream);
    rig.assert_idle().await;
    // Everything else goes on.
    assert!(rig.listen("127.0.0.1").await.is_some());

    assert!(rig.forwards.release(other).is_none());
    assert!(rig.forwards.release(channel).is_some());
    assert!(rig.forwards.release(channel).is_none());
    rig.incoming().await;
}

#[tokio::test]
async fn a_busy_listener_does_not_silence_the_others() {
    let mut rig = Rig::new();
    let busy = rig.listen("127.0.0.1").await.unwrap();
    let quiet = rig.path("quiet");
    assert!(rig.listen_unix(&quiet).await);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(TcpStream::connect(("127.0.0.1", busy)).await.unwrap());
    }
    let _client = UnixStream::connect(&quiet).await.unwrap();
    // Readiness of both is known to the runtime after one turn at the latest.
    let mut kinds = vec![rig.incoming().await.kind];
    tokio::task::yield_now().await;
    kinds.push(rig.incoming().await.kind);
    kinds.push(rig.incoming().await.kind);
    assert!(kinds.contains(&ForwardedStreamlocal::NAME), "{kinds:?}");
}
