//! Results: as a table for people, as JSON for later, as Markdown with a column for each server.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::case::{Case, Program};
use crate::run::{Outcome, Verdict};

/// All results of a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// What the server is called.
    pub server: String,
    /// A result for each row that ran.
    pub results: Vec<Row>,
    /// Rows that need credentials, where there were none.
    pub left_out: usize,
    /// The row after which the server was gone, and nothing else could run.
    pub gone_after: Option<String>,
}

/// The result of one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The row's id.
    pub id: String,
    /// Its group.
    pub group: String,
    /// Its title.
    pub title: String,
    /// Its source.
    pub source: String,
    /// What had to come.
    pub expected: String,
    /// What came.
    pub got: String,
    /// The text of a DISCONNECT, if one came.
    pub text: String,
    /// How long that took.
    pub ms: u64,
    /// One of `ok`, `weaker`, `DIFFERS`, `n/a`.
    pub verdict: String,
}

impl Row {
    /// The result of `case`.
    pub fn new(case: &Case, program: Program, outcome: &Outcome) -> Self {
        let text = match &outcome.end {
            crate::end::End::Cut { text, .. } | crate::end::End::Told(text) => text.clone(),
            _ => String::new(),
        };
        Self {
            id: case.id.clone(),
            group: case.group().to_owned(),
            title: case.title.clone(),
            source: case.source.to_owned(),
            expected: case.expected_of(program).to_string(),
            got: outcome.summary(),
            text,
            ms: u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
            verdict: verdict_name(outcome.verdict(case, program)).to_owned(),
        }
    }

    /// True where what came is what had to come.
    pub fn is_met(&self) -> bool {
        self.verdict == verdict_name(Verdict::Met)
    }

    /// True where what came is wrong: not even the connection's end in other words.
    pub fn is_wrong(&self) -> bool {
        self.verdict == verdict_name(Verdict::Differs)
    }

    /// True where something else came.
    pub fn differs(&self) -> bool {
        !self.is_met() && self.verdict != verdict_name(Verdict::NotApplicable)
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "ok",
        Verdict::Weaker => "weaker",
        Verdict::Differs => "DIFFERS",
        Verdict::NotApplicable => "n/a",
    }
}

/// Columns as wide as they have to be.
pub fn table<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let head = ["id", "title", "source", "expected", "got", "ms", "verdict"].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(rows.into_iter().map(|row| {
        let got = if row.text.is_empty() {
            row.got.clone()
        } else {
            format!("{} ({})", row.got, row.text)
        };
        [
            row.id.clone(),
            row.title.clone(),
            row.source.clone(),
            row.expected.clone(),
            got,
            row.ms.to_string(),
            row.verdict.clone(),
        ]
    }));
    let mut widths = [0; 7];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    for line in &lines {
        let cells: Vec<String> = (line.iter().zip(widths))
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

/// How many rows of each group came out how, in the order of the groups.
pub fn summary(report: &Report) -> String {
    let mut groups: Vec<&str> = report.results.iter().map(|row| &*row.group).collect();
    groups.dedup();
    let mut out = String::new();
    for group in groups {
        let rows = report.results.iter().filter(|row| row.group == group);
        let _ = writeln!(out, "{group:12} {}", counts(rows));
    }
    let _ = writeln!(out, "{:12} {}", "all", counts(report.results.iter()));
    if report.left_out > 0 {
        let _ = writeln!(
            out,
            "{} rows need a login and were left out: give --user and --password or --identity",
            report.left_out
        );
    }
    if let Some(id) = &report.gone_after {
        let _ = writeln!(
            out,
            "the server is gone since {id}: give --restart to go on behind that"
        );
    }
    out
}

fn counts<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut slowest = 0;
    for row in rows {
        *counts.entry(&row.verdict).or_default() += 1;
        slowest = slowest.max(row.ms);
    }
    // Capital letters come first: what differs.
    let counts: Vec<String> = counts
        .iter()
        .map(|(verdict, count)| format!("{count} {verdict}"))
        .collect();
    format!("{}, slowest {slowest} ms", counts.join(", "))
}

/// Results side by side as Markdown: how many rows of each group were met, and then each row that some
/// server does not meet, or all of them.
pub fn markdown(reports: &[Report], all: bool) -> String {
    let names: Vec<&str> = reports.iter().map(|report| &*report.server).collect();
    let mut rows: Vec<&Row> = Vec::new();
    for row in reports.iter().flat_map(|report| &report.results) {
        if !rows.iter().any(|other| other.id == row.id) {
            rows.push(row);
        }
    }
    let mut out = format!("| group | {} |\n", names.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(names.len()));
    let mut groups: Vec<&str> = rows.iter().map(|row| &*row.group).collect();
    groups.dedup();
    for group in groups {
        let cells = reports.iter().map(|report| total(report, Some(group)));
        let _ = writeln!(out, "| {group} | {} |", join(cells));
    }
    let cells = reports.iter().map(|report| total(report, None));
    let _ = writeln!(out, "| **all** | {} |\n", join(cells));
    let _ = writeln!(out, "| id | case | expected | {} |", names.join(" | "));
    let _ = writeln!(out, "|---|---|---|{}", "---|".repeat(names.len()));
    for row in rows {
        let found = |report: &Report| {
            let mut results = report.results.iter();
            results.find(|other| other.id == row.id).cloned()
        };
        let found: Vec<Option<Row>> = reports.iter().map(found).collect();
        if all || found.iter().flatten().any(Row::is_wrong) {
            let cells = found
                .iter()
                .map(|row| row.as_ref().map_or("-".to_owned(), cell));
            let (id, title, expected) = (&row.id, &row.title, &row.expected);
            let _ = writeln!(out, "| {id} | {title} | {expected} | {} |", join(cells));
        }
    }
    out
}

fn join(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join(" | ")
}

fn cell(row: &Row) -> String {
    match row.verdict.as_str() {
        "ok" => "✓".to_owned(),
        "n/a" => "n/a".to_owned(),
        "weaker" => format!("({})", row.got),
        _ => format!("**{}**", row.got),
    }
}

/// Rows that were met, those that only ended otherwise, and all that the server could meet.
fn total(report: &Report, group: Option<&str>) -> String {
    let of = |verdict: Option<Verdict>| {
        let rows = report.results.iter();
        let rows = rows.filter(|row| group.is_none_or(|group| row.group == group));
        let rows = rows.filter(|row| row.verdict != verdict_name(Verdict::NotApplicable));
        rows.filter(|row| verdict.is_none_or(|it| row.verdict == verdict_name(it)))
            .count()
    };
    let (met, weaker) = (of(Some(Verdict::Met)), of(Some(Verdict::Weaker)));
    match (of(None), weaker) {
        (0, _) => "-".to_owned(),
        (all, 0) => format!("{met} of {all}"),
        (all, _) => format!("{met} + {weaker} of {all}"),
    }
}
