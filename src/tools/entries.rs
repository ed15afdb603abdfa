//! Offset, time and transaction indexes and producer snapshots: files of entries of one size, see
//! `storage/README.md`.

use std::path::Path;

use braid_storage::producers::Producers;
use bytes::Buf;

use super::finding::Finding;

/// One entry of such a file. Numbers are big-endian.
pub(super) trait Entry: Copy {
    /// Bytes of it.
    const LEN: usize;
    /// May one that is the file's only one be nothing but zeros?
    const ZEROS_ARE_ONE: bool = false;

    /// Reads it, if all of it is there; `base` is what relative offsets count from.
    fn parse(at: &mut &[u8], base: i64) -> Option<Self>;

    /// The offset it is about.
    fn offset(&self) -> i64;

    /// What is wrong with it, after this one.
    fn flaw(&self, before: Option<&Self>) -> Option<&'static str>;
}

/// `.index`: the last offset of a batch, and where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct OffsetEntry {
    pub(super) offset: i64,
    pub(super) position: u64,
}

/// `.timeindex`: the largest timestamp so far, and an offset of the batch that has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeEntry {
    pub(super) timestamp: i64,
    pub(super) offset: i64,
}

/// `.txnindex`: an aborted transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct TxnEntry {
    pub(super) version: i16,
    pub(super) producer_id: i64,
    pub(super) first_offset: i64,
    pub(super) last_offset: i64,
    pub(super) last_stable_offset: i64,
}

/// `.snapshot`: a producer, and the last batch it wrote (or one of the last).
#[derive(Clone, Copy, Debug)]
pub(super) struct ProducerEntry {
    pub(super) producer_id: i64,
    pub(super) producer_epoch: i16,
    pub(super) last_sequence: i32,
    pub(super) last_offset: i64,
    pub(super) offset_delta: i32,
    pub(super) timestamp: i64,
    pub(super) coordinator_epoch: i32,
    pub(super) txn_first_offset: i64,
}

impl Entry for OffsetEntry {
    const LEN: usize = 8;

    fn parse(at: &mut &[u8], base: i64) -> Option<Self> {
        let offset = base.checked_add(i64::from(at.try_get_i32().ok()?))?;
        Some(OffsetEntry { offset, position: u64::from(at.try_get_u32().ok()?) })
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn flaw(&self, before: Option<&Self>) -> Option<&'static str> {
        let grows = before.is_none_or(|b| self.offset > b.offset && self.position > b.position);
        (!grows).then_some("the entry is not behind the one before")
    }
}

impl Entry for TimeEntry {
    const LEN: usize = 12;
    // The largest timestamp of the segment is 0, and it is its first record's.
    const ZEROS_ARE_ONE: bool = true;

    fn parse(at: &mut &[u8], base: i64) -> Option<Self> {
        let timestamp = at.try_get_i64().ok()?;
        Some(TimeEntry { timestamp, offset: base.checked_add(i64::from(at.try_get_i32().ok()?))? })
    }

    fn offset(&self) -> i64 {
        self.offset
    }

    fn flaw(&self, before: Option<&Self>) -> Option<&'static str> {
        let grows = before.is_none_or(|b| self.offset > b.offset && self.timestamp > b.timestamp);
        (!grows).then_some("the entry is not behind the one before")
    }
}

impl Entry for TxnEntry {
    const LEN: usize = 34;

    fn parse(at: &mut &[u8], _base: i64) -> Option<Self> {
        Some(TxnEntry {
            version: at.try_get_i16().ok()?,
            producer_id: at.try_get_i64().ok()?,
            first_offset: at.try_get_i64().ok()?,
            last_offset: at.try_get_i64().ok()?,
            last_stable_offset: at.try_get_i64().ok()?,
        })
    }

    fn offset(&self) -> i64 {
        self.last_offset
    }

    fn flaw(&self, before: Option<&Self>) -> Option<&'static str> {
        let grows = before.is_none_or(|before| self.last_offset > before.last_offset);
        let flaws = [
            (self.version != 0, "the entry's version is not 0"),
            (self.first_offset > self.last_offset, "the transaction ends before it begins"),
            (!grows, "the entry is not behind the one before"),
        ];
        flaws.into_iter().find_map(|(so, what)| so.then_some(what))
    }
}

impl Entry for ProducerEntry {
    const LEN: usize = 46;

    fn parse(at: &mut &[u8], _base: i64) -> Option<Self> {
        Some(ProducerEntry {
            producer_id: at.try_get_i64().ok()?,
            producer_epoch: at.try_get_i16().ok()?,
            last_sequence: at.try_get_i32().ok()?,
            last_offset: at.try_get_i64().ok()?,
            offset_delta: at.try_get_i32().ok()?,
            timestamp: at.try_get_i64().ok()?,
            coordinator_epoch: at.try_get_i32().ok()?,
            txn_first_offset: at.try_get_i64().ok()?,
        })
    }

    fn offset(&self) -> i64 {
        self.last_offset
    }

    fn flaw(&self, _before: Option<&Self>) -> Option<&'static str> {
        (self.producer_id < 0).then_some("a producer id below 0")
    }
}

/// A file of entries, as far as it makes sense.
pub(super) struct Table<E> {
    /// Those before the first flaw.
    pub(super) entries: Vec<E>,
    /// Bytes of zeros at the end: Kafka reserves space in the indexes it writes to.
    pub(super) reserved: usize,
    /// The first flaw.
    pub(super) flaw: Option<Finding>,
}

impl<E: Entry> Table<E> {
    /// Reads the file's bytes. `base`: see [`Entry::parse`].
    pub(super) fn read(path: &Path, bytes: &[u8], base: i64) -> Table<E> {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let used = match bytes.len() == E::LEN && E::ZEROS_ARE_ONE {
            true => E::LEN,
            false => used.next_multiple_of(E::LEN).min(bytes.len()),
        };
        let mut at = bytes.get(..used).unwrap_or_default();
        let mut table = Table { entries: Vec::new(), reserved: bytes.len() - used, flaw: None };
        if !bytes.len().is_multiple_of(E::LEN) {
            let what = format!("{} bytes are no whole number of entries of {}", bytes.len(), E::LEN);
            table.flaw = Some(Finding::new(path, what));
        }
        while let Some(entry) = E::parse(&mut at, base) {
            if let Some(flaw) = entry.flaw(table.entries.last()) {
                let position = table.entries.len() * E::LEN;
                let finding = Finding::new(path, flaw).offset(entry.offset()).position(position as u64);
                table.flaw.get_or_insert(finding);
                break;
            }
            table.entries.push(entry);
        }
        table
    }
}

/// The entries of a producer snapshot: `version i16, crc32c u32, count i32`, then these.
pub(super) fn snapshot(path: &Path, bytes: &[u8]) -> Table<ProducerEntry> {
    const HEADER_LEN: usize = 10;
    if Producers::from_snapshot(bytes, 0).is_none() {
        let flaw = Finding::new(path, "the snapshot is damaged: version, CRC or count are not right");
        return Table { entries: Vec::new(), reserved: 0, flaw: Some(flaw) };
    }
    Table::read(path, bytes.get(HEADER_LEN..).unwrap_or_default(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(bytes: &[u8]) -> Table<OffsetEntry> {
        Table::read(Path::new("x.index"), bytes, 100)
    }

    #[test]
    fn entries_are_read_until_one_is_out_of_order() {
        let good = [0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 9, 0, 0, 2, 0];
        let table = offsets(&good);
        assert!(table.flaw.is_none());
        assert_eq!(
            table.entries.iter().map(|e| (e.offset, e.position)).collect::<Vec<_>>(),
            [(105, 256), (109, 512)]
        );
        let table = offsets(&[good, good].concat());
        let flaw = table.flaw.unwrap().to_string();
        assert_eq!(table.entries.len(), 2);
        assert_eq!(flaw, "problem: x.index, offset 105, position 16: the entry is not behind the one before");
    }

    #[test]
    fn reserved_space_is_no_entry_and_a_torn_one_is_a_flaw() {
        let table = offsets(&[&[0, 0, 0, 5, 0, 0, 1, 0][..], &[0; 80]].concat());
        assert_eq!((table.entries.len(), table.reserved, table.flaw), (1, 80, None));
        let table = offsets(&[0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 1]);
        assert!(table.flaw.unwrap().to_string().contains("11 bytes"));
        assert!(offsets(&[]).flaw.is_none());
    }

    #[test]
    fn an_entry_of_zeros_alone_is_one_in_a_time_index() {
        let times = |bytes: &[u8]| Table::<TimeEntry>::read(Path::new("x.timeindex"), bytes, 100);
        let (alone, reserved) = (times(&[0; 12]), times(&[0; 24]));
        assert_eq!(alone.entries.iter().map(|e| (e.timestamp, e.offset)).collect::<Vec<_>>(), [(0, 100)]);
        assert_eq!((alone.reserved, reserved.entries.len(), reserved.reserved), (0, 0, 24));
        assert_eq!(offsets(&[0; 8]).entries.len(), 0);
    }
}
