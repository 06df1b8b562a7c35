//! Files, by the commands that people use.

use std::fs;
use std::path::Path;
use std::time::Instant;

use devcell::keys::KeyKind;
use tempfile::TempDir;

use super::{Effort, servers};
use crate::client::succeed;
use crate::report::{Row, Unit};
use crate::server::{Binaries, Server, Subject};

const LARGE: u64 = 1 << 30;
const FILES: u32 = 10_000;
const SMALL: usize = 100;

/// A file system in memory, so that no disk is measured.
const MEMORY: &str = "/dev/shm";

const SUBJECTS: [Subject; 5] = [
    Subject::OpenSsh,
    Subject::Daemon,
    Subject::Proxy,
    Subject::GoDaemon,
    Subject::GoProxy,
];

/// How files are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Scp,
    Sftp,
}

pub(super) async fn measure(binaries: &Binaries, effort: &Effort) -> Vec<Row> {
    let servers = servers(binaries, &SUBJECTS, KeyKind::Ed25519).await;
    let files = Files::new(effort);
    let mut rows = Vec::new();
    for tool in [Tool::Scp, Tool::Sftp] {
        for what in ["one of 1 GiB", "10,000 small"] {
            let mut put = Row::new(format!("{} put, {what}", tool.name()), Unit::Seconds);
            let mut get = Row::new(format!("{} get, {what}", tool.name()), Unit::Seconds);
            for _ in 0..effort.rounds {
                for server in &servers {
                    let source = files.source(what == "10,000 small");
                    let there = files.dir.path().join("there");
                    let back = files.dir.path().join("back");
                    put.push(server.subject, tool.put(server, &source, &there).await);
                    get.push(server.subject, tool.get(server, &there, &back).await);
                    remove(&there);
                    remove(&back);
                }
            }
            rows.extend([put, get]);
        }
    }
    rows
}

struct Files {
    dir: TempDir,
}

impl Files {
    fn new(effort: &Effort) -> Self {
        let dir = tempfile::tempdir_in(MEMORY).expect("a directory in memory");
        let size = usize::try_from(effort.bytes(LARGE)).expect("a size");
        fs::write(dir.path().join("large"), vec![7; size]).expect("a large file");
        let many = dir.path().join("many");
        fs::create_dir(&many).expect("a directory");
        for number in 0..effort.of(FILES) {
            fs::write(many.join(number.to_string()), [7; SMALL]).expect("a small file");
        }
        Self { dir }
    }

    fn source(&self, many: bool) -> std::path::PathBuf {
        self.dir.path().join(if many { "many" } else { "large" })
    }
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Scp => "scp -O",
            Self::Sftp => "sftp",
        }
    }

    async fn put(self, server: &Server, from: &Path, to: &Path) -> f64 {
        let remote = format!("{}:{}", server.way.address.ip(), to.display());
        self.copy(server, &from.display().to_string(), &remote)
            .await
    }

    async fn get(self, server: &Server, from: &Path, to: &Path) -> f64 {
        let remote = format!("{}:{}", server.way.address.ip(), from.display());
        self.copy(server, &remote, &to.display().to_string()).await
    }

    /// Seconds of one command. OpenSSH's scp speaks sftp unless it is told not to.
    async fn copy(self, server: &Server, from: &str, to: &str) -> f64 {
        let mut command = server.way.program("scp");
        command.args(match self {
            Self::Scp => ["-q", "-r", "-O"],
            Self::Sftp => ["-q", "-r", "-s"],
        });
        command.args([from, to]);
        let start = Instant::now();
        succeed(command).await;
        start.elapsed().as_secs_f64()
    }
}

fn remove(path: &Path) {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.expect("what was copied");
}
