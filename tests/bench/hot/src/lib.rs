//! The broker's hot paths, one by one, without sockets and tasks: what `cargo bench` times, and of which
//! `instructions` counts the instructions.

use std::path::Path;
use std::sync::Arc;

use braid_protocol::api::fetch::{
    Fetch, FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use braid_protocol::api::produce::{
    PartitionProduceData, PartitionProduceResponse, Produce, ProduceRequest, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};
use braid_protocol::{Api, Uuid, frame};
use braid_storage::{
    BatchBuilder, Checked, Log, LogConfig, OpenMode, RealDisk, Rules, TimestampType, validate,
};
use bytes::Bytes;

/// What is done again and again.
pub type Work = Box<dyn FnMut()>;

/// A hot path.
#[derive(Debug)]
pub struct Scenario {
    /// What it does.
    pub name: &'static str,
    /// Bytes that are gone through each time; 0 where they are only handed on.
    pub bytes: u64,
    /// Prepares it; the folder is empty, and its own.
    pub prepare: fn(&Path) -> Work,
}

/// A time; no clock is asked, so that every run does the same.
const NOW: i64 = 1_700_000_000_000;
/// The first versions that name topics by id: what clients of today speak.
const PRODUCE_VERSION: i16 = 13;
const FETCH_VERSION: i16 = 13;
/// Batches that are appended to one log before it is begun again.
const APPENDS: i32 = 1024;
const SEGMENT: u64 = 1 << 30;
const KB16: u64 = 16 << 10;
const MB1: u64 = 1 << 20;

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "read-produce-16k", bytes: 0, prepare: read_produce },
    Scenario { name: "read-fetch-10-partitions", bytes: 0, prepare: read_fetch },
    Scenario { name: "validate-16x1k", bytes: KB16, prepare: |_| validated(16, 1024) },
    Scenario { name: "validate-150x100b", bytes: 15_000, prepare: |_| validated(150, 100) },
    Scenario { name: "append-16k", bytes: KB16, prepare: append },
    Scenario { name: "read-1m-old", bytes: 0, prepare: |folder| read(folder, |_| 0, MB1) },
    Scenario { name: "read-16k-at-end", bytes: 0, prepare: |folder| read(folder, |end| end - 16, MB1) },
    Scenario { name: "write-produce-answer", bytes: 0, prepare: write_produce_answer },
    Scenario { name: "write-fetch-answer-1m", bytes: 0, prepare: write_fetch_answer },
];

fn batch(records: usize, size: usize, sequence: i32) -> BatchBuilder {
    let mut builder = BatchBuilder::new().producer(1, 0, sequence);
    let value: Vec<u8> = (0..size).map(|at| (at * 7) as u8).collect();
    for _ in 0..records {
        builder.push(NOW, None, Some(&value), &[]);
    }
    builder
}

fn batches(count: i32) -> Vec<Checked> {
    (0..count).map(|number| batch(16, 1024, number * 16).build().expect("it is small")).collect()
}

/// A request as it lies behind its length.
fn request<A: Api>(version: i16, request: &A::Request) -> Bytes {
    let chunks = frame::request_frame::<A>(version, 7, Some("hot"), request).expect("it is small");
    Bytes::from(chunks.concat()).slice(4..)
}

fn done_with<T>(value: T) {
    drop(std::hint::black_box(value));
}

fn read_produce(_: &Path) -> Work {
    let records = Some(batch(16, 1024, 0).build().expect("it is small").to_bytes());
    let partition_data = vec![PartitionProduceData { index: 0, records }];
    let topic = TopicProduceData { topic_id: Uuid([1; 16]), partition_data, ..Default::default() };
    let asked =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    let frame = request::<Produce>(PRODUCE_VERSION, &asked);
    Box::new(move || done_with(frame::read_request::<Produce>(&frame).expect("it is whole")))
}

fn read_fetch(_: &Path) -> Work {
    let one = |partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..Default::default() };
    let partitions = (0..10).map(one).collect();
    let topics = vec![FetchTopic { topic_id: Uuid([1; 16]), partitions, ..Default::default() }];
    let asked = FetchRequest { max_wait_ms: 500, min_bytes: 1, topics, ..Default::default() };
    let frame = request::<Fetch>(FETCH_VERSION, &asked);
    Box::new(move || done_with(frame::read_request::<Fetch>(&frame).expect("it is whole")))
}

fn validated(records: usize, size: usize) -> Work {
    let bytes = batch(records, size, 0).build().expect("it is small").to_bytes();
    let rules = Rules {
        max_message_bytes: 1 << 20,
        segment_bytes: 1 << 30,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
        max_decompressed_bytes: 1 << 26,
        max_decompressed_record_bytes: i32::MAX as usize,
        zstd_allowed: true,
    };
    Box::new(move || done_with(validate(&bytes, &rules, NOW).expect("it is as it should be")))
}

fn open(folder: &Path, segment_bytes: u64) -> Log {
    let config = LogConfig { segment_bytes, ..Default::default() };
    let disk = Arc::new(RealDisk::default());
    Log::open_written(disk, &folder.join("hot-0"), config, OpenMode::Clean, 0, NOW).expect("it can be opened")
}

fn append(folder: &Path) -> Work {
    let (folder, batches) = (folder.to_path_buf(), batches(APPENDS));
    let mut log = open(&folder, SEGMENT);
    let mut next = 0;
    Box::new(move || {
        if next == batches.len() {
            log.delete().expect("it can be deleted");
            log = open(&folder, SEGMENT);
            next = 0;
        }
        done_with(log.append(&batches[next], None, 0, NOW).expect("it can be appended"));
        next += 1;
    })
}

fn read(folder: &Path, from: fn(i64) -> i64, bytes_max: u64) -> Work {
    // So small that what was written first lies in an older one.
    let mut log = open(folder, SEGMENT >> 8);
    for batch in batches(500) {
        log.append(&batch, None, 0, NOW).expect("it can be appended");
    }
    let end = log.end_offset();
    let from = from(end);
    Box::new(move || done_with(log.read(from, bytes_max as usize, end, true).expect("it can be read")))
}

fn write_produce_answer(_: &Path) -> Work {
    Box::new(|| {
        let one = PartitionProduceResponse { base_offset: 1, log_start_offset: 0, ..Default::default() };
        let topic_id = Uuid([1; 16]);
        let topic = TopicProduceResponse { topic_id, partition_responses: vec![one], ..Default::default() };
        let answer = ProduceResponse { responses: vec![topic], ..Default::default() };
        done_with(frame::response_frame::<Produce>(PRODUCE_VERSION, 7, &answer).expect("it is small"));
    })
}

fn write_fetch_answer(_: &Path) -> Work {
    let records = Bytes::from(vec![7; MB1 as usize]);
    Box::new(move || {
        let records = Some(records.clone());
        let one = PartitionData { high_watermark: 1, records, ..Default::default() };
        let topic_id = Uuid([1; 16]);
        let topic = FetchableTopicResponse { topic_id, partitions: vec![one], ..Default::default() };
        let answer = FetchResponse { responses: vec![topic], ..Default::default() };
        done_with(frame::response_frame::<Fetch>(FETCH_VERSION, 7, &answer).expect("it is small"));
    })
}
