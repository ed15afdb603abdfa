//! DescribeLogDirs (key 35): the log folders, what lies in them, and how large the volumes are they are on.
//!
//! v0 is served although Kafka 4 starts at v1. v3 has an error for the whole, v4 the size of the volume.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_log_dirs::{
    DescribeLogDirs, DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};

use super::{Context, Handled, Handler};
use crate::broker::Folder;

/// Partitions by topic.
type Asked = BTreeMap<String, HashSet<i32>>;

impl Handler for DescribeLogDirs {
    async fn handle(cx: Context, request: DescribeLogDirsRequest) -> Handled<DescribeLogDirsResponse> {
        let wanted = request.topics.map(|asked| {
            let mut wanted: Asked = BTreeMap::new();
            asked
                .into_iter()
                .for_each(|topic| wanted.entry(topic.topic).or_default().extend(topic.partitions));
            wanted
        });
        let mut here = topics(&cx, wanted.as_ref());
        let result = |folder: Folder| {
            let topics = here.remove(&folder.path).filter(|_| folder.wrong.is_none()).unwrap_or_default();
            DescribeLogDirsResult {
                error_code: match folder.wrong {
                    Some(_) => ErrorCode::KAFKA_STORAGE_ERROR,
                    None => ErrorCode::NONE,
                },
                log_dir: folder.path.to_string_lossy().into_owned(),
                topics,
                total_bytes: folder.volume.map_or(-1, |volume| volume.total),
                usable_bytes: folder.volume.map_or(-1, |volume| volume.usable),
                is_cordoned: false,
            }
        };
        let results = cx.broker.folders().await.into_iter().map(result).collect();
        Ok(DescribeLogDirsResponse { results, ..Default::default() })
    }
}

/// The partitions asked for that are here, by the folder they lie in, with their sizes.
fn topics(cx: &Context, wanted: Option<&Asked>) -> HashMap<PathBuf, Vec<DescribeLogDirsTopic>> {
    let mut topics: Vec<_> = match wanted {
        Some(wanted) => wanted.keys().filter_map(|name| cx.broker.topics.get(name)).collect(),
        None => cx.broker.topics.all(),
    };
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut found: HashMap<PathBuf, Vec<DescribeLogDirsTopic>> = HashMap::new();
    for topic in topics {
        let asked = wanted.and_then(|wanted| wanted.get(&*topic.name));
        let mut folders: BTreeMap<Arc<Path>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
        for partition in topic.partitions().iter() {
            let partition_index = partition.index();
            if asked.is_some_and(|asked| !asked.contains(&partition_index)) {
                continue;
            }
            let Ok(size) = partition.look(|log| log.size_bytes()) else { continue };
            let partition_size = i64::try_from(size).unwrap_or(i64::MAX);
            let described =
                DescribeLogDirsPartition { partition_index, partition_size, ..Default::default() };
            folders.entry(partition.home().clone()).or_default().push(described);
        }
        for (path, partitions) in folders {
            let name = topic.name.to_string();
            found.entry(absolute(&path)).or_default().push(DescribeLogDirsTopic { name, partitions });
        }
    }
    found
}

/// The path of a log folder as clients are told it.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
