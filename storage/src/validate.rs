//! What a producer may send: one partition's `records` of a Produce request, checked before it touches the
//! log.
//!
//! The rows of Kafka's table, in Kafka's order. Stricter on purpose in one: offset deltas must be 0..n-1
//! (Kafka renumbers compressed batches and never looks at the others). Records are walked where they lie;
//! nothing is allocated per record, and a compressed batch is read through a small window.

use std::fmt::Write;

use bytes::{Buf, Bytes};

use crate::batch::{self, HEADER_LEN, Header, Invalid, LENGTH_END, MAGIC, NO_TIMESTAMP, RECORD_ERRORS_MAX};
use crate::batch::{Refusal, TimestampType};
use crate::codec::Codec;
use crate::record::{Flaw, Records, timestamp};
use crate::scan::{Limits, Passed, Scan};

/// What a topic demands of a batch. Times in ms since the epoch.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `max.message.bytes`: the largest batch, as it came.
    pub max_message_bytes: usize,
    /// `segment.bytes`: a batch lies within one segment.
    pub segment_bytes: usize,
    /// Is `compact` in `cleanup.policy`? Then every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how old a record may say it is.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far in the future.
    pub after_max_ms: i64,
    /// How many bytes the records of a compressed batch may become. Ours: Kafka has no such limit.
    pub max_decompressed_bytes: usize,
    /// `max.decompressed.message.bytes` (Kafka 4.4): how many bytes one record of a compressed batch may be.
    pub max_decompressed_record_bytes: usize,
    /// False for clients from before zstd (Produce < 7).
    pub zstd_allowed: bool,
}

/// A batch that may be appended. Only [`validate`] and `BatchBuilder` make them.
#[derive(Clone, Debug)]
pub struct Checked {
    pub(crate) header: Header,
    pub(crate) body: Bytes,
}

impl Checked {
    /// The header; base offset and leader epoch are not set yet.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Everything after the header, still compressed.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Bytes it will take in the log.
    pub fn total_len(&self) -> usize {
        self.header.total_len()
    }

    /// Its records; offsets count from 0.
    pub fn records(&self) -> Result<Records, Invalid> {
        Records::of(&self.header, self.body.clone())
    }
}

/// Checks that `records` is exactly one batch that the topic's rules admit. Where the header's largest
/// timestamp is not the records' (or the broker's clock counts), the header is corrected and the CRC computed
/// again. In one go, however much the batch unpacks to: see [`Validation`].
pub fn validate(records: &Bytes, rules: &Rules, now_ms: i64) -> Result<Checked, Refusal> {
    let mut validation = Validation::begin(records, rules, now_ms)?;
    loop {
        if let Some(checked) = validation.advance(usize::MAX)? {
            return Ok(checked);
        }
    }
}

/// [`validate`] in steps, so that a batch that unpacks to a lot does not keep a thread from its other work.
/// May be moved to another thread between steps.
///
/// ```
/// # use braid_storage::{Checked, Refusal, Rules, Validation};
/// # fn pause() {}
/// # fn check(records: &bytes::Bytes, rules: &Rules, now_ms: i64) -> Result<Checked, Refusal> {
/// let mut validation = Validation::begin(records, rules, now_ms)?;
/// loop {
///     match validation.advance(1 << 20)? {
///         Some(checked) => return Ok(checked),
///         None => pause(),
///     }
/// }
/// # }
/// ```
pub struct Validation {
    header: Header,
    body: Bytes,
    scan: Scan,
    tally: Tally,
    segment_bytes: usize,
    now_ms: i64,
}

impl Validation {
    /// Checks the frame: length, CRC, header, and how compressed records are framed.
    pub fn begin(records: &Bytes, rules: &Rules, now_ms: i64) -> Result<Validation, Refusal> {
        let batch = only_batch(records)?;
        let header = check_frame(&batch, rules)?;
        check_header(&header, rules)?;
        let body = batch.slice(HEADER_LEN..);
        let limits =
            Limits { batch: rules.max_decompressed_bytes, record: rules.max_decompressed_record_bytes };
        let scan = Scan::new(&header, &body, limits).map_err(|(why, message)| Refusal::new(why, message))?;
        let tally = Tally::new(&header, rules, now_ms);
        Ok(Validation { header, body, scan, tally, segment_bytes: rules.segment_bytes, now_ms })
    }

    /// Checks records until about `budget_bytes` more uncompressed bytes have been seen (a snappy block
    /// counts whole, since it is decompressed whole). `None` if there are more. Not to be called again after
    /// it gave anything else.
    #[inline]
    pub fn advance(&mut self, budget_bytes: usize) -> Result<Option<Checked>, Refusal> {
        let Validation { scan, tally, .. } = self;
        let flaw = match scan.advance(budget_bytes, |record| tally.record(record)) {
            Ok(false) => return Ok(None),
            Ok(true) => Ok(()),
            Err(flaw) => Err(flaw),
        };
        tally.finish(flaw)?;
        self.finish().map(Some)
    }

    /// Bytes of memory that the steps need at most, beside the batch itself; none if it is not compressed.
    pub fn memory_bytes(&self) -> usize {
        self.scan.memory()
    }

    fn finish(&self) -> Result<Checked, Refusal> {
        let (mut header, body) = (self.header, self.body.clone());
        if header.total_len() > self.segment_bytes {
            let message =
                format!("the batch of {} bytes is larger than a segment may be", header.total_len());
            return Err(Refusal::new(Invalid::RecordListTooLarge, message));
        }
        let max_timestamp = self.tally.max_timestamp;
        match self.tally.timestamp_type {
            TimestampType::LogAppendTime => header.set_log_append_time(self.now_ms),
            TimestampType::CreateTime if header.max_timestamp == max_timestamp => {
                return Ok(Checked { header, body });
            }
            TimestampType::CreateTime => header.max_timestamp = max_timestamp,
        }
        header.crc = header.crc_with(&body);
        Ok(Checked { header, body })
    }
}

/// Cuts out the one batch. A torn second one is ignored, as Kafka does.
fn only_batch(records: &Bytes) -> Result<Bytes, Refusal> {
    let invalid = |message: &str| Err(Refusal::new(Invalid::InvalidRecord, message));
    let Some((length, magic)) = next_batch(records)? else {
        return invalid("a produce request must hold one record batch per partition, not none");
    };
    if magic != MAGIC {
        return invalid("only record batches of version 2 (magic 2) may be written");
    }
    let rest = records.slice(length..);
    match next_batch(&rest)? {
        Some(_) => invalid("a produce request must hold one record batch per partition, not more"),
        None => Ok(records.slice(..length)),
    }
}

/// Length and magic of the batch that `bytes` begins with, of any version, if it is all there.
fn next_batch(bytes: &[u8]) -> Result<Option<(usize, i8)>, Refusal> {
    /// A batch of version 0 is at least this long, without offset and length.
    const SMALLEST: i32 = 14;
    let Some(mut start) = bytes.get(8..17) else { return Ok(None) };
    let (length, _, magic) = (start.get_i32(), start.get_i32(), start.get_i8());
    let corrupt = |message| Err(Refusal::new(Invalid::Corrupt, message));
    match usize::try_from(length) {
        Ok(_) if length < SMALLEST => corrupt("the batch says that it is smaller than its header"),
        Err(_) => corrupt("the batch says that it has a negative length"),
        Ok(_) if !(0..=MAGIC).contains(&magic) => corrupt("the magic byte is not one of Kafka's"),
        Ok(length) => Ok(Some((length + LENGTH_END, magic)).filter(|(length, _)| *length <= bytes.len())),
    }
}

/// Size and checksum.
fn check_frame(batch: &Bytes, rules: &Rules) -> Result<Header, Refusal> {
    let corrupt = |message: &str| Refusal::new(Invalid::Corrupt, message);
    let base_offset = batch.as_ref().try_get_i64().map_err(|_| corrupt("the batch is too short"))?;
    if base_offset != 0 {
        return Err(Refusal::new(Invalid::InvalidRecord, "the base offset of a produced batch must be 0"));
    }
    if batch.len() > rules.max_message_bytes {
        let message =
            format!("the batch is {} bytes, the topic's maximum is {}", batch.len(), rules.max_message_bytes);
        return Err(Refusal::new(Invalid::TooLarge, message));
    }
    let header = Header::parse(batch).map_err(|_| corrupt("the batch is smaller than its header"))?;
    match batch::crc_matches(&header, batch) {
        true => Ok(header),
        false => Err(corrupt("the checksum of the batch does not match")),
    }
}

/// What the header says of itself.
fn check_header(header: &Header, rules: &Rules) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(Invalid::InvalidRecord, message));
    let count = header.records_count;
    if count <= 0 || header.last_offset_delta != count - 1 {
        return invalid("the record count does not match the offsets of the batch");
    }
    if header.is_control() {
        return invalid("clients may not write control batches");
    }
    if header.has_producer() && header.base_sequence < 0 {
        return invalid("a batch with a producer id needs a sequence number");
    }
    if header.log_append_time() {
        return Err(Refusal::new(
            Invalid::InvalidTimestamp,
            "producers may not set the timestamp type to LogAppendTime",
        ));
    }
    match header.codec() {
        None => invalid("the compression type is unknown"),
        Some(Codec::Zstd) if !rules.zstd_allowed => Err(Refusal::new(
            Invalid::UnsupportedCompression,
            "zstd needs a Produce request of version 7 or later",
        )),
        Some(_) => Ok(()),
    }
}

/// What is learnt while the records pass by.
struct Tally {
    header: Header,
    timestamp_type: TimestampType,
    compacted: bool,
    oldest: i64,
    newest: i64,
    next: i32,
    max_timestamp: i64,
    bad: Option<Refusal>,
}

const TOO_MANY_BAD: Flaw = (Invalid::InvalidRecord, "too many records are invalid");

impl Tally {
    fn new(header: &Header, rules: &Rules, now_ms: i64) -> Tally {
        let bounded = rules.timestamp_type == TimestampType::CreateTime;
        let oldest = if bounded { now_ms.saturating_sub(rules.before_max_ms) } else { i64::MIN };
        let newest = if bounded { now_ms.saturating_add(rules.after_max_ms) } else { i64::MAX };
        Tally {
            header: *header,
            timestamp_type: rules.timestamp_type,
            compacted: rules.compacted,
            oldest,
            newest,
            next: 0,
            max_timestamp: NO_TIMESTAMP,
            bad: None,
        }
    }

    #[inline]
    fn record(&mut self, record: Passed) -> Result<(), Flaw> {
        if record.offset_delta != self.next {
            return Err((Invalid::InvalidRecord, "the offsets of the records are not consecutive"));
        }
        if self.next == self.header.records_count {
            return Err((Invalid::InvalidRecord, "the batch holds more records than its header says"));
        }
        let timestamp = timestamp(&self.header, record.timestamp_delta);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let out_of_bounds = timestamp != NO_TIMESTAMP && !(self.oldest..=self.newest).contains(&timestamp);
        if out_of_bounds || (self.compacted && !record.has_key) {
            self.refuse(out_of_bounds.then_some(timestamp))?;
        }
        self.next += 1;
        Ok(())
    }

    /// Notes that the current record is bad: by its timestamp if given, otherwise by its missing key.
    #[cold]
    fn refuse(&mut self, timestamp: Option<i64>) -> Result<(), Flaw> {
        let (why, mut message) = match timestamp {
            Some(_) => (Invalid::InvalidTimestamp, String::from("the timestamp")),
            None => {
                (Invalid::InvalidRecord, String::from("a compacted topic takes no records without a key"))
            }
        };
        if let Some(timestamp) = timestamp {
            // Writing to a String cannot fail.
            let _ = write!(message, " {timestamp} is not within [{}, {}]", self.oldest, self.newest);
        }
        let bad = self.bad.get_or_insert_with(|| Refusal::new(why, "one or more records were rejected"));
        if bad.records.len() == RECORD_ERRORS_MAX {
            return Err(TOO_MANY_BAD);
        }
        bad.records.push((self.next, message));
        Ok(())
    }

    fn finish(&mut self, flaw: Result<(), Flaw>) -> Result<(), Refusal> {
        match (flaw, self.bad.take()) {
            (Err(TOO_MANY_BAD) | Ok(()), Some(bad)) => Err(bad),
            (Err((why, message)), _) => Err(Refusal::new(why, message)),
            (Ok(()), None) if self.next != self.header.records_count => Err(Refusal::new(
                Invalid::InvalidRecord,
                "the batch holds fewer records than its header says",
            )),
            (Ok(()), None) => Ok(()),
        }
    }
}
