//! The accept loop: takes connections as long as there is room for them, and survives what goes wrong.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// How long accepting pauses when the process has run out of descriptors or memory. Without a pause
/// the loop would spin, since the connection stays in the queue.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A peer that does not acknowledge anything for so long is gone.
const DEAD_PEER: Duration = Duration::from_secs(120);

/// An idle connection is probed this often; so many probes without an answer make [`DEAD_PEER`].
const PROBE_INTERVAL: Duration = Duration::from_secs(30);
const PROBES: u32 = 3;

/// After a request to stop, connections get this long to send their last words.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Fewer connections than this leave too little behind to look for it.
const FLOOD: usize = 16;

/// Connections that are taken from the queue of a listener before it is closed: as many as the longest
/// queue that Linux makes by default (net.core.somaxconn). More come only where a successor listens on
/// the same socket, and those are its.
const LONGEST_QUEUE: usize = 4096;

/// Tells a connection that the server stops.
#[derive(Debug, Clone)]
pub struct Stopping(watch::Receiver<()>);

impl Stopping {
    /// Completes when the connection is to end.
    pub async fn wait(&mut self) {
        // Nothing is ever sent: the other end going away is the signal.
        while self.0.changed().await.is_ok() {}
    }
}

/// Accepts connections until `stop` completes, and runs `handle` for each in a task of its own, for at
/// most `limit` connections at a time. Then the listener is closed, the connections are told, and those
/// that have not ended in good time are dropped.
pub async fn serve<F>(
    listener: TcpListener,
    limit: usize,
    stop: impl Future<Output = ()>,
    handle: impl FnMut(TcpStream, SocketAddr, Stopping) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    serve_and_drain(listener, limit, stop, async {}, handle).await;
}

/// The same in two steps: `close` closes the listener, and the connections live on. They are told when
/// `end` completes, which is polled from `close` on; without connections there is nothing to wait for.
pub async fn serve_and_drain<F>(
    listener: TcpListener,
    limit: usize,
    close: impl Future<Output = ()>,
    end: impl Future<Output = ()>,
    mut handle: impl FnMut(TcpStream, SocketAddr, Stopping) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limit));
    let (running, stopping) = watch::channel(());
    let stopping = Stopping(stopping);
    let mut tasks = JoinSet::new();
    let mut start = |tasks: &mut JoinSet<()>, stream, peer, permit: OwnedSemaphorePermit| {
        tune(&stream);
        // Boxed, since a future that is moved into another one is there twice.
        let connection = Box::pin(handle(stream, canonical(peer), stopping.clone()));
        tasks.spawn(async move {
            connection.await;
            drop(permit);
        });
    };
    let mut tide = Tide::default();
    let mut close = std::pin::pin!(close);
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&permits)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            Ok::<_, io::Error>((stream, peer, permit))
        };
        tokio::select! {
            () = &mut close => break,
            Some(_) = tasks.join_next() => if tide.has_gone_out(tasks.len()) {
                heap::trim();
            },
            accepted = next => match accepted {
                Ok((stream, peer, permit)) => {
                    start(&mut tasks, stream, peer, permit);
                    tide.is_at(tasks.len());
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
    for (stream, peer) in waiting(listener) {
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            start(&mut tasks, stream, peer, permit);
        }
    }
    tokio::select! {
        () = end => {}
        () = all(&mut tasks) => {}
    }
    drop(running);
    // What is left after that goes with the set.
    let _ = tokio::time::timeout(STOP_TIMEOUT, all(&mut tasks)).await;
}

/// When a flood of connections is over, so that what they had of memory goes back for others to use:
/// whenever half of them have gone.
#[derive(Debug, Default)]
struct Tide {
    /// The most at a time since the memory went back last.
    high: usize,
}

impl Tide {
    fn is_at(&mut self, connections: usize) {
        self.high = self.high.max(connections);
    }

    fn has_gone_out(&mut self, connections: usize) -> bool {
        let low = self.high >= FLOOD && connections <= self.high / 2;
        if low {
            self.high = connections;
        }
        low
    }
}

/// Waits for the end of all tasks.
async fn all(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// The connections that wait in the queue of a listener that is to be closed: the kernel would reset
/// them.
fn waiting(listener: TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let listener = listener.into_std().ok();
    let next = move || {
        let (stream, peer) = listener.as_ref()?.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, peer))
    };
    std::iter::from_fn(next).take(LONGEST_QUEUE)
}

/// One socket may serve both families: IPv4 clients show up in IPv6 form there.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Sets what every connection of ours wants: no delay for keystrokes and handshakes, and a peer that
/// is gone without a word noticed within two minutes.
///
/// Where an option cannot be set, the connection is slower or lives longer, and works.
pub fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, PROBE_INTERVAL);
    let _ = sockopt::set_tcp_keepintvl(stream, PROBE_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(stream, PROBES);
    let milliseconds = u32::try_from(DEAD_PEER.as_millis()).unwrap_or(u32::MAX);
    let _ = sockopt::set_tcp_user_timeout(stream, milliseconds);
}

/// Errors that accept(2) reports for the connection that it was about to give out; the next may be
/// taken at once, while others need [`ACCEPT_PAUSE`].
pub fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_flood_is_over_whenever_half_of_it_has_gone() {
        let mut tide = Tide::default();
        tide.is_at(FLOOD - 1);
        assert!(!tide.has_gone_out(0));
        for connections in 1..=100 {
            tide.is_at(connections);
        }
        let out: Vec<usize> = (0..100)
            .rev()
            .filter(|left| tide.has_gone_out(*left))
            .collect();
        assert_eq!(out, [50, 25, 12]);
        tide.is_at(FLOOD);
        assert!(tide.has_gone_out(0));
        assert!(!tide.has_gone_out(0));
    }

    /// A server whose connections echo one byte, and say goodbye when they are told to stop. The two
    /// senders close it and end it.
    async fn server() -> (
        SocketAddr,
        oneshot::Sender<()>,
        oneshot::Sender<()>,
        tokio::task::JoinHandle<()>,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (close, closed) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let closed = async { drop(closed.await) };
        let ended = async { drop(ended.await) };
        let task = tokio::spawn(serve_and_drain(
            listener,
            8,
            closed,
            ended,
            |mut stream, _, mut stopping| async move {
                tokio::select! {
                    byte = stream.read_u8() => drop(stream.write_u8(byte.unwrap_or(0)).await),
                    () = stopping.wait() => drop(stream.write_all(b"bye").await),
                }
            },
        ));
        (address, close, end, task)
    }

    #[tokio::test]
    async fn what_is_open_or_queued_at_the_close_lives_on_until_its_end() {
        let (address, close, _end, task) = server().await;
        let mut open = TcpStream::connect(address).await.unwrap();
        // On one thread the server has not run since: this one is in the queue.
        let mut queued = std::net::TcpStream::connect(address).unwrap();
        close.send(()).unwrap();
        std::io::Write::write_all(&mut queued, b"q").unwrap();
        queued.set_nonblocking(true).unwrap();
        let mut queued = TcpStream::from_std(queued).unwrap();
        assert_eq!(queued.read_u8().await.unwrap(), b'q');
        assert!(TcpStream::connect(address).await.is_err());
        open.write_all(b"o").await.unwrap();
        assert_eq!(open.read_u8().await.unwrap(), b'o');
        // Without connections it does not wait for the end.
        task.await.unwrap();
    }

    #[tokio::test]
    async fn connections_are_told_at_the_end() {
        let (address, close, end, task) = server().await;
        let mut open = TcpStream::connect(address).await.unwrap();
        close.send(()).unwrap();
        end.send(()).unwrap();
        let mut told = String::new();
        open.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "bye");
        task.await.unwrap();
    }

    #[tokio::test]
    async fn peers_that_are_gone_are_noticed_within_two_minutes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (stream, _) = listener.accept().await.unwrap();
        tune(&stream);
        assert!(stream.nodelay().unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let idle = sockopt::tcp_keepidle(&stream).unwrap();
        let interval = sockopt::tcp_keepintvl(&stream).unwrap();
        let probes = sockopt::tcp_keepcnt(&stream).unwrap();
        assert!(idle + interval * probes <= Duration::from_secs(120));
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 120_000);
    }

    /// What must not happen, and if it does, ends one connection.
    #[tokio::test]
    async fn a_panic_ends_its_connection_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop::<Result<(), _>>(stopped.await) };
        // Two at a time, so that what a panic kept would be missed.
        let task = tokio::spawn(serve(listener, 2, stopped, |mut stream, _, _| async move {
            match stream.read_u8().await {
                Ok(b'!') => panic!("a bug"),
                byte => drop(stream.write_u8(byte.unwrap_or(0)).await),
            }
        }));
        let mut open = TcpStream::connect(address).await.unwrap();
        for _ in 0..5 {
            let mut unlucky = TcpStream::connect(address).await.unwrap();
            unlucky.write_all(b"!").await.unwrap();
            assert!(unlucky.read_u8().await.is_err());
        }
        open.write_all(b"o").await.unwrap();
        assert_eq!(open.read_u8().await.unwrap(), b'o');
        stop.send(()).unwrap();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn the_limit_holds_the_next_one_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let most = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&most);
        let task = tokio::spawn(serve(listener, 2, pending(), move |mut stream, _, _| {
            let counted = Arc::clone(&counted);
            async move {
                let now = counted.fetch_add(1, Ordering::SeqCst) + 1;
                let _ = stream.write_u8(u8::try_from(now).unwrap()).await;
                let _ = stream.read_u8().await;
                counted.fetch_sub(1, Ordering::SeqCst);
            }
        }));
        let mut streams = Vec::new();
        for _ in 0..6 {
            streams.push(TcpStream::connect(address).await.unwrap());
        }
        for mut stream in streams {
            assert!(stream.read_u8().await.unwrap() <= 2);
        }
        task.abort();
    }
}
