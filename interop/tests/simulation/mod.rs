//! A client, the proxy's relay and a daemon in one thread, on wires that cut, delay and block, in a time
//! that only goes on when nothing else can: all that happens follows from a [`Plan`].
//!
//! | module      | owns                                                              |
//! |-------------|-------------------------------------------------------------------|
//! | [`plan`]    | what is to happen, made from a seed                                |
//! | [`wire`]    | the streams between the three, and the logins on them              |
//! | [`client`]  | the client, and what it must see when it sees it                   |
//! | [`daemon`]  | sessions and tunnels as in `diego-sshd`, with scripted programs    |
//! | [`process`] | one scripted program                                               |
//! | [`model`]   | what must have come about in the end                               |

pub(crate) mod client;
pub(crate) mod daemon;
pub(crate) mod model;
pub(crate) mod plan;
pub(crate) mod process;
pub(crate) mod wire;

use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plan::Plan;
use ssh_proto::crypto::random::{Random, SeededRandom};
use ssh_proxy::relay::policy::Policy;
use ssh_proxy::relay::{Limits, Relay, Side};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use client::Client;
use daemon::Daemon;

/// Nothing in a plan takes a hundredth of this. Time stands still while anything moves, so this tells at
/// once of a simulation in which everybody waits.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Lines of a trace that are kept, the last ones.
const LONGEST_TRACE: usize = 60;

/// Where every choice comes from.
pub(crate) struct Dice(SeededRandom);

impl Dice {
    /// Dice for one part of the simulation, independent of the others'.
    pub(crate) fn new(seed: u64, part: u64) -> Self {
        Self(SeededRandom::new(
            seed.wrapping_mul(0x1_0000).wrapping_add(part),
        ))
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::from_be_bytes(bytes) % limit
    }

    /// True `percent` times of a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What happened, for whoever looks at a failure.
#[derive(Clone)]
pub(crate) struct Trace {
    start: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Trace {
    pub(crate) fn note(&self, who: &str, what: impl Display) {
        let at = self.start.elapsed().as_millis();
        let mut lines = self.lines.lock().unwrap();
        lines.push(format!("{at:>6} ms  {who:<7} {what}"));
    }
}

/// Runs a plan and holds what comes of it against the model; panics where they differ. What happened is
/// left in `lines`.
pub(crate) fn run(plan: &Arc<Plan>, lines: &Arc<Mutex<Vec<String>>>) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let trace = Trace {
            start: Instant::now(),
            lines: Arc::clone(lines),
        };
        if timeout(PATIENCE, simulate(plan, trace)).await.is_err() {
            panic!("everybody waits for somebody else");
        }
    });
}

async fn simulate(plan: &Arc<Plan>, trace: Trace) {
    let (user, edge) = wire::leg(plan, 0).await;
    let (inner, container) = wire::leg(plan, 1).await;
    let relay = Relay::new(edge, inner, Limits::default(), Arc::new(Policy::default()));
    let relay = tokio::spawn(relay.run(std::future::pending()));
    let (ready, daemon_ready) = oneshot::channel();
    let daemon = Daemon::new(container, Arc::clone(plan), trace.clone(), ready);
    let daemon = tokio::spawn(daemon.run());
    let client = Client::new(user, Arc::clone(plan), trace, daemon_ready);
    let client = tokio::spawn(client.run());
    // Whichever fails first says what is wrong; what fails behind it does so for want of a peer.
    let (client, daemon) = tokio::try_join!(client, daemon).unwrap_or_else(|failed| {
        std::panic::resume_unwind(failed.into_panic());
    });
    let end = relay.await.unwrap();
    assert_eq!(end.side, Side::Client, "{}", end.reason);
    model::check(plan, &client, &daemon);
}

/// The last lines of a trace.
pub(crate) fn last(lines: &[String]) -> String {
    let first = lines.len().saturating_sub(LONGEST_TRACE);
    lines[first..].join("\n")
}

/// Which of the streams of a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lane {
    Input,
    Output,
    Errors,
}

/// Bytes of a stream from `start`. No two streams are alike, and no two places of one within a KiB.
pub(crate) fn bytes(channel: usize, lane: Lane, start: usize, length: usize) -> Vec<u8> {
    let salt = channel * 31 + lane as usize * 101;
    (start..start + length)
        .map(|at| ((at * 7 + at / 251 + salt) % 256).to_le_bytes()[0])
        .collect()
}
