//! Runs the cases of a table side by side, each within a time, and tells about all that failed.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A case that is not done by then hangs. The slowest takes a few seconds on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Peers are processes with a handshake each: more of them at a time gain nothing.
const AT_A_TIME: usize = 4;

/// Runs `check` for each of `cases`.
///
/// # Panics
/// Some cases failed: the message names them. What each one has to say stands above it.
pub async fn each<C, F>(cases: impl IntoIterator<Item = C>, check: impl Fn(C) -> F)
where
    C: Display,
    F: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(AT_A_TIME));
    let mut tasks = JoinSet::new();
    for case in cases {
        let name = case.to_string();
        let case = check(case);
        let permits = Arc::clone(&permits);
        tasks.spawn(async move {
            let _permit = permits.acquire_owned().await;
            // A task of its own, so that its panic is known by the name of its case. It is in a set
            // so that it ends with this one.
            let mut alone = JoinSet::new();
            alone.spawn(case);
            let failure = match tokio::time::timeout(DEADLINE, alone.join_next()).await {
                Ok(Some(Ok(()))) => return None,
                Ok(_) => "failed",
                Err(_) => "hangs",
            };
            Some(format!("{name} {failure}"))
        });
    }
    let total = tasks.len();
    assert!(total > 0, "a table without cases");
    let failed: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(
        failed.is_empty(),
        "{} of {total} cases: {}",
        failed.len(),
        failed.join("; ")
    );
}
