//! The server on streams.
//!
//! Owns whole packets, batches, threads and the bounds of all that waits. A batch is all requests
//! that have arrived; one at a time runs on a thread of tokio's for blocking work, while the next is
//! read and the replies of the last are written. A session that has nothing to do has no thread, and
//! after a while no buffers.

use std::future::pending;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::packet::{Replies, claimed_length, first_packet, framed};
use super::server::Server;
use super::{Context, LONGEST_PACKET};

/// Bytes of requests that wait, and as many again of those that are being served: twice the longest
/// packet, so that one can arrive while another is written to its file.
const MOST_INPUT: usize = 2 * (LONGEST_PACKET + 4);

/// What is first allocated for requests: a session that only looks around needs no more.
const LITTLE_INPUT: usize = 16 * 1024;

/// After so many bytes of replies a batch ends. With the reply that crosses this line, and a second
/// batch that runs while the first's replies are written, 1 MiB a session can wait.
const MOST_REPLIES: usize = 256 * 1024;

/// After so long a batch ends, so that replies do not wait for a slow disk longer than it takes to
/// notice.
const LONGEST_BATCH: Duration = Duration::from_millis(20);

/// A session that had nothing to do for so long gives its buffers back. Shorter than a user thinks,
/// longer than a network stalls.
const IDLE: Duration = Duration::from_secs(2);

/// How a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The client has sent all it wanted to, and all of that was answered.
    #[error("the client is done")]
    Done,
    /// The client sent what cannot be a packet.
    #[error(transparent)]
    Breach(#[from] Breach),
    /// One of the streams broke.
    #[error("the stream failed: {0}")]
    Stream(#[source] io::Error),
    /// The server failed, which is a bug of ours, or the daemon is ending.
    #[error("the server failed: {0}")]
    Server(#[source] JoinError),
}

impl Ended {
    /// What the client is told with `exit-status` (RFC 4254 section 6.10).
    pub fn exit_status(&self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Breach(_) | Self::Stream(_) | Self::Server(_) => 1,
        }
    }
}

/// Why the next packet cannot be told from what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// It claims to be empty, or longer than [`LONGEST_PACKET`].
    #[error("the client sent an SFTP packet of {0} bytes")]
    Length(u32),
    /// The input ended within it.
    #[error("the client's last SFTP packet is cut short")]
    Truncated,
}

/// Serves a session until the input ends, and tells how.
///
/// Shuts `output` down at the end. Must be called in a tokio runtime that has its timers; may be
/// dropped at any time, whereupon no further request is begun.
pub async fn serve(
    mut input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    context: Context,
) -> Ended {
    let server = Server::new(context);
    let _stop = StopOnDrop(server.stop_flag());
    let mut desk = Desk::new(server);
    let ended = run(&mut desk, &mut input, &mut output).await;
    desk.close().await;
    // Nobody may be there to notice.
    _ = output.shutdown().await;
    ended
}

async fn run(
    desk: &mut Desk,
    input: &mut (impl AsyncRead + Unpin),
    output: &mut (impl AsyncWrite + Unpin),
) -> Ended {
    loop {
        desk.dispatch();
        if let Some(ended) = desk.ended() {
            return ended;
        }
        let idle = desk.is_idle();
        let Desk {
            incoming,
            outgoing,
            worker,
            ..
        } = desk;
        tokio::select! {
            outcome = finished(worker) => match outcome {
                Ok(batch) => desk.take_back(batch),
                Err(error) => return Ended::Server(error),
            },
            outcome = outgoing.write_some(output), if outgoing.has_work() => match outcome {
                Ok(()) => desk.turn(),
                Err(error) => return Ended::Stream(error),
            },
            outcome = incoming.read_some(input), if incoming.wants_more() => {
                if let Err(error) = outcome {
                    return Ended::Stream(error);
                }
            }
            () = sleep(IDLE), if idle => desk.give_memory_back(),
        }
    }
}

/// The end of the batch that runs, if one does.
async fn finished(worker: &mut Option<JoinHandle<Batch>>) -> Result<Batch, JoinError> {
    match worker {
        Some(handle) => handle.await,
        None => pending().await,
    }
}

/// Ends long work of a server whose session is gone.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Where everything is that waits: requests in two buffers, replies in two others.
///
/// ```text
///  input ─► incoming ─► requests ─► worker ─► (ready) ─► outgoing ─► output
/// ```
struct Desk {
    incoming: Incoming,
    /// Away with the worker while a batch runs.
    resting: Option<Resting>,
    worker: Option<JoinHandle<Batch>>,
    /// An empty buffer for the next batch, unless its replies are still to be written.
    spare: Option<Replies>,
    /// Replies that wait for those before them.
    ready: Option<Replies>,
    outgoing: Outgoing,
}

impl Desk {
    fn new(server: Server) -> Self {
        Self {
            incoming: Incoming::default(),
            resting: Some(Resting {
                server,
                requests: Requests::default(),
            }),
            worker: None,
            spare: Some(Replies::default()),
            ready: None,
            outgoing: Outgoing::default(),
        }
    }

    /// Starts a batch if there are requests for it, and room for its replies.
    fn dispatch(&mut self) {
        let arrived = self.incoming.has_packets();
        let Some(replies) = self.spare.take() else {
            return;
        };
        let has_work = |resting: &mut Resting| arrived || !resting.requests.is_empty();
        let Some(mut resting) = self.resting.take_if(has_work) else {
            self.spare = Some(replies);
            return;
        };
        if resting.requests.is_empty() {
            self.incoming.hand_over(&mut resting.requests);
        }
        let batch = Batch { resting, replies };
        self.worker = Some(spawn_blocking(|| batch.run()));
    }

    /// Takes in what a batch leaves.
    fn take_back(&mut self, batch: Batch) {
        self.worker = None;
        self.resting = Some(batch.resting);
        self.ready = Some(batch.replies);
        self.turn();
    }

    /// Writes the next replies once those before them are gone.
    fn turn(&mut self) {
        if self.outgoing.is_written()
            && let Some(replies) = self.ready.take()
        {
            self.spare = Some(self.outgoing.replace(replies));
        }
    }

    fn is_quiet(&self) -> bool {
        let served = |resting: &Resting| resting.requests.is_empty();
        self.resting.as_ref().is_some_and(served)
            && !self.incoming.has_packets()
            && !self.outgoing.has_work()
    }

    /// How the session ended, if it has: not before all is answered that came before.
    fn ended(&self) -> Option<Ended> {
        self.incoming.end().filter(|_| self.is_quiet())
    }

    /// Quiet, with memory to give back.
    fn is_idle(&self) -> bool {
        self.is_quiet() && self.memory() > LITTLE_INPUT
    }

    /// Bytes of the buffers that are not with the worker.
    fn memory(&self) -> usize {
        let requests = self.resting.as_ref().map(|r| r.requests.bytes.capacity());
        let replies = [&self.spare, &self.ready].map(|r| r.as_ref().map(Replies::capacity));
        let others = replies.into_iter().chain([requests]).flatten();
        self.incoming.bytes.capacity() + self.outgoing.replies.capacity() + others.sum::<usize>()
    }

    fn give_memory_back(&mut self) {
        self.incoming.shrink();
        if let Some(resting) = &mut self.resting {
            resting.requests = Requests::default();
        }
        self.spare = Some(Replies::default());
        self.outgoing = Outgoing::default();
    }

    /// Closes what the client left open, where that may take its time.
    async fn close(&mut self) {
        let has_files = |resting: &mut Resting| resting.server.has_open_handles();
        if let Some(resting) = self.resting.take_if(has_files) {
            // A panic there would be reported, and the session is over anyway.
            _ = spawn_blocking(|| drop(resting)).await;
        }
    }
}

/// The server, and requests that the last batch left or an empty buffer.
struct Resting {
    server: Server,
    requests: Requests,
}

/// What goes to a thread and comes back.
struct Batch {
    resting: Resting,
    replies: Replies,
}

impl Batch {
    fn run(mut self) -> Self {
        let start = Instant::now();
        let Resting { server, requests } = &mut self.resting;
        while let Some(packet) = requests.first() {
            let enough = self.replies.len() >= MOST_REPLIES
                || start.elapsed() >= LONGEST_BATCH
                || Server::may_take_long(packet);
            if (enough && !self.replies.is_empty()) || server.is_stopped() {
                break;
            }
            server.handle(packet, &mut self.replies);
            let count = framed(packet.len());
            requests.advance(count);
        }
        self
    }
}

/// Whole packets, the first of them served already.
#[derive(Default)]
struct Requests {
    bytes: Vec<u8>,
    served: usize,
}

impl Requests {
    fn is_empty(&self) -> bool {
        self.served >= self.bytes.len()
    }

    fn first(&self) -> Option<&[u8]> {
        first_packet(self.bytes.get(self.served..)?)
    }

    fn advance(&mut self, count: usize) {
        self.served += count;
    }
}

/// What has arrived.
#[derive(Default)]
struct Incoming {
    bytes: Vec<u8>,
    /// So many of them are whole packets.
    whole: usize,
    breach: Option<Breach>,
    at_end: bool,
}

impl Incoming {
    fn wants_more(&self) -> bool {
        !self.at_end && self.breach.is_none() && self.bytes.len() < MOST_INPUT
    }

    fn has_packets(&self) -> bool {
        self.whole > 0
    }

    /// What the session's end will be, if no more will arrive.
    fn end(&self) -> Option<Ended> {
        match self.breach {
            Some(breach) => Some(breach.into()),
            None if !self.at_end => None,
            None if self.bytes.len() > self.whole => Some(Breach::Truncated.into()),
            None => Some(Ended::Done),
        }
    }

    /// Reads what there is. May be dropped: what was read is in the buffer, or not read.
    async fn read_some(&mut self, input: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        self.make_room();
        let count = input.read_buf(&mut self.bytes).await?;
        self.at_end = count == 0;
        self.scan();
        Ok(())
    }

    /// Makes the buffer larger if it is full, up to its bound.
    fn make_room(&mut self) {
        if self.bytes.len() == self.bytes.capacity() {
            let capacity = (2 * self.bytes.capacity()).clamp(LITTLE_INPUT, MOST_INPUT);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
    }

    /// Finds the packets in what was not looked at yet.
    fn scan(&mut self) {
        while let Some(rest) = self.bytes.get(self.whole..)
            && let Some(claimed) = claimed_length(rest)
        {
            let length = usize::try_from(claimed).unwrap_or(usize::MAX);
            if length == 0 || length > LONGEST_PACKET {
                self.breach = Some(Breach::Length(claimed));
                return;
            }
            if rest.len() < framed(length) {
                return;
            }
            self.whole += framed(length);
        }
    }

    /// Moves the whole packets into `requests`, which has been served, and keeps the rest.
    fn hand_over(&mut self, requests: &mut Requests) {
        requests.served = 0;
        requests.bytes.clear();
        let part = self.bytes.get(self.whole..).unwrap_or_default();
        requests.bytes.extend_from_slice(part);
        mem::swap(&mut requests.bytes, &mut self.bytes);
        requests.bytes.truncate(self.whole);
        self.whole = 0;
    }

    /// Gives memory back; the beginning of a packet stays.
    fn shrink(&mut self) {
        self.bytes.shrink_to(LITTLE_INPUT);
    }
}

/// Replies on their way.
#[derive(Default)]
struct Outgoing {
    replies: Replies,
    written: usize,
    unflushed: bool,
}

impl Outgoing {
    fn has_work(&self) -> bool {
        self.unflushed || !self.is_written()
    }

    fn is_written(&self) -> bool {
        self.written >= self.replies.len()
    }

    /// Puts `replies` in place of those that are written; the buffer of these, empty.
    fn replace(&mut self, replies: Replies) -> Replies {
        self.written = 0;
        let mut old = mem::replace(&mut self.replies, replies);
        old.clear();
        old
    }

    /// Writes some more, or flushes. May be dropped: what was written is counted, or not written.
    async fn write_some(&mut self, output: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let rest = self.replies.as_bytes().get(self.written..);
        match rest.filter(|rest| !rest.is_empty()) {
            Some(rest) => {
                let count = output.write(rest).await?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                self.written += count;
                self.unflushed = true;
            }
            None => {
                output.flush().await?;
                self.unflushed = false;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_proto::wire::Put as _;
    use tokio::io::duplex;
    use tokio::time::timeout;

    /// OPEN of a file of zeros, then READs of as much as one may get.
    fn reads(count: usize) -> Vec<u8> {
        let mut packets = b"\0\0\0\x05\x01\0\0\0\x03".to_vec();
        packets.extend_from_slice(b"\0\0\0\x1a\x03\0\0\0\x01\0\0\0\x09/dev/zero\0\0\0\x01\0\0\0\0");
        for _ in 0..count {
            packets.put_u32(29);
            packets.put_u8(5);
            packets.put_u32(2);
            packets.put_string(&[0; 8]);
            packets.put_u64(0);
            packets.put_u32(u32::MAX);
        }
        packets
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_given_back() {
        let mut desk = Desk::new(Server::new(Context::default()));
        let (mut client, server) = duplex(64 * 1024);
        let (mut input, mut output) = tokio::io::split(server);
        client.write_all(&reads(100)).await.unwrap();
        // Nobody reads: time passes once two batches are done.
        let stopped = timeout(IDLE / 2, run(&mut desk, &mut input, &mut output));
        stopped.await.unwrap_err();
        assert!(desk.memory() > 2 * MOST_REPLIES);
        assert!(desk.memory() <= 2 * (MOST_REPLIES + LONGEST_PACKET + 4) + 2 * MOST_INPUT);
        let mut replies = vec![0; 100 * super::super::LONGEST_READ];
        let client_reads = async {
            client.read_exact(&mut replies).await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
        };
        let served = async {
            tokio::join!(client_reads, run(&mut desk, &mut input, &mut output));
        };
        timeout(2 * IDLE, served).await.unwrap_err();
        assert!(desk.memory() <= LITTLE_INPUT, "{}", desk.memory());
    }
}
