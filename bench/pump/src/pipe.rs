//! A stream in memory that costs its user two copies and nothing else: what the kernel does for a socket.
//!
//! tokio's would do, but for its books about wakers and for memory that it moves about when it likes.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use ssh_tokio::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One direction: what was written, and how much of that was read.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    read: usize,
}

impl Queue {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn pull(&mut self, into: &mut ReadBuf<'_>) {
        let waiting = &self.bytes[self.read..];
        let count = waiting.len().min(into.remaining());
        into.put_slice(&waiting[..count]);
        self.read += count;
        if self.read == self.bytes.len() {
            self.bytes.clear();
            self.read = 0;
        }
    }
}

/// One end.
pub(crate) struct Pipe {
    input: Arc<Mutex<Queue>>,
    output: Arc<Mutex<Queue>>,
}

/// Two ends.
pub(crate) fn pair() -> (Pipe, Pipe) {
    let [input, output]: [Arc<Mutex<Queue>>; 2] = Default::default();
    let near = Pipe {
        input: Arc::clone(&input),
        output: Arc::clone(&output),
    };
    let far = Pipe {
        input: output,
        output: input,
    };
    (near, far)
}

impl Socket for Pipe {}

// Not to be inlined: `scripts/count` knows the copies of a stream by the names of these functions.

impl AsyncRead for Pipe {
    #[inline(never)]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut queue = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.bytes.is_empty() {
            // Nobody remembers who waits: in a login both ends just ask again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        queue.pull(buffer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    #[inline(never)]
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut queue = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
