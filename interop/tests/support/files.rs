//! Files that are copied, and how the copies are compared with them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use interop::probe;

/// More than all windows and buffers on the way hold, so that each is emptied and filled many times.
pub const LARGE: usize = 32 * 1024 * 1024;

/// When files of [`tree`] were last changed, in seconds of Unix: long enough ago to be nobody's now.
pub const LONG_AGO: u64 = 1_000_000_000;

/// A name that no text has: only its bytes tell what it is.
pub fn not_utf8() -> &'static OsStr {
    OsStr::from_bytes(b"caf\xe9 \xff")
}

/// Writes a file of `len` bytes; gives them.
pub fn file(path: &Path, len: usize) -> Vec<u8> {
    let content = probe::data(len);
    fs::write(path, &content).expect("a file");
    content
}

/// Changes the permissions of a file.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its permissions");
}

/// Says that a file was last changed [`LONG_AGO`].
pub fn make_old(path: &Path) {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(LONG_AGO);
    let times = FileTimes::new().set_modified(then).set_accessed(then);
    let file = File::open(path).expect("a file");
    file.set_times(times).expect("its times");
}

/// The permissions of a file.
pub fn mode(path: &Path) -> u32 {
    metadata(path).mode() & 0o7777
}

/// When a file was last changed, in seconds of Unix.
pub fn modified(path: &Path) -> i64 {
    metadata(path).mtime()
}

fn metadata(path: &Path) -> Metadata {
    let metadata = fs::symlink_metadata(path);
    metadata.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Checks that two files have the same content, without printing it.
pub fn assert_same(left: &Path, right: &Path) {
    assert_eq!(content(left), content(right), "{left:?} and {right:?}");
}

/// Length and digest of a file.
fn content(path: &Path) -> (usize, String) {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let sum = digest(&SHA256, &bytes);
    let sum = sum.as_ref().iter().map(|byte| format!("{byte:02x}"));
    (bytes.len(), sum.collect())
}

/// Makes a directory with all that copies of trees get wrong: empty files and directories, some
/// levels, special permissions, old times, odd names.
pub fn tree(root: &Path) {
    for dir in ["", "one", "one/two", "one/two/three", "empty", "with space"] {
        fs::create_dir(root.join(dir)).expect("a directory");
    }
    for (name, len, mode) in [
        ("top", 10, 0o644),
        ("private", 1000, 0o600),
        ("nothing", 0, 0o640),
        ("one/program", 100_000, 0o755),
        ("one/two/three/deep", 70_000, 0o444),
        ("with space/it's \"quoted\" & $HOME", 33, 0o644),
        (".hidden", 5, 0o644),
    ] {
        file(&root.join(name), len);
        set_mode(&root.join(name), mode);
        make_old(&root.join(name));
    }
    set_mode(&root.join("one"), 0o750);
    set_mode(&root.join("one/two"), 0o700);
    // From the inside outwards: a new file changes its directory's time.
    for dir in ["one/two/three", "one/two", "one", "empty", "with space", ""] {
        make_old(&root.join(dir));
    }
}

/// What is compared of each file in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// What is in them.
    Contents,
    /// Permissions too.
    Modes,
    /// Permissions and the time of the last change too.
    ModesAndTimes,
}

/// One entry of a tree, as far as it is looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    content: Option<(usize, String)>,
    mode: Option<u32>,
    modified: Option<i64>,
}

/// Everything in a directory, itself included.
pub fn entries(root: &Path, look: Look) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let data = metadata(&path);
        if data.is_dir() {
            let inside = fs::read_dir(&path).expect("a directory");
            left.extend(inside.map(|entry| entry.expect("an entry").path()));
        }
        let entry = Entry {
            content: data.is_file().then(|| content(&path)),
            mode: (look != Look::Contents).then(|| mode(&path)),
            modified: (look == Look::ModesAndTimes).then(|| data.mtime()),
        };
        let name = path.strip_prefix(root).expect("inside").to_owned();
        found.insert(name, entry);
    }
    found
}

/// Checks that two trees are the same.
pub fn assert_same_tree(left: &Path, right: &Path, look: Look) {
    assert_eq!(entries(left, look), entries(right, look));
}
