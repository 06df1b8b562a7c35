//! A connection of the daemon's behind its login: everything that RFC 4254 and OpenSSH let a client
//! say, with real files, sockets and terminals behind it.
//!
//! Nothing that a client says starts a process in these builds: it is as in a container without a
//! shell (see `sshd::fuzzing`). No input has a slash in it, so that files stay where they belong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use connector::{Files, Resolver};
use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::msg;
use ssh_proto::transport::{Config, Role, Transport};
use ssh_proto::wire::Reader;
use ssh_tokio::wire::now;
use ssh_tokio::{Authenticated, Wire};
use sshd::bounds::Bounds;
use sshd::environment::DaemonEnvironment;
use sshd::server::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Duration, sleep};

use crate::input::Input;
use crate::packets::Packets;
use crate::place::Place;
use crate::proto::clear::packet;
use crate::runtime::{runtime, settle};

/// Steps of one run.
const MOST_STEPS: usize = 64;

/// What the stream to the daemon holds: more than a run sends.
const STREAM: usize = 1024 * 1024;

/// More than any one step makes the daemon send: its output's bounds, and data within windows.
const MOST_OUTPUT: usize = 64 * 1024 * 1024;

/// Longer than the daemon waits before it asks a terminal's user for a sign of life.
const A_WHILE: Duration = Duration::from_secs(16);

/// A client that is logged in says what it wants. The daemon keeps to RFC 4254: it numbers no channel
/// that the client has not, keeps within windows and sizes of packets, says nothing on a channel after
/// its CLOSE and no data after its EOF, and replies to nothing that was not asked.
pub fn postauth_daemon(data: &[u8]) {
    let mut input = Input::new(data);
    let place = Place::enter();
    let ended = runtime().block_on(async {
        let (near, far) = duplex(STREAM);
        let serving = tokio::spawn(sshd::fuzzing::serve(server(), open(far)));
        let mut client = Client::new(near);
        for _ in 0..MOST_STEPS {
            if input.is_empty() || serving.is_finished() {
                break;
            }
            client.step(&mut input).await;
        }
        client.hang_up().await;
        serving.await
    });
    place.assert_confined();
    match ended {
        Ok(error) => assert!(!matches!(error, Error::Bug(_)), "{error}"),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn server() -> Server {
    Server {
        transport: transport(),
        authorized_key: None,
        allow_unauthenticated_clients: false,
        environment: Arc::new(DaemonEnvironment::default()),
        inherit_daemon_env: false,
        bounds: Bounds::default(),
        resolver: Arc::new(Resolver::new(Files {
            hosts: "hosts".into(),
            resolv_conf: "resolv.conf".into(),
        })),
    }
}

fn transport() -> Arc<Config> {
    static CONFIG: OnceLock<Arc<Config>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let key = PrivateKey::generate_ed25519(&mut SeededRandom::new(1));
        Arc::new(Config::server(
            "SSH-2.0-fuzz",
            Algorithms::default(),
            vec![key],
        ))
    });
    Arc::clone(config)
}

fn open(stream: DuplexStream) -> Authenticated<DuplexStream> {
    let transport = Transport::open_in_clear(Role::Server, transport(), now());
    Authenticated::unproven(Wire::new(stream, transport))
}

/// The client, and what it knows of the connection.
struct Client {
    stream: DuplexStream,
    sent: Packets,
    received: Packets,
    book: Book,
}

impl Client {
    fn new(stream: DuplexStream) -> Self {
        Self {
            stream,
            sent: Packets::default(),
            received: Packets::default(),
            book: Book::default(),
        }
    }

    async fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            // Anything at all.
            0 => self.send(input.short()).await,
            1 => sleep(A_WHILE).await,
            // Several packets at once.
            kind => {
                let mut stream = Vec::new();
                for _ in 0..=kind & 3 {
                    stream.extend(packet(input.short()));
                }
                self.send(&stream).await;
            }
        }
        settle().await;
        self.receive().await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        let bytes: Vec<u8> = bytes
            .iter()
            .map(|byte| if *byte == b'/' { b'_' } else { *byte })
            .collect();
        self.sent.feed(&bytes);
        while let Some(payload) = self.sent.next() {
            self.book.said(&payload);
        }
        // The daemon may have hung up.
        _ = self.stream.write_all(&bytes).await;
    }

    /// Takes what the daemon has sent.
    async fn receive(&mut self) {
        let mut taken = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = tokio::select! {
                biased;
                read = self.stream.read(&mut buffer) => read.unwrap_or(0),
                () = settle() => return,
            };
            if count == 0 {
                return;
            }
            taken += count;
            assert!(taken <= MOST_OUTPUT, "output without end");
            self.received.feed(&buffer[..count]);
            while let Some(payload) = self.received.next() {
                self.book.heard(&payload);
            }
        }
    }

    /// The end of what the client sends; the daemon ends for it.
    async fn hang_up(&mut self) {
        _ = self.stream.shutdown().await;
        settle().await;
        self.receive().await;
        assert!(self.received.is_at_end(), "the daemon's packets are whole");
    }
}

/// What was said on both sides, as far as the rules need it.
#[derive(Default)]
struct Book {
    /// What the client has offered with its last CHANNEL_OPEN of a number: window and size of packets.
    offered: BTreeMap<u32, (u64, u32)>,
    /// By the client's number.
    channels: BTreeMap<u32, Channel>,
    /// The daemon's numbers of channels that it opens, with no answer yet.
    opening: BTreeSet<u32>,
    /// By the daemon's number, the client's.
    numbers: BTreeMap<u32, u32>,
    /// Window and requests that the client has given to each number of the daemon's since it was last
    /// taken into use: it may guess a number before it is told.
    given: BTreeMap<u32, (u64, usize)>,
    /// The client has given one number to two channels, and cannot tell them apart itself.
    confused: bool,
    /// Replies to global requests that the daemon owes.
    global_replies: usize,
    /// The client has begun a key exchange.
    keying: bool,
    pings: usize,
}

/// One channel, as the daemon may use it.
struct Channel {
    window: u64,
    packet: u32,
    ended: bool,
    closed: bool,
    owed: usize,
}

impl Book {
    /// The client's packet, whether or not the daemon likes it.
    fn said(&mut self, payload: &[u8]) {
        // What is cut short says nothing.
        _ = self.try_said(payload);
    }

    fn try_said(&mut self, payload: &[u8]) -> Result<(), ssh_proto::wire::Malformed> {
        let mut fields = Reader::new(payload);
        match fields.u8()? {
            msg::KEXINIT => self.keying = true,
            msg::PING => self.pings += 1,
            msg::GLOBAL_REQUEST => {
                fields.string()?;
                self.global_replies += usize::from(fields.bool()?);
            }
            msg::CHANNEL_OPEN => {
                fields.string()?;
                let (number, window, packet) = (fields.u32()?, fields.u32()?, fields.u32()?);
                self.check_new(number);
                self.offered.insert(number, (window.into(), packet));
            }
            msg::CHANNEL_OPEN_CONFIRMATION => {
                let (theirs, ours) = (fields.u32()?, fields.u32()?);
                let (window, packet) = (fields.u32()?, fields.u32()?);
                if self.opening.remove(&theirs) {
                    self.check_new(ours);
                    self.open(theirs, ours, (window.into(), packet));
                }
            }
            msg::CHANNEL_WINDOW_ADJUST => {
                let (number, more) = (fields.u32()?, fields.u32()?);
                self.give(number, more.into(), 0);
            }
            msg::CHANNEL_REQUEST => {
                let number = fields.u32()?;
                fields.string()?;
                let wanted = usize::from(fields.bool()?);
                self.give(number, 0, wanted);
            }
            _ => {}
        }
        Ok(())
    }

    /// A number that the client gives is no other open channel's.
    fn check_new(&mut self, ours: u32) {
        let open = self
            .channels
            .get(&ours)
            .is_some_and(|channel| !channel.closed);
        self.confused |= open || self.offered.contains_key(&ours);
    }

    fn give(&mut self, theirs: u32, window: u64, owed: usize) {
        let given = self.given.entry(theirs).or_default();
        *given = (given.0 + window, given.1 + owed);
        let ours = self.numbers.get(&theirs);
        if let Some(channel) = ours.and_then(|ours| self.channels.get_mut(ours)) {
            channel.window += window;
            channel.owed += owed;
        }
    }

    fn open(&mut self, theirs: u32, ours: u32, (window, packet): (u64, u32)) {
        let (more, owed) = self.given.remove(&theirs).unwrap_or_default();
        self.numbers.insert(theirs, ours);
        self.channels.insert(
            ours,
            Channel {
                window: window + more,
                packet,
                ended: false,
                closed: false,
                owed,
            },
        );
    }

    /// The daemon's packet, which is right.
    fn heard(&mut self, payload: &[u8]) {
        if self.confused {
            return;
        }
        let read = self.try_heard(payload);
        assert!(read.is_ok(), "the daemon sent {payload:02x?}");
    }

    fn try_heard(&mut self, payload: &[u8]) -> Result<(), ssh_proto::wire::Malformed> {
        let mut fields = Reader::new(payload);
        let number = fields.u8()?;
        match number {
            msg::DISCONNECT | msg::UNIMPLEMENTED => {}
            msg::KEXINIT..=49 => assert!(self.keying, "a key exchange out of nothing"),
            msg::PONG => self.pings = self.pings.checked_sub(1).expect("a pong for a ping"),
            msg::GLOBAL_REQUEST => panic!("the daemon has no global requests"),
            msg::REQUEST_SUCCESS | msg::REQUEST_FAILURE => {
                self.global_replies = self
                    .global_replies
                    .checked_sub(1)
                    .expect("a reply to a request");
            }
            msg::CHANNEL_OPEN => {
                fields.string()?;
                self.opening.insert(fields.u32()?);
            }
            msg::CHANNEL_OPEN_CONFIRMATION => {
                let (ours, theirs) = (fields.u32()?, fields.u32()?);
                let offered = self
                    .offered
                    .remove(&ours)
                    .expect("a channel that was asked for");
                self.open(theirs, ours, offered);
            }
            msg::CHANNEL_OPEN_FAILURE => {
                let ours = fields.u32()?;
                self.offered
                    .remove(&ours)
                    .expect("a channel that was asked for");
            }
            _ => {
                let ours = fields.u32()?;
                let channel = self
                    .channels
                    .get_mut(&ours)
                    .expect("a channel of the client's");
                assert!(!channel.closed, "message {number} behind a CLOSE");
                channel.heard(number, &mut fields)?;
            }
        }
        Ok(())
    }
}

impl Channel {
    fn heard(
        &mut self,
        number: u8,
        fields: &mut Reader<'_>,
    ) -> Result<(), ssh_proto::wire::Malformed> {
        match number {
            msg::CHANNEL_WINDOW_ADJUST => {}
            msg::CHANNEL_DATA | msg::CHANNEL_EXTENDED_DATA => {
                assert!(!self.ended, "data behind an EOF");
                if number == msg::CHANNEL_EXTENDED_DATA {
                    fields.u32()?;
                }
                let data = fields.string()?;
                assert!(
                    data.len() <= self.packet as usize,
                    "a longer packet than is taken"
                );
                let window = self.window.checked_sub(data.len() as u64);
                self.window = window.expect("data within the window");
            }
            msg::CHANNEL_EOF => {
                assert!(!self.ended, "two EOFs");
                self.ended = true;
            }
            msg::CHANNEL_CLOSE => self.closed = true,
            msg::CHANNEL_REQUEST => assert!(!self.ended, "how it ended comes before EOF"),
            msg::CHANNEL_SUCCESS | msg::CHANNEL_FAILURE => {
                self.owed = self.owed.checked_sub(1).expect("a reply to a request");
            }
            other => panic!("message {other}"),
        }
        Ok(())
    }
}
