//! Patterns in the names of files: `*`, `?`, `[a-z]`, `[^a]` and backslashes.
//!
//! Owns their syntax, which is that of Go's `path/filepath`, and finding what matches. It works on
//! bytes, of which those that are UTF-8 are taken as characters. A pattern that is malformed or
//! matches nothing is a name, which is for the caller to know.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Most memory for the matches of one pattern, reckoned at [`COST_OF_A_MATCH`] beyond the path.
///
/// Two million bytes are what Linux lets a shell hand to a program after the same expansion; ours
/// may be several times as many, about 100,000 names. Beyond that, `-r` does not hold them all.
const MAX_MATCHED_BYTES: usize = 8 * 1024 * 1024;

/// What a match takes besides its bytes: the vector's header, and what the allocator adds.
const COST_OF_A_MATCH: usize = 40;

/// Most directory entries looked at for one pattern: seconds of work, which cannot be interrupted.
const MAX_ENTRIES: usize = 1 << 20;

/// A pattern would exceed [`MAX_MATCHED_BYTES`] or [`MAX_ENTRIES`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// Whether `name` would be expanded at all.
pub(crate) fn is_pattern(name: &[u8]) -> bool {
    name.iter().any(|byte| b"*?[\\".contains(byte))
}

/// The paths that match, each directory's in the order of their names.
///
/// Empty if nothing matches or the pattern is malformed. Reads directories, so it may take its time.
pub(crate) fn expand(pattern: &[u8]) -> Result<Vec<PathBuf>, TooMany> {
    let Some(components) = compile(pattern) else {
        return Ok(Vec::new());
    };
    let mut search = Search::default();
    let root: &[u8] = if pattern.starts_with(b"/") { b"/" } else { b"" };
    let mut found = vec![root.to_vec()];
    for component in &components {
        search.bytes = 0;
        let mut deeper = Vec::new();
        for directory in &found {
            search.step(directory, component, &mut deeper)?;
        }
        found = deeper;
    }
    let path = |bytes| PathBuf::from(OsString::from_vec(bytes));
    Ok(found.into_iter().map(path).collect())
}

/// What one expansion has used up.
#[derive(Default)]
struct Search {
    entries: usize,
    bytes: usize,
}

impl Search {
    /// Adds to `found` what matches `component` in `directory`. What cannot be read has no matches.
    fn step(
        &mut self,
        directory: &[u8],
        component: &Component,
        found: &mut Vec<Vec<u8>>,
    ) -> Result<(), TooMany> {
        let tokens = match component {
            Component::Plain(name) => {
                let path = join(directory, name);
                if fs::symlink_metadata(as_path(&path)).is_ok() {
                    self.keep(path, found)?;
                }
                return Ok(());
            }
            Component::Pattern(tokens) => tokens,
        };
        let mut names = Vec::new();
        for name in list(directory).into_iter().flatten() {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(TooMany);
            }
            if matches(tokens, &name) {
                self.keep(name, &mut names)?;
                self.bytes += directory.len();
            }
        }
        names.sort_unstable();
        found.extend(names.iter().map(|name| join(directory, name)));
        Ok(())
    }

    fn keep(&mut self, path: Vec<u8>, found: &mut Vec<Vec<u8>>) -> Result<(), TooMany> {
        self.bytes += path.len() + COST_OF_A_MATCH;
        if self.bytes > MAX_MATCHED_BYTES {
            return Err(TooMany);
        }
        found.push(path);
        Ok(())
    }
}

fn list(directory: &[u8]) -> io::Result<impl Iterator<Item = Vec<u8>>> {
    let directory: &[u8] = if directory.is_empty() {
        b"."
    } else {
        directory
    };
    let entries = fs::read_dir(as_path(directory))?;
    Ok(entries.map_while(|entry| Some(entry.ok()?.file_name().into_vec())))
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !path.is_empty() && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// Whether the whole of `name` matches a pattern without slashes; `None` if that is malformed.
#[cfg(fuzzing)]
pub(crate) fn is_match(pattern: &[u8], name: &[u8]) -> Option<bool> {
    Some(matches(&tokens(pattern)?, name))
}

/// A pattern between slashes.
enum Component {
    Plain(Vec<u8>),
    Pattern(Vec<Token>),
}

/// `None` if it is malformed. A slash always separates, even in brackets, where it makes both parts
/// malformed.
fn compile(pattern: &[u8]) -> Option<Vec<Component>> {
    let component = |text: &[u8]| {
        if is_pattern(text) {
            Some(Component::Pattern(tokens(text)?))
        } else {
            Some(Component::Plain(text.to_vec()))
        }
    };
    // Like Go's, a pattern that ends in a slash matches nothing.
    if pattern.ends_with(b"/") {
        return None;
    }
    let parts = pattern.split(|&byte| byte == b'/');
    parts
        .filter(|part| !part.is_empty())
        .map(component)
        .collect()
}

/// One element of a pattern.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// Any number of characters.
    Star,
    /// One character.
    Any,
    /// This character.
    One(u32),
    /// A character that is, or if `negated` is not, in one of the ranges.
    Class {
        negated: bool,
        ranges: Vec<(u32, u32)>,
    },
}

impl Token {
    fn takes(&self, character: u32) -> bool {
        match self {
            Self::Star => false,
            Self::Any => true,
            Self::One(this) => *this == character,
            Self::Class { negated, ranges } => {
                let mut ranges = ranges.iter();
                ranges.any(|(low, high)| (*low..=*high).contains(&character)) != *negated
            }
        }
    }
}

fn tokens(pattern: &[u8]) -> Option<Vec<Token>> {
    let mut characters = Characters(pattern);
    let mut tokens = Vec::new();
    while let Some(character) = characters.next() {
        tokens.push(match char::from_u32(character) {
            Some('*') => Token::Star,
            Some('?') => Token::Any,
            Some('[') => characters.class()?,
            Some('\\') => Token::One(characters.next()?),
            _ => Token::One(character),
        });
    }
    Some(tokens)
}

/// Whether the whole of `name` matches.
///
/// Only the last star is ever reconsidered: the ones before it have already taken as little as they
/// can. So the effort is at most the product of both lengths, whatever the pattern.
fn matches(tokens: &[Token], name: &[u8]) -> bool {
    let (mut tokens, mut rest) = (tokens, Characters(name));
    let mut retry: Option<(&[Token], Characters<'_>)> = None;
    loop {
        let mut after = rest;
        match (tokens.split_first(), after.next()) {
            (None, None) => return true,
            (Some((Token::Star, others)), _) => {
                tokens = others;
                retry = Some((others, rest));
                continue;
            }
            (Some((token, others)), Some(character)) if token.takes(character) => {
                tokens = others;
                rest = after;
                continue;
            }
            _ => {}
        }
        // The last star takes one character more.
        let Some((others, from)) = &mut retry else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        (tokens, rest) = (others, *from);
    }
}

/// The first number that stands for a byte that is not UTF-8; such bytes match only themselves.
const NO_CHARACTER: u32 = 0x11_0000;

/// The characters of a name.
#[derive(Clone, Copy)]
struct Characters<'a>(&'a [u8]);

impl Iterator for Characters<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let first = *self.0.first()?;
        let head = self.0.get(..4).unwrap_or(self.0);
        let valid = head.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let (character, length) = match valid.chars().next() {
            Some(character) => (u32::from(character), character.len_utf8()),
            None => (NO_CHARACTER + u32::from(first), 1),
        };
        self.0 = self.0.get(length..).unwrap_or_default();
        Some(character)
    }
}

impl Characters<'_> {
    /// The rest of `[…]`. `None` if it is empty, not closed, or a range has no begin or no end.
    fn class(&mut self) -> Option<Token> {
        let negated = self.skip(b'^');
        let mut ranges = Vec::new();
        while ranges.is_empty() || !self.skip(b']') {
            let low = self.bound()?;
            let high = if self.skip(b'-') { self.bound()? } else { low };
            ranges.push((low, high));
        }
        Some(Token::Class { negated, ranges })
    }

    /// An end of a range; what has a meaning there needs a backslash.
    fn bound(&mut self) -> Option<u32> {
        match self.0.first()? {
            b'-' | b']' => None,
            b'\\' => {
                self.next();
                self.next()
            }
            _ => self.next(),
        }
    }

    fn skip(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(&[byte]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(pattern: &str, name: &[u8]) -> Option<bool> {
        Some(matches(&tokens(pattern.as_bytes())?, name))
    }

    fn expanded(directory: &Path, pattern: &str) -> Vec<String> {
        let whole = format!("{}/{pattern}", directory.display());
        let found = expand(whole.as_bytes()).unwrap();
        let relative = |path: PathBuf| path.strip_prefix(directory).unwrap().to_owned();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        found.into_iter().map(relative).map(text).collect()
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", ".hidden", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("*a", "aab", false),
            ("**", "x", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "ä", true),
            ("??", "ä", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[^a-c]", "d", true),
            ("[^a-c]", "b", false),
            ("[ä-ü]", "ö", true),
            ("[\\]]", "]", true),
            ("[\\-x]", "-", true),
            ("[a^]", "^", true),
            ("[c-a]", "b", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("", "", true),
        ] {
            let actual = matching(pattern, name.as_bytes());
            assert_eq!(actual, Some(expected), "{pattern} {name}");
        }
    }

    #[test]
    fn bytes_beyond_utf8_are_characters() {
        assert_eq!(matching("a?", b"a\xff"), Some(true));
        assert_eq!(matching("a??", b"a\xff\xfe"), Some(true));
        assert!(matches(&tokens(b"\xff*").unwrap(), b"\xffx"));
        assert!(!matches(&tokens(b"[\xfe]").unwrap(), b"\xff"));
    }

    #[test]
    fn malformed_patterns_are_none() {
        for pattern in [
            "[", "[a", "[]", "[]a]", "[-]", "[a-]", "[-a]", "[^", "[^]", "a\\", "[\\",
        ] {
            assert_eq!(matching(pattern, b"x"), None, "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_longer() {
        let pattern = "*a".repeat(120) + "b";
        assert_eq!(matching(&pattern, &[b'a'; 255]), Some(false));
    }

    #[test]
    fn directories_are_searched_at_each_level() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["b/x.log", "a/x.log", "a/y.log", "a/z.txt", ".c/x.log"] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = |pattern| expanded(directory.path(), pattern);
        assert_eq!(found("a/*.log"), ["a/x.log", "a/y.log"]);
        assert_eq!(found("*/x.log"), [".c/x.log", "a/x.log", "b/x.log"]);
        assert_eq!(found("[ab]/?.log"), ["a/x.log", "a/y.log", "b/x.log"]);
        assert_eq!(found("*"), [".c", "a", "b"]);
        assert!(found("nothing*").is_empty());
        assert!(found("a/x.log/*").is_empty());
        assert!(found("[/b]").is_empty());
        assert!(found("*/").is_empty());
    }

    #[test]
    fn relative_patterns_give_relative_names() {
        // Tests run in their crate's directory.
        let found = expand(b"Cargo.*").unwrap();
        assert_eq!(found, [Path::new("Cargo.toml")]);
        assert_eq!(expand(b"./Cargo.*").unwrap(), [Path::new("./Cargo.toml")]);
    }

    #[test]
    fn what_is_held_is_limited() {
        let mut search = Search::default();
        let mut found = Vec::new();
        let kept = (0..).take_while(|_| search.keep(vec![b'x'; 100], &mut found).is_ok());
        assert_eq!(kept.count(), MAX_MATCHED_BYTES / (100 + COST_OF_A_MATCH));
    }
}
