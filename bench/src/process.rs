//! What `/proc` tells of a process: processor time and memory.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long a tick of `/proc/PID/stat` is; Linux shows all processes 100 of them a second.
const TICK: Duration = Duration::from_millis(10);

/// Processor time, user and system, that the threads of a process have used so far. Its children are
/// not counted.
///
/// # Panics
/// There is no such process.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let times = tasks.map(|task| {
        let file = task.expect("an entry").path().join("schedstat");
        // A thread that ended meanwhile has been idle.
        let text = fs::read_to_string(file).unwrap_or_default();
        let first = text.split_ascii_whitespace().next();
        Duration::from_nanos(first.map_or(0, |number| number.parse().expect("nanoseconds")))
    });
    times.sum()
}

/// The same with the children that it has waited for, and theirs.
///
/// # Panics
/// There is no such process.
pub(crate) fn cpu_time_with_children(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    // The name, which may have anything in it, ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let children = fields.split_ascii_whitespace().skip(13).take(2);
    let ticks: u32 = children.map(|it| it.parse::<u32>().expect("ticks")).sum();
    cpu_time(pid) + TICK * ticks
}

/// Memory in kB that would come free if the process and its children ended: private memory, and a
/// share of what they share.
///
/// # Panics
/// There is no such process.
pub(crate) fn memory_with_children(pid: u32) -> u64 {
    let own = memory(pid);
    let below = children(pid).into_iter().map(memory_with_children);
    own + below.sum::<u64>()
}

/// Resident memory of a process in kB, shared pages by their share. Gone processes have none.
pub(crate) fn memory(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.map_or(0, |number| number.parse().expect("kB"))
}

/// All resident memory of a process in kB.
///
/// # Panics
/// There is no such process.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.expect("VmRSS").parse().expect("kB")
}

fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    let numbers = text.split_ascii_whitespace();
    numbers.map(|pid| pid.parse().expect("a pid")).collect()
}

/// Thousands of connections are held at a time.
pub(crate) fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).expect("the own hard limit");
}
