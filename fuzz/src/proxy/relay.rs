//! The relay between a hostile client and a hostile container.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, OnceLock};

use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::msg;
use ssh_proto::transport::{Config, Role, Transport};
use ssh_proto::wire::{Put as _, Reader};
use ssh_proxy::relay::policy::{Capability, Policy};
use ssh_proxy::relay::{Limits, Relay, RelayEnd};
use ssh_tokio::wire::now;
use ssh_tokio::{Authenticated, Wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, duplex, split};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::input::Input;
use crate::packets::Packets;
use crate::proto::clear::packet;
use crate::runtime::{runtime, settle};

/// Steps of one run.
const MOST_STEPS: usize = 64;

/// What one leg's stream holds in each direction.
const STREAM: usize = 64 * 1024;

/// What the relay takes from a side whose packets it cannot pass on: its output to the other one
/// (256 KiB and a packet), what it has read meanwhile, and the streams.
const MOST_TAKEN: usize = 1024 * 1024;

/// Bytes that both ends send in one run, and a step more: enough to fill everything.
const MOST_SENT: usize = 3 * 1024 * 1024;

/// Channels in the ledger.
const MOST_CHANNELS: usize = 1024;

/// A client and a daemon say what they want, while one of them may not read. Nothing passes but what
/// RFC 4254 has, unchanged and in order; what belongs to a hop stays on it; containers open nothing
/// that their user did not ask for, and users get nothing that the policy takes away; and nobody's
/// silence makes the relay hold more than its bounds.
pub fn relay(data: &[u8]) {
    let mut input = Input::new(data);
    let denied = denied(input.byte(), input.byte());
    let ended = runtime().block_on(run(&mut input, &denied));
    let (end, client, daemon) = ended;
    assert!(!matches!(end.reason, Error::Bug(_)), "{}", end.reason);
    check(&client, &daemon);
    check(&daemon, &client);
    check_invited(&client, &daemon);
    check_policy(&denied, &daemon);
    check_channels(&client, &daemon);
}

fn denied(low: u8, high: u8) -> Vec<Capability> {
    let all = [
        Capability::Shell,
        Capability::Exec,
        Capability::Files,
        Capability::LocalForwarding,
        Capability::RemoteForwarding,
        Capability::StreamlocalForwarding,
        Capability::AgentForwarding,
        Capability::X11Forwarding,
    ];
    // Half of the runs have no policy.
    let mask = if high & 1 == 0 { 0 } else { low };
    let taken = all.into_iter().enumerate();
    taken
        .filter(|(at, _)| mask >> at & 1 != 0)
        .map(|(_, capability)| capability)
        .collect()
}

/// What one end has sent and received, as payloads.
#[derive(Default)]
struct Heard {
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
}

async fn run(input: &mut Input<'_>, denied: &[Capability]) -> (RelayEnd, Heard, Heard) {
    let mut policy = Policy::default();
    denied
        .iter()
        .for_each(|capability| policy.deny(*capability));
    let (client, edge) = duplex(STREAM);
    let (inner, daemon) = duplex(STREAM);
    let relay = Relay::new(
        open(Role::Server, edge),
        open(Role::Client, inner),
        Limits::default(),
        Arc::new(policy),
    );
    let relay = tokio::spawn(relay.run(pending()));
    let mut ends = [End::new(client), End::new(daemon)];
    for _ in 0..MOST_STEPS {
        let sent = ends[0].to_send + ends[1].to_send;
        if input.is_empty() || relay.is_finished() || sent > MOST_SENT {
            break;
        }
        let choice = input.byte();
        let [client, daemon] = &mut ends;
        let (end, other) = if choice & 1 == 0 {
            (client, daemon)
        } else {
            (daemon, client)
        };
        if choice >> 1 & 7 == 1 {
            end.reads.send_modify(|reads| *reads = !*reads);
            other.taken_before = other.taken();
            continue;
        }
        end.step(choice >> 1, input);
        settle().await;
        if !*other.reads.borrow() {
            // What is not data may be dropped, or answered at once.
            let data = (end.taken() - end.taken_before).saturating_sub(end.not_data);
            assert!(data <= MOST_TAKEN, "{data} bytes are held");
        }
    }
    let [client, daemon] = ends;
    let (client, daemon) = tokio::join!(client.finish(), daemon.finish());
    match relay.await {
        Ok(end) => (end, client, daemon),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn open(role: Role, stream: DuplexStream) -> Authenticated<DuplexStream> {
    static CONFIGS: OnceLock<[Arc<Config>; 2]> = OnceLock::new();
    let configs = CONFIGS.get_or_init(|| {
        let key = PrivateKey::generate_ed25519(&mut SeededRandom::new(1));
        [
            Arc::new(Config::server(
                "SSH-2.0-fuzz",
                Algorithms::default(),
                vec![key],
            )),
            Arc::new(Config::client("SSH-2.0-fuzz", Algorithms::default())),
        ]
    });
    let config = Arc::clone(&configs[usize::from(role == Role::Client)]);
    Authenticated::unproven(Wire::new(
        stream,
        Transport::open_in_clear(role, config, now()),
    ))
}

/// The far end of a leg.
struct End {
    to_write: mpsc::UnboundedSender<Vec<u8>>,
    writer: JoinHandle<()>,
    reader: JoinHandle<Vec<u8>>,
    /// Bytes that have left the writer.
    written: watch::Receiver<usize>,
    reads: watch::Sender<bool>,
    /// Bytes that the writer was given, and those of them that are no packets of data.
    to_send: usize,
    not_data: usize,
    /// What had been taken when the other end last stopped reading.
    taken_before: usize,
    sent: Packets,
}

impl End {
    fn new(stream: DuplexStream) -> Self {
        let (output, mut input) = split(stream);
        let (to_write, mut chunks) = mpsc::unbounded_channel::<Vec<u8>>();
        let (count, written) = watch::channel(0);
        let (reads, may_read) = watch::channel(true);
        let writer = tokio::spawn(async move {
            while let Some(chunk) = chunks.recv().await {
                for piece in chunk.chunks(STREAM) {
                    // The relay may have hung up.
                    if input.write_all(piece).await.is_ok() {
                        count.send_modify(|count| *count += piece.len());
                    }
                }
            }
            _ = input.shutdown().await;
        });
        Self {
            to_write,
            writer,
            reader: tokio::spawn(read(output, may_read)),
            written,
            reads,
            to_send: 0,
            not_data: 0,
            taken_before: 0,
            sent: Packets::default(),
        }
    }

    fn taken(&self) -> usize {
        *self.written.borrow()
    }

    fn step(&mut self, choice: u8, input: &mut Input<'_>) {
        let mut stream = Vec::new();
        match choice & 7 {
            0 => stream.extend_from_slice(input.short()),
            2 => {
                let payload = input.short();
                (0..=input.byte()).for_each(|_| stream.extend(packet(payload)));
            }
            // Large packets of data, to fill what can be full.
            3 => {
                let mut payload = input.short().to_vec();
                payload.resize(payload.len() + 32 * 1024, 0);
                (0..=input.byte() & 63).for_each(|_| stream.extend(packet(&payload)));
            }
            // Many channels.
            4 => {
                let first = u32::from(input.byte()) << 8;
                for number in first..first + 64 * u32::from(input.byte() & 31) {
                    stream.extend(packet(&channel(number)));
                }
            }
            _ => stream.extend(packet(input.short())),
        }
        self.to_send += stream.len();
        if !is_data(&stream) {
            self.not_data += stream.len();
        }
        self.sent.feed(&stream);
        _ = self.to_write.send(stream);
    }

    /// All that is left goes out, and everything is read.
    async fn finish(self) -> Heard {
        self.reads.send_replace(true);
        drop(self.to_write);
        self.writer.await.expect("a writer");
        let mut received = Packets::default();
        received.feed(&self.reader.await.expect("a reader"));
        let mut heard = Heard::default();
        let mut sent = self.sent;
        heard.sent.extend(std::iter::from_fn(|| sent.next()));
        heard
            .received
            .extend(std::iter::from_fn(|| received.next()));
        assert!(received.is_at_end(), "the relay's packets are whole");
        heard
    }
}

/// Reads to the end, while it may.
async fn read(mut stream: ReadHalf<DuplexStream>, mut may_read: watch::Receiver<bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        // Whoever decides about it is gone in the end, and then it may.
        _ = may_read.wait_for(|reads| *reads).await;
        match stream.read_buf(&mut bytes).await {
            Ok(1..) => {}
            _ => return bytes,
        }
    }
}

/// Whether packets made of one payload are data.
fn is_data(stream: &[u8]) -> bool {
    let number = stream.get(5);
    number.is_some_and(|number| [msg::CHANNEL_DATA, msg::CHANNEL_EXTENDED_DATA].contains(number))
}

fn channel(number: u32) -> Vec<u8> {
    let mut payload = vec![msg::CHANNEL_OPEN];
    payload.put_string(b"any");
    payload.put_u32(number);
    payload.put_u32(0);
    payload.put_u32(0);
    payload
}

fn is_forwarded(number: u8) -> bool {
    matches!(number, 80..=82 | 90..=100)
}

/// Refusals, which the relay can have made itself.
fn is_refusal(payload: &[u8]) -> bool {
    match payload.first() {
        Some(&msg::REQUEST_FAILURE) => payload.len() == 1,
        Some(&msg::CHANNEL_FAILURE) => payload.len() == 5,
        Some(&msg::CHANNEL_OPEN_FAILURE) => true,
        _ => false,
    }
}

/// What `end` got is what `other` sent, and what its own hop has to say.
fn check(end: &Heard, other: &Heard) {
    let mut source = other.sent.iter();
    for (at, payload) in end.received.iter().enumerate() {
        let number = payload[0];
        let has_sent = |number| end.sent.iter().any(|sent: &Vec<u8>| sent[0] == number);
        match number {
            _ if is_forwarded(number) && is_refusal(payload) => {}
            _ if is_forwarded(number) => {
                assert!(
                    source.any(|sent| sent == payload),
                    "{payload:02x?} came from nowhere"
                );
            }
            msg::DISCONNECT => assert_eq!(at + 1, end.received.len(), "the last word"),
            msg::UNIMPLEMENTED => assert_eq!(payload.len(), 5),
            msg::KEXINIT..=49 => assert!(has_sent(msg::KEXINIT), "a key exchange out of nothing"),
            msg::PONG => assert!(has_sent(msg::PING)),
            other => panic!("message {other} passed"),
        }
    }
}

/// Containers open only what their user asked for.
fn check_invited(client: &Heard, daemon: &Heard) {
    let asked: BTreeSet<Vec<u8>> = daemon
        .received
        .iter()
        .filter_map(|sent| asked_for(sent))
        .collect();
    let has = |name: &str| asked.contains(name.as_bytes());
    for payload in &client.received {
        if payload[0] != msg::CHANNEL_OPEN {
            continue;
        }
        let kind = Reader::new(&payload[1..])
            .string()
            .expect("a type")
            .to_vec();
        let invited = match kind.as_slice() {
            b"forwarded-tcpip" => has("tcpip-forward"),
            b"forwarded-streamlocal@openssh.com" => has("streamlocal-forward@openssh.com"),
            b"auth-agent@openssh.com" | b"auth-agent" => has("auth-agent-req@openssh.com"),
            b"x11" => has("x11-req"),
            b"session" | b"tun@openssh.com" => false,
            kind => !kind.starts_with(b"direct-"),
        };
        assert!(invited, "{}", kind.escape_ascii());
    }
}

/// The name of a request.
fn asked_for(payload: &[u8]) -> Option<Vec<u8>> {
    let mut fields = Reader::new(payload);
    match fields.u8().ok()? {
        msg::GLOBAL_REQUEST => {}
        msg::CHANNEL_REQUEST => drop(fields.u32().ok()?),
        _ => return None,
    }
    Some(fields.string().ok()?.to_vec())
}

fn check_policy(denied: &[Capability], daemon: &Heard) {
    for payload in &daemon.received {
        let kind = match payload[0] {
            msg::CHANNEL_OPEN => Reader::new(&payload[1..])
                .string()
                .expect("a type")
                .to_vec(),
            _ => match asked_for(payload) {
                Some(name) => name,
                None => continue,
            },
        };
        let channel = payload[0] == msg::CHANNEL_REQUEST;
        let open = payload[0] == msg::CHANNEL_OPEN;
        let global = payload[0] == msg::GLOBAL_REQUEST;
        let both = denied.contains(&Capability::Exec) && denied.contains(&Capability::Files);
        let taken = |capability| denied.contains(&capability);
        let refused = match kind.as_slice() {
            b"shell" => channel && taken(Capability::Shell),
            b"exec" | b"subsystem" => channel && both,
            b"auth-agent-req@openssh.com" => channel && taken(Capability::AgentForwarding),
            b"x11-req" => channel && taken(Capability::X11Forwarding),
            b"direct-tcpip" => open && taken(Capability::LocalForwarding),
            b"direct-streamlocal@openssh.com" => open && taken(Capability::StreamlocalForwarding),
            b"tcpip-forward" => global && taken(Capability::RemoteForwarding),
            b"streamlocal-forward@openssh.com" => {
                global && taken(Capability::StreamlocalForwarding)
            }
            _ => false,
        };
        assert!(!refused, "{} passed", kind.escape_ascii());
    }
}

/// The ledger's bound: so many channels that were not refused, nor closed by anybody.
fn check_channels(client: &Heard, daemon: &Heard) {
    let all = || client.received.iter().chain(&daemon.received);
    let count = |number| all().filter(|payload| payload[0] == number).count();
    let over = count(msg::CHANNEL_OPEN_FAILURE) + count(msg::CHANNEL_CLOSE);
    assert!(count(msg::CHANNEL_OPEN) <= MOST_CHANNELS + over);
}
