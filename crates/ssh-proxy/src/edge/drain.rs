//! What a signal ends, and when: first the good health, then the listener, then the sessions.
//!
//! ```text
//!   signal ──► health 503 ── drain_delay ──► listener closed ── drain_timeout ──► sessions told, exit
//!                  └──────────── a second signal goes to the end at once ────────────┘
//! ```
//!
//! Logins that have begun go on until the end, and without sessions there is nothing to wait for.

use std::future::Future;
use std::io;
use std::time::Duration;

use ssh_tokio::signals;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, info_span};

/// How long each step takes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DrainTimes {
    /// How long clients are still taken, so that balancers can learn that they should go elsewhere.
    pub(crate) delay: Duration,
    /// How long sessions live on after that.
    pub(crate) timeout: Duration,
}

/// Requests to stop, counted.
#[derive(Debug, Clone)]
pub(crate) struct Signals(watch::Receiver<u32>);

impl Signals {
    /// Counts SIGINT and SIGTERM from now on, and lets signals pass that mean nothing.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        signals::outlive()?;
        let (sender, receiver) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                sender.send_modify(|count: &mut u32| *count = count.saturating_add(1));
            }
        });
        Ok(Self(receiver))
    }

    /// Completes when there were so many.
    async fn reach(mut self, count: u32) {
        if self.0.wait_for(|seen| *seen >= count).await.is_err() {
            // Nobody is left who could signal.
            std::future::pending().await
        }
    }
}

/// When the listener is to be closed, and when, from then on, the sessions are to end. At the signal,
/// `turn_away` sees to it that balancers go elsewhere.
pub(crate) fn plan(
    signals: Signals,
    turn_away: impl FnOnce(),
    times: DrainTimes,
) -> (impl Future<Output = ()>, impl Future<Output = ()>) {
    let second = signals.clone();
    let close = async move {
        signals.clone().reach(1).await;
        turn_away();
        info_span!("server").in_scope(|| info!("stopping-server"));
        at_once_or_after(signals, times.delay).await;
    };
    let end = async move {
        if !times.timeout.is_zero() {
            info_span!("server").in_scope(|| info!("listener-closed"));
        }
        at_once_or_after(second, times.timeout).await;
    };
    (close, end)
}

/// Completes at the second signal, or after `time`.
async fn at_once_or_after(signals: Signals, time: Duration) {
    tokio::select! {
        () = signals.reach(2) => {}
        () = sleep(time) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const TIMES: DrainTimes = DrainTimes {
        delay: Duration::from_secs(20),
        timeout: Duration::from_secs(900),
    };

    /// When the listener closes and when sessions end, with signals after so many seconds.
    async fn drained(times: DrainTimes, signals: &'static [u64]) -> (u64, u64) {
        let (sender, receiver) = watch::channel(0);
        let (close, end) = plan(Signals(receiver), || {}, times);
        let start = Instant::now();
        let signaller = tokio::spawn(async move {
            for after in signals {
                tokio::time::sleep_until(start + Duration::from_secs(*after)).await;
                sender.send_modify(|count| *count += 1);
            }
            sender.closed().await;
        });
        close.await;
        let closed = start.elapsed().as_secs();
        end.await;
        signaller.abort();
        (closed, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn each_step_takes_its_time() {
        assert_eq!(drained(TIMES, &[5]).await, (25, 925));
    }

    #[tokio::test(start_paused = true)]
    async fn without_times_all_ends_at_the_signal() {
        assert_eq!(drained(DrainTimes::default(), &[5]).await, (5, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_at_once() {
        assert_eq!(drained(TIMES, &[5, 7]).await, (7, 7));
        assert_eq!(drained(TIMES, &[5, 100]).await, (25, 100));
        assert_eq!(drained(TIMES, &[5, 7, 8]).await, (7, 7));
    }
}
