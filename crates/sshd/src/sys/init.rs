//! The first process of a container: orphans become its children, and somebody has to wait for them.
//!
//! Usually that is the container engine's own program. Where the daemon is started in its place, it
//! forks: the parent stays the first process and does nothing but reap, and the child is the daemon.

#![allow(unsafe_code, reason = "`fork` and `sigwaitinfo` have no safe form")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};

/// Forks if this is the first process. For the daemon this returns nothing, and for the first process
/// the daemon's exit code, once it has ended.
///
/// Must be called before any thread is started.
///
/// # Errors
/// There can be no second process.
pub fn stay_behind() -> io::Result<Option<u8>> {
    if !getpid().is_init() {
        return Ok(None);
    }
    let all = block_signals();
    // SAFETY: the caller has started no thread, so that the child is a whole process.
    match unsafe { libc::fork() } {
        0 => {
            restore_signals(&all);
            Ok(None)
        }
        daemon => match Pid::from_raw(daemon) {
            Some(daemon) if daemon.as_raw_nonzero().get() > 0 => Ok(Some(reap(daemon, &all))),
            _ => Err(io::Error::last_os_error()),
        },
    }
}

/// Waits for every child, and hands signals on, until the daemon ends.
fn reap(daemon: Pid, signals: &libc::sigset_t) -> u8 {
    loop {
        // SAFETY: the set is initialised, and no information is asked for.
        let number = unsafe { libc::sigwaitinfo(signals, ptr::null_mut()) };
        if number != libc::SIGCHLD {
            if let Some(signal) = Signal::from_named_raw(number) {
                // It may have ended just now.
                _ = kill_process(daemon, signal);
            }
            continue;
        }
        // One SIGCHLD may stand for many.
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == daemon {
                return exit_code(status);
            }
        }
    }
}

/// As a shell has it: a signal counts from 128.
fn exit_code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, signal) => 128 + signal.unwrap_or_default(),
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Blocks all signals, so that none is lost between the fork and the wait; gives the set of them.
fn block_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::uninit();
    // SAFETY: `sigfillset` initialises the set that `sigprocmask` reads.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_BLOCK, all.as_ptr(), ptr::null_mut());
        all.assume_init()
    }
}

fn restore_signals(all: &libc::sigset_t) {
    // SAFETY: the set is initialised.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, all, ptr::null_mut()) };
}
