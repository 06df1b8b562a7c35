//! The transport layer (RFC 4253): identification, packets, key exchange and rekeying, for both roles.
//!
//! A [`Transport`] is a state machine without I/O. Its owner, in this order and again and again:
//!
//! 1. reads from the stream into [`Transport::input`] and says how much with [`Transport::filled`];
//! 2. calls [`Transport::poll`] until it says [`Event::NeedInput`], using each packet before the next
//!    call and answering with [`Transport::send`];
//! 3. writes [`Transport::output`] to the stream and says how much with [`Transport::sent`];
//! 4. calls [`Transport::handle_timeout`] when [`Transport::poll_timeout`] has come.
//!
//! What the layer above gets are messages 5, 6 and 50 to 79 until [`Transport::set_authenticated`],
//! and 80 to 82 and 90 to 100 afterwards. All else is dealt with here, by the table in
//! [`table`]. Which message may come when inside a method or a channel is left to those layers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::crypto::random::Random;
use crate::error::Error;
use crate::key::PublicKey;
use crate::msg;
use crate::wire::{Put, Reader, printable};

mod buffer;
#[cfg(fuzzing)]
mod clear;
mod config;
mod exchange;
mod ext_info;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hold;
mod ident;
mod keying;
mod memory;
mod negotiate;
mod packet;
pub mod table;

use buffer::Buffer;
use exchange::Exchange;
use hold::Hold;
use packet::{Frame, Inbound, Outbound};
use table::{Stage, Verdict, verdict};

pub use config::{Config, RekeyLimits};
pub use ext_info::Extensions;
pub use negotiate::Negotiated;

/// Output beyond which [`Transport::room`] says that others should stop producing: two large reads.
const OUTPUT_LIMIT: usize = 256 * 1024;

/// Output beyond which input is not looked at: only a peer that asks without reading gets there.
const REPLY_LIMIT: usize = 2 * OUTPUT_LIMIT;

/// A key exchange takes no longer; a stalled one would hold back what waits for it.
const KEX_TIMEOUT: Duration = Duration::from_secs(60);

/// Large buffers that are not filled once in so long are given back.
const KEEP_BUFFERS: Duration = Duration::from_secs(1);

/// What a peer may send between its first NEWKEYS and the end of authentication.
const PACKETS_BEFORE_AUTH: u64 = 64;
const BYTES_BEFORE_AUTH: u64 = 256 * 1024;

/// Pongs that may wait for the end of a key exchange.
const HELD_PONGS: usize = 1024;

/// The longest text of a DISCONNECT that is kept.
const DESCRIPTION_LIMIT: usize = 400;

/// The length of [`Transport::input`] while [`Transport::is_at_rest`].
pub const FIRST_INPUT: usize = buffer::FIRST_SIZE;

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The side that connects.
    Client,
    /// The side that is connected to and has host keys.
    Server,
}

/// What [`Transport::poll`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing to do before more input comes.
    NeedInput,
    /// Nothing is done before output has left: the peer asks faster than it reads.
    NeedOutput,
    /// A payload for the layer above, at [`Transport::packet`] until the next poll.
    Packet,
    /// Client: the host signed with [`Transport::host_key`]. Answer with
    /// [`Transport::accept_host_key`], or [`Transport::fail`] if it is not the right host.
    HostKey,
}

/// Proof that the application accepted the host's key; user authentication asks a client for it.
#[derive(Debug)]
pub struct HostKeyAccepted(());

/// One end of an SSH connection, up to and including the packets of RFC 4253.
pub struct Transport {
    role: Role,
    config: Arc<Config>,
    random: Box<dyn Random>,
    input: Buffer,
    output: Buffer,
    inbound: Inbound,
    outbound: Outbound,
    hold: Hold,
    held_pongs: usize,
    stage: Stage,
    identification: ident::Reading,
    their_identification: Option<Vec<u8>>,
    exchange: Exchange,
    /// The peer's KEXINIT has come and its NEWKEYS has not.
    peer_keying: bool,
    drop_guess: bool,
    negotiated: Option<Negotiated>,
    session_id: Vec<u8>,
    host_key: Option<PublicKey>,
    extensions: Extensions,
    ext_infos: u8,
    /// The packet that was handed out last; it leaves the input with the next poll.
    current: Option<Frame>,
    kex_deadline: Option<Instant>,
    /// When to look whether large buffers are still needed.
    give_back_at: Option<Instant>,
    keyed_at: Instant,
    failed: Option<Error>,
}

impl Transport {
    /// Starts a connection: identification and KEXINIT are ready as output.
    pub fn new(role: Role, config: Arc<Config>, random: Box<dyn Random>, now: Instant) -> Self {
        let mut transport = Self {
            role,
            config,
            random,
            input: Buffer::default(),
            output: Buffer::default(),
            inbound: Inbound::new(),
            outbound: Outbound::new(),
            hold: Hold::default(),
            held_pongs: 0,
            stage: Stage::FirstKex { strict: false },
            identification: ident::Reading::default(),
            their_identification: None,
            exchange: Exchange::Idle,
            peer_keying: false,
            drop_guess: false,
            negotiated: None,
            session_id: Vec::new(),
            host_key: None,
            extensions: Extensions::default(),
            ext_infos: 0,
            current: None,
            kex_deadline: None,
            give_back_at: None,
            keyed_at: now,
            failed: None,
        };
        transport
            .output
            .append(transport.config.identification.as_bytes());
        transport.output.append(b"\r\n");
        transport.start_rekey(now);
        transport
    }

    // Input and output.

    /// Room for what is read from the stream; never empty.
    pub fn input(&mut self) -> &mut [u8] {
        self.input.spare_for_read(self.inbound.wanted())
    }

    /// The first `count` bytes of [`Self::input`] were read.
    pub fn filled(&mut self, count: usize) {
        self.input.add(count);
    }

    /// What is to be written to the stream.
    pub fn output(&self) -> &[u8] {
        self.output.filled()
    }

    /// The first `count` bytes of [`Self::output`] were written.
    pub fn sent(&mut self, count: usize) {
        self.output.consume(count);
    }

    /// True where [`Self::input`] would have to take memory first. Who reads from a stream on which most
    /// likely nothing waits does better to read somewhere else, up to [`FIRST_INPUT`] bytes, and to copy.
    pub fn is_at_rest(&self) -> bool {
        self.input.is_at_rest()
    }

    /// There is nothing to read or to write now: memory that is not needed for that is given back, at
    /// once or, if it is much, with the next [`Self::poll_timeout`].
    pub fn rest(&mut self, now: Instant) {
        if self.stage != Stage::Open {
            self.input.release();
            self.output.release();
            return;
        }
        let (input, output) = (self.input.rest(), self.output.rest());
        if (input || output) && self.give_back_at.is_none() {
            self.give_back_at = now.checked_add(KEEP_BUFFERS);
        }
    }

    // Time.

    /// When [`Self::handle_timeout`] is due, if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.kex_deadline, self.give_back_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Tells that time has passed.
    ///
    /// # Errors
    /// A key exchange that takes too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.kex_deadline.is_some_and(|deadline| deadline <= now) {
            return Err(self.fail(Error::Timeout("key exchange")));
        }
        if self.give_back_at.is_some_and(|at| at <= now) {
            self.give_back_at = None;
            self.input.give_back();
            self.output.give_back();
        }
        Ok(())
    }

    // Facts.

    /// The session identifier (RFC 4253 section 7.2); empty before the first key exchange.
    pub fn session_id(&self) -> &[u8] {
        &self.session_id
    }

    /// What the last key exchange agreed on.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.negotiated.as_ref()
    }

    /// The peer's identification, without its line end.
    pub fn peer_identification(&self) -> Option<&[u8]> {
        self.their_identification.as_deref()
    }

    /// What the peer said in EXT_INFO.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Client: the key that the host has signed with.
    pub fn host_key(&self) -> Option<&PublicKey> {
        match &self.exchange {
            Exchange::Undecided(agreed) => Some(&agreed.host_key),
            _ => self.host_key.as_ref(),
        }
    }

    /// Why the connection was ended, if it was.
    pub fn failure(&self) -> Option<&Error> {
        self.failed.as_ref()
    }

    // Packets.

    /// Works through the input up to something that its owner has to see.
    ///
    /// # Errors
    /// The connection is over. A DISCONNECT that says why is in the output, unless the peer was the
    /// one to end it.
    pub fn poll(&mut self, now: Instant) -> Result<Event, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let polled = self.poll_inner(now);
        polled.map_err(|error| self.fail(error))
    }

    /// The payload of the packet that was polled last: its number first, never empty.
    pub fn packet(&self) -> &[u8] {
        let frame = self.current.as_ref();
        frame
            .map(|frame| self.input.part(frame.payload.clone()))
            .unwrap_or_default()
    }

    /// Overwrites the packet that was polled last: it held a secret.
    pub fn wipe_packet(&mut self) {
        if let Some(frame) = &self.current
            && let Some(payload) = self.input.filled_mut().get_mut(frame.payload.clone())
        {
            payload.zeroize();
        }
    }

    /// Sends one payload, given in parts. During a key exchange it waits for the end of it.
    pub fn send(&mut self, parts: &[&[u8]]) {
        if self.holds() {
            if let Err(error) = self.hold.push(parts) {
                self.fail(error);
            }
        } else {
            self.seal(parts);
        }
    }

    /// Sends a payload made of `head` and a string of up to `room` bytes that `fill` writes in place.
    ///
    /// `fill` gives the length of what it wrote, and a result that is handed through. Nothing is sent
    /// where the length is 0. CHANNEL_DATA from a pipe costs no copy this way.
    pub fn send_with<R>(
        &mut self,
        head: &[u8],
        room: usize,
        fill: impl FnOnce(&mut [u8]) -> (usize, R),
    ) -> Result<R, Error> {
        let result = if self.failed.is_some() {
            Err(Error::Bug("sending after the end"))
        } else if self.holds() {
            self.hold.push_with(head, room, fill)
        } else {
            self.outbound
                .seal_with(&mut self.output, self.random.as_mut(), head, room, fill)
        };
        result.map_err(|error| self.fail(error))
    }

    /// How many bytes of output may still be produced before its producers should wait. Payloads
    /// that wait for a key exchange count too.
    pub fn room(&self) -> usize {
        OUTPUT_LIMIT.saturating_sub(self.output.len() + self.hold.len())
    }

    /// Answers the packet that was polled last with SSH_MSG_UNIMPLEMENTED (RFC 4253 section 11.4).
    pub fn send_unimplemented(&mut self) {
        let sequence = self.inbound.last_sequence().to_be_bytes();
        self.seal(&[&[msg::UNIMPLEMENTED], &sequence]);
    }

    /// A user is authenticated: the connection protocol begins.
    pub fn set_authenticated(&mut self) {
        if self.stage == Stage::Authentication {
            self.stage = Stage::Open;
            self.input.read_much();
            self.inbound.take_long();
        }
    }

    /// Ends the connection: a DISCONNECT with the reason is the last output. The first error counts.
    pub fn fail(&mut self, error: Error) -> Error {
        if let Some(first) = &self.failed {
            return first.clone();
        }
        if let Some(reason) = error.reason() {
            let mut payload = vec![msg::DISCONNECT];
            payload.put_u32(reason as u32);
            payload.put_string(error.description().as_bytes());
            payload.put_string(b"");
            // If not even this can be sealed, nothing can.
            let _ = self
                .outbound
                .seal(&mut self.output, self.random.as_mut(), &[&payload]);
        }
        self.failed = Some(error.clone());
        error
    }

    fn poll_inner(&mut self, now: Instant) -> Result<Event, Error> {
        if self.their_identification.is_none() {
            self.their_identification = self.identification.read(self.role, &mut self.input)?;
            if self.their_identification.is_none() {
                return Ok(Event::NeedInput);
            }
        }
        loop {
            if let Some(frame) = self.current.take() {
                self.input.consume(frame.total);
            }
            if matches!(self.exchange, Exchange::Undecided(_)) {
                return Ok(Event::HostKey);
            }
            if self.output.len() + self.hold.len() >= REPLY_LIMIT && !self.peer_keying {
                return self.wait_for_output();
            }
            let Some(frame) = self.inbound.open(&mut self.input)? else {
                return Ok(Event::NeedInput);
            };
            self.current = Some(frame);
            if self.is_for_the_layer_above(now)? {
                return Ok(Event::Packet);
            }
        }
    }

    /// What is held leaves only after more input, so it cannot be waited for.
    fn wait_for_output(&self) -> Result<Event, Error> {
        if self.output.is_empty() {
            return Err(Error::Limit("answers during a key exchange"));
        }
        Ok(Event::NeedOutput)
    }

    /// Deals with the current packet if it is the transport's; true if it is not.
    #[inline]
    fn is_for_the_layer_above(&mut self, now: Instant) -> Result<bool, Error> {
        let number = self
            .packet()
            .first()
            .copied()
            .ok_or(Error::Bug("empty payload"))?;
        match verdict(self.role, self.stage, self.peer_keying, number) {
            Verdict::Cut => Err(Error::Misbehaved("message not allowed in this state")),
            Verdict::Ignore => Ok(false),
            Verdict::Unimplemented => {
                self.send_unimplemented();
                Ok(false)
            }
            Verdict::Accept if (msg::USERAUTH_REQUEST..msg::PING).contains(&number) => {
                self.check_budget()?;
                Ok(true)
            }
            Verdict::Accept => {
                self.check_budget()?;
                self.handle(number, now)
            }
        }
    }

    /// Someone who is not authenticated may not keep us busy.
    fn check_budget(&self) -> Result<(), Error> {
        let usage = self.inbound.usage;
        if self.stage != Stage::Open
            && (usage.packets > PACKETS_BEFORE_AUTH || usage.bytes > BYTES_BEFORE_AUTH)
        {
            return Err(Error::Limit("too much before authentication"));
        }
        Ok(())
    }

    fn handle(&mut self, number: u8, now: Instant) -> Result<bool, Error> {
        match number {
            msg::DISCONNECT => Err(self.disconnected()),
            msg::IGNORE | msg::UNIMPLEMENTED | msg::DEBUG | msg::PONG => Ok(false),
            msg::SERVICE_REQUEST | msg::SERVICE_ACCEPT => Ok(true),
            msg::EXT_INFO => self.on_ext_info().map(|()| false),
            msg::KEXINIT => self.on_kexinit(now).map(|()| false),
            msg::NEWKEYS => self.on_newkeys(now).map(|()| false),
            msg::PING => self.on_ping().map(|()| false),
            _ => self.on_kex_message(number).map(|()| false),
        }
    }

    fn disconnected(&self) -> Error {
        let mut reader = Reader::new(self.packet());
        let _ = reader.u8();
        let reason = reader.u32().unwrap_or_default();
        let text = reader.string().unwrap_or_default();
        Error::Disconnected {
            reason,
            description: printable(text, DESCRIPTION_LIMIT),
        }
    }

    /// RFC 8308 section 2.4: the first packet after NEWKEYS, and from a server once more before
    /// USERAUTH_SUCCESS.
    fn on_ext_info(&mut self) -> Result<(), Error> {
        let allowed = match self.role {
            Role::Server => self.ext_infos == 0 && self.inbound.usage.packets == 1,
            Role::Client => self.ext_infos < 2,
        };
        if !allowed {
            return Err(Error::Misbehaved("EXT_INFO out of place"));
        }
        self.ext_infos += 1;
        self.extensions = ext_info::parse(self.packet())?;
        Ok(())
    }

    /// OpenSSH PROTOCOL section 1.9. A pong may not be sent during a key exchange.
    fn on_ping(&mut self) -> Result<(), Error> {
        let mut reader = Reader::new(self.packet());
        reader.u8()?;
        let data = reader.string()?.to_vec();
        reader.finish()?;
        if self.holds() {
            self.held_pongs += 1;
            if self.held_pongs > HELD_PONGS {
                return Err(Error::Limit("pings during a key exchange"));
            }
        }
        let mut payload = vec![msg::PONG];
        payload.put_string(&data);
        self.send(&[&payload]);
        Ok(())
    }

    fn seal(&mut self, parts: &[&[u8]]) {
        if self.failed.is_some() {
            return;
        }
        let sealed = self
            .outbound
            .seal(&mut self.output, self.random.as_mut(), parts);
        if let Err(error) = sealed {
            self.fail(error);
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("role", &self.role)
            .field("stage", &self.stage)
            .finish()
    }
}

/// Lays out `head` and a string that `fill` writes; gives the length of the string.
#[inline]
fn fill_string<R>(
    payload: &mut [u8],
    head: &[u8],
    room: usize,
    fill: impl FnOnce(&mut [u8]) -> (usize, R),
) -> Result<(usize, R), Error> {
    const BOUNDS: Error = Error::Bug("payload bounds");
    let (to, rest) = payload.split_at_mut_checked(head.len()).ok_or(BOUNDS)?;
    to.copy_from_slice(head);
    let (length, rest) = rest.split_first_chunk_mut::<4>().ok_or(BOUNDS)?;
    let (filled, result) = fill(rest.get_mut(..room).ok_or(BOUNDS)?);
    let filled = filled.min(room);
    *length = u32::try_from(filled).map_err(|_| BOUNDS)?.to_be_bytes();
    Ok((filled, result))
}
