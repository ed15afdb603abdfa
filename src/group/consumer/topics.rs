//! What a group reads: subscriptions held against the cluster as it is now. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::patterns::Patterns;
use super::plan::{Plan, Resolved};
use crate::cluster::Image;
use crate::machine::Millis;

impl Plan {
    /// Holds the subscriptions against the cluster: finds what the expressions stand for, and begins a new
    /// epoch if anything has changed that the group reads, or if the caller knows so. What is resolved
    /// already is not looked at again if the cluster, as it is now, was `seen` before.
    pub(super) fn look_at(
        &mut self,
        (topics, patterns): (&Arc<Image>, &Patterns),
        now: Millis,
        changed: bool,
        seen: bool,
    ) {
        self.drop_regexes();
        let used: BTreeSet<String> = self.members.values().filter_map(|m| m.regex.clone()).collect();
        for regex in used {
            if seen && self.regexes.contains_key(&regex) {
                continue;
            }
            let Ok(found) = patterns.topics(&regex, topics) else { continue };
            if self.regexes.get(&regex).is_none_or(|known| known.topics != found) {
                self.regexes.insert(regex, Arc::new(Resolved { topics: found, at: now }));
            }
        }
        let hash = self.hash(topics);
        if changed || hash != self.state.hash {
            self.state.hash = hash;
            self.bump_group_epoch();
        }
    }

    /// Stands for all that matters of the topics that the group reads; 0 if there are none.
    fn hash(&self, topics: &Image) -> i64 {
        let mut known = self.topics().into_iter().filter_map(|name| topics.topic(name)).peekable();
        if known.peek().is_none() {
            return 0;
        }
        let bytes = known.flat_map(|topic| {
            let end_of_name = [0xff]; // in no text
            let numbers = topic.id.0.into_iter().chain(topic.partitions.to_be_bytes());
            topic.name.bytes().chain(end_of_name).chain(numbers).collect::<Vec<u8>>()
        });
        fnv(bytes).cast_signed()
    }
}

/// FNV-1a, which stays the same forever: the hash is written down.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
