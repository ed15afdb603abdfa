//! The protocols that the members of a classic group offer: which all have in common, and which is elected.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::classic::Classic;

/// The protocol type of consumers, the only one whose metadata the broker reads.
pub(super) const CONSUMER: &str = "consumer";

impl Classic {
    /// Whether its members are consumers.
    pub(super) fn has_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether someone who offers these protocols can be in a group with the members there are.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        match self.members.is_empty() {
            true => !protocol_type.is_empty() && !protocols.is_empty(),
            false => {
                let common = self.common_protocols();
                self.protocol_type.as_deref() == Some(protocol_type)
                    && protocols.iter().any(|(name, _)| common.contains(name.as_str()))
            }
        }
    }

    /// Bytes of what members said along with their protocols, but for this one.
    pub(super) fn kept_bytes_without(&self, id: &str) -> usize {
        let others = self.members.iter().filter(|(other, _)| *other != id).flat_map(|(_, m)| &m.protocols);
        others.map(|(name, metadata)| name.len() + metadata.len()).sum()
    }

    /// The protocols that every member offers.
    fn common_protocols(&self) -> BTreeSet<&str> {
        let mut offers: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, _) in self.members.values().flat_map(|m| &m.protocols) {
            *offers.entry(name).or_default() += 1;
        }
        offers.into_iter().filter(|(_, n)| *n >= self.members.len()).map(|(name, _)| name).collect()
    }

    /// Each member votes for the first of its protocols that all can speak. The most votes win; between
    /// equals, the name that sorts first.
    pub(super) fn elect_protocol(&self) -> Option<String> {
        let common = self.common_protocols();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().map(|(n, _)| n.as_str()).find(|n| common.contains(n));
            if let Some(name) = vote {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, n)| *n == most).map(|(name, _)| name.to_owned())
    }

    /// The topics that its members read; `None` if that cannot be known.
    pub(super) fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        let protocol = self.protocol.as_deref().filter(|_| self.has_consumers())?;
        let topics: Option<Vec<_>> = self.members.values().map(|m| m.topics(protocol)).collect();
        Some(topics?.into_iter().flatten().collect())
    }
}
