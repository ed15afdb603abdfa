//! OffsetCommit (key 8): a group remembers how far it has read. Answered when that is durable.
//!
//! v1 is served although Kafka 4 starts at v2: sarama before 1.41 commits with it. v2 to v4 carry a retention
//! time, v6 leader epochs, v7 static members; v10 names topics by id. The rules are in `group/offsets.rs`.

use std::collections::HashMap;

use braid_protocol::ErrorCode;
use braid_protocol::api::offset_commit::{
    OffsetCommit, OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::{Context, Handled, Handler};
use crate::group::Commit;

/// The first version that names topics by id.
const IDS_FROM: i16 = 10;

impl Handler for OffsetCommit {
    async fn handle(cx: Context, mut request: OffsetCommitRequest) -> Handled<OffsetCommitResponse> {
        let by_id = cx.version >= IDS_FROM;
        let (asked, refused) = existing(&cx, std::mem::take(&mut request.topics), by_id);
        request.topics = asked.clone();
        let committed = match cx.broker.groups().await {
            Ok(groups) => groups.commit(Commit { request, version: cx.version, txn: None }).await,
            Err(code) => Err(code),
        };
        let mut response = committed.unwrap_or_else(|code| OffsetCommitResponse {
            topics: asked.iter().map(|topic| refuse(topic, code)).collect(),
            ..Default::default()
        });
        for topic in response.topics.iter_mut().filter(|_| by_id) {
            topic.topic_id = cx.image.topic(&topic.name).map_or_else(Default::default, |known| known.id);
        }
        merge(&mut response.topics, refused);
        Ok(response)
    }
}

/// Offsets of what exists, to go on to the group by name; and the answer to the others.
pub(super) fn existing(
    cx: &Context,
    topics: Vec<OffsetCommitRequestTopic>,
    by_id: bool,
) -> (Vec<OffsetCommitRequestTopic>, Vec<OffsetCommitResponseTopic>) {
    let (mut asked, mut refused) = (Vec::new(), Vec::new());
    for mut topic in topics {
        let known = if by_id { cx.image.topic_by_id(topic.topic_id) } else { cx.image.topic(&topic.name) };
        let Some(known) = known else {
            let code =
                if by_id { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
            refused.push(refuse(&topic, code));
            continue;
        };
        topic.name = known.name.to_string();
        let exists = |index: i32| (0..known.partitions).contains(&index);
        let (good, bad): (Vec<_>, Vec<_>) =
            topic.partitions.into_iter().partition(|p| exists(p.partition_index));
        topic.partitions = bad;
        if !topic.partitions.is_empty() {
            refused.push(refuse(&topic, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        }
        topic.partitions = good;
        asked.push(topic);
    }
    (asked, refused)
}

pub(super) fn refuse(topic: &OffsetCommitRequestTopic, error_code: ErrorCode) -> OffsetCommitResponseTopic {
    let one = |partition_index| OffsetCommitResponsePartition { partition_index, error_code };
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(|p| one(p.partition_index)).collect(),
    }
}

/// A topic with good and bad partitions is one topic in the response.
pub(super) fn merge(topics: &mut Vec<OffsetCommitResponseTopic>, refused: Vec<OffsetCommitResponseTopic>) {
    if refused.is_empty() {
        return;
    }
    // Of 50,000 unknown topics, a search for each took 6 s.
    let key = |topic: &OffsetCommitResponseTopic| (topic.name.clone(), topic.topic_id);
    let mut places: HashMap<_, _> = topics.iter().enumerate().map(|(n, topic)| (key(topic), n)).collect();
    for refusal in refused {
        match places.get(&key(&refusal)).and_then(|place| topics.get_mut(*place)) {
            Some(topic) => topic.partitions.extend(refusal.partitions),
            None => {
                places.insert(key(&refusal), topics.len());
                topics.push(refusal);
            }
        }
    }
}
