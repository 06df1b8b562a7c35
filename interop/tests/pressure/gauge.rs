//! What a program takes of the machine, as `/proc` tells.

use std::fs;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use devcell::rig::Process;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::support::user::until;

/// How often memory is looked at while something goes on.
const SAMPLING: Duration = Duration::from_millis(20);

/// One running program.
#[derive(Clone, Copy)]
pub struct Gauge {
    pid: u32,
}

impl Gauge {
    /// Of a program that runs.
    pub fn of(program: &Process) -> Self {
        Self {
            pid: program.pid().unwrap(),
        }
    }

    /// Memory that is in use and not the copy of a file, in kB: what the next process lacks.
    pub fn memory_kb(self) -> u64 {
        self.status_kb("RssAnon")
    }

    /// All its memory, code included, in kB.
    pub fn resident_kb(self) -> u64 {
        self.status_kb("VmRSS")
    }

    /// How many descriptors it has open.
    pub fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid))
            .unwrap()
            .count()
    }

    /// Processor time so far, in ticks: 100 a second on every Linux.
    pub fn ticks(self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // "pid (name) state ...", where a name may contain anything; utime and stime are 14 and 15.
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = rest.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// From now on it may have only so many descriptors.
    pub fn may_open(self, descriptors: usize) {
        self.limit(Resource::Nofile, descriptors as u64);
    }

    /// From now on it may have so many bytes of memory of its own, beside what it has already reserved.
    ///
    /// RLIMIT_DATA counts what is private and can be written; RLIMIT_AS would count what the C library
    /// only reserves for the heaps of threads, 64 MiB for each.
    pub fn may_take(self, bytes: u64) {
        let reserved = self.status_kb("VmData") * 1024;
        self.limit(Resource::Data, reserved + bytes);
    }

    fn limit(self, resource: Resource, most: u64) {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        let pid = Pid::from_raw(self.pid.try_into().unwrap());
        prlimit(pid, resource, limit).unwrap();
    }

    /// Waits until it has no more descriptors than `before`.
    pub async fn has_given_back(self, before: usize) {
        until("descriptors are given back", || {
            self.descriptors() <= before
        })
        .await;
    }

    /// The most memory that it takes while `meanwhile` goes on, in kB, and what came of that.
    pub async fn peak_kb<T>(self, meanwhile: impl Future<Output = T>) -> (u64, T) {
        let mut meanwhile = pin!(meanwhile);
        let mut peak = self.memory_kb();
        let outcome = loop {
            let next = tokio::time::timeout(SAMPLING, &mut meanwhile).await;
            peak = peak.max(self.memory_kb());
            if let Ok(outcome) = next {
                break outcome;
            }
        };
        (peak, outcome)
    }

    fn status_kb(self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}
