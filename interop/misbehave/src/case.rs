//! What a row is made of: from which stage it starts, what is sent, and what has to come back.

use std::fmt;

use ssh_proto::msg;

use crate::end::End;
use crate::kex::{KexInit, Offer};
use crate::packet::Fault;
use crate::payload;
use crate::peer::Peer;

/// How far a connection has come by the rules when a case begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// TCP; nothing was said.
    Connected,
    /// The identification is sent.
    Identified,
    /// Both KEXINITs are sent.
    Offered,
    /// The server's reply and NEWKEYS have come; our NEWKEYS is not sent.
    Replied,
    /// The first key exchange is over.
    Keyed,
    /// The service ssh-userauth is accepted.
    Served,
    /// A user is logged in.
    Authenticated,
    /// A session is open.
    Session,
    /// A command runs in it.
    Running(&'static str),
    /// A subsystem runs in it.
    Subsystem(&'static str),
}

impl Stage {
    /// True where nobody comes without credentials.
    pub fn needs_login(self) -> bool {
        !matches!(
            self,
            Self::Connected
                | Self::Identified
                | Self::Offered
                | Self::Replied
                | Self::Keyed
                | Self::Served
        )
    }
}

/// What data cannot say. An error is how the connection ended.
pub type Action = Box<dyn Fn(&mut Peer) -> Result<(), End> + Send + Sync>;

/// One thing that is sent.
pub enum Step {
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// An identification in pieces, and the line that the other side makes of it.
    Identify(Vec<u8>, Vec<Vec<u8>>),
    /// A payload in a packet as it should be.
    Say(Vec<u8>),
    /// A payload in a packet in the clear.
    Clear(Vec<u8>),
    /// A payload in a packet with a fault.
    Faulty(Vec<u8>, Fault),
    /// A KEXINIT that enters the exchange hash.
    KexInit(Box<KexInit>),
    /// A right KEX_ECDH_INIT, after the server's KEXINIT.
    Init,
    /// NEWKEYS, after the server's reply; what follows is under the new keys.
    NewKeys,
    /// A whole key exchange, or the rest of one.
    Exchange,
    /// A message for the open channel, by the server's number of it.
    ToChannel(fn(u32) -> Vec<u8>),
    /// Waits for a message of this number.
    Await(u8),
    /// What follows leaves in one piece, by the step [`Step::Uncork`].
    Cork,
    /// What was kept leaves.
    Uncork,
    /// What follows leaves in pieces of so many bytes.
    Chunks(usize),
    /// The end of what is sent.
    Finish,
    /// Something again and again.
    Times(usize, Box<Self>),
    /// Whatever data cannot say.
    Do(Action),
}

impl Step {
    /// So many times.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        Self::Times(count, Box::new(self))
    }

    /// Whatever data cannot say.
    pub fn act(action: impl Fn(&mut Peer) -> Result<(), End> + Send + Sync + 'static) -> Self {
        Self::Do(Box::new(action))
    }

    /// Does it.
    ///
    /// # Errors
    /// How the connection ended before it was done.
    pub fn take(&self, peer: &mut Peer) -> Result<(), End> {
        match self {
            Self::Raw(bytes) => peer.say_raw(bytes),
            Self::Identify(line, pieces) => {
                let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
                peer.identify_as(line, &pieces)
            }
            Self::Say(payload) => peer.say(payload),
            Self::Clear(payload) => peer.say_clear(payload),
            Self::Faulty(payload, fault) => peer.say_with(payload, *fault),
            Self::KexInit(kexinit) => peer.say_kexinit(kexinit),
            Self::Init => peer.say_init(),
            Self::NewKeys => peer.say_newkeys(),
            Self::Exchange => peer.exchange_keys(),
            Self::ToChannel(make) => {
                let channel = peer.channel.ok_or(End::Garbled("no channel"))?;
                peer.say(&make(channel))
            }
            Self::Await(number) => peer.wait_for(&[*number]).map(drop),
            Self::Cork => {
                peer.cork();
                Ok(())
            }
            Self::Uncork => peer.uncork(),
            Self::Chunks(size) => {
                peer.chunk(*size);
                Ok(())
            }
            Self::Finish => {
                peer.finish();
                Ok(())
            }
            Self::Times(count, step) => (0..*count).try_for_each(|_| step.take(peer)),
            Self::Do(action) => action(peer),
        }
    }
}

/// A message that has to come.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Any of this number.
    Number(u8),
    /// This payload.
    Exactly(Vec<u8>),
    /// A payload that begins so.
    Starts(Vec<u8>),
    /// A payload that is as this says.
    Like(&'static str, fn(&[u8]) -> bool),
}

impl Answer {
    /// Whether `payload` is it.
    pub fn is(&self, payload: &[u8]) -> bool {
        match self {
            Self::Number(number) => payload.first() == Some(number),
            Self::Exactly(wanted) => payload == wanted,
            Self::Starts(start) => payload.starts_with(start),
            Self::Like(_, is) => is(payload),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => f.write_str(&payload::name(*number)),
            Self::Exactly(payload) | Self::Starts(payload) => {
                f.write_str(&payload::name(payload.first().copied().unwrap_or_default()))
            }
            Self::Like(name, _) => f.write_str(name),
        }
    }
}

/// What has to come of a case.
#[derive(Debug, Clone)]
pub enum Expect {
    /// A DISCONNECT with one of these reasons, and the end.
    Cut(&'static [u32]),
    /// The end, with a word or without: nobody listens any more.
    Over,
    /// Nothing, and the connection goes on.
    Ignored,
    /// Anything, as long as the connection goes on: for rules of the sender alone.
    Alive,
    /// Nothing at all: there is more to come, as far as the other side can know.
    Waits,
    /// These messages in this order, whatever else comes, and the connection goes on.
    Answered(Vec<Answer>),
    /// One of these.
    Either(Vec<Self>),
}

impl Expect {
    /// One message of this number.
    pub fn answer(number: u8) -> Self {
        Self::Answered(vec![Answer::Number(number)])
    }

    /// True where the right thing is that nothing comes, so that only a question can show it.
    pub fn allows_silence(&self) -> bool {
        match self {
            Self::Ignored | Self::Alive => true,
            Self::Either(all) => all.iter().any(Self::allows_silence),
            Self::Cut(_) | Self::Over | Self::Answered(_) | Self::Waits => false,
        }
    }

    /// True once all answers that may be waited for are there.
    pub fn is_answered(&self, heard: &[Vec<u8>]) -> bool {
        match self {
            Self::Answered(answers) => {
                let mut rest = heard.iter();
                let mut comes = |answer: &Answer| rest.any(|payload| answer.is(payload));
                answers.iter().all(&mut comes)
            }
            Self::Either(all) => all.iter().any(|one| one.is_answered(heard)),
            Self::Cut(_) | Self::Over | Self::Ignored | Self::Alive | Self::Waits => false,
        }
    }

    /// Whether this is how it ended.
    pub fn is_met(&self, heard: &[Vec<u8>], end: &End) -> bool {
        match self {
            Self::Cut(reasons) => {
                matches!(end, End::Cut { reason, .. } if reasons.contains(reason))
            }
            Self::Over => end.is_over(),
            Self::Ignored => *end == End::Alive && !heard.iter().any(|it| is_answer(it)),
            Self::Alive => *end == End::Alive,
            Self::Waits => *end == End::Hang,
            Self::Answered(_) => *end == End::Alive && self.is_answered(heard),
            Self::Either(all) => all.iter().any(|one| one.is_met(heard, end)),
        }
    }

    /// Whether the connection should have ended.
    pub fn wants_end(&self) -> bool {
        match self {
            Self::Cut(_) | Self::Over => true,
            Self::Ignored | Self::Alive | Self::Waits | Self::Answered(_) => false,
            Self::Either(all) => all.iter().any(Self::wants_end),
        }
    }
}

/// False for what servers say by themselves.
pub fn is_answer(payload: &[u8]) -> bool {
    let spontaneous = [
        msg::IGNORE,
        msg::DEBUG,
        msg::EXT_INFO,
        msg::USERAUTH_BANNER,
        msg::GLOBAL_REQUEST,
        msg::CHANNEL_WINDOW_ADJUST,
    ];
    payload
        .first()
        .is_some_and(|number| !spontaneous.contains(number))
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |f: &mut fmt::Formatter<'_>, between: &str, all: Vec<String>| {
            f.write_str(&all.join(between))
        };
        match self {
            Self::Cut(reasons) => {
                f.write_str("cut ")?;
                join(f, "/", reasons.iter().map(u32::to_string).collect())
            }
            Self::Over => f.write_str("end"),
            Self::Ignored => f.write_str("ignored"),
            Self::Alive => f.write_str("alive"),
            Self::Waits => f.write_str("waits"),
            Self::Answered(answers) => {
                join(f, ", ", answers.iter().map(Answer::to_string).collect())
            }
            Self::Either(all) => join(f, " or ", all.iter().map(Self::to_string).collect()),
        }
    }
}

/// Whose rules count: ours differ in some cases by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Any server.
    Any,
    /// `ssh-proxy`
    Proxy,
    /// `diego-sshd`
    Daemon,
}

/// A row.
pub struct Case {
    /// Its name for ever: the group, a dash, and what it is about.
    pub id: String,
    /// What happens.
    pub title: String,
    /// Who says what has to come of it, or who got it wrong once.
    pub source: &'static str,
    /// What the peer offers.
    pub offer: Offer,
    /// Where it starts.
    pub stage: Stage,
    /// What is sent.
    pub steps: Vec<Step>,
    /// What has to come back.
    pub expect: Expect,
    proxy: Option<Expect>,
    daemon: Option<Expect>,
    login: bool,
}

impl Case {
    /// A row of which nothing is expected yet but a cut for a broken rule.
    pub fn new(id: impl Into<String>, title: impl Into<String>, source: &'static str) -> Self {
        Self {
            id: id.into(),
            title: title.into(),
            source,
            offer: Offer::default(),
            stage: Stage::Connected,
            steps: Vec::new(),
            expect: Expect::Cut(&[crate::end::PROTOCOL_ERROR]),
            proxy: None,
            daemon: None,
            login: false,
        }
    }

    /// Who says what has to come of it, or who got it wrong once.
    #[must_use]
    pub fn by(self, source: &'static str) -> Self {
        Self { source, ..self }
    }

    /// Where it starts.
    #[must_use]
    pub fn at(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    /// What the peer offers in key exchanges.
    #[must_use]
    pub fn offering(self, offer: Offer) -> Self {
        Self { offer, ..self }
    }

    /// What is sent.
    #[must_use]
    pub fn sends(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }

    /// What has to come back.
    #[must_use]
    pub fn expects(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    /// What has to come back of the proxy, for a reason that stands beside it.
    #[must_use]
    pub fn proxy(self, expect: Expect) -> Self {
        Self {
            proxy: Some(expect),
            ..self
        }
    }

    /// What has to come back of the daemon, for a reason that stands beside it.
    #[must_use]
    pub fn daemon(self, expect: Expect) -> Self {
        Self {
            daemon: Some(expect),
            ..self
        }
    }

    /// What has to come back of both programs of ours, which are stricter than the RFCs ask.
    #[must_use]
    pub fn ours(self, expect: Expect) -> Self {
        self.proxy(expect.clone()).daemon(expect)
    }

    /// It logs in on its way, or needs to know a user.
    #[must_use]
    pub fn with_login(self) -> Self {
        Self {
            login: true,
            ..self
        }
    }

    /// What this program has to do.
    pub fn expected_of(&self, program: Program) -> &Expect {
        let own = match program {
            Program::Any => None,
            Program::Proxy => self.proxy.as_ref(),
            Program::Daemon => self.daemon.as_ref(),
        };
        own.unwrap_or(&self.expect)
    }

    /// True where credentials are needed.
    pub fn needs_login(&self) -> bool {
        self.login || self.stage.needs_login()
    }

    /// The part of its id that it shares with others.
    pub fn group(&self) -> &str {
        self.id.split('-').next().unwrap_or_default()
    }
}
