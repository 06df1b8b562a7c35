//! Closing a descriptor and hearing about it.

#![allow(
    unsafe_code,
    reason = "std and rustix close descriptors, but tell nobody what came of it"
)]

use std::io;
use std::os::fd::{IntoRawFd as _, OwnedFd};

/// Closes `fd`. An error may be the last word on data that was written (close(2)); the descriptor is
/// gone in any case.
pub(crate) fn close(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor was ours alone, and is forgotten here.
    match unsafe { libc::close(fd.into_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
