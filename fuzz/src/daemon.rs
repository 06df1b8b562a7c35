//! Targets of the daemon: what clients and operators can give it.

mod connection;
mod scp;
mod sftp;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;

use connector::fuzzing;
use goflag::Stop;
use ssh_proto::algorithm::{Algorithms, Lists};
use sshd::accounts::Accounts;
use sshd::config::{Config, FLAGS};
use sshd::secret::Keys;

pub use connection::postauth_daemon;
pub use scp::{scp_command, scp_sink, scp_source};
pub use sftp::sftp;

use crate::input::Input;
use crate::place::directory;

/// The longest name of an account, and the longest home.
const LONGEST_NAME: usize = 256;
const LONGEST_HOME: usize = 4096;

/// Words of a command line, one a line: settings that make sense and are read again from what they are
/// told to be, or an error that names the flag and is the reference's two lines at most.
pub fn daemon_config(data: &[u8]) {
    let words = data.split(|byte| *byte == b'\n');
    let words: Vec<OsString> = words
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    let flags = match goflag::parse(FLAGS, words.clone()) {
        Ok(flags) => flags,
        Err(Stop::Help) => return,
        Err(Stop::Bad(message)) => {
            let is_named = |word: &OsString| {
                let word = word.to_string_lossy();
                let name = word.trim_start_matches('-').split('=').next();
                message.contains(name.unwrap_or_default())
            };
            assert!(words.iter().any(is_named), "{message}");
            return;
        }
    };
    let again = goflag::parse(FLAGS, flags.without(&[]).map(Into::into).collect());
    let again = again.expect("what was read can be read again");
    for flag in FLAGS {
        assert_eq!(flags.text(flag.name), again.text(flag.name));
        assert!(flags.all(flag.name).eq(again.all(flag.name)));
    }
    let Ok(config) = Config::new(&flags, Keys::default()) else {
        return;
    };
    let bounds = &config.bounds;
    assert!(bounds.window >= 32 * 1024 && bounds.requests >= 1);
    let (algorithms, _) = Algorithms::from_lists(Lists {
        kex: &config.allowed.key_exchanges.join(","),
        host_key: &config.allowed.host_key_algorithms.join(","),
        cipher: &config.allowed.ciphers.join(","),
        mac: &config.allowed.macs.join(","),
    });
    let named = format!("{algorithms:?}");
    assert!(
        ["cbc", "md5", "sha1", "none"]
            .iter()
            .all(|weak| !named.to_lowercase().contains(weak))
    );
}

/// Both files of accounts: every name is one that a plain reading finds, and within its bounds.
pub fn accounts(data: &[u8]) {
    let mut files = data.splitn(2, |byte| *byte == 0);
    let passwd = files.next().unwrap_or_default();
    let group = files.next().unwrap_or_default();
    let accounts = Accounts::parse(passwd, group);
    let mut users = BTreeMap::new();
    for fields in lines(passwd, 6) {
        let id = number(fields[2]);
        let (Some(id), true) = (
            id,
            fits(fields[0], LONGEST_NAME) && fits(fields[5], LONGEST_HOME),
        ) else {
            continue;
        };
        users.entry(id).or_insert((fields[0], fields[5]));
        assert!(accounts.home_of_name(fields[0]).is_some());
    }
    for (id, (name, home)) in users {
        assert_eq!(accounts.user_name(id), Some(name));
        assert_eq!(accounts.home_of(id), Some(home));
    }
    let mut groups = BTreeMap::new();
    for fields in lines(group, 3) {
        if let (Some(id), true) = (number(fields[2]), fits(fields[0], LONGEST_NAME)) {
            groups.entry(id).or_insert(fields[0]);
        }
    }
    for (id, name) in groups {
        assert_eq!(accounts.group_name(id), Some(name));
    }
    assert!(!accounts.own_home(OsStr::new("")).is_empty());
}

/// The fields of lines that have at least so many.
fn lines(file: &[u8], least: usize) -> impl Iterator<Item = Vec<&[u8]>> {
    let lines = file.split(|byte| *byte == b'\n');
    let fields = lines.map(|line| line.split(|byte| *byte == b':').collect::<Vec<_>>());
    fields.filter(move |fields| fields.len() >= least)
}

fn fits(field: &[u8], longest: usize) -> bool {
    (1..=longest).contains(&field.len())
}

fn number(field: &[u8]) -> Option<u32> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// The files that say how names are looked up: each name of the hosts file is found under itself, in
/// any case and with a final dot; and whatever resolv.conf says, there is a way to ask.
pub fn host_names(data: &[u8]) {
    let mut input = Input::new(data);
    let hosts = String::from_utf8_lossy(input.bytes());
    let found = fuzzing::hosts(&hosts);
    for (name, addresses) in &found {
        assert!(!addresses.is_empty() && !name.contains(char::is_whitespace));
        assert_eq!(
            fuzzing::normal(&format!("{}.", name.to_ascii_uppercase())),
            *name
        );
    }
    for line in hosts.lines().filter(|line| !line.contains('#')) {
        let mut words = line.split_whitespace();
        if let Some(Ok(address)) = words.next().map(str::parse) {
            for name in words {
                assert!(found[&fuzzing::normal(name)].contains(&address));
            }
        }
    }
    let directory = directory();
    let resolv_conf = directory.path().join("resolv.conf");
    fs::write(&resolv_conf, input.rest()).expect("a file");
    assert!(fuzzing::asks(&resolv_conf));
}
