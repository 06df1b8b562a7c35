//! A peer that does exactly what a test says, rules or no rules: it speaks the packet protocol and the
//! key exchange by itself, with the primitives of `crypto` but without a [`Transport`] of its own.

use std::sync::Arc;
use std::time::Instant;

use ssh_proto::Error;
use ssh_proto::algorithm::{Algorithms, Cipher, Kex, Mac, Signature};
use ssh_proto::crypto::cipher::{Opener, Sealer};
use ssh_proto::crypto::digest::digest;
use ssh_proto::crypto::kex::{ClientExchange, SharedSecret, derive_key, respond};
use ssh_proto::crypto::random::SeededRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::msg;
use ssh_proto::transport::{Config, Event, HostKeyAccepted, Role, Transport};
use ssh_proto::wire::{Put, Reader};

use super::{as_told, feed, keys, read_disconnect, take_output};

const IDENTIFICATION: &[u8] = b"SSH-2.0-peer";

/// What the peer offers in its KEXINIT: one algorithm of each kind.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) kex: Kex,
    pub(crate) cipher: Cipher,
    pub(crate) mac: Mac,
    /// Whether it knows strict key exchange.
    pub(crate) strict: bool,
    pub(crate) ext_info: bool,
    /// A method that stands first in its list, and for which it sends a packet in advance.
    pub(crate) guess: Option<&'static str>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            kex: Kex::Curve25519,
            cipher: Cipher::Aes128Gcm,
            mac: Mac::HmacSha256,
            strict: true,
            ext_info: true,
            guess: None,
        }
    }
}

/// The peer, and the transport under test.
pub(crate) struct Peer {
    pub(crate) transport: Transport,
    /// Of the transport under test.
    pub(crate) role: Role,
    pub(crate) now: Instant,
    pub(crate) offer: Offer,
    /// Server: what the peer signs with.
    pub(crate) host_key: PrivateKey,
    /// Server: that the transport under test took the key.
    pub(crate) accepted: Option<HostKeyAccepted>,
    sealer: Sealer,
    opener: Opener,
    pub(crate) sequence_out: u32,
    pub(crate) sequence_in: u32,
    unread: Vec<u8>,
    identification: Vec<u8>,
    kexinit_out: Vec<u8>,
    kexinit_in: Vec<u8>,
    exchange: Option<ClientExchange>,
    /// The client's public value.
    pub(crate) public: Vec<u8>,
    pub(crate) session_id: Vec<u8>,
    /// From the key exchange to the NEWKEYS of each direction.
    next_sealer: Option<Sealer>,
    next_opener: Option<Opener>,
    random: SeededRandom,
}

impl Peer {
    /// The two know nothing of each other yet; the transport under test has `role`.
    pub(crate) fn new(role: Role, offer: Offer) -> Self {
        let algorithms = Algorithms {
            kex: Kex::ALL.to_vec(),
            host_key: vec![Signature::Ed25519],
            cipher: Cipher::ALL.to_vec(),
            mac: Mac::ALL.to_vec(),
        };
        let config = match role {
            Role::Client => Config::client("SSH-2.0-dut", algorithms),
            Role::Server => Config::server("SSH-2.0-dut", algorithms, vec![keys::ed25519(1)]),
        };
        let now = Instant::now();
        let random = Box::new(SeededRandom::new(3));
        Self {
            transport: Transport::new(role, Arc::new(config), random, now),
            role,
            now,
            offer,
            host_key: keys::ed25519(1),
            accepted: None,
            sealer: Sealer::clear(),
            opener: Opener::clear(),
            sequence_out: 0,
            sequence_in: 0,
            unread: Vec::new(),
            identification: Vec::new(),
            kexinit_out: Vec::new(),
            kexinit_in: Vec::new(),
            exchange: None,
            public: Vec::new(),
            session_id: Vec::new(),
            next_sealer: None,
            next_opener: None,
            random: SeededRandom::new(4),
        }
    }

    /// After the first key exchange.
    pub(crate) fn connected(role: Role, offer: Offer) -> Self {
        let mut peer = Self::new(role, offer);
        peer.identify();
        peer.kex().unwrap();
        peer.heard();
        peer
    }

    /// After user authentication, which is left out.
    pub(crate) fn authenticated(role: Role, offer: Offer) -> Self {
        let mut peer = Self::connected(role, offer);
        peer.transport.set_authenticated();
        peer
    }

    /// Sends the identification.
    pub(crate) fn identify(&mut self) {
        feed(&mut self.transport, IDENTIFICATION);
        feed(&mut self.transport, b"\r\n");
    }

    /// A whole key exchange by the rules.
    pub(crate) fn kex(&mut self) -> Result<(), Error> {
        self.say_kexinit();
        self.poll()?;
        self.heard();
        self.say_kex_message();
        self.poll()?;
        self.heard();
        self.say_newkeys();
        self.poll().map(|_| ())
    }

    /// Bytes as they are.
    pub(crate) fn say_raw(&mut self, bytes: &[u8]) {
        feed(&mut self.transport, bytes);
    }

    /// A payload in a packet.
    pub(crate) fn say(&mut self, payload: &[u8]) {
        let packet = self.sealed(payload);
        self.say_raw(&packet);
    }

    /// A payload in a packet that is not sent yet.
    pub(crate) fn sealed(&mut self, payload: &[u8]) -> Vec<u8> {
        let before = if self.sealer.length_is_padded() { 5 } else { 1 };
        let padded = (before + payload.len() + 4).next_multiple_of(self.sealer.block_size());
        self.sealed_with(payload, padded - before - payload.len())
    }

    /// The same with padding of this length, right or wrong.
    pub(crate) fn sealed_with(&mut self, payload: &[u8], padding: usize) -> Vec<u8> {
        let mut packet = super::clear_packet(payload, padding);
        packet.resize(packet.len() + self.sealer.tag_length(), 0);
        self.sealer.seal(self.sequence_out, &mut packet).unwrap();
        self.sequence_out = self.sequence_out.wrapping_add(1);
        packet
    }

    /// A KEXINIT for what the peer offers.
    pub(crate) fn kexinit(&self) -> Vec<u8> {
        let Offer {
            kex, cipher, mac, ..
        } = self.offer;
        let mut names = vec![kex.name()];
        if let Some(guess) = self.offer.guess {
            names.insert(0, guess);
        }
        if self.offer.strict {
            names.push(match self.role {
                Role::Server => "kex-strict-c-v00@openssh.com",
                Role::Client => "kex-strict-s-v00@openssh.com",
            });
        }
        if self.offer.ext_info {
            names.push("ext-info-c");
        }
        let mut out = vec![msg::KEXINIT];
        out.extend([7; 16]);
        out.put_name_list(names);
        out.put_name_list(["ssh-ed25519"]);
        for name in [cipher.name(), mac.name(), "none"] {
            out.put_name_list([name]);
            out.put_name_list([name]);
        }
        out.put_string(b"");
        out.put_string(b"");
        out.put_bool(self.offer.guess.is_some());
        out.put_u32(0);
        out
    }

    pub(crate) fn say_kexinit(&mut self) {
        self.kexinit_out = self.kexinit();
        let payload = self.kexinit_out.clone();
        self.say(&payload);
    }

    /// KEX_ECDH_INIT or KEX_ECDH_REPLY.
    pub(crate) fn kex_message(&mut self) -> Vec<u8> {
        if self.role == Role::Server {
            let (exchange, public) =
                ClientExchange::start(self.offer.kex, &mut self.random).unwrap();
            self.exchange = Some(exchange);
            return self.kex_init(&public);
        }
        let (public, secret) = respond(self.offer.kex, &self.public, &mut self.random).unwrap();
        let blob = self.host_key.public().blob().to_vec();
        let hash = self.exchange_hash(&blob, &public, &secret);
        let signature = self.host_key.sign(Signature::Ed25519, &hash).unwrap();
        self.take_secret(&hash, &secret);
        kex_reply(&blob, &public, &signature)
    }

    /// Client: KEX_ECDH_INIT with this public value.
    pub(crate) fn kex_init(&mut self, public: &[u8]) -> Vec<u8> {
        self.public = public.to_vec();
        let mut payload = vec![msg::KEX_ECDH_INIT];
        payload.put_string(public);
        payload
    }

    pub(crate) fn say_kex_message(&mut self) {
        let payload = self.kex_message();
        self.say(&payload);
    }

    /// NEWKEYS, and the new keys from here on.
    pub(crate) fn say_newkeys(&mut self) {
        self.say(&[msg::NEWKEYS]);
        self.sealer = self.next_sealer.take().expect("no key exchange");
        if self.offer.strict {
            self.sequence_out = 0;
        }
    }

    /// Polls the transport under test; host keys are accepted.
    pub(crate) fn poll(&mut self) -> Result<Event, Error> {
        match self.transport.poll(self.now)? {
            Event::HostKey => {
                self.accepted = Some(self.transport.accept_host_key()?);
                self.transport.poll(self.now)
            }
            event => Ok(event),
        }
    }

    /// The payload ends the connection, and the peer is told so.
    pub(crate) fn cut(&mut self, payload: &[u8]) -> Error {
        self.say(payload);
        self.must_be_cut()
    }

    /// The connection ends, and the peer is told so: the error.
    pub(crate) fn must_be_cut(&mut self) -> Error {
        let error = loop {
            match self.poll() {
                Ok(Event::Packet) => {}
                Ok(event) => panic!("not cut but {event:?}"),
                Err(error) => break error,
            }
        };
        let heard = self.heard();
        let (reason, description) = read_disconnect(heard.last().expect("a DISCONNECT"));
        assert_eq!(
            Error::Disconnected {
                reason,
                description
            },
            as_told(&error)
        );
        error
    }

    /// Feeds a packet, and expects that it goes by unnoticed.
    pub(crate) fn ignored(&mut self, payload: &[u8]) {
        self.say(payload);
        assert_eq!(self.poll(), Ok(Event::NeedInput), "{payload:?}");
        assert_eq!(self.heard(), Vec::<Vec<u8>>::new());
    }

    /// The payloads that the transport has sent since the last time.
    pub(crate) fn heard(&mut self) -> Vec<Vec<u8>> {
        let output = take_output(&mut self.transport);
        self.unread.extend(output);
        if self.identification.is_empty()
            && let Some(end) = self.unread.iter().position(|byte| *byte == b'\n')
        {
            self.identification = self.unread[..end - 1].to_vec();
            self.unread.drain(..=end);
        }
        let mut payloads = Vec::new();
        while let Some(payload) = self.next_payload() {
            match payload[0] {
                msg::KEXINIT => self.kexinit_in.clone_from(&payload),
                msg::KEX_ECDH_INIT => self.public = payload[5..].to_vec(),
                msg::KEX_ECDH_REPLY => self.conclude(&payload),
                msg::NEWKEYS => self.on_newkeys(),
                _ => {}
            }
            payloads.push(payload);
        }
        payloads
    }

    fn next_payload(&mut self) -> Option<Vec<u8>> {
        let head_length = self.opener.head_length();
        let head = self.unread.get_mut(..head_length)?;
        let length = self.opener.open_length(self.sequence_in, head).unwrap() as usize;
        let total = 4 + length + self.opener.tag_length();
        let mut packet: Vec<u8> = self.unread.drain(..total).collect();
        self.opener.open(self.sequence_in, &mut packet).unwrap();
        self.sequence_in = self.sequence_in.wrapping_add(1);
        Some(packet[5..4 + length - usize::from(packet[4])].to_vec())
    }

    fn on_newkeys(&mut self) {
        self.opener = self.next_opener.take().expect("no key exchange");
        if self.offer.strict {
            self.sequence_in = 0;
        }
    }

    fn conclude(&mut self, reply: &[u8]) {
        let mut reader = Reader::new(reply);
        reader.u8().unwrap();
        let (blob, public) = (reader.string().unwrap(), reader.string().unwrap());
        let secret = self.exchange.take().unwrap().finish(public).unwrap();
        let hash = self.exchange_hash(blob, public, &secret);
        self.take_secret(&hash, &secret);
    }

    fn exchange_hash(&self, host_key: &[u8], server: &[u8], secret: &SharedSecret) -> Vec<u8> {
        let ours = [IDENTIFICATION, &self.kexinit_out[..]];
        let theirs = [&self.identification[..], &self.kexinit_in[..]];
        let (client, host) = match self.role {
            Role::Server => (ours, theirs),
            Role::Client => (theirs, ours),
        };
        let mut strings = Vec::new();
        for string in [
            client[0],
            host[0],
            client[1],
            host[1],
            host_key,
            &self.public,
            server,
        ] {
            strings.put_string(string);
        }
        let hash = digest(self.offer.kex.hash(), &[&strings, secret.encoded()]);
        hash.as_ref().to_vec()
    }

    fn take_secret(&mut self, exchange_hash: &[u8], secret: &SharedSecret) {
        if self.session_id.is_empty() {
            self.session_id = exchange_hash.to_vec();
        }
        let (cipher, mac) = (self.offer.cipher, self.offer.mac);
        let key = |letter: u8, length: usize| {
            let mut key = vec![0; length];
            let hash = self.offer.kex.hash();
            derive_key(
                hash,
                secret,
                exchange_hash,
                letter,
                &self.session_id,
                &mut key,
            );
            key
        };
        let keys = |[iv, encryption, integrity]: [u8; 3]| {
            (
                key(encryption, cipher.key_length()),
                key(iv, cipher.iv_length()),
                key(integrity, mac.length()),
            )
        };
        let (out, into) = match self.role {
            Role::Server => (keys(*b"ACE"), keys(*b"BDF")),
            Role::Client => (keys(*b"BDF"), keys(*b"ACE")),
        };
        let mac = (!cipher.is_aead()).then_some(mac);
        self.next_sealer = Sealer::new(cipher, mac, &out.0, &out.1, &out.2).ok();
        self.next_opener = Opener::new(cipher, mac, &into.0, &into.1, &into.2).ok();
    }
}

/// KEX_ECDH_REPLY.
pub(crate) fn kex_reply(host_key: &[u8], public: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut payload = vec![msg::KEX_ECDH_REPLY];
    for field in [host_key, public, signature] {
        payload.put_string(field);
    }
    payload
}
