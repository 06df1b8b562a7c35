//! Sending: `scp -f`.
//!
//! ```text
//!  for each name:   file       [T] C contents
//!                   directory  [T] D, whatever is in it, E
//! ```
//!
//! Owns what is sent, in which order, and what becomes of what cannot be. Symbolic links are
//! followed, as rcp always did. A directory that contains itself by them ends in a warning.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, ReadDir};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::MAX_DEPTH;
use super::disk::{Piece, Reading, blocking, piece_size, reason};
use super::glob;
use super::message::{self, Times, base_name};
use super::peer::{Ended, Peer};

/// Names that are read from a directory at once: one hop for many files, and bounded in a directory
/// with a million of them. They go out in the order of their names.
const BATCH: usize = 256;

/// Sends what `names` stand for.
pub(super) async fn send<R, W, E>(
    peer: &mut Peer<R, W, E>,
    names: Vec<Vec<u8>>,
    recursive: bool,
    preserve: bool,
) -> Result<(), Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    // A warning at this point is about something else than what we are going to send.
    peer.acknowledged().await?;
    let mut source = Source {
        peer,
        recursive,
        preserve,
        inside: Vec::new(),
    };
    for name in names {
        source.send_pattern(name).await?;
    }
    Ok(())
}

/// One run of `scp -f`.
struct Source<'a, R, W, E> {
    peer: &'a mut Peer<R, W, E>,
    recursive: bool,
    preserve: bool,
    /// The directories that are being sent, each inside the one before.
    inside: Vec<Directory>,
}

impl<R, W, E> Source<'_, R, W, E>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    /// Sends all that matches, or without a match, what has this very name.
    async fn send_pattern(&mut self, name: Vec<u8>) -> Result<(), Ended> {
        let mut paths = Vec::new();
        if glob::is_pattern(&name) {
            let pattern = name.clone();
            match blocking(move || Ok(glob::expand(&pattern))).await? {
                Ok(found) => paths = found,
                Err(glob::TooMany) => return self.warn(&name, "too many files match").await,
            }
        }
        if paths.is_empty() {
            paths.push(PathBuf::from(OsString::from_vec(name)));
        }
        for path in paths {
            self.send_tree(path).await?;
        }
        Ok(())
    }

    /// Sends a file, or a directory with all that is in it.
    async fn send_tree(&mut self, path: PathBuf) -> Result<(), Ended> {
        self.send_one(path).await?;
        while let Some(mut directory) = self.inside.pop() {
            let next = directory.next().await;
            if let Err(error) = &next {
                let path = directory.path.as_os_str().as_bytes().to_vec();
                self.warn(&path, &reason(error)).await?;
            }
            match next.ok().flatten() {
                Some(path) => {
                    self.inside.push(directory);
                    self.send_one(path).await?;
                }
                None => {
                    self.peer.send(b"E\n").await?;
                    self.peer.acknowledged().await?;
                }
            }
        }
        Ok(())
    }

    /// Sends a file, or enters a directory.
    async fn send_one(&mut self, path: PathBuf) -> Result<(), Ended> {
        let recursive = self.recursive;
        let (path, opened) = blocking(move || {
            let opened = Opened::new(&path, recursive);
            Ok((path, opened))
        })
        .await?;
        let name = base_name(path.as_os_str());
        match opened {
            Err(text) => self.peer.warn(&text).await,
            // OpenSSH sends another name instead. Then what arrives is not what was asked for.
            Ok(_) if name.contains(&b'\n') => self.warn(name, "the name has a newline in it").await,
            Ok(Opened::File(file)) => self.send_file(name, file).await,
            Ok(Opened::Directory(entries, metadata)) => self.enter(&path, entries, &metadata).await,
        }
    }

    async fn enter(
        &mut self,
        path: &Path,
        entries: ReadDir,
        metadata: &Metadata,
    ) -> Result<(), Ended> {
        let identity = (metadata.dev(), metadata.ino());
        let name = path.as_os_str().as_bytes();
        if self.inside.iter().any(|outer| outer.identity == identity) {
            return self.warn(name, "the directory contains itself").await;
        }
        if self.inside.len() >= MAX_DEPTH {
            let text = format!("more than {MAX_DEPTH} directories inside each other");
            return self.warn(name, &text).await;
        }
        if self
            .announce('D', metadata, base_name(path.as_os_str()))
            .await?
        {
            self.inside.push(Directory {
                path: path.to_owned(),
                identity,
                entries: Some(entries),
                batch: Vec::new(),
            });
        }
        Ok(())
    }

    async fn send_file(&mut self, name: &[u8], file: OpenFile) -> Result<(), Ended> {
        if !self.announce('C', &file.metadata, name).await? {
            return Ok(());
        }
        match self.send_contents(file).await? {
            None => self.peer.acknowledge().await?,
            Some(error) => self.warn(name, &reason(&error)).await?,
        }
        self.peer.acknowledged().await?;
        Ok(())
    }

    /// Sends exactly as many bytes as announced. If the file no longer has them, zeros stand in and
    /// the reason is returned; what was added to it meanwhile is left out.
    async fn send_contents(&mut self, file: OpenFile) -> Result<Option<io::Error>, Ended> {
        let OpenFile {
            file, first, left, ..
        } = file;
        let mut piece = first;
        let mut error = piece.error.take();
        let mut ahead = Reading::ahead(Arc::new(file), left, Vec::new());
        loop {
            self.peer.send(&piece.bytes).await?;
            let Some(reading) = ahead else {
                return Ok(error);
            };
            (piece, ahead) = reading.next(piece.bytes).await?;
            error = error.or(piece.error.take());
        }
    }

    /// Announces a file or directory. False if the client does not want it.
    async fn announce(
        &mut self,
        kind: char,
        metadata: &Metadata,
        name: &[u8],
    ) -> Result<bool, Ended> {
        if self.preserve {
            self.peer.send(&Times::line(metadata)).await?;
            if !self.peer.acknowledged().await? {
                return Ok(false);
            }
        }
        self.peer.send(&message::line(kind, metadata, name)).await?;
        self.peer.acknowledged().await
    }

    async fn warn(&mut self, name: &[u8], text: &str) -> Result<(), Ended> {
        self.peer.warn(&about(name, text)).await
    }
}

/// A directory that is being sent.
struct Directory {
    path: PathBuf,
    /// Device and inode, by which a directory is known under any name.
    identity: (u64, u64),
    /// Absent only while they are being read, and after an error.
    entries: Option<ReadDir>,
    /// The names that are next, the last one first.
    batch: Vec<OsString>,
}

impl Directory {
    /// The path of the next entry. After an error there is none.
    async fn next(&mut self) -> io::Result<Option<PathBuf>> {
        if self.batch.is_empty()
            && let Some(mut entries) = self.entries.take()
        {
            let (entries, batch) = blocking(move || {
                let batch = next_batch(&mut entries)?;
                Ok((entries, batch))
            })
            .await?;
            self.entries = Some(entries);
            self.batch = batch;
        }
        Ok(self.batch.pop().map(|name| self.path.join(name)))
    }
}

fn next_batch(entries: &mut ReadDir) -> io::Result<Vec<OsString>> {
    let names = entries.take(BATCH).map(|entry| Ok(entry?.file_name()));
    let mut names: Vec<OsString> = names.collect::<io::Result<_>>()?;
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names)
}

/// What can be sent.
enum Opened {
    File(OpenFile),
    Directory(ReadDir, Metadata),
}

/// A regular file and its first piece.
struct OpenFile {
    file: File,
    metadata: Metadata,
    first: Piece,
    /// Bytes behind the first piece.
    left: u64,
}

impl Opened {
    /// Opens what is at `path`; the error is a text for the client. Waits for the disk, but never for
    /// the other end of a pipe.
    fn new(path: &Path, recursive: bool) -> Result<Self, Vec<u8>> {
        let name = path.as_os_str();
        let failed = |call: &str, error: &io::Error| {
            let text = about(name.as_bytes(), &reason(error));
            [call.as_bytes(), b" ", &text].concat()
        };
        let metadata = fs::metadata(path).map_err(|error| failed("stat", &error))?;
        if metadata.is_dir() && recursive {
            let entries = fs::read_dir(path).map_err(|error| failed("open", &error))?;
            return Ok(Self::Directory(entries, metadata));
        }
        if !metadata.is_file() {
            return Err(not_regular(name));
        }
        let file = OpenOptions::new()
            .read(true)
            // Should it have become a FIFO or a terminal meanwhile.
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .map_err(|error| failed("open", &error))?;
        let metadata = file.metadata().map_err(|error| failed("stat", &error))?;
        if !metadata.is_file() {
            return Err(not_regular(name));
        }
        let size = piece_size(metadata.len());
        let first = Piece::read(&file, Vec::new(), size);
        let left = metadata.len() - u64::try_from(size).unwrap_or_default();
        Ok(Self::File(OpenFile {
            file,
            metadata,
            first,
            left,
        }))
    }
}

fn not_regular(path: &OsStr) -> Vec<u8> {
    about(base_name(path), "not a regular file")
}

fn about(name: &[u8], text: &str) -> Vec<u8> {
    [name, b": ", text.as_bytes()].concat()
}
