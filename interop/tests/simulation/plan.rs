//! What is to happen in a simulation: all of it is drawn from a seed, and any part can be left out.

use ssh_proto::algorithm::Cipher;

use super::Dice;

/// A whole simulation.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) channels: Vec<Channel>,
    pub(crate) steps: Vec<Step>,
    /// The wires of the two legs.
    pub(crate) wires: [Wire; 2],
    /// Bytes under one key of client, relay's edge, relay's inner side and daemon; `None` for as many
    /// as usual.
    pub(crate) rekeys: [Option<u64>; 4],
    /// Of each leg.
    pub(crate) ciphers: [Cipher; 2],
}

/// What a wire does to what is on it.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    /// Bytes that fit before the writer has to wait.
    pub(crate) capacity: usize,
    /// The longest piece that arrives at once.
    pub(crate) piece: usize,
    /// Pieces of a hundred that come late.
    pub(crate) late: usize,
}

/// Something that one side does at some time, outside of channels.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// Milliseconds after the login.
    pub(crate) at: u64,
    pub(crate) by_client: bool,
    pub(crate) what: What,
}

/// See [`Step`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// A key exchange.
    Rekey,
    /// SSH2_MSG_PING: the answer is the next hop's, and nobody else sees either.
    Ping,
    /// A global request, and the reply that it wants.
    Global(Reply),
    /// A request for proofs of host keys, which the relay refuses; in the order of all replies.
    Prove,
    /// The daemon asks for a sign of life on a channel, if that is open.
    Keepalive(usize, Reply),
}

/// No reply wanted, or this one.
pub(crate) type Reply = Option<bool>;

/// What kind of a channel: who opens it, and what the daemon joins it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A session with a program.
    Session,
    /// The client's way to a port of the container.
    Direct,
    /// The container's way to a port of the client.
    Forwarded,
}

/// One channel from its opening to its end.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub(crate) kind: Kind,
    /// Milliseconds after the login, or when the client has asked for it.
    pub(crate) opens_at: u64,
    /// Its peer does not want it.
    pub(crate) refused: bool,
    /// Window and packet size that the client gives, and that the daemon gives.
    pub(crate) windows: [(u32, u32); 2],
    /// Bytes from the client.
    pub(crate) input: usize,
    /// What the client does behind them.
    pub(crate) behind: Behind,
    /// Bytes of output, and of standard error.
    pub(crate) output: usize,
    pub(crate) errors: usize,
    /// Bytes after which the program hangs up on its input.
    pub(crate) reads: Option<usize>,
    /// When a program ends.
    pub(crate) ends: Ends,
    pub(crate) exit: Exit,
    /// Requests of the client behind its `exec`, and the replies to them.
    pub(crate) requests: Vec<Reply>,
    /// The longest that is given or taken at once.
    pub(crate) chunk: usize,
    /// Chunks of a hundred that take time.
    pub(crate) slow: usize,
}

/// What a client does when it has sent all of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// It waits for the program's end.
    Nothing,
    Eof,
    Close,
    EofThenClose,
}

/// When a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// When it has read all of its input and written all of its output.
    AfterInput,
    /// When it has written all of its output, whatever comes in.
    AfterOutput,
    /// At once: somebody else has its pipes and goes on.
    BeforeOutput,
}

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Status(u32),
    Signal,
}

/// Steps and opens are within so many milliseconds.
const LATEST: usize = 400;

impl Plan {
    /// The plan of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let dice = &mut Dice::new(seed, 0);
        let channels: Vec<_> = (0..1 + dice.below(5)).map(|_| channel(dice)).collect();
        let mut steps: Vec<_> = (0..dice.below(10))
            .flat_map(|_| step(dice, channels.len()))
            .collect();
        steps.sort_by_key(|step| step.at);
        Self {
            seed,
            channels,
            steps,
            wires: [wire(dice), wire(dice)],
            rekeys: std::array::from_fn(|_| rekey(dice)),
            ciphers: std::array::from_fn(|_| {
                dice.pick(&[
                    Cipher::Aes128Gcm,
                    Cipher::Aes256Gcm,
                    Cipher::ChaCha20Poly1305,
                    Cipher::Aes128Ctr,
                ])
            }),
        }
    }

    /// The same plan, without one of its parts: each channel, each step, and all that is not usual.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let channels = (0..self.channels.len()).map(|at| {
            let mut plan = self.clone();
            // It keeps its number, since steps name it.
            plan.channels[at].refused = true;
            plan.channels[at].opens_at = 0;
            plan
        });
        let steps = (0..self.steps.len()).map(|at| {
            let mut plan = self.clone();
            plan.steps.remove(at);
            plan
        });
        let rekeys = (0..self.rekeys.len()).map(|at| {
            let mut plan = self.clone();
            plan.rekeys[at] = None;
            plan
        });
        let wires = (0..self.wires.len()).map(|at| {
            let mut plan = self.clone();
            plan.wires[at] = Wire {
                capacity: 1 << 20,
                piece: 1 << 16,
                late: 0,
            };
            plan
        });
        let differs = |plan: &Self| format!("{plan:?}") != format!("{self:?}");
        let plans = channels.chain(steps).chain(rekeys).chain(wires);
        plans.filter(differs).collect()
    }
}

fn wire(dice: &mut Dice) -> Wire {
    Wire {
        capacity: dice.pick(&[300, 1000, 4000, 16_000, 1 << 18]),
        piece: dice.pick(&[100, 400, 1500, 9000]),
        late: dice.pick(&[0, 2, 10, 30]),
    }
}

/// Small enough for many exchanges in a simulation, large enough to get something done between them.
fn rekey(dice: &mut Dice) -> Option<u64> {
    let chosen = dice.pick(&[None, None, None, Some(8_000), Some(15_000), Some(30_000)]);
    chosen.map(|bytes| bytes + dice.below(2000) as u64)
}

/// One step, or the same of both sides at the same time.
fn step(dice: &mut Dice, channels: usize) -> Vec<Step> {
    let at = dice.below(LATEST) as u64;
    let what = match dice.below(8) {
        0..3 => What::Rekey,
        3 => What::Ping,
        4 | 5 => What::Global(reply(dice)),
        6 => What::Prove,
        _ => What::Keepalive(dice.below(channels), reply(dice)),
    };
    let by = |by_client| Step {
        at,
        by_client,
        what,
    };
    match what {
        What::Rekey | What::Global(_) if dice.chance(40) => vec![by(true), by(false)],
        What::Prove => vec![by(true)],
        What::Keepalive(..) => vec![by(false)],
        _ => vec![by(dice.chance(50))],
    }
}

fn reply(dice: &mut Dice) -> Reply {
    dice.pick(&[None, Some(false), Some(true)])
}

fn channel(dice: &mut Dice) -> Channel {
    let kind = dice.pick(&[Kind::Session, Kind::Session, Kind::Direct, Kind::Forwarded]);
    let windows = std::array::from_fn(|_| window(dice));
    // Tiny windows and packets make many messages: fewer bytes do.
    let [down, up] = windows.map(|(window, packet)| 1 + 25 * window.min(packet).min(200) as usize);
    let mut size = |most: usize| dice.pick(&[0, 1, most / 4, most]) + dice.below(50);
    let (input, output, errors) = (size(up), size(down), size(down));
    let is_session = kind == Kind::Session;
    let behind = match is_session {
        true => dice.pick(&[
            Behind::Nothing,
            Behind::Eof,
            Behind::Eof,
            Behind::Close,
            Behind::EofThenClose,
        ]),
        // A tunnel that nobody ends does not end.
        false => dice.pick(&[
            Behind::Eof,
            Behind::Eof,
            Behind::Close,
            Behind::EofThenClose,
        ]),
    };
    let reads = dice.chance(25).then(|| dice.below(input + 1));
    let ends = match behind {
        Behind::Nothing => dice.pick(&[Ends::AfterOutput, Ends::BeforeOutput]),
        _ => dice.pick(&[Ends::AfterInput, Ends::AfterOutput, Ends::BeforeOutput]),
    };
    Channel {
        kind,
        opens_at: dice.below(LATEST) as u64,
        refused: dice.chance(8),
        windows,
        input,
        behind,
        output,
        errors: if is_session { errors } else { 0 },
        reads,
        ends,
        exit: match dice.below(5) {
            0 => Exit::Signal,
            code => Exit::Status(code as u32 - 1),
        },
        requests: (0..dice.below(6)).map(|_| reply(dice)).collect(),
        chunk: dice
            .pick(&[1, 10, 100, 1000, 10_000])
            .max(input.max(output) / 30),
        slow: dice.pick(&[0, 5, 30]),
    }
}

fn window(dice: &mut Dice) -> (u32, u32) {
    let window = dice.pick(&[1, 10, 100, 1000, 30_000, 1 << 21]);
    let packet = dice.pick(&[1, 10, 100, 1000, 1 << 15]);
    (window, packet)
}
