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

use std::time::Duration;

use devcell::Cell;
use pressure::crowd::{Crowd, Stage};
use pressure::gauge::Gauge;
use pressure::{fronts, roomy, user_gets_in, users_get_in_during};
use support::{soak, tenth};

/// Connections at each stage in the long form.
const HELD: usize = 1000;

/// What a connection may cost in memory, in bytes: before keys, and with them.
const WITHOUT_KEYS: u64 = 16 * 1024;
const WITH_KEYS: u64 = 48 * 1024;

/// Users who log in before memory is looked at: by then code and caches are where they will be.
const WARM_UP: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_stops_costs_little() {
    for index in 0..2 {
        for stage in Stage::ALL {
            let cell = Cell::start(roomy(2 * HELD, Duration::from_secs(600))).await.unwrap();
            let front = &fronts(&cell)[index];
            for _ in 0..WARM_UP {
                user_gets_in(&front.door).await;
            }
            let gauge = Gauge::of(front.program);
            let before = (gauge.memory_kb(), gauge.resident_kb());
            let crowd = Crowd::gather(front.door.address, &[stage], HELD).await;
            // Whatever the others have sent was read before this one's login.
            user_gets_in(&front.door).await;
            let of_each = |now: u64, before: u64| now.saturating_sub(before) * 1024 / HELD as u64;
            let cost = of_each(gauge.memory_kb(), before.0);
            let resident = of_each(gauge.resident_kb(), before.1);
            println!(
                "{} {stage:?}: {cost} bytes each, {resident} with files",
                front.door.name
            );
            drop(crowd);
            cell.stop().await;
        }
    }
}
