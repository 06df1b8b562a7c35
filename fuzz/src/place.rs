//! Directories for files that targets let the daemon write: in memory where that can be had, and gone
//! in the end.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::runtime::runtime;

/// Where Linux has a file system in memory.
const MEMORY: &str = "/dev/shm";

/// How long a file may get: clients of sftp can ask for exabytes.
const LONGEST_FILE: u64 = 4 * 1024 * 1024;

/// What the kernel tells a process that makes a file too long, besides EFBIG (setrlimit(2)).
const SIGXFSZ: i32 = 25;

/// The working directory and limits are the process's, and tests may run several targets at a time.
static PROCESS: Mutex<()> = Mutex::new(());

/// An empty directory.
pub(crate) fn directory() -> TempDir {
    let memory = Path::new(MEMORY);
    let place = if memory.is_dir() {
        memory.to_owned()
    } else {
        env::temp_dir()
    };
    tempfile::tempdir_in(place).expect("a directory can be made")
}

/// An empty working directory, some levels below a directory of its own: who has no `/` to write may
/// get to its parent, and no further.
pub(crate) struct Place {
    before: PathBuf,
    limit_before: Rlimit,
    // Dropped in this order: away with the files, let others in.
    above: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Place {
    pub(crate) fn enter() -> Self {
        let turn = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        survive_long_files();
        let before = env::current_dir().expect("a working directory");
        let above = directory();
        let below = above.path().join("above").join("here");
        fs::create_dir_all(&below).expect("directories can be made");
        env::set_current_dir(&below).expect("it was just made");
        let limit_before = getrlimit(Resource::Fsize);
        let limit = Rlimit {
            current: Some(LONGEST_FILE),
            maximum: limit_before.maximum,
        };
        setrlimit(Resource::Fsize, limit).expect("less is always allowed");
        Self {
            before,
            limit_before,
            above,
            _turn: turn,
        }
    }

    /// Nothing came to be beside the working directory.
    pub(crate) fn assert_confined(&self) {
        assert_eq!(names(self.above.path()), ["above"]);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        env::set_current_dir(&self.before).expect("it was there before");
        let limit = self.limit_before;
        setrlimit(Resource::Fsize, limit).expect("it was so before");
    }
}

/// Has the signal handled, which otherwise ends the process.
fn survive_long_files() {
    static HANDLED: Once = Once::new();
    HANDLED.call_once(|| {
        // The handler stays though the stream is dropped.
        let handled = runtime().block_on(async { signal(SignalKind::from_raw(SIGXFSZ)) });
        drop(handled.expect("a handler"));
    });
}

/// The names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it can be read");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry.expect("an entry")))
        .collect();
    names.sort();
    names
}
