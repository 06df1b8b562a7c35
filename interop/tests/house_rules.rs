//! Rules for the sources that no compiler keeps: where `unsafe` may stand, and that nobody lifts a lint
//! without a word.

use std::fs;
use std::path::{Path, PathBuf};

/// The one place for system calls without a safe form.
const SYSTEM_CALLS: &str = "crates/sshd/src/sys/";

/// The only crate with such a place: the others forbid it at their root.
const WITH_SYSTEM_CALLS: &str = "crates/sshd/src/lib.rs";

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
        if path.starts_with(SYSTEM_CALLS) || is_test(&path) {
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
        if is_root && path != WITH_SYSTEM_CALLS {
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

/// SECURITY.md names tests, rows and targets; one that was renamed would be a promise without a test.
#[test]
fn what_security_md_names_is_there() {
    let text = include_str!("../../SECURITY.md");
    let mut files = sources();
    collect(&workspace().join("interop"), &mut files);
    let mut groups = misbehave::cases::groups(&misbehave::cases::all());
    groups.extend(misbehave::cases::host::groups(
        &misbehave::cases::host::all(),
    ));
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
            assert!(there, "no test {name}");
        } else if let Some(group) = name.strip_prefix("misbehave:") {
            named += 1;
            assert!(groups.iter().any(|other| other == group), "no group {name}");
        }
    }
    for (before, _) in text.match_indices("fuzz target `") {
        let name = &text[before + "fuzz target `".len()..];
        let name = name.split('`').next().unwrap_or_default();
        let target = workspace().join(format!("fuzz/fuzz_targets/{name}.rs"));
        assert!(target.exists(), "no fuzz target {name}");
    }
    assert!(named > 50, "only {named} names");
}
