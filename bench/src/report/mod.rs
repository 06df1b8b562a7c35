//! Figures, and the three forms in which they are shown: a table, JSON, a chart.

mod chart;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::measure::Effort;
use crate::server::Subject;

pub(crate) use chart::chart;
pub(crate) use table::table;

/// What a figure counts. Less is better, except of rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "CPU-s/GB")]
    CpuSecondsPerGb,
    #[serde(rename = "MB/s")]
    MegabytesPerSecond,
    #[serde(rename = "CPU-ms")]
    CpuMilliseconds,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "kB")]
    Kilobytes,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuSecondsPerGb => "CPU-s/GB",
            Self::MegabytesPerSecond => "MB/s",
            Self::CpuMilliseconds => "CPU-ms",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Kilobytes => "kB",
        }
    }
}

/// One thing that was measured of several servers.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    /// By the names of the servers.
    pub(crate) figures: BTreeMap<&'static str, Figure>,
}

/// The samples of one server.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figure {
    samples: Vec<f64>,
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, unit: Unit) -> Self {
        let what = what.into();
        let figures = BTreeMap::new();
        Self {
            what,
            unit,
            figures,
        }
    }

    /// Adds a sample.
    pub(crate) fn push(&mut self, subject: Subject, sample: f64) {
        let figure = self.figures.entry(subject.name()).or_default();
        figure.samples.push(sample);
    }

    pub(crate) fn figure(&self, subject: Subject) -> Option<&Figure> {
        self.figures.get(subject.name())
    }

    /// The median as a part of OpenSSH's in the same run.
    pub(crate) fn ratio(&self, subject: Subject) -> Option<f64> {
        let theirs = self.figure(Subject::OpenSsh)?.median();
        Some(self.figure(subject)?.median() / theirs)
    }
}

impl Figure {
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        }
    }

    pub(crate) fn least(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn most(&self) -> f64 {
        self.samples.iter().copied().fold(0.0, f64::max)
    }
}

/// All that a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) groups: Vec<Section>,
}

/// Rows that belong together.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) note: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// Where and when.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) openssh: String,
}

impl Report {
    pub(crate) fn new(effort: &Effort) -> Self {
        Self {
            machine: Machine::here(),
            rounds: effort.rounds,
            groups: Vec::new(),
        }
    }

    /// Adds a group; rows that nothing was measured of are left out.
    pub(crate) fn add(&mut self, title: &'static str, note: &'static str, mut rows: Vec<Row>) {
        rows.retain(|row| !row.figures.is_empty());
        self.groups.push(Section { title, note, rows });
    }
}

impl Machine {
    fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let model = model.and_then(|line| line.split_once(": "));
        let cores = std::thread::available_parallelism();
        Self {
            date: said("date", &["+%Y-%m-%d"]),
            processor: model.map_or("unknown", |(_, name)| name).to_owned(),
            cores: cores.map_or(1, std::num::NonZero::get),
            kernel: said("uname", &["-r"]),
            openssh: said("sh", &["-c", "ssh -V 2>&1"]),
        }
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let stdout = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&stdout).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(samples: &[(Subject, f64)]) -> Row {
        let mut row = Row::new("a row", Unit::Seconds);
        for (subject, sample) in samples {
            row.push(*subject, *sample);
        }
        row
    }

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        let row = row(&[
            (Subject::Daemon, 9.0),
            (Subject::Daemon, 1.0),
            (Subject::Daemon, 2.0),
        ]);
        let figure = row.figure(Subject::Daemon).unwrap();
        let all = (figure.least(), figure.median(), figure.most());
        assert_eq!(all, (1.0, 2.0, 9.0));
    }

    #[test]
    fn ratios_are_to_openssh_and_only_where_it_was_measured() {
        let both = row(&[(Subject::OpenSsh, 4.0), (Subject::Daemon, 1.0)]);
        assert_eq!(both.ratio(Subject::Daemon), Some(0.25));
        assert_eq!(both.ratio(Subject::Proxy), None);
        assert_eq!(row(&[(Subject::Proxy, 1.0)]).ratio(Subject::Proxy), None);
    }
}
