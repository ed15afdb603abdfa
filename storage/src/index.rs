//! Offset and time index of a segment, in Kafka's format. Pure: `segment.rs` reads and writes the files.
//!
//! `.index`: 8 bytes an entry, `relativeOffset i32 | position i32`: the last offset of a batch, and where it
//! begins.
//! `.timeindex`: 12 bytes, `timestamp i64 | relativeOffset i32`: the largest timestamp so far, and the last
//! offset of the batch that has it; timestamps only grow. A pair is written with a batch when more than
//! `index.interval.bytes` were appended since the last; one more time entry when the segment is sealed. Both
//! are caches: what they say is checked where it is used, and they can always be made from the log.

use bytes::{BufMut, Bytes};

use crate::batch::Header;

const OFFSET_ENTRY: usize = 8;
const TIME_ENTRY: usize = 12;

/// Both indexes of one segment.
#[derive(Debug)]
pub(crate) struct Indexes {
    base: i64,
    pub(crate) offsets: Table<OFFSET_ENTRY>,
    pub(crate) times: Table<TIME_ENTRY>,
    since_last: u64,
    /// The largest timestamp and the last offset of the first batch that has it.
    max: Option<(i64, i64)>,
}

/// Where to begin to look for an offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) position: u64,
    /// The offset that the entry names; none if this is just the segment's beginning.
    pub(crate) offset: Option<i64>,
}

impl Indexes {
    pub(crate) fn new(base: i64) -> Indexes {
        Indexes { base, offsets: Table::default(), times: Table::default(), since_last: 0, max: None }
    }

    /// From the files of a segment of this size; `None` if they cannot be its indexes.
    pub(crate) fn load(base: i64, size: u64, offsets: Bytes, times: Bytes) -> Option<Indexes> {
        let (mut offsets, mut times) = (Table::load(offsets)?, Table::load(times)?);
        offsets.trim();
        times.trim();
        let mut indexes = Indexes { base, offsets, times, since_last: size, max: None };
        if let Some(entry) = indexes.offsets.entries().last() {
            let (relative, position) = split_offset(entry);
            indexes.since_last = size.checked_sub(position).filter(|rest| *rest > 0 && relative >= 0)?;
        }
        if let Some(entry) = indexes.times.entries().last() {
            let (timestamp, relative) = split_time(entry);
            if timestamp < 0 || relative < 0 {
                return None;
            }
            indexes.max = Some((timestamp, base + relative));
        }
        Some(indexes)
    }

    /// Keeps what is known of the batches below `offset`, to go on from there after a crash. `None` if the
    /// entries are not in order.
    pub(crate) fn truncate_to(&mut self, offset: i64) -> Option<Floor> {
        let limit = offset - self.base;
        self.offsets.truncate(|entry| split_offset(entry).0 < limit);
        self.times.truncate(|entry| split_time(entry).1 < limit);
        let offsets = self.offsets.entries().iter().map(split_offset);
        let times = self.times.entries().iter().map(split_time);
        if !offsets.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1)
            || !times.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1)
        {
            return None;
        }
        let last = self.times.entries().last().map(split_time);
        self.max = last.map(|(timestamp, relative)| (timestamp, self.base + relative));
        self.since_last = 0;
        Some(self.floor(offset))
    }

    /// Takes note of a batch that begins at `position`.
    pub(crate) fn append(&mut self, header: &Header, position: u64, interval: u32) {
        let last = header.last_offset();
        if header.max_timestamp > self.max.map_or(-1, |(timestamp, _)| timestamp) {
            self.max = Some((header.max_timestamp, last));
        }
        if self.since_last > u64::from(interval) {
            self.offsets.push(|entry| {
                entry.put_i32((last - self.base) as i32);
                entry.put_i32(position as i32);
            });
            self.finish();
            self.since_last = 0;
        }
        self.since_last += header.total_len() as u64;
    }

    /// Writes the largest timestamp down, if that is news.
    pub(crate) fn finish(&mut self) {
        let written = self.times.entries().last().map_or(-1, |entry| split_time(entry).0);
        if let Some((timestamp, offset)) = self.max.filter(|(timestamp, _)| *timestamp > written) {
            self.times.push(|entry| {
                entry.put_i64(timestamp);
                entry.put_i32((offset - self.base) as i32);
            });
        }
    }

    /// The last indexed batch that does not lie behind `offset`.
    pub(crate) fn floor(&self, offset: i64) -> Floor {
        let target = offset - self.base;
        let floor = self.offsets.before(|entry| split_offset(entry).0 <= target).map(split_offset);
        floor.map_or(Floor::default(), |(relative, position)| Floor {
            position,
            offset: Some(self.base + relative),
        })
    }

    /// The beginning of the last indexed batch at or before `position`.
    pub(crate) fn floor_position(&self, position: u64) -> Floor {
        let floor = self.offsets.before(|entry| split_offset(entry).1 <= position).map(split_offset);
        floor.map_or(Floor::default(), |(relative, position)| Floor {
            position,
            offset: Some(self.base + relative),
        })
    }

    /// The entries of batches behind `position`: where each begins, and its last offset.
    pub(crate) fn behind(&self, position: u64) -> impl Iterator<Item = (u64, i64)> {
        let entries = self.offsets.entries();
        let first = entries.partition_point(|entry| split_offset(entry).1 <= position);
        let rest = entries.iter().skip(first).map(split_offset);
        rest.map(|(relative, position)| (position, self.base + relative))
    }

    /// An offset before which no record is as new as `timestamp`.
    pub(crate) fn time_floor(&self, timestamp: i64) -> i64 {
        let floor = self.times.before(|entry| split_time(entry).0 <= timestamp).map(split_time);
        floor.map_or(self.base, |(_, relative)| self.base + relative)
    }

    /// The largest timestamp and the last offset of the first batch that has it.
    pub(crate) fn max(&self) -> Option<(i64, i64)> {
        self.max
    }

    /// Would a further entry make a file larger than this?
    pub(crate) fn is_full(&self, bytes_max: u32) -> bool {
        let bytes_max = bytes_max as usize;
        self.offsets.len() + OFFSET_ENTRY > bytes_max || self.times.len() + 2 * TIME_ENTRY > bytes_max
    }
}

fn split_offset(entry: &[u8; OFFSET_ENTRY]) -> (i64, u64) {
    let [a, b, c, d, e, f, g, h] = *entry;
    (i64::from(i32::from_be_bytes([a, b, c, d])), u64::from(u32::from_be_bytes([e, f, g, h])))
}

fn split_time(entry: &[u8; TIME_ENTRY]) -> (i64, i64) {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *entry;
    (i64::from_be_bytes([a, b, c, d, e, f, g, h]), i64::from(i32::from_be_bytes([i, j, k, l])))
}

/// Entries as they stand in the file: shared with its map until one is added.
#[derive(Debug, Default)]
pub(crate) struct Table<const N: usize> {
    held: Held,
    /// How much of it the file has; none if the file is missing, or another.
    saved: Option<usize>,
}

#[derive(Debug)]
enum Held {
    Shared(Bytes),
    Own(Vec<u8>),
}

impl Default for Held {
    fn default() -> Held {
        Held::Own(Vec::new())
    }
}

impl<const N: usize> Table<N> {
    pub(crate) fn load(bytes: Bytes) -> Option<Table<N>> {
        let saved = Some(bytes.len());
        bytes.len().is_multiple_of(N).then_some(Table { held: Held::Shared(bytes), saved })
    }

    fn bytes(&self) -> &[u8] {
        match &self.held {
            Held::Shared(bytes) => bytes,
            Held::Own(bytes) => bytes,
        }
    }

    pub(crate) fn entries(&self) -> &[[u8; N]] {
        self.bytes().as_chunks().0
    }

    /// The last entry of those that come first and satisfy `belongs`.
    fn before(&self, belongs: impl Fn(&[u8; N]) -> bool) -> Option<&[u8; N]> {
        let entries = self.entries();
        entries.partition_point(belongs).checked_sub(1).and_then(|last| entries.get(last))
    }

    /// Drops the entries from the first on that does not satisfy `belongs`.
    pub(crate) fn truncate(&mut self, belongs: impl Fn(&[u8; N]) -> bool) {
        let kept = self.entries().iter().take_while(|entry| belongs(entry)).count() * N;
        if kept < self.len() {
            let held = self.bytes().get(..kept).unwrap_or_default().to_vec();
            (self.held, self.saved) = (Held::Own(held), None);
        }
    }

    /// Drops the zeros that Kafka reserves at the end of an index it writes to, and leaves when it is killed.
    /// Alone, an entry of zeros may be meant.
    fn trim(&mut self) {
        let used = self.entries().iter().rposition(|entry| *entry != [0; N]).map_or(0, |last| last + 1);
        let count = self.entries().len();
        if used < count && count > 1 {
            let held = self.bytes().get(..used * N).unwrap_or_default().to_vec();
            (self.held, self.saved) = (Held::Own(held), None);
        }
    }

    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if let Held::Shared(bytes) = &self.held {
            self.held = Held::Own(bytes.to_vec());
        }
        if let Held::Own(bytes) = &mut self.held {
            write(bytes);
        }
    }

    /// What the file has cannot be relied on: it is to be replaced.
    pub(crate) fn lost(&mut self) {
        self.saved = None;
    }

    /// Bytes of the file, once it is written.
    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// What the file lacks, and at which position; no position if it has to be written again.
    pub(crate) fn unsaved(&self) -> (Option<u64>, &[u8]) {
        let rest = self.bytes().get(self.saved.unwrap_or(0)..).unwrap_or_default();
        (self.saved.map(|saved| saved as u64), rest)
    }

    /// The file has everything now.
    pub(crate) fn saved(&mut self) {
        self.saved = Some(self.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::BatchBuilder;

    /// Indexes of 100 batches of one offset each, `interval` 0, timestamps given by `time`.
    fn filled(interval: u32, time: impl Fn(i64) -> i64) -> (Indexes, u64) {
        let mut indexes = Indexes::new(1000);
        let mut position = 0;
        for n in 0..100 {
            let mut batch = BatchBuilder::new();
            batch.push(time(n), None, Some(b"x"), &[]);
            let header = Header { base_offset: 1000 + n, ..*batch.build().unwrap().header() };
            indexes.append(&header, position, interval);
            position += header.total_len() as u64;
        }
        (indexes, position)
    }

    #[test]
    fn an_entry_names_the_last_offset_and_the_beginning_of_its_batch() {
        let (indexes, size) = filled(0, |n| n);
        let each = size / 100;
        assert_eq!(indexes.floor(1000), Floor::default());
        assert_eq!(indexes.floor(1001), Floor { position: each, offset: Some(1001) });
        assert_eq!(indexes.floor(5000), Floor { position: 99 * each, offset: Some(1099) });
        assert_eq!(indexes.floor_position(5 * each - 1), Floor { position: 4 * each, offset: Some(1004) });
        assert_eq!(indexes.offsets.len(), 99 * 8);
    }

    #[test]
    fn entries_keep_their_distance() {
        let (indexes, size) = filled(4096, |n| n);
        assert_eq!(indexes.offsets.len() / 8, (size / (4096 + size / 100)) as usize);
    }

    #[test]
    fn time_entries_only_grow_and_the_last_is_written_when_sealed() {
        let (mut indexes, _) = filled(0, |n| if n == 50 { 500 } else { n });
        assert_eq!(indexes.max(), Some((500, 1050)));
        assert_eq!(indexes.times.len(), 50 * 12);
        assert_eq!(indexes.time_floor(0), 1000);
        assert_eq!(indexes.time_floor(7), 1007);
        assert_eq!(indexes.time_floor(499), 1049);
        assert_eq!(indexes.time_floor(500), 1050);
        indexes.finish();
        assert_eq!(indexes.times.len(), 50 * 12);
        let (mut late, _) = filled(1 << 20, |n| n);
        assert!(late.times.entries().is_empty());
        late.finish();
        assert_eq!(late.times.entries(), [[0, 0, 0, 0, 0, 0, 0, 99, 0, 0, 0, 99]]);
    }

    #[test]
    fn space_that_kafka_reserved_is_no_part_of_an_index() {
        let (mut indexes, size) = filled(0, |n| n);
        indexes.finish();
        let reserved = |bytes: &[u8], more: usize| Bytes::from([bytes, &vec![0; more]].concat());
        let (offsets, times) = (indexes.offsets.bytes(), indexes.times.bytes());
        let loaded =
            Indexes::load(1000, size, reserved(offsets, 8 * 1000), reserved(times, 12 * 1000)).unwrap();
        assert_eq!((loaded.offsets.bytes(), loaded.times.bytes()), (offsets, times));
        assert_eq!((loaded.max(), loaded.floor(1050)), (indexes.max(), indexes.floor(1050)));
        assert_eq!(loaded.offsets.unsaved(), (None, offsets), "the file is to be replaced");
        let empty = Indexes::load(1000, 0, reserved(&[], 8 * 1000), reserved(&[], 12 * 1000)).unwrap();
        assert_eq!((empty.offsets.len(), empty.times.len(), empty.max()), (0, 0, None));
    }

    #[test]
    fn files_that_cannot_be_indexes_are_refused() {
        let (indexes, size) = filled(0, |n| n);
        let (offsets, times) = (indexes.offsets.bytes().to_vec(), indexes.times.bytes().to_vec());
        let load = |size, offsets: &[u8], times: &[u8]| {
            Indexes::load(1000, size, Bytes::copy_from_slice(offsets), Bytes::copy_from_slice(times))
                .is_some()
        };
        assert!(load(size, &offsets, &times));
        assert!(load(size, &[], &[]));
        assert!(!load(size, &offsets[1..], &times));
        assert!(!load(size, &offsets, &times[1..]));
        assert!(!load(size / 2, &offsets, &times));
        assert!(!load(size, &[0xff; 8], &times));
        assert!(!load(size, &offsets, &[0xff; 12]));
    }
}
