//! Command lines as Go's `flag` package reads them.
//!
//! Owns the syntax (`-x=v`, `--x=v`, `-x v`, `--x v`, stop at the first word that is no flag or at
//! `--`), the messages for what is wrong, and the usage text. Which flags there are is a table that
//! the caller hands in; what their values mean beyond their [`Kind`] is the caller's (`config.rs`).
//!
//! Source: <https://pkg.go.dev/flag>, and the reference measured with wrong flags.

#![forbid(unsafe_code)]

pub mod duration;

use std::ffi::OsString;
use std::fmt::{self, Write as _};

use zeroize::{Zeroize, Zeroizing};

/// One line of a table of flags.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The name, without dashes.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The value without the flag; shown in the usage text unless it is empty or `false`.
    pub default: &'static str,
    /// What it does, for the usage text.
    pub usage: &'static str,
}

/// Asks what the program is; [`version`] is the answer. The reference has no such flag.
pub const VERSION: Flag = Flag {
    name: "version",
    kind: Kind::Bool,
    default: "false",
    usage: "Print the program's version and end",
};

/// The values that a flag takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// True when it stands alone; any other value must come after `=`.
    Bool,
    /// Any text.
    Text,
    /// Text that a function approves; its error ends Go's `invalid value` message.
    Checked(fn(&str) -> Result<(), String>),
}

/// Why a command line was not parsed to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// `-h` or `-help`: the usage text is wanted, which is no failure.
    Help,
    /// The command line is wrong, in Go's words.
    Bad(String),
}

impl Stop {
    /// The exit code that Go's `flag.ExitOnError` ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Help => 0,
            Self::Bad(_) => 2,
        }
    }
}

impl fmt::Display for Stop {
    /// What goes to stderr before the usage text: a line, or nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => Ok(()),
            Self::Bad(message) => writeln!(f, "{message}"),
        }
    }
}

/// The flags that a command line set, in its order.
///
/// All values are wiped when this is dropped, since any of them may be a secret.
#[derive(Debug)]
pub struct Parsed {
    table: &'static [Flag],
    set: Vec<(&'static Flag, Zeroizing<String>)>,
}

impl Parsed {
    /// The value of `name`: the last one given, or its default.
    pub fn text(&self, name: &str) -> &str {
        let mut given = self.set.iter().rev().filter(|(flag, _)| flag.name == name);
        if let Some((_, value)) = given.next() {
            return value;
        }
        let flag = self.table.iter().find(|flag| flag.name == name);
        flag.map_or("", |flag| flag.default)
    }

    /// Every value given for `name`, in the order of the command line.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.set
            .iter()
            .filter(move |(flag, _)| flag.name == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a [`Kind::Bool`] flag.
    pub fn is_true(&self, name: &str) -> bool {
        parse_bool(self.text(name)).unwrap_or(false)
    }

    /// The same command line again, as `-name=value` words, without the flags in `secret`.
    pub fn without<'a>(&'a self, secret: &'a [&str]) -> impl Iterator<Item = String> + 'a {
        self.set
            .iter()
            .filter(|(flag, _)| !secret.contains(&flag.name))
            .map(|(flag, value)| format!("-{}={}", flag.name, value.as_str()))
    }
}

/// Parses the words after the program's name, and wipes them.
pub fn parse(table: &'static [Flag], words: Vec<OsString>) -> Result<Parsed, Stop> {
    let mut words = words.into_iter().map(into_text);
    let mut set = Vec::new();
    while let Some(word) = words.next() {
        let Some(body) = word.strip_prefix('-').filter(|body| !body.is_empty()) else {
            break;
        };
        if body == "-" {
            break;
        }
        let body = body.strip_prefix('-').unwrap_or(body);
        if body.is_empty() || body.starts_with(['-', '=']) {
            return Err(Stop::Bad(format!("bad flag syntax: {}", word.as_str())));
        }
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(Zeroizing::new(value.to_owned()))),
            None => (body, None),
        };
        let flag = find(table, name)?;
        let value = match (value, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Bool) => Zeroizing::new(String::from("true")),
            (None, _) => words
                .next()
                .ok_or_else(|| Stop::Bad(format!("flag needs an argument: -{name}")))?,
        };
        check(flag, &value)?;
        set.push((flag, value));
    }
    // What is left over is not ours, but may hold a secret after a mistyped word.
    words.for_each(drop);
    Ok(Parsed { table, set })
}

/// The usage text, as `flag.PrintDefaults` lays it out.
pub fn usage(program: &str, table: &[Flag]) -> String {
    let mut sorted: Vec<&Flag> = table.iter().collect();
    sorted.sort_by_key(|flag| flag.name);
    let mut text = format!("Usage of {program}:\n");
    for flag in sorted {
        let operand = match flag.kind {
            Kind::Bool => "",
            Kind::Text => " string",
            Kind::Checked(_) => " value",
        };
        let default = match flag.kind {
            _ if flag.default.is_empty() || flag.default == "false" => String::new(),
            Kind::Text => format!(" (default {})", quote(flag.default)),
            Kind::Bool | Kind::Checked(_) => format!(" (default {})", flag.default),
        };
        let indented = flag.usage.replace('\n', "\n    \t");
        text.push_str("  -");
        text.push_str(flag.name);
        text.push_str(operand);
        text.push_str("\n    \t");
        text.push_str(&indented);
        text.push_str(&default);
        text.push('\n');
    }
    text
}

/// One line for [`VERSION`]: the program, its version, and the commit that it was made of, if that is known.
pub fn version(program: &str, version: &str, commit: Option<&str>) -> String {
    match commit {
        Some(commit) => format!("{program} {version} ({commit})\n"),
        None => format!("{program} {version}\n"),
    }
}

fn find(table: &'static [Flag], name: &str) -> Result<&'static Flag, Stop> {
    match table.iter().find(|flag| flag.name == name) {
        Some(flag) => Ok(flag),
        None if name == "h" || name == "help" => Err(Stop::Help),
        None => Err(Stop::Bad(format!("flag provided but not defined: -{name}"))),
    }
}

fn check(flag: &Flag, value: &str) -> Result<(), Stop> {
    let (what, problem) = match flag.kind {
        Kind::Text => return Ok(()),
        Kind::Bool if parse_bool(value).is_some() => return Ok(()),
        Kind::Bool => ("boolean value", String::from("parse error")),
        Kind::Checked(approve) => match approve(value) {
            Ok(()) => return Ok(()),
            Err(problem) => ("value", problem),
        },
    };
    // Go words the two cases differently: `for -x` and `for flag -x`.
    let of = match flag.kind {
        Kind::Bool => "for",
        _ => "for flag",
    };
    let name = flag.name;
    Err(Stop::Bad(format!(
        "invalid {what} {} {of} -{name}: {problem}",
        quote(value)
    )))
}

/// The spellings of `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// `strconv.Quote`, as far as a command line can tell.
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            // Writing to a `String` cannot fail.
            c if c.is_ascii_control() => _ = write!(quoted, "\\x{:02x}", u32::from(c)),
            c if c.is_control() => _ = write!(quoted, "\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A word as text. No flag of ours takes bytes that are not UTF-8: those are replaced.
fn into_text(word: OsString) -> Zeroizing<String> {
    Zeroizing::new(word.into_string().unwrap_or_else(|word| {
        let text = word.to_string_lossy().into_owned();
        word.into_encoded_bytes().zeroize();
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Flag] = &[
        Flag {
            name: "size",
            kind: Kind::Checked(|text| match text {
                "big" | "small" => Ok(()),
                _ => Err(String::from("no such size")),
            }),
            default: "",
            usage: "how large",
        },
        Flag {
            name: "address",
            kind: Kind::Text,
            default: "127.0.0.1:2222",
            usage: "where to listen",
        },
        Flag {
            name: "open",
            kind: Kind::Bool,
            default: "false",
            usage: "let everybody in\nreally",
        },
    ];

    fn parse_words(words: &[&str]) -> Result<Parsed, Stop> {
        parse(TABLE, words.iter().map(OsString::from).collect())
    }

    fn bad(words: &[&str]) -> String {
        match parse_words(words).unwrap_err() {
            Stop::Bad(message) => message,
            Stop::Help => panic!("help"),
        }
    }

    #[test]
    fn the_commit_stands_behind_the_version() {
        assert_eq!(version("x", "1.2.3", None), "x 1.2.3\n");
        assert_eq!(version("x", "1.2.3", Some("abc")), "x 1.2.3 (abc)\n");
    }

    #[test]
    fn all_four_spellings_set_a_value() {
        for words in [
            &["-address=a"][..],
            &["--address=a"],
            &["-address", "a"],
            &["--address", "a"],
        ] {
            assert_eq!(parse_words(words).unwrap().text("address"), "a");
        }
        assert_eq!(
            parse_words(&["-address=a=b"]).unwrap().text("address"),
            "a=b"
        );
        assert_eq!(parse_words(&["-address="]).unwrap().text("address"), "");
        assert_eq!(
            parse_words(&["-address", "-open"]).unwrap().text("address"),
            "-open"
        );
    }

    #[test]
    fn the_last_value_wins_and_defaults_fill_in() {
        let parsed = parse_words(&["-address=a", "-address=b", "-size=big"]).unwrap();
        assert_eq!(parsed.text("address"), "b");
        assert_eq!(parsed.all("address").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(parse_words(&[]).unwrap().text("address"), "127.0.0.1:2222");
    }

    #[test]
    fn parsing_stops_at_the_first_word_that_is_no_flag() {
        for stop in ["--", "-", "word", ""] {
            let parsed = parse_words(&["-open", stop, "-address=late", "-nope"]).unwrap();
            assert!(parsed.is_true("open"));
            assert_eq!(parsed.text("address"), "127.0.0.1:2222");
        }
    }

    #[test]
    fn booleans_take_values_only_after_an_equals_sign() {
        assert!(!parse_words(&[]).unwrap().is_true("open"));
        // `false` is the first word that is no flag.
        assert!(parse_words(&["-open", "false"]).unwrap().is_true("open"));
        for (text, value) in [("1", true), ("T", true), ("True", true), ("0", false)] {
            let parsed = parse_words(&[&format!("-open={text}")]).unwrap();
            assert_eq!(parsed.is_true("open"), value);
        }
        assert_eq!(
            bad(&["-open=yes"]),
            r#"invalid boolean value "yes" for -open: parse error"#
        );
    }

    #[test]
    fn mistakes_are_told_in_the_words_of_go() {
        assert_eq!(bad(&["-nope"]), "flag provided but not defined: -nope");
        assert_eq!(bad(&["--nope=1"]), "flag provided but not defined: -nope");
        assert_eq!(bad(&["---open"]), "bad flag syntax: ---open");
        assert_eq!(bad(&["-=1"]), "bad flag syntax: -=1");
        assert_eq!(bad(&["-address"]), "flag needs an argument: -address");
        assert_eq!(
            bad(&["-size", "a\"\x01"]),
            r#"invalid value "a\"\x01" for flag -size: no such size"#
        );
    }

    #[test]
    fn help_is_no_failure() {
        for word in ["-h", "--help"] {
            let stop = parse_words(&[word]).unwrap_err();
            assert_eq!((stop.exit_code(), stop.to_string()), (0, String::new()));
        }
    }

    #[test]
    fn usage_is_laid_out_as_in_go() {
        assert_eq!(
            usage("./x", TABLE),
            concat!(
                "Usage of ./x:\n",
                "  -address string\n    \twhere to listen (default \"127.0.0.1:2222\")\n",
                "  -open\n    \tlet everybody in\n    \treally\n",
                "  -size value\n    \thow large\n",
            )
        );
    }

    #[test]
    fn a_command_line_can_be_written_again_without_its_secrets() {
        let parsed = parse_words(&["-address", "s3cret", "-open", "-size=big", "x"]).unwrap();
        let words: Vec<_> = parsed.without(&["address"]).collect();
        assert_eq!(words, ["-open=true", "-size=big"]);
    }
}
