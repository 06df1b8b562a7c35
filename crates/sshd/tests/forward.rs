//! Forwards on real sockets. What depends on the machine having IPv6 is asserted either way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too"
)]

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector::{Files, Resolver};
use ssh_proto::algorithm::Algorithms;
use ssh_proto::connection::forward::{
    BoundPort, DirectStreamlocal, ForwardedStreamlocal, StreamlocalForward, Tcpip, TcpipForward,
};
use ssh_proto::connection::{ChannelId, Connection, Limits};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::msg::OpenFailure;
use ssh_proto::transport::{Config, Role, Transport};
use sshd::forward::{Agent, Bounds, Event, Forwards, Incoming, Refusal, Stream};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{pause, resume, timeout};

/// After this long a test that hangs is one that fails.
const HANGS: Duration = Duration::from_secs(60);

/// Names that only these tests know; the second address of `half.test` is nobody's (RFC 3849).
const HOSTS: &str = "127.0.0.1 one.test\n\
                     127.0.0.2 two.test\n127.0.0.1 two.test\n\
                     127.0.0.1 half.test\n2001:db8::1 half.test\n\
                     2001:db8::1 none.test\n";

/// Forwards, and a directory of the test.
struct Rig {
    forwards: Forwards,
    dir: TempDir,
}

impl Rig {
    fn new() -> Self {
        Self::with(Bounds::default())
    }

    fn with(bounds: Bounds) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files {
            hosts: dir.path().join("hosts"),
            resolv_conf: dir.path().join("resolv.conf"),
        };
        fs::write(&files.hosts, HOSTS).unwrap();
        let forwards = Forwards::new(Arc::new(Resolver::new(files)), bounds);
        Self { forwards, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn next(&mut self) -> Event {
        timeout(HANGS, self.forwards.next()).await.unwrap()
    }

    /// Nothing comes, however long one waits.
    async fn assert_idle(&mut self) {
        pause();
        let event = timeout(HANGS, self.forwards.next()).await;
        resume();
        assert!(event.is_err(), "{event:?}");
    }

    async fn reply(&mut self) -> Option<Vec<u8>> {
        match self.next().await {
            Event::Reply(reply) => reply,
            event => panic!("{event:?}"),
        }
    }

    async fn dialed(&mut self) -> (ChannelId, Result<Stream, Refusal>) {
        match self.next().await {
            Event::Dialed { channel, result } => (channel, result),
            event => panic!("{event:?}"),
        }
    }

    async fn incoming(&mut self) -> Incoming {
        match self.next().await {
            Event::Incoming(incoming) => incoming,
            event => panic!("{event:?}"),
        }
    }

    async fn request(&mut self, name: &str, payload: &[u8]) -> Option<Vec<u8>> {
        self.forwards.request(name, true, payload);
        self.reply().await
    }

    /// The port of a new listener that was left to choose it.
    async fn listen(&mut self, address: &str) -> Option<u16> {
        let reply = self.request(TcpipForward::NAME, &tcpip(address, 0)).await?;
        Some(BoundPort::parse(&reply).unwrap().port)
    }

    async fn cancel(&mut self, address: &str, port: u16) -> bool {
        let payload = tcpip(address, port);
        let reply = self.request(TcpipForward::CANCEL, &payload).await;
        reply.inspect(|it| assert!(it.is_empty())).is_some()
    }

    async fn listen_unix(&mut self, path: &Path) -> bool {
        let reply = self.request(StreamlocalForward::NAME, &unix(path)).await;
        reply.inspect(|it| assert!(it.is_empty())).is_some()
    }

    async fn cancel_unix(&mut self, path: &Path) -> bool {
        let reply = self.request(StreamlocalForward::CANCEL, &unix(path)).await;
        reply.is_some()
    }

    async fn dial(&mut self, kind: &str, payload: &[u8]) -> Result<Stream, Refusal> {
        let [channel] = channels();
        self.forwards.dial(channel, kind, payload)?;
        let (dialed, result) = self.dialed().await;
        assert_eq!(dialed, channel);
        result
    }

    async fn dial_tcp(&mut self, host: &str, port: u16) -> Result<Stream, Refusal> {
        self.dial(Tcpip::DIRECT, &direct(host.as_bytes(), port))
            .await
    }

    async fn dial_unix(&mut self, path: &[u8]) -> Result<Stream, Refusal> {
        let payload = DirectStreamlocal { path }.encode();
        self.dial(DirectStreamlocal::NAME, &payload).await
    }
}

/// Channels as a connection numbers them.
fn channels<const N: usize>() -> [ChannelId; N] {
    let config = Arc::new(Config::client("SSH-2.0-x", Algorithms::default()));
    let now = std::time::Instant::now();
    let transport = Transport::new(Role::Client, config, Box::new(SystemRandom), now);
    let mut connection = Connection::new(transport, Limits::default());
    std::array::from_fn(|_| connection.open("x", 1, 1, &[]).unwrap())
}

fn tcpip(address: &str, port: u16) -> Vec<u8> {
    let address = address.as_bytes();
    TcpipForward { address, port }.encode()
}

fn unix(path: &Path) -> Vec<u8> {
    let path = path.as_os_str().as_encoded_bytes();
    StreamlocalForward { path }.encode()
}

fn direct(host: &[u8], port: u16) -> Vec<u8> {
    Tcpip {
        host,
        port,
        originator: b"127.0.0.1",
        originator_port: 1,
    }
    .encode()
}

fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

async fn listener(address: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

/// Both directions work, and each ends for itself.
async fn assert_joined(stream: Stream, mut other: impl Other) {
    let (mut source, mut sink) = stream.split();
    sink.write_all(b"to").await.unwrap();
    sink.shutdown().await.unwrap();
    let mut got = String::new();
    other.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "to");
    // The other direction has outlived this one.
    other.write_all(b"fro").await.unwrap();
    drop(other);
    let mut got = String::new();
    source.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "fro");
}

trait Other: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Other for T {}

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
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
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
fn busy_socket(path: &Path) -> (StdUnixListener, Vec<std::os::unix::net::UnixStream>) {
    let socket = tokio::net::UnixSocket::new_stream().unwrap();
    socket.bind(path).unwrap();
    let listener = socket.listen(0).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    // With a backlog of 0, one gets in.
    let first = std::os::unix::net::UnixStream::connect(path).unwrap();
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
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
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
async fn replies_come_one_for_each_request_and_in_their_order() {
    let mut rig = Rig::new();
    let forwards = &mut rig.forwards;
    forwards.request(TcpipForward::NAME, true, b"garbage");
    forwards.request(TcpipForward::CANCEL, true, b"garbage");
    forwards.request(StreamlocalForward::NAME, true, b"");
    forwards.request(TcpipForward::NAME, true, &tcpip("one.test", 0));
    forwards.request("keepalive@openssh.com", true, &[]);
    forwards.request("no-more-sessions@openssh.com", false, &[]);
    forwards.request(TcpipForward::NAME, false, b"garbage");
    forwards.request(TcpipForward::NAME, true, &tcpip("127.0.0.1", 0));
    let mut successes = Vec::new();
    for _ in 0..6 {
        successes.push(rig.reply().await.is_some());
    }
    assert_eq!(successes, [false, false, false, true, false, true]);
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
        listeners: 1000,
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
        listeners: 2,
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

#[tokio::test]
async fn a_forwarded_unix_socket_is_the_users_own() {
    let mut rig = Rig::new();
    let path = rig.path("socket");
    assert!(rig.listen_unix(&path).await);
    let found = fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);

    let client = UnixStream::connect(&path).await.unwrap();
    let incoming = rig.incoming().await;
    assert_eq!(incoming.kind, ForwardedStreamlocal::NAME);
    let fields = ForwardedStreamlocal::parse(&incoming.payload).unwrap();
    assert_eq!(fields.path, bytes(&path));
    assert_joined(incoming.stream, client).await;

    assert!(rig.cancel_unix(&path).await);
    assert!(fs::symlink_metadata(&path).is_err());
    assert!(!rig.cancel_unix(&path).await);
}

#[tokio::test]
async fn nothing_is_overwritten_by_a_forward() {
    let mut rig = Rig::new();
    let file = rig.path("file");
    fs::write(&file, "precious").unwrap();
    let link = rig.path("link");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    let dead = rig.path("dead");
    drop(StdUnixListener::bind(&dead).unwrap());
    for path in [&file, &link, &dead] {
        assert!(!rig.listen_unix(path).await, "{path:?}");
        assert!(fs::symlink_metadata(path).is_ok(), "{path:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[tokio::test]
async fn paths_that_are_none_fail() {
    let mut rig = Rig::new();
    for path in [&b""[..], b"\0abstract", b"a\0b", &[b'x'; 108]] {
        let payload = StreamlocalForward { path }.encode();
        assert_eq!(rig.request(StreamlocalForward::NAME, &payload).await, None);
    }
    assert!(!rig.listen_unix(&rig.path("no/such/directory")).await);
}

#[tokio::test]
async fn what_took_the_place_of_a_socket_stays() {
    let mut rig = Rig::new();
    let path = rig.path("socket");
    assert!(rig.listen_unix(&path).await);
    fs::remove_file(&path).unwrap();
    let _other = StdUnixListener::bind(&path).unwrap();
    assert!(rig.cancel_unix(&path).await);
    assert!(path.exists());
}

#[tokio::test]
async fn an_agent_is_one_socket_in_a_private_directory() {
    let mut rig = Rig::new();
    let path = rig.forwards.agent().unwrap().to_owned();
    assert_eq!(rig.forwards.agent().unwrap(), path);
    let directory = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(directory.permissions().mode() & 0o7777, 0o700);
    let socket = fs::metadata(&path).unwrap();
    assert_eq!(socket.permissions().mode() & 0o7777, 0o600);

    let client = UnixStream::connect(&path).await.unwrap();
    let incoming = rig.incoming().await;
    assert_eq!(incoming.kind, "auth-agent@openssh.com");
    assert!(incoming.payload.is_empty());
    assert_joined(incoming.stream, client).await;
}

#[tokio::test]
async fn an_agents_socket_goes_with_its_task() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::open_in(dir.path()).unwrap();
    assert!(agent.path().starts_with(dir.path()));
    let task = tokio::spawn(async move {
        let _agent = agent;
        std::future::pending::<()>().await;
    });
    // Aborted once it runs and before: both drop what it owns.
    tokio::task::yield_now().await;
    task.abort();
    task.await.unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_agent_without_a_place_fails_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    Agent::open_in(&file).unwrap_err();
    Agent::open_in(&dir.path().join("missing")).unwrap_err();
    // The socket's path would be too long, which is found out after its directory was made.
    let deep = dir.path().join("x".repeat(100));
    fs::create_dir(&deep).unwrap();
    Agent::open_in(&deep).unwrap_err();
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
}
