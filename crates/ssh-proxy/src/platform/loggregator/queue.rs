//! What waits to be sent to the agent: a bounded queue that takes everything at once, and drops the
//! oldest where there is no room.
//!
//! The oldest, not the newest: after a pause of the agent the last values are the ones that are true.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::envelope::Envelope;

/// Envelopes that wait at most. A login and its end are four, so this bridges a restart of the agent
/// for more than a hundred sessions that come and go; with the tags of an app it is half a megabyte.
pub(super) const MAX_ENVELOPES: usize = 512;

/// The queue; one task takes from it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is more to take, or never will be.
    changed: Notify,
    /// Something was dropped.
    dropping: Notify,
}

#[derive(Debug, Default)]
struct State {
    envelopes: VecDeque<Envelope>,
    dropped: u64,
    closed: bool,
}

impl Queue {
    /// Takes an envelope, whatever state the agent is in.
    pub(super) fn push(&self, envelope: Envelope) {
        let mut state = self.lock();
        if state.envelopes.len() >= MAX_ENVELOPES {
            state.envelopes.pop_front();
            state.dropped = state.dropped.saturating_add(1);
            self.dropping.notify_one();
        }
        state.envelopes.push_back(envelope);
        self.changed.notify_one();
    }

    /// Says that nothing more will come.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// How many envelopes were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Completes when something was dropped since the last time.
    pub(super) async fn dropping(&self) {
        self.dropping.notified().await;
    }

    /// Completes when there is something to take or the queue is closed; `false` for closed and empty.
    async fn ready(&self) -> bool {
        loop {
            {
                let state = self.lock();
                if !state.envelopes.is_empty() || state.closed {
                    return !state.envelopes.is_empty();
                }
            }
            self.changed.notified().await;
        }
    }

    /// Takes `most` envelopes together, or as many as there are `interval` after the first. `None`
    /// once the queue is closed and empty. Who stops waiting for it loses nothing.
    pub(super) async fn batch(&self, most: usize, interval: Duration) -> Option<Vec<Envelope>> {
        let most = most.clamp(1, MAX_ENVELOPES);
        if !self.ready().await {
            return None;
        }
        // An interval beyond what a clock can say is a century.
        let deadline = Instant::now().checked_add(interval);
        let full = async {
            while !self.has(most) {
                self.changed.notified().await;
            }
        };
        match deadline {
            // Either way what is there is taken.
            Some(deadline) => timeout_at(deadline, full).await.unwrap_or(()),
            None => full.await,
        }
        let mut state = self.lock();
        let count = most.min(state.envelopes.len());
        Some(state.envelopes.drain(..count).collect())
    }

    /// Whether there is no reason to wait for more.
    fn has(&self, most: usize) -> bool {
        let state = self.lock();
        state.closed || state.envelopes.len() >= most
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    fn numbered(number: i64) -> Envelope {
        Envelope {
            timestamp: number,
            ..Envelope::default()
        }
    }

    async fn numbers(queue: &Queue, most: usize) -> Option<Vec<i64>> {
        let batch = queue.batch(most, INTERVAL).await?;
        Some(batch.iter().map(|envelope| envelope.timestamp).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_wait_and_a_small_one_waits_once() {
        let queue = Queue::default();
        for number in 0..5 {
            queue.push(numbered(number));
        }
        let start = Instant::now();
        assert_eq!(numbers(&queue, 2).await, Some(vec![0, 1]));
        assert_eq!(numbers(&queue, 2).await, Some(vec![2, 3]));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(numbers(&queue, 2).await, Some(vec![4]));
        assert_eq!(start.elapsed(), INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_while_a_batch_is_collected_joins_it() {
        let queue = Queue::default();
        let late = async {
            queue.push(numbered(1));
            tokio::time::sleep(INTERVAL / 2).await;
            queue.push(numbered(2));
        };
        let (batch, ()) = tokio::join!(numbers(&queue, 10), late);
        assert_eq!(batch, Some(vec![1, 2]));
    }

    #[tokio::test]
    async fn the_oldest_are_dropped_and_counted() {
        let queue = Queue::default();
        let most = i64::try_from(MAX_ENVELOPES).unwrap();
        for number in 0..most + 3 {
            queue.push(numbered(number));
        }
        queue.dropping().await;
        assert_eq!(queue.dropped(), 3);
        let kept = numbers(&queue, usize::MAX).await.unwrap();
        assert_eq!(kept, (3..most + 3).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_queue_gives_what_is_left_at_once_and_then_ends() {
        let queue = Queue::default();
        queue.push(numbered(1));
        queue.close();
        let start = Instant::now();
        assert_eq!(numbers(&queue, 10).await, Some(vec![1]));
        assert_eq!(numbers(&queue, 10).await, None);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_loses_nothing() {
        let queue = Queue::default();
        queue.push(numbered(1));
        let broken_off = tokio::time::timeout(INTERVAL / 2, numbers(&queue, 10)).await;
        assert!(broken_off.is_err());
        assert_eq!(numbers(&queue, 10).await, Some(vec![1]));
    }
}
