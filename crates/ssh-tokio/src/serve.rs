//! The accept loop: takes connections as long as there is room for them, and survives what goes wrong.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
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
    mut handle: impl FnMut(TcpStream, SocketAddr, Stopping) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limit));
    let (running, stopping) = watch::channel(());
    let stopping = Stopping(stopping);
    let mut tasks = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
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
            () = &mut stop => break,
            Some(_) = tasks.join_next() => {}
            accepted = next => match accepted {
                Ok((stream, peer, permit)) => {
                    tune(&stream);
                    let connection = handle(stream, canonical(peer), stopping.clone());
                    tasks.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) if is_about_one_connection(&error) => {}
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
    drop((listener, running));
    let all = async { while tasks.join_next().await.is_some() {} };
    // What is left after that goes with the set.
    let _ = tokio::time::timeout(STOP_TIMEOUT, all).await;
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
