//! Receiving: `scp -t`.
//!
//! Owns what becomes of each line, where files and directories go, and their modes and times. A file
//! that cannot be written is told and passed over, so that the rest arrives.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timestamps, futimens, utimensat};
use tokio::io::{AsyncRead, AsyncWrite};

use super::MAX_DEPTH;
use super::disk::{Writing, blocking, piece_size, reason};
use super::message::{Entry, MODE_BITS, Malformed, Times};
use super::peer::{Ended, Peer};

/// The bits of a mode that are set without `-p`: whoever sends a set-id program as a copy has not
/// asked for a privilege.
const PERMISSIONS: u32 = 0o777;

/// What the owner needs to fill a directory.
const OWNER: u32 = 0o700;

/// Receives to `path`.
pub(super) async fn receive<R, W, E>(
    peer: &mut Peer<R, W, E>,
    path: PathBuf,
    must_be_directory: bool,
    preserve: bool,
) -> Result<(), Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    let mut target = Target {
        peer,
        is_directory: false,
        path,
        preserve,
        inside: Vec::new(),
    };
    target.start(must_be_directory).await?;
    while target.step().await? {}
    Ok(())
}

/// One run of `scp -t`.
struct Target<'a, R, W, E> {
    peer: &'a mut Peer<R, W, E>,
    /// Where things go at the moment.
    path: PathBuf,
    /// Whether they go into it and not to it.
    is_directory: bool,
    preserve: bool,
    /// The directories that are being received, each inside the one before.
    inside: Vec<Directory>,
}

/// A directory that is being received.
struct Directory {
    /// What `path` and `is_directory` were before.
    outer: (PathBuf, bool),
    /// The mode it gets in the end.
    mode: Option<u32>,
    /// The times it gets in the end: filling it changes them.
    times: Option<Times>,
}

impl<R, W, E> Target<'_, R, W, E>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    async fn start(&mut self, must_be_directory: bool) -> Result<(), Ended> {
        let path = self.path.clone();
        let metadata = blocking(move || fs::metadata(path)).await;
        self.is_directory = metadata.as_ref().is_ok_and(fs::Metadata::is_dir);
        if !must_be_directory || self.is_directory {
            return self.peer.acknowledge().await;
        }
        let error = metadata.err();
        let error = error.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOTDIR));
        self.refuse(&self.path.clone(), &error).await?;
        Err(Ended)
    }

    /// Deals with one line and what belongs to it. False at the end of the input.
    async fn step(&mut self) -> Result<bool, Ended> {
        let Some(kind) = self.peer.byte().await? else {
            // Within a directory, something is missing.
            return self.inside.is_empty().then_some(false).ok_or(Ended);
        };
        match kind {
            b'T' => {
                let times = self.times().await?;
                let kind = self.peer.byte().await?.ok_or(Ended)?;
                self.entry(kind, Some(times)).await?;
            }
            b'E' if !self.inside.is_empty() => self.leave().await?,
            1 => self.peer.warned().await?,
            2 => {
                self.peer.warned().await?;
                return Err(Ended);
            }
            _ => self.entry(kind, None).await?,
        }
        Ok(true)
    }

    async fn times(&mut self) -> Result<Times, Ended> {
        let line = self.peer.line().await?;
        let times = self.well_formed(Times::parse(&line)).await?;
        self.peer.acknowledge().await?;
        Ok(times)
    }

    /// A file or directory.
    async fn entry(&mut self, kind: u8, times: Option<Times>) -> Result<(), Ended> {
        match kind {
            b'C' => {
                let line = self.peer.line().await?;
                let entry = self.well_formed(Entry::file(&line)).await?;
                self.receive_file(entry, times).await
            }
            b'D' => {
                let line = self.peer.line().await?;
                let entry = self.well_formed(Entry::directory(&line)).await?;
                self.enter(entry, times).await
            }
            _ => {
                let shown = char::from(kind).escape_debug();
                let text = format!("unexpected message type: {shown}");
                self.peer.warn(text.as_bytes()).await?;
                Err(Ended)
            }
        }
    }

    async fn receive_file(&mut self, entry: Entry, times: Option<Times>) -> Result<(), Ended> {
        let path = if self.is_directory {
            self.path.join(&entry.name)
        } else {
            self.path.clone()
        };
        let attributes = Attributes {
            size: entry.size,
            mode: self.preserve.then_some(entry.mode),
            times,
        };
        let create = path.clone();
        let file = match blocking(move || create_file(&create, entry.mode)).await {
            Ok(file) => file,
            // The client now does not send what is in it.
            Err(error) => return self.refuse(&path, &error).await,
        };
        self.peer.acknowledge().await?;
        let written = self.receive_contents(file, attributes).await?;
        // If it had to send something else than the file, the client knows that.
        self.peer.acknowledged().await?;
        match written {
            Ok(()) => self.peer.acknowledge().await,
            Err(error) => self.refuse(&path, &error).await,
        }
    }

    /// Receives exactly as many bytes as announced, whether or not they can be written.
    async fn receive_contents(
        &mut self,
        file: File,
        attributes: Attributes,
    ) -> Result<io::Result<()>, Ended> {
        let mut writing = Writing::new(file);
        let mut left = attributes.size;
        let mut piece = Vec::new();
        loop {
            let size = piece_size(left);
            piece.reserve_exact(size);
            if !self.peer.fill(&mut piece, size).await {
                // What came is kept. Nobody is left to be told of an error.
                _ = writing.finish(piece, |_| Ok(())).await;
                return Err(Ended);
            }
            left -= u64::try_from(size).unwrap_or(left);
            if left == 0 {
                return Ok(writing
                    .finish(piece, move |file| attributes.set(file))
                    .await);
            }
            piece = writing.write(piece).await;
        }
    }

    async fn enter(&mut self, entry: Entry, times: Option<Times>) -> Result<(), Ended> {
        if self.inside.len() >= MAX_DEPTH {
            let text = format!("more than {MAX_DEPTH} directories inside each other");
            return self.peer.warn(text.as_bytes()).await;
        }
        let outer = self.path.clone();
        let inner = self.path.join(&entry.name);
        let (is_directory, preserve) = (self.is_directory, self.preserve);
        let created = blocking(move || {
            // A target that does not exist becomes a copy of the directory.
            let path = if is_directory || outer.exists() {
                inner
            } else {
                outer
            };
            let mode = create_directory(&path, entry.mode, preserve);
            Ok((path, mode))
        });
        let (path, mode) = created.await?;
        let mode = match mode {
            Ok(mode) => mode,
            // The client now does not send what is in it.
            Err(error) => return self.refuse(&path, &error).await,
        };
        self.inside.push(Directory {
            outer: (std::mem::replace(&mut self.path, path), self.is_directory),
            mode,
            times: times.filter(|_| preserve),
        });
        self.is_directory = true;
        self.peer.acknowledge().await
    }

    async fn leave(&mut self) -> Result<(), Ended> {
        if !self.peer.line().await?.is_empty() {
            return Err(self.peer.misbehaved(Malformed::End).await);
        }
        let Some(Directory { outer, mode, times }) = self.inside.pop() else {
            return Ok(());
        };
        let path = std::mem::replace(&mut self.path, outer.0);
        self.is_directory = outer.1;
        if mode.is_none() && times.is_none() {
            return self.peer.acknowledge().await;
        }
        let finished = path.clone();
        match blocking(move || finish_directory(&finished, mode, times)).await {
            Ok(()) => self.peer.acknowledge().await,
            Err(error) => self.refuse(&path, &error).await,
        }
    }

    async fn refuse(&mut self, path: &Path, error: &io::Error) -> Result<(), Ended> {
        let reason = reason(error);
        let text = [path.as_os_str().as_bytes(), b": ", reason.as_bytes()].concat();
        self.peer.warn(&text).await
    }

    async fn well_formed<T>(&mut self, parsed: Result<T, Malformed>) -> Result<T, Ended> {
        match parsed {
            Ok(parsed) => Ok(parsed),
            Err(error) => Err(self.peer.misbehaved(error).await),
        }
    }
}

/// What a file gets once its contents are there.
struct Attributes {
    size: u64,
    mode: Option<u32>,
    times: Option<Times>,
}

impl Attributes {
    /// Devices are only written to.
    fn set(self, file: &File) -> io::Result<()> {
        if !file.metadata()?.is_file() {
            return Ok(());
        }
        // Somebody else may have written to it too.
        file.set_len(self.size)?;
        if let Some(mode) = self.mode {
            file.set_permissions(Permissions::from_mode(mode & MODE_BITS))?;
        }
        if let Some(times) = self.times {
            futimens(file, &Timestamps::from(times))?;
        }
        Ok(())
    }
}

/// Opens a file to be written, an existing one with nothing left in it.
///
/// Never waits for a reader of a FIFO, and takes none: what is sent is a file. Devices are written to.
fn create_file(path: &Path, mode: u32) -> io::Result<File> {
    let existing = fs::metadata(path).map(|metadata| metadata.file_type());
    if existing.is_ok_and(|kind| kind.is_fifo() || kind.is_socket()) {
        return Err(io::Error::other("not a regular file"));
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode & PERMISSIONS)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// Makes sure that there is a directory which can be filled. Returns the mode to give it in the end.
fn create_directory(path: &Path, mode: u32, preserve: bool) -> io::Result<Option<u32>> {
    let wanted = preserve.then_some(mode);
    match fs::metadata(path) {
        Ok(existing) if existing.is_dir() => return Ok(wanted),
        Ok(_) => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => DirBuilder::new().mode(mode & PERMISSIONS).create(path)?,
    }
    // What the umask has left of the mode, which only the kernel knows without changing the umask.
    let created = fs::metadata(path)?.mode() & MODE_BITS;
    if created & OWNER == OWNER {
        return Ok(wanted);
    }
    fs::set_permissions(path, Permissions::from_mode(created | OWNER))?;
    Ok(Some(wanted.unwrap_or(created)))
}

fn finish_directory(path: &Path, mode: Option<u32>, times: Option<Times>) -> io::Result<()> {
    if let Some(mode) = mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    if let Some(times) = times {
        utimensat(CWD, path, &Timestamps::from(times), AtFlags::empty())?;
    }
    Ok(())
}
