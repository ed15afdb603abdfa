//! Who may commit and ask for the offsets of a KIP-848 group. Pure.

use braid_protocol::ErrorCode;
use braid_protocol::api::offset_fetch::OffsetFetchRequestGroup;

use super::Consumers;
use crate::group::Commit;

/// From this version OffsetCommit knows member epochs.
const EPOCHS_FROM: i16 = 9;

impl Consumers {
    /// Whether the sender may commit at all: an administrator while the group is empty, a member in an epoch
    /// that it has or had, or a producer that names no member.
    pub(in crate::group) fn check_commit(&self, commit: &Commit) -> Result<(), ErrorCode> {
        let request = &commit.request;
        let (id, epoch) = (&request.member_id, request.generation_id_or_member_epoch);
        let in_txn = commit.txn.is_some();
        if (epoch < 0 && self.plan.members.is_empty()) || (in_txn && commit.names_nobody()) {
            return Ok(());
        }
        // as in Kafka, whatever its instance: a static member that was replaced is unknown here, not fenced
        let member = self.plan.members.get(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let current = self.plan.current_of(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        match member.classic {
            Some(_) if epoch != current.epoch => Err(ErrorCode::ILLEGAL_GENERATION),
            None if commit.version < EPOCHS_FROM && !in_txn => Err(ErrorCode::UNSUPPORTED_VERSION),
            None if epoch > current.epoch || epoch < 0 => Err(ErrorCode::STALE_MEMBER_EPOCH),
            _ => Ok(()),
        }
    }

    /// Whether a member that named an epoch may commit for this partition: it is in that epoch, or has had
    /// the partition since (KIP-1251).
    pub(in crate::group) fn may_commit(&self, id: &str, epoch: i32, topic: &str, partition: i32) -> bool {
        let Some(current) = self.plan.current_of(id) else { return true };
        let since = || {
            let topic = self.latest.topic(topic)?.id;
            current.assigned.get(&(topic, partition)).or_else(|| current.revoking.get(&(topic, partition)))
        };
        epoch == current.epoch || since().is_some_and(|since| *since <= epoch)
    }

    /// A member that says who it is must be in its epoch (KIP-848); others may always look.
    pub(in crate::group) fn check_fetch(&self, request: &OffsetFetchRequestGroup) -> Result<(), ErrorCode> {
        let id = request.member_id.as_deref().unwrap_or_default();
        if id.is_empty() && request.member_epoch < 0 {
            return Ok(());
        }
        let current = self.plan.current_of(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        match self.plan.members.get(id).is_some_and(|member| member.classic.is_some()) {
            _ if current.epoch == request.member_epoch => Ok(()),
            true => Err(ErrorCode::ILLEGAL_GENERATION),
            false => Err(ErrorCode::STALE_MEMBER_EPOCH),
        }
    }
}
