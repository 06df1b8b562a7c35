//! Programs at the end of what the machine gives them: thousands of connections a second, no more
//! descriptors, no more memory, and users who take all that one connection may have. Nobody who is in
//! notices, and users get in as long as there is anything to serve them with.
//!
//! The full numbers are for `scripts/soak`; otherwise it is a tenth.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;
mod pressure;
mod support;

use std::time::{Duration, Instant};

use devcell::{Cell, CellOptions};
use packets::*;
use pressure::crowd::{Crowd, Stage};
use pressure::flood::{Deaf, all_rest};
use pressure::gauge::Gauge;
use pressure::storm::{Gust, Storm};
use pressure::{Front, fronts, plain_cell, user_gets_in, users_get_in_during};
use serde_json::json;
use ssh_proto::msg;
use ssh_proto::wire::Put;
use support::tenth;
use support::user::until;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Connections a second in a storm, and how many there are, in the long form.
const STORM: usize = 5_000;
const OF_A_STORM: usize = 30_000;

/// Users who log in during a storm, at least.
const USERS: usize = 10;

/// Descriptors that a program is left with.
const DESCRIPTORS: usize = 16;

/// Connections that want more than these.
const TOO_MANY: usize = 64;

/// For so long a program without descriptors is looked at.
const STARVED: Duration = Duration::from_secs(2);

/// Memory that a program may take beside what it has, in the long form.
const MEMORY: u64 = 256 << 20;

/// Connections that may log in at the proxy at a time, in the long form: as many as by default.
const LOGINS_OF_PROXY: usize = 4096;

/// Connections before their login that cost some 44 kB each.
const HUNGRY: usize = 8_000;

/// Users who ask without end and do not read, and how much they ask.
const DEAF: usize = 20;
const DEAF_BYTES: usize = 160 << 20;

/// Connections that take all they may, in the long form.
const GREEDY: usize = 100;

/// What one of them may cost the proxy and the daemon, in kB. In the daemon that is mostly 128 KiB of
/// environment for each of 64 sessions.
const GREEDY_KB: [u64; 2] = [4 * 1024, 16 * 1024];

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_connections_keeps_nobody_out() {
    let options = CellOptions {
        // The proxy keeps a book of sources then.
        proxy_config: json!({"source_is_user": true}),
        ..plain_cell()
    };
    let cell = Cell::start(options).await.unwrap();
    for Front { door, program } in fronts(&cell) {
        let mut bystander = Bystander::enter(&door).await;
        bystander.is_undisturbed().await;
        let gauge = Gauge::of(program);
        let before = gauge.descriptors();
        for gust in Gust::ALL {
            let storm = Storm {
                gust,
                a_second: tenth(STORM),
                connections: tenth(OF_A_STORM),
            };
            let start = Instant::now();
            let (users, done) = users_get_in_during(&door, USERS, storm.blow(door.address)).await;
            let seconds = start.elapsed().as_secs_f32();
            println!(
                "{}, {gust:?}: {done} connections in {seconds:.1} s, {users} users in meanwhile",
                door.name
            );
            bystander.is_undisturbed().await;
        }
        gauge.has_given_back(before).await;
        bystander.all_is_well().await;
    }
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_sessions_live_on_and_nothing_spins() {
    let cell = Cell::start(plain_cell()).await.unwrap();
    for Front { door, program } in fronts(&cell) {
        let mut bystander = Bystander::enter(&door).await;
        bystander.is_undisturbed().await;
        let gauge = Gauge::of(program);
        let before = gauge.descriptors();
        gauge.may_open(before + DESCRIPTORS);
        let mut crowd = Vec::new();
        for _ in 0..TOO_MANY {
            crowd.push(TcpStream::connect(door.address).await.unwrap());
        }
        until("no descriptor is left", || {
            gauge.descriptors() >= before + DESCRIPTORS
        })
        .await;
        let (ticks, start) = (gauge.ticks(), Instant::now());
        while start.elapsed() < STARVED {
            bystander.is_undisturbed().await;
            tokio::time::sleep(STARVED / 20).await;
        }
        let ticks = gauge.ticks() - ticks;
        println!("{}: {ticks} ticks in {STARVED:?}", door.name);
        // Who spins takes one processor: 100 a second.
        assert!(ticks <= 50 * STARVED.as_secs(), "{}: {ticks}", door.name);
        drop(crowd);
        gauge.has_given_back(before).await;
        bystander.all_is_well().await;
    }
    cell.stop().await;
}

/// The numbers of connections bound the memory: what is over them is shed, and what is in is served.
#[tokio::test(flavor = "multi_thread")]
async fn with_little_memory_new_connections_are_shed_and_sessions_live_on() {
    for index in 0..2 {
        let options = CellOptions {
            proxy_config: json!({"max_unauthenticated_connections": tenth(LOGINS_OF_PROXY)}),
            ..plain_cell()
        };
        let cell = Cell::start(options).await.unwrap();
        let Front { door, program } = &fronts(&cell)[index];
        let mut bystander = Bystander::enter(door).await;
        bystander.is_undisturbed().await;
        let gauge = Gauge::of(program);
        let before = gauge.descriptors();
        gauge.may_take(tenth(MEMORY));
        let mut deaf = Vec::new();
        for _ in 0..tenth(DEAF) {
            let mut one = Deaf::on(Raw::login(door).await.unwrap().into_wire());
            one.floods(&[msg::PING, 0, 0, 0, 0], tenth(DEAF_BYTES))
                .await;
            deaf.push(one);
        }
        let stages = [Stage::InLongestClear];
        let crowd = Crowd::gather(door.address, &stages, tenth(HUNGRY)).await;
        bystander.is_undisturbed().await;
        all_rest(&[gauge]).await;
        println!(
            "{}: {} kB in use, {} connections",
            door.name,
            gauge.memory_kb(),
            gauge.descriptors() - before
        );
        bystander.is_undisturbed().await;
        drop((crowd, deaf));
        gauge.has_given_back(before).await;
        bystander.all_is_well().await;
        cell.stop().await;
    }
}

/// Takes all that one connection may have: sessions with terminals and environments, channels, and
/// requests that wait for a reply.
async fn greedy(door: Door) -> Raw {
    let mut raw = Raw::login(&door).await.unwrap();
    let mut sessions = Vec::new();
    for number in 0..80 {
        raw.send(&open("session", number, 1 << 20, 1 << 15));
        let answer = raw.packet().await.unwrap();
        if answer[0] == msg::CHANNEL_OPEN_CONFIRMATION {
            sessions.push(u32_at(&answer, 5));
        }
    }
    assert!(sessions.len() < 80, "{}: sessions without end", door.name);
    for peer in &sessions {
        let mut terminal = request(*peer, "pty-req", false, &[b"xterm"]);
        for size in [80, 24, 0, 0] {
            terminal.put_u32(size);
        }
        terminal.put_string(&[0]);
        raw.send(&terminal);
        for number in 0..20 {
            let name = format!("GREED_{number}");
            let fields: [&[u8]; 2] = [name.as_bytes(), &[b'x'; 8 * 1024]];
            raw.send(&request(*peer, "env", false, &fields));
        }
        raw.flush().await.unwrap();
    }
    for number in 80..400 {
        let mut forward = open("direct-tcpip", number, 1 << 20, 1 << 15);
        for host in ["192.0.2.1", "127.0.0.1"] {
            forward.put_string(host.as_bytes());
            forward.put_u32(9);
        }
        raw.send(&forward);
    }
    // Behind all that.
    let mut question = string_message(msg::GLOBAL_REQUEST, "question@example.com");
    question.put_bool(true);
    raw.send(&question);
    raw.wait_for(msg::REQUEST_FAILURE).await.unwrap();
    raw
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_all_that_a_connection_may_have_takes_it_from_nobody_else() {
    for index in 0..2 {
        let cell = Cell::start(plain_cell()).await.unwrap();
        let Front { door, .. } = &fronts(&cell)[index];
        user_gets_in(&proxy_door(&cell)).await;
        let mut bystander = Bystander::enter(door).await;
        let programs = fronts(&cell).map(|front| Gauge::of(front.program));
        let before = programs.map(Gauge::memory_kb);
        let gather = async {
            let mut tasks = JoinSet::new();
            for _ in 0..tenth(GREEDY) {
                tasks.spawn(greedy(door.clone()));
            }
            tasks.join_all().await
        };
        let (_, crowd) = users_get_in_during(door, USERS, gather).await;
        bystander.all_is_well().await;
        for (index, gauge) in programs.into_iter().enumerate() {
            let grown = gauge.memory_kb().saturating_sub(before[index]);
            let each = grown / crowd.len() as u64;
            println!(
                "{}, {}: {each} kB each",
                door.name,
                ["proxy", "daemon"][index]
            );
            assert!(each <= GREEDY_KB[index], "{}: {each} kB", door.name);
        }
        drop(crowd);
        bystander.all_is_well().await;
        cell.stop().await;
    }
}
