//! Canonical paths: REALPATH and what expand-path@openssh.com does before it.
//!
//! Owns the walk over names and symlinks, which ends where OpenSSH's does: a path whose last name
//! does not exist has a canonical form, one with a gap in the middle does not.

use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{lstat, readlink};
use rustix::io::Errno;

use super::attributes::is_symlink;
use super::packet::{Code, Status};
use crate::accounts::Accounts;

/// Longest path, Linux's `PATH_MAX`: the kernel takes no longer one.
const LONGEST: usize = 4096;

/// Most symlinks on one path, as many as in OpenSSH.
const MOST_SYMLINKS: usize = 32;

/// What a look-up of a user that does not exist is answered with.
pub(super) const NO_SUCH_USER: &str = "no such user";

/// The absolute path without `.`, `..`, symlinks and superfluous slashes. The empty one is the
/// working directory.
pub(super) fn canonical(path: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut resolved = if path.starts_with(b"/") {
        Vec::new()
    } else {
        working_directory()?
    };
    let mut left = path.to_vec();
    let mut symlinks = 0;
    while !left.is_empty() {
        if left.len() >= LONGEST {
            return Err(Errno::NAMETOOLONG);
        }
        let (name, rest) = split(&left);
        if let Some(target) = step(&mut resolved, &name, rest.is_none())? {
            symlinks += 1;
            if symlinks > MOST_SYMLINKS {
                return Err(Errno::LOOP);
            }
            if target.starts_with(b"/") {
                resolved.clear();
            }
            left = match rest {
                Some(rest) => [target.as_slice(), b"/", &rest].concat(),
                None => target,
            };
        } else {
            left = rest.unwrap_or_default();
        }
    }
    if resolved.is_empty() {
        resolved.push(b'/');
    }
    Ok(resolved)
}

/// Walks to `name` below `resolved`, which has no slash at its end; the target, if it is a symlink.
fn step(resolved: &mut Vec<u8>, name: &[u8], last: bool) -> Result<Option<Vec<u8>>, Errno> {
    let parent = resolved.len();
    match name {
        b"" | b"." => return Ok(None),
        b".." => {
            let slash = resolved.iter().rposition(|byte| *byte == b'/');
            resolved.truncate(slash.unwrap_or(0));
            return Ok(None);
        }
        _ => {}
    }
    resolved.push(b'/');
    resolved.extend_from_slice(name);
    if resolved.len() >= LONGEST {
        return Err(Errno::NAMETOOLONG);
    }
    match lstat(resolved.as_slice()) {
        Ok(stat) if is_symlink(&stat) => {
            let target = readlink(resolved.as_slice(), Vec::new())?.into_bytes();
            resolved.truncate(parent);
            Ok(Some(target))
        }
        Ok(_) => Ok(None),
        Err(Errno::NOENT) if last => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The first name, and what is behind its slash if it has one.
fn split(path: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut parts = path.splitn(2, |byte| *byte == b'/');
    let name = parts.next().unwrap_or_default().to_vec();
    (name, parts.next().map(<[u8]>::to_vec))
}

/// The working directory without a slash at its end.
fn working_directory() -> Result<Vec<u8>, Errno> {
    let directory =
        std::env::current_dir().map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let mut path = directory.into_os_string().into_vec();
    if path.ends_with(b"/") {
        path.pop();
    }
    Ok(path)
}

/// `~`, `~/...` and `~user/...` as a shell reads them; everything else is itself (OpenSSH's PROTOCOL
/// section 4.9).
pub(super) fn expand(path: &[u8], home: &[u8], accounts: &Accounts) -> Result<Vec<u8>, Status> {
    let Some(tail) = path.strip_prefix(b"~") else {
        return Ok(path.to_vec());
    };
    let (user, rest) = split(tail);
    let home = if user.is_empty() {
        home
    } else {
        let home = accounts.home_of_name(&user);
        home.ok_or(Status::new(Code::NoSuchFile, NO_SUCH_USER))?
    };
    Ok(match rest {
        Some(rest) => [home, b"/", &rest].concat(),
        None => home.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn below(root: &Path, path: &str) -> Vec<u8> {
        [root.as_os_str().as_bytes(), b"/", path.as_bytes()].concat()
    }

    #[test]
    fn canonical_paths() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/file"), "").unwrap();
        symlink("a/b", root.join("relative")).unwrap();
        symlink(root.join("a"), root.join("absolute")).unwrap();
        symlink("../relative/new", root.join("a/dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for (path, expected) in [
            ("a/b", Ok("a/b")),
            ("a//./b/", Ok("a/b")),
            ("a/b/..", Ok("a")),
            ("relative/..", Ok("a")),
            ("absolute/b", Ok("a/b")),
            ("a/new", Ok("a/new")),
            ("a/dangling", Ok("a/b/new")),
            ("a/new/", Err(Errno::NOENT)),
            ("a/new/er", Err(Errno::NOENT)),
            ("a/file/", Ok("a/file")),
            ("a/file/x", Err(Errno::NOTDIR)),
            ("loop", Err(Errno::LOOP)),
            ("loop/x", Err(Errno::LOOP)),
        ] {
            let expected = expected.map(|path| below(&root, path));
            assert_eq!(canonical(&below(&root, path)), expected, "{path}");
        }
        for path in ["/", "/..", "//", "/../."] {
            assert_eq!(canonical(path.as_bytes()), Ok(b"/".to_vec()), "{path}");
        }
    }

    #[test]
    fn relative_paths_begin_at_the_working_directory() {
        let here = std::env::current_dir().unwrap().into_os_string().into_vec();
        assert_eq!(canonical(b""), Ok(here.clone()));
        assert_eq!(canonical(b"."), Ok(here.clone()));
        assert_eq!(canonical(b"src/.."), Ok(here));
    }

    #[test]
    fn names_are_bytes_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let name = root.join(OsStr::from_bytes(b"a\n\"\xff'"));
        std::fs::create_dir(&name).unwrap();
        let path = name.into_os_string().into_vec();
        assert_eq!(canonical(&path), Ok(path));
        assert_eq!(canonical(&b"/x".repeat(LONGEST)), Err(Errno::NAMETOOLONG));
        assert_eq!(canonical(&[b'x'; 300]), Err(Errno::NAMETOOLONG));
        assert_eq!(canonical(b"a\0b"), Err(Errno::INVAL));
    }

    #[test]
    fn homes_are_expanded() {
        let directory = tempfile::tempdir().unwrap();
        let passwd = directory.path().join("passwd");
        std::fs::write(&passwd, "vcap:x:2000:2000::/home/vcap:\n").unwrap();
        let accounts = Accounts::read(&crate::accounts::Sources {
            passwd,
            ..Default::default()
        });
        let expand = |path: &str| expand(path.as_bytes(), b"/mine", &accounts);
        for (path, expanded) in [
            ("~", "/mine"),
            ("~/", "/mine/"),
            ("~/x/y", "/mine/x/y"),
            ("~vcap", "/home/vcap"),
            ("~vcap/x", "/home/vcap/x"),
            ("a/~", "a/~"),
            ("/~", "/~"),
            ("", ""),
        ] {
            assert_eq!(expand(path), Ok(expanded.as_bytes().to_vec()));
        }
        assert_eq!(
            expand("~stranger/x"),
            Err(Status::new(Code::NoSuchFile, NO_SUCH_USER))
        );
    }
}
