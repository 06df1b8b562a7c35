//! Rooms for a daemon that are unlike this machine's: an empty root, limits of its own, a namespace of
//! its own, users who have no name.
//!
//! Owns the words to put before the daemon's and what is to be seen of its processes from outside. All
//! of it takes root's rights; whoever is not root gets them in a user namespace, where the kernel
//! allows that, and is told otherwise. What a daemon has to do there is left to the tests.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "compiled into each test, which uses only a part"
)]

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use tempfile::TempDir;

/// The app's user, whom no container has to know by name.
pub const VCAP: u32 = 1000;

/// The crates that the daemon is made of.
const CRATES: [&str; 6] = [
    "connector",
    "goflag",
    "lager",
    "ssh-proto",
    "ssh-tokio",
    "sshd",
];

/// A daemon's program in a directory that any user may enter, and nothing else.
pub struct Room {
    dir: TempDir,
}

impl Room {
    /// A room for the static daemon, which belongs to `owner` if we may give it away.
    pub fn new(owner: u32) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("diego-sshd");
        fs::copy(static_daemon(), program).expect("a copy of the daemon");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(dir.path(), open).expect("its permissions");
        if is_root() {
            chown(dir.path(), Some(owner), Some(owner)).expect("its owner");
        }
        Self { dir }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The program for those who can see this machine's files.
    pub fn program(&self) -> OsString {
        self.dir.path().join("diego-sshd").into()
    }

    /// The command for those who can see nothing but the room. Whoever starts it and is not root stays
    /// who that is, which is no more than the app's user may.
    pub fn entered(&self) -> Vec<OsString> {
        let mut words = with_roots_rights(&[]);
        words.push("chroot".into());
        if is_root() {
            words.push(format!("--userspec={VCAP}:{VCAP}").into());
        }
        words.push(self.dir.path().into());
        words.push("/diego-sshd".into());
        words
    }
}

/// The words that start a command as root, in new namespaces that are given as options of `unshare`; no
/// words where nothing is needed for that.
///
/// # Panics
/// This user is not root and cannot be in a namespace either.
pub fn with_roots_rights(namespaces: &[&str]) -> Vec<OsString> {
    let mut words = vec!["unshare"];
    if !is_root() {
        words.extend(["--user", "--map-root-user"]);
        let tried = Command::new(words[0])
            .args(&words[1..])
            .arg("true")
            .output();
        let may = tried.is_ok_and(|tried| tried.status.success());
        assert!(may, "run as root, or where users may have user namespaces");
    }
    words.extend(namespaces);
    match words.len() {
        1 => Vec::new(),
        _ => words.into_iter().map(OsString::from).collect(),
    }
}

/// The words that start a command as a user without a name, who has no other process, after other
/// words. Without root's rights this is root of a user namespace.
pub fn as_nobody_known(words: Vec<OsString>) -> (u32, Vec<OsString>) {
    if !is_root() {
        return (0, words);
    }
    let user = unused_user();
    let who = [
        "setpriv".to_owned(),
        format!("--reuid={user}"),
        format!("--regid={user}"),
        "--clear-groups".to_owned(),
    ];
    let all = words.into_iter().chain(who.map(OsString::from));
    (user, all.collect())
}

/// A user of no process, far from those that systems give out. Tests of one machine may ask at the same
/// time, hence the distance between what their processes get.
fn unused_user() -> u32 {
    let users: HashSet<u32> = processes()
        .filter_map(|pid| status(pid, "Uid").parse().ok())
        .collect();
    let first = 1_000_000 + std::process::id() % 100_000 * 16;
    let mut candidates = first..first + 16;
    candidates
        .find(|user| !users.contains(user))
        .expect("a user without processes")
}

/// Whether this is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program that `scripts/dist` made of what there is now.
///
/// # Panics
/// It did not.
pub fn static_daemon() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let workspace = workspace.expect("the workspace");
    let program = workspace.join("dist/diego-sshd");
    let made = fs::metadata(&program).and_then(|program| program.modified());
    let Ok(made) = made else {
        panic!("no dist/diego-sshd: run scripts/dist diego-sshd");
    };
    let sources = CRATES.map(|name| workspace.join("crates").join(name).join("src"));
    let others = ["Cargo.toml", "Cargo.lock", "scripts/dist"].map(|name| workspace.join(name));
    for source in sources.iter().chain(&others) {
        let newer = newer(source, made);
        assert!(
            newer.is_none(),
            "{newer:?} is newer than dist/diego-sshd: run scripts/dist diego-sshd"
        );
    }
    program
}

/// A file at or below `path` that was changed after `time`.
fn newer(path: &Path, time: SystemTime) -> Option<PathBuf> {
    let metadata = fs::metadata(path).expect("a source");
    if metadata.is_file() {
        let changed = metadata.modified().expect("a time");
        return (changed > time).then(|| path.to_owned());
    }
    let entries = fs::read_dir(path).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .find_map(|path| newer(&path, time))
}

/// The ids of all processes.
pub fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The first word of a line of `/proc/PID/status`; nothing for those who are gone.
pub fn status(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    value.unwrap_or_default().to_owned()
}

/// What it has in memory, in kB.
pub fn resident_kb(pid: u32) -> u64 {
    status(pid, "VmRSS").parse().expect("a living process")
}

/// Its descriptors.
///
/// # Panics
/// This is not root: a daemon hides what it has from its own user.
pub fn descriptors(pid: u32) -> usize {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"));
    entries
        .expect("a living process, and root's rights")
        .count()
}

/// Its children, dead ones that it has not waited for included.
pub fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let text = text.unwrap_or_default();
    text.split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}
