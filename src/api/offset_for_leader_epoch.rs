//! OffsetForLeaderEpoch (key 23): where a leader epoch ended, so that a consumer can tell whether records
//! that it has read were lost (KIP-320).

use braid_protocol::ErrorCode;
use braid_protocol::api::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpoch, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};

use super::{Context, Handled, Handler};
use crate::topic::Topic;

impl Handler for OffsetForLeaderEpoch {
    async fn handle(
        cx: Context,
        request: OffsetForLeaderEpochRequest,
    ) -> Handled<OffsetForLeaderEpochResponse> {
        let topics = request.topics.into_iter().map(|wanted| {
            let topic = cx.broker.topics.find(&wanted.topic);
            let partitions = wanted.partitions.iter().map(|p| {
                let found = look_up(topic.as_deref().map_err(|code| *code), p);
                let refuse = |error_code| EpochEndOffset { error_code, ..Default::default() };
                EpochEndOffset { partition: p.partition, ..found.unwrap_or_else(refuse) }
            });
            OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: wanted.topic }
        });
        Ok(OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() })
    }
}

fn look_up(
    topic: Result<&Topic, ErrorCode>,
    wanted: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, ErrorCode> {
    let partition = topic?.lead(wanted.partition, wanted.current_leader_epoch)?;
    Ok(match partition.epoch_end(wanted.leader_epoch).map_err(|fault| fault.code())? {
        Some((leader_epoch, end_offset)) => EpochEndOffset { leader_epoch, end_offset, ..Default::default() },
        None => EpochEndOffset::default(),
    })
}
