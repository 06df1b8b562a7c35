//! The daemon's keys: where they come from, and how they are out of everybody's sight before the
//! first client connects.
//!
//! Command lines are for everybody to read (`ps`), and an environment is for every process of the
//! same user, which in a container is everything the app starts. So, as the reference does, keys on
//! the command line move to the environment and the daemon executes itself again under the same pid.
//! Beyond the reference, the blocks of memory that `/proc/PID/cmdline` and `/proc/PID/environ` show
//! are then overwritten: the environment always, and the command line where executing again is
//! impossible (an empty root without `/proc`) or would not help (there is no host key to move).
//!
//! The system calls are `sys::startup`'s; what a key is, `ssh_proto::key`'s.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use ssh_proto::Secret;
use zeroize::Zeroize as _;

use crate::config::{AUTHORIZED_KEY, HOST_KEY};
use crate::environment::DaemonEnvironment;
use crate::sys::startup;
use goflag::Parsed;

/// Holds the host key; if it is not empty, it and [`AUTHORIZED_KEY_VARIABLE`] replace the flags.
const HOST_KEY_VARIABLE: &str = "SSHD_HOSTKEY";

/// Holds the authorized key, if [`HOST_KEY_VARIABLE`] holds a host key.
const AUTHORIZED_KEY_VARIABLE: &str = "SSHD_AUTHKEY";

/// The running program, whatever became of its path.
const OWN_IMAGE: &str = "/proc/self/exe";

/// The keys as they were given.
#[derive(Debug, Default)]
pub struct Keys {
    /// The host key in PEM; without one, the caller generates it.
    pub host: Option<Secret<String>>,
    /// The key of the user who may log in, a line of `authorized_keys`.
    pub authorized: Option<Secret<String>>,
}

/// What is left when nothing is to be seen any more.
#[derive(Debug)]
pub struct Concealed {
    /// The keys.
    pub keys: Keys,
    /// The daemon's other variables.
    pub environment: DaemonEnvironment,
}

/// Takes the keys out of the command line and the environment.
///
/// Must be called before any thread is started; otherwise nothing can be overwritten, and this fails.
/// May not return, but execute the daemon again.
pub fn conceal(program: &OsStr, flags: &Parsed) -> io::Result<Concealed> {
    startup::set_name(program);
    startup::refuse_dumps();
    let (from_variables, variables) = split_variables(env::vars_os());
    let mut shown = flags.all(HOST_KEY).chain(flags.all(AUTHORIZED_KEY));
    let shown = shown.next().is_some();
    let keys = if from_variables.host.is_some() {
        from_variables
    } else {
        let keys = keys_of(flags);
        if keys.host.is_some() {
            // Returns only when it failed, in which case overwriting does all of it.
            execute_again(program, flags, &keys);
        }
        keys
    };
    startup::replace_environment(&variables)?;
    if shown {
        let words = flags
            .without(&[HOST_KEY, AUTHORIZED_KEY])
            .map(OsString::from);
        startup::overwrite_arguments([program.to_owned()].into_iter().chain(words))?;
    }
    Ok(Concealed {
        keys,
        environment: DaemonEnvironment::new(variables),
    })
}

/// Separates the keys from the other variables.
fn split_variables(
    all: impl Iterator<Item = (OsString, OsString)>,
) -> (Keys, Vec<(OsString, OsString)>) {
    let mut keys = Keys::default();
    let mut others = Vec::new();
    for (name, value) in all {
        if name == HOST_KEY_VARIABLE {
            keys.host = non_empty(into_text(value));
        } else if name == AUTHORIZED_KEY_VARIABLE {
            keys.authorized = non_empty(into_text(value));
        } else {
            others.push((name, value));
        }
    }
    (keys, others)
}

fn keys_of(flags: &Parsed) -> Keys {
    Keys {
        host: non_empty(flags.text(HOST_KEY).to_owned()),
        authorized: non_empty(flags.text(AUTHORIZED_KEY).to_owned()),
    }
}

/// Starts over with the keys in the environment. Returns only if that is impossible.
///
/// The reference looks for argv[0] instead. That is whatever the caller said, possibly the name of
/// another program by now, which must not get the host key.
fn execute_again(program: &OsStr, flags: &Parsed, keys: &Keys) {
    let mut command = Command::new(OWN_IMAGE);
    command.arg0(program);
    command.args(flags.without(&[HOST_KEY, AUTHORIZED_KEY]));
    for (name, key) in [
        (HOST_KEY_VARIABLE, &keys.host),
        (AUTHORIZED_KEY_VARIABLE, &keys.authorized),
    ] {
        match key {
            Some(key) => command.env(name, key.expose()),
            None => command.env_remove(name),
        };
    }
    // There is no log yet to tell the error to, and nothing that it would change.
    _ = command.exec();
    startup::ignore_broken_pipes();
}

fn non_empty(text: String) -> Option<Secret<String>> {
    Some(text).filter(|text| !text.is_empty()).map(Secret::new)
}

fn into_text(value: OsString) -> String {
    value.into_string().unwrap_or_else(|value| {
        let text = value.to_string_lossy().into_owned();
        value.into_encoded_bytes().zeroize();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(variables: &[(&str, &str)]) -> (Keys, usize) {
        let owned = variables.iter().map(|(n, v)| (n.into(), v.into()));
        let (keys, others) = split_variables(owned);
        (keys, others.len())
    }

    #[test]
    fn keys_are_taken_out_of_the_variables() {
        let (keys, others) = split(&[
            ("A", "1"),
            ("SSHD_HOSTKEY", "h"),
            ("SSHD_AUTHKEY", "a"),
            ("SSHD_HOSTKEYS", "not ours"),
        ]);
        assert_eq!(keys.host.unwrap().expose(), "h");
        assert_eq!(keys.authorized.unwrap().expose(), "a");
        assert_eq!(others, 2);
    }

    #[test]
    fn empty_variables_are_none() {
        let (keys, others) = split(&[("SSHD_HOSTKEY", ""), ("SSHD_AUTHKEY", "")]);
        assert!(keys.host.is_none() && keys.authorized.is_none());
        assert_eq!(others, 0);
    }
}
