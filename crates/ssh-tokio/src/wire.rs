//! One transport on one stream.
//!
//! The poll functions are for drivers that own several streams in one task; the async ones are for
//! handshakes, where one thing happens at a time.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ssh_proto::Error;
use ssh_proto::transport::{Event, FIRST_INPUT, Transport};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// After the last output a peer may still send this much, and for this long, before the stream is
/// closed: closing with unread input makes the kernel send a reset, which overtakes our last words.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// A stream that SSH can run on.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Asks for the next acknowledgement at once.
    ///
    /// In a handshake each side waits for the other, and a delayed acknowledgement costs 40 ms. The
    /// kernel forgets the wish, so it is renewed before each read.
    fn quick_ack(&self) {}
}

impl Socket for TcpStream {
    fn quick_ack(&self) {
        // Where it cannot be asked for, a login is slower and nothing else.
        let _ = rustix::net::sockopt::set_tcp_quickack(self, true);
    }
}

impl Socket for DuplexStream {}

impl<S: Socket + ?Sized> Socket for Box<S> {
    fn quick_ack(&self) {
        (**self).quick_ack();
    }
}

/// The time now; tests stop it.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A transport and the stream that it runs on.
pub struct Wire<S> {
    stream: S,
    /// Boxed, since futures keep a place for each value that is moved through them.
    transport: Box<Transport>,
    unflushed: bool,
}

impl<S: Socket> Wire<S> {
    /// Puts `transport` on `stream`.
    pub fn new(stream: S, transport: Transport) -> Self {
        Self {
            stream,
            transport: Box::new(transport),
            unflushed: false,
        }
    }

    /// The transport.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The transport, to be used.
    pub fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    /// The two parts again.
    pub fn into_parts(self) -> (S, Transport) {
        (self.stream, *self.transport)
    }

    /// Reads once.
    ///
    /// # Errors
    /// The stream failed, or the peer closed it.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        poll_read(&mut self.stream, &mut self.transport, cx)
    }

    /// Writes all that is there to be written; pending while some of it is left.
    ///
    /// # Errors
    /// The stream failed.
    pub fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        poll_write(
            &mut self.stream,
            &mut self.transport,
            &mut self.unflushed,
            cx,
        )
    }

    /// The next event that the owner has to see, with all output written before waiting for input.
    ///
    /// # Errors
    /// The connection is over. [`Self::close`] tells the peer.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            match self.transport.poll(now())? {
                Event::NeedInput => {
                    self.flush().await?;
                    self.stream.quick_ack();
                    self.read().await?;
                }
                Event::NeedOutput => self.flush().await?,
                event => return Ok(event),
            }
        }
    }

    /// Reads once, or until the transport wants to know what time it is: a key exchange has a limit.
    async fn read(&mut self) -> Result<(), Error> {
        let until = self.transport.poll_timeout();
        let read = poll_fn(|cx| self.poll_read(cx));
        let Some(until) = until else {
            return read.await;
        };
        match tokio::time::timeout_at(until.into(), read).await {
            Ok(read) => read,
            Err(_) => self.transport.handle_timeout(now()),
        }
    }

    /// Writes all output.
    ///
    /// # Errors
    /// The stream failed.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_write(cx)).await
    }

    /// Ends the connection so that the peer learns why: DISCONNECT, end of stream, a short linger.
    pub async fn close(mut self, error: Error) -> Error {
        let error = self.transport.fail(error);
        let farewell = async {
            self.flush().await?;
            self.stream.shutdown().await.map_err(|error| lost(&error))?;
            drain(&mut self.stream).await;
            Ok::<_, Error>(())
        };
        // Nobody is left to tell about a failure now.
        let _ = tokio::time::timeout(LINGER, farewell).await;
        error
    }
}

/// A wire on which a user is authenticated; only [`crate::accept()`] and [`crate::connect()`] make one.
pub struct Authenticated<S>(Wire<S>);

impl<S: Socket> Authenticated<S> {
    pub(crate) fn new(wire: Wire<S>) -> Self {
        Self(wire)
    }

    /// A wire on which nobody was asked for anything, for fuzz targets of what follows.
    #[cfg(fuzzing)]
    pub fn unproven(wire: Wire<S>) -> Self {
        Self(wire)
    }

    /// The wire, for the protocol that follows.
    pub fn into_wire(self) -> Wire<S> {
        self.0
    }

    /// The transport.
    pub fn transport(&self) -> &Transport {
        self.0.transport()
    }
}

/// Reads once from `stream` into `transport`, which has a rest where nothing is there.
pub(crate) fn poll_read<S: Socket>(
    stream: &mut S,
    transport: &mut Transport,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    let polled = if transport.is_at_rest() {
        poll_first_read(stream, transport, cx)
    } else {
        poll_next_read(stream, transport, cx)
    };
    if polled.is_pending() {
        transport.rest(now());
    }
    match ready!(polled).map_err(|error| lost(&error))? {
        0 => Poll::Ready(Err(Error::Lost("closed by the peer".into()))),
        _ => Poll::Ready(Ok(())),
    }
}

/// Reads into the transport; how much it was.
fn poll_next_read<S: Socket>(
    stream: &mut S,
    transport: &mut Transport,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(transport.input());
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    let count = buffer.filled().len();
    transport.filled(count);
    Poll::Ready(Ok(count))
}

/// Reads for a transport that has no memory for it. A stream is asked each time that its task wakes up,
/// which is mostly for another one: only when something has come is memory taken for it.
fn poll_first_read<S: Socket>(
    stream: &mut S,
    transport: &mut Transport,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut scratch = [const { MaybeUninit::uninit() }; FIRST_INPUT];
    let mut buffer = ReadBuf::uninit(&mut scratch);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    let count = buffer.filled().len();
    for (to, from) in transport.input().iter_mut().zip(buffer.filled()) {
        *to = *from;
    }
    transport.filled(count);
    Poll::Ready(Ok(count))
}

/// Writes all output of `transport` to `stream`, and flushes the stream once all is written.
pub(crate) fn poll_write<S: Socket>(
    stream: &mut S,
    transport: &mut Transport,
    unflushed: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    while !transport.output().is_empty() {
        let written = Pin::new(&mut *stream).poll_write(cx, transport.output());
        let count = ready!(written).map_err(|error| lost(&error))?;
        if count == 0 {
            return Poll::Ready(Err(Error::Lost("the stream takes no more".into())));
        }
        transport.sent(count);
        *unflushed = true;
    }
    if *unflushed {
        ready!(Pin::new(stream).poll_flush(cx)).map_err(|error| lost(&error))?;
        *unflushed = false;
    }
    Poll::Ready(Ok(()))
}

/// Reads and forgets what the peer still sends, within bounds.
async fn drain<S: Socket>(stream: &mut S) {
    let mut scratch = vec![0; 16 * 1024];
    let mut drained = 0;
    while drained < LINGER_BYTES {
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer)).await;
        if read.is_err() || buffer.filled().is_empty() {
            return;
        }
        drained += buffer.filled().len();
    }
}

/// What a failed stream is to the connection on it.
fn lost(error: &io::Error) -> Error {
    Error::Lost(error.to_string())
}
