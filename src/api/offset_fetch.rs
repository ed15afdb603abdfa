//! OffsetFetch (key 9): how far groups have read. What was never committed is offset -1, and no error.
//!
//! v2: null topics are all topics, and an error of the group has a field of its own; v5 leader epochs; v7
//! UNSTABLE_OFFSET_COMMIT, if wanted, for what an open transaction may yet change (KIP-447); v8 many groups;
//! v10 names topics by id. Only what is durable is told.

use braid_protocol::ErrorCode;
use braid_protocol::api::offset_fetch::{
    OffsetFetch, OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

use super::{Context, Handled, Handler, distinct};

/// The first version that can tell an error of the group as a whole.
const GROUP_ERROR_FROM: i16 = 2;
/// The first version with many groups.
const MANY_FROM: i16 = 8;
/// The first version that names topics by id.
const IDS_FROM: i16 = 10;

impl Handler for OffsetFetch {
    async fn handle(cx: Context, request: OffsetFetchRequest) -> Handled<OffsetFetchResponse> {
        let stable = request.require_stable;
        if cx.version < MANY_FROM {
            let topics = request.topics.map(|topics| {
                topics.into_iter().map(|t| OffsetFetchRequestTopics {
                    name: t.name,
                    partition_indexes: t.partition_indexes,
                    ..Default::default()
                })
            });
            let topics = topics.map(Iterator::collect);
            let group = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() };
            let asked = group.topics.clone().filter(|_| cx.version < GROUP_ERROR_FROM).unwrap_or_default();
            let mut fetched = fetch(&cx, group, stable).await;
            if !fetched.error_code.is_ok() {
                fetched.topics = asked.iter().map(|topic| refuse(topic, fetched.error_code)).collect();
            }
            return Ok(single(fetched));
        }
        let asked = distinct(request.groups, |group| (&group.group_id, 0));
        let mut groups = Vec::with_capacity(asked.len());
        for group in asked {
            groups.push(match cx.version {
                IDS_FROM.. => fetch_by_id(&cx, group, stable).await,
                _ => fetch(&cx, group, stable).await,
            });
        }
        Ok(OffsetFetchResponse { groups, ..Default::default() })
    }
}

async fn fetch(cx: &Context, group: OffsetFetchRequestGroup, stable: bool) -> OffsetFetchResponseGroup {
    let group_id = group.group_id.clone();
    let fetched = match cx.broker.groups().await {
        Ok(groups) => groups.fetch(group, stable).await,
        Err(code) => Err(code),
    };
    fetched.unwrap_or_else(|error_code| OffsetFetchResponseGroup {
        group_id,
        error_code,
        ..Default::default()
    })
}

/// Ids to names on the way in, and back on the way out.
async fn fetch_by_id(
    cx: &Context,
    mut group: OffsetFetchRequestGroup,
    stable: bool,
) -> OffsetFetchResponseGroup {
    let mut unknown = Vec::new();
    if let Some(topics) = &mut group.topics {
        topics.retain_mut(|topic| match cx.image.topic_by_id(topic.topic_id) {
            Some(known) => {
                topic.name = known.name.to_string();
                true
            }
            None => {
                unknown.push(refuse(topic, ErrorCode::UNKNOWN_TOPIC_ID));
                false
            }
        });
    }
    let mut fetched = fetch(cx, group, stable).await;
    // Of all topics, those that are gone have no id to be told by.
    fetched.topics.retain_mut(|topic| match cx.image.topic(&topic.name) {
        Some(known) => {
            topic.topic_id = known.id;
            true
        }
        None => false,
    });
    fetched.topics.extend(unknown);
    fetched
}

fn refuse(topic: &OffsetFetchRequestTopics, error_code: ErrorCode) -> OffsetFetchResponseTopics {
    let one = |index: &i32| OffsetFetchResponsePartitions {
        partition_index: *index,
        committed_offset: -1,
        metadata: Some(String::new()),
        error_code,
        ..Default::default()
    };
    let partitions = topic.partition_indexes.iter().map(one).collect();
    OffsetFetchResponseTopics { name: topic.name.clone(), topic_id: topic.topic_id, partitions }
}

/// The shape of the response before there could be many groups.
fn single(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let one = |p: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: p.partition_index,
        committed_offset: p.committed_offset,
        committed_leader_epoch: p.committed_leader_epoch,
        metadata: p.metadata,
        error_code: p.error_code,
    };
    let topics = group.topics.into_iter().map(|t| OffsetFetchResponseTopic {
        name: t.name,
        partitions: t.partitions.into_iter().map(one).collect(),
    });
    OffsetFetchResponse { topics: topics.collect(), error_code: group.error_code, ..Default::default() }
}
