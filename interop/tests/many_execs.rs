//! Many short commands, at the same time, on few connections and on many: none may lose output, the
//! way it ended, or the reply to `exec`.
//!
//! The full numbers are for `scripts/soak`; otherwise it is a tenth.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use devcell::Cell;
use interop::process;
use support::runs::{Client, End, Run};
use support::tenth;
use support::user::{Master, cell, ssh};
use tokio::process::Command;
use tokio::task::JoinSet;

/// Runs of each test in its long form.
const RUNS: u32 = 10_000;

/// Runs with the `ssh` command on connections that are there already: 50 a second on two cores.
const RUNS_WITH_SSH: u32 = 2_500;

/// Runs with the `ssh` command where each is a new login: 20 a second.
const LOGINS_WITH_SSH: u32 = 1_000;

/// Numbers for runs, given out to whoever is ready for the next.
struct Numbers {
    next: AtomicU32,
    end: u32,
}

impl Numbers {
    fn up_to(end: u32) -> Arc<Self> {
        let next = AtomicU32::new(0);
        Arc::new(Self { next, end })
    }

    fn next(&self) -> Option<u32> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.end).then_some(number)
    }

    fn runs(self: Arc<Self>) -> impl Iterator<Item = Run> {
        std::iter::from_fn(move || self.next()).map(Run::number)
    }
}

/// Adds up what the tasks have done, and tells.
async fn all_of(tasks: JoinSet<usize>, how: &str, expected: u32) {
    let start = Instant::now();
    let done: usize = tasks.join_all().await.into_iter().sum();
    let seconds = start.elapsed().as_secs_f32();
    println!("{done} runs {how} in {seconds:.1} s");
    assert_eq!(done, usize::try_from(expected).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn none_loses_anything_on_few_connections() {
    let cell = Arc::new(cell().await);
    let numbers = Numbers::up_to(tenth(RUNS));
    let mut tasks = JoinSet::new();
    for connection in 0..4 {
        let (cell, numbers) = (Arc::clone(&cell), Arc::clone(&numbers));
        tasks.spawn(async move {
            let mut client = Client::login(&cell, connection % 2).await;
            // Under the 64 sessions that a connection may have.
            let done = client.check(numbers.runs(), 60).await;
            client.close().await;
            done
        });
    }
    all_of(tasks, "on 4 connections", numbers.end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn none_loses_anything_on_connections_of_their_own() {
    let cell = Arc::new(cell().await);
    let numbers = Numbers::up_to(tenth(RUNS));
    let mut tasks = JoinSet::new();
    for worker in 0..16 {
        let (cell, numbers) = (Arc::clone(&cell), Arc::clone(&numbers));
        tasks.spawn(async move {
            let mut done = 0;
            while let Some(number) = numbers.next() {
                let mut client = Client::login(&cell, worker % 2).await;
                done += client.check([Run::number(number)], 1).await;
                client.close().await;
            }
            done
        });
    }
    all_of(tasks, "on as many connections", numbers.end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn none_loses_anything_with_shared_connections_of_openssh() {
    let cell = Arc::new(cell().await);
    let masters = [
        Master::start(&cell, 0, "control-0", &[]).await,
        Master::start(&cell, 1, "control-1", &[]).await,
    ];
    let masters = Arc::new(masters);
    let numbers = Numbers::up_to(tenth(RUNS_WITH_SSH));
    let mut tasks = JoinSet::new();
    for worker in 0..16 {
        let (masters, numbers) = (Arc::clone(&masters), Arc::clone(&numbers));
        let ssh = move || masters[worker % 2].ssh();
        tasks.spawn(check_each(numbers, ssh));
    }
    all_of(tasks, "of ssh on 2 connections", numbers.end).await;
    for master in Arc::into_inner(masters).unwrap() {
        master.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn none_loses_anything_with_one_openssh_each() {
    let cell = Arc::new(cell().await);
    let numbers = Numbers::up_to(tenth(LOGINS_WITH_SSH));
    let mut tasks = JoinSet::new();
    for worker in 0..8 {
        let (cell, numbers): (Arc<Cell>, _) = (Arc::clone(&cell), Arc::clone(&numbers));
        let ssh = move || ssh(&cell, worker % 2);
        tasks.spawn(check_each(numbers, ssh));
    }
    all_of(tasks, "of ssh on as many connections", numbers.end).await;
}

/// Runs a program for each run and checks what comes of it.
async fn check_each(numbers: Arc<Numbers>, ssh: impl Fn() -> Command) -> usize {
    let mut done = 0;
    while let Some(number) = numbers.next() {
        let run = Run::number(number);
        let mut command = ssh();
        command.arg(&run.command);
        let output = process::run(command, b"").await;
        let status = match run.end {
            End::Status(status) => status,
            // All that ssh tells of a signal.
            End::Signal(_) => 255,
        };
        let got = output.status.code().and_then(|code| code.try_into().ok());
        assert_eq!(got, Some(status), "{}: {}", run.command, output.stderr);
        assert!(output.stdout == run.stdout.as_bytes(), "{}", run.command);
        assert!(output.stderr == run.stderr, "{}", run.command);
        done += 1;
    }
    done
}
