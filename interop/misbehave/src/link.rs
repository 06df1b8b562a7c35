//! The TCP connection under a peer: bytes in and out, each wait with an end.
//!
//! While it writes it also reads, since the other side may write first and wait for its reader.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::end::End;

/// What is read at once.
const CHUNK: usize = 64 * 1024;

/// What is kept of a server that says more than its peer listens to; then it has to wait.
const MOST_UNREAD: usize = 16 * 1024 * 1024;

/// A connection, and what has come of it and was not looked at yet.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Link {
    /// On a connection that there is.
    ///
    /// # Errors
    /// The system does not let it be set up.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            unread: Vec::new(),
        })
    }

    /// What has come.
    pub fn unread(&mut self) -> &mut Vec<u8> {
        &mut self.unread
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The other side takes no more: [`End::Hang`] if it may yet.
    pub fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), End> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.wait(PollFlags::OUT, deadline)?.contains(PollFlags::IN) {
                        // Its end is for those to see who read.
                        let _ = self.read_some();
                    }
                }
                Err(_) => return Err(End::Reset),
            }
        }
        Ok(())
    }

    /// Says that nothing more will come from here.
    pub fn finish(&self) {
        // It may be gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits until more has come.
    ///
    /// # Errors
    /// The other side has ended the connection, or nothing comes.
    pub fn read(&mut self, deadline: Instant) -> Result<(), End> {
        while !self.read_some()? {
            self.wait(PollFlags::empty(), deadline)?;
        }
        Ok(())
    }

    /// Reads what is there; false if nothing is.
    fn read_some(&mut self) -> Result<bool, End> {
        let before = self.unread.len();
        self.unread.resize(before + CHUNK, 0);
        let room = self.unread.get_mut(before..).unwrap_or_default();
        let result = self.stream.read(room);
        let count = result.as_ref().copied().unwrap_or_default();
        self.unread.truncate(before + count);
        match result {
            Ok(0) => Err(End::Closed),
            Ok(_) => Ok(true),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(_) => Err(End::Reset),
        }
    }

    /// Waits for input, as long as there is room for it, or for `more`.
    fn wait(&self, more: PollFlags, deadline: Instant) -> Result<PollFlags, End> {
        let input = if self.unread.len() < MOST_UNREAD {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&self.stream, input | more)];
        // Rounded up, so that the deadline has come when it is over.
        let timeout = Timespec::try_from(left + Duration::from_millis(1)).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if left.is_zero() => Err(End::Hang),
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                Ok(fds.first().map_or(PollFlags::empty(), PollFd::revents))
            }
            Err(_) => Err(End::Reset),
        }
    }
}
