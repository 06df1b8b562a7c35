//! Sends packets through the proxy's relay, in memory and in one thread, for `scripts/count`: that runs
//! it under callgrind, which collects what happens inside of [`steady`] and nothing else.
//!
//! Both legs are real: key exchange, default algorithms, AES-GCM; there is a policy, and somebody watches,
//! as in a proxy that counts and records. The ends are played here, and so are the streams ([`pipe`]),
//! so that the count knows no kernel and no scheduler.

use std::env;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ssh_proto::algorithm::Algorithms;
use ssh_proto::auth::{Credential, Methods};
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::{PrivateKey, PublicKey};
use ssh_proto::msg;
use ssh_proto::transport::{Config, Event};
use ssh_proto::wire::Put;
use ssh_proxy::relay::observe::{Note, Observer};
use ssh_proxy::relay::policy::{Capability, Policy};
use ssh_proxy::relay::{Limits, Relay, Side};
use ssh_tokio::wire::now;
use ssh_tokio::{Attempt, Authenticated, Authenticator, Denied, Wire};
use ssh_tokio::{accept, connect, login_deadline};
use tokio::time::Instant;

mod pipe;

use pipe::Pipe;

/// What is sent before anything is counted: buffers get their size, first times are over.
const WARM_UP: usize = 32;

/// What is counted. More changes nothing but the last digit.
const ROUNDS: usize = 64;

/// What one round sends: about what the relay reads at a time under load.
const ROUND_BYTES: usize = 256 * 1024;

/// Small packets come in smaller batches, as from a program that writes lines.
const MOST_PACKETS: usize = 64;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [direction, length] = arguments.as_slice() else {
        panic!("usage: pump up|down LENGTH");
    };
    let length: usize = length.parse().expect("LENGTH is a number");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let (client, edge) = runtime.block_on(pair());
    let (inner, daemon) = runtime.block_on(pair());
    // The relay's timers want one; it is polled by hand.
    let _entered = runtime.enter();
    let mut policy = Policy::default();
    policy.deny(Capability::X11Forwarding);
    let (limits, watch) = (Limits::default(), Watch::default());
    let relay = Relay::observed(edge, inner, limits, Arc::new(policy), watch);
    let relay = std::pin::pin!(relay.run(pending()));
    let (from, to) = match direction.as_str() {
        "up" => (client, daemon),
        "down" => (daemon, client),
        other => panic!("up or down, not {other}"),
    };
    println!("{}", run(relay, from.into_wire(), to.into_wire(), length));
}

/// What the proxy has at every relay: somebody who adds up.
#[derive(Default)]
struct Watch(AtomicU64);

impl Observer for Watch {
    fn passed(&mut self, _: Side, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn note(&mut self, _: Note<'_>) {}
}

/// How many packets were counted.
fn run(
    mut relay: Pin<&mut dyn Future<Output = impl Sized>>,
    mut from: Wire<Pipe>,
    mut to: Wire<Pipe>,
    length: usize,
) -> usize {
    let payload = data(length);
    let batch = (ROUND_BYTES / length).min(MOST_PACKETS);
    for round in 0..WARM_UP + ROUNDS {
        send(&mut from, &payload, batch);
        let polled = match round {
            ..WARM_UP => relay.as_mut().poll(&mut context()),
            _ => steady(relay.as_mut()),
        };
        assert!(polled.is_pending(), "the relay has ended");
        let received = receive(&mut to, &payload);
        assert_eq!(received, batch, "all of a round goes through at once");
    }
    ROUNDS * batch
}

/// One poll of the relay, with a round of packets there to be read.
#[inline(never)]
fn steady<R>(relay: Pin<&mut dyn Future<Output = R>>) -> Poll<R> {
    relay.poll(&mut context())
}

/// Nobody has to be woken: everything is polled in turn.
fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn send(wire: &mut Wire<Pipe>, payload: &[u8], times: usize) {
    for _ in 0..times {
        wire.transport_mut().send(&[payload]);
    }
    let written = wire.poll_write(&mut context());
    assert!(matches!(written, Poll::Ready(Ok(()))), "{written:?}");
}

/// Reads all that is there; how many packets it was.
fn receive(wire: &mut Wire<Pipe>, payload: &[u8]) -> usize {
    let mut packets = 0;
    while let Poll::Ready(read) = wire.poll_read(&mut context()) {
        read.expect("a stream");
        let transport = wire.transport_mut();
        while transport.poll(now()).expect("a connection") == Event::Packet {
            assert!(transport.packet() == payload, "a packet has changed");
            packets += 1;
        }
    }
    packets
}

/// CHANNEL_DATA. The relay looks into no data, so that no channel has to be opened.
fn data(length: usize) -> Vec<u8> {
    let mut payload = vec![msg::CHANNEL_DATA];
    payload.put_u32(0);
    payload.put_string(&vec![0xa5; length]);
    payload
}

/// A client and a server that are logged in to each other.
async fn pair() -> (Authenticated<Pipe>, Authenticated<Pipe>) {
    let (near, far) = pipe::pair();
    let key = PrivateKey::generate_ed25519(&mut SeededRandom::new(1));
    let server = Config::server("SSH-2.0-server", Algorithms::default(), vec![key]);
    let client = Config::client("SSH-2.0-client", Algorithms::default());
    // Valgrind is slow; whoever waits for it sees that it hangs.
    let deadline = login_deadline(Instant::now() + Duration::from_secs(3600));
    let mut everyone = Everyone;
    let (accepted, connected) = tokio::join!(
        accept(far, Arc::new(server), &mut everyone, deadline),
        connect(
            near,
            Arc::new(client),
            "user".into(),
            vec![Credential::None],
            |_| Ok(())
        ),
    );
    let (accepted, ()) = accepted.expect("a login");
    (connected.expect("a login"), accepted)
}

/// Lets everyone in.
struct Everyone;

impl Authenticator for Everyone {
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
