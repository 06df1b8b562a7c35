//! One connection of a scripted peer, in either role: identification, packets and key exchange, each
//! step when its owner says so.
//!
//! It keeps the books that a good peer keeps (what was sent enters the exchange hash, NEWKEYS changes the
//! keys), so that it can break a rule and still go on. What it sends is its owner's affair.

use std::io;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ssh_proto::crypto::kex::{ClientExchange, SharedSecret, respond};
use ssh_proto::crypto::random::SystemRandom;
use ssh_proto::key::PrivateKey;
use ssh_proto::msg;
use ssh_proto::transport::Role;
use ssh_proto::wire::{Put, Reader, printable};

use crate::client::Credentials;
use crate::end::End;
use crate::kex::{Agreed, KexInit, Keys, Offer, Transcript};
use crate::link::Link;
use crate::packet::{self, Fault, Packets};

/// Ours, without its line end.
pub const IDENTIFICATION: &str = "SSH-2.0-misbehave";

/// What is kept of texts in DISCONNECT and of plain text.
const TEXT_LIMIT: usize = 400;

/// What is kept of what the other side says; a case looks at a few messages at most.
const MOST_HEARD: usize = 4096;

/// The longest first line of a server, and all lines before its identification.
const MOST_LINES: usize = 64 * 1024;

/// A key exchange that is going on.
#[derive(Default)]
struct Exchange {
    ours: Option<Vec<u8>>,
    theirs: Option<Vec<u8>>,
    /// Client: what the reply is waited for with.
    client: Option<ClientExchange>,
    /// The client's public value.
    public: Option<Vec<u8>>,
    keys: Option<Keys>,
    sent_newkeys: bool,
    got_newkeys: bool,
}

/// A scripted peer on a connection.
pub struct Peer {
    role: Role,
    link: Link,
    packets: Packets,
    patience: Duration,
    /// What it offers in its KEXINITs.
    pub offer: Offer,
    /// Server: what it signs with.
    host_key: Option<PrivateKey>,
    /// Client: what opens the door.
    pub credentials: Option<Credentials>,
    identification: Option<Vec<u8>>,
    their_identification: Option<Vec<u8>>,
    exchange: Exchange,
    strict: Option<bool>,
    session_id: Vec<u8>,
    heard: Vec<Vec<u8>>,
    /// What is sent is kept here until it leaves in one piece.
    corked: Option<Vec<u8>>,
    /// What is sent leaves in pieces of so many bytes.
    chunk: usize,
    /// The text of a DISCONNECT, as it came.
    last_words: Vec<u8>,
    /// Nothing more can be sent.
    finished: bool,
    /// The service ssh-userauth was accepted.
    pub served: bool,
    /// A user is logged in.
    pub authenticated: bool,
    /// The other side's number of the channel that was opened last.
    pub channel: Option<u32>,
}

impl Peer {
    /// A client on `stream`. No wait takes longer than `patience`.
    ///
    /// # Errors
    /// The system does not let the stream be set up.
    pub fn client(stream: TcpStream, offer: Offer, patience: Duration) -> io::Result<Self> {
        Self::new(Role::Client, stream, offer, patience, None)
    }

    /// A server on `stream` that signs with `host_key`.
    ///
    /// # Errors
    /// The system does not let the stream be set up.
    pub fn server(
        stream: TcpStream,
        offer: Offer,
        patience: Duration,
        host_key: PrivateKey,
    ) -> io::Result<Self> {
        Self::new(Role::Server, stream, offer, patience, Some(host_key))
    }

    fn new(
        role: Role,
        stream: TcpStream,
        offer: Offer,
        patience: Duration,
        host_key: Option<PrivateKey>,
    ) -> io::Result<Self> {
        Ok(Self {
            role,
            link: Link::new(stream)?,
            packets: Packets::default(),
            patience,
            offer,
            host_key,
            credentials: None,
            identification: None,
            their_identification: None,
            exchange: Exchange::default(),
            strict: None,
            session_id: Vec::new(),
            heard: Vec::new(),
            corked: None,
            chunk: usize::MAX,
            last_words: Vec::new(),
            finished: false,
            served: false,
            authenticated: false,
            channel: None,
        })
    }

    // Facts.

    /// Which side it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The session identifier (RFC 4253 section 7.2); empty before the first key exchange.
    pub fn session_id(&self) -> &[u8] {
        &self.session_id
    }

    /// The other side's identification, once it came.
    pub fn their_identification(&self) -> Option<&[u8]> {
        self.their_identification.as_deref()
    }

    /// The text of the other side's DISCONNECT as it came, steering terminals or not.
    pub fn last_words(&self) -> &[u8] {
        &self.last_words
    }

    /// The packets under the present keys.
    pub fn packets(&mut self) -> &mut Packets {
        &mut self.packets
    }

    /// True once nothing more can be sent.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// True from the first KEXINIT of either side to both NEWKEYS.
    pub fn is_keying(&self) -> bool {
        self.exchange.ours.is_some() || self.exchange.theirs.is_some()
    }

    /// What came and was waited for by nobody, but for messages of the key exchange.
    pub fn heard(&self) -> &[Vec<u8>] {
        &self.heard
    }

    /// Server: signs with another key from here on.
    pub fn use_host_key(&mut self, key: PrivateKey) {
        self.host_key = Some(key);
    }

    /// Forgets what it heard.
    pub fn forget(&mut self) {
        self.heard.clear();
    }

    // Sending. An error is how the connection ended.

    /// Bytes as they are.
    pub fn say_raw(&mut self, bytes: &[u8]) -> Result<(), End> {
        if let Some(corked) = &mut self.corked {
            corked.extend_from_slice(bytes);
            return Ok(());
        }
        for chunk in bytes.chunks(self.chunk) {
            match self.link.write(chunk, self.deadline()) {
                // Its last words may have come before.
                Err(End::Reset) => return Err(self.end()),
                result => result?,
            }
        }
        Ok(())
    }

    /// From here on, what is sent is kept.
    pub fn cork(&mut self) {
        self.corked.get_or_insert_default();
    }

    /// What was kept leaves in one piece.
    pub fn uncork(&mut self) -> Result<(), End> {
        let bytes = self.corked.take().unwrap_or_default();
        self.say_raw(&bytes)
    }

    /// From here on, what is sent leaves in pieces of `size` bytes.
    pub fn chunk(&mut self, size: usize) {
        self.chunk = size.max(1);
    }

    /// A payload in a packet, as it should be.
    pub fn say(&mut self, payload: &[u8]) -> Result<(), End> {
        let packet = self.packets.seal(payload)?;
        self.say_raw(&packet)
    }

    /// A payload in a packet with a fault.
    pub fn say_with(&mut self, payload: &[u8], fault: Fault) -> Result<(), End> {
        let packet = self.packets.seal_with(payload, fault)?;
        self.say_raw(&packet)
    }

    /// A payload in a packet in the clear, whatever the keys.
    pub fn say_clear(&mut self, payload: &[u8]) -> Result<(), End> {
        self.say_raw(&packet::clear(payload))
    }

    /// Says that nothing more will come.
    pub fn finish(&mut self) {
        self.finished = true;
        self.link.finish();
    }

    /// An identification in pieces; `line` is what the other side makes of them.
    pub fn identify_as(&mut self, line: &[u8], pieces: &[&[u8]]) -> Result<(), End> {
        self.identification = Some(line.to_vec());
        pieces.iter().try_for_each(|piece| self.say_raw(piece))
    }

    /// The identification, unless it is sent.
    pub fn identify(&mut self) -> Result<(), End> {
        if self.identification.is_some() {
            return Ok(());
        }
        let line = IDENTIFICATION.as_bytes();
        self.identify_as(line, &[&[line, b"\r\n"].concat()])
    }

    /// This KEXINIT.
    pub fn say_kexinit(&mut self, kexinit: &KexInit) -> Result<(), End> {
        self.say_kexinit_payload(kexinit.encode())
    }

    fn say_kexinit_payload(&mut self, payload: Vec<u8>) -> Result<(), End> {
        self.say(&payload)?;
        self.exchange.ours = Some(payload);
        Ok(())
    }

    /// Client: KEX_ECDH_INIT. Waits for the server's KEXINIT first.
    pub fn say_init(&mut self) -> Result<(), End> {
        let kex = self.agree()?.kex;
        let (client, public) = ClientExchange::start(kex, &mut SystemRandom)
            .map_err(|_| End::Garbled("our own key exchange"))?;
        self.exchange.client = Some(client);
        let mut payload = vec![msg::KEX_ECDH_INIT];
        payload.put_string(&public);
        self.exchange.public = Some(public);
        self.say(&payload)
    }

    /// Server: KEX_ECDH_REPLY. Waits for the client's value first.
    pub fn say_reply(&mut self) -> Result<(), End> {
        let payload = self.reply()?;
        self.say(&payload)
    }

    /// Server: a right KEX_ECDH_REPLY that is not sent. Waits for the client's value first.
    pub fn reply(&mut self) -> Result<Vec<u8>, End> {
        let agreed = self.agree()?;
        self.hear_until(|peer| peer.exchange.public.is_some())?;
        let client = self.exchange.public.clone().unwrap_or_default();
        let (public, secret) = respond(agreed.kex, &client, &mut SystemRandom)
            .map_err(|_| End::Garbled("public value"))?;
        let key = self.host_key.as_ref();
        let key = key.ok_or(End::Garbled("a server without host key"))?;
        let blob = key.public().blob().to_vec();
        let hash = self.hash(&agreed, &blob, [&client, &public], &secret)?;
        let signature = key
            .sign(agreed.host_key, &hash)
            .map_err(|_| End::NothingInCommon("host key"))?;
        self.take_secret(&agreed, &hash, &secret);
        let mut payload = vec![msg::KEX_ECDH_REPLY];
        for field in [&blob, &public, &signature] {
            payload.put_string(field);
        }
        Ok(payload)
    }

    /// NEWKEYS, and the new keys from here on. A client waits for the reply first.
    pub fn say_newkeys(&mut self) -> Result<(), End> {
        self.hear_until(|peer| peer.exchange.keys.is_some())?;
        self.say(&[msg::NEWKEYS])?;
        self.take_sealer()
    }

    /// Uses the new keys for what is sent, NEWKEYS or not.
    pub fn take_sealer(&mut self) -> Result<(), End> {
        let keys = self.exchange.keys.as_mut();
        let sealer = keys.and_then(|keys| keys.sealer.take());
        let sealer = sealer.ok_or(End::Garbled("no keys to take"))?;
        self.packets
            .take_sealer(sealer, self.strict.unwrap_or_default());
        self.exchange.sent_newkeys = true;
        self.conclude_exchange();
        Ok(())
    }

    /// A whole later key exchange, if the other side has any; if it says UNIMPLEMENTED there is none.
    pub fn try_exchange(&mut self) -> Result<(), End> {
        let kexinit = self.offer.kexinit(self.role);
        self.say_kexinit(&kexinit)?;
        let answer = self.wait_for(&[msg::KEXINIT, msg::UNIMPLEMENTED])?;
        if answer.first() == Some(&msg::UNIMPLEMENTED) {
            self.exchange = Exchange::default();
            self.keep(answer);
            return Ok(());
        }
        self.exchange_keys()
    }

    /// A whole key exchange, or the rest of the one that is going on.
    pub fn exchange_keys(&mut self) -> Result<(), End> {
        self.identify()?;
        if self.exchange.ours.is_none() {
            let kexinit = self.offer.kexinit(self.role);
            self.say_kexinit(&kexinit)?;
        }
        self.agree()?;
        match self.role {
            Role::Client if self.exchange.public.is_none() => self.say_init()?,
            Role::Server if self.exchange.keys.is_none() => self.say_reply()?,
            _ => {}
        }
        if !self.exchange.sent_newkeys {
            self.say_newkeys()?;
        }
        self.hear_until(|peer| !peer.is_keying())
    }

    // Reading. An error is how the connection ended.

    /// The next payload, whatever it is.
    pub fn read(&mut self) -> Result<Vec<u8>, End> {
        let deadline = self.deadline();
        loop {
            if self.has_identification()? {
                let opened = self.packets.open(self.link.unread());
                match opened {
                    Ok(Some(payload)) => return self.on_payload(payload),
                    Ok(None) => {}
                    Err(error) => return Err(self.plain_text(deadline).unwrap_or(error)),
                }
            }
            match self.link.read(deadline) {
                // OpenSSH says some things in plain text where packets are expected.
                Err(End::Closed) => return Err(self.plain_text(deadline).unwrap_or(End::Closed)),
                result => result?,
            }
        }
    }

    /// Waits for one more message, and keeps it in [`Self::heard`].
    pub fn hear(&mut self) -> Result<(), End> {
        let payload = self.read()?;
        self.keep(payload);
        Ok(())
    }

    fn keep(&mut self, payload: Vec<u8>) {
        let of_kex = payload
            .first()
            .is_some_and(|number| (msg::KEXINIT..msg::USERAUTH_REQUEST).contains(number));
        if !of_kex && self.heard.len() < MOST_HEARD {
            self.heard.push(payload);
        }
    }

    /// Waits for the first message with one of these numbers, and keeps others in [`Self::heard`].
    pub fn wait_for(&mut self, numbers: &[u8]) -> Result<Vec<u8>, End> {
        self.wait_until(|payload| payload.first().is_some_and(|it| numbers.contains(it)))
    }

    /// Waits for the first message that is `wanted`, and keeps others in [`Self::heard`].
    pub fn wait_until(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, End> {
        loop {
            let payload = self.read()?;
            if wanted(&payload) {
                return Ok(payload);
            }
            self.keep(payload);
        }
    }

    /// Reads to the end.
    pub fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.hear() {
                return end;
            }
        }
    }

    fn hear_until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), End> {
        while !done(self) {
            self.hear()?;
        }
        Ok(())
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// True once the other side's identification was read. A server may send lines before it.
    fn has_identification(&mut self) -> Result<bool, End> {
        while self.their_identification.is_none() {
            let unread = self.link.unread();
            let Some(end) = unread.iter().position(|byte| *byte == b'\n') else {
                let endless = unread.len() > MOST_LINES;
                return if endless {
                    Err(End::Garbled("identification"))
                } else {
                    Ok(false)
                };
            };
            let line: Vec<u8> = unread.drain(..=end).collect();
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.starts_with(b"SSH-") {
                self.their_identification = Some(line.to_vec());
            }
        }
        Ok(true)
    }

    /// What is unread and then comes up to the end, if it is text.
    fn plain_text(&mut self, deadline: Instant) -> Option<End> {
        let looks_like_text = |bytes: &[u8]| {
            let start = bytes.get(..4)?;
            start
                .iter()
                .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
                .then_some(())
        };
        looks_like_text(self.link.unread())?;
        while self.link.unread().len() < MOST_LINES {
            match self.link.read(deadline) {
                Ok(()) => {}
                Err(End::Hang) => return None,
                Err(_) => break,
            }
        }
        Some(End::Told(printable(self.link.unread(), TEXT_LIMIT)))
    }

    fn on_payload(&mut self, payload: Vec<u8>) -> Result<Vec<u8>, End> {
        match payload.first().copied().unwrap_or_default() {
            msg::DISCONNECT => return Err(self.on_disconnect(&payload)),
            msg::KEXINIT => self.exchange.theirs = Some(payload.clone()),
            msg::KEX_ECDH_INIT if self.role == Role::Server => {
                self.exchange.public = Reader::new(payload.get(1..).unwrap_or_default())
                    .string()
                    .ok()
                    .map(<[u8]>::to_vec);
            }
            msg::KEX_ECDH_REPLY if self.role == Role::Client => self.on_reply(&payload)?,
            msg::NEWKEYS => self.on_newkeys()?,
            msg::SERVICE_ACCEPT => self.served = true,
            msg::USERAUTH_SUCCESS => self.authenticated = true,
            _ => {}
        }
        Ok(payload)
    }

    /// Behind its DISCONNECT the other side has to close the connection.
    fn on_disconnect(&mut self, payload: &[u8]) -> End {
        let mut reader = Reader::new(payload.get(1..).unwrap_or_default());
        let reason = reader.u32().unwrap_or_default();
        self.last_words = reader.string().unwrap_or_default().to_vec();
        let text = printable(&self.last_words, TEXT_LIMIT);
        let deadline = self.deadline();
        loop {
            match self.link.read(deadline) {
                Ok(()) => self.link.unread().clear(),
                Err(End::Hang) => return End::Unclosed(reason),
                Err(_) => return End::Cut { reason, text },
            }
        }
    }

    fn on_reply(&mut self, payload: &[u8]) -> Result<(), End> {
        const BAD: End = End::Garbled("key exchange reply");
        // It answers what our books know nothing of: a value that was made to be refused.
        let client = self.exchange.client.take().ok_or(End::WentOn)?;
        let agreed = self.agreed()?;
        let mut reader = Reader::new(payload.get(1..).unwrap_or_default());
        let mut field = || reader.string().map_err(|_| BAD);
        let (blob, public) = (field()?.to_vec(), field()?.to_vec());
        let secret = client.finish(&public).map_err(|_| BAD)?;
        let ours = self.exchange.public.clone().unwrap_or_default();
        let hash = self.hash(&agreed, &blob, [&ours, &public], &secret)?;
        self.take_secret(&agreed, &hash, &secret);
        Ok(())
    }

    fn on_newkeys(&mut self) -> Result<(), End> {
        let keys = self.exchange.keys.as_mut();
        let opener = keys.and_then(|keys| keys.opener.take());
        let opener = opener.ok_or(End::Garbled("NEWKEYS without an exchange"))?;
        self.packets
            .take_opener(opener, self.strict.unwrap_or_default());
        self.exchange.got_newkeys = true;
        self.conclude_exchange();
        Ok(())
    }

    fn conclude_exchange(&mut self) {
        if self.exchange.sent_newkeys && self.exchange.got_newkeys {
            self.exchange = Exchange::default();
        }
    }

    /// Waits for the other side's KEXINIT; then both have agreed.
    ///
    /// # Errors
    /// They have nothing in common, or how the connection ended.
    pub fn agree(&mut self) -> Result<Agreed, End> {
        self.hear_until(|peer| peer.exchange.theirs.is_some())?;
        self.agreed()
    }

    /// Waits for the other side's KEXINIT.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn their_kexinit(&mut self) -> Result<Vec<u8>, End> {
        self.hear_until(|peer| peer.exchange.theirs.is_some())?;
        Ok(self.exchange.theirs.clone().unwrap_or_default())
    }

    fn agreed(&mut self) -> Result<Agreed, End> {
        let [client, server] = self.by_role(&self.exchange.ours, &self.exchange.theirs);
        let agreed = Agreed::of(
            client.as_deref().unwrap_or_default(),
            server.as_deref().unwrap_or_default(),
        )?;
        // The markers count in the first exchange alone.
        self.strict.get_or_insert(agreed.strict);
        Ok(agreed)
    }

    /// The client's and the server's.
    fn by_role<T>(&self, ours: T, theirs: T) -> [T; 2] {
        match self.role {
            Role::Client => [ours, theirs],
            Role::Server => [theirs, ours],
        }
    }

    fn hash(
        &self,
        agreed: &Agreed,
        host_key: &[u8],
        publics: [&[u8]; 2],
        secret: &SharedSecret,
    ) -> Result<Vec<u8>, End> {
        const MISSING: End = End::Garbled("a key exchange without its beginning");
        let identification = self.identification.as_deref().ok_or(MISSING)?;
        let theirs = self.their_identification.as_deref().ok_or(MISSING)?;
        let kexinit = self.exchange.ours.as_deref().ok_or(MISSING)?;
        let their_kexinit = self.exchange.theirs.as_deref().ok_or(MISSING)?;
        let transcript = Transcript {
            identifications: self.by_role(identification, theirs),
            kexinits: self.by_role(kexinit, their_kexinit),
            host_key,
            publics,
        };
        Ok(transcript.hash(agreed.kex, secret))
    }

    fn take_secret(&mut self, agreed: &Agreed, hash: &[u8], secret: &SharedSecret) {
        if self.session_id.is_empty() {
            self.session_id = hash.to_vec();
        }
        let keys = Keys::derive(self.role, agreed, secret, hash, &self.session_id);
        self.exchange.keys = Some(keys);
    }
}
