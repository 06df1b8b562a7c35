//! The figures as Markdown: for each server the median, the least and most, and the median as a part
//! of OpenSSH's.

use std::fmt::Write;

use super::{Figure, Report, Row, Section};
use crate::server::Subject;

/// All figures.
pub(crate) fn table(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{}, {} cores, Linux {}, {}, {}. Medians of {} rounds, in brackets the least and the \
         most, and behind them the ratio to OpenSSH in the same run.\n",
        machine.processor,
        machine.cores,
        machine.kernel,
        machine.openssh,
        machine.date,
        report.rounds,
    );
    for section in &report.groups {
        add_section(&mut text, section);
    }
    text
}

fn add_section(text: &mut String, section: &Section) {
    let measured = |subject: &Subject| {
        let mut rows = section.rows.iter();
        rows.any(|row| row.figure(*subject).is_some())
    };
    let columns: Vec<Subject> = Subject::ALL.into_iter().filter(measured).collect();
    let names: Vec<&str> = columns.iter().map(|column| column.name()).collect();
    let _ = write!(text, "\n### {}\n\n{}\n\n", section.title, section.note);
    let _ = writeln!(text, "| | unit | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(names.len()));
    for row in &section.rows {
        let cells: Vec<String> = columns.iter().map(|it| cell(row, *it)).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            row.what,
            row.unit.name(),
            cells.join(" | ")
        );
    }
}

fn cell(row: &Row, subject: Subject) -> String {
    let Some(figure) = row.figure(subject) else {
        return String::new();
    };
    let mut text = with_spread(figure);
    if subject != Subject::OpenSsh
        && let Some(ratio) = row.ratio(subject)
    {
        let _ = write!(text, " **{ratio:.2}**");
    }
    text
}

fn with_spread(figure: &Figure) -> String {
    let (least, most) = (figure.least(), figure.most());
    if least == most {
        return number(least);
    }
    let median = number(figure.median());
    format!("{median} ({}-{})", number(least), number(most))
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
