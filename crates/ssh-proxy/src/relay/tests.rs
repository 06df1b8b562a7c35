//! A real relay between a client and a daemon that say what each test wants, over streams in memory.

use std::future::pending;
use std::sync::Arc;

use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::{Credential, Methods};
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::{PrivateKey, PublicKey};
use ssh_proto::transport::{Config, RekeyLimits};
use ssh_proto::wire::{Put, Reader};
use ssh_tokio::{Attempt, Authenticator, Denied, accept, connect, login_deadline};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;

mod sweep;
mod table;

/// Lets everyone in.
struct Open;

impl Authenticator for Open {
    type Grant = ();

    fn methods(&self) -> Methods {
        Methods::Password
    }

    fn knows_key(&self, _: &PublicKey) -> bool {
        false
    }

    async fn authenticate(&mut self, _: &str, _: Attempt) -> Result<(), Denied> {
        Ok(())
    }
}

/// One end, authenticated, that sends and receives payloads.
struct Peer(Wire<DuplexStream>);

impl Peer {
    async fn send(&mut self, payload: &[u8]) {
        self.0.transport_mut().send(&[payload]);
        self.0.flush().await.unwrap();
    }

    async fn receive(&mut self) -> Result<Vec<u8>, Error> {
        assert_eq!(self.0.next().await?, Event::Packet);
        Ok(self.0.transport().packet().to_vec())
    }

    /// The next payload is this one: what was sent arrives unchanged, and nothing before it.
    async fn expect(&mut self, payload: &[u8]) {
        assert_eq!(self.receive().await.unwrap(), payload);
    }
}

struct Rig {
    client: Peer,
    daemon: Peer,
    relay: JoinHandle<RelayEnd>,
}

/// How large the streams are; a small one blocks writers at once.
const ROOMY: usize = 1024 * 1024;

async fn rig() -> Rig {
    rig_with(ROOMY, Limits::default(), RekeyLimits::default()).await
}

async fn rig_with(capacity: usize, limits: Limits, rekey: RekeyLimits) -> Rig {
    rig_of(capacity, limits, rekey, Policy::default()).await
}

async fn rig_of(capacity: usize, limits: Limits, rekey: RekeyLimits, policy: Policy) -> Rig {
    let (client, edge) = pair(capacity, rekey).await;
    let (inner, daemon) = pair(capacity, rekey).await;
    let relay = tokio::spawn(Relay::new(edge, inner, limits, Arc::new(policy)).run(pending()));
    Rig {
        client: Peer(client.into_wire()),
        daemon: Peer(daemon.into_wire()),
        relay,
    }
}

/// A client and a server that are logged in to each other.
async fn pair(
    capacity: usize,
    rekey: RekeyLimits,
) -> (Authenticated<DuplexStream>, Authenticated<DuplexStream>) {
    let (near, far) = duplex(capacity);
    let key = PrivateKey::generate_ed25519(&mut SeededRandom::new(7));
    let server = Config::server("SSH-2.0-server", Algorithms::default(), vec![key]);
    let client = Config::client("SSH-2.0-client", Algorithms::default());
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut open = Open;
    let (accepted, connected) = tokio::join!(
        accept(
            far,
            Arc::new(server.with_rekey_limits(rekey)),
            &mut open,
            login_deadline(deadline)
        ),
        connect(
            near,
            Arc::new(client.with_rekey_limits(rekey)),
            "user".into(),
            vec![Credential::None],
            |_| Ok(())
        ),
    );
    (connected.unwrap(), accepted.unwrap().0)
}

fn open(kind: &[u8], sender: u32) -> Vec<u8> {
    let mut payload = vec![msg::CHANNEL_OPEN];
    payload.put_string(kind);
    payload.put_u32(sender);
    payload.put_u32(0x1234);
    payload.put_u32(0x5678);
    payload.extend_from_slice(b"what belongs to the type\xff");
    payload
}

fn confirm(recipient: u32, sender: u32) -> Vec<u8> {
    let mut payload = vec![msg::CHANNEL_OPEN_CONFIRMATION];
    for field in [recipient, sender, 0x8765, 0x4321] {
        payload.put_u32(field);
    }
    payload
}

fn about(number: u8, recipient: u32) -> Vec<u8> {
    let mut payload = vec![number];
    payload.put_u32(recipient);
    payload
}

fn request(recipient: u32, name: &[u8], want_reply: bool) -> Vec<u8> {
    let mut payload = about(msg::CHANNEL_REQUEST, recipient);
    payload.put_string(name);
    payload.put_bool(want_reply);
    payload.extend_from_slice(b"\0\xffanything");
    payload
}

fn global(name: &[u8], want_reply: bool) -> Vec<u8> {
    let mut payload = vec![msg::GLOBAL_REQUEST];
    payload.put_string(name);
    payload.put_bool(want_reply);
    payload.extend_from_slice(b"\0\xffanything");
    payload
}

fn data(recipient: u32, bytes: &[u8]) -> Vec<u8> {
    let mut payload = about(msg::CHANNEL_DATA, recipient);
    payload.put_string(bytes);
    payload
}

/// The client opens a channel that it calls 3 and the daemon 7.
async fn open_channel(rig: &mut Rig) {
    pass(&mut rig.client, &mut rig.daemon, &open(b"session", 3)).await;
    pass(&mut rig.daemon, &mut rig.client, &confirm(3, 7)).await;
}

/// The payload goes through unchanged.
async fn pass(from: &mut Peer, to: &mut Peer, payload: &[u8]) {
    from.send(payload).await;
    to.expect(payload).await;
}

#[tokio::test]
async fn what_nobody_knows_passes_both_ways_and_is_answered_by_the_far_end() {
    let mut rig = rig().await;
    let (client, daemon) = (&mut rig.client, &mut rig.daemon);
    for (from, to) in [(0, 1), (1, 0)] {
        let mut ends = [&mut *client, &mut *daemon];
        let [a, b] = ends.get_disjoint_mut([from, to]).unwrap();
        pass(a, b, &global(b"odd-request@example.com", false)).await;
        pass(a, b, &global(b"odd-request@example.com", true)).await;
        let mut answer = vec![msg::REQUEST_SUCCESS];
        answer.extend_from_slice(b"with data\xfe");
        pass(b, a, &answer).await;
        pass(a, b, &open(b"odd-channel@example.com", 11)).await;
        pass(b, a, &confirm(11, 12)).await;
        pass(a, b, &request(12, b"odd-request@example.com", true)).await;
        pass(b, a, &about(msg::CHANNEL_FAILURE, 11)).await;
        pass(a, b, &request(12, b"odd-request@example.com", false)).await;
        pass(a, b, &data(12, &[0xa5; 4321])).await;
        let mut extended = about(msg::CHANNEL_EXTENDED_DATA, 12);
        extended.put_u32(0xdead);
        extended.put_string(b"odd type");
        pass(a, b, &extended).await;
        pass(a, b, &about(msg::CHANNEL_EOF, 12)).await;
        pass(b, a, &about(msg::CHANNEL_CLOSE, 11)).await;
        pass(a, b, &about(msg::CHANNEL_CLOSE, 12)).await;
        pass(a, b, &open(b"refused@example.com", 11)).await;
        let mut refusal = about(msg::CHANNEL_OPEN_FAILURE, 11);
        refusal.put_u32(0xbeef);
        refusal.put_string(b"not UTF-8: \xff");
        refusal.put_string(b"xx");
        pass(b, a, &refusal).await;
    }
}

#[tokio::test]
async fn messages_of_the_hop_stay_on_it() {
    let mut rig = rig().await;
    open_channel(&mut rig).await;
    let mut ping = vec![msg::PING];
    ping.put_string(b"are you there");
    rig.client.send(&ping).await;
    ping[0] = msg::PONG;
    // The pong is the transport's; what the client sees next is the reply to its next request.
    rig.client.send(&[msg::IGNORE, 0, 0, 0, 0]).await;
    rig.client.send(&[msg::USERAUTH_REQUEST, 1, 2, 3]).await;
    for number in [70, 83, 101, 150, 200, 255] {
        rig.client.send(&[number, 1, 2, 3]).await;
        rig.daemon.send(&[number, 1, 2, 3]).await;
    }
    rig.daemon
        .send(&global(b"hostkeys-00@openssh.com", false))
        .await;
    // Nothing of that was forwarded, and both legs are alive.
    pass(
        &mut rig.client,
        &mut rig.daemon,
        &about(msg::CHANNEL_EOF, 7),
    )
    .await;
    pass(
        &mut rig.daemon,
        &mut rig.client,
        &about(msg::CHANNEL_EOF, 3),
    )
    .await;
}

#[tokio::test]
async fn a_refusal_made_here_waits_for_the_replies_before_it() {
    let mut rig = rig().await;
    let prove = global(b"hostkeys-prove-00@openssh.com", true);
    rig.client.send(&prove).await;
    rig.client.expect(&[msg::REQUEST_FAILURE]).await;

    pass(&mut rig.client, &mut rig.daemon, &global(b"first", true)).await;
    rig.client.send(&prove).await;
    pass(&mut rig.client, &mut rig.daemon, &global(b"third", true)).await;
    rig.daemon.send(&[msg::REQUEST_SUCCESS, 1]).await;
    rig.client.expect(&[msg::REQUEST_SUCCESS, 1]).await;
    rig.client.expect(&[msg::REQUEST_FAILURE]).await;
    rig.daemon.send(&[msg::REQUEST_SUCCESS, 3]).await;
    rig.client.expect(&[msg::REQUEST_SUCCESS, 3]).await;
}

#[tokio::test]
async fn a_container_opens_no_channel_that_its_user_did_not_ask_for() {
    let mut rig = rig().await;
    open_channel(&mut rig).await;
    for kind in [
        "session",
        "direct-tcpip",
        "forwarded-tcpip",
        "auth-agent@openssh.com",
        "x11",
    ] {
        rig.daemon.send(&open(kind.as_bytes(), 20)).await;
        let refusal = rig.daemon.receive().await.unwrap();
        assert_eq!(refusal[..5], about(msg::CHANNEL_OPEN_FAILURE, 20), "{kind}");
        let reason = Reader::new(&refusal[5..]).u32().unwrap();
        assert_eq!(reason, msg::OpenFailure::AdministrativelyProhibited as u32);
    }
    pass(
        &mut rig.client,
        &mut rig.daemon,
        &global(b"tcpip-forward", true),
    )
    .await;
    pass(
        &mut rig.daemon,
        &mut rig.client,
        &open(b"forwarded-tcpip", 20),
    )
    .await;
}

#[tokio::test]
async fn a_packet_for_a_channel_that_was_never_opened_ends_its_sender() {
    for side in [Side::Client, Side::Daemon] {
        let mut rig = rig().await;
        open_channel(&mut rig).await;
        let (liar, other) = match side {
            Side::Client => (&mut rig.client, &mut rig.daemon),
            Side::Daemon => (&mut rig.daemon, &mut rig.client),
        };
        liar.send(&about(msg::CHANNEL_EOF, 99)).await;
        let told = liar.receive().await.unwrap_err();
        assert!(
            matches!(told, Error::Disconnected { reason, .. } if reason == Reason::ProtocolError as u32),
            "{told}"
        );
        let told = other.receive().await.unwrap_err();
        assert!(
            matches!(told, Error::Disconnected { reason, .. } if reason == Reason::ByApplication as u32),
            "{told}"
        );
        let end = rig.relay.await.unwrap();
        assert_eq!(end.side, side);
        assert!(matches!(end.reason, Error::Misbehaved(_)));
    }
}

#[tokio::test]
async fn a_daemon_that_vanishes_is_told_to_the_client_behind_its_last_data() {
    let mut rig = rig().await;
    open_channel(&mut rig).await;
    rig.daemon.send(&data(3, b"last words")).await;
    drop(rig.daemon);
    rig.client.expect(&data(3, b"last words")).await;
    let told = rig.client.receive().await.unwrap_err().to_string();
    assert!(
        told.contains("the connection to the app instance was lost"),
        "{told}"
    );
    assert_eq!(rig.relay.await.unwrap().side, Side::Daemon);
}

#[tokio::test]
async fn the_daemons_reason_for_ending_reaches_the_client() {
    let mut rig = rig().await;
    open_channel(&mut rig).await;
    let reason = Error::Closed {
        reason: Reason::ByApplication,
        text: "the app instance is stopping".into(),
    };
    let (told, _) = tokio::join!(rig.client.receive(), rig.daemon.0.close(reason));
    let told = told.unwrap_err().to_string();
    assert!(told.contains("the app instance is stopping"), "{told}");
}

/// A client that reads nothing stops the daemon's data, and nothing else.
#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_read_can_still_be_heard() {
    let mut rig = rig_with(16 * 1024, Limits::default(), RekeyLimits::default()).await;
    open_channel(&mut rig).await;
    let Rig {
        mut client,
        mut daemon,
        relay,
    } = rig;
    let chunk = data(3, &[1; 30_000]);
    // Fills every buffer towards the client until the daemon's own write blocks.
    let flood = async {
        loop {
            daemon.send(&chunk).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(200), flood)
            .await
            .is_err()
    );
    client.send(&data(7, b"still here")).await;
    // The daemon reads while its own output is blocked.
    assert_eq!(
        daemon.0.transport_mut().poll(now()).unwrap(),
        Event::NeedInput
    );
    poll_fn(|cx| daemon.0.poll_read(cx)).await.unwrap();
    assert_eq!(daemon.0.transport_mut().poll(now()).unwrap(), Event::Packet);
    assert_eq!(daemon.0.transport().packet(), data(7, b"still here"));
    assert!(!relay.is_finished());
}

/// Both ends start a key exchange at the same time, again and again, while data fill both directions
/// of streams that take little; the relay starts its own in between.
#[tokio::test(start_paused = true)]
async fn both_sides_rekey_with_data_in_flight() {
    let rekey = RekeyLimits {
        bytes: 100_000,
        ..RekeyLimits::default()
    };
    let mut rig = rig_with(8 * 1024, Limits::default(), rekey).await;
    open_channel(&mut rig).await;
    let mut client = Exchange::new(rig.client, 7);
    let mut daemon = Exchange::new(rig.daemon, 3);
    poll_fn(|cx| {
        client.poll(cx);
        daemon.poll(cx);
        if client.is_done() && daemon.is_done() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    assert!(!rig.relay.is_finished());
    let rekeys = client.rekeys + daemon.rekeys;
    assert!(rekeys > 50, "only {rekeys} rekeys were started by the ends");
}

/// A client that is stopped when new keys are due is neither cut nor loses anything.
#[tokio::test(start_paused = true)]
async fn a_rekey_waits_for_a_client_that_does_not_read() {
    let limits = RekeyLimits::default();
    let mut rig = rig_with(8 * 1024, Limits::default(), limits).await;
    open_channel(&mut rig).await;
    let mut sent = 0;
    let a_moment = Duration::from_secs(1);
    while tokio::time::timeout(a_moment, rig.daemon.send(&data(3, &numbered(sent, 30_000))))
        .await
        .is_ok()
    {
        sent += 30_000;
    }
    sent += 30_000;
    tokio::time::sleep(limits.interval).await;
    rig.client.send(&data(7, b"still there")).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!rig.relay.is_finished());

    let (mut client, mut daemon) = (rig.client, rig.daemon);
    let read = async {
        let mut received = 0;
        while received < sent {
            let packet = client.receive().await.unwrap();
            let bytes = &packet[9..];
            assert_eq!(bytes, numbered(received, bytes.len()));
            received += bytes.len();
        }
        client.send(&data(7, b"and well")).await;
        pending::<()>().await;
    };
    let heard = async {
        daemon.expect(&data(7, b"still there")).await;
        daemon.expect(&data(7, b"and well")).await;
    };
    tokio::select! {
        () = read => {}
        () = heard => {}
    }
    assert!(!rig.relay.is_finished());
}

/// A peer that sends and receives at once, numbered so that loss and disorder show, and rekeys
/// whenever it is due.
struct Exchange {
    wire: Wire<DuplexStream>,
    recipient: u32,
    sent: usize,
    received: usize,
    rekeys: usize,
}

impl Exchange {
    const TOTAL: usize = 16 * 1024 * 1024;
    const CHUNK: usize = 32_768;

    fn new(peer: Peer, recipient: u32) -> Self {
        Self {
            wire: peer.0,
            recipient,
            sent: 0,
            received: 0,
            rekeys: 0,
        }
    }

    fn is_done(&self) -> bool {
        self.sent == Self::TOTAL && self.received == Self::TOTAL
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            self.produce();
            let consumed = self.consume(cx);
            // Consuming may have made output of its own: the steps of a key exchange.
            let before = self.wire.transport().output().len();
            assert!(!matches!(self.wire.poll_write(cx), Poll::Ready(Err(_))));
            if !consumed && self.wire.transport().output().len() == before {
                return;
            }
        }
    }

    fn produce(&mut self) {
        let transport = self.wire.transport_mut();
        if transport.rekey_due(now()) {
            transport.start_rekey(now());
            self.rekeys += 1;
        }
        while self.sent < Self::TOTAL && transport.room() > 0 {
            transport.send(&[&data(self.recipient, &numbered(self.sent, Self::CHUNK))]);
            self.sent += Self::CHUNK;
        }
    }

    /// True if a packet was taken or something was read.
    fn consume(&mut self, cx: &mut Context<'_>) -> bool {
        if self.wire.transport_mut().poll(now()).unwrap() != Event::Packet {
            return self.wire.poll_read(cx).is_ready();
        }
        let bytes = &self.wire.transport().packet()[9..];
        assert_eq!(bytes, numbered(self.received, bytes.len()));
        self.received += bytes.len();
        true
    }
}

fn numbered(start: usize, length: usize) -> Vec<u8> {
    (start..start + length)
        .map(|n| u8::try_from((n * 7 + n / 251) % 256).unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn silence_of_the_client_ends_the_relay_in_its_time() {
    let limits = Limits {
        idle: Some(Duration::from_secs(300)),
        ..Limits::default()
    };
    let mut rig = rig_with(ROOMY, limits, RekeyLimits::default()).await;
    open_channel(&mut rig).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(200)).await;
        pass(&mut rig.client, &mut rig.daemon, &data(7, b"x")).await;
    }
    let before = Instant::now();
    let told = rig.client.receive().await.unwrap_err().to_string();
    assert!(told.contains("idle for too long"), "{told}");
    assert_eq!(before.elapsed().as_secs(), 300);
}

#[test]
fn who_ended_a_session_is_a_side_or_the_proxy() {
    let by = |side, reason| {
        let (bytes_up, bytes_down) = (0, 0);
        RelayEnd {
            side,
            reason,
            bytes_up,
            bytes_down,
        }
        .by()
    };
    let (reason, text) = (Reason::ByApplication, String::new());
    assert_eq!(by(Side::Client, Error::Closed { reason, text }), "proxy");
    assert_eq!(by(Side::Client, Error::Timeout(IDLE)), "proxy");
    assert_eq!(by(Side::Daemon, Error::Timeout("key exchange")), "daemon");
    assert_eq!(by(Side::Client, Error::Lost("gone".into())), "client");
}

#[tokio::test(start_paused = true)]
async fn the_longest_duration_ends_a_busy_relay() {
    let limits = Limits {
        total: Some(Duration::from_secs(1000)),
        ..Limits::default()
    };
    let mut rig = rig_with(ROOMY, limits, RekeyLimits::default()).await;
    open_channel(&mut rig).await;
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(100)).await;
        pass(&mut rig.client, &mut rig.daemon, &data(7, b"x")).await;
    }
    let told = rig.client.receive().await.unwrap_err().to_string();
    assert!(told.contains("longest duration"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_relay_without_data_ends_however_much_else_passes() {
    let limits = Limits {
        idle: Some(Duration::from_secs(300)),
        inactivity: Some(Duration::from_secs(1000)),
        ..Limits::default()
    };
    let mut rig = rig_with(ROOMY, limits, RekeyLimits::default()).await;
    open_channel(&mut rig).await;
    let mut adjust = about(msg::CHANNEL_WINDOW_ADJUST, 7);
    adjust.put_u32(1);
    let mut extended = about(msg::CHANNEL_EXTENDED_DATA, 3);
    extended.put_u32(1);
    extended.put_string(b"x");
    for counts in [data(3, b"x"), extended] {
        tokio::time::sleep(Duration::from_secs(100)).await;
        pass(&mut rig.daemon, &mut rig.client, &counts).await;
    }
    let last_data = Instant::now();
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(100)).await;
        let keepalive = request(7, b"keepalive@cloudfoundry.org", false);
        pass(&mut rig.client, &mut rig.daemon, &keepalive).await;
        pass(&mut rig.client, &mut rig.daemon, &adjust).await;
    }
    let told = rig.client.receive().await.unwrap_err().to_string();
    assert!(told.contains("inactive for too long"), "{told}");
    assert_eq!(last_data.elapsed().as_secs(), 1000);
}

#[tokio::test]
async fn what_the_policy_refuses_never_reaches_the_daemon() {
    let mut policy = Policy::default();
    policy.deny(Capability::Exec);
    policy.deny(Capability::RemoteForwarding);
    policy.deny(Capability::LocalForwarding);
    let mut rig = rig_of(ROOMY, Limits::default(), RekeyLimits::default(), policy).await;
    open_channel(&mut rig).await;

    let mut exec = about(msg::CHANNEL_REQUEST, 7);
    exec.put_string(b"exec");
    exec.put_bool(true);
    exec.put_string(b"id");
    rig.client.send(&exec).await;
    rig.client.expect(&about(msg::CHANNEL_FAILURE, 3)).await;

    // Behind a reply that is owed it waits.
    let env = request(7, b"env", true);
    pass(&mut rig.client, &mut rig.daemon, &env).await;
    rig.client.send(&exec).await;
    rig.client.send(&open(b"direct-tcpip", 4)).await;
    let refusal = rig.client.receive().await.unwrap();
    assert_eq!(
        refusal[..9],
        [msg::CHANNEL_OPEN_FAILURE, 0, 0, 0, 4, 0, 0, 0, 1]
    );
    let success = about(msg::CHANNEL_SUCCESS, 3);
    pass(&mut rig.daemon, &mut rig.client, &success).await;
    rig.client.expect(&about(msg::CHANNEL_FAILURE, 3)).await;

    rig.client.send(&global(b"tcpip-forward", true)).await;
    rig.client.expect(&[msg::REQUEST_FAILURE]).await;
    // The first that the daemon sees after all that is what it may see.
    let eof = about(msg::CHANNEL_EOF, 7);
    pass(&mut rig.client, &mut rig.daemon, &eof).await;
}
