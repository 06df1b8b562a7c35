//! The environment variables of a session.
//!
//! Owns which variables a session starts with, what a client may add, and how much. Every session
//! has an [`Environment`] of its own: the reference kept one map for the whole daemon, by which
//! variables leaked to strangers and concurrent requests killed it. What the daemon's own variables
//! are is found by `secret.rs`, which has to take the keys out first.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use crate::bounds::Bounds;

/// What every session has unless something later replaces it.
const DEFAULTS: [(&str, &str); 2] = [("PATH", "/bin:/usr/bin"), ("LANG", "en_US.UTF8")];

/// Always the daemon's own, which may be empty: requests for them are accepted without effect.
const FIXED: [&str; 2] = ["HOME", "USER"];

/// The daemon's own variables, without its keys. Never changes once the daemon listens.
#[derive(Debug, Clone, Default)]
pub struct DaemonEnvironment(Vec<(OsString, OsString)>);

impl DaemonEnvironment {
    /// Takes over `variables`, the later of two with one name counting.
    pub fn new(variables: Vec<(OsString, OsString)>) -> Self {
        Self(variables)
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let mut found = self.0.iter().rev().filter(|(n, _)| n == name);
        found.next().map(|(_, value)| value.as_os_str())
    }
}

/// Why a variable is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The name is empty or has a `=` or NUL in it, or the value has a NUL.
    #[error("not a possible environment variable")]
    Malformed,
    /// It would exceed a bound.
    #[error("too many or too large environment variables")]
    TooMuch,
}

/// The variables of one session.
#[derive(Debug, Clone)]
pub struct Environment {
    daemon: Arc<DaemonEnvironment>,
    inherit: bool,
    most_names: usize,
    most_bytes: usize,
    requested: BTreeMap<Vec<u8>, Vec<u8>>,
    requested_bytes: usize,
}

impl Environment {
    /// What a session starts with; with `inherit`, the daemon's variables except `PATH` too.
    pub fn new(daemon: Arc<DaemonEnvironment>, inherit: bool, bounds: &Bounds) -> Self {
        Self {
            daemon,
            inherit,
            most_names: bounds.env_names,
            most_bytes: bounds.env_bytes,
            requested: BTreeMap::new(),
            requested_bytes: 0,
        }
    }

    /// Sets a variable as a client asks for it (RFC 4254 section 6.4), or `TERM` of its pty-req.
    ///
    /// A later value replaces an earlier one. `HOME` and `USER` are accepted and ignored, as in the
    /// reference.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if name.is_empty() || name.iter().any(|b| matches!(b, b'=' | 0)) || value.contains(&0) {
            return Err(Refused::Malformed);
        }
        if FIXED.iter().any(|fixed| fixed.as_bytes() == name) {
            return Ok(());
        }
        let replaced = self.requested.get(name);
        let names = self.requested.len() + usize::from(replaced.is_none());
        let bytes = (self.requested_bytes + cost(name, value))
            .saturating_sub(replaced.map_or(0, |old| cost(name, old)));
        if names > self.most_names || bytes > self.most_bytes {
            return Err(Refused::TooMuch);
        }
        self.requested_bytes = bytes;
        self.requested.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    /// The variables to start the session's process with, each name once.
    pub fn variables(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let mut all = BTreeMap::new();
        for (name, value) in DEFAULTS {
            all.insert(OsString::from(name), OsString::from(value));
        }
        if self.inherit {
            let inherited = self.daemon.0.iter();
            all.extend(
                inherited
                    .filter(|(name, _)| !name.eq_ignore_ascii_case("PATH"))
                    .cloned(),
            );
        }
        for (name, value) in &self.requested {
            let name = OsString::from_vec(name.clone());
            all.insert(name, OsStr::from_bytes(value).to_owned());
        }
        for name in FIXED {
            let own = self.daemon.get(name).unwrap_or_default();
            all.insert(OsString::from(name), own.to_owned());
        }
        all.into_iter()
    }

    /// The user's home: the daemon's own `HOME`, which may be empty.
    pub(crate) fn home(&self) -> &OsStr {
        self.daemon.get("HOME").unwrap_or_default()
    }

    /// The daemon's own search path, for finding a shell.
    pub(crate) fn daemon_path(&self) -> Option<&OsStr> {
        self.daemon.get("PATH")
    }
}

/// What a variable takes in the block that `execve` gets.
fn cost(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + "=\0".len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemon(variables: &[(&str, &str)]) -> Arc<DaemonEnvironment> {
        let owned = variables.iter().map(|(n, v)| (n.into(), v.into()));
        Arc::new(DaemonEnvironment::new(owned.collect()))
    }

    fn shown(environment: &Environment) -> Vec<String> {
        environment
            .variables()
            .map(|(n, v)| format!("{}={}", n.display(), v.display()))
            .collect()
    }

    struct Case {
        inherit: bool,
        requests: &'static [(&'static str, &'static str)],
        sees: &'static [&'static str],
    }

    #[test]
    fn what_a_session_sees() {
        let own = [
            ("PATH", "/tmp"),
            ("Path", "/x"),
            ("TEST", "t"),
            ("LANG", "C"),
            ("HOME", "/h"),
        ];
        let cases = [
            Case {
                inherit: false,
                requests: &[],
                sees: &["HOME=/h", "LANG=en_US.UTF8", "PATH=/bin:/usr/bin", "USER="],
            },
            Case {
                inherit: true,
                requests: &[],
                sees: &["HOME=/h", "LANG=C", "PATH=/bin:/usr/bin", "TEST=t", "USER="],
            },
            Case {
                inherit: true,
                requests: &[("TEST", "mine"), ("LANG", "a"), ("LANG", "b")],
                sees: &[
                    "HOME=/h",
                    "LANG=b",
                    "PATH=/bin:/usr/bin",
                    "TEST=mine",
                    "USER=",
                ],
            },
            Case {
                inherit: false,
                requests: &[("PATH", "/mine"), ("TERM", "xterm")],
                sees: &[
                    "HOME=/h",
                    "LANG=en_US.UTF8",
                    "PATH=/mine",
                    "TERM=xterm",
                    "USER=",
                ],
            },
            Case {
                inherit: false,
                requests: &[("HOME", "/evil"), ("USER", "root")],
                sees: &["HOME=/h", "LANG=en_US.UTF8", "PATH=/bin:/usr/bin", "USER="],
            },
        ];
        for case in cases {
            let mut environment = Environment::new(daemon(&own), case.inherit, &Bounds::default());
            for (name, value) in case.requests {
                environment.set(name.as_bytes(), value.as_bytes()).unwrap();
            }
            assert_eq!(shown(&environment), case.sees);
        }
    }

    #[test]
    fn sessions_share_nothing() {
        let daemon = daemon(&[]);
        let mut first = Environment::new(Arc::clone(&daemon), true, &Bounds::default());
        first.set(b"LEAK", b"1").unwrap();
        let second = Environment::new(daemon, true, &Bounds::default());
        assert!(!shown(&second).iter().any(|line| line.starts_with("LEAK")));
    }

    #[test]
    fn impossible_variables_are_refused() {
        let mut environment = Environment::new(daemon(&[]), false, &Bounds::default());
        for (name, value) in [("", "v"), ("a=b", "v"), ("a\0", "v"), ("a", "v\0")] {
            let refused = environment.set(name.as_bytes(), value.as_bytes());
            assert_eq!(refused, Err(Refused::Malformed));
        }
        // What is not UTF-8 is fine.
        environment.set(b"\xff", b"\xfe").unwrap();
    }

    #[test]
    fn names_are_bounded() {
        let mut environment = Environment::new(daemon(&[]), false, &Bounds::default());
        for i in 0..Bounds::default().env_names {
            environment.set(format!("N{i}").as_bytes(), b"").unwrap();
        }
        assert_eq!(environment.set(b"ONE_MORE", b""), Err(Refused::TooMuch));
        environment.set(b"N0", b"replacing is no growth").unwrap();
    }

    #[test]
    fn bytes_are_bounded() {
        let mut environment = Environment::new(daemon(&[]), false, &Bounds::default());
        let most = vec![b'v'; Bounds::default().env_bytes - "A=\0".len()];
        environment.set(b"A", &most).unwrap();
        assert_eq!(environment.set(b"B", b""), Err(Refused::TooMuch));
        environment.set(b"A", b"").unwrap();
        environment.set(b"B", b"").unwrap();
    }
}
