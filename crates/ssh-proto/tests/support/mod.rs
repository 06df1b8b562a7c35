//! What the tests of all layers share: two real transports on a wire in memory with virtual time
//! ([`Pair`]), a peer that breaks rules ([`peer::Peer`]), keys ([`keys`]), and how tables of message
//! numbers are written ([`numbers`]).
#![allow(dead_code, reason = "each test crate uses its part")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ssh_proto::Error;
use ssh_proto::algorithm::Algorithms;
use ssh_proto::crypto::random::{Random, SeededRandom};
use ssh_proto::msg;
use ssh_proto::transport::{Config, Event, HostKeyAccepted, RekeyLimits, Role, Transport};
use ssh_proto::wire::{Put, Reader};

pub(crate) mod keys;
pub(crate) mod numbers;
pub(crate) mod peer;

/// One of the two ends of a [`Pair`].
pub(crate) type End = usize;
pub(crate) const CLIENT: End = 0;
pub(crate) const SERVER: End = 1;
pub(crate) const ENDS: [End; 2] = [CLIENT, SERVER];

/// The longest payload that a transport sends.
pub(crate) const LONGEST_PAYLOAD: usize = 256 * 1024 - 256;

/// How the bytes of one direction arrive.
pub(crate) enum Pieces {
    Whole,
    OneByte,
    Random(SeededRandom),
}

/// One direction between two transports.
pub(crate) struct Wire {
    /// Bytes that fit between a write and its read; 0 blocks the writer.
    pub(crate) capacity: usize,
    pub(crate) pieces: Pieces,
    in_flight: Vec<u8>,
}

impl Wire {
    fn new() -> Self {
        Self {
            capacity: usize::MAX,
            pieces: Pieces::Whole,
            in_flight: Vec::new(),
        }
    }

    /// Takes from `from` what fits, and hands a piece to `to`. True if anything moved.
    pub(crate) fn carry(&mut self, from: &mut Transport, to: &mut Transport) -> bool {
        let room = self.capacity.saturating_sub(self.in_flight.len());
        let written = room.min(from.output().len());
        self.in_flight.extend_from_slice(&from.output()[..written]);
        from.sent(written);
        if self.in_flight.is_empty() {
            return false;
        }
        let piece = match &mut self.pieces {
            Pieces::Whole => usize::MAX,
            Pieces::OneByte => 1,
            Pieces::Random(random) => 1 + below(random, 600),
        };
        let input = to.input();
        let read = piece.min(self.in_flight.len()).min(input.len());
        input[..read].copy_from_slice(&self.in_flight[..read]);
        to.filled(read);
        self.in_flight.drain(..read);
        true
    }
}

/// Two transports back to back. Payloads that arrive are collected, host keys accepted.
pub(crate) struct Pair {
    pub(crate) ends: [Transport; 2],
    /// The wires *from* each end.
    pub(crate) wires: [Wire; 2],
    pub(crate) now: Instant,
    /// What each end has got, in its order.
    pub(crate) got: [Vec<Vec<u8>>; 2],
    /// How each end's connection ended.
    pub(crate) errors: [Option<Error>; 2],
    pub(crate) accepted: Option<HostKeyAccepted>,
}

impl Pair {
    /// Two ends that have not seen anything of each other.
    pub(crate) fn new(client: Config, server: Config) -> Self {
        let now = Instant::now();
        let end = |role, config, seed| {
            Transport::new(
                role,
                Arc::new(config),
                Box::new(SeededRandom::new(seed)),
                now,
            )
        };
        Self {
            ends: [end(Role::Client, client, 1), end(Role::Server, server, 2)],
            wires: [Wire::new(), Wire::new()],
            now,
            got: Default::default(),
            errors: Default::default(),
            accepted: None,
        }
    }

    /// Two ends that offer the same, and a server that can sign all of it.
    pub(crate) fn of(algorithms: &Algorithms, rekey: RekeyLimits) -> Self {
        Self::new(
            client_config(algorithms).with_rekey_limits(rekey),
            server_config(algorithms).with_rekey_limits(rekey),
        )
    }

    /// After the first key exchange.
    pub(crate) fn connected() -> Self {
        Self::of(&fast(), RekeyLimits::default()).connect()
    }

    /// After user authentication, which is left out.
    pub(crate) fn authenticated() -> Self {
        Self::connected().authenticate()
    }

    pub(crate) fn connect(mut self) -> Self {
        self.drive();
        for end in ENDS {
            assert_eq!(self.errors[end], None);
            assert!(!self.ends[end].is_keying());
            assert!(self.ends[end].output().is_empty());
        }
        self
    }

    pub(crate) fn authenticate(mut self) -> Self {
        self.ends.iter_mut().for_each(Transport::set_authenticated);
        self
    }

    pub(crate) fn advance(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Carries and polls until nothing moves any more.
    pub(crate) fn drive(&mut self) {
        while self.step() {}
    }

    /// One piece each way, and what comes of it.
    pub(crate) fn step(&mut self) -> bool {
        let mut moved = false;
        for from in ENDS {
            moved |= self.carry(from);
            self.poll(1 - from);
        }
        moved
    }

    /// Carries one piece from an end to the other, unless its wire is blocked.
    pub(crate) fn carry(&mut self, from: End) -> bool {
        let [client, server] = &mut self.ends;
        match from {
            CLIENT => self.wires[from].carry(client, server),
            _ => self.wires[from].carry(server, client),
        }
    }

    /// Polls an end until it wants more.
    pub(crate) fn poll(&mut self, end: End) {
        while self.errors[end].is_none() {
            match self.ends[end].poll(self.now) {
                Ok(Event::NeedInput | Event::NeedOutput) => break,
                Ok(Event::Packet) => self.got[end].push(self.ends[end].packet().to_vec()),
                Ok(Event::HostKey) => self.accepted = self.ends[end].accept_host_key().ok(),
                Err(error) => self.errors[end] = Some(error),
            }
        }
    }

    /// What an end got since the last time.
    pub(crate) fn take_got(&mut self, end: End) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.got[end])
    }

    /// Takes everything that an end wants to write off the wire, to be tampered with.
    pub(crate) fn intercept(&mut self, from: End) -> Vec<u8> {
        take_output(&mut self.ends[from])
    }

    /// One payload of an end as it would be on the wire.
    pub(crate) fn sealed(&mut self, from: End, payload: &[u8]) -> Vec<u8> {
        self.ends[from].send(&[payload]);
        self.intercept(from)
    }

    /// Hands bytes to an end and polls it.
    pub(crate) fn inject(&mut self, to: End, bytes: &[u8]) {
        feed(&mut self.ends[to], bytes);
        self.poll(to);
    }

    /// The end was cut and tells the other why: the error, after its DISCONNECT was checked.
    pub(crate) fn cut(&mut self, end: End) -> Error {
        let error = self.errors[end].clone().expect("the connection must end");
        while self.carry(end) {}
        self.poll(1 - end);
        let told = self.errors[1 - end]
            .clone()
            .expect("the other must be told");
        assert_eq!(told, as_told(&error));
        error
    }
}

/// What the peer learns of an error.
pub(crate) fn as_told(error: &Error) -> Error {
    Error::Disconnected {
        reason: error.reason().expect("an error to be told") as u32,
        description: error.description(),
    }
}

/// The cheapest algorithms; GCM, so that packets can be told apart on the wire.
pub(crate) fn fast() -> Algorithms {
    use ssh_proto::algorithm::{Cipher, Kex, Mac, Signature};
    Algorithms {
        kex: vec![Kex::Curve25519],
        host_key: vec![Signature::Ed25519],
        cipher: vec![Cipher::Aes128Gcm],
        mac: vec![Mac::HmacSha256],
    }
}

pub(crate) fn client_config(algorithms: &Algorithms) -> Config {
    Config::client("SSH-2.0-client", algorithms.clone())
}

pub(crate) fn server_config(algorithms: &Algorithms) -> Config {
    let keys = algorithms.host_key.iter().map(|name| keys::signing(*name));
    Config::server("SSH-2.0-server", algorithms.clone(), keys.collect())
}

/// Takes all output.
pub(crate) fn take_output(transport: &mut Transport) -> Vec<u8> {
    let bytes = transport.output().to_vec();
    transport.sent(bytes.len());
    bytes
}

/// Hands over bytes as a stream would.
pub(crate) fn feed(transport: &mut Transport, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let input = transport.input();
        let count = input.len().min(bytes.len());
        input[..count].copy_from_slice(&bytes[..count]);
        transport.filled(count);
        bytes = &bytes[count..];
    }
}

/// A packet without protection, with given padding.
pub(crate) fn clear_packet(payload: &[u8], padding: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.put_u32(u32::try_from(1 + payload.len() + padding).unwrap());
    packet.put_u8(u8::try_from(padding).unwrap());
    packet.extend(payload);
    packet.extend(vec![0; padding]);
    packet
}

/// A packet without protection.
pub(crate) fn clear(payload: &[u8]) -> Vec<u8> {
    clear_packet(payload, 4 + (8 - (5 + payload.len() + 4) % 8) % 8)
}

/// Splits unprotected packets behind an identification into their payloads.
pub(crate) fn clear_payloads(output: &[u8]) -> Vec<Vec<u8>> {
    let start = match output.starts_with(b"SSH-") {
        true => output.iter().position(|byte| *byte == b'\n').unwrap() + 1,
        false => 0,
    };
    let mut reader = Reader::new(&output[start..]);
    let mut payloads = Vec::new();
    while !reader.is_empty() {
        let packet = reader.string().unwrap();
        payloads.push(packet[1..packet.len() - usize::from(packet[0])].to_vec());
    }
    payloads
}

/// Splits packets of AES-GCM, whose length is in clear (RFC 5647).
pub(crate) fn gcm_packets(mut wire: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    while let Some((length, _)) = wire.split_first_chunk::<4>() {
        let total = 4 + u32::from_be_bytes(*length) as usize + 16;
        packets.push(wire[..total].to_vec());
        wire = &wire[total..];
    }
    packets
}

/// The reason code and text of a DISCONNECT.
pub(crate) fn read_disconnect(payload: &[u8]) -> (u32, String) {
    let mut reader = Reader::new(payload);
    assert_eq!(reader.u8(), Ok(msg::DISCONNECT));
    let reason = reader.u32().unwrap();
    let text = reader.utf8().unwrap().to_owned();
    assert_eq!(reader.string(), Ok(&b""[..]));
    assert_eq!(reader.finish(), Ok(()));
    (reason, text)
}

/// A number below `limit`.
pub(crate) fn below(random: &mut SeededRandom, limit: usize) -> usize {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    usize::from_be_bytes(bytes) % limit
}

/// CHANNEL_DATA of a length, different for each `mark`.
pub(crate) fn payload(mark: usize, length: usize) -> Vec<u8> {
    let mut payload = vec![msg::CHANNEL_DATA];
    payload.put_u64(mark as u64);
    payload.resize(length.max(9), mark.to_be_bytes()[7]);
    payload
}
