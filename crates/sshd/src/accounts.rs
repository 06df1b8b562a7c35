//! The names of users and groups, and their homes.
//!
//! Owns reading `/etc/passwd` and `/etc/group` (passwd(5), group(5)) with bounds. The C library's
//! look-ups (`getpw*`, `getgr*`) are not used: in a static binary they want shared modules of the
//! container's. Where the files are absent or unreadable there are no names, and ids stay numbers.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use connector::contents;

/// Longest line that counts. Groups name all their members in one; 4,000 fit.
const LONGEST_LINE: usize = 32 * 1024;

/// Longest name that counts, Linux's `LOGIN_NAME_MAX`.
const LONGEST_NAME: usize = 256;

/// Longest home that counts, Linux's `PATH_MAX`.
const LONGEST_HOME: usize = 4096;

/// Where the names come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The users, as in passwd(5).
    pub passwd: PathBuf,
    /// The groups, as in group(5).
    pub group: PathBuf,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            passwd: "/etc/passwd".into(),
            group: "/etc/group".into(),
        }
    }
}

#[derive(Debug)]
struct User {
    name: Box<[u8]>,
    home: Box<[u8]>,
}

/// Users and groups as they were when they were read.
#[derive(Debug, Default)]
pub struct Accounts {
    users: BTreeMap<u32, User>,
    /// All names, also the further ones of a uid that has several.
    homes: BTreeMap<Box<[u8]>, Box<[u8]>>,
    groups: BTreeMap<u32, Box<[u8]>>,
}

impl Accounts {
    /// Reads both files. Blocks for as long as that takes.
    pub fn read(sources: &Sources) -> Self {
        Self::parse(
            &contents(&sources.passwd).unwrap_or_default(),
            &contents(&sources.group).unwrap_or_default(),
        )
    }

    /// Takes the contents of both files; lines that are no accounts are passed over.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let mut accounts = Self::default();
        for line in lines(passwd) {
            accounts.add_user(line);
        }
        for line in lines(group) {
            accounts.add_group(line);
        }
        accounts
    }

    /// The name of a user.
    pub fn user_name(&self, uid: u32) -> Option<&[u8]> {
        self.users.get(&uid).map(|user| &*user.name)
    }

    /// The home of a user.
    pub fn home_of(&self, uid: u32) -> Option<&[u8]> {
        self.users.get(&uid).map(|user| &*user.home)
    }

    /// The home of the user of this name.
    pub fn home_of_name(&self, name: &[u8]) -> Option<&[u8]> {
        self.homes.get(name).map(|home| &**home)
    }

    /// The name of a group.
    pub fn group_name(&self, gid: u32) -> Option<&[u8]> {
        self.groups.get(&gid).map(|name| &**name)
    }

    /// The home of this process's user: `variable`, which is `HOME`'s value, else what passwd says,
    /// else the root.
    pub fn own_home<'a>(&'a self, variable: &'a OsStr) -> &'a [u8] {
        if !variable.is_empty() {
            return variable.as_bytes();
        }
        self.home_of(rustix::process::getuid().as_raw())
            .unwrap_or(b"/")
    }

    /// `name:password:uid:gid:comment:home:shell`; of two lines for one uid or name the first counts.
    fn add_user(&mut self, line: &[u8]) -> Option<()> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = bounded(fields.next()?, LONGEST_NAME)?;
        let uid = number(fields.nth(1)?)?;
        let home = bounded(fields.nth(2)?, LONGEST_HOME)?;
        self.users.entry(uid).or_insert_with(|| User {
            name: name.into(),
            home: home.into(),
        });
        self.homes.entry(name.into()).or_insert_with(|| home.into());
        Some(())
    }

    /// `name:password:gid:members`
    fn add_group(&mut self, line: &[u8]) -> Option<()> {
        let mut fields = line.split(|byte| *byte == b':');
        let name = bounded(fields.next()?, LONGEST_NAME)?;
        let gid = number(fields.nth(1)?)?;
        self.groups.entry(gid).or_insert_with(|| name.into());
        Some(())
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split(|byte| *byte == b'\n')
        .filter(|line| line.len() <= LONGEST_LINE)
}

/// A field that is neither empty nor too long.
fn bounded(field: &[u8], longest: usize) -> Option<&[u8]> {
    (!field.is_empty() && field.len() <= longest).then_some(field)
}

fn number(field: &[u8]) -> Option<u32> {
    str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_homes() {
        let accounts = Accounts::parse(
            b"root:x:0:0:root:/root:/bin/sh\nvcap:x:2000:2000:,,,:/home/vcap:/bin/bash\n\
              toor:x:0:0::/elsewhere:\n\xff:x:5::a comment:/\xfe:",
            b"root:x:0:\nstaff:x:50:a,b,c\nwheel:x:0:",
        );
        assert_eq!(accounts.user_name(0), Some(&b"root"[..]));
        assert_eq!(accounts.user_name(2000), Some(&b"vcap"[..]));
        assert_eq!(accounts.user_name(1), None);
        assert_eq!(accounts.home_of(2000), Some(&b"/home/vcap"[..]));
        assert_eq!(accounts.home_of_name(b"vcap"), Some(&b"/home/vcap"[..]));
        assert_eq!(accounts.home_of_name(b"toor"), Some(&b"/elsewhere"[..]));
        assert_eq!(accounts.home_of_name(b"\xff"), Some(&b"/\xfe"[..]));
        assert_eq!(accounts.home_of_name(b"nobody"), None);
        assert_eq!(accounts.group_name(0), Some(&b"root"[..]));
        assert_eq!(accounts.group_name(50), Some(&b"staff"[..]));
        assert_eq!(accounts.group_name(51), None);
    }

    #[test]
    fn odd_lines_are_no_accounts() {
        let long_name = [&[b'n'; LONGEST_NAME + 1][..], b":x:7:7::/h:"].concat();
        let long_line = [&b"name:x:8:8:"[..], &[b'c'; LONGEST_LINE], b":/h:"].concat();
        for line in [
            &b"# comment"[..],
            b"",
            b"::::::",
            b"name:x:-1:0::/h:",
            b"name:x:4294967296:0::/h:",
            b"name:x:9",
            b"+::::::",
            &long_name,
            &long_line,
        ] {
            let accounts = Accounts::parse(line, line);
            assert!(accounts.users.is_empty() && accounts.homes.is_empty());
        }
    }

    #[test]
    fn the_own_home() {
        let uid = rustix::process::getuid().as_raw();
        let accounts = Accounts::parse(format!("me:x:{uid}:0::/home/me:").as_bytes(), b"");
        assert_eq!(accounts.own_home(OsStr::new("/mine")), b"/mine");
        assert_eq!(accounts.own_home(OsStr::new("")), b"/home/me");
        assert_eq!(Accounts::default().own_home(OsStr::new("")), b"/");
    }
}
