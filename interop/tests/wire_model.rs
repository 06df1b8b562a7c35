//! Whole stacks under random splits, delays, windows and rekeys, over thousands of seeds: every channel's
//! bytes, replies and exit status, and the order of EOF and CLOSE, are what a model says.
//!
//! A failure prints its seed, with a plan that is as small as leaving things out makes it and the end of
//! what happened. `WIRE_SEED=n` runs one seed, and always to the same effect. Ten times the seeds are
//! for `scripts/soak`.

mod simulation;
mod support;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex};

use simulation::plan::Plan;
use support::tenth;

/// How many there are to try; each is a number from 0.
const SEEDS: u64 = 20_000;

/// What comes of one plan, if it fails: why, and what happened.
fn failure(plan: &Plan) -> Option<(String, Vec<String>)> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let plan = Arc::new(plan.clone());
    let run = catch_unwind(AssertUnwindSafe(|| simulation::run(&plan, &lines)));
    let lines = match lines.lock() {
        Ok(lines) => lines.clone(),
        Err(poisoned) => poisoned.into_inner().clone(),
    };
    let panicked = run.err()?;
    let why = (panicked.downcast_ref::<String>().cloned()).or_else(|| {
        panicked
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
    });
    Some((why.unwrap_or_default(), lines))
}

/// Leaves out what the failure does not need.
fn shrunk(mut plan: Plan) -> Plan {
    // Plans that fail on the way say nothing.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let fails = |plan: &Plan| failure(plan).is_some();
    while let Some(smaller) = plan.smaller().into_iter().find(fails) {
        plan = smaller;
    }
    set_hook(hook);
    plan
}

/// The first of `seeds` to fail, on all cores.
fn failing(seeds: Range<u64>) -> Option<u64> {
    let seeds = Mutex::new(seeds);
    let next = || seeds.lock().unwrap().next();
    let run = || {
        let failed = std::iter::from_fn(next).find(|seed| failure(&Plan::new(*seed)).is_some())?;
        // One is enough.
        *seeds.lock().unwrap() = 0..0;
        Some(failed)
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let failed = threads.into_iter().map(|thread| thread.join().unwrap());
        failed.flatten().min()
    })
}

#[test]
fn whole_stacks_deliver_what_the_model_says() {
    let one = std::env::var("WIRE_SEED").ok();
    let one = one.map(|seed| seed.parse().expect("a number"));
    let seeds = one.map_or(0..tenth(SEEDS), |seed| seed..seed + 1);
    if let Some(seed) = failing(seeds) {
        let plan = shrunk(Plan::new(seed));
        let (why, lines) = failure(&plan).expect("what failed fails again");
        let last = simulation::last(&lines);
        panic!("WIRE_SEED={seed} fails: {why}\n{plan:#?}\n{last}");
    }
}

/// What happens follows from the seed alone.
#[test]
fn a_seed_gives_the_same_again() {
    for seed in 0..20 {
        let trace = || {
            let lines = Arc::new(Mutex::new(Vec::new()));
            simulation::run(&Arc::new(Plan::new(seed)), &lines);
            Arc::into_inner(lines).unwrap().into_inner().unwrap()
        };
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}
