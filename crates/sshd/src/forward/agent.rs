//! The socket in the container that stands for the user's agent (OpenSSH PROTOCOL.agent): what
//! connects to it is to be joined to a channel to the user.
//!
//! Whoever can connect can sign as the user, so the socket is in a directory that nobody else may
//! enter, and the kernel is asked who is connecting.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::task::{Context, Poll, ready};

use rustix::process::geteuid;
use ssh_proto::crypto::random::{Random as _, SystemRandom};
use tokio::net::UnixStream;
use tracing::{debug, error};

use super::streamlocal::ListeningSocket;
use super::{Incoming, Stream};

/// The channel type (OpenSSH PROTOCOL.agent).
const KIND: &str = "auth-agent@openssh.com";

/// Where the socket goes if the environment does not say, or says what will not do.
const DEFAULT_PLACE: &str = "/tmp";

/// Bytes of chance in a directory's name: nobody makes all the 2^40 beforehand to be in the way.
const NAME_BYTES: usize = 5;

/// Names that are tried; a second is needed once in a lifetime.
const NAMES: usize = 4;

/// The user that may do everything.
const ROOT: u32 = 0;

/// An agent's socket; it and its directory go when dropped.
#[derive(Debug)]
pub struct Agent {
    // Dropped first: a directory has to be empty.
    socket: ListeningSocket,
    _directory: PrivateDirectory,
}

impl Agent {
    /// Makes a socket below `$TMPDIR` or `/tmp`. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// There is no directory to write to.
    pub fn open() -> io::Result<Self> {
        let named = env::temp_dir();
        Self::open_in(&named).or_else(|error| {
            if named == Path::new(DEFAULT_PLACE) {
                return Err(error);
            }
            Self::open_in(Path::new(DEFAULT_PLACE))
        })
    }

    /// Makes a socket below `place`. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// `place` cannot be written to, or its path is too long for a socket.
    pub fn open_in(place: &Path) -> io::Result<Self> {
        let directory = PrivateDirectory::new(place)?;
        let path = directory.0.join(format!("agent.{}", process::id()));
        Ok(Self {
            socket: ListeningSocket::bind(&path)?,
            _directory: directory,
        })
    }

    /// The path of the socket, for `SSH_AUTH_SOCK`.
    pub fn path(&self) -> &Path {
        self.socket.path()
    }

    /// The next process that wants to talk to the agent. Those of other users are turned away.
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
        loop {
            let stream = ready!(self.socket.poll_accept(cx))?;
            if !is_welcome(&stream) {
                error!("agent-refused-to-other-user");
                continue;
            }
            debug!("accepted-agent-connection");
            return Poll::Ready(Ok(Incoming {
                kind: KIND,
                payload: Vec::new(),
                stream: Stream::Unix(stream),
            }));
        }
    }
}

/// Whether the process at the other end may use the agent.
fn is_welcome(stream: &UnixStream) -> bool {
    let own = geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| may_use(peer.uid(), own))
}

/// This user may, and root, who could anyway.
fn may_use(peer: u32, own: u32) -> bool {
    peer == own || peer == ROOT
}

/// A directory that only this user may enter, removed when dropped.
#[derive(Debug)]
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn new(place: &Path) -> io::Result<Self> {
        let mut taken = io::ErrorKind::AlreadyExists.into();
        for _ in 0..NAMES {
            let path = place.join(format!("ssh-{}", random_name()));
            // Fails where anything is in the way, be it a link.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => taken = error,
                Err(error) => return Err(error),
            }
        }
        Err(taken)
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // What else the user has put there is the user's.
        let _ = fs::remove_dir(&self.0);
    }
}

fn random_name() -> String {
    let mut bytes = [0; NAME_BYTES];
    SystemRandom.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_and_root_may_use_the_agent() {
        for (peer, own, allowed) in [
            (1000, 1000, true),
            (0, 1000, true),
            (1001, 1000, false),
            (1000, 0, false),
        ] {
            assert_eq!(may_use(peer, own), allowed);
        }
    }
}
