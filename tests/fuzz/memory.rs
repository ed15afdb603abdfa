//! The system's allocator, counting the bytes that are live and the most there were.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

/// More than this is a finding that nothing survives: the process ends at once, and says at which frame.
const CAP: isize = 6 << 30;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

/// Bytes that are allocated.
pub(crate) fn live() -> isize {
    LIVE.load(Relaxed)
}

/// Begins to measure; what is live now.
pub(crate) fn mark() -> isize {
    let live = live();
    PEAK.store(live, Relaxed);
    live
}

/// The most bytes that were live since [`mark`].
pub(crate) fn peak() -> isize {
    PEAK.load(Relaxed)
}

fn more(bytes: usize) {
    let live = LIVE.fetch_add(bytes as isize, Relaxed) + bytes as isize;
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
        if live > CAP {
            std::process::abort();
        }
    }
}

fn less(bytes: usize) {
    LIVE.fetch_sub(bytes as isize, Relaxed);
}

/// See above.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe by its nature; this one only passes on")]
// SAFETY: every call is the system allocator's own, with the arguments of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        less(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        more(size);
        less(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}
