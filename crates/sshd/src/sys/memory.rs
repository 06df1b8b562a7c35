//! How the C library keeps memory that was given back.

#![allow(unsafe_code, reason = "`mallopt` has no safe form")]

/// Makes all threads share one heap.
///
/// Each thread that reads and writes files would otherwise get a heap of its own, which stays as large as
/// it ever was: after a thousand sessions that is half as much again. One heap is enough for a daemon
/// whose other threads hardly allocate.
///
/// Must be called before any thread is started.
pub fn share_one_heap() {
    // Where it fails, the daemon is larger and works.
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes no pointers, and there is no other thread.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
