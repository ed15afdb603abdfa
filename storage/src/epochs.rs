//! Where each leader epoch began (KIP-101): what followers and consumers ask to find out where logs parted.
//! Pure.
//!
//! Kept in `leader-epoch-checkpoint`: `0`, the count, then a line `epoch startOffset` for each, both growing.

use std::fmt::Write;

/// The epochs of one log, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    entries: Vec<(i32, i64)>,
}

impl Epochs {
    /// A batch of `epoch` begins at `offset`. True if that is a new epoch.
    pub fn assign(&mut self, epoch: i32, offset: i64) -> bool {
        let new = epoch >= 0 && self.latest().is_none_or(|latest| epoch > latest);
        if new {
            self.entries.push((epoch, offset));
        }
        new
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// The epoch of the batch at `offset`, if there is one.
    pub fn at(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|(_, begin)| *begin <= offset);
        self.entries.get(after.checked_sub(1)?).map(|(epoch, _)| *epoch)
    }

    /// Where the largest epoch ends that is not larger than `epoch`: that epoch and the offset after its
    /// last, as OffsetForLeaderEpoch answers. `None` for epochs that are not known yet. `current` is the
    /// leader's own: it is known also while no batch has it (Kafka writes it down when it begins).
    pub fn end_offset(&self, epoch: i32, current: i32, log_end: i64) -> Option<(i32, i64)> {
        let latest = self.latest().map_or(current, |latest| latest.max(current));
        if epoch < 0 || epoch > latest {
            return None;
        }
        if epoch == latest {
            return Some((epoch, log_end));
        }
        let next = self.entries.iter().find(|(entry, _)| *entry > epoch);
        let floor = self.entries.iter().rev().find(|(entry, _)| *entry <= epoch);
        Some((floor.map_or(epoch, |(entry, _)| *entry), next.map_or(log_end, |(_, begin)| *begin)))
    }

    /// Forgets epochs that began at `end` or later: their batches were lost. True if there were any.
    pub fn truncate(&mut self, end: i64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(_, start)| *start < end);
        self.entries.len() != before
    }

    /// Forgets epochs that ended at `start` or before: their batches were deleted. The one that goes on there
    /// begins there now. True if that changes anything.
    pub fn start_at(&mut self, start: i64) -> bool {
        let gone = self.entries.partition_point(|(_, begin)| *begin <= start).saturating_sub(1);
        self.entries.drain(..gone);
        match self.entries.first_mut() {
            Some((_, begin)) if *begin < start => *begin = start,
            _ => return gone > 0,
        }
        true
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for (epoch, offset) in &self.entries {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{epoch} {offset}");
        }
        text
    }

    /// Reads the file's text; `None` if it is damaged.
    pub fn from_text(text: &str) -> Option<Epochs> {
        let mut epochs = Epochs::default();
        for line in crate::checkpoint::lines(text)? {
            let (epoch, offset) = line.split_once(' ')?;
            let (epoch, offset) = (epoch.parse().ok()?, offset.parse().ok()?);
            let in_order = epochs.entries.last().is_none_or(|(e, o)| *e < epoch && *o <= offset);
            if !in_order {
                return None;
            }
            epochs.entries.push((epoch, offset));
        }
        Some(epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.end_offset(0, -1, 0), None);
        assert!(epochs.assign(2, 0) && !epochs.assign(2, 5) && !epochs.assign(1, 6) && epochs.assign(5, 10));
        for current in [0, 5] {
            let end = |epoch| epochs.end_offset(epoch, current, 30);
            assert_eq!((end(5), end(4), end(2)), (Some((5, 30)), Some((2, 10)), Some((2, 10))));
            assert_eq!((end(1), end(6), end(-1)), (Some((1, 0)), None, None));
        }
        assert_eq!(Epochs::from_text(&epochs.to_text()), Some(epochs.clone()));
        assert_eq!(epochs.to_text(), "0\n2\n2 0\n5 10\n");
        assert_eq!([-1, 0, 9, 10, 30].map(|at| epochs.at(at)), [None, Some(2), Some(2), Some(5), Some(5)]);
        assert!(epochs.truncate(10) && !epochs.truncate(1));
        assert_eq!(epochs.latest(), Some(2));
    }

    // A consumer asked for the end of epoch 0 of a partition that was never written to, and was answered
    // that there is no such epoch.
    #[test]
    fn the_leaders_epoch_is_known_before_a_batch_has_it() {
        let mut epochs = Epochs::default();
        assert_eq!((epochs.end_offset(0, 0, 0), epochs.end_offset(1, 0, 0)), (Some((0, 0)), None));
        assert!(epochs.assign(2, 0));
        let end = |epoch| epochs.end_offset(epoch, 4, 30);
        assert_eq!((end(2), end(3), end(4), end(5)), (Some((2, 30)), Some((2, 30)), Some((4, 30)), None));
    }

    #[test]
    fn epochs_follow_the_start_of_the_log() {
        let mut epochs = Epochs::default();
        assert!(!epochs.start_at(5));
        assert!(epochs.assign(2, 0) && epochs.assign(5, 10) && epochs.assign(6, 20));
        assert!(!epochs.start_at(0));
        assert!(epochs.start_at(9));
        assert_eq!(epochs.to_text(), "0\n3\n2 9\n5 10\n6 20\n");
        assert!(epochs.start_at(10) && !epochs.start_at(10));
        assert_eq!(epochs.to_text(), "0\n2\n5 10\n6 20\n");
        assert!(epochs.start_at(30));
        assert_eq!((epochs.to_text().as_str(), epochs.end_offset(6, 0, 30)), ("0\n1\n6 30\n", Some((6, 30))));
    }

    #[test]
    fn damaged_files_are_refused() {
        for text in [
            "0",
            "1\n0\n",
            "0\n1\n",
            "0\n1\n1\n",
            "0\n1\na 1\n",
            "0\n2\n2 0\n1 1\n",
            "0\n-1\n",
            "0\n99999999999\n",
        ] {
            assert_eq!(Epochs::from_text(text), None, "{text:?}");
        }
    }
}
