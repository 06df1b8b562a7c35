//! The command line, read as Go's `flag` package reads it: `-name=value`, `-name value` and
//! `--name=value` mean the same, the last one wins, and the first word that is no flag (or `--`)
//! ends them; what follows is ignored.
//!
//! The rules are Go's to the letter, messages included, because job templates and scripts were
//! written for them; nothing is left that a general parser of command lines would add.

use std::fmt::Write as _;

/// What can be set.
const FLAGS: &[Flag] = &[
    Flag {
        name: "config",
        help: "Path to the JSON configuration file",
    },
    Flag {
        name: "debugAddr",
        help: "Accepted for old scripts and ignored: debug_address in the file counts",
    },
];

/// A flag that takes a text.
struct Flag {
    name: &'static str,
    help: &'static str,
}

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Flags {
    /// Path of the configuration file; empty if not given.
    pub(crate) config: String,
}

/// Why the program ends right away. Both texts are for stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Help was asked for: exit 0.
    Help(String),
    /// The command line is wrong: exit 2.
    Usage(String),
}

/// Reads the words of the command line, the program's own name first.
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Flags, Stop> {
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_else(|| "ssh-proxy".to_owned());
    let mut flags = Flags::default();
    while let Some(word) = words.next() {
        let Some(body) = flag_body(&word) else { break };
        let (name, value) = split(body, &word).map_err(|problem| stop(&problem, &program))?;
        if !FLAGS.iter().any(|flag| flag.name == name) {
            return Err(unknown(name, &program));
        }
        let value = value
            .map(ToOwned::to_owned)
            .or_else(|| words.next())
            .ok_or_else(|| stop(&format!("flag needs an argument: -{name}"), &program))?;
        if name == "config" {
            flags.config = value;
        }
    }
    Ok(flags)
}

/// The part of a flag behind its dashes; `None` for a word that ends the flags.
fn flag_body(word: &str) -> Option<&str> {
    let body = word.strip_prefix('-')?;
    let body = body.strip_prefix('-').unwrap_or(body);
    // A lone "-" is an argument and "--" the end of flags.
    (!body.is_empty()).then_some(body)
}

/// The name of a flag, and its value if it came in the same word.
fn split<'a>(body: &'a str, word: &str) -> Result<(&'a str, Option<&'a str>), String> {
    if body.starts_with(['-', '=']) {
        return Err(format!("bad flag syntax: {word}"));
    }
    Ok(match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    })
}

/// What to do about a flag that there is not; `-h` and `-help` are such flags, too.
fn unknown(name: &str, program: &str) -> Stop {
    if name == "h" || name == "help" {
        return Stop::Help(usage(program));
    }
    stop(&format!("flag provided but not defined: -{name}"), program)
}

fn stop(problem: &str, program: &str) -> Stop {
    Stop::Usage(format!("{problem}\n{}", usage(program)))
}

fn usage(program: &str) -> String {
    let mut text = format!("Usage of {program}:\n");
    for flag in FLAGS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  -{} string\n    \t{}", flag.name, flag.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Flags, Stop> {
        let words = std::iter::once("ssh-proxy").chain(line.split_whitespace());
        parse(words.map(ToOwned::to_owned))
    }

    #[test]
    fn every_form_of_a_flag_is_read() {
        let cases = [
            ("", ""),
            ("-config=a", "a"),
            ("--config=a", "a"),
            ("-config a", "a"),
            ("--config a", "a"),
            ("-config=a=b", "a=b"),
            ("-config=", ""),
            ("-config -debugAddr", "-debugAddr"),
            ("-config=a -config=b", "b"),
            ("-debugAddr=127.0.0.1:1 -config=a", "a"),
            ("-debugAddr x -config a", "a"),
            ("-config=a word -config=b", "a"),
            ("-config=a -- -config=b", "a"),
            ("-config=a - -config=b", "a"),
            ("-config=a word -nope", "a"),
        ];
        for (line, config) in cases {
            let config = config.to_owned();
            assert_eq!(parsed(line), Ok(Flags { config }), "{line}");
        }
    }

    #[test]
    fn wrong_lines_are_refused_with_the_usage() {
        let cases = [
            ("-nope", "flag provided but not defined: -nope\n"),
            ("--nope=1", "flag provided but not defined: -nope\n"),
            ("-config", "flag needs an argument: -config\n"),
            ("---config=a", "bad flag syntax: ---config=a\n"),
            ("-=a", "bad flag syntax: -=a\n"),
        ];
        for (line, start) in cases {
            let Err(Stop::Usage(text)) = parsed(line) else {
                panic!("{line} was accepted");
            };
            assert_eq!(text, format!("{start}{}", usage("ssh-proxy")));
        }
    }

    #[test]
    fn help_is_not_an_error() {
        for line in ["-h", "-help", "--help", "-config=a -h"] {
            assert_eq!(parsed(line), Err(Stop::Help(usage("ssh-proxy"))));
        }
        assert!(usage("x").starts_with("Usage of x:\n  -config string\n    \t"));
    }
}
