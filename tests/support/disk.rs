//! A whole broker on a disk in memory, that can fail and forget.

use std::collections::BTreeMap;
use std::sync::Arc;

use braid::broker::Broker;
use braid::config::BrokerConfig;
use braid::machine::Clock;
use braid::metrics::Metrics;
use braid::topic::{Fault, Marker, Partition};
use braid_storage::sim::SimDisk;
use braid_storage::{BatchBuilder, Log, TxnStatus, batches, records};

/// A day in 2023, as good as any.
pub const NOW: i64 = 1_700_000_000_000;

/// A record: its key and its value.
pub type Pair = (Option<String>, String);

/// A broker whose segments and indexes are small, so that much happens with few bytes.
pub fn open(disk: &SimDisk) -> Arc<Broker> {
    try_open(disk).unwrap()
}

/// The same, on a disk that may fail.
pub fn try_open(disk: &SimDisk) -> Result<Arc<Broker>, String> {
    let settings = [
        ("log.dirs", "/data"),
        ("log.segment.bytes", "700"),
        ("log.index.interval.bytes", "100"),
        ("log.segment.delete.delay.ms", "0"),
        ("log.cleaner.min.cleanable.ratio", "0.1"),
        ("num.recovery.threads.per.data.dir", "1"),
    ];
    let config = BrokerConfig::with(settings).unwrap();
    let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
    let clock = Clock::starting_at(NOW);
    Broker::open(config, metrics, Arc::new(disk.clone()), clock).map_err(|error| error.to_string())
}

/// The only partition of a topic.
pub fn partition(broker: &Broker, topic: &str) -> Option<Arc<Partition>> {
    broker.topic(topic).and_then(|topic| topic.partition(0))
}

/// Appends a record within a producer's transaction, or ends it: `Some(true)` commits. Returns its offset.
pub fn transact(partition: &Arc<Partition>, producer_id: i64, ends: Option<bool>) -> Result<i64, Fault> {
    if let Some(commit) = ends {
        let marker = Marker { producer_id, producer_epoch: 0, coordinator_epoch: 1, commit };
        return Ok(partition.append_marker(marker, NOW)?.last_offset);
    }
    let leave = match partition.transaction(producer_id, 0)? {
        TxnStatus::Open => None,
        TxnStatus::Closed(guard) => Some(guard),
    };
    let last = |log: &Log| {
        let known = log.producers().all().find(|known| known.producer_id == producer_id);
        known.map_or(-1, |known| known.last_sequence)
    };
    let sequence = partition.look(last)? + 1;
    let mut batch = BatchBuilder::new().producer(producer_id, 0, sequence).transactional();
    batch.push(NOW, None, Some(&[b'x'; 40]), &[]);
    Ok(partition.append(&batch.build().unwrap(), leave, NOW)?.last_offset)
}

/// Every record of a log, by offset; the bounds are checked on the way.
pub fn read(partition: &Partition) -> BTreeMap<i64, Pair> {
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = BTreeMap::new();
    let mut next = partition.start_offset().unwrap();
    while next < partition.watermark() {
        let read = partition.read(next, 200, true).unwrap();
        assert!(!read.bytes.is_empty(), "offset {next} is below the watermark {}", partition.watermark());
        for (header, batch) in batches(&read.bytes) {
            assert!(header.last_offset() >= next, "the index led to a batch before offset {next}");
            for record in records(&batch).unwrap() {
                let record = record.unwrap();
                found.insert(record.offset, (record.key.map(text), text(record.value.unwrap())));
            }
            next = header.last_offset() + 1;
        }
    }
    let start = partition.start_offset().unwrap();
    found.retain(|offset, _| *offset >= start);
    found
}
