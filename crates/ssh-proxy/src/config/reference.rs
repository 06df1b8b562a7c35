//! The reference of all keys, made of the tables that the file is read with, so that the two cannot differ.
//!
//! `ssh-proxy config` prints it, and `docs/configuration.md` is what it prints.

use std::fmt::Write as _;

use super::{File, Key, Loggregator, Policy};

/// Behind the text of a key that the Go pair does not know.
const OURS: &str = " Ours.";

const HEAD: &str = "\
# Configuration of ssh-proxy

One JSON object in a file, which `-config` names. Keys are read in any case, and those that are not in this
list are ignored, but for misspelt ones in `policy`. Durations are texts such as `\"10s\"`, `\"1m30s\"` or
`\"500ms\"`. A value of a wrong type keeps the proxy from starting, and is told with its key.

\"new\" marks keys that the Go proxy does not know, and ignores.

This page is printed by `ssh-proxy config`.
";

/// The whole reference as Markdown.
pub(crate) fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for (title, keys) in [
        ("The file", File::keys()),
        ("The object `policy`", Policy::keys()),
        ("The object `loggregator`", Loggregator::keys()),
    ] {
        // Writing to a text cannot fail.
        let _ = write!(text, "\n## {title}\n\n");
        text.push_str("| key | type | default | | |\n|---|---|---|---|---|\n");
        keys.iter().for_each(|key| text.push_str(&row(key)));
    }
    text
}

fn row(key: &Key) -> String {
    let text = key.text.trim();
    let (text, since) = match text.strip_suffix(OURS) {
        Some(text) => (text, "new"),
        None => (text, ""),
    };
    let default = match (&key.default, key.kind) {
        (Some(default), _) => format!("`{default}`"),
        (None, "true or false") => "`false`".to_owned(),
        (None, "object") => String::new(),
        (None, _) => "none".to_owned(),
    };
    format!(
        "| `{}` | {} | {default} | {since} | {text} |\n",
        key.name, key.kind
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_page_in_docs_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            page == markdown(),
            "renew it: cargo run -p ssh-proxy -- config > docs/configuration.md"
        );
    }

    /// What no key takes, for each kind.
    fn wrong(kind: &str) -> Value {
        match kind {
            "whole number" => json!("x"),
            "true or false" => json!("yes"),
            _ => json!(1.5),
        }
    }

    #[test]
    fn every_key_is_read_and_told_if_it_is_wrong() {
        let objects = [
            ("", File::keys()),
            ("policy", Policy::keys()),
            ("loggregator", Loggregator::keys()),
        ];
        for (object, keys) in objects {
            for key in keys {
                let inner = json!({key.name: wrong(key.kind)});
                let (config, name) = match object {
                    "" => (inner, key.name.to_owned()),
                    object => (json!({object: inner}), format!("{object}.{}", key.name)),
                };
                let problems = File::parse(config.to_string().as_bytes()).unwrap_err();
                assert_eq!(problems.len(), 1, "{name}: {problems:?}");
                assert!(
                    problems[0].starts_with(&format!("{name}: ")),
                    "{problems:?}"
                );
                assert!(key.text.trim().len() > 5, "{name} has no text");
            }
        }
    }

    #[test]
    fn what_is_new_is_marked() {
        let page = markdown();
        let row = |key: &str| {
            let start = format!("| `{key}` |");
            page.lines().find(|line| line.starts_with(&start)).unwrap()
        };
        assert!(row("login_timeout").contains("| `60s` | new |"));
        assert!(row("bbs_address").contains("| none |  |"));
        assert!(row("exec").contains("| true or false | `true` |"));
    }
}
