//! AlterReplicaLogDirs (key 34): a partition is "moved" to the log folder that it lies in, and to no other.
//!
//! A partition that is named for several folders is for the last of them, as in Kafka.
//!
//! Not done: to move a partition to another of several folders, which is refused with UNSUPPORTED_VERSION;
//! and to remember a folder for a partition that is yet to be created.

use std::collections::BTreeMap;

use braid_protocol::ErrorCode;
use braid_protocol::api::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirs,
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse,
};

use super::describe_log_dirs::absolute;
use super::{Context, Handled, Handler};
use crate::broker::Folder;

/// The longest name that a file may have, in bytes.
const NAME_MAX: usize = 255;
/// Kafka's name for the folder of a copy on its way, behind that of the partition's own: a dot, an id in hex,
/// `-future`.
const FUTURE: usize = 1 + 32 + 7;

impl Handler for AlterReplicaLogDirs {
    async fn handle(
        cx: Context,
        request: AlterReplicaLogDirsRequest,
    ) -> Handled<AlterReplicaLogDirsResponse> {
        let folders = cx.broker.folders().await;
        // Path by partition by topic.
        let mut wanted: BTreeMap<&str, BTreeMap<i32, &str>> = BTreeMap::new();
        for dir in &request.dirs {
            for topic in &dir.topics {
                let partitions = topic.partitions.iter().map(|index| (*index, dir.path.as_str()));
                wanted.entry(&topic.name).or_default().extend(partitions);
            }
        }
        let wanted = wanted.into_iter().filter(|(_, partitions)| !partitions.is_empty());
        let results = wanted.map(|(topic, partitions)| {
            let one = |(partition_index, path)| AlterReplicaLogDirPartitionResult {
                partition_index,
                error_code: alter(&cx, topic, partition_index, path, &folders),
            };
            let partitions = partitions.into_iter().map(one).collect();
            AlterReplicaLogDirTopicResult { topic_name: topic.to_owned(), partitions }
        });
        Ok(AlterReplicaLogDirsResponse { results: results.collect(), ..Default::default() })
    }
}

fn alter(cx: &Context, topic: &str, index: i32, path: &str, folders: &[Folder]) -> ErrorCode {
    if topic.len() + "-".len() + index.to_string().len() + FUTURE > NAME_MAX {
        return ErrorCode::INVALID_TOPIC_EXCEPTION;
    }
    // By their letters: another path to the same folder is not known to Kafka either.
    let Some(folder) = folders.iter().find(|folder| folder.path.to_string_lossy() == path) else {
        return ErrorCode::LOG_DIR_NOT_FOUND;
    };
    match cx.broker.topics.get(topic).and_then(|topic| topic.partition(index)) {
        _ if folder.wrong.is_some() => ErrorCode::KAFKA_STORAGE_ERROR,
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Some(partition) if partition.is_offline() => ErrorCode::KAFKA_STORAGE_ERROR,
        Some(partition) if absolute(partition.home()) == folder.path => ErrorCode::NONE,
        Some(_) => ErrorCode::UNSUPPORTED_VERSION,
    }
}
