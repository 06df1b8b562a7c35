//! Runs rows against a target: climbs to the stage, takes the steps, and sees what comes back. After each
//! one the next client must be served.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::case::{Case, Expect, Program, Stage};
use crate::client::Credentials;
use crate::end::End;
use crate::kex::Offer;
use crate::payload;
use crate::peer::Peer;

/// A server.
#[derive(Clone)]
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who may log in.
    pub credentials: Option<Credentials>,
    /// Whose rules count.
    pub program: Program,
    /// How long each wait may take: what takes longer hangs.
    pub patience: Duration,
}

/// What came of a row.
pub struct Outcome {
    /// How the connection stands.
    pub end: End,
    /// False where the stage of the case was not reached.
    pub reached: bool,
    /// What the server said, but for the key exchange.
    pub heard: Vec<Vec<u8>>,
    /// From the first step to the end.
    pub took: Duration,
    /// What the next client met with, unless it was served.
    pub next: Option<End>,
}

/// How an outcome compares with what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is that.
    Met,
    /// The connection ended, as it should, but with another word or none.
    Weaker,
    /// It is something else.
    Differs,
    /// The server has not got what the case is about.
    NotApplicable,
}

impl Target {
    fn connect(&self, offer: Offer) -> io::Result<Peer> {
        let stream = TcpStream::connect_timeout(&self.address, self.patience)?;
        let mut peer = Peer::client(stream, offer, self.patience)?;
        peer.credentials.clone_from(&self.credentials);
        Ok(peer)
    }

    /// Whether a good client gets to `stage`.
    ///
    /// # Errors
    /// What it meets with instead.
    pub fn serves(&self, stage: Stage) -> Result<(), End> {
        let mut peer = self.connect(Offer::default()).map_err(|_| End::Reset)?;
        peer.climb(stage)?;
        peer.probe()
    }

    /// Runs one row.
    pub fn run(&self, case: &Case) -> Outcome {
        let mut outcome = self.run_alone(case);
        outcome.next = self.serves(Stage::Keyed).err();
        outcome
    }

    fn run_alone(&self, case: &Case) -> Outcome {
        match self.connect(case.offer.clone()) {
            Ok(mut peer) => meet(&mut peer, case, self.program),
            Err(_) => Outcome::unreached(End::Reset),
        }
    }
}

/// Runs one row with whoever is at the other end of `peer`. Whether others are served is not looked at.
pub fn meet(peer: &mut Peer, case: &Case, program: Program) -> Outcome {
    if let Err(end) = peer.climb(case.stage) {
        return Outcome::unreached(end);
    }
    peer.forget();
    let start = Instant::now();
    let taken = case.steps.iter().try_for_each(|step| step.take(peer));
    let end = match taken {
        Ok(()) => observe(peer, case.expected_of(program)),
        Err(end) => end,
    };
    Outcome {
        end,
        reached: true,
        heard: peer.heard().to_vec(),
        took: start.elapsed(),
        next: None,
    }
}

/// Waits for what has to come, or for whatever comes instead.
fn observe(peer: &mut Peer, expect: &Expect) -> End {
    while !expect.allows_silence() && !expect.is_answered(peer.heard()) {
        match peer.hear() {
            Ok(()) => {}
            // Ignored, or stuck?
            Err(End::Hang) if !peer.is_finished() => break,
            Err(end) => return end,
        }
    }
    match peer.probe() {
        Ok(()) => End::Alive,
        Err(end) => end,
    }
}

impl Outcome {
    /// It ended before the stage of the case.
    pub fn unreached(end: End) -> Self {
        Self {
            end,
            reached: false,
            heard: Vec::new(),
            took: Duration::ZERO,
            next: None,
        }
    }

    /// How it compares with what has to come of `case`.
    pub fn verdict(&self, case: &Case, program: Program) -> Verdict {
        let expect = case.expected_of(program);
        if let End::NothingInCommon(_) = self.end {
            return Verdict::NotApplicable;
        }
        if self.next.is_some() || !self.reached {
            return Verdict::Differs;
        }
        if expect.is_met(&self.heard, &self.end) {
            Verdict::Met
        } else if expect.wants_end() && self.end.is_over() {
            Verdict::Weaker
        } else {
            Verdict::Differs
        }
    }

    /// In a few words.
    pub fn summary(&self) -> String {
        let mut words = Vec::new();
        if !self.reached {
            words.push("before it began:".to_owned());
        }
        let answers = self.heard.iter().filter(|it| crate::case::is_answer(it));
        let mut names: Vec<String> = answers
            .map(|it| payload::name(it.first().copied().unwrap_or_default()))
            .collect();
        names.dedup();
        match (&self.end, names.is_empty()) {
            (End::Alive, true) => words.push("ignored".to_owned()),
            (End::Alive, false) => words.push(names.join(", ")),
            (end, true) => words.push(end.to_string()),
            (end, false) => words.push(format!("{}, {end}", names.join(", "))),
        }
        if let Some(end) = &self.next {
            words.push(format!("(next client: {end})"));
        }
        words.join(" ")
    }
}
