//! Who leads a partition. Everything that reads or writes one finds it here, and is answered here with
//! UNKNOWN_TOPIC_OR_PARTITION if it does not exist, and with FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH if
//! the client believes in another leader epoch (KIP-320).

use std::cmp::Ordering;
use std::sync::Arc;

use braid_protocol::{ErrorCode, Uuid};

use super::partition::Partition;
use super::{Topic, Topics};

/// The leader epoch of a client that names none.
pub const NO_EPOCH: i32 = -1;

impl Topics {
    /// The topic of this name, or UNKNOWN_TOPIC_OR_PARTITION.
    pub fn find(&self, name: &str) -> Result<Arc<Topic>, ErrorCode> {
        self.get(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// The topic of this id, or UNKNOWN_TOPIC_ID.
    pub fn find_by_id(&self, id: Uuid) -> Result<Arc<Topic>, ErrorCode> {
        self.get_by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    }
}

impl Topic {
    /// The partition of this number, which this broker leads. `believed_epoch` is the leader epoch that the
    /// client knows, or [`NO_EPOCH`].
    pub fn lead(&self, index: i32, believed_epoch: i32) -> Result<Arc<Partition>, ErrorCode> {
        let partition = self.partition(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        check_epoch(believed_epoch, partition.leader_epoch())?;
        Ok(partition)
    }
}

/// Compares the leader epoch that a client believes in with the real one.
fn check_epoch(believed: i32, real: i32) -> Result<(), ErrorCode> {
    match believed.cmp(&real) {
        _ if believed == NO_EPOCH => Ok(()),
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(ErrorCode::FENCED_LEADER_EPOCH),
        Ordering::Greater => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
    }
}
