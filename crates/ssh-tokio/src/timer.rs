//! A timer for a deadline that moves with every packet.

use std::pin::Pin;
use std::task::{Context, Poll};

use std::future::Future;

use tokio::time::{Instant, Sleep};

/// Sleeps until a deadline that the owner names anew at each poll.
///
/// A deadline that moves away costs nothing: the sleep goes on, and is set again when it ends early.
pub struct Timer(Pin<Box<Sleep>>);

impl Default for Timer {
    fn default() -> Self {
        Self(Box::pin(tokio::time::sleep_until(Instant::now())))
    }
}

impl Timer {
    /// Ready when `deadline` has come; pending for ever where there is none.
    pub fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        loop {
            if self.0.deadline() > deadline || self.0.is_elapsed() {
                self.0.as_mut().reset(deadline);
            }
            match self.0.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if deadline <= Instant::now() => return Poll::Ready(()),
                // It ended at a deadline of before.
                Poll::Ready(()) => {}
            }
        }
    }
}
