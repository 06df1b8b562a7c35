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
use serde::Deserialize as _;
use serde_json::{Map, Value};
use ssh_proto::wire::printable;

use crate::config::{File, reference};
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

/// Bytes of a key that can be a misspelt one.
const LONGEST_KEY: usize = 64;

/// Letters that may be wrong in it.
const MOST_SLIPS: usize = 2;

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
    let text = match tls::read(path) {
        Ok(text) => text,
        Err(error) => {
            report.broken(CONFIG, error, "Give the path of a file that you may read.");
            return None;
        }
    };
    let file = match File::parse(&text) {
        Ok(file) => file,
        Err(problems) => {
            let remedy = "Correct the file at these places; `ssh-proxy config` explains each key.";
            report.broken(CONFIG, problems.join("; "), remedy);
            return None;
        }
    };
    let unknown = misspelt(&text);
    match unknown.is_empty() {
        true => report.ok(CONFIG, format!("{path} can be read")),
        false => {
            let remedy = "Correct these keys: the proxy does not know them, and ignores them.";
            report.warning(CONFIG, unknown.join("; "), remedy);
        }
    }
    Some(file)
}

/// Keys that nobody knows and that look like one that is known. Others may be another program's.
fn misspelt(text: &[u8]) -> Vec<String> {
    let keys = reference::keys().into_iter().map(|key| key.name);
    let known: Vec<String> = keys.filter(|name| !name.contains('.')).collect();
    let mut json = serde_json::Deserializer::from_slice(text);
    let object = Map::<String, Value>::deserialize(&mut json).unwrap_or_default();
    let keys = object.keys().map(|key| key.to_ascii_lowercase());
    keys.filter(|key| !known.contains(key) && key.len() <= LONGEST_KEY)
        .filter_map(|key| {
            let meant = known.iter().min_by_key(|known| distance(known, &key))?;
            (distance(meant, &key) <= MOST_SLIPS).then(|| {
                format!(
                    "{} is no key; {meant} is",
                    printable(key.as_bytes(), LONGEST_KEY)
                )
            })
        })
        .collect()
}

/// How many letters have to be put in, taken away or changed to make `from` of `to` (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.bytes().enumerate() {
        let mut above_left = std::mem::replace(row.first_mut().unwrap_or(&mut 0), index + 1);
        let mut left = index + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(to.bytes()) {
            let changed = above_left + usize::from(letter != other);
            above_left = *cell;
            left = changed.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        for (from, to, slips) in [
            ("address", "adress", 1),
            ("address", "address", 0),
            ("policy", "polcy", 1),
            ("", "abc", 3),
            ("login_timeout", "logn_timeot", 2),
            ("host_key", "hostkeys", 2),
        ] {
            assert_eq!(distance(from, to), slips, "{from} {to}");
            assert_eq!(distance(to, from), slips, "{to} {from}");
        }
    }

    #[test]
    fn only_what_looks_like_a_key_is_told() {
        let text = br#"{"adress": 1, "Host_Key": "x", "nats_password": "x", "require_host_fingerprnt": true}"#;
        assert_eq!(
            misspelt(text),
            [
                "adress is no key; address is",
                "require_host_fingerprnt is no key; require_host_fingerprint is"
            ]
        );
    }
}
