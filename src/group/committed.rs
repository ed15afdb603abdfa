//! What one group has committed, and what open transactions may yet make of it. Pure.
//!
//! A commit within a transaction waits here for the transaction's end. Commits of one partition count in the
//! order in which they stand in the log, not in that of the markers: one that waits is overtaken by any
//! later one that counts. As in Kafka, and compaction relies on it.

use std::collections::BTreeMap;

use braid_protocol::data::offsets::OffsetCommitValue;

/// By topic and partition. What is forgotten is not there, and nothing waits for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Offsets(BTreeMap<String, BTreeMap<i32, Kept>>);

/// One partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kept {
    /// What counts.
    pub(super) committed: Option<OffsetCommitValue>,
    /// What waits: at most one commit of each producer, in the order of the log.
    pending: Vec<Pending>,
}

#[derive(Clone, Debug, PartialEq)]
struct Pending {
    producer_id: i64,
    /// None once it was overtaken. The transaction is open all the same, and the offset not stable.
    value: Option<OffsetCommitValue>,
}

impl Offsets {
    /// Whether there is nothing, not even something that waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Partitions with an offset that counts.
    pub(super) fn committed(&self) -> usize {
        self.iter().filter(|(_, _, kept)| kept.committed.is_some()).count()
    }

    /// All partitions, also those for which something only waits.
    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&Kept> {
        self.0.get(topic)?.get(&partition)
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = (&String, &BTreeMap<i32, Kept>)> {
        self.0.iter()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i32, &Kept)> {
        self.0
            .iter()
            .flat_map(|(t, partitions)| partitions.iter().map(move |(p, kept)| (t.as_str(), *p, kept)))
    }

    /// An offset was committed, or forgotten: then also what waits for the end of a transaction.
    pub(super) fn replay(&mut self, topic: String, partition: i32, value: Option<OffsetCommitValue>) {
        match value {
            Some(value) => self.kept(topic, partition).commit(value),
            None => {
                let Some(partitions) = self.0.get_mut(&topic) else { return };
                partitions.remove(&partition);
                if partitions.is_empty() {
                    self.0.remove(&topic);
                }
            }
        }
    }

    /// An offset was committed within a transaction.
    pub(super) fn replay_pending(
        &mut self,
        producer_id: i64,
        topic: String,
        partition: i32,
        value: OffsetCommitValue,
    ) {
        let pending = &mut self.kept(topic, partition).pending;
        pending.retain(|p| p.producer_id != producer_id);
        pending.push(Pending { producer_id, value: Some(value) });
    }

    /// The transaction of a producer has ended.
    pub(super) fn replay_end(&mut self, producer_id: i64, commit: bool) {
        self.0.retain(|_, partitions| {
            partitions.retain(|_, kept| {
                kept.end(producer_id, commit);
                kept.committed.is_some() || kept.is_pending()
            });
            !partitions.is_empty()
        });
    }

    fn kept(&mut self, topic: String, partition: i32) -> &mut Kept {
        self.0.entry(topic).or_default().entry(partition).or_default()
    }
}

impl Kept {
    /// Whether a transaction may yet change it.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    fn commit(&mut self, value: OffsetCommitValue) {
        self.committed = Some(value);
        self.pending.iter_mut().for_each(|p| p.value = None);
    }

    fn end(&mut self, producer_id: i64, commit: bool) {
        let Some(at) = self.pending.iter().position(|p| p.producer_id == producer_id) else { return };
        let ended = self.pending.remove(at);
        // what counts already is older: else this one would have been overtaken
        if let Some(value) = ended.value.filter(|_| commit) {
            self.committed = Some(value);
            self.pending.iter_mut().take(at).for_each(|p| p.value = None);
        }
    }
}
