//! Some figures as a picture: bars that are ratios to OpenSSH.

use std::fmt::Write;

use super::{Report, Row};
use crate::server::Subject;

/// The rows that are shown, where they were measured: less is better in all of them.
const SHOWN: [&str; 11] = [
    "CPU of aes128-gcm, down",
    "CPU of aes128-gcm, up",
    "CPU at writes of 1 KiB, down",
    "CPU of a login, RSA-2048, one after another",
    "time of a login, RSA-2048, one after another",
    "memory of one of 200",
    "echo, median",
    "sftp put, one of 1 GiB",
    "sftp get, one of 1 GiB",
    "sftp put, 10,000 small",
    "scp -O put, one of 1 GiB",
];

const WIDTH: f64 = 860.0;
/// Where bars begin; left of it is text.
const LEFT: f64 = 330.0;
/// How long a bar is that stands for OpenSSH.
const ONE: f64 = 300.0;
const BAR: f64 = 12.0;
const GAP: f64 = 14.0;
const TOP: f64 = 70.0;

/// Longer bars are cut, and their number tells.
const LONGEST: f64 = 1.6;

/// The chart as SVG, readable on light and dark pages.
pub(crate) fn chart(report: &Report) -> String {
    let rows: Vec<&Row> = SHOWN.iter().filter_map(|what| find(report, what)).collect();
    let mut body = String::new();
    let mut y = TOP;
    for row in &rows {
        y = add_row(&mut body, row, y);
    }
    let one = LEFT + ONE;
    let line_end = y - GAP / 2.0;
    let machine = &report.machine;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <style>text{{fill:#24292f}}.line{{stroke:#8c959f}}.daemon{{fill:#2f81f7}}\
         .proxy{{fill:#3fb950}}.go{{fill:#d29922}}\
         @media (prefers-color-scheme:dark){{text{{fill:#e6edf3}}}}</style>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\" font-weight=\"bold\">As a part of what OpenSSH's \
         sshd takes; shorter is better</text>\n\
         <rect class=\"daemon\" x=\"12\" y=\"38\" width=\"12\" height=\"12\"/>\
         <text x=\"30\" y=\"49\">diego-sshd</text>\n\
         <rect class=\"proxy\" x=\"130\" y=\"38\" width=\"12\" height=\"12\"/>\
         <text x=\"148\" y=\"49\">ssh-proxy (times: with the daemon behind it)</text>\n\
         <line class=\"line\" x1=\"{one}\" y1=\"56\" x2=\"{one}\" y2=\"{line_end}\"/>\
         <text x=\"{label}\" y=\"49\">OpenSSH</text>\n\
         {body}\
         <text x=\"12\" y=\"{caption}\" font-size=\"11\">{cpu}, {cores} cores, {ssh}, {date}; \
         scripts/bench</text>\n</svg>\n",
        height = y + 24.0,
        label = one - 26.0,
        caption = y + 10.0,
        cpu = escaped(&machine.processor),
        cores = machine.cores,
        ssh = escaped(&machine.openssh),
        date = escaped(&machine.date),
    )
}

fn find<'a>(report: &'a Report, what: &str) -> Option<&'a Row> {
    let mut rows = report.groups.iter().flat_map(|section| &section.rows);
    rows.find(|row| row.what == what)
}

/// Adds the bars of one row; gives where the next one begins.
fn add_row(body: &mut String, row: &Row, top: f64) -> f64 {
    let bars: Vec<(Subject, f64)> = Subject::ALL
        .into_iter()
        .filter(|subject| subject.class().is_some())
        .filter_map(|subject| Some((subject, row.ratio(subject)?)))
        .collect();
    let height = BAR * bars.len() as f64;
    let middle = top + height / 2.0 + 4.0;
    let end = LEFT - 10.0;
    let what = escaped(&row.what);
    let _ = writeln!(
        body,
        "<text x=\"{end}\" y=\"{middle}\" text-anchor=\"end\">{what}</text>"
    );
    let mut y = top;
    for (subject, ratio) in bars {
        let class = subject.class().unwrap_or_default();
        let width = ONE * ratio.min(LONGEST);
        let (bar, text) = (BAR - 2.0, LEFT + width + 6.0);
        let (base, value) = (y + BAR - 3.0, format!("{ratio:.2}"));
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" \
             height=\"{bar}\"/><text x=\"{text:.1}\" y=\"{base}\" font-size=\"10\">{value}</text>",
        );
        y += BAR;
    }
    top + height + GAP
}

impl Subject {
    /// How its bars look, if it has any.
    fn class(self) -> Option<&'static str> {
        match self {
            Self::Daemon => Some("daemon"),
            Self::Proxy => Some("proxy"),
            Self::GoDaemon | Self::GoProxy => Some("go"),
            Self::OpenSsh | Self::ProxyTls | Self::ProxyPolicy => None,
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
