//! The record batch, version 2: its 61-byte header, read in place and written back.
//!
//! `0 baseOffset i64 | 8 batchLength i32 (total - 12) | 12 partitionLeaderEpoch i32 | 16 magic i8 = 2
//! | 17 crc u32 | 21 attributes i16 | 23 lastOffsetDelta i32 | 27 baseTimestamp i64 | 35 maxTimestamp i64
//! | 43 producerId i64 | 51 producerEpoch i16 | 53 baseSequence i32 | 57 recordsCount i32 | 61 records`.
//! The CRC-32C covers 21 to the end, so that a broker sets base offset and leader epoch without computing it
//! again.

use bytes::{Buf, BufMut};

use crate::codec::Codec;

/// Bytes before the first record.
pub const HEADER_LEN: usize = 61;
/// Bytes before the part that `batchLength` counts: base offset and the length itself.
pub const LENGTH_END: usize = 12;
/// Bytes before the part that the CRC covers.
pub const CRC_END: usize = 21;
/// The only version of the format that is written.
pub const MAGIC: i8 = 2;
/// Bytes of the smallest message of format 0 behind its size: checksum, magic, attributes, two lengths.
const OLD_FORMAT_MIN: usize = 14;
/// The producer id of a batch that has none.
pub const NO_PRODUCER_ID: i64 = -1;
/// The sequence number of a batch that has none (no producer id, or a marker).
pub const NO_SEQUENCE: i32 = -1;
/// The timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = -1;

const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
pub(crate) const DELETE_HORIZON: i16 = 1 << 6;

/// What is wrong with a batch: one variant for each error code that Kafka answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Invalid {
    /// INVALID_RECORD (87): the batch or a record in it breaks the rules.
    #[error("invalid record")]
    InvalidRecord,
    /// CORRUPT_MESSAGE (2): not what was sent, or not a batch.
    #[error("corrupt message")]
    Corrupt,
    /// MESSAGE_TOO_LARGE (10): more than `max.message.bytes`, or more than we are willing to decompress.
    #[error("message too large")]
    TooLarge,
    /// RECORD_LIST_TOO_LARGE (18): does not fit in a segment.
    #[error("record list too large")]
    RecordListTooLarge,
    /// INVALID_TIMESTAMP (32): outside the topic's bounds, or of a type that clients may not set.
    #[error("invalid timestamp")]
    InvalidTimestamp,
    /// UNSUPPORTED_COMPRESSION_TYPE (76): zstd from a client too old to know it.
    #[error("unsupported compression type")]
    UnsupportedCompression,
}

/// Why a producer's batch was refused: an answer, in words that the client shows to a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Which error code.
    pub why: Invalid,
    /// The sentence for the answer's `error_message`.
    pub message: String,
    /// The records at fault by their index in the batch, for `RecordErrors` (KIP-467). Empty if it is the
    /// batch; at most [`RECORD_ERRORS_MAX`].
    pub records: Vec<(i32, String)>,
}

/// How many records a [`Refusal`] names at most.
pub const RECORD_ERRORS_MAX: usize = 100;

impl Refusal {
    /// A refusal of the batch as a whole.
    pub fn new(why: Invalid, message: impl Into<String>) -> Refusal {
        Refusal { why, message: message.into(), records: Vec::new() }
    }
}

/// Whose clock a topic's timestamps come from (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// The broker's, at append.
    LogAppendTime,
}

/// The fixed part of a batch. Field names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record (before compaction).
    pub base_offset: i64,
    /// Bytes after this field, so the whole batch less 12.
    pub batch_length: i32,
    /// Epoch of the leader that appended it.
    pub partition_leader_epoch: i32,
    /// Version of the format: 2.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec and flags; see the methods.
    pub attributes: i16,
    /// Offset of the last record less the base offset; survives compaction.
    pub last_offset_delta: i32,
    /// What the records' timestamps count from, ms since the epoch.
    pub base_timestamp: i64,
    /// The largest timestamp of the records, or the time of the append.
    pub max_timestamp: i64,
    /// The idempotent producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// How many records there are.
    pub records_count: i32,
}

/// Bytes of a message of format 0 or 1 that `bytes` may begin with, by its length: `offset i64 | size i32 |
/// crc u32 | magic i8`. The CRC is that of zlib, over what follows it.
pub fn old_format_len(bytes: &[u8]) -> Option<usize> {
    let magic = *bytes.get(16)?;
    let size =
        bytes.get(8..12).and_then(|size| usize::try_from(i32::from_be_bytes(size.try_into().ok()?)).ok())?;
    (magic < MAGIC as u8 && size >= OLD_FORMAT_MIN).then_some(LENGTH_END + size)
}

/// Whether a message of format 0 or 1 is whole: its CRC matches.
pub fn is_old_format(message: &[u8]) -> bool {
    let (Some(crc), Some(rest)) = (message.get(12..16), message.get(16..)) else { return false };
    let mut sum = flate2::Crc::new();
    sum.update(rest);
    sum.sum().to_be_bytes() == crc
}

impl Header {
    /// Reads the header at the start of `bytes`. Refuses (as corrupt) fewer than 61 bytes, another magic, and
    /// a length too small for a header; does not look at the CRC, nor whether the rest of the batch is there.
    pub fn parse(bytes: &[u8]) -> Result<Header, Invalid> {
        let mut at: &[u8] = bytes.first_chunk::<HEADER_LEN>().ok_or(Invalid::Corrupt)?;
        let header = Header {
            base_offset: at.get_i64(),
            batch_length: at.get_i32(),
            partition_leader_epoch: at.get_i32(),
            magic: at.get_i8(),
            crc: at.get_u32(),
            attributes: at.get_i16(),
            last_offset_delta: at.get_i32(),
            base_timestamp: at.get_i64(),
            max_timestamp: at.get_i64(),
            producer_id: at.get_i64(),
            producer_epoch: at.get_i16(),
            base_sequence: at.get_i32(),
            records_count: at.get_i32(),
        };
        let long_enough = header.batch_length >= (HEADER_LEN - LENGTH_END) as i32;
        if header.magic == MAGIC && long_enough { Ok(header) } else { Err(Invalid::Corrupt) }
    }

    /// The 61 bytes as they stand in the log.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut at = &mut bytes[..];
        at.put_i64(self.base_offset);
        at.put_i32(self.batch_length);
        at.put_i32(self.partition_leader_epoch);
        at.put_i8(self.magic);
        at.put_u32(self.crc);
        at.put_i16(self.attributes);
        at.put_i32(self.last_offset_delta);
        at.put_i64(self.base_timestamp);
        at.put_i64(self.max_timestamp);
        at.put_i64(self.producer_id);
        at.put_i16(self.producer_epoch);
        at.put_i32(self.base_sequence);
        at.put_i32(self.records_count);
        bytes
    }

    /// Bytes of the whole batch, header included.
    pub fn total_len(&self) -> usize {
        usize::try_from(self.batch_length).unwrap_or(0) + LENGTH_END
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the last.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the last record; the numbers wrap from `i32::MAX` to 0. -1 if there are none.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// How the records are compressed; `None` if by nothing that we know.
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_attributes(self.attributes)
    }

    /// Was it appended within a transaction?
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Is it a marker (of a transaction, mostly) and not data?
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Are all its records as old as `max_timestamp` says, whatever they say themselves?
    pub fn log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Does `base_timestamp` hold the time after which tombstones and markers may go (KIP-534)?
    pub fn delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    /// Does it carry a producer id?
    pub fn has_producer(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// The CRC-32C that a batch of this header and `body` must carry.
    pub fn crc_with(&self, body: &[u8]) -> u32 {
        let bytes = self.encode();
        let covered = bytes.get(CRC_END..).unwrap_or_default();
        crc32c::crc32c_append(crc32c::crc32c(covered), body)
    }

    /// The attribute bits for these properties.
    pub(crate) fn attributes_of(
        codec: Codec,
        log_append_time: bool,
        transactional: bool,
        control: bool,
    ) -> i16 {
        let bit = |on: bool, bit: i16| if on { bit } else { 0 };
        codec as i16
            | bit(log_append_time, LOG_APPEND_TIME)
            | bit(transactional, TRANSACTIONAL)
            | bit(control, CONTROL)
    }

    /// Says that the broker's clock counts: every record is as old as `now_ms`.
    pub(crate) fn set_log_append_time(&mut self, now_ms: i64) {
        self.attributes |= LOG_APPEND_TIME;
        self.max_timestamp = now_ms;
    }
}

/// Is the CRC of this batch (header and records, nothing else) right?
pub fn crc_matches(header: &Header, batch: &[u8]) -> bool {
    batch.get(CRC_END..).is_some_and(|covered| crc32c::crc32c(covered) == header.crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header {
            base_offset: 1,
            batch_length: 49,
            partition_leader_epoch: 3,
            magic: 2,
            crc: 5,
            attributes: 0,
            last_offset_delta: 7,
            base_timestamp: 8,
            max_timestamp: 9,
            producer_id: 10,
            producer_epoch: 11,
            base_sequence: 12,
            records_count: 8,
        }
    }

    #[test]
    fn a_header_reads_back_as_written_and_every_field_has_its_place() {
        let header = sample();
        let bytes = header.encode();
        assert_eq!(Header::parse(&bytes), Ok(header));
        let at =
            |range: std::ops::Range<usize>| bytes[range].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        let fields = [at(0..8), at(8..12), at(12..16), at(16..17), at(17..21), at(21..23), at(23..27)];
        assert_eq!(fields, [1, 49, 3, 2, 5, 0, 7]);
        assert_eq!(
            [at(27..35), at(35..43), at(43..51), at(51..53), at(53..57), at(57..61)],
            [8, 9, 10, 11, 12, 8]
        );
    }

    #[test]
    fn a_header_that_cannot_be_one_is_corrupt() {
        for cut in 0..HEADER_LEN {
            assert_eq!(Header::parse(&sample().encode()[..cut]), Err(Invalid::Corrupt));
        }
        assert_eq!(Header::parse(&Header { magic: 1, ..sample() }.encode()), Err(Invalid::Corrupt));
        assert_eq!(Header::parse(&Header { batch_length: 48, ..sample() }.encode()), Err(Invalid::Corrupt));
        assert_eq!(
            Header::parse(&Header { batch_length: i32::MIN, ..sample() }.encode()),
            Err(Invalid::Corrupt)
        );
    }

    #[test]
    fn sequence_numbers_wrap_to_zero() {
        let last = |base, delta| {
            Header { base_sequence: base, last_offset_delta: delta, ..sample() }.last_sequence()
        };
        assert_eq!(last(0, 4), 4);
        assert_eq!(last(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(last(i32::MAX, 1), 0);
        assert_eq!(last(i32::MAX - 1, 4), 2);
        assert_eq!(last(-1, 4), -1);
    }
}
