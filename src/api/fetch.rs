//! Fetch (key 1): read records from each partition, waiting for more if asked to.
//!
//! Whole batches, as slices of the segments' maps: nothing is copied on the way to the socket. The first
//! partition that has anything answers with at least one batch, however large. v13 names topics by id.
//! v7: within a session only what changes is named and told (KIP-227); see `broker/sessions.rs`.
//! With `read_committed`, only what lies below the last stable offset, with the aborted transactions in it
//! (KIP-98); a wait ends when transactions do.
//! Not done: fetching from followers (there are none).

use std::sync::Arc;
use std::time::Duration;

use braid_protocol::api::fetch::{
    AbortedTransaction, Fetch, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse,
    PartitionData,
};
use braid_protocol::{ErrorCode, Uuid};
use braid_storage::AbortedTxn;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::{Context, Handled, Handler, NoAnswer, check_epoch, find_topic};
use crate::topic::{Isolation, Partition, Topic, Waiter};

impl Handler for Fetch {
    async fn handle(cx: Context, mut request: FetchRequest) -> Handled<FetchResponse> {
        if request.replica_id.max(request.replica_state.replica_id) >= 0 {
            // A client that claims to be a broker would be trusted with more than a client (CVE-2018-1288).
            return Err(NoAnswer::Close("a fetch in the name of a broker".to_owned()));
        }
        let turn = match cx.broker.fetch_sessions.begin(&mut request, cx.version >= IDS_FROM, cx.now_ms) {
            Ok(turn) => turn,
            Err(error_code) => return Ok(FetchResponse { error_code, ..Default::default() }),
        };
        let (plan, broker) = (Plan::new(&cx, request), cx.broker.clone());
        drop(cx);
        let mut response = plan.wait().await;
        broker.fetch_sessions.finish(turn, &mut response);
        Ok(response)
    }
}

/// The first version that names topics by id.
const IDS_FROM: i16 = 13;

/// A request with its partitions found.
struct Plan {
    max_wait: Duration,
    min_bytes: usize,
    max_bytes: usize,
    isolation: Isolation,
    topics: Vec<PlannedTopic>,
}

struct PlannedTopic {
    name: String,
    id: Uuid,
    topic: Option<Arc<Topic>>,
    partitions: Vec<(FetchPartition, Result<Arc<Partition>, ErrorCode>)>,
}

impl Plan {
    fn new(cx: &Context, request: FetchRequest) -> Plan {
        let topics = request.topics.into_iter().map(|wanted| {
            let found = find_topic(cx, &wanted.topic, wanted.topic_id, IDS_FROM);
            if let Ok(topic) = &found {
                topic.metrics.fetch_requests.inc();
            }
            let find = |p: &FetchPartition| {
                let topic = found.as_ref().map_err(|code| *code)?;
                let partition = topic.partition(p.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
                check_epoch(p.current_leader_epoch).map(|()| partition)
            };
            let partitions =
                wanted.partitions.into_iter().map(|p| (find(&p), p)).map(|(found, p)| (p, found)).collect();
            PlannedTopic { name: wanted.topic, id: wanted.topic_id, topic: found.ok(), partitions }
        });
        let limit = cx.broker.config.fetch_max_bytes;
        Plan {
            max_wait: Duration::from_millis(request.max_wait_ms.max(0) as u64),
            min_bytes: request.min_bytes.clamp(0, limit) as usize,
            max_bytes: request.max_bytes.clamp(0, limit) as usize,
            isolation: Isolation::of(request.isolation_level),
            topics: topics.collect(),
        }
    }

    /// Reads until there is enough, or time is up.
    async fn wait(&self) -> FetchResponse {
        let deadline = Instant::now() + self.max_wait;
        loop {
            // The common case, something to read, needs no waiter; it is the second look that loses no
            // wake-up.
            let answer = self.read();
            if answer.is_enough(self) || Instant::now() >= deadline {
                return answer.finish(self);
            }
            let waiter = Waiter::new(self.min_bytes.saturating_sub(answer.bytes) as i64);
            let places: Vec<_> =
                self.partitions().map(|partition| partition.wait(&waiter, self.isolation)).collect();
            let answer = self.read();
            if answer.is_enough(self) || timeout_at(deadline, waiter.woken()).await.is_err() {
                return answer.finish(self);
            }
            drop(places);
        }
    }

    fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.topics.iter().flat_map(|t| t.partitions.iter().filter_map(|(_, found)| found.as_ref().ok()))
    }

    /// One look at every partition, within the request's budget. No await.
    fn read(&self) -> Answer {
        let mut answer = Answer { topics: Vec::with_capacity(self.topics.len()), bytes: 0, refused: false };
        for topic in &self.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for (wanted, found) in &topic.partitions {
                let left = self.max_bytes.saturating_sub(answer.bytes);
                let data = match found {
                    Ok(partition) => self.read_one(wanted, partition, left, answer.bytes == 0),
                    Err(code) => refused(wanted.partition, *code),
                };
                answer.bytes += data.records.as_ref().map_or(0, Bytes::len);
                answer.refused |= !data.error_code.is_ok();
                partitions.push(data);
            }
            answer.topics.push(partitions);
        }
        answer
    }

    fn read_one(
        &self,
        wanted: &FetchPartition,
        partition: &Partition,
        left: usize,
        first: bool,
    ) -> PartitionData {
        let budget = left.min(wanted.partition_max_bytes.max(0) as usize);
        match partition.read_as(self.isolation, wanted.fetch_offset, budget, first) {
            Ok(read) => PartitionData {
                partition_index: wanted.partition,
                high_watermark: read.watermark,
                last_stable_offset: read.last_stable_offset,
                log_start_offset: read.log_start_offset,
                aborted_transactions: read.aborted.map(|all| all.into_iter().map(aborted).collect()),
                records: Some(read.bytes),
                ..Default::default()
            },
            Err(fault) => refused(wanted.partition, fault.code()),
        }
    }
}

fn aborted(txn: AbortedTxn) -> AbortedTransaction {
    AbortedTransaction { producer_id: txn.producer_id, first_offset: txn.first_offset }
}

fn refused(partition_index: i32, error_code: ErrorCode) -> PartitionData {
    PartitionData { partition_index, error_code, high_watermark: -1, ..Default::default() }
}

/// What one look found.
struct Answer {
    topics: Vec<Vec<PartitionData>>,
    bytes: usize,
    refused: bool,
}

impl Answer {
    fn is_enough(&self, plan: &Plan) -> bool {
        self.refused || self.bytes >= plan.min_bytes || plan.topics.is_empty()
    }

    fn finish(self, plan: &Plan) -> FetchResponse {
        let responses = plan.topics.iter().zip(self.topics).map(|(planned, partitions)| {
            if let Some(topic) = &planned.topic {
                let bytes: usize = partitions.iter().filter_map(|p| p.records.as_ref()).map(Bytes::len).sum();
                let failed = partitions.iter().filter(|p| !p.error_code.is_ok()).count();
                topic.metrics.bytes_out.inc_by(bytes as u64);
                topic.metrics.failed_fetch_requests.inc_by(failed as u64);
            }
            FetchableTopicResponse { topic: planned.name.clone(), topic_id: planned.id, partitions }
        });
        FetchResponse { responses: responses.collect(), ..Default::default() }
    }
}
