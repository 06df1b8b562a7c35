//! Room to log in: how many connections may do so at a time, and who makes room for whom.
//!
//! A connection that finds none waits. While any waits, a login may take no longer than [`HURRY`], so
//! that those who connect and do nothing cannot keep others out for as long as their login might take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ssh_proto::Error;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::sleep;

/// How long a login may take while others wait for theirs. A proxy's takes some milliseconds, and
/// hardly a second where the container has a hundredth of a CPU.
const HURRY: Duration = Duration::from_secs(2);

/// The connections that log in, and those that wait for that.
pub(crate) struct Logins {
    room: Semaphore,
    waiting: AtomicUsize,
    /// Somebody has begun to wait.
    crowded: Notify,
}

impl Logins {
    /// Room for so many at a time.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            room: Semaphore::new(most),
            waiting: AtomicUsize::new(0),
            crowded: Notify::new(),
        }
    }

    /// Waits until there is room; none would mean that there never is.
    pub(crate) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.room.try_acquire() {
            return Some(permit);
        }
        let _waiting = Waiting::begin(self);
        self.room.acquire().await.ok()
    }

    /// Completes when a login that began with this call has to make room.
    pub(crate) async fn overstayed(&self) -> Error {
        sleep(HURRY).await;
        loop {
            // Hears of whoever comes from here on.
            let crowded = self.crowded.notified();
            if self.waiting.load(Ordering::SeqCst) > 0 {
                return Error::Limit("too many connections that are logging in");
            }
            crowded.await;
        }
    }
}

/// One connection that waits, until this is dropped.
struct Waiting<'l>(&'l Logins);

impl<'l> Waiting<'l> {
    fn begin(logins: &'l Logins) -> Self {
        logins.waiting.fetch_add(1, Ordering::SeqCst);
        logins.crowded.notify_waiters();
        Self(logins)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_is_hurried_while_nobody_waits() {
        let logins = Logins::new(1);
        let _room = logins.enter().await.unwrap();
        let stays = tokio::time::timeout(100 * HURRY, logins.overstayed()).await;
        assert!(stays.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_makes_the_slow_leave_and_gets_their_room() {
        let logins = Logins::new(1);
        let start = Instant::now();
        let slow = async {
            let room = logins.enter().await.unwrap();
            let told = logins.overstayed().await;
            drop(room);
            told
        };
        let next = async {
            sleep(10 * HURRY).await;
            drop(logins.enter().await.unwrap());
            start.elapsed()
        };
        let (told, waited) = tokio::join!(slow, next);
        assert!(matches!(told, Error::Limit(_)));
        assert_eq!(waited, 10 * HURRY);

        let slow = async {
            let _room = logins.enter().await.unwrap();
            logins.overstayed().await
        };
        let next = async { logins.enter().await.is_some() };
        let start = Instant::now();
        assert!(tokio::join!(slow, next).1);
        assert_eq!(start.elapsed(), HURRY);
        assert_eq!(logins.waiting.load(Ordering::SeqCst), 0);
    }
}
