//! `ssh-proxy doctor`: tries everything that a login needs, in the order in which a login needs it, with the
//! code of the proxy itself, and tells what holds, what is broken, and what to do.
//!
//! | module       | owns                                                                |
//! |--------------|---------------------------------------------------------------------|
//! | this one     | the command                                                         |
//! | [`report`]   | what was found, for people and for programs                         |
//! | [`local`]    | what can be told without asking anybody: the file and what it names |
//! | [`remote`]   | the services of the platform                                        |
//! | [`instance`] | one instance, up to a channel in its daemon                         |

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use goflag::{Flag, Kind};

use crate::config::File;
use crate::platform::tls;
use report::Report;

mod instance;
mod local;
mod remote;
mod report;

/// Something is broken.
const EXIT_BROKEN: u8 = 1;

/// Called wrongly.
const EXIT_USAGE: u8 = 2;

/// The flags.
const FLAGS: &[Flag] = &[
    Flag {
        name: "config",
        kind: Kind::Text,
        default: "",
        usage: "Path to the JSON configuration file that is to be looked at",
    },
    Flag {
        name: "instance",
        kind: Kind::Text,
        default: "",
        usage: "PROCESS-GUID/INDEX of an instance whose daemon is to be entered, as BBS knows it",
    },
    Flag {
        name: "json",
        kind: Kind::Bool,
        default: "false",
        usage: "Print one JSON document instead of text",
    },
];

/// Runs the command: 0 if nothing is broken, 1 if something is, 2 if it was called wrongly.
pub(crate) fn command(words: Vec<OsString>) -> ExitCode {
    let usage = || goflag::usage("ssh-proxy doctor", FLAGS);
    let flags = match goflag::parse(FLAGS, words) {
        Ok(flags) => flags,
        Err(stop) => {
            complain(&format!("{stop}{}", usage()));
            return ExitCode::from(stop.exit_code());
        }
    };
    if flags.text("config").is_empty() {
        complain(&format!("-config is needed\n{}", usage()));
        return ExitCode::from(EXIT_USAGE);
    }
    let wanted = match flags.text("instance") {
        "" => None,
        text => match instance::parse(text) {
            Some(wanted) => Some(wanted),
            None => {
                complain("-instance: expected PROCESS-GUID/INDEX\n");
                return ExitCode::from(EXIT_USAGE);
            }
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let report = match runtime {
        Ok(runtime) => runtime.block_on(examine(flags.text("config"), wanted)),
        Err(error) => {
            complain(&format!("no runtime: {error}\n"));
            return ExitCode::from(EXIT_BROKEN);
        }
    };
    let text = match flags.is_true("json") {
        true => report.json(),
        false => report.text(is_colourful()),
    };
    // A pager may be gone.
    let _ = io::stdout().write_all(text.as_bytes());
    match report.is_broken() {
        true => ExitCode::from(EXIT_BROKEN),
        false => ExitCode::SUCCESS,
    }
}

/// Colours are for people, unless they want none (<https://no-color.org>).
fn is_colourful() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !unwanted
}

fn complain(text: &str) {
    // Nobody may listen there.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Looks at everything.
async fn examine(path: &str, wanted: Option<instance::Wanted>) -> Report {
    let mut report = Report::default();
    let Some(file) = read(path, &mut report) else {
        return report;
    };
    let services = local::examine(&file, &mut report).await;
    let bbs = remote::examine(&services, &mut report).await;
    if let Some(wanted) = wanted {
        instance::examine(&file, services, bbs, &wanted, &mut report).await;
    }
    report
}

/// The file, as far as it can be read.
fn read(path: &str, report: &mut Report) -> Option<File> {
    const CONFIG: &str = "config";
    let remedy = "Correct these keys in the file; the proxy ignores those that it does not know.";
    let text = match tls::read(path) {
        Ok(text) => text,
        Err(error) => {
            report.broken(CONFIG, error, "Give the path of a file that you may read.");
            return None;
        }
    };
    match File::parse(&text) {
        Ok(file) => {
            report.ok(CONFIG, format!("{path} can be read"));
            Some(file)
        }
        Err(problems) => {
            report.broken(CONFIG, problems.join("; "), remedy);
            None
        }
    }
}
