//! Counts what each thread holds of the heap, so that a script's memory can be bounded.
//!
//! Rhai has no ceiling of memory, and an allocator that refused would abort the process; so this one
//! only counts, and the sandbox stops the script before the sum grows too large.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Constant and without a destructor: reading them allocates nothing and works at any time in a
    // thread's life, which an allocator needs.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread.
///
/// An executable that runs scripts installs it:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: script::CountingAllocator = script::CountingAllocator;
/// ```
///
/// A block freed by another thread than the one that took it moves the sums of both; the sums are
/// therefore only meaningful as differences inside one thread, which is how they are used.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingAllocator;

fn count(bytes: isize) {
    LIVE.with(|live| {
        let now = live.get().wrapping_add(bytes);
        live.set(now);
        PEAK.with(|peak| peak.set(peak.get().max(now)));
    });
}

// A layout's size never exceeds `isize::MAX`.
#[allow(clippy::cast_possible_wrap, reason = "a layout's size never exceeds isize::MAX")]
const fn signed(bytes: usize) -> isize {
    bytes as isize
}

// SAFETY: every call goes to `System` with the caller's own arguments, so its guarantees are the
// system allocator's. Counting neither allocates nor unwinds: the cells are constant-initialised,
// have no destructor, and the sums wrap.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is passed on as is.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            count(signed(layout.size()));
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            count(signed(layout.size()));
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller passes a block of ours, and all of ours are the system's.
        unsafe { System.dealloc(block, layout) };
        count(signed(layout.size()).wrapping_neg());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { System.realloc(block, layout, new_size) };
        if !moved.is_null() {
            count(signed(new_size).wrapping_sub(signed(layout.size())));
        }
        moved
    }
}

/// What this thread has taken minus what it has given back, in bytes.
pub(crate) fn live() -> isize {
    LIVE.with(Cell::get)
}

/// The highest [`live`] since the last [`reset_peak`].
pub(crate) fn peak() -> isize {
    PEAK.with(Cell::get)
}

/// Starts a new measurement of [`peak`].
pub(crate) fn reset_peak() {
    PEAK.with(|peak| peak.set(live()));
}

/// Whether this process counts: true when [`CountingAllocator`] is the global allocator.
pub fn installed() -> bool {
    /// Large enough that nothing else can be mistaken for it.
    const PROBE_BYTES: usize = 4096;
    let before = live();
    let probe = std::hint::black_box(Vec::<u8>::with_capacity(PROBE_BYTES));
    let counted = live().wrapping_sub(before) >= signed(PROBE_BYTES);
    drop(probe);
    counted
}
