//! The standard input of a program: a pipe that grows once a program is behind its client.
//!
//! A full pipe wakes its writer whenever the reader takes something, so the daemon would run for every
//! 64 KiB of an upload. Idle pipes stay as they are: the kernel bounds what all pipes of a user may hold, and
//! the app is the same user.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::pipe::fcntl_setpipe_size;
use tokio::io::AsyncWrite;
use tokio::process::ChildStdin;

/// A quarter of what a user without privileges may ask for.
const LARGE: usize = 256 * 1024;

/// The writing end.
pub(crate) struct Stdin {
    pipe: ChildStdin,
    is_large: bool,
}

impl Stdin {
    /// A pipe of the usual size.
    pub(crate) fn new(pipe: ChildStdin) -> Self {
        Self {
            pipe,
            is_large: false,
        }
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.pipe).poll_write(cx, data);
        if written.is_pending() && !self.is_large {
            self.is_large = true;
            // Where there may be no more pages it is as good as before.
            let _ = fcntl_setpipe_size(&self.pipe, LARGE);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
