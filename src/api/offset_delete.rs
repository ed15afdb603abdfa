//! OffsetDelete (key 47): a group forgets what it committed for some partitions, unless a member still reads
//! their topic (KIP-496). The rules are in `group/offset_delete.rs`.

use braid_protocol::ErrorCode;
use braid_protocol::api::offset_delete::{
    OffsetDelete, OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
};

use super::{Context, Handled, Handler};

impl Handler for OffsetDelete {
    async fn handle(cx: Context, request: OffsetDeleteRequest) -> Handled<OffsetDeleteResponse> {
        let deleted = match cx.broker.groups_if_any().await {
            Some(Ok(groups)) => groups.delete_offsets(request).await,
            Some(Err(code)) => Err(code),
            None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
        };
        let mut response =
            deleted.unwrap_or_else(|error_code| OffsetDeleteResponse { error_code, ..Default::default() });
        // Of what does not exist there was nothing to forget: the group cannot know.
        for topic in &mut response.topics {
            let partitions = cx.image.topic(&topic.name).map_or(0, |known| known.partitions);
            let unknown = |p: &&mut OffsetDeleteResponsePartition| {
                p.error_code.is_ok() && !(0..partitions).contains(&p.partition_index)
            };
            for partition in topic.partitions.iter_mut().filter(unknown) {
                partition.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            }
        }
        Ok(response)
    }
}
