//! The reference of all keys for operators, made of the comments beside them.
//!
//! `ssh-proxy config` prints it, and `docs/configuration.md` is a copy of what it prints, which a test
//! compares. Names, types and defaults are those that the parser has: nothing here repeats them.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use goflag::Flag;
use serde::Serialize;

use super::File;
use super::value::FromJson;

/// Called wrongly.
const EXIT_USAGE: u8 = 2;

/// What comes before the keys.
const INTRODUCTION: &str = "\
# Configuration of ssh-proxy

Every key of the file that `ssh-proxy -config=PATH` reads. `ssh-proxy config` prints this page, which is
made from the code.

The file is one JSON object. A key that is absent or `null` has its default; keys may be in any case, and
unknown ones are ignored, as with the Go pair (but see `policy`). A value of another type than the one
below keeps the proxy from starting, with exit code 2 and the key's name on standard error; a value that
makes no sense, with exit code 1 or 2 and a line in the log that names the key in `data.key`.
`ssh-proxy doctor -config=PATH` looks at a file before a proxy has to.

Durations are texts such as `\"10s\"`, `\"1m30s\"` or `\"500ms\"`. Certificates, keys and CAs whose paths stand
here are PEM files, and are read again when they change. Keys that are *new* do nothing in the Go pair.
";

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The Go pair has it, too.
    Reference,
    /// The Go pair ignores it.
    New,
}

/// What an operator has to know about a key. Texts are Markdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The heading that it stands under.
    pub group: &'static str,
    /// The name, with the names of the objects around it and dots between them.
    pub name: String,
    /// What values it takes.
    pub of_type: &'static str,
    /// What it is where the file does not have it.
    pub default: String,
    /// Whose it is.
    pub since: Since,
    /// What it means.
    pub text: String,
}

impl Key {
    /// A key whose default is the empty value of its type.
    pub(super) fn new<T: FromJson>(
        group: &'static str,
        name: &str,
        since: Since,
        text: &[&str],
    ) -> Self {
        let text: Vec<&str> = text.iter().map(|line| line.trim()).collect();
        Self {
            group,
            name: name.to_owned(),
            of_type: T::TYPE,
            default: T::ABSENT.to_owned(),
            since,
            text: text.join("\n"),
        }
    }

    /// The same with a default.
    pub(super) fn by_default(self, default: String) -> Self {
        Self { default, ..self }
    }

    fn markdown(&self) -> String {
        let Self { name, of_type, .. } = self;
        let default = match self.default.as_str() {
            text if text.starts_with("must ") => text.to_owned(),
            text => format!("default: {text}"),
        };
        let new = match self.since {
            Since::Reference => "",
            Since::New => "; *new*",
        };
        format!(
            "### `{name}`\n\n{of_type}; {default}{new}\n\n{}\n",
            self.text
        )
    }
}

/// A default that no value stands for.
pub(super) fn words(text: &str) -> String {
    text.to_owned()
}

/// A default as the file would have it.
pub(super) fn json(value: impl Serialize) -> String {
    // Numbers, texts and switches can always be written.
    let text = serde_json::to_string(&value).unwrap_or_default();
    format!("`{text}`")
}

/// A default that is a duration.
pub(super) fn span(duration: Duration) -> String {
    json(format!("{}s", duration.as_secs_f64()))
}

/// A default that is a list of algorithms.
pub(super) fn names<A: Copy>(algorithms: &[A], name: fn(A) -> &'static str) -> String {
    let names: Vec<&str> = algorithms
        .iter()
        .map(|algorithm| name(*algorithm))
        .collect();
    json(names.join(","))
}

/// Every key, in the order of the reference.
pub fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    File::list("", &mut keys);
    keys
}

/// The whole reference.
pub fn markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut group = "";
    for key in keys() {
        if key.group != group {
            group = key.group;
            text.push_str(&format!("\n## {group}\n"));
        }
        text.push('\n');
        text.push_str(&key.markdown());
    }
    text
}

/// `ssh-proxy config`: prints the reference.
pub(crate) fn command(words: Vec<OsString>) -> ExitCode {
    const FLAGS: &[Flag] = &[];
    if let Err(stop) = goflag::parse(FLAGS, words) {
        let usage =
            "Usage of ssh-proxy config:\n  Prints what every key of the configuration means.\n";
        // Nobody may listen there.
        let _ = io::stderr().write_all(format!("{stop}{usage}").as_bytes());
        return match stop.exit_code() {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(EXIT_USAGE),
        };
    }
    // A pager may be gone.
    let _ = io::stdout().write_all(markdown().as_bytes());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;

    /// A file with `value` at a key.
    fn with(name: &str, value: Value) -> Vec<u8> {
        let file = match name.split_once('.') {
            Some((object, key)) => json!({ object: { key: value } }),
            None => json!({ name: value }),
        };
        file.to_string().into_bytes()
    }

    #[test]
    fn the_page_in_docs_is_what_the_code_says() {
        let page = include_str!("../../../../docs/configuration.md");
        assert!(
            page == markdown(),
            "docs/configuration.md is old: cargo run -p ssh-proxy -- config > docs/configuration.md"
        );
    }

    #[test]
    fn every_key_of_the_reference_is_one_of_the_parser() {
        // No type takes a list of lists.
        for key in keys() {
            let problems = File::parse(&with(&key.name, json!([[]]))).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            let start = format!("{}: expected ", key.name);
            assert!(problems[0].starts_with(&start), "{problems:?}");
        }
    }

    #[test]
    fn every_key_is_explained_once() {
        let mut seen = BTreeSet::new();
        for key in keys() {
            assert!(key.text.ends_with(['.', '?']), "{}", key.name);
            assert!(!key.of_type.is_empty() && !key.default.is_empty());
            assert!(seen.insert(key.name.clone()), "{} twice", key.name);
        }
        assert!(seen.len() > 80, "{}", seen.len());
    }

    #[test]
    fn an_entry_has_type_default_and_origin() {
        let entry = |name: &str| {
            let key = keys().into_iter().find(|key| key.name == name).unwrap();
            key.markdown().lines().nth(2).unwrap().to_owned()
        };
        assert_eq!(entry("host_key"), "secret text; must be given");
        assert_eq!(
            entry("address"),
            "text; default: a free port of all addresses"
        );
        assert_eq!(
            entry("login_timeout"),
            "duration; default: `\"60s\"`; *new*"
        );
        assert_eq!(
            entry("policy.exec"),
            "true or false; default: `true`; *new*"
        );
        let interval = "whole number; default: `100000000`";
        assert_eq!(entry("loggregator.batchflushinterval"), interval);
        assert_eq!(entry("redact_patterns"), "list of texts; default: `[]`");
    }
}
