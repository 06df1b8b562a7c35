//! Rules for the sources that no compiler keeps: where `unsafe` may stand, that nobody lifts a lint without a
//! word, and that what is written for people is what the sources say.
//!
//! What programs have to be run for is readme.rs's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The places for calls without a safe form.
const SYSTEM_CALLS: [&str; 2] = ["crates/sshd/src/sys/", "crates/heap/src/"];

/// The only crates with such a place: the others forbid it at their root.
const WITH_SYSTEM_CALLS: [&str; 2] = ["crates/sshd/src/lib.rs", "crates/heap/src/lib.rs"];

/// What keeps input of peers from ending a program.
const LINTS: [&str; 5] = [
    "unwrap_used",
    "expect_used",
    "clippy::panic",
    "indexing_slicing",
    "cast_possible_truncation",
];

fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("a workspace").to_owned()
}

/// All Rust sources of what is shipped, by their paths in the workspace.
fn sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    collect(&workspace().join("crates"), &mut sources);
    assert!(sources.len() > 100, "only {} files", sources.len());
    sources
}

fn collect(dir: &Path, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            let name = path.strip_prefix(workspace()).expect("inside");
            sources.push((name.display().to_string(), text));
        }
    }
}

fn is_code(line: &str) -> bool {
    !line.trim_start().starts_with("//")
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.contains("/benches/") || path.ends_with("/tests.rs")
}

#[test]
fn unsafe_stands_in_the_modules_for_system_calls_alone() {
    for (path, text) in sources() {
        let is_for_them = SYSTEM_CALLS.iter().any(|place| path.starts_with(place));
        if is_for_them || is_test(&path) {
            continue;
        }
        let words = [
            "unsafe {",
            "unsafe fn",
            "unsafe impl",
            "#[unsafe(",
            "allow(unsafe_code",
        ];
        for line in text.lines().filter(|line| is_code(line)) {
            let word = words.iter().find(|word| line.contains(**word));
            assert_eq!(word, None, "{path}: {line}");
        }
    }
}

#[test]
fn crates_without_system_calls_forbid_unsafe_code() {
    for (path, text) in sources() {
        let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        if is_root && !WITH_SYSTEM_CALLS.contains(&path.as_str()) {
            assert!(text.contains("forbid(unsafe_code)"), "{path}");
        }
    }
}

/// A lint against panics on peers' input is lifted for one place at a time, and says why: in the
/// attribute, or in a comment right above it.
#[test]
fn no_lint_against_panics_is_lifted_without_a_reason() {
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let attribute = line.trim_start();
            let lifts = attribute.starts_with("#[allow(") || attribute.starts_with("#[expect(");
            let whole_file = attribute.starts_with("#![allow(");
            // An attribute may go over some lines.
            let until = (number + 6).min(lines.len());
            let attribute = lines[number..until].join(" ");
            let attribute = attribute.split(")]").next().unwrap_or_default();
            if (!lifts && !whole_file) || !LINTS.iter().any(|lint| attribute.contains(lint)) {
                continue;
            }
            let above = number.checked_sub(1).and_then(|above| lines.get(above));
            let said = above.is_some_and(|above| above.trim_start().starts_with("//"));
            let reason = attribute.contains("reason =") || said || attribute.contains("//");
            assert!(reason, "{path}:{}: {line}", number + 1);
            assert!(
                !whole_file || path.contains("devcell"),
                "{path}: in a whole file"
            );
        }
    }
}

/// Deadlines and penalties are not moved by someone who sets the clock: the time of day is only asked
/// for where it is shown, or compared with dates of files.
#[test]
fn only_what_shows_or_compares_dates_asks_for_the_time_of_day() {
    const ASKING: [&str; 7] = [
        "crates/sshd/src/sftp/",
        "crates/lager/src/",
        "crates/connector/src/resolver.rs",
        "crates/ssh-proxy/src/metrics/exposition.rs",
        "crates/ssh-proxy/src/platform/",
        "crates/ssh-proxy/src/sessions.rs",
        "crates/devcell/",
    ];
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let asks = text
            .lines()
            .any(|line| is_code(line) && line.contains("SystemTime::now"));
        let may = ASKING.iter().any(|place| path.starts_with(place));
        assert!(!asks || may, "{path}");
    }
}

/// What is written for people, with paths from the workspace.
const PAGES: [&str; 11] = [
    "README.md",
    "SECURITY.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/admin.md",
    "docs/compatibility.md",
    "docs/configuration.md",
    "docs/doctor.md",
    "docs/drop-in.md",
    "docs/operate.md",
    "docs/troubleshoot.md",
];

fn page(path: &str) -> String {
    let text = fs::read_to_string(workspace().join(path));
    text.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Pages name tests, rows and targets; one that was renamed would be a promise without a test.
#[test]
fn what_security_md_names_is_there() {
    let mut files = sources();
    collect(&workspace().join("interop"), &mut files);
    let mut groups = misbehave::cases::groups(&misbehave::cases::all());
    groups.extend(misbehave::cases::host::groups(
        &misbehave::cases::host::all(),
    ));
    for (path, least) in [("SECURITY.md", 50), ("docs/compatibility.md", 40)] {
        let text = page(path);
        let mut named = 0;
        // Every second piece stands between two marks of code.
        for name in text.split('`').skip(1).step_by(2) {
            if let Some((file, test)) = name.split_once(".rs::") {
                named += 1;
                let function = format!("fn {test}(");
                let (end, whole) = (format!("/{file}.rs"), format!("{file}.rs"));
                let there = files.iter().any(|(path, text)| {
                    (path.ends_with(&end) || *path == whole) && text.contains(&function)
                });
                assert!(there, "{path}: no test {name}");
            } else if let Some(group) = name.strip_prefix("misbehave:") {
                named += 1;
                let there = groups.iter().any(|other| other == group);
                assert!(there, "{path}: no group {name}");
            }
        }
        assert!(named > least, "{path}: only {named} names");
    }
    let text = page("SECURITY.md");
    for (before, _) in text.match_indices("fuzz target `") {
        let name = &text[before + "fuzz target `".len()..];
        let name = name.split('`').next().unwrap_or_default();
        let target = workspace().join(format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(target.exists(), "no fuzz target {name}");
    }
}

/// How a heading is named in links to it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

fn has_heading(text: &str, wanted: &str) -> bool {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| anchor(line.trim_start_matches('#').trim()));
    anchors.any(|anchor| anchor == wanted)
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for path in PAGES {
        let text = page(path);
        for (before, _) in text.match_indices("](") {
            let link = text[before + 2..].split(')').next().unwrap_or_default();
            if link.starts_with("https://") {
                continue;
            }
            links += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let from = workspace().join(path);
            let to = match file.is_empty() {
                true => from,
                false => from.with_file_name("").join(file),
            };
            assert!(to.exists(), "{path}: {link}");
            if !heading.is_empty() {
                let text = fs::read_to_string(&to).expect("text");
                assert!(has_heading(&text, heading), "{path}: {link}");
            }
        }
    }
    assert!(links > 50, "only {links} links");
}

/// A source of the proxy without its tests.
fn proxy_source(path: &str) -> String {
    let text = page(&format!("crates/ssh-proxy/src/{path}"));
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| is_code(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// The texts between quotes, in their order. No text of those that are looked at has a quote in it.
fn literals(source: &str) -> Vec<String> {
    let pieces = source.split('"').skip(1).step_by(2);
    let joined = pieces.map(|text| {
        let mut lines = text.split("\\\n");
        let first = lines.next().unwrap_or_default().to_owned();
        lines.fold(first, |text, line| text + line.trim_start())
    });
    joined.collect()
}

fn is_code_of_refusal(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Each code with each of its texts as users read it.
fn refusals() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for path in ["refusal.rs", "edge/mod.rs"] {
        for pair in literals(&proxy_source(path)).windows(2) {
            if is_code_of_refusal(&pair[0]) {
                let text = pair[1].trim_end_matches(&format!(" [{}]", pair[0]));
                found.insert((pair[0].clone(), format!("{text} [{}]", pair[0])));
            }
        }
    }
    let late = literals(&proxy_source("proxy.rs"));
    for code in late.iter().filter(|text| is_code_of_refusal(text)) {
        // The one that says no code, since strangers read it, too.
        let text = "timeout: login takes too long".to_owned();
        found.insert((code.clone(), text));
    }
    found
}

#[test]
fn each_code_of_a_refusal_is_told_with_its_text_and_no_other() {
    let text = page("docs/troubleshoot.md");
    let mut told = BTreeSet::new();
    for section in text.split("\n### `").skip(1) {
        let (code, rest) = section.split_once('`').expect("a code");
        let block = rest.trim_start_matches('\n').lines();
        let texts = block.map_while(|line| line.strip_prefix("    "));
        let before = told.len();
        told.extend(texts.map(|text| (code.to_owned(), text.to_owned())));
        assert!(told.len() > before, "no text of {code}");
    }
    assert_eq!(told, refusals());
    assert!(told.len() > 20);
    let late = page("crates/ssh-tokio/src/accept.rs");
    assert!(late.contains("Error::Timeout(\"login takes too long\")"));
}

#[test]
fn what_ends_a_session_is_told_in_its_words() {
    let text = page("docs/troubleshoot.md");
    let relay = proxy_source("relay/mod.rs");
    let mut words: Vec<String> = ["IDLE", "INACTIVE", "TOO_LONG"]
        .iter()
        .map(|name| format!("timeout: {}", constant(&relay, name)))
        .collect();
    words.push(constant(&proxy_source("proxy.rs"), "SHUTTING_DOWN"));
    words.push(constant(&proxy_source("admin/mod.rs"), "ENDED"));
    let lost = "the connection to the app instance was lost";
    assert!(relay.contains(lost));
    words.push(lost.to_owned());
    for words in words {
        assert!(text.contains(&format!("| `{words}` |")), "{words}");
    }
}

/// The text of a constant.
fn constant(source: &str, name: &str) -> String {
    let start = format!("const {name}: &str = ");
    let (_, rest) = source
        .split_once(&start)
        .unwrap_or_else(|| panic!("no {name}"));
    literals(rest).swap_remove(0)
}

#[test]
fn events_of_the_audit_are_those_of_the_guide() {
    let source = proxy_source("audit.rs");
    let events: BTreeSet<&str> = source
        .split("event: \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let text = page("docs/operate.md");
    let lines = text.split("\"event\":\"").skip(1);
    let shown: BTreeSet<&str> = lines.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(shown, events);
    for event in events {
        assert!(text.contains(&format!("\n| `{event}` |")), "{event}");
    }
}

/// Keys in docs/configuration.md, which is made of the code, and whether they are ours.
fn keys() -> Vec<(String, bool)> {
    let text = page("docs/configuration.md");
    let sections = text.split("\n### `").skip(1);
    let keys = sections.map(|section| {
        let (key, rest) = section.split_once('`').expect("a key");
        let kind = rest.trim_start().lines().next().unwrap_or_default();
        (key.to_owned(), kind.ends_with("*new*"))
    });
    keys.collect()
}

#[test]
fn each_key_of_the_configuration_is_in_the_guides() {
    let keys = keys();
    assert!(keys.len() > 80);
    let guide = page("docs/drop-in.md");
    let (stay, new) = guide
        .split_once("\n## Keys that are new\n")
        .expect("both sections");
    let policy = page("docs/operate.md");
    for (key, is_new) in keys {
        if let Some(key) = key.strip_prefix("policy.") {
            assert!(policy.contains(&format!("\"{key}\": ")), "{key}");
        } else if !key.starts_with("loggregator.") {
            let name = format!("`{key}`");
            let section = if is_new { new } else { stay };
            let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
            let mut firsts = rows.filter_map(|row| row.split(" | ").next());
            let named = firsts.any(|first| first.contains(&name));
            assert!(named, "{key} has no row where it belongs, new: {is_new}");
        }
    }
}

/// Cells of a row of a table.
fn cells(line: &str) -> Vec<&str> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(str::trim).collect()
}

/// What the README quotes is what was measured last, and it says when and on what.
#[test]
fn measured_figures_are_those_that_were_published() {
    let published = page("docs/bench/results.md");
    let readme = page("README.md");
    let (machine, _) = published.split_once(", Linux").expect("a machine");
    let (before, _) = published.split_once(". Medians").expect("a date");
    let (_, date) = before.rsplit_once(", ").expect("a date");
    let said = format!("{machine}, {date}, medians of 3 rounds");
    assert!(readme.contains(&said), "{said}");
    assert!(published.contains("Medians of 3 rounds"));

    let (_, table) = readme.split_once("\n## Measured\n").expect("a section");
    let (table, _) = table.split_once("\n## ").expect("its end");
    let mut rows = table.lines().filter(|line| line.starts_with('|'));
    let columns = cells(rows.next().expect("a head"));
    let rows: Vec<_> = rows.skip(1).map(cells).collect();
    assert!(rows.len() >= 8);
    for row in rows {
        let start = format!("| {} | {} |", row[0], row[1]);
        let (above, rest) = published
            .split_once(&start)
            .unwrap_or_else(|| panic!("{row:?}"));
        let head = above
            .lines()
            .rev()
            .find(|line| line.starts_with("| | unit |"));
        let head = cells(head.expect("a head"));
        let figures = cells(rest.lines().next().expect("a row"));
        for (column, figure) in columns.iter().zip(&row).skip(2) {
            let at = head.iter().position(|name| name == column);
            let measured = at.and_then(|at| figures.get(at - 2)).copied();
            let median = measured.and_then(|cell| cell.split(' ').next());
            assert_eq!(median.unwrap_or_default(), *figure, "{column}: {row:?}");
        }
    }
}
