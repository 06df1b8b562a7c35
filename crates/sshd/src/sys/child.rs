//! What a child does between `fork` and `execve`.
//!
//! Owns the state of a process that is inherited and must not be: signal dispositions, descriptors,
//! the session. std already empties the signal mask.

#![allow(
    unsafe_code,
    reason = "`pre_exec`, `rt_sigaction` and `close_range` have no safe form"
)]

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;

use rustix::process::{ioctl_tiocsctty, setsid};

/// The first descriptor after stdin, stdout and stderr.
const FIRST_OTHER: libc::c_uint = 3;

/// Linux has 64 signals (except on MIPS).
const LAST_SIGNAL: libc::c_int = 64;

/// The size of a set of them.
const SIGNAL_SET_BYTES: usize = 8;

/// Gives the child default signals and no descriptors but 0, 1 and 2; with `own_terminal` also a
/// session of its own, whose controlling terminal is its stdin.
pub(crate) fn isolate(command: &mut Command, own_terminal: bool) {
    let prepare = move || {
        reset_signals();
        close_others_on_exec();
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
    setsid()?;
    // SAFETY: std has put the terminal on descriptor 0, which stays open.
    let stdin = unsafe { BorrowedFd::borrow_raw(libc::STDIN_FILENO) };
    Ok(ioctl_tiocsctty(stdin)?)
}
