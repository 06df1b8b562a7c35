//! What tests of load share.
//!
//! | module     | owns                                                                      |
//! |------------|---------------------------------------------------------------------------|
//! | this one   | cells that take much, and users who log in meanwhile                       |
//! | [`gauge`]  | what a program takes of the machine: memory, descriptors, processor time   |
//! | [`crowd`]  | connections that stop at some point of their login, and how they end        |
//! | [`drip`]   | connections that go on, a byte at a time                                    |
//! | [`flood`]  | peers that send without reading                                             |
//! | [`storm`]  | many connections a second                                                   |
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "compiled into each test, which uses only a part; helpers of tests are tests too"
)]

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use devcell::rig::{LogLevel, Process};
use devcell::{Cell, CellOptions};
use serde_json::json;

use crate::packets::{Door, Raw, daemon_door, options, proxy_door};

pub mod crowd;
pub mod drip;
pub mod flood;
pub mod gauge;
pub mod storm;

/// A door, and the program behind it.
pub struct Front<'c> {
    pub door: Door,
    pub program: &'c Process,
}

/// Both programs with their doors.
pub fn fronts(cell: &Cell) -> [Front<'_>; 2] {
    [
        Front {
            door: proxy_door(cell),
            program: cell.proxy(),
        },
        Front {
            door: daemon_door(cell),
            program: cell.daemon(0).unwrap(),
        },
    ]
}

/// One connection to BBS is kept for the next call, not two: descriptors are counted, and after many
/// calls at a time there would be more of them.
const TO_BBS: &str = "bbs_max_idle_conns_per_host";

/// A cell of programs that log what operators see, with the times and bounds that they have by default.
pub fn plain_cell() -> CellOptions {
    CellOptions {
        proxy_log_level: LogLevel::Info,
        daemon_log_level: LogLevel::Fatal,
        proxy_config: json!({TO_BBS: 1}),
        // It is looked for at the start, in a time that a busy machine may not have.
        loggregator: false,
        ..options()
    }
}

/// A cell whose programs let this many connections log in at a time, each for so long.
pub fn roomy(logins: usize, login_timeout: Duration) -> CellOptions {
    let seconds = login_timeout.as_secs();
    CellOptions {
        proxy_config: json!({
            TO_BBS: 1,
            "max_unauthenticated_connections": logins,
            "login_timeout": format!("{seconds}s"),
        }),
        daemon_flags: vec![
            format!("-maxLogins={logins}"),
            format!("-loginTimeout={seconds}s"),
        ],
        ..plain_cell()
    }
}

/// One user after the other logs in through `door` and runs a command, at least `least` of them and
/// until `meanwhile` is over. Gives how many there were, and what came of it.
///
/// # Panics
/// One of them does not get in.
pub async fn users_get_in_during<T>(
    door: &Door,
    least: usize,
    meanwhile: impl Future<Output = T>,
) -> (usize, T) {
    let mut meanwhile = pin!(meanwhile);
    let mut outcome = None;
    let mut users = 0;
    while outcome.is_none() || users < least {
        tokio::select! {
            biased;
            over = &mut meanwhile, if outcome.is_none() => outcome = Some(over),
            () = user_gets_in(door) => users += 1,
        }
    }
    (users, outcome.unwrap())
}

/// A user logs in through `door`, runs a command, and leaves.
///
/// # Panics
/// That fails.
pub async fn user_gets_in(door: &Door) {
    let mut raw = Raw::login(door).await.unwrap();
    let finished = raw.run(0, "echo in").await.unwrap();
    assert_eq!(finished.stdout, b"in\n", "{}", door.name);
    assert_eq!(finished.status, Some(0), "{}", door.name);
}
