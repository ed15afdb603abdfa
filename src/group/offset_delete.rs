//! OffsetDelete: a group forgets what it committed for some partitions, unless it still reads them (KIP-496).
//! Pure.

use std::collections::BTreeSet;

use braid_protocol::ErrorCode;
use braid_protocol::api::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::Record;
use super::group::{Group, Kind};
use super::turn::Turn;

impl Group {
    /// Forgets what it may of these partitions: all that nobody in the group reads. Of a group whose members
    /// are not consumers, nobody but they knows what they read.
    pub(super) fn delete_offsets(
        &self,
        turn: &mut Turn<'_>,
        request: OffsetDeleteRequest,
    ) -> OffsetDeleteResponse {
        let empty = self.is_empty();
        match &self.kind {
            Kind::Classic(classic) if !empty && !classic.has_consumers() => {
                return refused(ErrorCode::NON_EMPTY_GROUP);
            }
            Kind::Empty | Kind::Classic(_) | Kind::Consumer(_) => {}
        }
        let subscribed = self.subscribed_topics();
        let reads = |topic: &str| !empty && subscribed.as_ref().is_none_or(|topics| topics.contains(topic));
        let asked = request.topics.iter().filter(|topic| !reads(&topic.name));
        let asked: BTreeSet<(&str, i32)> = asked
            .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.as_str(), p.partition_index)))
            .collect();
        let gone = self.known(|topic, partition, _| asked.contains(&(topic, partition)));
        // The group itself stays until its time is over, as in Kafka.
        let group = || turn.group_id.to_owned();
        let forgotten = |(topic, partition)| Record::Offset { group: group(), topic, partition, value: None };
        let forgotten: Vec<Record> = gone.into_iter().map(forgotten).collect();
        turn.out.records.extend(forgotten);
        let topics = request.topics.iter().map(|topic| {
            let error_code = match reads(&topic.name) {
                true => ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
                false => ErrorCode::NONE,
            };
            let one = |partition_index| OffsetDeleteResponsePartition { partition_index, error_code };
            OffsetDeleteResponseTopic {
                name: topic.name.clone(),
                partitions: topic.partitions.iter().map(|p| one(p.partition_index)).collect(),
            }
        });
        OffsetDeleteResponse { topics: topics.collect(), ..Default::default() }
    }
}

/// The answer to a request that concerns no group that could do it.
pub(super) fn refused(error_code: ErrorCode) -> OffsetDeleteResponse {
    OffsetDeleteResponse { error_code, ..Default::default() }
}
