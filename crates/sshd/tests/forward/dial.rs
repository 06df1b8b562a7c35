//! What a user reaches out to.

use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::Path;

use ssh_proto::connection::forward::{DirectStreamlocal, Tcpip};
use ssh_proto::msg::OpenFailure;
use sshd::bounds::Bounds;
use sshd::forward::Stream;
use tokio::net::{TcpSocket, UnixListener, UnixSocket};
use tokio::time::pause;

use crate::rig::{Rig, assert_joined, bytes, channels, direct, has_ipv6, listener};

#[tokio::test]
async fn hosts_are_reached_by_every_name_of_theirs() {
    let mut rig = Rig::new();
    let (listener, port) = listener("127.0.0.1:0").await;
    // Nobody listens on the first address of two.test.
    for host in ["127.0.0.1", "localhost", "", "one.test", "two.test"] {
        let stream = rig.dial_tcp(host, port).await.unwrap();
        let Stream::Tcp(tcp) = &stream else {
            panic!("{stream:?}");
        };
        assert!(tcp.nodelay().unwrap());
        assert_joined(stream, listener.accept().await.unwrap().0).await;
    }
}

#[tokio::test]
async fn ipv6_literals_need_no_brackets() {
    let mut rig = Rig::new();
    if !has_ipv6() {
        let refusal = rig.dial_tcp("::1", 1).await.unwrap_err();
        assert!(
            refusal.text.starts_with("dial tcp [::1]:1: connect: "),
            "{refusal:?}"
        );
        return;
    }
    let (listener, port) = listener("[::1]:0").await;
    for host in ["::1", "[::1]", "localhost"] {
        let stream = rig.dial_tcp(host, port).await.unwrap();
        assert_joined(stream, listener.accept().await.unwrap().0).await;
    }
}

#[tokio::test]
async fn refusals_have_the_words_of_the_reference() {
    let mut rig = Rig::new();
    // Bound but not listening: nobody else gets the port meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let long = "x".repeat(300);
    let refused = |host: &str| format!("dial tcp {host}:{port}: connect: connection refused");
    for (host, text) in [
        ("127.0.0.1", refused("127.0.0.1")),
        // Of several errors, that of the first address.
        ("two.test", refused("127.0.0.2")),
        (
            long.as_str(),
            format!("dial tcp: lookup {long}: no such host"),
        ),
    ] {
        let refusal = rig.dial_tcp(host, port).await.unwrap_err();
        assert_eq!(refusal.reason, OpenFailure::ConnectFailed);
        assert_eq!(refusal.text, text);
    }
}

#[tokio::test]
async fn a_refusal_repeats_nothing_that_a_terminal_would_obey() {
    let mut rig = Rig::new();
    let host = [&b"\x1b[2J\xff"[..], &[b'x'; 2000]].concat();
    let refusal = rig.dial(Tcpip::DIRECT, &direct(&host, 1)).await;
    let text = refusal.unwrap_err().text;
    assert!(!text.contains('\x1b'), "{text}");
    assert!(text.len() < 1000, "{}", text.len());
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_at_once() {
    let mut rig = Rig::new();
    let [channel] = channels();
    let mut long = direct(b"127.0.0.1", 1);
    long.push(0);
    for (kind, payload) in [
        (Tcpip::DIRECT, &b"garbage"[..]),
        (Tcpip::DIRECT, &long),
        (DirectStreamlocal::NAME, b""),
    ] {
        let refusal = rig.forwards.dial(channel, kind, payload).unwrap_err();
        assert_eq!(refusal.reason, OpenFailure::ConnectFailed);
        assert_eq!(refusal.text, "Failed to parse open channel message");
    }
    let refusal = rig.forwards.dial(channel, "x11", b"").unwrap_err();
    assert_eq!(refusal.reason, OpenFailure::UnknownChannelType);
    assert_eq!(refusal.text, "x11");
    rig.assert_idle().await;
}

#[tokio::test]
async fn unix_sockets_are_reached() {
    let mut rig = Rig::new();
    let path = rig.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let stream = rig.dial_unix(bytes(&path)).await.unwrap();
    assert_joined(stream, listener.accept().await.unwrap().0).await;
}

#[tokio::test]
async fn unix_sockets_that_are_none_are_refused() {
    let mut rig = Rig::new();
    let long = vec![b'x'; 108];
    let abstract_one = b"\0abstract";
    for (path, text) in [
        (
            &b"/does/not/exist"[..],
            "dial unix /does/not/exist: connect: no such file or directory".to_owned(),
        ),
        (b"", "dial unix : connect: not a path".into()),
        (
            abstract_one,
            "dial unix \u{fffd}abstract: connect: not a path".into(),
        ),
        (
            &long,
            format!(
                "dial unix {}: connect: path too long for a socket",
                "x".repeat(108)
            ),
        ),
    ] {
        let refusal = rig.dial_unix(path).await.unwrap_err();
        assert_eq!(refusal.reason, OpenFailure::ConnectFailed);
        assert_eq!(refusal.text, text);
    }
}

/// A Unix socket whose queue is full, and what fills it.
fn busy_socket(path: &Path) -> (StdUnixListener, Vec<StdUnixStream>) {
    let socket = UnixSocket::new_stream().unwrap();
    socket.bind(path).unwrap();
    let listener = socket.listen(0).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    // With a backlog of 0, one gets in.
    let first = StdUnixStream::connect(path).unwrap();
    (listener, vec![first])
}

#[tokio::test]
async fn dials_are_bounded_and_the_rest_goes_on() {
    let mut rig = Rig::with(Bounds {
        dials: 1,
        ..Bounds::default()
    });
    let path = rig.path("socket");
    let (listener, _first) = busy_socket(&path);
    let payload = DirectStreamlocal { path: bytes(&path) }.encode();
    let [one, two] = channels();
    let kind = DirectStreamlocal::NAME;
    rig.forwards.dial(one, kind, &payload).unwrap();
    let refusal = rig.forwards.dial(two, kind, &payload).unwrap_err();
    assert_eq!(refusal.reason, OpenFailure::ResourceShortage);
    assert!(rig.listen("127.0.0.1").await.is_some());

    // A dial that has to wait gets its turn.
    drop(listener.accept().unwrap());
    let (channel, result) = rig.dialed().await;
    assert_eq!(channel, one);
    assert!(result.is_ok());
    rig.forwards.dial(two, kind, &payload).unwrap();
}

#[tokio::test]
async fn a_target_that_never_answers_is_given_up() {
    let mut rig = Rig::new();
    let path = rig.path("socket");
    let (_listener, _first) = busy_socket(&path);
    pause();
    let refusal = rig.dial_unix(bytes(&path)).await.unwrap_err();
    assert_eq!(refusal.reason, OpenFailure::ConnectFailed);
    assert!(
        refusal.text.ends_with("connect: i/o timeout"),
        "{refusal:?}"
    );
}
