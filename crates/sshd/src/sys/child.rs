//! What a child does between `fork` and `execve`.
//!
//! Owns the state of a process that is inherited and must not be: signal dispositions, descriptors
//! and their limit, the session. Nothing is blocked here (`inherited.rs`), and so nothing there.

#![allow(
    unsafe_code,
    reason = "`pre_exec`, `rt_sigaction` and `close_range` have no safe form"
)]

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;

use rustix::process::{Resource, ioctl_tiocsctty, setrlimit, setsid};

use crate::inherited;

/// The first descriptor after stdin, stdout and stderr.
const FIRST_OTHER: libc::c_uint = 3;

/// Linux has 64 signals (except on MIPS).
const LAST_SIGNAL: libc::c_int = 64;

/// The size of a set of them.
const SIGNAL_SET_BYTES: usize = 8;

/// Gives the child default signals, no descriptors but 0, 1 and 2, and a session of its own; with
/// `own_terminal` the session's controlling terminal is the child's stdin.
///
/// In the daemon's session, and so in its process group, a user's `kill 0` would end the daemon, and
/// the app with it.
pub(crate) fn isolate(command: &mut Command, own_terminal: bool) {
    let descriptors = inherited::descriptors();
    let prepare = move || {
        reset_signals();
        close_others_on_exec();
        if let Some(limit) = descriptors {
            // Lowering what is ours to lower is not refused.
            _ = setrlimit(Resource::Nofile, limit);
        }
        setsid()?;
        match own_terminal {
            true => take_terminal(),
            false => Ok(()),
        }
    };
    // SAFETY: after fork, all of these make async-signal-safe system calls and allocate nothing.
    unsafe { command.pre_exec(prepare) };
}

/// Handlers end with `execve`, but what the daemon ignores (SIGPIPE, or SIGINT below a shell's `&`)
/// would be ignored by everything that users start.
fn reset_signals() {
    // The kernel's `sigaction` with SIG_DFL, no flags and an empty mask. glibc's own function keeps
    // its hands off the two signals below SIGRTMIN, which may be ignored like the others.
    let default = [0_u64; 4];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the pointer is to at least as many zeros as the kernel reads; it writes nothing.
        // Refused for SIGKILL and SIGSTOP, which need it not.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                SIGNAL_SET_BYTES,
            )
        };
    }
}

/// Ours are all close-on-exec; what the daemon itself inherited need not be.
fn close_others_on_exec() {
    // By number, since older C libraries lack the function, and older kernels (< 5.11) the flag.
    // SAFETY: the call takes no pointers and closes nothing before `execve`.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST_OTHER,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
}

fn take_terminal() -> io::Result<()> {
    // SAFETY: std has put the terminal on descriptor 0, which stays open.
    let stdin = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) };
    Ok(ioctl_tiocsctty(stdin)?)
}
