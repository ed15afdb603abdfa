//! A segment's file, batch by batch, in one pass.

use std::fs;
use std::io::{self, BufReader, Read};
use std::path::Path;

use braid_storage::batch::{HEADER_LEN, crc_matches, is_old_format, old_format_len};
use braid_storage::{Codec, Header, Invalid, Record, readable, records};
use bytes::Bytes;

/// How much is read at a time.
const BUFFER: usize = 1 << 20;

/// A whole batch.
pub(super) struct Batch {
    pub(super) header: Header,
    /// Header and records.
    pub(super) bytes: Bytes,
    /// Where it begins in the file.
    pub(super) position: u64,
}

/// Why the walk ended before the file did.
#[derive(Debug)]
pub(super) enum Stop {
    /// What a crash leaves behind: a batch that is not whole, or zeros.
    Torn(&'static str),
    /// A message of before Kafka 0.11, or of a topic with `message.format.version` before that.
    OldFormat,
    /// Anything else that is not a batch.
    NotABatch,
    /// The disk.
    Io(io::Error),
}

/// See the file's header.
pub(super) struct Walk {
    reader: BufReader<fs::File>,
    position: u64,
    len: u64,
}

impl Walk {
    /// Begins at the file's first byte.
    pub(super) fn open(path: &Path) -> io::Result<Walk> {
        let file = fs::File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Walk { reader: BufReader::with_capacity(BUFFER, file), position: 0, len })
    }

    /// Where the next batch begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that were not read as batches.
    pub(super) fn left(&self) -> u64 {
        self.len.saturating_sub(self.position)
    }

    /// The next batch; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Batch>, Stop> {
        if self.left() == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; self.left().min(HEADER_LEN as u64) as usize];
        self.reader.read_exact(&mut bytes).map_err(Stop::Io)?;
        let Ok(header) = Header::parse(&bytes) else {
            if self.is_old_format(&bytes).map_err(Stop::Io)? {
                return Err(Stop::OldFormat);
            }
            if bytes.len() < HEADER_LEN {
                return Err(Stop::Torn("the file ends within a batch's header"));
            }
            let zeros = bytes.iter().all(|byte| *byte == 0) && self.only_zeros().map_err(Stop::Io)?;
            return Err(if zeros { Stop::Torn("zeros to the end of the file") } else { Stop::NotABatch });
        };
        // Bounds the allocation: not more than the file has.
        if header.total_len() as u64 > self.left() {
            return Err(Stop::Torn("the file ends within a batch"));
        }
        bytes.resize(header.total_len(), 0);
        self.reader.read_exact(bytes.get_mut(HEADER_LEN..).unwrap_or_default()).map_err(Stop::Io)?;
        let batch = Batch { header, bytes: bytes.into(), position: self.position };
        self.position += batch.bytes.len() as u64;
        Ok(Some(batch))
    }

    /// Do these bytes, which were read, begin a whole message of format 0 or 1?
    fn is_old_format(&mut self, begin: &[u8]) -> io::Result<bool> {
        let Some(len) = old_format_len(begin).filter(|len| *len as u64 <= self.left()) else {
            return Ok(false);
        };
        let mut message = begin.to_vec();
        message.resize(len, 0);
        self.reader.read_exact(message.get_mut(begin.len()..).unwrap_or_default())?;
        Ok(is_old_format(&message))
    }

    /// Is the rest of the file nothing but zeros?
    fn only_zeros(&mut self) -> io::Result<bool> {
        let mut chunk = vec![0; 64 << 10];
        loop {
            match self.reader.read(&mut chunk)? {
                0 => return Ok(true),
                n if chunk.iter().take(n).any(|byte| *byte != 0) => return Ok(false),
                _ => {}
            }
        }
    }
}

impl Stop {
    /// The sentence for people.
    pub(super) fn what(&self) -> String {
        match self {
            Stop::Torn(what) => (*what).to_owned(),
            Stop::OldFormat => "message format 0 or 1, which is not supported".to_owned(),
            Stop::NotABatch => "not a record batch of version 2".to_owned(),
            Stop::Io(error) => format!("cannot be read: {error}"),
        }
    }
}

impl Batch {
    /// Is the CRC right?
    pub(super) fn crc_valid(&self) -> bool {
        crc_matches(&self.header, &self.bytes)
    }

    /// Visits every record. The error says what is wrong with one, or with all of them together.
    pub(super) fn records(&self, mut visit: impl FnMut(&Record)) -> Result<(), String> {
        let header = &self.header;
        let words = |why: Invalid| format!("its records cannot be read: {why}");
        let (mut count, mut next) = (0i64, header.base_offset);
        for record in records(&self.bytes).map_err(words)? {
            let record = record.map_err(words)?;
            if record.offset < next || record.offset > header.last_offset() {
                return Err(format!("record offset {} is out of order or outside the batch", record.offset));
            }
            if record.timestamp > header.max_timestamp {
                return Err(format!("record {} is newer than the batch's largest timestamp", record.offset));
            }
            visit(&record);
            (count, next) = (count + 1, record.offset.saturating_add(1));
        }
        let claimed = i64::from(header.records_count);
        if count == claimed { Ok(()) } else { Err(format!("it has {count} records, not {claimed}")) }
    }

    /// What no client gets beyond, and what can be done about it. Only a compressed batch can be right for us
    /// and not for them.
    pub(super) fn poison(&self) -> Option<String> {
        let sound = self.header.base_offset >= 0 && self.header.last_offset_delta >= 0 && self.crc_valid();
        if !sound || self.header.codec() == Some(Codec::None) {
            return None;
        }
        let why = readable(&self.bytes).err()?;
        let next = self.header.next_offset();
        let then = format!("seek them to {next}, or delete the records below {next} (kafka-delete-records)");
        Some(format!("consumers cannot read the batch and stop at it ({why}): {then}"))
    }

    /// What is wrong with it, if anything.
    pub(super) fn flaw(&self) -> Option<String> {
        if !self.crc_valid() {
            return Some("the batch's CRC is wrong".to_owned());
        }
        if self.header.base_offset < 0 || self.header.last_offset_delta < 0 {
            return Some("the batch's offsets are negative".to_owned());
        }
        self.records(|_| {}).err()
    }
}
