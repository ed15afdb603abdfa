//! The record in a control batch that ends a transaction (KIP-98): key `version i16, type i16 (0 abort, 1
//! commit)`, value `version i16, coordinatorEpoch i32`.

use bytes::Buf;

use crate::record::Record;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMarker {
    /// Committed; else aborted.
    pub commit: bool,
    /// The epoch of the coordinator that decided it.
    pub coordinator_epoch: i32,
}

impl EndMarker {
    /// What the record of a control batch says; `None` for other kinds (leader change, snapshots).
    pub fn of(record: &Record) -> Option<EndMarker> {
        let (mut key, mut value) = (record.key.as_deref()?, record.value.as_deref()?);
        let (_version, kind) = (key.try_get_i16().ok()?, key.try_get_i16().ok()?);
        let _version = value.try_get_i16().ok()?;
        let coordinator_epoch = value.try_get_i32().ok()?;
        (0..=1).contains(&kind).then_some(EndMarker { commit: kind == 1, coordinator_epoch })
    }
}
