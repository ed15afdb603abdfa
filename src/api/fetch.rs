//! Fetch (key 1): read records from each partition, waiting for more if asked to.
//!
//! Whole batches, as slices of the segments' maps: nothing is copied on the way to the socket. The first
//! partition that has anything answers with at least one batch, however large. v13 names topics by id.
//! v7: within a session only what changes is named and told (KIP-227); see `fetch_sessions.rs`.
//! With `read_committed`, only what lies below the last stable offset, with the aborted transactions in it
//! (KIP-98); a wait ends when transactions do.
//! Not done: fetching from followers (there are none).

use std::sync::Arc;
use std::time::Duration;

use braid_protocol::api::fetch::{
    AbortedTransaction, Fetch, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, PartitionData,
};
use braid_protocol::{ErrorCode, Uuid};
use braid_storage::AbortedTxn;
use bytes::Bytes;

use super::{Context, Handled, Handler, MANY, NoAnswer, code_of, find_topic, named_before};
use crate::broker::{ReadPlan, Want};
use crate::topic::{Isolation, Read, Topic};

impl Handler for Fetch {
    async fn handle(cx: Context, mut request: FetchRequest) -> Handled<FetchResponse> {
        if request.replica_id.max(request.replica_state.replica_id) >= 0 {
            // A client that claims to be a broker would be trusted with more than a client (CVE-2018-1288).
            return Err(NoAnswer::Close("a fetch in the name of a broker".to_owned()));
        }
        once_each(&mut request.topics);
        let turn = match cx.fetch_sessions.begin(&mut request, cx.version >= IDS_FROM, cx.now_ms) {
            Ok(turn) => turn,
            Err(error_code) => return Ok(FetchResponse { error_code, ..Default::default() }),
        };
        let plan = Plan::new(&cx, request);
        let (broker, fetch_sessions) = (cx.broker.clone(), cx.fetch_sessions.clone());
        drop(cx);
        let is_long = plan.read.wants.len() > MANY;
        let mut response = match is_long {
            false => plan.wait().await,
            // In a box, because the future of every other Fetch would have to be as large.
            true => Box::pin(broker.workers.run(async move { plan.wait().await })).await,
        };
        fetch_sessions.finish(turn, &mut response);
        Ok(response)
    }
}

/// The first version that names topics by id.
const IDS_FROM: i16 = 13;

/// Leaves out partitions that were named before: of one named a million times, each append would wake as
/// many.
fn once_each(topics: &mut [FetchTopic]) {
    if topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() < 2 {
        return;
    }
    let indexes = |topic: &FetchTopic| topic.partitions.iter().map(|p| p.partition).collect();
    let before = named_before(topics, |topic| (&topic.topic, topic.topic_id), indexes);
    if before.is_empty() {
        return;
    }
    for (at, topic) in topics.iter_mut().enumerate() {
        let mut numbers = 0..;
        topic.partitions.retain(|_| numbers.next().is_some_and(|n| !before.contains(&(at, n))));
    }
}

/// A request with its partitions found.
struct Plan {
    topics: Vec<PlannedTopic>,
    /// Of the partitions that were found, in the order of the request.
    read: ReadPlan,
    /// Was a partition not found, so that there is something to answer at once?
    refused: bool,
    /// Are topics named by their ids?
    by_id: bool,
}

struct PlannedTopic {
    name: String,
    id: Uuid,
    topic: Option<Arc<Topic>>,
    /// Their numbers, and why one is not read.
    partitions: Vec<(i32, Result<(), ErrorCode>)>,
}

impl Plan {
    fn new(cx: &Context, request: FetchRequest) -> Plan {
        let limit = cx.broker.config.fetch_max_bytes;
        let count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        let mut plan = Plan {
            topics: Vec::with_capacity(request.topics.len()),
            read: ReadPlan {
                wants: Vec::with_capacity(count),
                wait_max: Duration::from_millis(request.max_wait_ms.max(0) as u64),
                bytes_min: request.min_bytes.clamp(0, limit) as usize,
                bytes_max: request.max_bytes.clamp(0, limit) as usize,
                isolation: Isolation::of(request.isolation_level),
            },
            refused: request.topics.is_empty(),
            by_id: cx.version >= IDS_FROM,
        };
        for wanted in request.topics {
            let found = find_topic(cx, &wanted.topic, wanted.topic_id, IDS_FROM);
            if let Ok(topic) = &found {
                topic.metrics.fetch_requests.inc();
            }
            let mut partitions = Vec::with_capacity(wanted.partitions.len());
            for p in &wanted.partitions {
                let want = found.as_ref().map_err(|code| *code).and_then(|topic| want(topic, p));
                plan.refused |= want.is_err();
                partitions.push((p.partition, want.map(|want| plan.read.wants.push(want))));
            }
            let (name, id, topic) = (wanted.topic, wanted.topic_id, found.ok());
            plan.topics.push(PlannedTopic { name, id, topic, partitions });
        }
        plan
    }

    /// Reads until there is enough, or time is up.
    async fn wait(self) -> FetchResponse {
        let reads = if self.refused { self.read.look() } else { self.read.run().await };
        let mut outcomes = reads.outcomes.into_iter();
        let by_id = self.by_id;
        let responses = self.topics.into_iter().map(|planned| {
            let found = planned.partitions.into_iter();
            let partitions: Vec<_> = found
                .map(|(index, found)| match found.map(|()| outcomes.next()) {
                    Ok(Some(Ok(read))) => data(index, read),
                    Ok(Some(Err(fault))) => refused(index, code_of(&fault, by_id)),
                    Ok(None) => refused(index, ErrorCode::UNKNOWN_SERVER_ERROR),
                    Err(code) => refused(index, code),
                })
                .collect();
            if let Some(topic) = &planned.topic {
                let bytes: usize = partitions.iter().filter_map(|p| p.records.as_ref()).map(Bytes::len).sum();
                let failed = partitions.iter().filter(|p| !p.error_code.is_ok()).count();
                topic.metrics.bytes_out.inc_by(bytes as u64);
                topic.metrics.failed_fetch_requests.inc_by(failed as u64);
            }
            FetchableTopicResponse { topic: planned.name, topic_id: planned.id, partitions }
        });
        FetchResponse { responses: responses.collect(), ..Default::default() }
    }
}

fn want(topic: &Topic, wanted: &FetchPartition) -> Result<Want, ErrorCode> {
    let partition = topic.lead(wanted.partition, wanted.current_leader_epoch)?;
    let bytes_max = wanted.partition_max_bytes.max(0) as usize;
    Ok(Want { partition, offset: wanted.fetch_offset, bytes_max })
}

fn data(partition_index: i32, read: Read) -> PartitionData {
    PartitionData {
        partition_index,
        high_watermark: read.watermark,
        last_stable_offset: read.last_stable_offset,
        log_start_offset: read.log_start_offset,
        aborted_transactions: read.aborted.map(|all| all.into_iter().map(aborted).collect()),
        records: Some(read.bytes),
        ..Default::default()
    }
}

fn aborted(txn: AbortedTxn) -> AbortedTransaction {
    AbortedTransaction { producer_id: txn.producer_id, first_offset: txn.first_offset }
}

fn refused(partition_index: i32, error_code: ErrorCode) -> PartitionData {
    PartitionData { partition_index, error_code, high_watermark: -1, ..Default::default() }
}
