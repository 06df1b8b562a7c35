//! What the C library keeps of the memory that a program has given back to it, `mallopt` and
//! `malloc_trim`. Other C libraries than glibc are left as they are.

#![allow(unsafe_code, reason = "neither call has a safe form")]

/// Makes all threads share one heap.
///
/// Otherwise each thread that reads and writes files gets a heap of its own, which stays as large as
/// it ever was: after a thousand sessions that is half as much again. One heap is enough for a program
/// of which one thread allocates and others hardly do.
///
/// Must be called before any thread is started.
pub fn share_one() {
    // Where it fails, the program is larger and works.
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes no pointers, and there is no other thread.
    let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Gives all whole pages that nothing stands on back to the kernel. The C library itself does that for
/// the end of a heap alone, so that one small thing there keeps everything below.
///
/// It takes the time of a walk through what is free: for a hundred megabytes some milliseconds, in which
/// other threads that allocate wait.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes no pointers, and locks the heaps itself.
    let _ = unsafe { libc::malloc_trim(0) };
}
