//! Runtimes whose time stands still: it goes on only when nothing else can, so that a short sleep ends
//! when everything has been done that was asked for, on other threads too.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

/// Shorter than anything that the code under test waits for.
const MOMENT: Duration = Duration::from_millis(1);

/// Threads for blocking work, as few as may wait for each other.
const THREADS: usize = 4;

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .max_blocking_threads(THREADS)
        .build()
        .expect("a runtime")
}

/// Comes back when nothing moves any more.
pub(crate) async fn settle() {
    sleep(MOMENT).await;
}
