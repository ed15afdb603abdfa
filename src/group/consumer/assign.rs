//! The assignors of the server: who shall own which partitions. Pure.
//!
//! `uniform` spreads all partitions evenly and moves as few of them as that allows; `range` gives each member
//! one run of neighbours of every topic, the same run in topics of the same size. A vote decides, and between
//! equals Kafka's order: uniform first.
//! Not done: racks. All partitions are on this broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use braid_protocol::Uuid;

use super::plan::{Many, Partition, Plan};
use crate::cluster::Image;

/// The assignors, the default one first.
pub(super) const ASSIGNORS: [&str; 2] = ["uniform", "range"];

/// What there is to be shared out.
struct Work<'a> {
    /// What each member reads.
    reads: BTreeMap<&'a str, BTreeSet<Uuid>>,
    /// Who reads each topic.
    readers: BTreeMap<Uuid, Vec<&'a str>>,
    /// How many partitions each topic has.
    sizes: BTreeMap<Uuid, i32>,
}

type Shares<'a> = BTreeMap<&'a str, BTreeSet<Partition>>;

impl Plan {
    /// The assignor that most members ask for.
    pub(super) fn assignor(&self) -> &'static str {
        let votes =
            |name: &str| self.members.values().filter(|m| m.assignor.as_deref() == Some(name)).count();
        let [first, second] = ASSIGNORS;
        if votes(second) > votes(first) { second } else { first }
    }

    /// Makes the targets of the present epoch.
    pub(super) fn compute_target_assignment(&mut self, topics: &Image) {
        let work = self.work(topics);
        let shares = match self.assignor() {
            "range" => range(&work, &self.in_order()),
            _ => uniform(&work, &self.targets),
        };
        let targets: Many<BTreeSet<Partition>> =
            shares.into_iter().map(|(id, share)| (id.to_owned(), Arc::new(share))).collect();
        self.targets = targets;
        self.target_epoch = self.state.epoch;
    }

    fn work(&self, topics: &Image) -> Work<'_> {
        let mut work = Work { reads: BTreeMap::new(), readers: BTreeMap::new(), sizes: BTreeMap::new() };
        for (id, member) in &self.members {
            let known = self.topics_of(member).into_iter().filter_map(|name| topics.topic(name));
            let known: Vec<(Uuid, i32)> = known.map(|t| (t.id, t.partitions)).collect();
            for (topic, size) in &known {
                work.readers.entry(*topic).or_default().push(id);
                work.sizes.insert(*topic, *size);
            }
            work.reads.insert(id, known.into_iter().map(|(topic, _)| topic).collect());
        }
        work
    }

    /// Static members first, by their names, so that they keep their runs when they come back.
    fn in_order(&self) -> Vec<&str> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by_key(|(id, m)| (m.instance_id.is_none(), m.instance_id.as_deref(), *id));
        members.into_iter().map(|(id, _)| id.as_str()).collect()
    }
}

fn range<'a>(work: &Work<'a>, order: &[&'a str]) -> Shares<'a> {
    let mut shares: Shares<'a> = work.reads.keys().map(|id| (*id, BTreeSet::new())).collect();
    for (topic, size) in &work.sizes {
        let readers =
            order.iter().filter(|id| work.reads.get(*id).is_some_and(|reads| reads.contains(topic)));
        let readers: Vec<&&str> = readers.collect();
        let count = i32::try_from(readers.len()).unwrap_or(i32::MAX).max(1);
        let (each, extra) = (size / count, size % count);
        let mut next = 0;
        for (n, id) in (0..).zip(readers) {
            let end = next + each + i32::from(n < extra);
            shares.entry(id).or_default().extend((next..end).map(|p| (*topic, p)));
            next = end;
        }
    }
    shares
}

fn uniform<'a>(work: &Work<'a>, before: &Many<BTreeSet<Partition>>) -> Shares<'a> {
    let exists = |p: &&Partition| work.sizes.get(&p.0).is_some_and(|size| (0..*size).contains(&p.1));
    let kept = |id: &str, reads: &BTreeSet<Uuid>| -> BTreeSet<Partition> {
        let before = before.get(id).into_iter().flat_map(|share| share.iter());
        before.filter(exists).filter(|p| reads.contains(&p.0)).copied().collect()
    };
    let shares: Shares<'a> = work.reads.iter().map(|(id, reads)| (*id, kept(id, reads))).collect();
    let mut reads = work.reads.values();
    let first = reads.next();
    match reads.all(|other| Some(other) == first) {
        true => spread_alike(work, shares),
        false => spread_unlike(work, shares),
    }
}

/// All partitions that nobody has.
fn orphans(work: &Work<'_>, shares: &Shares<'_>) -> Vec<Partition> {
    let taken: BTreeSet<&Partition> = shares.values().flatten().collect();
    let all = work.sizes.iter().flat_map(|(topic, size)| (0..*size).map(|p| (*topic, p)));
    all.filter(|p| !taken.contains(p)).collect()
}

/// All read the same: everybody gets the same number, some one more. Those that have more keep it.
fn spread_alike<'a>(work: &Work<'a>, mut shares: Shares<'a>) -> Shares<'a> {
    let total: usize = work.sizes.values().map(|size| usize::try_from(*size).unwrap_or(0)).sum();
    let (each, mut extra) = match shares.len() {
        0 => return shares,
        members => (total / members, total % members),
    };
    for share in shares.values_mut().filter(|share| share.len() > each) {
        let keeps = each + usize::from(extra > 0);
        extra = extra.saturating_sub(1);
        while share.len() > keeps {
            share.pop_last();
        }
    }
    let mut orphans = orphans(work, &shares).into_iter();
    for share in shares.values_mut() {
        let missing = each.saturating_sub(share.len());
        share.extend(orphans.by_ref().take(missing));
    }
    for share in shares.values_mut().filter(|share| share.len() == each) {
        share.extend(orphans.next());
    }
    shares
}

/// Members read different topics: an unassigned partition goes to the member with the fewest that reads it,
/// and then partitions move one by one from members that have more to those that have less.
fn spread_unlike<'a>(work: &Work<'a>, mut shares: Shares<'a>) -> Shares<'a> {
    let least = |shares: &Shares<'a>, topic: &Uuid| {
        let readers = work.readers.get(topic).into_iter().flatten();
        readers.map(|id| (shares.get(id).map_or(0, BTreeSet::len), *id)).min()
    };
    let mut orphans = orphans(work, &shares);
    // the fewer read it, the less choice there is
    orphans.sort_by_key(|(topic, p)| (work.readers.get(topic).map_or(0, Vec::len), *topic, *p));
    for partition in orphans {
        if let Some((_, id)) = least(&shares, &partition.0) {
            shares.entry(id).or_default().insert(partition);
        }
    }
    let members: Vec<&'a str> = shares.keys().copied().collect();
    loop {
        let mut moved = false;
        for id in &members {
            for partition in shares.get(id).cloned().unwrap_or_default() {
                let has = shares.get(id).map_or(0, BTreeSet::len);
                let Some((less, to)) = least(&shares, &partition.0).filter(|(n, _)| n + 1 < has) else {
                    continue;
                };
                debug_assert!(less < has && to != *id, "a move evens out, so this ends");
                shares.entry(id).or_default().remove(&partition);
                shares.entry(to).or_default().insert(partition);
                moved = true;
            }
        }
        if !moved {
            return shares;
        }
    }
}
