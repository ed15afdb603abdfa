//! The leader epochs of a partition (KIP-101, KIP-320).

use std::sync::atomic::Ordering;

use super::fault::Fault;
use super::partition::Partition;

impl Partition {
    /// The epoch that its leader, this broker, appends with.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Relaxed)
    }

    /// Raises the leader epoch to `epoch`, unless it is larger already.
    pub fn raise_leader_epoch(&self, epoch: i32) {
        self.leader_epoch.fetch_max(epoch, Ordering::Relaxed);
    }

    /// The leader epoch of the record at `offset`; the leader's own for an offset without a record.
    pub fn epoch_at(&self, offset: i64) -> Result<i32, Fault> {
        let state = self.lock()?;
        let known = state.log.epoch_at(offset).filter(|_| offset < state.log.end_offset());
        Ok(known.unwrap_or(self.leader_epoch()))
    }

    /// The largest leader epoch at or below `epoch`, and where it ended (KIP-101).
    pub fn epoch_end(&self, epoch: i32) -> Result<Option<(i32, i64)>, Fault> {
        let end = self.lock()?.log.epoch_end_offset(epoch, self.leader_epoch());
        Ok(end.map(|(epoch, offset)| (epoch, offset.min(self.watermark()))))
    }
}
