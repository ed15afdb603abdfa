//! One member's way from what it owns to what it shall own. Pure.
//!
//! First it gives up what it must; only when it has said so it moves to the target's epoch. What it gains it
//! gets as soon as nobody else has it: a partition is given to its new owner only after the old one reported
//! it released, left, or was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::plan::{Current, Partition, Plan, State};

/// What a member says it owns; nothing if it did not say.
pub(super) type Owned<'a> = Option<&'a BTreeSet<Partition>>;

impl Plan {
    /// Moves a member as far as it can go now.
    pub(super) fn reconcile(&mut self, id: &str, owned: Owned<'_>) {
        let Some(current) = self.current.get(id) else { return };
        let next = match current.state {
            State::Stable if current.epoch == self.target_epoch => return,
            State::Stable | State::Unreleased => self.step(id, current, current.epoch, owned),
            State::Unrevoked if still_has(&current.revoking, owned) => return,
            State::Unrevoked => {
                // the epoch tells this revocation from one that may follow
                self.step(id, current, current.epoch.saturating_add(1), owned)
            }
        };
        if next != **current {
            self.current.insert(id.to_owned(), Arc::new(next));
        }
    }

    fn step(&self, id: &str, current: &Current, epoch: i32, owned: Owned<'_>) -> Current {
        let nothing = BTreeSet::new();
        let target = self.targets.get(id).map_or(&nothing, AsRef::as_ref);
        let (mut assigned, revoking): (BTreeMap<_, _>, BTreeMap<_, _>) =
            current.assigned.iter().map(|(p, e)| (*p, *e)).partition(|(p, _)| target.contains(p));
        let moved = |state, epoch, assigned, revoking| Current {
            epoch,
            previous: if epoch == current.epoch { current.previous } else { current.epoch },
            state,
            assigned,
            revoking,
        };
        if still_has(&revoking, owned) {
            return moved(State::Unrevoked, epoch, assigned, revoking);
        }
        let mut free: BTreeSet<Partition> =
            target.iter().filter(|p| !assigned.contains_key(*p)).copied().collect();
        let others = if free.is_empty() { None } else { Some(self.taken_from(id)) };
        for taken in others.into_iter().flatten() {
            free.remove(taken);
        }
        assigned.extend(free.into_iter().map(|p| (p, self.target_epoch)));
        let state = if assigned.len() == target.len() { State::Stable } else { State::Unreleased };
        moved(state, self.target_epoch, assigned, BTreeMap::new())
    }

    /// What members other than this one have, or may still have.
    fn taken_from(&self, id: &str) -> impl Iterator<Item = &Partition> {
        let others = self.current.iter().filter(move |(other, _)| *other != id);
        others.flat_map(|(_, c)| c.assigned.keys().chain(c.revoking.keys()))
    }

    /// Whether a member's target holds partitions that others must still give up.
    pub(super) fn waits_for_others(&self, id: &str) -> bool {
        let (Some(current), Some(target)) = (self.current_of(id), self.targets.get(id)) else { return false };
        let is_wanted = |p: &Partition| target.contains(p) && !current.assigned.contains_key(p);
        target.iter().any(is_wanted) && self.taken_from(id).any(is_wanted)
    }
}

fn still_has(revoking: &BTreeMap<Partition, i32>, owned: Owned<'_>) -> bool {
    revoking.keys().any(|p| owned.is_none_or(|owned| owned.contains(p)))
}
