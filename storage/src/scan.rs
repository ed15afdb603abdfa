//! The records of a batch as they pass by, with a limit on how many bytes pass at a time.
//!
//! Nothing is allocated per record, and no record is held whole: of one that is larger than half of the
//! buffer, keys, values and headers are skipped as they come.

use std::io::Read;

use bytes::{Buf, Bytes};

use crate::batch::{HEADER_LEN, Header, Invalid};
use crate::codec::{Codec, Strict};
use crate::record::{Flaw, MALFORMED, Parts, TOO_MUCH, UNPACKABLE, varint, varlong};

const BUFFER: usize = 16 << 10;
/// A record that is longer, and not all there yet, is taken apart as it comes.
const LARGE: usize = BUFFER / 2;
/// Fewer bytes at a time are not worth a pause.
const BUDGET_MIN: usize = 2 * BUFFER;
/// Bytes of the longest varint that is a record's length.
const LENGTH_MAX: usize = 5;
/// Bytes of the longest run of numbers between two things to skip: attributes, timestamp and offset delta,
/// and the key's length.
const NUMBERS_MAX: usize = 1 + 10 + 5 + 5;

const RECORD_TOO_LARGE: Flaw = (Invalid::InvalidRecord, "a record is too large when decompressed");

/// How large what was compressed may become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// All records of a batch together.
    pub(crate) batch: usize,
    /// One record.
    pub(crate) record: usize,
}

/// What is kept of a record.
#[derive(Clone, Copy, Default)]
pub(crate) struct Passed {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) has_key: bool,
}

impl From<Parts<'_>> for Passed {
    #[inline]
    fn from(parts: Parts<'_>) -> Passed {
        let Parts { timestamp_delta, offset_delta, key, .. } = parts;
        Passed { timestamp_delta, offset_delta, has_key: key.is_some() }
    }
}

/// See the file's header.
pub(crate) struct Scan {
    source: Source,
    large: Option<Large>,
}

enum Source {
    Plain(Bytes),
    Packed(Box<Packed>),
}

impl Scan {
    /// Fails if the frame around compressed records is not what every client reads, or states a size above
    /// the limit.
    pub(crate) fn new(header: &Header, body: &Bytes, limits: Limits) -> Result<Scan, Flaw> {
        let source =
            match header.codec().ok_or((Invalid::InvalidRecord, "the compression type is unknown"))? {
                Codec::None => Source::Plain(body.clone()),
                codec => {
                    let strict = codec.strict(body).map_err(|defect| (Invalid::InvalidRecord, defect))?;
                    if strict.shape.unpacked.is_some_and(|bytes| bytes > limits.batch as u64) {
                        return Err(TOO_MUCH);
                    }
                    Source::Packed(Box::new(Packed::new(strict, limits)))
                }
            };
        Ok(Scan { source, large: None })
    }

    /// Bytes held until the scan is dropped, at most.
    pub(crate) fn memory(&self) -> usize {
        match &self.source {
            Source::Plain(_) => 0,
            Source::Packed(packed) => packed.memory,
        }
    }

    /// Calls `visit` with each record, until about `budget` more uncompressed bytes have passed. True at the
    /// end. Stops at the first flaw.
    #[inline]
    pub(crate) fn advance(
        &mut self,
        budget: usize,
        mut visit: impl FnMut(Passed) -> Result<(), Flaw>,
    ) -> Result<bool, Flaw> {
        let budget = budget.max(BUDGET_MIN);
        match &mut self.source {
            // The usual case, without what only parts need.
            Source::Plain(body) if body.len() <= budget && self.large.is_none() => {
                take_all(body, visit).map(|()| true)
            }
            Source::Plain(body) => {
                let portion: &[u8] = body.get(..budget).unwrap_or(body);
                let last = portion.len() == body.len();
                let rest = take(portion, last, usize::MAX, &mut self.large, &mut visit)?;
                let passed = portion.len() - rest;
                body.advance(passed);
                Ok(last)
            }
            Source::Packed(packed) => packed.advance(budget, &mut self.large, &mut visit),
        }
    }
}

/// Can every client read the records of this batch (header included)? What the log has from before its frames
/// were checked may be such that they cannot. The error says what is wrong. Does not check the CRC.
pub fn readable(batch: &Bytes) -> Result<(), &'static str> {
    let header = Header::parse(batch).map_err(|_| "it is not a batch")?;
    let body = batch.get(HEADER_LEN..header.total_len()).ok_or("the batch is not whole")?;
    let limits = Limits { batch: usize::MAX, record: usize::MAX };
    let mut scan = Scan::new(&header, &batch.slice_ref(body), limits).map_err(|flaw| flaw.1)?;
    let mut count = 0;
    let mut visit = |_| {
        count += 1;
        Ok(())
    };
    while !scan.advance(usize::MAX, &mut visit).map_err(|flaw| flaw.1)? {}
    match count == i64::from(header.records_count) {
        true => Ok(()),
        false => Err("the batch does not hold as many records as its header says"),
    }
}

/// Takes all records of `bytes`, which hold nothing else.
#[inline]
fn take_all(mut bytes: &[u8], mut visit: impl FnMut(Passed) -> Result<(), Flaw>) -> Result<(), Flaw> {
    while !bytes.is_empty() {
        let length = varint(&mut bytes).and_then(|length| usize::try_from(length).ok());
        let record = length.and_then(|length| bytes.split_off(..length)).ok_or(MALFORMED)?;
        visit(Parts::parse(record).ok_or(MALFORMED)?.into())?;
    }
    Ok(())
}

/// Takes records off the front of `bytes`; how many bytes are left, which more have to follow. `last`: none
/// do.
#[inline]
fn take(
    mut bytes: &[u8],
    last: bool,
    record_max: usize,
    large: &mut Option<Large>,
    visit: &mut impl FnMut(Passed) -> Result<(), Flaw>,
) -> Result<usize, Flaw> {
    loop {
        if let Some(begun) = large {
            match begun.take(&mut bytes)? {
                Some(passed) => visit(passed)?,
                None if last => return Err(MALFORMED),
                None => return Ok(bytes.len()),
            }
            *large = None;
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        let mut rest = bytes;
        let Some(length) = varint(&mut rest) else {
            return if last || bytes.len() >= LENGTH_MAX { Err(MALFORMED) } else { Ok(bytes.len()) };
        };
        let length = usize::try_from(length).map_err(|_| MALFORMED)?;
        if length > record_max {
            return Err(RECORD_TOO_LARGE);
        }
        match rest.split_off(..length) {
            Some(record) => visit(Parts::parse(record).ok_or(MALFORMED)?.into())?,
            None if last => return Err(MALFORMED),
            None if length > LARGE => *large = Some(Large::new(length)),
            None => return Ok(bytes.len()),
        }
        bytes = rest;
    }
}

/// A compressed body, seen through a small buffer.
struct Packed {
    source: Box<dyn Read + Send>,
    memory: usize,
    record_max: usize,
    buffer: Vec<u8>,
    /// How much of the buffer is filled and has not passed.
    filled: usize,
    /// How much more may come.
    left: usize,
}

impl Packed {
    fn new(strict: Strict, limits: Limits) -> Packed {
        Packed {
            source: strict.reader,
            memory: strict.shape.memory.saturating_add(BUFFER),
            record_max: limits.record,
            buffer: vec![0; BUFFER],
            filled: 0,
            left: limits.batch,
        }
    }

    fn advance(
        &mut self,
        budget: usize,
        large: &mut Option<Large>,
        visit: &mut impl FnMut(Passed) -> Result<(), Flaw>,
    ) -> Result<bool, Flaw> {
        let mut passed = 0;
        while passed < budget {
            let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
            let read = self.source.read(room).map_err(|_| UNPACKABLE)?;
            self.left = self.left.checked_sub(read).ok_or(TOO_MUCH)?;
            passed += read;
            let end = self.filled + read;
            let bytes = self.buffer.get(..end).unwrap_or_default();
            self.filled = take(bytes, read == 0, self.record_max, large, visit)?;
            if read == 0 {
                return Ok(true);
            }
            self.buffer.copy_within(end - self.filled..end, 0);
        }
        Ok(false)
    }
}

/// A large record that has begun.
struct Large {
    /// Bytes of the record that have not passed.
    left: usize,
    /// How many of those are to be skipped first.
    skip: usize,
    next: Next,
    passed: Passed,
}

/// The numbers that come next in a record.
enum Next {
    /// From the attributes to the key's length.
    Key,
    /// The value's length.
    Value,
    HeaderCount,
    /// A header's name and value, this often.
    HeaderName(i32),
    HeaderValue(i32),
}

impl Large {
    fn new(length: usize) -> Large {
        Large { left: length, skip: 0, next: Next::Key, passed: Passed::default() }
    }

    /// Takes off what belongs to the record. `None`: more is needed.
    fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Passed>, Flaw> {
        loop {
            let skipped = self.skip.min(bytes.len());
            bytes.advance(skipped);
            self.skip -= skipped;
            self.left -= skipped;
            if self.skip > 0 {
                return Ok(None);
            }
            if let Next::HeaderName(0) = self.next {
                return if self.left == 0 { Ok(Some(self.passed)) } else { Err(MALFORMED) };
            }
            let there = bytes.get(..self.left).unwrap_or(bytes);
            let mut rest = there;
            match self.numbers(&mut rest) {
                Some(()) => {
                    let read = there.len() - rest.len();
                    bytes.advance(read);
                    self.left -= read;
                    if self.skip > self.left {
                        return Err(MALFORMED);
                    }
                }
                None if there.len() == self.left || there.len() >= NUMBERS_MAX => return Err(MALFORMED),
                None => return Ok(None),
            }
        }
    }

    /// Reads the next numbers. `None`, and nothing has changed, if they are malformed or not all there.
    fn numbers(&mut self, at: &mut &[u8]) -> Option<()> {
        let next = match self.next {
            Next::Key => {
                at.split_off_first()?; // attributes: unused
                let (timestamp_delta, offset_delta) = (varlong(at)?, varint(at)?);
                let key = length(at)?;
                self.passed = Passed { timestamp_delta, offset_delta, has_key: key.is_some() };
                self.skip = key.unwrap_or(0);
                Next::Value
            }
            Next::Value => {
                self.skip = length(at)?.unwrap_or(0);
                Next::HeaderCount
            }
            Next::HeaderCount => Next::HeaderName(varint(at).filter(|count| *count >= 0)?),
            Next::HeaderName(more) => {
                self.skip = length(at)??;
                Next::HeaderValue(more)
            }
            Next::HeaderValue(more) => {
                self.skip = length(at)?.unwrap_or(0);
                Next::HeaderName(more - 1)
            }
        };
        self.next = next;
        Some(())
    }
}

/// A length, -1 for null; the outer `None` is malformed.
fn length(at: &mut &[u8]) -> Option<Option<usize>> {
    match varint(at)? {
        -1 => Some(None),
        length => usize::try_from(length).ok().map(Some),
    }
}
