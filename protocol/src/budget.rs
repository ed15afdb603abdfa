//! How much memory a decoded message may take: a small frame must not become a large value.
//!
//! What is counted is what the decoder asks of the allocator: the elements of arrays and the bytes of
//! strings. `Bytes` are slices of the frame and cost nothing, but keep all of it in memory.

use std::cell::Cell;

use crate::wire::{Malformed, Why};

/// The heap memory that one message may still take while it is decoded, in bytes.
#[derive(Debug)]
pub struct Budget {
    granted: usize,
    left: Cell<usize>,
    elements: Cell<usize>,
}

impl Budget {
    /// A decoded message takes at most this many times the bytes it was decoded from, plus [`Self::SLACK`].
    pub const TIMES: usize = 4;
    /// What is allowed beyond that: small requests may consist of small elements alone.
    pub const SLACK: usize = 1 << 20;
    /// Never more than this. An OffsetCommit of 100,000 partitions takes 6 MB; decoding 8 MiB takes
    /// some 20 ms, which is as long as a reactor thread may be busy.
    pub const MAX: usize = 8 << 20;
    /// An element of an array counts as this many bytes at least: it costs time, and has an answer.
    const ELEMENT: usize = 16;

    /// The budget of a message that is decoded from this many bytes.
    pub fn of(bytes: usize) -> Budget {
        let granted = bytes.saturating_mul(Self::TIMES).saturating_add(Self::SLACK).min(Self::MAX);
        Budget { granted, left: Cell::new(granted), elements: Cell::new(0) }
    }

    /// One that never ends: for what does not come from a client.
    pub fn unlimited() -> Budget {
        Budget { granted: usize::MAX, left: Cell::new(usize::MAX), elements: Cell::new(0) }
    }

    /// Takes memory out of the budget before it is allocated. `left`: bytes of input that follow.
    pub fn take(&self, bytes: usize, left: usize) -> Result<(), nom::Err<Malformed>> {
        match self.left.get().checked_sub(bytes) {
            Some(rest) => {
                self.left.set(rest);
                Ok(())
            }
            None => Err(nom::Err::Error(Malformed { field: "", left, why: Why::Excessive })),
        }
    }

    /// Takes memory for this many elements of an array.
    pub fn take_elements<T>(&self, count: usize, left: usize) -> Result<(), nom::Err<Malformed>> {
        self.elements.set(self.elements.get() + count);
        self.take(count.saturating_mul(size_of::<T>().max(Self::ELEMENT)), left)
    }

    /// How many elements all arrays together have.
    pub fn elements(&self) -> usize {
        self.elements.get()
    }

    /// How many bytes have been taken.
    pub fn used(&self) -> usize {
        self.granted - self.left.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_multiple_of_the_input_within_bounds() {
        assert_eq!(Budget::of(0).granted, 1 << 20);
        assert_eq!(Budget::of(1000).granted, (1 << 20) + 4000);
        assert_eq!(Budget::of(100 << 20).granted, Budget::MAX);
        assert_eq!(Budget::of(usize::MAX).granted, Budget::MAX);
    }

    #[test]
    fn what_exceeds_the_budget_is_refused_and_not_counted() {
        let budget = Budget::of(0);
        assert_eq!((budget.take(1 << 19, 7), budget.used()), (Ok(()), 1 << 19));
        let refused = Malformed { field: "", left: 7, why: Why::Excessive };
        assert_eq!(budget.take((1 << 19) + 1, 7), Err(nom::Err::Error(refused)));
        assert_eq!(budget.used(), 1 << 19);
    }
}
