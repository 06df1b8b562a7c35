//! Connections by the thousand that stop somewhere in their login, against both programs: each is cut
//! when its time is over and told so, costs little until then, and keeps nobody else out.
//!
//! The full numbers are for `scripts/soak`; otherwise it is a tenth.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too"
)]

mod packets;
mod pressure;
mod support;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use devcell::{Cell, CellOptions};
use pressure::crowd::{Crowd, Stage};
use pressure::drip::{Drip, Place};
use pressure::gauge::Gauge;
use pressure::{Front, fronts, roomy, user_gets_in, users_get_in_during};
use support::{soak, tenth};
use tokio::task::JoinSet;

/// Connections at each stage in the long form.
const HELD: usize = 1000;

/// Connections that drip at each place in the long form.
const DRIPPING: usize = 200;

/// Users who log in meanwhile, at least.
const USERS: usize = 10;

/// What those are told that did not log in in time.
const TOO_LONG: (u32, &str) = (11, "timeout: login takes too long");

/// What those are told that take long while others wait.
const MAKE_ROOM: (u32, &str) = (2, "limit reached: too many connections that are logging in");

/// Those whose memory is looked at, which is no matter of time.
const MEASURED: usize = 1000;

/// What each of them may cost, in bytes: before keys, and with them.
const WITHOUT_KEYS: u64 = 16 * 1024;
const WITH_KEYS: u64 = 48 * 1024;

/// Unoptimised programs have larger states, and fill their buffers no less.
const UNOPTIMISED: u64 = 8 * 1024;

/// Users who log in before memory is looked at: by then code and caches are where they will be.
const WARM_UP: usize = 20;

/// How long a login may take: as long as by default, or shorter.
fn login_timeout() -> Duration {
    Duration::from_secs(if soak() { 60 } else { 10 })
}

/// What is not over by then hangs.
fn patience() -> Duration {
    3 * login_timeout()
}

/// Both programs, one after the other: what gathers at the door is cut, and users log in all the time.
async fn all_are_cut<F: Future<Output = usize>>(
    connections: usize,
    gathered: impl Fn(SocketAddr) -> F,
) {
    for index in 0..2 {
        let cell = Cell::start(roomy(connections + 100, login_timeout()));
        let cell = cell.await.unwrap();
        let Front { door, program } = &fronts(&cell)[index];
        user_gets_in(door).await;
        let gauge = Gauge::of(program);
        let before = gauge.descriptors();
        let (users, cut) = users_get_in_during(door, USERS, gathered(door.address)).await;
        println!("{}: {cut} cut, {users} users in meanwhile", door.name);
        assert_eq!(cut, connections, "{}", door.name);
        gauge.has_given_back(before).await;
        cell.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_stop_are_cut_at_the_deadline_and_keep_nobody_out() {
    let of_each = tenth(HELD);
    all_are_cut(of_each * Stage::ALL.len(), async |address| {
        let crowd = Crowd::gather(address, &Stage::ALL, of_each).await;
        crowd.sees_the_end(patience(), &[TOO_LONG]).await
    })
    .await;
}

/// A daemon has room for fewer, unless its operator wants it otherwise. It is never a tenth: who waits
/// has to get in within the time that a login may take.
#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_may_log_in_to_a_daemon_keep_nobody_out() {
    let options = CellOptions {
        daemon_flags: vec![format!("-loginTimeout={}s", login_timeout().as_secs())],
        ..roomy(HELD, login_timeout())
    };
    let cell = Cell::start(options).await.unwrap();
    let [_, Front { door, .. }] = &fronts(&cell);
    let crowd = Crowd::gather(door.address, &[Stage::Silent], HELD).await;
    for _ in 0..USERS {
        user_gets_in(door).await;
    }
    // For the last of them nobody waits.
    let cut = crowd.sees_the_end(patience(), &[MAKE_ROOM, TOO_LONG]).await;
    assert_eq!(cut, HELD);
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_now_and_then_does_not_extend_the_deadline() {
    let of_each = tenth(DRIPPING);
    all_are_cut(of_each * Place::ALL.len(), async |address| {
        let mut dripping = JoinSet::new();
        for place in Place::ALL.repeat(of_each) {
            dripping.spawn(async move {
                let drip = Drip::at(place, address).await;
                (place, drip.disconnect(patience()).await)
            });
        }
        let mut cut = 0;
        while let Some(ended) = dripping.join_next().await {
            let (place, (reason, text)) = ended.unwrap();
            assert_eq!((reason, text.as_str()), TOO_LONG, "{place:?}");
            cut += 1;
        }
        cut
    })
    .await;
}

/// What a connection may cost that has stopped at `stage`.
fn bound(stage: Stage) -> u64 {
    let bound = match stage {
        stage if stage.has_keys() => WITH_KEYS,
        // It has sent 35,000 bytes, which every implementation has to take (RFC 4253 section 6.1).
        Stage::InLongestClear => WITH_KEYS,
        _ => WITHOUT_KEYS,
    };
    if cfg!(debug_assertions) {
        bound + UNOPTIMISED
    } else {
        bound
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_stops_costs_little() {
    for index in 0..2 {
        for stage in Stage::ALL {
            let options = roomy(MEASURED + 100, Duration::from_secs(600));
            let cell = Cell::start(options).await.unwrap();
            let Front { door, program } = &fronts(&cell)[index];
            for _ in 0..WARM_UP {
                user_gets_in(door).await;
            }
            let gauge = Gauge::of(program);
            let before = gauge.resident_kb();
            let crowd = Crowd::gather(door.address, &[stage], MEASURED).await;
            // Whatever the others have sent was read before this one's login.
            user_gets_in(door).await;
            let grown = gauge.resident_kb().saturating_sub(before);
            let each = grown * 1024 / MEASURED as u64;
            println!("{}, {stage:?}: {each} bytes each", door.name);
            assert!(each <= bound(stage), "{} {stage:?}: {each}", door.name);
            drop(crowd);
            cell.stop().await;
        }
    }
}
