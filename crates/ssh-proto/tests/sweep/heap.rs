//! What a piece of work takes of the heap at most, counted by the allocator of the test program.
//!
//! Each thread has its own count, so that tests may run beside each other. What C code takes is not
//! counted.
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; this one counts and passes on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that this thread holds, less those that it freed for others.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// The most that it held since [`peak_of`] began.
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Runs `work`; its result, and how many bytes it held at its peak beyond what was there before.
pub(crate) fn peak_of<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = work();
    (result, PEAK.get().saturating_sub(before).unsigned_abs())
}

fn count(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

/// A size as a difference; the largest that a layout may have fits.
fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: every call is passed on as it is to the system's allocator, which keeps the contract; counting
// touches nothing but two cells of the thread, which need no memory and have no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While it is moved, both may be there.
        count(signed(size));
        count(-signed(layout.size()));
        // SAFETY: the caller's contract is the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
