//! Unix sockets: those that a user asks to listen on (OpenSSH PROTOCOL section 2.4), and the file
//! that every listening one leaves, which has to go with it.

use std::ffi::OsStr;
use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use rustix::fs::{Mode, fchmod};
use ssh_proto::connection::forward::ForwardedStreamlocal;
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tracing::debug;

use super::{Incoming, Stream};

/// Bytes of a path to a socket: `sun_path` less the final NUL (unix(7)).
pub(super) const LONGEST_PATH: usize = 107;

/// Connections that the kernel completes while channels for others are being opened; as OpenSSH.
const BACKLOG: u32 = 128;

/// The user alone connects, as with OpenSSH's `StreamLocalBindMask`.
const MODE: u32 = 0o600;

/// What of a mode is permission.
const PERMISSIONS: u32 = 0o7777;

/// The path of a socket. One that begins with NUL would be an abstract socket, which has neither an
/// owner nor a mode.
pub(super) fn socket_path(bytes: &[u8]) -> io::Result<&Path> {
    let invalid = |problem| Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    if bytes.is_empty() || bytes.contains(&0) {
        return invalid("not a path");
    }
    if bytes.len() > LONGEST_PATH {
        return invalid("path too long for a socket");
    }
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

/// One `streamlocal-forward@openssh.com`.
pub(super) struct StreamlocalListener {
    path: Vec<u8>,
    socket: ListeningSocket,
}

impl StreamlocalListener {
    /// Listens on the socket at `path`, where nothing may be yet: no file of the app's is worth less
    /// than a forward.
    pub(super) fn bind(path: &[u8]) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            socket: ListeningSocket::bind(socket_path(path)?)?,
        })
    }

    /// Whether it was asked for by this path.
    pub(super) fn is(&self, path: &[u8]) -> bool {
        self.path == path
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
        self.socket.poll_accept(cx).map_ok(|stream| {
            debug!("accepted-connection");
            Incoming {
                kind: ForwardedStreamlocal::NAME,
                payload: ForwardedStreamlocal { path: &self.path }.encode(),
                stream: Stream::Unix(stream),
            }
        })
    }
}

/// A listening socket and its file.
#[derive(Debug)]
pub(super) struct ListeningSocket {
    // Dropped first: as long as the socket is open, no other file can have the number of this one.
    file: SocketFile,
    listener: UnixListener,
}

impl ListeningSocket {
    /// Listens at `path`, where nothing may be yet. Must be called in a tokio runtime.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let socket = UnixSocket::new_stream()?;
        // Linux gives the file the mode that the socket has, less the umask, so that there is no
        // moment at which others may connect.
        fchmod(&socket, Mode::from_raw_mode(MODE))?;
        socket.bind(path)?;
        let file = SocketFile::at(path)?;
        if file.mode & !MODE != 0 {
            // Some other kernel; it refuses connections before `listen` all the same.
            fs::set_permissions(path, Permissions::from_mode(MODE))?;
        }
        let listener = socket.listen(BACKLOG)?;
        Ok(Self { file, listener })
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.path
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        self.listener.poll_accept(cx).map_ok(|(stream, _)| stream)
    }
}

/// The file of a socket, removed when dropped unless something else is in its place by then.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    mode: u32,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            mode: found.mode() & PERMISSIONS,
            device: found.dev(),
            inode: found.ino(),
        })
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == (self.device, self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| self.is(&found)) {
            // What cannot be removed stays behind, as a dead socket.
            let _ = fs::remove_file(&self.path);
        }
    }
}
