//! The topics that belong to coordinators: how they are made, and how what they hold is read back.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use braid_protocol::ErrorCode;
use braid_storage::{Error, Header, Invalid, Record, batches, records};
use tracing::error;

use super::{Broker, NewTopic, Requester};
use crate::topic::{Fault, Partition, Topic};

/// How much of a partition is read at a time when it is replayed.
const REPLAY_BYTES: usize = 1 << 20;

impl Broker {
    /// A coordinator's topic; the first call makes it.
    pub(super) async fn internal_topic(
        self: &Arc<Self>,
        name: &str,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, ErrorCode> {
        if self.topic(name).is_none() {
            let new = NewTopic { name: name.to_owned(), partitions, replication_factor: 1, configs };
            match self.create_topic(new, &Requester::Broker).await {
                Ok(_) | Err((ErrorCode::TOPIC_ALREADY_EXISTS, _)) => {}
                Err((code, why)) => {
                    // What the disk said has been logged where it failed.
                    if code != ErrorCode::KAFKA_STORAGE_ERROR {
                        error!(%code, topic = name, why, "cannot create an internal topic");
                    }
                    return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE);
                }
            }
        }
        self.topic(name).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)
    }
}

/// Reads a partition back from its start, record by record, each with the header of its batch.
pub(super) fn read_back(partition: &Partition, mut each: impl FnMut(&Header, Record)) -> Result<(), Fault> {
    let mut next = partition.start_offset()?;
    loop {
        let read = partition.read(next, REPLAY_BYTES, true)?;
        if read.bytes.is_empty() {
            return Ok(());
        }
        for (header, batch) in batches(&read.bytes) {
            next = header.last_offset() + 1;
            // Checked when it was appended, and again when the log was recovered: whatever is wrong now is
            // the disk's.
            let records = records(&batch).map_err(|why| unreadable(partition, next, why))?;
            for record in records {
                each(&header, record.map_err(|why| unreadable(partition, next, why))?);
            }
        }
    }
}

fn unreadable(partition: &Partition, next: i64, why: Invalid) -> Fault {
    let path = format!("{}-{}", partition.topic(), partition.index()).into();
    Fault::Storage(Error::Io { path, source: io::Error::other(format!("before offset {next}: {why}")) })
}
