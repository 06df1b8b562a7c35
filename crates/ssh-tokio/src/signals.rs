//! Signals that would end a server and ask nothing of it.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// What would end the process but does nothing to a Go program, and what would end either when a file gets
/// longer than the process may write: that is told to whoever writes it. SIGCHLD is here for those who are
/// launched with that ignored: the kernel would not keep the end of a child for them.
const HARMLESS: [Signal; 9] = [
    Signal::ALARM,
    Signal::CHILD,
    Signal::IO,
    Signal::POWER,
    Signal::PROF,
    Signal::USR1,
    Signal::USR2,
    Signal::VTALARM,
    Signal::XFSZ,
];

/// From now on, nothing happens at signals that ask for nothing. Those that stop a server are left alone, and
/// so is SIGHUP, at which a Go program ends, too.
///
/// Must be called in a tokio runtime.
///
/// # Errors
/// The handlers cannot be installed.
pub fn outlive() -> io::Result<()> {
    for harmless in HARMLESS {
        // The handler stays though the stream is dropped.
        let _ = signal(SignalKind::from_raw(harmless.as_raw()))?;
    }
    Ok(())
}
