//! Where the last batches of a log begin. Reads at its end, those of most consumers, need look neither
//! into the index nor at the batches, whose pages would have to be mapped for that.

use std::collections::VecDeque;

/// The last batches that this process has appended to a segment, and so knows to be good.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Base offset and position; the offsets between two of them all lie in the first.
    batches: VecDeque<(i64, u64)>,
}

/// Some whole batches of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Of the first of them.
    pub(crate) base_offset: i64,
    /// Where it begins.
    pub(crate) position: u64,
    /// Where it ends.
    pub(crate) first_end: u64,
    /// Where the last one ends that may be taken; `position` if even the first is too large.
    pub(crate) cut: u64,
}

impl Recent {
    /// How many are kept: a reader that is further behind reads larger pieces.
    const MAX: usize = 32;

    /// A batch was appended.
    pub(crate) fn push(&mut self, base_offset: i64, position: u64) {
        if self.batches.len() == Recent::MAX {
            self.batches.pop_front();
        }
        self.batches.push_back((base_offset, position));
    }

    /// At most `max_bytes` from the batch on that holds `offset`, and nothing from `end` on: a batch begins
    /// there, or the segment ends, and it lies behind the offset. None if that batch is not among these.
    pub(crate) fn cut(&self, offset: i64, max_bytes: u64, end: u64) -> Option<Piece> {
        let behind = self.batches.partition_point(|(base, _)| *base <= offset);
        let (base_offset, position) = *self.batches.get(behind.checked_sub(1)?)?;
        if position >= end {
            return None;
        }
        let begin = |n: usize| self.batches.get(n).map_or(end, |(_, begin)| *begin).min(end);
        let limit = position.saturating_add(max_bytes);
        let cut = match limit >= end {
            true => end,
            false => begin(self.batches.partition_point(|(_, begin)| *begin <= limit) - 1),
        };
        Some(Piece { base_offset, position, first_end: begin(behind), cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of ten offsets and a hundred bytes, from the one numbered `first` on.
    fn batches(first: u64, count: u64) -> Recent {
        let mut recent = Recent::default();
        (first..first + count).for_each(|n| recent.push(n as i64 * 10, n * 100));
        recent
    }

    fn cut(recent: &Recent, offset: i64, max_bytes: u64, end: u64) -> Option<(i64, u64, u64, u64)> {
        let piece = recent.cut(offset, max_bytes, end)?;
        Some((piece.base_offset, piece.position, piece.first_end, piece.cut))
    }

    #[test]
    fn the_batch_that_holds_the_offset_is_found_and_what_follows_up_to_the_limit() {
        let recent = batches(0, 5);
        assert_eq!(cut(&recent, 0, 1000, 500), Some((0, 0, 100, 500)));
        assert_eq!(cut(&recent, 19, 250, 500), Some((10, 100, 200, 300)));
        assert_eq!(cut(&recent, 20, 200, 500), Some((20, 200, 300, 400)));
        assert_eq!(cut(&recent, 20, 200, 300), Some((20, 200, 300, 300)));
        assert_eq!(cut(&recent, 49, 1, 500), Some((40, 400, 500, 400)), "too large");
        assert_eq!(cut(&recent, 45, u64::MAX, 500), Some((40, 400, 500, 500)));
    }

    #[test]
    fn what_is_not_known_is_left_to_the_index() {
        assert_eq!(cut(&Recent::default(), 0, 1000, 500), None);
        let recent = batches(3, Recent::MAX as u64 + 2);
        assert_eq!(cut(&recent, 49, 1000, 5000), None, "forgotten");
        assert_eq!(cut(&recent, 50, 100, 5000), Some((50, 500, 600, 600)));
        assert_eq!(cut(&recent, 50, 100, 500), None, "nothing before the end");
    }
}
