//! What a client of `scp -t` sends and what one of `scp -f` answers, cut, lengthened, and with wrong
//! sizes. Lines are complete or they are not: the exit status says whether all was copied.

use std::fs;

use sshd::scp::{self, Streams};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::heap::peak_of;
use crate::sample::{Change, Law, Sample, report};

/// What a case may take: one piece of a file as it is announced, which no one touches before it comes, and
/// what all cases may.
const MOST_MEMORY: usize = 256 * 1024 + 64 * 1024;

/// A tree, as OpenSSH's client sends it.
const TREE: &str = "T1700000000 0 1600000000 0\nD0755 0 dir\nT1700000000 5 1600000000 0\n\
    C0644 5 a b\nhello\0C0600 0 empty\n\0E\nC0777 3 last\nabc\0";

struct Rig {
    runtime: Runtime,
    directory: TempDir,
}

impl Rig {
    fn new() -> Self {
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs scp with these options on the directory; true if all was copied.
    fn copies(&self, options: &str, input: &[u8]) -> bool {
        let command = format!("scp {options} {}", self.directory.path().display());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let streams = Streams {
            input,
            output: &mut output,
            errors: &mut errors,
        };
        let run = scp::run(command.as_bytes(), streams);
        let (status, memory) = peak_of(|| self.runtime.block_on(run));
        assert!(
            memory <= MOST_MEMORY + input.len(),
            "{}: {memory}",
            input.escape_ascii()
        );
        assert!(status <= 1);
        status == 0
    }
}

/// Where all that was announced has come: at the start, and behind the directory and the last file.
fn complete(sent: &[u8]) -> bool {
    sent.is_empty() || sent.ends_with(b"E\n") || sent.ends_with(b"abc\0")
}

#[test]
fn what_is_sent() {
    let rig = Rig::new();
    let sample = Sample::new("a tree", "*", TREE.into()).under(Law::Stream);
    let mut cases = 0;
    for change in sample.changes() {
        let bytes = sample.with(change);
        let copied = rig.copies("-r -p -t", &bytes);
        match change {
            // A byte 0 more is no line.
            Change::OneMore => assert!(!copied),
            _ => assert_eq!(copied, complete(&bytes), "{}", bytes.escape_ascii()),
        }
        cases += 1;
    }
    report(cases, 120);
}

#[test]
fn sizes_and_numbers() {
    let rig = Rig::new();
    let mut cases = 0;
    for wrong in [0, 1, 4, 6, 1 << 31, u64::from(u32::MAX), u64::MAX] {
        for line in [
            format!("C0644 {wrong} x\nhello\0"),
            format!("D0755 0 d\nC0644 {wrong} x\nhello\0E\n"),
            format!("C{wrong} 5 x\nhello\0").replace("C4 ", "C9 "),
        ] {
            // Some are octal modes, which may be anything.
            let is_mode = line.contains(" 5 x") && wrong != 4 && wrong <= u64::from(u32::MAX);
            let is_octal = wrong.to_string().bytes().all(|digit| digit < b'8');
            let copied = rig.copies("-r -t", line.as_bytes());
            assert_eq!(copied, is_mode && is_octal, "{}", line.escape_debug());
            cases += 1;
        }
    }
    report(cases, 21);
}

/// The answers to what is sent: each is a byte, or one with a line.
#[test]
fn answers() {
    let rig = Rig::new();
    fs::write(rig.directory.path().join("file"), "hello").unwrap();
    let sample = Sample::new("answers", "*", b"\0\0\0\0\0".to_vec());
    for change in sample.changes() {
        let bytes = sample.with(change);
        // The start, the directory, the file, its contents, the end of the directory.
        assert_eq!(rig.copies("-r -f", &bytes), bytes.len() >= 5, "{change:?}");
    }
    let refused = Sample::new("a warning", "*", b"\0\0\x01scp: no\n\0".to_vec());
    for change in refused.changes() {
        assert!(!rig.copies("-r -f", &refused.with(change)), "{change:?}");
    }
}
