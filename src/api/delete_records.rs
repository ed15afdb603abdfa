//! DeleteRecords (key 21): a partition starts at the given offset from now on; -1 stands for its end.
//!
//! The new start is on stable storage before the answer, and what lies below it is never served again; the
//! files go with the next round of retention. As in Kafka only topics whose `cleanup.policy` says `delete`
//! allow it. Not done: `timeout_ms`; there are no followers to wait for.

use braid_protocol::ErrorCode;
use braid_protocol::api::delete_records::{
    DeleteRecords, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

use super::{Context, Handled, Handler, is_internal};
use crate::topic::{Fault, NO_EPOCH, Topic};

impl Handler for DeleteRecords {
    async fn handle(cx: Context, request: DeleteRecordsRequest) -> Handled<DeleteRecordsResponse> {
        let mut topics = Vec::with_capacity(request.topics.len());
        for wanted in request.topics {
            let topic = cx.broker.topics.find(&wanted.name);
            let mut partitions = Vec::with_capacity(wanted.partitions.len());
            for at in wanted.partitions {
                let partition_index = at.partition_index;
                let deleted =
                    delete(topic.as_deref().map_err(|code| *code), partition_index, at.offset).await;
                let (low_watermark, error_code) = match deleted {
                    Ok(start) => (start, ErrorCode::NONE),
                    Err(code) => (-1, code),
                };
                partitions.push(DeleteRecordsPartitionResult { partition_index, low_watermark, error_code });
            }
            topics.push(DeleteRecordsTopicResult { name: wanted.name, partitions });
        }
        let mut response = DeleteRecordsResponse { topics, ..Default::default() };
        if let Err(code) = persist(&cx, &response).await {
            let results = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            for result in results.filter(|result| result.error_code.is_ok()) {
                (result.low_watermark, result.error_code) = (-1, code);
            }
        }
        Ok(response)
    }
}

async fn delete(topic: Result<&Topic, ErrorCode>, index: i32, offset: i64) -> Result<i64, ErrorCode> {
    let topic = topic?;
    let partition = topic.lead(index, NO_EPOCH)?;
    if is_internal(&topic.name) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if !topic.config().cleanup_policy.delete {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let offset = if offset == -1 { partition.watermark() } else { offset };
    partition.delete_records(offset).await.map_err(|fault: Fault| fault.code())
}

/// Writes down where those partitions start now whose records were deleted.
async fn persist(cx: &Context, response: &DeleteRecordsResponse) -> Result<(), ErrorCode> {
    let moved = response.topics.iter().flat_map(|topic| {
        let open = cx.broker.topic(&topic.name);
        let done = topic.partitions.iter().filter(|result| result.error_code.is_ok());
        done.filter_map(move |result| open.as_ref()?.partition(result.partition_index))
    });
    let moved: Vec<_> = moved.collect();
    if moved.is_empty() {
        return Ok(());
    }
    cx.broker.save_starts(moved).await
}
