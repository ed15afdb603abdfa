//! What the stories share: batches, a model of the log, and the check that both are the same.

use std::path::Path;
use std::sync::Arc;

use braid_storage::{
    BatchBuilder, Checked, Disk, Error, Log, LogConfig, OpenMode, Record, Rules, TimestampType, TxnGuard,
    TxnStatus, batches, records,
};

pub(crate) const DIR: &str = "/data/topic-0";
pub(crate) const NOW: i64 = 1_700_000_000_000;

/// Small segments and dense indexes: much happens with few bytes.
pub(crate) fn config() -> LogConfig {
    LogConfig { segment_bytes: 1500, index_interval_bytes: 150, ..LogConfig::default() }
}

pub(crate) fn rules() -> Rules {
    Rules {
        max_message_bytes: 1 << 20,
        segment_bytes: 1 << 30,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        max_decompressed_bytes: 8 << 20,
        max_decompressed_record_bytes: i32::MAX as usize,
        zstd_allowed: true,
    }
}

/// A batch of `count` records whose timestamps are `time`, `time + 1`, ... and whose values say so.
pub(crate) fn batch(time: i64, count: usize, padding: usize) -> Checked {
    let mut builder = BatchBuilder::new();
    fill(&mut builder, time, count, padding);
    builder.build().unwrap()
}

pub(crate) fn fill(builder: &mut BatchBuilder, time: i64, count: usize, padding: usize) {
    for n in 0..count as i64 {
        let value = format!("{}{}", time + n, "x".repeat(padding));
        builder.push(time + n, Some(b"key"), Some(value.as_bytes()), &[(b"h", None)]);
    }
}

/// The leave that a coordinator would give this batch now, if it asked for any.
pub(crate) fn leave(log: &Log, batch: &Checked) -> Option<TxnGuard> {
    match log.transaction(batch.header().producer_id, batch.header().producer_epoch) {
        TxnStatus::Open => None,
        TxnStatus::Closed(guard) => Some(guard),
    }
}

pub(crate) fn open(disk: Arc<dyn Disk>, how: OpenMode) -> Result<Log, Error> {
    open_at(disk, Path::new(DIR), how)
}

pub(crate) fn open_at(disk: Arc<dyn Disk>, dir: &Path, how: OpenMode) -> Result<Log, Error> {
    Log::open(disk, dir, config(), how, 0, NOW)
}

/// What the log should hold: timestamps by offset.
#[derive(Clone, Default, Debug)]
pub(crate) struct Model {
    pub(crate) times: Vec<i64>,
    /// Offsets at which batches begin.
    pub(crate) starts: Vec<i64>,
}

impl Model {
    pub(crate) fn end(&self) -> i64 {
        self.times.len() as i64
    }

    pub(crate) fn push(&mut self, time: i64, count: usize) {
        self.starts.push(self.end());
        self.times.extend((0..count as i64).map(|n| time + n));
    }

    /// Forgets what lies at `end` and behind, which must be between batches.
    pub(crate) fn cut(&mut self, end: i64) {
        assert!(end == self.end() || self.starts.contains(&end), "{end} is within a batch");
        self.times.truncate(end as usize);
        self.starts.retain(|start| *start < end);
    }

    /// The log holds this, and every way to look at it agrees.
    pub(crate) fn check(&self, log: &Log) {
        assert_eq!(log.end_offset(), self.end());
        let found = read_all(log, 0, log.end_offset());
        assert_eq!(
            found.iter().map(|record| record.offset).collect::<Vec<_>>(),
            (0..self.end()).collect::<Vec<_>>()
        );
        assert_eq!(found.iter().map(|record| record.timestamp).collect::<Vec<_>>(), self.times);
        for record in &found {
            assert!(record.value.as_ref().unwrap().starts_with(record.timestamp.to_string().as_bytes()));
        }
        for offset in 0..self.end() {
            let slice = log.read(offset, 1, self.end(), true).unwrap();
            let start = self.starts[self.starts.partition_point(|start| *start <= offset) - 1];
            assert_eq!(slice.base_offset, start, "asked for {offset}");
            assert_eq!(batches(&slice.bytes).count(), 1);
        }
        let max = self.times.iter().max().copied();
        let first = |at_least: i64| {
            let offset = self.times.iter().position(|time| *time >= at_least);
            offset.map(|offset| (self.times[offset], offset as i64))
        };
        assert_eq!(log.by_time().max_timestamp().unwrap(), max.and_then(first));
        for time in
            self.times.iter().step_by(7).flat_map(|time| [time - 1, *time, time + 1]).chain([0, i64::MAX])
        {
            assert_eq!(
                log.by_time().offset_for_timestamp(time, self.end()).unwrap(),
                first(time),
                "at {time}"
            );
        }
    }
}

pub(crate) fn read_all(log: &Log, from: i64, up_to: i64) -> Vec<Record> {
    let (mut next, mut found) = (from, Vec::new());
    while next < up_to {
        let slice = log.read(next, 700, up_to, true).unwrap();
        assert!(!slice.bytes.is_empty(), "nothing at {next}, below {up_to}");
        let mut whole = 0;
        for (header, batch) in batches(&slice.bytes) {
            whole += batch.len();
            assert_eq!(header.crc, header.crc_with(&batch[61..]));
            found.extend(records(&batch).unwrap().map(Result::unwrap));
            next = header.next_offset();
        }
        assert_eq!(whole, slice.bytes.len(), "only whole batches");
        assert!(next <= up_to, "never beyond");
    }
    assert!(log.read(up_to, 700, up_to, true).unwrap().bytes.is_empty());
    found
}

/// Numbers that look random and follow from a seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}
