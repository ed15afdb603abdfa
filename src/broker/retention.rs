//! Old segments go, and the starts of logs are written down.

use std::sync::Arc;

use braid_protocol::ErrorCode;
use tracing::{error, info};

use super::Broker;
use crate::topic::{Fault, Partition};

impl Broker {
    /// Deletes what the topics' settings no longer keep, and forgets producers that are idle for too long.
    /// Blocks on the disk; takes one partition's lock at a time.
    pub fn retain(&self) {
        let now = self.clock.now();
        for partition in self.topics.partitions() {
            let (topic, index) = (partition.topic(), partition.index());
            match partition.retain(now) {
                Ok(gone) if gone.segments() > 0 => info!(
                    %topic,
                    partition = index,
                    by_start = gone.by_start,
                    by_size = gone.by_size,
                    by_time = gone.by_time,
                    "old segments deleted"
                ),
                Ok(_) | Err(Fault::Closed(_)) => {}
                Err(error) => error!(%topic, partition = index, %error, "old segments could not be deleted"),
            }
        }
    }

    /// Unlinks the files of deleted segments that are due. Blocks on the disk. Returns when the next are due,
    /// in milliseconds since the epoch.
    pub fn unlink(&self) -> Option<i64> {
        let now = self.clock.now();
        let mut next: Option<i64> = None;
        for partition in self.topics.partitions() {
            match partition.unlink(now) {
                Ok(due) => next = next.into_iter().chain(due).min(),
                Err(Fault::Closed(_)) => {}
                Err(error) => {
                    let (topic, index) = (partition.topic(), partition.index());
                    error!(%topic, partition = index, %error, "a deleted segment could not be unlinked");
                }
            }
        }
        next
    }

    /// Writes down where these partitions start: when it returns, that survives a crash.
    pub async fn save_starts(self: &Arc<Self>, partitions: Vec<Arc<Partition>>) -> Result<(), ErrorCode> {
        let broker = self.clone();
        let saved = tokio::task::spawn_blocking(move || broker.dirs.save_starts(&partitions)).await;
        saved.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())).map_err(|error| {
            error!(%error, "the starts of logs could not be written");
            ErrorCode::KAFKA_STORAGE_ERROR
        })
    }
}
