//! What the relay remembers of a connection: one small entry for each channel, and the replies owed.
//!
//! Channel numbers stay end to end: the ledger knows who gave which, so that a packet for a channel
//! that was never opened is cut here, and so that a container opens no channel that its user did not
//! ask for. It is updated by control packets only.

use std::collections::HashMap;

use ssh_proto::Error;
use ssh_proto::msg::{self, OpenFailure};
use ssh_proto::wire::Put;

use super::Side;
use super::classify::Control;
use super::observe::{ChannelKind, Note};
use super::replies::{Refused, Replies, TooMany};

/// Channels of one connection, both ways together. The daemon allows fewer.
const MOST_CHANNELS: usize = 1024;

/// Requests that wait for their reply, the global ones of one side or those of one channel. They cost
/// nothing here; the other end has to remember them too.
const MOST_OWED: u32 = 16 * 1024;

/// What becomes of a control packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It goes to the other side as it is.
    Forward,
    /// It goes to the other side, and behind it so many times this payload of ours.
    ForwardThen(usize, Vec<u8>),
    /// It stays here.
    Drop,
    /// It stays here, and its sender gets this payload.
    Answer(Vec<u8>),
}

/// What a client asked for that lets the container open channels of the matching kinds.
#[derive(Debug, Default)]
struct Invitations {
    tcpip: bool,
    streamlocal: bool,
    agent: bool,
    x11: bool,
}

/// One channel; each field for the client's side and the daemon's.
#[derive(Debug)]
struct Channel {
    kind: ChannelKind,
    numbers: PerSide<u32>,
    /// Replies to channel requests that the side waits for.
    awaits: PerSide<Replies>,
    closed: PerSide<bool>,
}

#[derive(Debug, Default, Clone, Copy)]
struct PerSide<T> {
    client: T,
    daemon: T,
}

impl<T> PerSide<T> {
    fn of(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Daemon => &self.daemon,
        }
    }

    fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Daemon => &mut self.daemon,
        }
    }
}

/// The books of one relayed connection.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Open channels, by the client's number.
    channels: HashMap<u32, Channel>,
    /// The client's number of each open channel, by the daemon's.
    by_daemon_number: HashMap<u32, u32>,
    /// Opened and not yet answered, with the number that the side gave.
    opening: PerSide<Vec<(u32, ChannelKind)>>,
    /// Replies to global requests that each side waits for.
    awaits: PerSide<Replies>,
    invited: Invitations,
    /// What the last packet did to a channel.
    change: Option<Note<'static>>,
}

impl Ledger {
    /// The channel that the last packet opened or closed, told once.
    pub(super) fn take_change(&mut self) -> Option<Note<'static>> {
        self.change.take()
    }

    /// Rules on a control packet of `from`, and books it.
    ///
    /// # Errors
    /// `from` broke a rule; its connection is to be cut.
    pub(super) fn rule(&mut self, from: Side, control: Control<'_>) -> Result<Ruling, Error> {
        match control {
            Control::GlobalRequest { name, want_reply } => {
                self.global_request(from, name, want_reply)
            }
            Control::GlobalReply => self.global_reply(from),
            Control::Open { kind, sender } => self.open(from, kind, sender),
            Control::OpenConfirmation { recipient, sender } => {
                self.confirm(from, recipient, sender)
            }
            Control::OpenFailure { recipient } => {
                self.take_opening(from.other(), recipient)?;
                Ok(Ruling::Forward)
            }
            Control::Eof { recipient } => {
                self.channel(from, recipient)?;
                Ok(Ruling::Forward)
            }
            Control::Close { recipient } => self.close(from, recipient),
            Control::Request {
                recipient,
                name,
                want_reply,
            } => self.request(from, recipient, name, want_reply),
            Control::Reply { recipient } => {
                let awaits = self.channel(from, recipient)?.awaits.of_mut(from.other());
                let due = awaits.reply().ok_or(UNSOLICITED)?;
                Ok(forward_then(due, || channel_failure(recipient)))
            }
        }
    }

    /// Books a control packet of `from` that the platform does not allow, and rules how it is refused.
    ///
    /// # Errors
    /// `from` broke a rule; its connection is to be cut.
    pub(super) fn refuse(&mut self, from: Side, control: Control<'_>) -> Result<Ruling, Error> {
        match control {
            Control::GlobalRequest { want_reply, .. } => self.refuse_globally(from, want_reply),
            Control::Open { sender, .. } => {
                self.check_new_number(from, sender)?;
                Ok(refuse_open(
                    sender,
                    OpenFailure::AdministrativelyProhibited,
                    "the platform does not allow it",
                ))
            }
            Control::Request {
                recipient,
                want_reply,
                ..
            } => self.refuse_request(from, recipient, want_reply),
            // There is nothing else to ask for.
            other => self.rule(from, other),
        }
    }

    fn global_request(
        &mut self,
        from: Side,
        name: &[u8],
        want_reply: bool,
    ) -> Result<Ruling, Error> {
        // Host keys belong to the hop (OpenSSH PROTOCOL section 2.5): each hop has its own.
        let ours = [
            &b"hostkeys-00@openssh.com"[..],
            b"hostkeys-prove-00@openssh.com",
        ];
        if ours.contains(&name) {
            return self.refuse_globally(from, want_reply);
        }
        if from == Side::Client {
            self.invited.tcpip |= name == b"tcpip-forward";
            self.invited.streamlocal |= name == b"streamlocal-forward@openssh.com";
        }
        if want_reply {
            self.awaits.of_mut(from).ask(MOST_OWED)?;
        }
        Ok(Ruling::Forward)
    }

    /// A refusal of ours may not overtake replies that the other end still owes.
    fn refuse_globally(&mut self, from: Side, want_reply: bool) -> Result<Ruling, Error> {
        if !want_reply {
            return Ok(Ruling::Drop);
        }
        Ok(match self.awaits.of_mut(from).refuse()? {
            Refused::Now => Ruling::Answer(vec![msg::REQUEST_FAILURE]),
            Refused::Later => Ruling::Drop,
        })
    }

    fn global_reply(&mut self, from: Side) -> Result<Ruling, Error> {
        let due = self.awaits.of_mut(from.other()).reply();
        let due = due.ok_or(UNSOLICITED)?;
        Ok(forward_then(due, || vec![msg::REQUEST_FAILURE]))
    }

    fn open(&mut self, from: Side, kind: &[u8], sender: u32) -> Result<Ruling, Error> {
        self.check_new_number(from, sender)?;
        if from == Side::Daemon && !self.may_container_open(kind) {
            return Ok(refuse_open(
                sender,
                OpenFailure::AdministrativelyProhibited,
                "the user did not ask for it",
            ));
        }
        let count = self.channels.len() + self.opening.client.len() + self.opening.daemon.len();
        if count >= MOST_CHANNELS {
            return Ok(refuse_open(
                sender,
                OpenFailure::ResourceShortage,
                "too many channels",
            ));
        }
        self.opening
            .of_mut(from)
            .push((sender, ChannelKind::of(kind)));
        Ok(Ruling::Forward)
    }

    fn check_new_number(&self, from: Side, sender: u32) -> Result<(), Error> {
        if self.is_taken(from, sender) {
            return Err(Error::Misbehaved("channel number opened twice"));
        }
        Ok(())
    }

    /// Containers are not trusted: what would act on the user's machine needs the user's wish.
    fn may_container_open(&self, kind: &[u8]) -> bool {
        match kind {
            b"forwarded-tcpip" => self.invited.tcpip,
            b"forwarded-streamlocal@openssh.com" => self.invited.streamlocal,
            b"auth-agent@openssh.com" | b"auth-agent" => self.invited.agent,
            b"x11" => self.invited.x11,
            b"session" | b"tun@openssh.com" => false,
            other => !other.starts_with(b"direct-"),
        }
    }

    fn confirm(&mut self, from: Side, recipient: u32, sender: u32) -> Result<Ruling, Error> {
        let kind = self.take_opening(from.other(), recipient)?;
        if self.is_taken(from, sender) {
            return Err(Error::Misbehaved("channel number given twice"));
        }
        let numbers = match from {
            Side::Daemon => PerSide {
                client: recipient,
                daemon: sender,
            },
            Side::Client => PerSide {
                client: sender,
                daemon: recipient,
            },
        };
        self.by_daemon_number.insert(numbers.daemon, numbers.client);
        self.change = Some(Note::Opened(kind));
        let channel = Channel {
            kind,
            numbers,
            awaits: PerSide::default(),
            closed: PerSide::default(),
        };
        self.channels.insert(numbers.client, channel);
        Ok(Ruling::Forward)
    }

    fn request(
        &mut self,
        from: Side,
        recipient: u32,
        name: &[u8],
        want_reply: bool,
    ) -> Result<Ruling, Error> {
        let channel = self.channel(from, recipient)?;
        if want_reply {
            channel.awaits.of_mut(from).ask(MOST_OWED)?;
        }
        if from == Side::Client {
            self.invited.agent |= name == b"auth-agent-req@openssh.com";
            self.invited.x11 |= name == b"x11-req";
        }
        Ok(Ruling::Forward)
    }

    /// A refusal of ours may not overtake replies of the other end, nor follow its CLOSE.
    fn refuse_request(
        &mut self,
        from: Side,
        recipient: u32,
        want_reply: bool,
    ) -> Result<Ruling, Error> {
        let channel = self.channel(from, recipient)?;
        if !want_reply || *channel.closed.of(from.other()) {
            return Ok(Ruling::Drop);
        }
        let number = *channel.numbers.of(from);
        Ok(match channel.awaits.of_mut(from).refuse()? {
            Refused::Now => Ruling::Answer(channel_failure(number)),
            Refused::Later => Ruling::Drop,
        })
    }

    fn close(&mut self, from: Side, recipient: u32) -> Result<Ruling, Error> {
        let channel = self.channel(from, recipient)?;
        *channel.closed.of_mut(from) = true;
        if *channel.closed.of(from.other()) {
            let numbers = channel.numbers;
            self.change = Some(Note::Closed(channel.kind));
            self.channels.remove(&numbers.client);
            self.by_daemon_number.remove(&numbers.daemon);
        }
        Ok(Ruling::Forward)
    }

    /// The open channel that a packet of `from` is about: it bears the other side's number.
    fn channel(&mut self, from: Side, recipient: u32) -> Result<&mut Channel, Error> {
        let number = match from {
            Side::Daemon => Some(recipient),
            Side::Client => self.by_daemon_number.get(&recipient).copied(),
        };
        let channel = number.and_then(|number| self.channels.get_mut(&number));
        match channel {
            Some(channel) if !channel.closed.of(from) => Ok(channel),
            _ => Err(Error::Misbehaved("message for a channel that is not open")),
        }
    }

    /// Whether `side` has given this number to a channel, open or not yet.
    fn is_taken(&self, side: Side, number: u32) -> bool {
        let is_open = match side {
            Side::Client => self.channels.contains_key(&number),
            Side::Daemon => self.by_daemon_number.contains_key(&number),
        };
        is_open || self.opening.of(side).iter().any(|open| open.0 == number)
    }

    /// The open of `side` with this number is answered.
    fn take_opening(&mut self, side: Side, number: u32) -> Result<ChannelKind, Error> {
        let opening = self.opening.of_mut(side);
        let position = opening
            .iter()
            .position(|open| open.0 == number)
            .ok_or(UNSOLICITED)?;
        Ok(opening.swap_remove(position).1)
    }
}

impl From<TooMany> for Error {
    fn from(_: TooMany) -> Self {
        Self::Limit("requests without replies")
    }
}

const UNSOLICITED: Error = Error::Misbehaved("reply to nothing that was asked");

fn forward_then(times: usize, payload: impl FnOnce() -> Vec<u8>) -> Ruling {
    match times {
        0 => Ruling::Forward,
        times => Ruling::ForwardThen(times, payload()),
    }
}

fn channel_failure(recipient: u32) -> Vec<u8> {
    let mut payload = vec![msg::CHANNEL_FAILURE];
    payload.put_u32(recipient);
    payload
}

fn refuse_open(recipient: u32, reason: OpenFailure, text: &str) -> Ruling {
    let mut payload = vec![msg::CHANNEL_OPEN_FAILURE];
    payload.put_u32(recipient);
    payload.put_u32(reason as u32);
    payload.put_string(text.as_bytes());
    payload.put_string(b"");
    Ruling::Answer(payload)
}

#[cfg(test)]
mod tests;
