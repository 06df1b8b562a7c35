//! The command line of scp: its words and options.
//!
//! Owns the splitting into words as the reference does it (quotes, backslashes and comments, but
//! neither variables nor `~`), and the options that clients send. Patterns in names are `glob.rs`'s.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// Most words of a command. Clients name one file, or as many as their user has typed.
const MAX_WORDS: usize = 4096;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) role: Role,
    /// `-p`: times and modes are those of the original.
    pub(crate) preserve: bool,
}

/// Which side of the copy we are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `-f`: we send.
    Source {
        /// Patterns or names, at least one.
        names: Vec<Vec<u8>>,
        /// `-r`: directories too.
        recursive: bool,
    },
    /// `-t`: we receive.
    Target {
        path: PathBuf,
        /// `-d`: because there is more than one file to come.
        must_be_directory: bool,
    },
}

/// Why a command makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("a quote is not closed")]
    OpenQuote,
    #[error("nothing follows the last backslash")]
    OpenEscape,
    #[error("more than {MAX_WORDS} words")]
    TooManyWords,
    #[error("the command is not scp")]
    NotScp,
    #[error("unknown option -{}", _0.escape_ascii())]
    UnknownOption(u8),
    #[error("one of -f and -t is needed; to copy between hosts, run scp on your side")]
    Direction,
    #[error("-f needs the name of a file")]
    NoSource,
    #[error("-t needs exactly one name")]
    NotOneTarget,
}

/// The options that clients send. `-v` and `-q` change nothing: no progress is shown on this side.
#[derive(Default)]
struct Options {
    source: bool,
    target: bool,
    directory: bool,
    recursive: bool,
    preserve: bool,
}

impl Command {
    pub(crate) fn parse(command: &[u8]) -> Result<Self, UsageError> {
        let mut words = split(command)?.into_iter();
        if words.next().is_none_or(|word| word != b"scp") {
            return Err(UsageError::NotScp);
        }
        let (options, names) = Options::parse(words)?;
        let role = match (options.source, options.target) {
            (true, false) if names.is_empty() => return Err(UsageError::NoSource),
            (true, false) => Role::Source {
                names,
                recursive: options.recursive,
            },
            (false, true) => Role::Target {
                path: only(names)?,
                must_be_directory: options.directory,
            },
            _ => return Err(UsageError::Direction),
        };
        Ok(Self {
            role,
            preserve: options.preserve,
        })
    }
}

impl Options {
    /// Options end at the first word that is none, or at `--`. The rest are names.
    fn parse(words: impl Iterator<Item = Vec<u8>>) -> Result<(Self, Vec<Vec<u8>>), UsageError> {
        let mut options = Self::default();
        let mut words = words.peekable();
        while let Some(word) = words.next_if(|word| word.len() > 1 && word.starts_with(b"-")) {
            if word == b"--" {
                break;
            }
            for letter in word.into_iter().skip(1) {
                options.set(letter)?;
            }
        }
        Ok((options, words.collect()))
    }

    fn set(&mut self, letter: u8) -> Result<(), UsageError> {
        match letter {
            b'f' => self.source = true,
            b't' => self.target = true,
            b'd' => self.directory = true,
            b'r' => self.recursive = true,
            b'p' => self.preserve = true,
            b'v' | b'q' => {}
            _ => return Err(UsageError::UnknownOption(letter)),
        }
        Ok(())
    }
}

fn only(names: Vec<Vec<u8>>) -> Result<PathBuf, UsageError> {
    let [name] = <[Vec<u8>; 1]>::try_from(names).map_err(|_| UsageError::NotOneTarget)?;
    Ok(PathBuf::from(OsString::from_vec(name)))
}

/// Where in a line the splitting is.
///
/// ```text
///  between ──#──► comment ──newline──► between
///     │
///     └──other──► word ◄──► 'quoted'  "quoted", with backslashes
/// ```
enum State {
    Between,
    Comment,
    Word,
    Quoted,
    DoublyQuoted,
}

/// Splits a line into words.
///
/// In double quotes a backslash escapes whatever follows, not only what a shell would need it for:
/// this is the reference's rule, to which users have fitted their quoting.
fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, UsageError> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut state = State::Between;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        state = match (state, byte) {
            (State::Comment, b'\n') => State::Between,
            (State::Comment, _) => State::Comment,
            (State::Between, b'#') => State::Comment,
            (State::Between, _) if byte.is_ascii_whitespace() => State::Between,
            (State::Word, _) if byte.is_ascii_whitespace() => {
                add(&mut words, std::mem::take(&mut word))?;
                State::Between
            }
            (State::Quoted, b'\'') | (State::DoublyQuoted, b'"') => State::Word,
            (State::Between | State::Word, b'\'') => State::Quoted,
            (State::Between | State::Word, b'"') => State::DoublyQuoted,
            (State::Quoted, _) => {
                word.push(byte);
                State::Quoted
            }
            (state, b'\\') => {
                word.push(bytes.next().ok_or(UsageError::OpenEscape)?);
                match state {
                    State::DoublyQuoted => state,
                    _ => State::Word,
                }
            }
            (State::DoublyQuoted, _) => {
                word.push(byte);
                State::DoublyQuoted
            }
            (State::Between | State::Word, _) => {
                word.push(byte);
                State::Word
            }
        };
    }
    match state {
        State::Quoted | State::DoublyQuoted => return Err(UsageError::OpenQuote),
        State::Word => add(&mut words, word)?,
        State::Between | State::Comment => {}
    }
    Ok(words)
}

fn add(words: &mut Vec<Vec<u8>>, word: Vec<u8>) -> Result<(), UsageError> {
    if words.len() >= MAX_WORDS {
        return Err(UsageError::TooManyWords);
    }
    words.push(word);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let words = split(line.as_bytes()).unwrap();
        let text = |word| String::from_utf8(word).unwrap();
        words.into_iter().map(text).collect()
    }

    fn parse(line: &str) -> Result<Command, UsageError> {
        Command::parse(line.as_bytes())
    }

    fn source(names: &[&str], recursive: bool, preserve: bool) -> Command {
        let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Command {
            role: Role::Source { names, recursive },
            preserve,
        }
    }

    fn target(path: &str, must_be_directory: bool, preserve: bool) -> Command {
        Command {
            role: Role::Target {
                path: PathBuf::from(path),
                must_be_directory,
            },
            preserve,
        }
    }

    #[test]
    fn words_are_split_at_white_space() {
        assert_eq!(words(" scp \t-t\r\n  x "), ["scp", "-t", "x"]);
        assert!(words("").is_empty());
    }

    #[test]
    fn quotes_and_backslashes_join_words() {
        assert_eq!(words(r#"'a b' "c d" e\ f"#), ["a b", "c d", "e f"]);
        assert_eq!(words(r#"a'b'"c"\d"#), ["abcd"]);
        assert_eq!(words(r#"'' """#), ["", ""]);
        assert_eq!(
            words(r#"'a\b' "a\"b" "a\nb" '"' "'""#),
            ["a\\b", "a\"b", "anb", "\"", "'"]
        );
        assert_eq!(words("$HOME ~ `x` *"), ["$HOME", "~", "`x`", "*"]);
    }

    #[test]
    fn comments_start_words_only() {
        assert_eq!(words("a#b # c d\ne #"), ["a#b", "e"]);
        assert_eq!(words("'#' \\#"), ["#", "#"]);
    }

    #[test]
    fn names_are_bytes() {
        assert_eq!(split(b"\xff\xfe 'x\xc3'").unwrap(), [b"\xff\xfe", b"x\xc3"]);
    }

    #[test]
    fn what_is_left_open_is_refused() {
        for line in ["scp 'a", "scp \"a", "scp \"a\\\""] {
            assert_eq!(parse(line), Err(UsageError::OpenQuote), "{line}");
        }
        assert_eq!(parse("scp a\\"), Err(UsageError::OpenEscape));
    }

    #[test]
    fn words_are_limited() {
        let line = |words| format!("scp -f{}", " x".repeat(words - 2));
        assert!(parse(&line(MAX_WORDS)).is_ok());
        assert_eq!(parse(&line(MAX_WORDS + 1)), Err(UsageError::TooManyWords));
    }

    #[test]
    fn options_are_bundled_or_apart() {
        assert_eq!(
            parse("scp -v -q -r -p -f a b"),
            Ok(source(&["a", "b"], true, true))
        );
        assert_eq!(parse("scp -prf a"), Ok(source(&["a"], true, true)));
        assert_eq!(parse("scp -t a"), Ok(target("a", false, false)));
        assert_eq!(parse("scp -pdt a"), Ok(target("a", true, true)));
    }

    #[test]
    fn options_end_before_names() {
        assert_eq!(parse("scp -t -- -r"), Ok(target("-r", false, false)));
        assert_eq!(parse("scp -f a -r"), Ok(source(&["a", "-r"], false, false)));
        assert_eq!(parse("scp -t -"), Ok(target("-", false, false)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, error) in [
            ("scp", UsageError::Direction),
            ("scp a b", UsageError::Direction),
            ("scp -t -f a", UsageError::Direction),
            ("scp -f", UsageError::NoSource),
            ("scp -t", UsageError::NotOneTarget),
            ("scp -t a b", UsageError::NotOneTarget),
            ("scp -x -t a", UsageError::UnknownOption(b'x')),
            ("scp --version", UsageError::UnknownOption(b'-')),
            ("", UsageError::NotScp),
            ("'scpx' -t a", UsageError::NotScp),
        ] {
            assert_eq!(parse(line), Err(error), "{line}");
        }
    }
}
