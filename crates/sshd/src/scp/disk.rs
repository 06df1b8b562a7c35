//! Files, without ever waiting for a disk on the daemon's only thread.
//!
//! Owns the hop to tokio's threads for blocking work, and the contents of files in large pieces: the
//! next one is read while the one before is sent, and written while the next one comes. What files
//! are opened, and why, is `source.rs`'s and `target.rs`'s.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use tokio::task::{JoinHandle, spawn_blocking};

/// What is read or written at once: large enough to make the hop to another thread not count, and
/// two of them are all that a copy holds.
pub(super) const PIECE: usize = 256 * 1024;

/// Does what may wait for a disk elsewhere.
pub(super) async fn blocking<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let result = spawn_blocking(work).await;
    result.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// What the system says, as Go does: in small letters and without a number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

/// The size of the next piece if `left` bytes are left.
pub(super) fn piece_size(left: u64) -> usize {
    usize::try_from(left).unwrap_or(PIECE).min(PIECE)
}

/// A piece of a file that is sent.
#[derive(Default)]
pub(super) struct Piece {
    /// As many bytes as were asked for; zeros where the file has no more.
    pub(super) bytes: Vec<u8>,
    /// Why there are zeros at the end.
    pub(super) error: Option<io::Error>,
}

impl Piece {
    /// Reads the next `size` bytes, into memory that is no longer used. Blocks.
    pub(super) fn read(file: &File, mut bytes: Vec<u8>, size: usize) -> Self {
        bytes.clear();
        bytes.reserve_exact(size);
        let error = read_exactly(file, &mut bytes, size).err();
        bytes.resize(size, 0);
        Self { bytes, error }
    }
}

fn read_exactly(file: &File, bytes: &mut Vec<u8>, size: usize) -> io::Result<()> {
    while bytes.len() < size {
        match rustix::io::read(file, spare_capacity(bytes)) {
            Ok(0) => return Err(io::Error::other("the file has become shorter")),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads pieces ahead. Starts with one that is there already.
pub(super) struct Reading {
    file: Arc<File>,
    /// Bytes that nobody reads yet.
    left: u64,
    next: JoinHandle<Piece>,
}

impl Reading {
    /// Reads on behind `left` bytes before the end; `None` if there are none.
    pub(super) fn ahead(file: Arc<File>, left: u64, spare: Vec<u8>) -> Option<Self> {
        if left == 0 {
            return None;
        }
        let size = piece_size(left);
        let reader = Arc::clone(&file);
        let next = spawn_blocking(move || Piece::read(&reader, spare, size));
        Some(Self {
            file,
            left: left - u64::try_from(size).unwrap_or(left),
            next,
        })
    }

    /// The piece, as soon as it is read, and the reading of the one after it, into `spare`.
    pub(super) async fn next(
        self,
        spare: Vec<u8>,
    ) -> Result<(Piece, Option<Self>), tokio::task::JoinError> {
        let piece = self.next.await?;
        Ok((piece, Self::ahead(self.file, self.left, spare)))
    }
}

/// Writes pieces behind.
pub(super) struct Writing {
    file: Arc<File>,
    /// The piece that is being written, which comes back as memory for another.
    pending: Option<JoinHandle<(Vec<u8>, io::Result<()>)>>,
    /// The first thing that went wrong. Nothing is written after it.
    error: Option<io::Error>,
}

impl Writing {
    pub(super) fn new(file: File) -> Self {
        Self {
            file: Arc::new(file),
            pending: None,
            error: None,
        }
    }

    /// Starts writing `piece`, once the one before is written. Returns empty memory for the next.
    pub(super) async fn write(&mut self, piece: Vec<u8>) -> Vec<u8> {
        let mut spare = self.settle().await;
        if self.error.is_some() {
            spare = piece;
        } else {
            let file = Arc::clone(&self.file);
            self.pending = Some(spawn_blocking(move || {
                let result = (&*file).write_all(&piece);
                (piece, result)
            }));
        }
        spare.clear();
        spare
    }

    /// Writes the last piece, does what else there is to do to the file, and closes it.
    pub(super) async fn finish<F>(mut self, piece: Vec<u8>, last: F) -> io::Result<()>
    where
        F: FnOnce(&File) -> io::Result<()> + Send + 'static,
    {
        self.settle().await;
        let Self { file, error, .. } = self;
        blocking(move || match error {
            Some(error) => Err(error),
            None => {
                (&*file).write_all(&piece)?;
                last(&file)
            }
        })
        .await
    }

    /// Waits until nothing is being written.
    async fn settle(&mut self) -> Vec<u8> {
        let Some(pending) = self.pending.take() else {
            return Vec::new();
        };
        match pending.await {
            Ok((piece, result)) => {
                self.error = result.err();
                piece
            }
            Err(error) => {
                self.error = Some(io::Error::other(error));
                Vec::new()
            }
        }
    }
}
