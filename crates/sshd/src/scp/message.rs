//! The lines of the protocol.
//!
//! ```text
//!  T<mtime> <microseconds> <atime> <microseconds>    times of what follows
//!  C<mode> <size> <name>                             a file; its bytes and one byte follow
//!  D<mode> 0 <name>                                  a directory; what is in it follows
//!  E                                                 the end of a directory
//! ```
//!
//! Owns reading and writing them, and which names may be on them. Each is answered by a byte, which
//! is `peer.rs`'s.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{Timespec, Timestamps};

/// The bits of a mode that are ever sent or set: permissions, set-id and sticky.
pub(super) const MODE_BITS: u32 = 0o7777;

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a line is too long")]
    TooLong,
    #[error("times are not four numbers")]
    Times,
    #[error("a mode is not octal")]
    Mode,
    #[error("a size is not a number of bytes")]
    Size,
    #[error("a name is missing")]
    NoName,
    #[error("a name leads to another place or is no name at all")]
    UnsafeName,
    #[error("the end of a directory has more to it")]
    End,
}

/// When something was changed and last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    modified: Time,
    accessed: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Time {
    seconds: i64,
    nanoseconds: i64,
}

impl Times {
    /// Parses what follows the `T`.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let [modified, microseconds, accessed, more] = *fields.as_slice() else {
            return Err(Malformed::Times);
        };
        let modified = Time::parse(modified, microseconds).ok_or(Malformed::Times)?;
        let accessed = Time::parse(accessed, more).ok_or(Malformed::Times)?;
        Ok(Self { modified, accessed })
    }

    /// The line for a file or directory. Like OpenSSH's it has no fractions of seconds, and nothing
    /// is older than 1970.
    pub(super) fn line(metadata: &Metadata) -> Vec<u8> {
        let modified = metadata.mtime().max(0);
        let accessed = metadata.atime().max(0);
        format!("T{modified} 0 {accessed} 0\n").into_bytes()
    }
}

impl Time {
    fn parse(seconds: &[u8], microseconds: &[u8]) -> Option<Self> {
        let microseconds = i64::try_from(number(microseconds, 10)?).ok()?;
        Some(Self {
            seconds: i64::try_from(number(seconds, 10)?).ok()?,
            nanoseconds: microseconds.checked_mul(1000)?,
        })
        .filter(|time| time.nanoseconds < 1_000_000_000)
    }
}

impl From<Times> for Timestamps {
    fn from(times: Times) -> Self {
        let timespec = |time: Time| Timespec {
            tv_sec: time.seconds,
            tv_nsec: time.nanoseconds,
        };
        Self {
            last_access: timespec(times.accessed),
            last_modification: timespec(times.modified),
        }
    }
}

/// What a client announces with `C` or `D`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Within [`MODE_BITS`].
    pub(super) mode: u32,
    /// Of a file; nothing for a directory.
    pub(super) size: u64,
    pub(super) name: Name,
}

impl Entry {
    /// Parses what follows the `C`.
    pub(super) fn file(line: &[u8]) -> Result<Self, Malformed> {
        let [mode, size, name] = fields(line)?;
        // What no offset reaches, no file can have.
        let size = number(size, 10).filter(|&size| i64::try_from(size).is_ok());
        Ok(Self {
            mode: parse_mode(mode)?,
            size: size.ok_or(Malformed::Size)?,
            name: Name::new(name)?,
        })
    }

    /// Parses what follows the `D`. The size means nothing.
    pub(super) fn directory(line: &[u8]) -> Result<Self, Malformed> {
        let [mode, _, name] = fields(line)?;
        Ok(Self {
            mode: parse_mode(mode)?,
            size: 0,
            name: Name::new(name)?,
        })
    }
}

/// The `C` or `D` of a line that announces `name`.
pub(super) fn line(kind: char, metadata: &Metadata, name: &[u8]) -> Vec<u8> {
    let mode = metadata.mode() & MODE_BITS;
    let size = if metadata.is_dir() { 0 } else { metadata.len() };
    let mut line = format!("{kind}{mode:04o} {size} ").into_bytes();
    line.extend_from_slice(name);
    line.push(b'\n');
    line
}

/// A name in a directory, which leads nowhere else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name(OsString);

impl Name {
    fn new(name: &[u8]) -> Result<Self, Malformed> {
        let unsafe_bytes = name.iter().any(|byte| b"/\0\n".contains(byte));
        if unsafe_bytes || name.is_empty() || name == b"." || name == b".." {
            return Err(Malformed::UnsafeName);
        }
        Ok(Self(OsString::from_vec(name.to_vec())))
    }
}

impl AsRef<std::path::Path> for Name {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

/// What a path is called on a line: its last part, as OpenSSH takes it, be it `.` or `..`.
pub(super) fn base_name(path: &OsStr) -> &[u8] {
    let mut path = path.as_bytes();
    while let Some(shorter) = path.strip_suffix(b"/").filter(|rest| !rest.is_empty()) {
        path = shorter;
    }
    let last = path.rsplit(|&byte| byte == b'/').next();
    last.filter(|name| !name.is_empty()).unwrap_or(path)
}

/// Mode, size and name; only the name may have spaces in it.
fn fields(line: &[u8]) -> Result<[&[u8]; 3], Malformed> {
    let mut fields = line.splitn(3, |&byte| byte == b' ');
    match (fields.next(), fields.next(), fields.next()) {
        (Some(mode), Some(size), Some(name)) => Ok([mode, size, name]),
        _ => Err(Malformed::NoName),
    }
}

fn parse_mode(text: &[u8]) -> Result<u32, Malformed> {
    let mode = number(text, 8).and_then(|mode| u32::try_from(mode).ok());
    Ok(mode.ok_or(Malformed::Mode)? & MODE_BITS)
}

/// Digits, and nothing but digits: no sign, no space.
fn number(text: &[u8], radix: u32) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(radix)?;
        let shifted = number.checked_mul(u64::from(radix))?;
        shifted.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_mode_size_and_name() {
        let entry = Entry::file(b"0644 5 a b").unwrap();
        assert_eq!((entry.mode, entry.size), (0o644, 5));
        assert_eq!(entry.name, Name::new(b"a b").unwrap());
        assert_eq!(Entry::file(b"1777777 0 x").unwrap().mode, 0o7777);
        let largest = i64::MAX.to_string();
        let entry = Entry::file(format!("0644 {largest} x").as_bytes()).unwrap();
        assert_eq!(entry.size, u64::try_from(i64::MAX).unwrap());
    }

    #[test]
    fn malformed_lines_say_what_is_wrong() {
        for (line, error) in [
            ("", Malformed::NoName),
            ("0644", Malformed::NoName),
            ("0644 5", Malformed::NoName),
            ("0684 5 x", Malformed::Mode),
            (" 5 x", Malformed::Mode),
            ("-644 5 x", Malformed::Mode),
            ("77777777777777777777777 5 x", Malformed::Mode),
            ("0644 -1 x", Malformed::Size),
            ("0644 +1 x", Malformed::Size),
            ("0644  x", Malformed::Size),
            ("0644 1k x", Malformed::Size),
            ("0644 9223372036854775808 x", Malformed::Size),
            ("0644 99999999999999999999 x", Malformed::Size),
            ("0644 5 ", Malformed::UnsafeName),
        ] {
            assert_eq!(Entry::file(line.as_bytes()), Err(error), "{line:?}");
        }
        assert_eq!(Entry::directory(b"0x55 0 x"), Err(Malformed::Mode));
        assert!(Entry::directory(b"0755 what x").is_ok());
    }

    #[test]
    fn names_lead_nowhere_else() {
        for name in [
            "", ".", "..", "/", "a/b", "../x", "/etc/x", "a\0b", "a\nb", "x/",
        ] {
            let refused = Err(Malformed::UnsafeName);
            assert_eq!(Name::new(name.as_bytes()), refused, "{name:?}");
        }
        for name in ["...", ".x", " ", "~", "-r", "$x", "\\", "a\rb"] {
            assert!(Name::new(name.as_bytes()).is_ok(), "{name:?}");
        }
        assert!(Name::new(b"\xff").is_ok());
    }

    #[test]
    fn times_are_four_numbers() {
        let times = Times::parse(b"1700000001 5 1600000002 999999").unwrap();
        assert_eq!(times.modified.seconds, 1_700_000_001);
        assert_eq!(times.modified.nanoseconds, 5_000);
        assert_eq!(times.accessed.seconds, 1_600_000_002);
        for line in [
            "",
            "1",
            "1 0 1",
            "1 0 1 0 ",
            "1 0 1 0 0",
            "1  1 0",
            "-1 0 1 0",
            "1 1000000 1 0",
            "x 0 1 0",
            "9223372036854775808 0 1 0",
            "1 99999999999999999 1 0",
        ] {
            assert_eq!(
                Times::parse(line.as_bytes()),
                Err(Malformed::Times),
                "{line:?}"
            );
        }
    }

    #[test]
    fn the_last_part_of_a_path_is_its_name() {
        for (path, name) in [
            ("x", "x"),
            ("a/x", "x"),
            ("/a/x//", "x"),
            (".", "."),
            ("a/..", ".."),
            ("/", "/"),
            ("//", "/"),
            ("", ""),
        ] {
            assert_eq!(base_name(OsStr::new(path)), name.as_bytes(), "{path}");
        }
    }
}
