//! Measures our programs beside OpenSSH's server, and beside the Go pair where it is here.
//!
//! Owns which measurements there are and in which order they run. All servers of one row take turns in
//! one run on one machine, driven by the same client: machines differ and are noisy, so the ratios
//! within a run are what counts.
//!
//! `scripts/bench` builds what is measured and calls this.

#![forbid(unsafe_code)]

mod client;
mod measure;
mod process;
mod report;
mod server;

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

use measure::{Effort, GROUPS};
use report::{Report, chart, table};

#[tokio::main]
async fn main() {
    let arguments = command_line().get_matches();
    let effort = if arguments.get_flag("quick") {
        Effort::QUICK
    } else {
        Effort::FULL
    };
    let wanted: Vec<&String> = arguments.get_many("group").unwrap_or_default().collect();
    let binaries = server::Binaries::find(&arguments);
    process::raise_descriptor_limit();
    let mut report = Report::new(&effort);
    for group in GROUPS {
        if wanted.is_empty() || wanted.iter().any(|name| *name == group.name) {
            eprintln!("bench: {}", group.title);
            let rows = (group.run)(&binaries, &effort).await;
            report.add(group.title, group.note, rows);
        }
    }
    println!("{}", table(&report));
    if let Some(path) = arguments.get_one::<PathBuf>("json") {
        let json = serde_json::to_vec_pretty(&report).expect("numbers and text");
        std::fs::write(path, json).expect("the JSON file");
    }
    if let Some(path) = arguments.get_one::<PathBuf>("table") {
        std::fs::write(path, table(&report)).expect("the table's file");
    }
    if let Some(path) = arguments.get_one::<PathBuf>("chart") {
        std::fs::write(path, chart(&report)).expect("the chart's file");
    }
}

fn command_line() -> Command {
    let path = |name, help| {
        let arg = Arg::new(name).long(name).value_name("PATH").help(help);
        arg.value_parser(value_parser!(PathBuf))
    };
    Command::new("bench")
        .about("Measures ssh-proxy and diego-sshd beside OpenSSH's sshd.")
        .arg(path("bin-dir", "Where ssh-proxy and diego-sshd are").required(true))
        .arg(path("json", "Also write the figures as JSON"))
        .arg(path("table", "Also write the table as Markdown"))
        .arg(path("chart", "Also write a chart as SVG"))
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("A tenth of everything: for trying, not for quoting"),
        )
        .arg(
            Arg::new("group")
                .value_name("GROUP")
                .num_args(0..)
                .value_parser(GROUPS.map(|group| group.name))
                .help("What to measure; everything if none is named"),
        )
}
