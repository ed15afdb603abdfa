//! `braid dump FILE`: what is in one file of a data folder, in the words of Kafka's kafka-dump-log.
//!
//! Not done: what the records of `__consumer_offsets` mean (`--offsets-decoder`); kafka-dump-log reads ours.

use std::io::Write;
use std::path::Path;

use braid_storage::batch::NO_SEQUENCE;
use braid_storage::checkpoint::{self, MetaProperties};
use braid_storage::codec::Codec;
use braid_storage::epochs::Epochs;
use braid_storage::{Header, Record};
use bytes::{Buf, Bytes};

use super::Failure;
use super::entries::{self, Entry, OffsetEntry, ProducerEntry, Table, TimeEntry, TxnEntry};
use super::finding::Finding;
use super::folder::{CLEANED, of_error, read_offsets, segment_file};
use super::read_only::ReadOnly;
use super::walk::{Batch, Walk};

/// What a file's name may end with and mean the same file.
const SUFFIXES: [&str; 3] = [".deleted", ".cleaned", ".swap"];

/// Prints a file on `out`: its kind is told by its name. With `with_records` every record of a `.log` too.
/// True if nothing is wrong with it; what is wrong is the last line. The error is for people.
pub fn dump(path: &Path, with_records: bool, out: &mut dyn Write) -> Result<bool, Failure> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    let wrong = match (segment_file(name), name) {
        (Some((base, "log")), _) => log(path, base, with_records, out)?,
        (Some((base, "index")), _) => table(path, &read(path)?, base, out, offset_line)?,
        (Some((base, "timeindex")), _) => table(path, &read(path)?, base, out, time_line)?,
        (Some((base, "txnindex")), _) => table(path, &read(path)?, base, out, txn_line)?,
        (Some((_, "snapshot")), _) => rows(entries::snapshot(path, &read(path)?), out, producer_line)?,
        (_, "leader-epoch-checkpoint") => epochs(path, &read(path)?, out)?,
        (_, checkpoint::RECOVERY_POINTS | checkpoint::LOG_STARTS | checkpoint::HIGH_WATERMARKS | CLEANED) => {
            offsets(path, out)?
        }
        (_, checkpoint::PARTITION_METADATA) => topic_id(path, out)?,
        (_, checkpoint::META_PROPERTIES) => meta(path, out)?,
        _ => return Err(unknown(path).into()),
    };
    for finding in &wrong {
        writeln!(out, "{finding}")?;
    }
    Ok(wrong.is_empty())
}

fn unknown(path: &Path) -> String {
    let known = "00000000000000000000.log, .index, .timeindex, .txnindex, .snapshot, \
                 leader-epoch-checkpoint, partition.metadata, meta.properties, a checkpoint of offsets";
    format!("{}: a file's name tells what is in it, and this is none of {known}", path.display())
}

fn read(path: &Path) -> Result<Bytes, String> {
    let missing = || format!("{}: there is no such file", path.display());
    checkpoint::read(&ReadOnly, path).map_err(|error| error.to_string())?.ok_or_else(missing)
}

/// The first flaw only, except that a batch of the right length with wrong contents is passed over.
fn log(path: &Path, base: i64, with_records: bool, out: &mut dyn Write) -> Result<Vec<Finding>, Failure> {
    let mut walk = Walk::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (mut wrong, mut next) = (Vec::new(), base);
    loop {
        let batch = match walk.next() {
            Ok(None) => return Ok(wrong),
            Ok(Some(batch)) => batch,
            Err(stop) => {
                let what = format!("{} ({} bytes behind it)", stop.what(), walk.left());
                wrong.push(Finding::new(path, what).offset(next).position(walk.position()));
                return Ok(wrong);
            }
        };
        let valid = batch.crc_valid();
        writeln!(out, "{}", batch_line(&batch, valid))?;
        let here = |what: String| Finding::new(path, what).offset(next).position(batch.position);
        if !valid {
            wrong.push(here("the batch's CRC is wrong".to_owned()));
            continue;
        }
        if batch.header.base_offset < next {
            wrong.push(here(format!("the batch begins at {}", batch.header.base_offset)));
        }
        let mut lines = Vec::new();
        let read = batch.records(|record| {
            if with_records {
                lines.push(record_line(&batch.header, record));
            }
        });
        wrong.extend(read.err().map(here));
        for line in lines {
            writeln!(out, "{line}")?;
        }
        next = batch.header.next_offset().max(next);
    }
}

fn batch_line(batch: &Batch, valid: bool) -> String {
    let header = &batch.header;
    let codec = match header.codec() {
        Some(Codec::None) => "none",
        Some(Codec::Gzip) => "gzip",
        Some(Codec::Snappy) => "snappy",
        Some(Codec::Lz4) => "lz4",
        Some(Codec::Zstd) => "zstd",
        None => "unknown",
    };
    let horizon = match header.delete_horizon() {
        true => header.base_timestamp.to_string(),
        false => "none".to_owned(),
    };
    format!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} \
         producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} \
         deleteHorizonMs: {horizon} position: {} {}: {} \
         size: {} magic: {} compresscodec: {codec} crc: {} isvalid: {valid}",
        header.base_offset,
        header.last_offset(),
        header.records_count,
        header.base_sequence,
        header.last_sequence(),
        header.producer_id,
        header.producer_epoch,
        header.partition_leader_epoch,
        header.is_transactional(),
        header.is_control(),
        batch.position,
        clock(header),
        header.max_timestamp,
        header.total_len(),
        header.magic,
        header.crc,
    )
}

fn clock(header: &Header) -> &'static str {
    if header.log_append_time() { "LogAppendTime" } else { "CreateTime" }
}

fn record_line(header: &Header, record: &Record) -> String {
    let mut line = format!("| offset: {} {}: {}", record.offset, clock(header), record.timestamp);
    if header.base_sequence != NO_SEQUENCE {
        let delta = record.offset.saturating_sub(header.base_offset) as i32;
        line += &format!(" sequence: {}", header.base_sequence.wrapping_add(delta) & i32::MAX);
    }
    if header.is_control() {
        return line + &marker(record);
    }
    line += &format!(" key: {} value: {}", text(record.key.as_ref()), text(record.value.as_ref()));
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(name, value)| format!("{}: {}", text(Some(name)), text(value.as_ref())))
        .collect();
    if headers.is_empty() { line } else { line + &format!(" headers: [{}]", headers.join(", ")) }
}

/// A control record: the end of a transaction, in words; others by their type (KIP-98).
fn marker(record: &Record) -> String {
    let key = record.key.as_deref().and_then(|key| key.get(2..4));
    let kind = key.and_then(|mut kind| kind.try_get_i16().ok());
    let value = record.value.as_deref().and_then(|value| value.get(2..6));
    let epoch = value.and_then(|mut epoch| epoch.try_get_i32().ok()).unwrap_or(-1);
    match kind {
        Some(0) => format!(" endTxnMarker: ABORT coordinatorEpoch: {epoch}"),
        Some(1) => format!(" endTxnMarker: COMMIT coordinatorEpoch: {epoch}"),
        Some(other) => format!(" controlType: {other}"),
        None => " controlType: unreadable".to_owned(),
    }
}

/// In quotes, with escapes for what cannot be shown; null without quotes.
fn text(bytes: Option<&Bytes>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "null".to_owned(),
        Some((_, Ok(text))) => format!("{text:?}"),
        Some((bytes, Err(_))) => format!("\"{}\"", bytes.escape_ascii()),
    }
}

fn table<E: Entry>(
    path: &Path,
    bytes: &[u8],
    base: i64,
    out: &mut dyn Write,
    line: impl Fn(&E) -> String,
) -> Result<Vec<Finding>, Failure> {
    rows(Table::read(path, bytes, base), out, line)
}

fn rows<E>(
    table: Table<E>,
    out: &mut dyn Write,
    line: impl Fn(&E) -> String,
) -> Result<Vec<Finding>, Failure> {
    for entry in &table.entries {
        writeln!(out, "{}", line(entry))?;
    }
    if table.reserved > 0 {
        writeln!(out, "{} bytes reserved", table.reserved)?;
    }
    Ok(table.flaw.into_iter().collect())
}

fn offset_line(entry: &OffsetEntry) -> String {
    format!("offset: {} position: {}", entry.offset, entry.position)
}

fn time_line(entry: &TimeEntry) -> String {
    format!("timestamp: {} offset: {}", entry.timestamp, entry.offset)
}

fn txn_line(entry: &TxnEntry) -> String {
    let TxnEntry { version, producer_id, first_offset, last_offset, last_stable_offset } = entry;
    format!(
        "version: {version} producerId: {producer_id} firstOffset: {first_offset} lastOffset: {last_offset} \
         lastStableOffset: {last_stable_offset}"
    )
}

fn producer_line(entry: &ProducerEntry) -> String {
    let txn = match entry.txn_first_offset {
        -1 => "none".to_owned(),
        offset => offset.to_string(),
    };
    format!(
        "producerId: {} producerEpoch: {} lastSequence: {} lastOffset: {} offsetDelta: {} lastTimestamp: {} \
         coordinatorEpoch: {} currentTxnFirstOffset: {txn}",
        entry.producer_id,
        entry.producer_epoch,
        entry.last_sequence,
        entry.last_offset,
        entry.offset_delta,
        entry.timestamp,
        entry.coordinator_epoch,
    )
}

fn epochs(path: &Path, bytes: &[u8], out: &mut dyn Write) -> Result<Vec<Finding>, Failure> {
    let Some(epochs) = std::str::from_utf8(bytes).ok().and_then(Epochs::from_text) else {
        return Ok(vec![Finding::new(path, "not in the format of this file")]);
    };
    for line in epochs.to_text().lines().skip(2) {
        if let Some((epoch, offset)) = line.split_once(' ') {
            writeln!(out, "epoch: {epoch} startOffset: {offset}")?;
        }
    }
    Ok(Vec::new())
}

fn offsets(path: &Path, out: &mut dyn Write) -> Result<Vec<Finding>, Failure> {
    known(path, read_offsets(path), |offsets| {
        for ((topic, partition), offset) in offsets {
            writeln!(out, "topic: {topic} partition: {partition} offset: {offset}")?;
        }
        Ok(())
    })
}

fn topic_id(path: &Path, out: &mut dyn Write) -> Result<Vec<Finding>, Failure> {
    let dir = path.parent().unwrap_or(Path::new("."));
    known(path, checkpoint::read_topic_id(&ReadOnly, dir), |id| {
        Ok(writeln!(out, "topicId: {}", checkpoint::id_to_text(&id))?)
    })
}

fn meta(path: &Path, out: &mut dyn Write) -> Result<Vec<Finding>, Failure> {
    let dir = path.parent().unwrap_or(Path::new("."));
    known(path, MetaProperties::read(&ReadOnly, dir), |meta| {
        let MetaProperties { version, cluster_id, node_id, directory_id } = meta;
        let cluster = cluster_id.as_deref().unwrap_or("-");
        let node = node_id.map_or("-".to_owned(), |id| id.to_string());
        let directory = directory_id.as_ref().map_or("-".to_owned(), checkpoint::id_to_text);
        Ok(writeln!(out, "clusterId: {cluster} nodeId: {node} directoryId: {directory} version: {version}")?)
    })
}

/// Shows what the storage's own parser read; a missing file is an error, a damaged one a finding.
fn known<T>(
    path: &Path,
    read: Result<Option<T>, braid_storage::Error>,
    show: impl FnOnce(T) -> Result<(), Failure>,
) -> Result<Vec<Finding>, Failure> {
    match read {
        Ok(None) => Err(format!("{}: there is no such file", path.display()).into()),
        Ok(Some(value)) => show(value).map(|()| Vec::new()),
        Err(error) => Ok(vec![of_error(path, error)]),
    }
}
