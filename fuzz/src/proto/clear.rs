//! The other end of a transport under test: it frames payloads, reads what the transport sends, and
//! can go through a key exchange, all without a cipher since `cfg(fuzzing)` leaves none in place.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ssh_proto::Error;
use ssh_proto::algorithm::{Algorithms, Cipher, Kex, Mac, Signature};
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::msg;
use ssh_proto::transport::{Config, Event, HostKeyAccepted, RekeyLimits, Role, Transport};
use ssh_proto::wire::{Put, Reader};

/// Our identification line, as the peer.
pub(super) const IDENTIFICATION: &[u8] = b"SSH-2.0-peer\r\n";

/// An X25519 public value: the base point (RFC 7748 section 6.1).
pub(super) const POINT: [u8; 32] = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

/// More than a transport may hold of what nobody reads: twice its own bound and a packet.
const MOST_OUTPUT: usize = 2 * 512 * 1024;

/// A transport and the peer that it talks to.
pub(super) struct Peer {
    /// The transport under test.
    pub(super) transport: Transport,
    pub(super) now: Instant,
    pub(super) accepted: Option<HostKeyAccepted>,
    pub(super) ear: Ear,
}

impl Peer {
    /// A transport that knows nothing of its peer; it offers every algorithm that there is.
    pub(super) fn stranger(role: Role) -> Self {
        Self::offering(role, everything())
    }

    /// A transport that offers these.
    pub(super) fn offering(role: Role, algorithms: Algorithms) -> Self {
        let random = Box::new(SeededRandom::new(1));
        let config = match role {
            Role::Client => Config::client("SSH-2.0-fuzz", algorithms),
            Role::Server => {
                let key = PrivateKey::generate_ed25519(&mut SeededRandom::new(2));
                Config::server("SSH-2.0-fuzz", algorithms, vec![key])
            }
        };
        // Few enough to come around within an input.
        let rekey = RekeyLimits {
            bytes: 16 * 1024,
            packets: 64,
            interval: Duration::from_secs(60),
        };
        let (config, now) = (Arc::new(config.with_rekey_limits(rekey)), Instant::now());
        Self {
            transport: Transport::new(role, config, random, now),
            now,
            accepted: None,
            ear: Ear::default(),
        }
    }

    /// A transport after its first key exchange, and a peer that has read everything.
    pub(super) fn keyed(role: Role) -> Self {
        let mut peer = Self::stranger(role);
        feed(&mut peer.transport, IDENTIFICATION);
        for payload in handshake(role) {
            peer.say(&payload);
            while let Ok(Event::HostKey) = peer.transport.poll(peer.now) {
                peer.accepted = peer.transport.accept_host_key().ok();
            }
        }
        assert_eq!(peer.transport.failure(), None);
        assert!(!peer.transport.is_keying());
        peer.heard();
        peer
    }

    /// Sends a payload in a packet.
    pub(super) fn say(&mut self, payload: &[u8]) {
        feed(&mut self.transport, &packet(payload));
    }

    /// The payloads that the transport has sent since the last time.
    pub(super) fn heard(&mut self) -> Vec<Vec<u8>> {
        self.ear.hear(&mut self.transport)
    }

    /// After an error: see [`Ear::check_end`].
    pub(super) fn check_end(&mut self, error: &Error) {
        self.ear.check_end(&mut self.transport, self.now, error);
    }
}

/// Reads what a transport sends.
#[derive(Default)]
pub(super) struct Ear {
    identified: bool,
    sent: Vec<u8>,
}

impl Ear {
    /// The payloads that the transport has sent since the last time.
    pub(super) fn hear(&mut self, transport: &mut Transport) -> Vec<Vec<u8>> {
        let count = transport.output().len();
        assert!(count <= MOST_OUTPUT, "output without bound");
        self.sent.extend_from_slice(transport.output());
        transport.sent(count);
        let mut start = 0;
        if !self.identified {
            let end = self.sent.iter().position(|byte| *byte == b'\n');
            start = end.expect("an identification comes first") + 1;
            self.identified = true;
        }
        let mut reader = Reader::new(&self.sent[start..]);
        let mut payloads = Vec::new();
        while !reader.is_empty() {
            payloads.push(payload(reader.string().expect("whole packets are sent")));
        }
        self.sent.clear();
        payloads
    }

    /// After an error: it stays, it is no fault of ours, and its reason is the last thing that the
    /// peer is told.
    pub(super) fn check_end(&mut self, transport: &mut Transport, now: Instant, error: &Error) {
        assert!(!matches!(error, Error::Bug(_)), "{error}");
        assert_eq!(transport.poll(now).as_ref(), Err(error));
        let last = self.hear(transport).pop();
        let Some(reason) = error.reason() else {
            return;
        };
        let last = last.expect("a DISCONNECT");
        let mut reader = Reader::new(&last);
        assert_eq!(reader.u8(), Ok(msg::DISCONNECT));
        assert_eq!(reader.u32(), Ok(reason as u32));
        assert_eq!(reader.string(), Ok(error.description().as_bytes()));
        assert_eq!(reader.string(), Ok(&b""[..]));
        assert!(reader.is_empty());
    }
}

/// What the peer of a transport of this role sends in a key exchange.
pub(super) fn handshake(role: Role) -> [Vec<u8>; 3] {
    let strict = match role {
        Role::Client => "kex-strict-s-v00@openssh.com",
        Role::Server => "kex-strict-c-v00@openssh.com",
    };
    let kexinit = kexinit(&[Kex::Curve25519.name(), "ext-info-c", strict]);
    let kex = match role {
        Role::Client => ecdh_reply(&host_key(), &POINT, &forged(Signature::Ed25519, 64)),
        Role::Server => string_message(msg::KEX_ECDH_INIT, &POINT),
    };
    [kexinit, kex, vec![msg::NEWKEYS]]
}

/// A KEXINIT with these methods and an Ed25519 host key.
pub(super) fn kexinit(methods: &[&str]) -> Vec<u8> {
    kexinit_with(methods, Signature::Ed25519)
}

/// A KEXINIT with these methods and signatures of the host.
pub(super) fn kexinit_with(methods: &[&str], host_key: Signature) -> Vec<u8> {
    let mut out = vec![msg::KEXINIT];
    out.extend([7; 16]);
    out.put_name_list(methods.iter().copied());
    out.put_name_list([host_key.name()]);
    for name in [Cipher::Aes128Gcm.name(), Mac::HmacSha256.name(), "none"] {
        out.put_name_list([name]);
        out.put_name_list([name]);
    }
    out.put_string(b"");
    out.put_string(b"");
    out.put_bool(false);
    out.put_u32(0);
    out
}

/// KEX_ECDH_REPLY.
pub(super) fn ecdh_reply(host_key: &[u8], public: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut out = string_message(msg::KEX_ECDH_REPLY, host_key);
    out.put_string(public);
    out.put_string(signature);
    out
}

/// The blob of a host key that nobody has.
pub(super) fn host_key() -> Vec<u8> {
    let mut blob = Vec::new();
    blob.put_string(b"ssh-ed25519");
    blob.put_string(&[5; 32]);
    blob
}

/// A signature blob of zeros, which `cfg(fuzzing)` takes for good.
pub(super) fn forged(algorithm: Signature, length: usize) -> Vec<u8> {
    let mut blob = Vec::new();
    blob.put_string(algorithm.name().as_bytes());
    blob.put_string(&vec![0; length]);
    blob
}

/// A message of one string.
pub(super) fn string_message(number: u8, string: &[u8]) -> Vec<u8> {
    let mut out = vec![number];
    out.put_string(string);
    out
}

/// Every algorithm that there is.
pub(super) fn everything() -> Algorithms {
    Algorithms {
        kex: Kex::ALL.to_vec(),
        host_key: Signature::ALL.to_vec(),
        cipher: Cipher::ALL.to_vec(),
        mac: Mac::ALL.to_vec(),
    }
}

/// A payload in a packet without protection.
pub(crate) fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 4 + (8 - (5 + payload.len() + 4) % 8) % 8;
    let mut packet = Vec::with_capacity(5 + payload.len() + padding);
    packet.put_u32(u32::try_from(1 + payload.len() + padding).expect("inputs are short"));
    packet.put_u8(u8::try_from(padding).expect("at most 11"));
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// What is in a packet, without its length.
fn payload(packet: &[u8]) -> Vec<u8> {
    let padding = usize::from(packet[0]);
    assert!(padding >= 4 && padding + 1 < packet.len() && (packet.len() + 4).is_multiple_of(8));
    packet[1..packet.len() - padding].to_vec()
}

/// Hands over bytes as a stream would.
pub(super) fn feed(transport: &mut Transport, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let input = transport.input();
        let count = input.len().min(bytes.len());
        input[..count].copy_from_slice(&bytes[..count]);
        transport.filled(count);
        bytes = &bytes[count..];
    }
}
