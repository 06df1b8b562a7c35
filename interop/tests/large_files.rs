//! What copies get wrong at the edges: sizes around 4 GiB, thousands of files, names of any bytes.

mod support;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interop::probe;
use interop::process::{self, Output};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use support::files::{self, Look};
use support::target::{both, remote, succeeds};
use support::{soak, tenth};
use tokio::process::Command;

const GIB: u64 = 1 << 30;

/// The sizes at which 32 bits end, and one beyond.
const SIZES: [u64; 3] = [4 * GIB - 1, 4 * GIB, 5 * GIB];

/// What is copied of them where a copy can begin in the middle.
const TAIL: u64 = 3 << 20;

/// A copy of some GiB on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

async fn run(command: Command, input: &[u8]) -> Output {
    process::run_for(command, input, PATIENCE).await
}

/// Makes a file of this size, as good as empty on the disk, that has data at its start, around 4 GiB,
/// and at its end.
fn sparse(path: &Path, size: u64) -> PathBuf {
    let file = File::create(path).expect("a file");
    file.set_len(size).expect("its size");
    let data = probe::data(TAIL as usize);
    for at in [0, 4 * GIB - TAIL / 2, size - TAIL] {
        let room = usize::try_from(size.saturating_sub(at)).expect("a size");
        let part = &data[..room.min(data.len())];
        file.write_all_at(part, at).expect("its data");
    }
    path.to_owned()
}

/// Compares two files in pieces, except where both have nothing on the disk.
fn assert_same(left: &Path, right: &Path) {
    let [left, right] = [left, right].map(|path| File::open(path).expect("a file"));
    let size = left.metadata().expect("its size").len();
    assert_eq!(right.metadata().expect("its size").len(), size);
    let mut pieces = [vec![0; 1 << 20], vec![0; 1 << 20]];
    let next = |at| data_from(&left, at).min(data_from(&right, at));
    let mut at = next(0);
    while at < size {
        let count = usize::try_from(size - at)
            .unwrap_or(usize::MAX)
            .min(1 << 20);
        let [one, other] = &mut pieces;
        left.read_exact_at(&mut one[..count], at).expect("data");
        right.read_exact_at(&mut other[..count], at).expect("data");
        assert!(one[..count] == other[..count], "differ after {at}");
        at = next(at + count as u64);
    }
}

/// Where the data of a file go on.
fn data_from(file: &File, at: u64) -> u64 {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(found) => found,
        Err(Errno::NXIO) => u64::MAX,
        Err(error) => panic!("{error}"),
    }
}

/// The beginning of a file of [`sparse`], as a copy that was cut off left it.
fn cut_off(path: &Path, whole: &Path, size: u64) {
    sparse(path, size);
    let file = OpenOptions::new().write(true).open(path).expect("a file");
    let kept = size - TAIL;
    file.set_len(kept).expect("its size");
    assert!(kept < fs::metadata(whole).expect("a file").len());
}

both! {
    /// A copy that goes on where another was cut off crosses the edge and takes no minutes.
    async fn sftp_continues_around_4_gib(target: Target) {
        for size in SIZES {
            let here = sparse(&target.dir.join("whole"), size);
            let there = sparse(&target.home().join("whole"), size);
            cut_off(&target.home().join("up"), &here, size);
            cut_off(&target.dir.join("back"), &there, size);
            let batch = b"reput whole up\nreget whole back\n";
            succeeds(run(target.sftp(), batch).await);
            assert_same(&here, &target.home().join("up"));
            assert_same(&here, &target.dir.join("back"));
        }
    }

    /// All of it in a soak, a tenth of the size otherwise.
    async fn whole_files_are_copied_both_ways(target: Target) {
        for (number, size) in SIZES.into_iter().enumerate() {
            let here = sparse(&target.dir.join("whole"), tenth(size.max(10 * TAIL)));
            // Each protocol takes its turn; in a soak both take all.
            for protocol in ["-O", "-s"] {
                if !soak() && (number + usize::from(protocol == "-s")) % 2 != 0 {
                    continue;
                }
                let mut scp = target.scp();
                scp.args([protocol, "whole", &remote("up")]);
                succeeds(run(scp, b"").await);
                assert_same(&here, &target.home().join("up"));
                let mut scp = target.scp();
                scp.args([protocol, &remote("up"), "back"]);
                succeeds(run(scp, b"").await);
                assert_same(&here, &target.dir.join("back"));
            }
        }
    }

    async fn thousands_of_small_files_are_copied_both_ways(target: Target) {
        let root = target.dir.join("many");
        for number in 0..tenth(10_000_u32) {
            let dir = root.join((number % 10).to_string());
            fs::create_dir_all(&dir).expect("a directory");
            let file = dir.join(number.to_string());
            files::file(&file, number as usize % 2000);
            files::set_mode(&file, 0o600 + number % 0o100);
            files::make_old(&file);
        }
        for (protocol, up, back) in [("-O", "up-1", "back-1"), ("-s", "up-2", "back-2")] {
            let mut scp = target.scp();
            scp.args([protocol, "-rpq", "many", &remote(up)]);
            succeeds(run(scp, b"").await);
            files::assert_same_tree(&root, &target.home().join(up), Look::Modes);
            let mut scp = target.scp();
            scp.args([protocol, "-rpq", &remote(up), back]);
            succeeds(run(scp, b"").await);
            files::assert_same_tree(&root, &target.dir.join(back), Look::Modes);
        }
    }

    /// Of sftp's own commands only those of whole directories take names that no line can hold.
    async fn names_are_any_bytes_but_two(target: Target) {
        let root = target.dir.join("names");
        fs::create_dir(&root).expect("a directory");
        for (number, name) in [
            &b"with space"[..],
            b" ",
            b"'single' \"double\" `back`",
            b"$HOME;exit|&<>()*?[a-z]{1,2}~!#%",
            b"back\\slash",
            b"-rf",
            b"--",
            b"caf\xe9 \xff\xfe",
            b"two\nlines\r\n",
            b"tab\tbell\x07escape\x1b[31m",
            &[b'x'; 255],
        ]
        .into_iter()
        .enumerate()
        {
            files::file(&root.join(OsStr::from_bytes(name)), number);
        }
        succeeds(run(target.sftp(), b"put -r names up\nget -r up back\n").await);
        files::assert_same_tree(&root, &target.home().join("up"), Look::Contents);
        files::assert_same_tree(&root, &target.dir.join("back"), Look::Contents);
        // scp's own protocol has no way to say a name of two lines but OpenSSH's, which encodes it.
        fs::remove_file(root.join("two\nlines\r\n")).expect("a file");
        let mut scp = target.scp();
        scp.args(["-O", "-rq", "names", &remote("up-by-scp")]);
        succeeds(run(scp, b"").await);
        files::assert_same_tree(&root, &target.home().join("up-by-scp"), Look::Contents);
        let mut scp = target.scp();
        scp.args(["-O", "-rq", &remote("up-by-scp"), "back-by-scp"]);
        succeeds(run(scp, b"").await);
        files::assert_same_tree(&root, &target.dir.join("back-by-scp"), Look::Contents);
    }
}
