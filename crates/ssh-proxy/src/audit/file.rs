//! The file of the audit, and the thread that writes it.
//!
//! Lines are whole: one that was written in part is written to its end before the next, or, in a file that
//! was opened meanwhile, from its begin on. A file that was moved away, as rotation does, is opened anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::State;

/// Bytes that are written in one go, some lines more or less.
const BATCH: usize = 64 * 1024;

/// Between two attempts to write what the disk did not take.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the end of the program waits for the disk.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// For whoever runs the proxy alone: the lines tell who works on what.
const MODE: u32 = 0o600;

/// A file to which lines are appended.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    /// Bytes of the next line that are in the file already.
    torn: usize,
    /// Somebody before us left a line without its end.
    is_ragged: bool,
}

impl AuditFile {
    /// Opens `path`, and makes it if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = append(path)?;
        Ok(Self {
            path: path.to_owned(),
            is_ragged: is_ragged(&file)?,
            file,
            torn: 0,
        })
    }

    /// Writes some of `lines`, and gives how many bytes of whole lines are in the file: the next call goes
    /// on behind them.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.follow()?;
        if self.is_ragged {
            self.file.write_all(b"\n")?;
            self.is_ragged = false;
        }
        let count = self
            .file
            .write(lines.get(self.torn..).unwrap_or_default())?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let written = lines.get(..self.torn + count).unwrap_or(lines);
        let end = written.iter().rposition(|byte| *byte == b'\n');
        let whole = end.map_or(0, |end| end + 1);
        self.torn = written.len() - whole;
        Ok(whole)
    }

    /// Opens the file anew if its path leads elsewhere by now.
    fn follow(&mut self) -> io::Result<()> {
        let is_same = match std::fs::metadata(&self.path) {
            Ok(there) => {
                let ours = self.file.metadata()?;
                (there.dev(), there.ino()) == (ours.dev(), ours.ino())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !is_same {
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(MODE)
        .open(path)
}

/// Whether the last line of `file` has no end.
fn is_ragged(file: &File) -> io::Result<bool> {
    let about = file.metadata()?;
    let (true, Some(last)) = (about.is_file(), about.len().checked_sub(1)) else {
        return Ok(false);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// The thread that writes. It ends when there is nobody left who could send lines.
#[derive(Debug)]
pub(crate) struct Writer {
    done: oneshot::Receiver<()>,
}

impl Writer {
    /// Starts it.
    pub(super) fn start(
        file: AuditFile,
        queue: Receiver<Vec<u8>>,
        state: Arc<State>,
    ) -> io::Result<Self> {
        let (sender, done) = oneshot::channel();
        thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                write_all(file, &queue, &state);
                // Nobody may wait any more.
                let _ = sender.send(());
            })?;
        Ok(Self { done })
    }

    /// Waits until all lines are written, if the disk takes them in good time.
    pub(crate) async fn finish(self) {
        if timeout(FLUSH_TIMEOUT, self.done).await.is_err() {
            warn!("audit-not-flushed");
        }
    }
}

/// Writes what comes through `queue` until its other end is gone.
fn write_all(mut file: AuditFile, queue: &Receiver<Vec<u8>>, state: &State) {
    let mut left = Vec::new();
    while fill(queue, &mut left, state).is_ok() {
        while !left.is_empty() {
            match file.write(&left) {
                Ok(count) => {
                    left.drain(..count);
                    if count > 0 && !state.writable.swap(true, Ordering::Relaxed) {
                        info!("audit-file-writable-again");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if state.writable.swap(false, Ordering::Relaxed) {
                        error!(%error, path = %file.path.display(), "audit-file-not-written");
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// Waits for a line, and takes what has come with it.
fn fill(queue: &Receiver<Vec<u8>>, batch: &mut Vec<u8>, state: &State) -> Result<(), RecvError> {
    let mut take = |line: Vec<u8>| {
        batch.extend(line);
        state.waiting.fetch_sub(1, Ordering::Relaxed);
        batch.len()
    };
    let mut length = take(queue.recv()?);
    while length < BATCH
        && let Ok(line) = queue.try_recv()
    {
        length = take(line);
    }
    Ok(())
}
