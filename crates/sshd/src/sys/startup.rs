//! The memory in which the kernel handed over argv and environ, and what others may see of a process.
//!
//! `/proc/PID/cmdline` and `/proc/PID/environ` show this memory and nothing else, so overwriting it
//! is what hides its content; `setenv` and `unsetenv` only move pointers. Which words are worth
//! hiding is `secret.rs`'s.

#![allow(
    unsafe_code,
    reason = "the initial stack is reached by raw pointers, which only the C run time hands out"
)]

use std::env;
use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int};
use std::io;
use std::iter;
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use zeroize::Zeroize as _;

static ARGC: AtomicUsize = AtomicUsize::new(0);
static ARGV: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());
static ENVP: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());

/// glibc calls these before `main` with main's arguments, in static binaries too.
#[used]
#[unsafe(link_section = ".init_array")]
static RECORD: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = record;

extern "C" fn record(argc: c_int, argv: *mut *mut c_char, envp: *mut *mut c_char) {
    ARGC.store(usize::try_from(argc).unwrap_or(0), Ordering::Relaxed);
    ARGV.store(argv, Ordering::Relaxed);
    ENVP.store(envp, Ordering::Relaxed);
}

/// Overwrites the initial command line with `words`, as far as they fit, and the rest with zeros.
///
/// From here on `std::env::args` gives nonsense. Fails if there are other threads.
pub(crate) fn overwrite_arguments(words: impl Iterator<Item = OsString>) -> io::Result<()> {
    require_single_thread()?;
    let mut text: Vec<u8> = words
        .flat_map(|word| word.into_vec().into_iter().chain([0]))
        .collect();
    let argv = ARGV.load(Ordering::Relaxed);
    // SAFETY: `argv` is main's and has `ARGC` strings; no other thread reads them.
    let block = unsafe { block(argv, ARGC.load(Ordering::Relaxed)) };
    block.zeroize();
    // The last byte stays NUL, by which the kernel knows that the block was not grown.
    let room = block.len().saturating_sub(1);
    text.truncate(room);
    for (to, from) in block.iter_mut().zip(text) {
        *to = from;
    }
    Ok(())
}

/// Overwrites the initial environment with zeros, and makes copies of `kept` the environment.
///
/// Fails if there are other threads.
pub(crate) fn replace_environment(kept: &[(OsString, OsString)]) -> io::Result<()> {
    require_single_thread()?;
    let envp = ENVP.load(Ordering::Relaxed);
    // SAFETY: no other thread reads the environment while it is away.
    unsafe { libc::clearenv() };
    // SAFETY: `envp` is main's, NULL-terminated and no longer the environment of anything.
    unsafe { block(envp, count(envp)) }.zeroize();
    // `vars_os` gives names that begin with `=`, at which `set_var` would panic.
    let possible = kept
        .iter()
        .filter(|(name, _)| !name.as_bytes().contains(&b'='));
    for (name, value) in possible {
        // SAFETY: there is no other thread.
        unsafe { env::set_var(name, value) };
    }
    Ok(())
}

/// Names the process after its program: executing `/proc/self/exe` has named it `exe`.
pub(crate) fn set_name(program: &OsStr) {
    let name = Path::new(program).file_name().unwrap_or(program);
    if let Ok(name) = CString::new(name.as_bytes()) {
        // Without its name it works as well.
        _ = rustix::thread::set_name(&name);
    }
}

/// No core dumps, and `/proc/PID/{environ,mem}` for root alone: keys live in this memory.
///
/// Children are like any other process again, since `execve` resets it.
pub(crate) fn refuse_dumps() {
    // A sandbox may forbid it, which is no reason not to run.
    _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Ignores SIGPIPE, as Rust programs do from the start, after std has undone that for an `execve`
/// that failed.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// Lets every signal through that whoever started this process had blocked.
pub(crate) fn unblock_signals() {
    let mut none = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set that `sigprocmask` reads.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// Fails if this process has more than one thread.
fn require_single_thread() -> io::Result<()> {
    // This changes nothing and is invalid for a process with threads (unshare(2)).
    // SAFETY: the call takes no pointers.
    let answer = unsafe { libc::unshare(libc::CLONE_THREAD) };
    match io::Error::last_os_error() {
        error if answer != 0 && error.raw_os_error() == Some(libc::EINVAL) => Err(error),
        // Otherwise there is one, or a sandbox forbids the question and `main` has to be trusted.
        _ => Ok(()),
    }
}

/// The number of strings in a NULL-terminated array.
///
/// # Safety
///
/// `strings` is null or such an array.
unsafe fn count(strings: *mut *mut c_char) -> usize {
    if strings.is_null() {
        return 0;
    }
    // SAFETY: the array goes on at least to the first null.
    let ends = |&i: &usize| unsafe { (*strings.add(i)).is_null() };
    (0..).find(ends).unwrap_or(0)
}

/// The memory of `count` strings that the kernel laid out one after the other.
///
/// # Safety
///
/// `strings` is null or has so many valid strings, in memory that is writable and that nothing else
/// refers to as long as the result lives.
unsafe fn block<'a>(strings: *mut *mut c_char, count: usize) -> &'a mut [u8] {
    if strings.is_null() || count == 0 {
        return &mut [];
    }
    // SAFETY: there are `count` pointers.
    let first = unsafe { *strings };
    let length = (0..count)
        .scan(first, |expected, i| {
            // SAFETY: there are `count` pointers, to valid strings.
            let (string, length) = unsafe {
                let string = *strings.add(i);
                (string, CStr::from_ptr(string).count_bytes() + 1)
            };
            // Something before `main` may have put a string elsewhere; that is not in the block.
            let adjacent = string == *expected;
            *expected = string.wrapping_add(length);
            adjacent.then_some(length)
        })
        .chain(iter::once(0))
        .sum();
    // SAFETY: adjacent strings that are writable (execve puts them on the stack) and not shared.
    unsafe { std::slice::from_raw_parts_mut(first.cast(), length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initial_arguments_are_found() {
        let argv = ARGV.load(Ordering::Relaxed);
        // SAFETY: main's argv, whose first string nobody changes in tests.
        let program = unsafe { CStr::from_ptr(*argv) };
        assert_eq!(
            program.to_bytes(),
            env::args_os().next().unwrap().as_bytes()
        );
        assert_eq!(ARGC.load(Ordering::Relaxed), env::args_os().len());
    }

    #[test]
    fn a_block_is_as_long_as_its_adjacent_strings() {
        let mut memory = *b"one\0two\0\0three\0";
        let start: *mut c_char = memory.as_mut_ptr().cast();
        let [one, two, empty, three] = [0, 4, 8, 10].map(|at| start.wrapping_add(at));
        for (mut strings, length) in [
            (vec![one, two, empty, ptr::null_mut()], 9),
            (vec![one, two, three, ptr::null_mut()], 8),
            (vec![one, ptr::null_mut()], 4),
            (vec![ptr::null_mut()], 0),
        ] {
            let strings = strings.as_mut_ptr();
            // SAFETY: NULL-terminated, of strings in memory that is ours.
            let found = unsafe { block(strings, count(strings)) };
            assert_eq!(found.len(), length);
        }
        // SAFETY: null may be given to both.
        let found = unsafe { block(ptr::null_mut(), count(ptr::null_mut())) };
        assert!(found.is_empty());
    }

    #[test]
    fn nothing_is_overwritten_under_other_threads() {
        // The test harness has threads.
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || _ = wait.recv());
        assert!(overwrite_arguments(iter::empty()).is_err());
        assert!(replace_environment(&[]).is_err());
        drop(stop);
        other.join().unwrap();
    }
}
