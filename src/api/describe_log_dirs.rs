//! DescribeLogDirs (key 35): the log folder, what lies in it, and how large the volume is that it is on.
//!
//! v0 is served although Kafka 4 starts at v1. v3 has an error for the whole, v4 the size of the volume.

use std::collections::{BTreeMap, HashSet};

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirs, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};

use super::{Context, Handled, Handler};

impl Handler for DescribeLogDirs {
    async fn handle(cx: Context, request: DescribeLogDirsRequest) -> Handled<DescribeLogDirsResponse> {
        let (path, volume) = cx.broker.volume().await;
        let failed = cx.broker.health().is_err();
        let error_code = if failed { ErrorCode::KAFKA_STORAGE_ERROR } else { ErrorCode::NONE };
        let result = DescribeLogDirsResult {
            error_code,
            log_dir: path,
            topics: if failed { Vec::new() } else { topics(&cx, request.topics) },
            total_bytes: volume.map_or(-1, |volume| volume.total),
            usable_bytes: volume.map_or(-1, |volume| volume.usable),
            is_cordoned: false,
        };
        Ok(DescribeLogDirsResponse { results: vec![result], ..Default::default() })
    }
}

/// The partitions asked for that are here, with their sizes.
fn topics(cx: &Context, asked: Option<Vec<DescribableLogDirTopic>>) -> Vec<DescribeLogDirsTopic> {
    let wanted: Option<BTreeMap<String, HashSet<i32>>> = asked.map(|asked| {
        let mut wanted: BTreeMap<String, HashSet<i32>> = BTreeMap::new();
        asked.into_iter().for_each(|topic| wanted.entry(topic.topic).or_default().extend(topic.partitions));
        wanted
    });
    let mut topics = match &wanted {
        Some(wanted) => wanted.keys().filter_map(|name| cx.broker.topics.get(name)).collect(),
        None => cx.broker.topics.all(),
    };
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let of = |topic: &crate::topic::Topic| {
        let wanted = wanted.as_ref().and_then(|wanted| wanted.get(&*topic.name));
        let here = topic.partitions();
        let sizes = here.iter().filter_map(|partition| {
            let partition_index = partition.index();
            if wanted.is_some_and(|wanted| !wanted.contains(&partition_index)) {
                return None;
            }
            let size = partition.with_log(|log| log.size_bytes()).ok()?;
            let partition_size = i64::try_from(size).unwrap_or(i64::MAX);
            Some(DescribeLogDirsPartition { partition_index, partition_size, ..Default::default() })
        });
        DescribeLogDirsTopic { name: topic.name.to_string(), partitions: sizes.collect() }
    };
    topics.iter().map(|topic| of(topic)).filter(|topic| !topic.partitions.is_empty()).collect()
}
