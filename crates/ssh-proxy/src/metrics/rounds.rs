//! What goes to loggregator all the time: the metrics that every component of the platform has, and how
//! often users were refused for which reason.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, interval_at};

use super::Metrics;
use crate::platform::loggregator::Emitter;

/// Between two rounds, and before the first (the reference's emitter of runtime metrics).
const INTERVAL: Duration = Duration::from_secs(10);

/// The counter of refusals, and the tag that names the reason.
const REFUSALS: &str = "ssh-refusals";
const CODE: &str = "code";

/// Where Linux tells about a process.
const STATUS: &str = "/proc/self/status";

/// Counts between two rounds. The reasons are few, so anybody may cause as many refusals as they
/// like: they are one envelope for each reason in each round.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<&'static str, u64>>);

impl Refusals {
    /// Counts a login that ended for the reason `code`.
    pub(super) fn count(&self, code: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(code).or_default();
        *count = count.saturating_add(1);
    }

    fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Metrics {
    /// Emits a round now and then; ends only by being dropped.
    pub(crate) async fn emit(&self, emitter: &Emitter) {
        let mut rounds = interval_at(Instant::now() + INTERVAL, INTERVAL);
        loop {
            rounds.tick().await;
            runtime(emitter);
            for (code, count) in self.refusals.take() {
                emitter.counter(REFUSALS, count, (CODE, code));
            }
        }
    }
}

/// The runtime metrics of Go programs, with what comes closest here: memory of our own, the main
/// thread's stack, no garbage collector, and tasks.
fn runtime(emitter: &Emitter) {
    let status = std::fs::read_to_string(STATUS).unwrap_or_default();
    let memory =
        |key| kilobytes(&status, key).map_or(0.0, |kilobytes| f64::from(kilobytes) * 1024.0);
    let tasks = Handle::current().metrics().num_alive_tasks();
    let tasks = f64::from(u32::try_from(tasks).unwrap_or(u32::MAX));
    emitter.gauge(
        "memoryStats.numBytesAllocatedHeap",
        "Bytes",
        memory("RssAnon:"),
    );
    emitter.gauge(
        "memoryStats.numBytesAllocatedStack",
        "Bytes",
        memory("VmStk:"),
    );
    emitter.gauge("memoryStats.lastGCPauseTimeNS", "ns", 0.0);
    emitter.gauge("numGoRoutines", "Count", tasks);
}

/// The number in a line such as `RssAnon:     1234 kB`.
pub(super) fn kilobytes(status: &str, key: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
