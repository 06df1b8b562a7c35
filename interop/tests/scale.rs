//! Sessions by the thousand on one proxy, most of them idle: what one costs is the same however many there
//! are, all of them stay usable, new users get in, and when they go nothing of them is left.
//!
//! 9,500 are what 20,000 descriptors of the proxy allow. That many are for `scripts/soak`; otherwise it is
//! a tenth.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;
mod pressure;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use devcell::{Cell, CellOptions};
use packets::*;
use pressure::gauge::Gauge;
use pressure::{plain_cell, user_gets_in};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use ssh_proto::msg;
use support::user::until;
use support::{soak, tenth};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many are held at each look, in the long form.
const HELD: [usize; 4] = [100, 1_000, 3_000, 9_500];

/// Users who log in at a time.
const AT_A_TIME: usize = 16;

/// One in so many runs a program that waits for input.
const WITH_A_PROGRAM: usize = 100;

/// What a held session may cost the proxy, and what one with a program may cost the daemon, in bytes of
/// resident memory.
const MOST_OF_PROXY: u64 = 14 * 1024;
const MOST_OF_DAEMON: u64 = 10 * 1024;

/// Unoptimised programs have larger states.
const UNOPTIMISED: u64 = 6 * 1024;

/// All of 9,500 in the proxy.
const MOST_KB: u64 = 200 * 1024;

/// One of many may cost so much more than one of few, in percent.
const GROWTH: u64 = 20;

/// So much of what all of them took may be kept when they have gone, in percent.
const KEPT: u64 = 50;

/// For so long nobody does anything, and the proxy may use so many hundredths of a second for it.
const REST: Duration = Duration::from_secs(2);
const MOST_TICKS: u64 = 10;

/// Users who come and go before anything is looked at: by then code and caches are where they will be.
const WARM_UP: usize = 20;

/// Someone who is in.
struct User {
    raw: Raw,
    /// The server's number of the session.
    session: u32,
    runs_cat: bool,
}

impl User {
    async fn enters(door: &Door, runs_cat: bool) -> Self {
        let mut raw = Raw::login(door).await.unwrap();
        let session = raw.open_session(0, 1 << 20).await.unwrap();
        if runs_cat {
            raw.send(&exec(session, "exec cat"));
            raw.wait_for(msg::CHANNEL_SUCCESS).await.unwrap();
        }
        Self {
            raw,
            session,
            runs_cat,
        }
    }

    /// Asks the daemon for an answer, as clients do that keep a connection alive, and what runs for one.
    async fn is_served(&mut self) {
        let keepalive = global_request("keepalive@openssh.com", true);
        self.raw.send(&keepalive);
        self.raw.wait_for(msg::REQUEST_FAILURE).await.unwrap();
        if self.runs_cat {
            self.raw.send(&data(self.session, b"still here?"));
            let packet = self.raw.wait_for(msg::CHANNEL_DATA).await.unwrap();
            assert!(packet.ends_with(b"still here?"));
        }
    }
}

/// What there was to see of one program with so many sessions.
struct Look {
    sessions: usize,
    kb: u64,
}

impl Look {
    /// Bytes of one session.
    fn each(&self) -> u64 {
        self.kb * 1024 / self.sessions as u64
    }
}

/// Lets users in until there are `count`.
async fn fill(users: &mut Vec<User>, count: usize, door: &Arc<Door>) {
    let permits = Arc::new(Semaphore::new(AT_A_TIME));
    let mut entering = JoinSet::new();
    for number in users.len()..count {
        let (door, permits) = (Arc::clone(door), Arc::clone(&permits));
        entering.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            User::enters(&door, number % WITH_A_PROGRAM == 0).await
        });
    }
    while let Some(user) = entering.join_next().await {
        users.push(user.unwrap());
    }
}

/// All of them ask at once.
async fn all_are_served(users: Vec<User>) -> Vec<User> {
    let mut asking = JoinSet::new();
    for mut user in users {
        asking.spawn(async move {
            user.is_served().await;
            user
        });
    }
    asking.join_all().await
}

/// Room for all of them in one program.
fn cell_for(sessions: usize) -> CellOptions {
    CellOptions {
        daemon_flags: vec![format!("-maxConnections={}", sessions + 100)],
        ..plain_cell()
    }
}

/// The programs under test inherit it.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_sessions_cost_little_each_and_leave_nothing_behind() {
    raise_descriptor_limit();
    let counts = HELD.map(tenth);
    let cell = Cell::start(cell_for(counts[3])).await.unwrap();
    let door = Arc::new(proxy_door(&cell));
    for _ in 0..WARM_UP {
        user_gets_in(&door).await;
    }
    let [proxy, daemon] = [cell.proxy(), cell.daemon(0).unwrap()].map(Gauge::of);
    let before = [proxy.resident_kb(), daemon.resident_kb()];
    let descriptors = [proxy.descriptors(), daemon.descriptors()];
    let mut users = Vec::new();
    let mut looks = Vec::new();
    for count in counts {
        let (begin, present, ticks) = (Instant::now(), users.len(), proxy.ticks());
        fill(&mut users, count, &door).await;
        let rate = (count - present) as f64 / begin.elapsed().as_secs_f64();
        let cpu_ms = (proxy.ticks() - ticks) as f64 * 10.0 / (count - present) as f64;
        let at_rest = ticks_at_rest(proxy).await;
        let [of_proxy, of_daemon] = [proxy, daemon].map(Gauge::resident_kb);
        let [of_proxy, of_daemon] = [of_proxy - before[0], of_daemon - before[1]];
        println!(
            "{count} sessions: {rate:.0} logins a second, {cpu_ms:.2} CPU-ms of the proxy for each; \
             proxy {of_proxy} kB, daemon {of_daemon} kB more; {at_rest} ticks of the proxy in {REST:?}"
        );
        assert!(at_rest <= MOST_TICKS, "{at_rest} ticks with nothing to do");
        looks.push([of_proxy, of_daemon].map(|kb| Look {
            sessions: count,
            kb,
        }));
        users = all_are_served(users).await;
        user_gets_in(&door).await;
    }
    are_cheap(&looks);
    drop(users);
    proxy.has_given_back(descriptors[0]).await;
    daemon.has_given_back(descriptors[1]).await;
    user_gets_in(&door).await;
    for (index, program) in [proxy, daemon].into_iter().enumerate() {
        let most = before[index] + looks[looks.len() - 1][index].kb * KEPT / 100;
        until("memory goes back", || program.resident_kb() <= most).await;
    }
    println!(
        "afterwards: proxy {} kB, daemon {} kB more",
        proxy.resident_kb().saturating_sub(before[0]),
        daemon.resident_kb().saturating_sub(before[1]),
    );
    cell.stop().await;
}

/// What the processor does for sessions that do nothing.
async fn ticks_at_rest(program: Gauge) -> u64 {
    // What the last logins need afterwards is over a second later: large buffers go by then.
    tokio::time::sleep(REST).await;
    let before = program.ticks();
    tokio::time::sleep(REST).await;
    program.ticks() - before
}

fn are_cheap(looks: &[[Look; 2]]) {
    let [few, last] = [&looks[1], &looks[looks.len() - 1]];
    assert!(last[0].kb <= MOST_KB, "{} kB", last[0].kb);
    let larger = if cfg!(debug_assertions) {
        UNOPTIMISED
    } else {
        0
    };
    for (index, most) in [MOST_OF_PROXY, MOST_OF_DAEMON].into_iter().enumerate() {
        let (few, many) = (few[index].each(), last[index].each());
        println!(
            "{}: {few} bytes of few, {many} of many",
            ["proxy", "daemon"][index]
        );
        assert!(many <= most + larger, "{many} bytes each");
        assert!(
            100 * many <= (100 + GROWTH) * few,
            "{few} of few, {many} of many"
        );
    }
    if !soak() {
        println!("a tenth of what SOAK=1 does");
    }
}
