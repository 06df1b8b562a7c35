//! Proxies that end and are started anew while users work.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod fleet;
mod packets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use devcell::rig::{LogLevel, Signal};
use devcell::{Cell, CellOptions};
use fleet::{Backend, Balancer, configuration, draining, health, inheriting, listener, start};
use packets::*;
use serde_json::{Value, json};
use ssh_proto::msg;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A cell whose proxy has `config`.
async fn cell(config: Value) -> Cell {
    let options = CellOptions {
        proxy_log_level: LogLevel::Info,
        daemon_log_level: LogLevel::Fatal,
        proxy_config: config,
        ..options()
    };
    Cell::start(options).await.unwrap()
}

/// A command that runs until its input ends, and what it was told.
struct Session {
    raw: Raw,
    peer: u32,
}

impl Session {
    async fn enter(door: &Door) -> Self {
        let mut raw = Raw::login(door).await.unwrap();
        let peer = raw.open_session(0, u32::MAX).await.unwrap();
        raw.send(&exec(peer, "exec cat"));
        raw.wait_for(msg::CHANNEL_SUCCESS).await.unwrap();
        Self { raw, peer }
    }

    /// Says its last word, which comes back, and ends well.
    async fn finish(mut self) {
        self.raw.send(&data(self.peer, b"last word"));
        self.raw.send(&plain(msg::CHANNEL_EOF, self.peer));
        let finished = self.raw.finish(0, self.peer).await.unwrap();
        assert_eq!(finished.stdout, b"last word");
        assert_eq!(finished.status, Some(0));
    }
}

/// Nobody listens there any more.
async fn is_closed(address: SocketAddr) {
    assert!(TcpStream::connect(address).await.is_err());
}

const CLOSED: &str = "listener-closed";

/// Waits until the health server there says that all is well.
async fn is_healthy(address: SocketAddr) {
    within("good health", async {
        let is_good = |status: String| status.contains(" 200 ");
        while !health(address).await.is_some_and(is_good) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_health_then_the_listener_then_the_sessions() {
    let cell = cell(draining("2s", "1h")).await;
    let door = proxy_door(&cell);
    let login = &cell.logins()[0];
    let session = Session::enter(&door).await;
    let told = Session::enter(&door).await;
    let mut half_way = Raw::served(door.address).await;
    let healthy = health(cell.health_address()).await.unwrap();
    assert!(healthy.contains(" 200 "), "{healthy}");

    cell.proxy().signal(Signal::TERM);
    cell.proxy().wait_for_log("stopping-server").await.unwrap();
    let unhealthy = health(cell.health_address()).await.unwrap();
    assert!(unhealthy.contains(" 503 "), "{unhealthy}");
    // A balancer may not know yet: who comes now is served.
    let late = Session::enter(&door).await;

    cell.proxy().wait_for_log(CLOSED).await.unwrap();
    is_closed(door.address).await;
    session.finish().await;
    late.finish().await;
    let entered = half_way.try_password(&login.user, &login.password).await;
    assert_eq!(entered, Ok(true));
    assert_eq!(half_way.run(0, "echo in").await.unwrap().stdout, b"in\n");
    drop(half_way);

    cell.proxy().signal(Signal::TERM);
    let (reason, text) = told.raw.disconnect().await;
    assert_eq!(reason, 11);
    assert_eq!(text, "the SSH proxy is shutting down; connect again");
    let status = cell.proxy().exited().await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(cell.proxy().log().contains("ssh-proxy.exited"));
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_told_when_their_time_is_over() {
    let cell = cell(draining("0s", "1s")).await;
    let session = Session::enter(&proxy_door(&cell)).await;
    cell.proxy().signal(Signal::TERM);
    let (reason, text) = session.raw.disconnect().await;
    assert_eq!(reason, 11);
    assert_eq!(text, "the SSH proxy is shutting down; connect again");
    let status = cell.proxy().exited().await.unwrap();
    assert_eq!(status.code(), Some(0));
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sessions_there_is_nothing_to_wait_for() {
    let cell = cell(draining("0s", "1h")).await;
    Session::enter(&proxy_door(&cell)).await.finish().await;
    cell.proxy().signal(Signal::INT);
    let exited = within("the end", cell.proxy().exited()).await;
    assert_eq!(exited.unwrap().code(), Some(0));
    cell.stop().await;
}

/// Users who log in, work and leave, all the time.
struct Load {
    users: JoinSet<()>,
    finished: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Load {
    const USERS: usize = 6;

    fn through(door: &Door) -> Self {
        let mut load = Self {
            users: JoinSet::new(),
            finished: Arc::default(),
            stop: Arc::default(),
        };
        for _ in 0..Self::USERS {
            let (door, finished, stop) = (door.clone(), load.finished.clone(), load.stop.clone());
            load.users.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let mut raw = Raw::login(&door).await.unwrap();
                    let command = "head -c 300000 /dev/zero; exit 3";
                    let done = raw.run(0, command).await.unwrap();
                    assert_eq!((done.stdout.len(), done.status), (300_000, Some(3)));
                    finished.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        load
    }

    /// Waits until each user has finished some more sessions, all of them well.
    async fn goes_on(&mut self) {
        let goal = self.finished.load(Ordering::SeqCst) + 2 * Self::USERS;
        within("the load", async {
            while self.finished.load(Ordering::SeqCst) < goal {
                assert!(self.users.try_join_next().is_none(), "a user was cut off");
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(user) = self.users.join_next().await {
            user.unwrap();
        }
    }
}

/// A port that is free, on an address that nobody else here connects from or listens on.
async fn apart() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.77:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_cuts_nobody_off() {
    let cell = cell(draining("1s", "1h")).await;
    let (address, health_address) = (apart().await, apart().await);
    let second = configuration(
        &cell,
        "second.json",
        &json!({"address": address.to_string(), "health_check_address": health_address.to_string()}),
    );
    let other = start(&second).await;
    let first = Backend {
        ssh: cell.proxy_address(),
        health: cell.health_address(),
    };
    let balancer = Balancer::before(vec![
        first,
        Backend {
            ssh: address,
            health: health_address,
        },
    ])
    .await;
    let mut door = proxy_door(&cell);
    door.address = balancer.address;

    let mut load = Load::through(&door);
    load.goes_on().await;
    // One leads through the first for certain, the others wherever the balancer sends them.
    let mut held = vec![Session::enter(&proxy_door(&cell)).await];
    for _ in 0..4 {
        held.push(Session::enter(&door).await);
    }

    cell.proxy().signal(Signal::TERM);
    cell.proxy().wait_for_log(CLOSED).await.unwrap();
    is_closed(first.ssh).await;
    load.goes_on().await;
    // It waits for those that are left.
    assert!(cell.proxy().is_running());
    for session in held.drain(..) {
        session.finish().await;
    }
    let exited = within("the first proxy's end", cell.proxy().exited()).await;
    assert_eq!(exited.unwrap().code(), Some(0));
    cell.proxy().restart().await.unwrap();
    load.goes_on().await;

    for _ in 0..4 {
        held.push(Session::enter(&door).await);
    }
    other.signal(Signal::TERM);
    assert!(other.stdout.has(CLOSED).await);
    is_closed(address).await;
    load.goes_on().await;
    for session in held {
        session.finish().await;
    }
    let ended = within("the second proxy's end", other.finish()).await;
    assert_eq!(ended.status.code(), Some(0));
    let other = start(&second).await;
    load.goes_on().await;
    load.stop().await;
    drop(other);
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_inherited_listener_the_next_process_takes_over_without_a_gap() {
    let cell = cell(json!({})).await;
    let (ssh, address) = listener().await;
    let (watch, health_address) = listener().await;
    let config = configuration(&cell, "inheriting.json", &draining("0s", "1h"));
    let mut door = proxy_door(&cell);
    door.address = address;

    let old = inheriting(&config, &ssh, &watch).await;
    let session = Session::enter(&door).await;
    old.signal(Signal::TERM);
    assert!(old.stdout.has(CLOSED).await);
    // Nobody accepts now, and nobody is turned away.
    let waiting = Raw::connect(address).await;
    let new = inheriting(&config, &ssh, &watch).await;
    let mut waiting = waiting.enter(&door).await.unwrap();
    assert_eq!(waiting.run(0, "echo in").await.unwrap().stdout, b"in\n");
    is_healthy(health_address).await;
    assert_eq!(new.stdout.count("authentication-attempted"), 1);

    session.finish().await;
    let ended = within("the old proxy's end", old.finish()).await;
    assert_eq!(ended.status.code(), Some(0));
    drop(new);
    cell.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_reuse_port_two_processes_serve_one_port() {
    let mut config = draining("1h", "1h");
    config["reuse_port"] = true.into();
    let cell = cell(config).await;
    let door = proxy_door(&cell);
    let session = Session::enter(&door).await;
    let config = configuration(&cell, "second.json", &json!({}));
    let second = start(&config).await;
    cell.proxy().signal(Signal::TERM);
    cell.proxy().wait_for_log("stopping-server").await.unwrap();
    // The first one's health server is gone, though it still takes users: only the second's answers.
    for _ in 0..40 {
        is_healthy(cell.health_address()).await;
        let told = health(cell.health_address()).await;
        assert!(!told.is_some_and(|status| status.contains(" 503 ")));
    }
    session.finish().await;
    cell.proxy().signal(Signal::TERM);
    let exited = within("the first proxy's end", cell.proxy().exited()).await;
    assert_eq!(exited.unwrap().code(), Some(0));
    Session::enter(&door).await.finish().await;
    assert_eq!(second.stdout.count("authentication-attempted"), 1);
    drop(second);
    cell.stop().await;
}
