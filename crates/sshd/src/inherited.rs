//! What the daemon inherits from whoever launched it and does not leave as it is.
//!
//! Owns blocked signals, which would never arrive, here or in what users start, and the soft limit of
//! descriptors, which is raised for the daemon alone, as the reference's run time does.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::sys;

/// The limit of descriptors before it was raised.
static DESCRIPTORS: OnceLock<Rlimit> = OnceLock::new();

/// Unblocks all signals, and allows as many descriptors as the hard limit does.
///
/// Must be called before there are threads, which have masks of their own.
pub fn settle() {
    sys::startup::unblock_signals();
    let limit = *DESCRIPTORS.get_or_init(|| getrlimit(Resource::Nofile));
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // A sandbox may forbid it; then the soft limit counts.
    _ = setrlimit(Resource::Nofile, raised);
}

/// The limit of descriptors that a session's process gets: the one that the daemon was given.
///
/// Programs that use select(2), or that close whatever they might have open, want it low.
pub(crate) fn descriptors() -> Option<Rlimit> {
    DESCRIPTORS.get().copied()
}
