//! scp: the lines of the protocol byte by byte, hostile clients, and OpenSSH's own scp as the peer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // Helpers of tests are tests.

mod openssh;
mod source;
mod target;

use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{MemfdFlags, memfd_create};
use sshd::scp::{self, Streams};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, DuplexStream, empty, sink};
use tokio::task::JoinHandle;

/// What a client sees of a copy.
#[derive(Debug)]
struct Outcome {
    output: Vec<u8>,
    errors: String,
    status: u32,
}

/// Runs a command whose client has said all of `input` before it listens.
async fn run(command: impl AsRef<[u8]>, input: impl AsRef<[u8]>) -> Outcome {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let streams = Streams {
        input: input.as_ref(),
        output: &mut output,
        errors: &mut errors,
    };
    let status = scp::run(command.as_ref(), streams).await;
    Outcome {
        output,
        errors: String::from_utf8(errors).unwrap(),
        status,
    }
}

impl Outcome {
    /// The output as text, with `0` for each yes and `1` for the first byte of a warning.
    #[track_caller]
    fn is(&self, output: &str, status: u32) {
        let shown = self.output.iter().map(|&byte| match byte {
            0 => '0',
            1 => '1',
            byte => char::from(byte),
        });
        assert_eq!(
            (shown.collect::<String>().as_str(), self.status),
            (output, status)
        );
        assert_eq!(self.errors, "");
    }
}

/// A command that runs beside the test, with a client to be played.
struct Running {
    client: DuplexStream,
    task: JoinHandle<u32>,
}

fn start(command: String) -> Running {
    let (client, ours) = tokio::io::duplex(64 * 1024);
    let (input, output) = tokio::io::split(ours);
    let task = tokio::spawn(async move {
        let streams = Streams {
            input,
            output,
            errors: sink(),
        };
        scp::run(command.as_bytes(), streams).await
    });
    Running { client, task }
}

impl Running {
    async fn expect(&mut self, expected: &[u8]) {
        let mut actual = vec![0; expected.len()];
        self.client.read_exact(&mut actual).await.unwrap();
        assert_eq!(actual, expected, "{}", actual.escape_ascii());
    }
}

/// A directory that goes with the test.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: impl AsRef<Path>) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file, with the directories above it, and a mode that no umask has cut.
    fn file(&self, name: &str, contents: &[u8], mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        set_mode(&path, mode);
        path
    }

    fn directory(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        set_mode(&path, mode);
        path
    }

    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        path
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: impl AsRef<Path>) -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_modified(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let times = fs::FileTimes::new().set_accessed(time).set_modified(time);
    fs::File::open(path).unwrap().set_times(times).unwrap();
}

fn modified(path: impl AsRef<Path>) -> u64 {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let umask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:\t"));
    u32::from_str_radix(umask.unwrap(), 8).unwrap()
}

/// Bytes of which no two stretches are alike.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(size).collect()
}

#[tokio::test]
async fn wrong_usage_is_told_to_the_user() {
    for (command, text) in [
        (
            "scp",
            "scp: one of -f and -t is needed; to copy between hosts, run scp on your side\n",
        ),
        ("scp -f", "scp: -f needs the name of a file\n"),
        ("scp -t a b", "scp: -t needs exactly one name\n"),
        ("scp -f 'x", "scp: a quote is not closed\n"),
        ("scp -Z -f x", "scp: unknown option -Z\n"),
    ] {
        let outcome = run(command, "").await;
        assert_eq!(outcome.output, b"");
        assert_eq!((outcome.errors.as_str(), outcome.status), (text, 1));
    }
}

/// Simplex pipes, on which the daemon runs it, end only if they are shut down.
#[tokio::test]
async fn the_outputs_end_with_the_copy() {
    let (mut output, writer) = tokio::io::simplex(64);
    let (mut errors, error_writer) = tokio::io::simplex(64);
    let streams = Streams {
        input: empty(),
        output: writer,
        errors: error_writer,
    };
    assert_eq!(scp::run(b"scp -f", streams).await, 1);
    let mut text = String::new();
    output.read_to_string(&mut text).await.unwrap();
    errors.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "scp: -f needs the name of a file\n");
}

/// Both of our sides joined: sizes beyond 32 bits, without a disk to hold them.
#[tokio::test]
async fn four_gigabytes_are_no_border() {
    const SIZE: u64 = (1 << 32) + 1;
    // Of nothing but holes, which take no memory and no disk.
    let file = memfd_create("x", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, SIZE).unwrap();
    let (ours, theirs) = tokio::io::duplex(512 * 1024);
    let (input, output) = tokio::io::split(ours);
    let command = format!("scp -f /proc/self/fd/{}", file.as_raw_fd());
    let source = scp::run(
        command.as_bytes(),
        Streams {
            input,
            output,
            errors: sink(),
        },
    );
    let (input, output) = tokio::io::split(theirs);
    let target = scp::run(
        b"scp -t /dev/null",
        Streams {
            input,
            output,
            errors: sink(),
        },
    );
    assert_eq!(tokio::join!(source, target), (0, 0));
}
