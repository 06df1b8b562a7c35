//! Registration of a descriptor with tokio's reactor.

#![allow(unsafe_code, reason = "tokio asks for a promise that it cannot check")]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Makes `fd`, which must not block, known to the reactor.
///
/// Must be called in a tokio runtime.
pub(crate) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and names the same descriptor for as long as it lives.
    Ok(unsafe { AsyncFd::register(fd) }?)
}
