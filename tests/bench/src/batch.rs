//! Record batches (format v2), made once and sent many times.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::wire::{Reader, Writer};

/// Bytes of a batch before its first record.
pub const HEADER: usize = 61;
const LENGTH: usize = 8;
const LEADER_EPOCH: usize = 12;
const MAGIC: usize = 16;
const CHECKSUM: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const SEQUENCE: usize = 53;
const RECORDS: usize = 57;
/// The bit of the attributes that says: part of a transaction.
const TRANSACTIONAL: u8 = 0x10;

/// One batch of `records` records without keys, whose values are `size` random bytes.
#[must_use]
pub fn encode(records: usize, size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for delta in 0..records {
        let mut record = vec![0];
        for value in [0, delta as i64, -1, size as i64] {
            varint(&mut record, value);
        }
        for _ in 0..size {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            record.extend_from_slice(&random.to_be_bytes()[..1]);
        }
        varint(&mut record, 0);
        varint(&mut body, record.len() as i64);
        body.append(&mut record);
    }
    // An old time would let the broker's retention take the batch while we measure.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since_epoch.as_millis()).unwrap_or(0);
    let mut batch = Vec::with_capacity(HEADER + body.len());
    batch.i64(0).length(HEADER - LEADER_EPOCH + body.len()).i32(-1).i8(2).i32(0);
    batch.i16(0).length(records - 1).i64(now).i64(now);
    batch.i64(-1).i16(-1).i32(-1).length(records);
    batch.append(&mut body);
    sign(&mut batch);
    batch
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Writes the checksum that belongs to the batch's content.
pub fn sign(batch: &mut [u8]) {
    let checksum = crc_fast::crc32_iscsi(&batch[ATTRIBUTES..]);
    batch[CHECKSUM..ATTRIBUTES].copy_from_slice(&checksum.to_be_bytes());
}

/// Whether these bytes begin with a whole batch whose checksum is right; if so, its length in bytes.
#[must_use]
pub fn checked_length(bytes: &[u8]) -> Option<usize> {
    let length = length(bytes)?;
    let expected = Reader::new(bytes, CHECKSUM).i32().cast_unsigned();
    let right = bytes[MAGIC] == 2 && crc_fast::crc32_iscsi(&bytes[ATTRIBUTES..length]) == expected;
    right.then_some(length)
}

/// The length of the whole batch that these bytes begin with, if they do.
#[must_use]
pub fn length(bytes: &[u8]) -> Option<usize> {
    let claimed = Reader::new(bytes.get(..HEADER)?, LENGTH).i32();
    let length = LENGTH + 4 + usize::try_from(claimed).ok()?;
    (HEADER..=bytes.len()).contains(&length).then_some(length)
}

/// The offset behind the last record of the batch.
#[must_use]
pub fn next_offset(batch: &[u8]) -> i64 {
    Reader::new(batch, 0).i64() + i64::from(Reader::new(batch, LAST_OFFSET_DELTA).i32()) + 1
}

/// Gives the batch its place in a log; base offset and leader epoch are outside of the checksum.
pub fn place(batch: &mut [u8], base_offset: i64) {
    batch[..LENGTH].copy_from_slice(&base_offset.to_be_bytes());
    batch[LEADER_EPOCH..MAGIC].fill(0);
}

/// Makes the batch part of its producer's transaction; `sequence` is the first record's.
pub fn belong(batch: &mut [u8], producer_id: i64, epoch: i16, sequence: usize) {
    batch[ATTRIBUTES + 1] |= TRANSACTIONAL;
    batch[PRODUCER_ID..PRODUCER_EPOCH].copy_from_slice(&producer_id.to_be_bytes());
    batch[PRODUCER_EPOCH..SEQUENCE].copy_from_slice(&epoch.to_be_bytes());
    batch[SEQUENCE..RECORDS].copy_from_slice(&(sequence as u32).to_be_bytes());
    sign(batch);
}

/// Writes a stamp over the first eight bytes of the first record's value.
pub fn stamp(batch: &mut [u8], stamp: u64) {
    let at = first_value(batch);
    batch[at..at + 8].copy_from_slice(&stamp.to_be_bytes());
    sign(batch);
}

/// The stamp of a batch.
#[must_use]
pub fn stamp_of(batch: &[u8]) -> u64 {
    Reader::new(batch, first_value(batch)).i64().cast_unsigned()
}

/// Where the first record's value begins: behind length, attributes, time and offset deltas, and the lengths
/// of no key and of the value.
fn first_value(batch: &[u8]) -> usize {
    let skip_varint = |at: usize| at + batch[at..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let attributes = skip_varint(HEADER);
    (0..4).fold(attributes + 1, |at, _| skip_varint(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_whole_and_keeps_its_stamp() {
        let mut batch = encode(3, 100);
        assert_eq!(checked_length(&batch), Some(batch.len()));
        stamp(&mut batch, 7);
        place(&mut batch, 40);
        assert_eq!(checked_length(&batch), Some(batch.len()));
        assert_eq!((stamp_of(&batch), next_offset(&batch)), (7, 43));
    }

    #[test]
    fn a_changed_byte_and_a_missing_byte_are_seen() {
        let mut batch = encode(1, 100);
        let last = batch.len() - 1;
        assert_eq!(length(&batch[..last]), None);
        batch[last] ^= 1;
        assert_eq!(checked_length(&batch), None);
    }
}
