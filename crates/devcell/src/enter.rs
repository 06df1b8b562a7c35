//! Owns the Enter key: each line on standard input asks for something, here for a new code.

use std::io::{self, BufRead};
use std::thread;

use rustix::process::getpgrp;
use rustix::termios::{isatty, tcgetpgrp};
use tokio::sync::mpsc;

/// Lines that wait to be served; whoever holds the key down gets some less.
const MAX_WAITING: usize = 16;

/// Lines from standard input, without what is in them.
pub(crate) struct Enter(mpsc::Receiver<()>);

impl Enter {
    /// Begins to read; from a terminal only if it is ours to read from.
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        if may_read() {
            // A thread of its own, which the end of the process ends: a read cannot be called off.
            thread::spawn(move || {
                for _ in io::stdin().lock().lines().map_while(Result::ok) {
                    if matches!(
                        sender.try_send(()),
                        Err(mpsc::error::TrySendError::Closed(()))
                    ) {
                        return;
                    }
                }
            });
        }
        Self(receiver)
    }

    /// Waits for the next one, for ever if there will be none.
    pub(crate) async fn pressed(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Who reads from a terminal in the background is stopped.
fn may_read() -> bool {
    let stdin = io::stdin();
    !isatty(&stdin) || tcgetpgrp(&stdin).is_ok_and(|group| group == getpgrp())
}
