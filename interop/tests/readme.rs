//! The README's commands as they stand there, run as somebody does who pastes them; and what the guides in
//! `docs` say about the output of the programs, compared with it.
//!
//! What can be compared without running anything is house_rules.rs's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

mod packets;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use devcell::rig::Signal;
use devcell::{Cell, CellOptions};
use interop::process;
use packets::metrics;
use serde_json::{Value, json};
use support::shown::{Devcell, PAGE, Shown, browse, page_through, paste, program, shell};
use support::user::text;
use tokio::process::Command;

const README: &str = include_str!("../../README.md");
const OPERATE: &str = include_str!("../../docs/operate.md");

/// What the README has in place of words that differ from run to run.
const ANY: char = '…';

/// Lines of code, in their order. What stands between fences are pictures.
fn code(text: &str) -> Vec<&str> {
    let without_pictures = text.split("```").step_by(2);
    without_pictures
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("    "))
        .collect()
}

/// The first column of a table's rows whose names begin so, without marks of code, and the second.
fn rows<'a>(text: &'a str, start: &str) -> Vec<(&'a str, &'a str)> {
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.filter(|(name, _)| name.starts_with(start))
        .map(|(name, rest)| (name, rest.split(" |").next().unwrap()))
        .collect()
}

/// Whether `line` is `pattern` with one word, or a part of one, for each [`ANY`].
fn is_like(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split(ANY);
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    for (number, part) in parts.iter().enumerate() {
        let is_last = number + 1 == parts.len();
        let found = match is_last {
            true => rest
                .ends_with(part)
                .then(|| rest.len().saturating_sub(part.len())),
            false => rest.find(part),
        };
        let Some(at) = found else { return false };
        if at == 0 || rest[..at].contains(char::is_whitespace) {
            return false;
        }
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

/// A line of the README as it is printed by this run, which has another port and another place for files.
fn pattern(line: &str) -> String {
    let line = line.replace(" 2222 ", " … ");
    line.replace("/tmp/devcell-…", "…/devcell-…")
}

/// The arguments for `devcell` in a line with `cargo run`, which has to be one that runs it.
fn arguments(line: &str) -> Vec<&str> {
    let (cargo, arguments) = line.split_once(" -- ").unwrap_or((line, ""));
    let words: Vec<&str> = cargo.split(' ').collect();
    let ["cargo", "run", "--release", "-p", package] = words[..] else {
        panic!("what is {line:?}?");
    };
    // A package's program has its name.
    assert_eq!(package, "devcell");
    assert!(program(package).exists());
    arguments.split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_first_screen_leads_into_a_container() {
    let lines = code(README);
    let shown = Shown::start(&arguments(lines[0])).await;
    let mut pasted = 0;
    for line in lines.iter().filter(|line| line.contains("/known_hosts ")) {
        let pattern = pattern(line);
        let printed = shown.all();
        let mut printed = printed.iter().filter(|(it, _)| is_like(&pattern, it));
        let (Some((printed, code)), None) = (printed.next(), printed.next()) else {
            panic!("one of {line}, please, in {:#?}", shown.lines);
        };
        run(printed, code).await;
        pasted += 1;
    }
    assert_eq!(pasted, 6);
    shown.stop().await;
}

/// Runs a line for its user in the realm `cf:`, and checks what comes of it.
async fn run(line: &str, code: &str) {
    let (output, expected) = if line.contains(" -L ") {
        (page_through(line, code).await, PAGE)
    } else if line.contains(" -R ") {
        (paste(line, code).await, PAGE)
    } else if line.starts_with("sftp ") {
        (browse(line, code).await, "hosts")
    } else if line.ends_with("@127.0.0.1") {
        (shell(line, code).await, "it is 0\n")
    } else if line.starts_with("scp ") {
        (paste(line, code).await, "")
    } else {
        (paste(line, code).await, "0: vcap in /")
    };
    assert!(output.status.success(), "{line}: {}", output.stderr);
    assert!(text(&output).contains(expected), "{line}: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_line_for_programs_gets_a_code() {
    let mut devcell = Devcell::start(&["--json", "--port", "0"]);
    let summary: Value = serde_json::from_str(&devcell.line().await).unwrap();
    let set: Vec<String> = ["ca", "authorization", "authorize"]
        .iter()
        .map(|name| format!("{name}='{}'", summary["cf"][name].as_str().unwrap()))
        .collect();
    let lines = code(README);
    let curl = lines.iter().find(|line| line.starts_with("curl "));
    let line = format!("{}; {}", set.join("; "), curl.unwrap());
    let output = paste(&line, "").await;
    assert!(text(&output).contains("?code="), "{output:?}");
    devcell.signal(Signal::INT);
    assert_eq!(devcell.end().await.0.code(), Some(0));
}

/// What a program says when it is asked how it is called.
async fn usage(name: &str, words: &[&str]) -> String {
    let mut command = Command::new(program(name));
    command.args(words);
    let output = process::run(command, b"").await;
    assert!(output.status.success(), "{name} {words:?}: {output:?}");
    text(&output).to_owned() + &output.stderr
}

#[tokio::test]
async fn its_flags_are_there() {
    let usage = usage("devcell", &["--help"]).await;
    let named = README.split('`').filter(|text| text.starts_with("--"));
    let named: Vec<&str> = named.collect();
    assert!(named.len() >= 3, "{named:?}");
    for flag in named {
        assert!(
            usage.contains(&flag.replace(" N", " <N>")),
            "{flag}: {usage}"
        );
    }
}

#[test]
fn its_scripts_are_there() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let lines = code(README);
    let scripts = lines.iter().filter(|line| line.starts_with("scripts/"));
    let mut count = 0;
    for script in scripts {
        let found = fs::metadata(workspace.join(script)).unwrap();
        assert_ne!(found.permissions().mode() & 0o111, 0, "{script}");
        count += 1;
    }
    assert!(count >= 4, "{count}");
}

#[tokio::test]
async fn commands_of_the_guides_have_their_flags() {
    let lines = [code(README), code(OPERATE)].concat();
    let mut commands = BTreeSet::new();
    for line in lines.iter().filter(|line| line.starts_with("ssh-proxy ")) {
        let words: Vec<&str> = line.split(' ').collect();
        let usage = usage("ssh-proxy", &[words[1], "-h"]).await;
        for word in words.iter().filter(|word| word.starts_with('-')) {
            let flag = word.split('=').next().unwrap();
            assert!(usage.contains(&format!("  {flag} ")), "{line}: {usage}");
        }
        commands.insert(words[1]);
    }
    assert_eq!(commands, BTreeSet::from(["doctor", "end", "sessions"]));
}

#[tokio::test]
async fn the_limits_of_the_daemon_are_those_of_the_guide() {
    let usage = usage("diego-sshd", &["-h"]).await;
    let told: BTreeSet<(&str, &str)> = rows(OPERATE, "-").into_iter().collect();
    let lines: Vec<&str> = usage.lines().collect();
    let limits = lines.windows(2).filter_map(|pair| {
        let name = pair[0].trim().strip_suffix(" value")?;
        let (_, default) = pair[1].rsplit_once("(default ")?;
        Some((name, default.trim_end_matches(')')))
    });
    assert_eq!(told, limits.collect::<BTreeSet<_>>());
}

/// Metrics without a value yet are not scraped; for those that are only in the guide, the sources are asked.
#[tokio::test]
async fn the_metrics_are_those_of_the_guide() {
    let options = CellOptions {
        proxy_config: json!({"metrics_address": "127.0.0.1:0"}),
        ..packets::options()
    };
    let cell = Cell::start(options).await.unwrap();
    let mut raw = packets::Raw::login(&packets::proxy_door(&cell))
        .await
        .unwrap();
    raw.open_session(0, 1 << 20).await.unwrap();
    let told: BTreeSet<&str> = ["ssh_proxy_", "process_"]
        .iter()
        .flat_map(|start| rows(OPERATE, start))
        .map(|(name, _)| name)
        .collect();
    let scrape = metrics::scrape(metrics::address(&cell).await).await;
    assert!(scrape.len() > 30);
    for series in scrape.keys() {
        let name = series.split('{').next().unwrap();
        let parts = ["_sum", "_count", "_bucket"];
        let whole = parts.iter().find_map(|part| name.strip_suffix(part));
        let known = told.contains(name) || whole.is_some_and(|whole| told.contains(whole));
        assert!(known, "{name} is not in docs/operate.md");
    }
    let sources = concat!(
        include_str!("../../crates/ssh-proxy/src/metrics/mod.rs"),
        include_str!("../../crates/ssh-proxy/src/metrics/exposition.rs"),
    );
    for name in told {
        let bare = name.trim_start_matches("ssh_proxy_");
        let bare = format!("\"{}\"", bare.trim_end_matches("_total"));
        assert!(sources.contains(&bare), "there is no metric {name}");
    }
    cell.stop().await;
}

#[test]
fn a_pattern_is_what_it_says() {
    for (pattern, line, like) in [
        ("a …/0@x", "a cf:guid/0@x", true),
        ("a …/0@x", "a cf:guid/1@x", false),
        ("a …/0@x", "a b c/0@x", false),
        ("a …/0@x", "a /0@x", false),
        ("a …/0@x", "a cf/0@x y", false),
        ("-L …:h:… u", "-L 1:h:2 u", true),
        ("plain", "plain", true),
        ("plain", "plainer", false),
    ] {
        assert_eq!(is_like(pattern, line), like, "{pattern} {line}");
    }
}
