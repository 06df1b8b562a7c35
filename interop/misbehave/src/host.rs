//! A server's way from the first byte to a user's session, and the question whether the client is still
//! there. Behind the client there may be a user, if it is a proxy: [`Sees`] is what that user gets.
//!
//! Stages are those of [`crate::case`], from the other end: at [`Stage::Replied`] the right reply to the
//! client's value is sent and NEWKEYS is not; at [`Stage::Session`] the client's session is confirmed.

use std::fmt;

use ssh_proto::msg;
use ssh_proto::transport::Role;
use ssh_proto::wire::{Put, Reader};

use crate::case::{Answer, Case, Stage};
use crate::client::OURS;
use crate::end::End;
use crate::payload::{open, plain, string_message, u32_at, userauth_failure};
use crate::peer::Peer;

/// Our number of a channel that no client lets a server open: its refusal shows that it is alive.
const PROBE: u32 = 0x7072_6f62;

/// More than any case reads.
const WINDOW: u32 = 1 << 20;

/// RFC 4254 section 5.2 and everybody's choice.
const MAX_PACKET: u32 = 1 << 15;

/// What the user of a proxy sees while the case happens behind it.
#[derive(Debug, Clone)]
pub enum Sees {
    /// The login is refused, with a text that has this.
    Refused(&'static str),
    /// Login, and then a DISCONNECT with a text that has this.
    Lost(&'static str),
    /// Login, these messages and no others, and the connection goes on.
    Served(Vec<Answer>),
}

impl fmt::Display for Sees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) => write!(f, "not in: {text}"),
            Self::Lost(text) => write!(f, "in, then {text}"),
            Self::Served(answers) => {
                let answers: Vec<String> = answers.iter().map(Answer::to_string).collect();
                write!(f, "in, {}", answers.join(", "))
            }
        }
    }
}

/// A row of a server.
pub struct HostCase {
    /// What is sent, and what has to come back.
    pub case: Case,
    /// What the user sees, where the client is a proxy.
    pub sees: Sees,
}

impl Case {
    /// As a row of a server behind a proxy, whose user sees this.
    pub fn seen(self, sees: Sees) -> HostCase {
        HostCase { case: self, sees }
    }
}

impl Peer {
    /// Goes on by the rules up to `stage`, from wherever it is.
    pub(crate) fn climb_as_host(&mut self, stage: Stage) -> Result<(), End> {
        if stage == Stage::Connected {
            return Ok(());
        }
        self.identify()?;
        match stage {
            Stage::Identified => return Ok(()),
            Stage::Offered | Stage::Replied => return self.begin_exchange(stage),
            _ => {}
        }
        if self.is_keying() || self.session_id().is_empty() {
            self.exchange_keys()?;
        }
        if stage == Stage::Keyed {
            return Ok(());
        }
        if !self.served {
            self.accept_service()?;
        }
        if stage == Stage::Served {
            return Ok(());
        }
        if !self.authenticated {
            self.let_in()?;
        }
        match stage {
            Stage::Authenticated => Ok(()),
            _ => self.confirm_session(),
        }
    }

    fn begin_exchange(&mut self, stage: Stage) -> Result<(), End> {
        let kexinit = self.offer.kexinit(Role::Server);
        self.say_kexinit(&kexinit)?;
        self.agree()?;
        match stage {
            Stage::Replied => self.say_reply(),
            _ => Ok(()),
        }
    }

    /// Waits for the request for user authentication, and grants it.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn accept_service(&mut self) -> Result<(), End> {
        self.wait_for(&[msg::SERVICE_REQUEST])?;
        self.served = true;
        self.say(&string_message(msg::SERVICE_ACCEPT, "ssh-userauth"))
    }

    /// Lets in whoever has a signature or a password, whatever it is.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn let_in(&mut self) -> Result<(), End> {
        loop {
            let request = self.wait_for(&[msg::USERAUTH_REQUEST])?;
            let answer = answer_to(&request).ok_or(End::Garbled("USERAUTH_REQUEST"))?;
            self.say(&answer)?;
            if answer.first() == Some(&msg::USERAUTH_SUCCESS) {
                self.authenticated = true;
                return Ok(());
            }
        }
    }

    fn confirm_session(&mut self) -> Result<(), End> {
        let request = self.wait_for(&[msg::CHANNEL_OPEN])?;
        let mut reader = Reader::new(request.get(1..).unwrap_or_default());
        let channel = reader.string().and_then(|_| reader.u32());
        let channel = channel.map_err(|_| End::Garbled("CHANNEL_OPEN"))?;
        self.channel = Some(channel);
        self.say(&confirmation(channel, OURS))
    }

    /// Goes on by the rules up to a login, and opens a session, which every client refuses (RFC 4254
    /// section 6.1).
    pub(crate) fn probe_as_host(&mut self) -> Result<(), End> {
        self.climb_as_host(Stage::Authenticated)?;
        self.say(&open("session", PROBE, WINDOW, MAX_PACKET))?;
        let refusal = |payload: &[u8]| {
            payload.first() == Some(&msg::CHANNEL_OPEN_FAILURE) && u32_at(payload, 1) == PROBE
        };
        self.wait_until(refusal).map(drop)
    }
}

/// CHANNEL_OPEN_CONFIRMATION for the channel that the other side calls `theirs`.
pub fn confirmation(theirs: u32, ours: u32) -> Vec<u8> {
    let mut payload = plain(msg::CHANNEL_OPEN_CONFIRMATION, theirs);
    for number in [ours, WINDOW, MAX_PACKET] {
        payload.put_u32(number);
    }
    payload
}

/// What a server says that trusts everyone who has something to show.
fn answer_to(request: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(request.get(1..)?);
    let _user = reader.string().ok()?;
    let _service = reader.string().ok()?;
    match reader.string().ok()? {
        b"password" => Some(vec![msg::USERAUTH_SUCCESS]),
        b"publickey" if reader.bool().ok()? => Some(vec![msg::USERAUTH_SUCCESS]),
        b"publickey" => {
            let mut payload = vec![msg::USERAUTH_PK_OK];
            payload.put_string(reader.string().ok()?);
            payload.put_string(reader.string().ok()?);
            Some(payload)
        }
        _ => Some(userauth_failure("publickey,password")),
    }
}
