//! How the cluster is changed. All changes that wait are decided one after another, each on the image that
//! those before lead to; the partitions they need are made together; then all are written to stable storage
//! as one batch, shown together, and answered.
//!
//! Partitions come before the commit: if one cannot be made, its change is refused and nothing has happened.
//! A kill in between leaves directories that the next start knows by their recovery points and removes. A
//! change that was decided on an image that did not come to be is decided again in the next round. A round
//! runs to its end even if the clients disconnect.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use braid_protocol::{ErrorCode, Uuid};
use braid_storage::Error;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::error;

use super::{Broker, Requester};
use crate::cluster::{Change, Image, Turn};
use crate::config::TopicConfig;
use crate::topic::{Partition, Topic, Wanted};

/// Why a change of the cluster was refused: the code and a message for the client.
pub type Refused = (ErrorCode, String);

/// Changes that are decided in one round, so that a batch of the metadata log stays small.
const ROUND_MAX: usize = 1_000;

/// The changes that wait for their round.
#[derive(Default)]
pub(super) struct Changes {
    waiting: Mutex<VecDeque<Box<dyn Proposal>>>,
}

/// Something that is to be changed, and whom to answer.
trait Proposal: Send {
    /// Who asked for it.
    fn requester(&self) -> &Requester;
    /// What has to be written down, given this image. May be asked again, with another one.
    fn decide(&mut self, image: &Image, broker: &Broker) -> Result<Vec<Change>, Refused>;
    /// The change is done, and this is the image; or it was refused.
    fn answer(self: Box<Self>, done: Result<Arc<Image>, Refused>);
}

struct Asked<D, T> {
    requester: Requester,
    decide: D,
    outcome: Option<T>,
    answer: oneshot::Sender<Result<(Arc<Image>, T), Refused>>,
}

impl<T, D> Proposal for Asked<D, T>
where
    T: Send,
    D: FnMut(&Image, &Broker) -> Result<(Vec<Change>, T), Refused> + Send,
{
    fn requester(&self) -> &Requester {
        &self.requester
    }

    fn decide(&mut self, image: &Image, broker: &Broker) -> Result<Vec<Change>, Refused> {
        let (changes, outcome) = (self.decide)(image, broker)?;
        self.outcome = Some(outcome);
        Ok(changes)
    }

    fn answer(self: Box<Self>, done: Result<Arc<Image>, Refused>) {
        let Asked { outcome, answer, .. } = *self;
        let done = done.and_then(|image| Ok((image, outcome.ok_or_else(failed)?)));
        // The client may have disconnected.
        let _ = answer.send(done);
    }
}

/// A change that is decided, and what was made for it.
struct Decided {
    proposal: Box<dyn Proposal>,
    changes: Vec<Change>,
    /// The partitions it needs.
    needs: Vec<(Uuid, Range<i32>)>,
    made: Vec<(Uuid, Arc<Partition>)>,
    failed: bool,
}

/// What becomes of the changes of one round.
#[derive(Default)]
struct Round {
    decided: Vec<Decided>,
    answers: Vec<(Box<dyn Proposal>, Refused)>,
    /// To be decided again.
    later: Vec<Box<dyn Proposal>>,
}

/// The answer that is still to come.
pub(super) struct Answer<T>(oneshot::Receiver<Result<(Arc<Image>, T), Refused>>);

impl<T> Answer<T> {
    pub(super) async fn wait(self) -> Result<(Arc<Image>, T), Refused> {
        self.0.await.unwrap_or_else(|_| Err(failed()))
    }
}

fn failed() -> Refused {
    (ErrorCode::UNKNOWN_SERVER_ERROR, "The change failed.".to_owned())
}

fn disk_failed() -> Refused {
    (ErrorCode::KAFKA_STORAGE_ERROR, "Disk error when trying to access log file on the disk.".to_owned())
}

impl Broker {
    /// Changes the cluster; returns the image with the change in it.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        decide: impl FnMut(&Image, &Broker) -> Result<(Vec<Change>, T), Refused> + Send + 'static,
        requester: &Requester,
    ) -> Result<(Arc<Image>, T), Refused> {
        let answer = self.ask(decide, requester);
        self.run_changes();
        answer.wait().await
    }

    /// Has a change wait for the next round, which [`Broker::run_changes`] begins.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        decide: impl FnMut(&Image, &Broker) -> Result<(Vec<Change>, T), Refused> + Send + 'static,
        requester: &Requester,
    ) -> Answer<T> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { requester: requester.clone(), decide, outcome: None, answer };
        self.changes.waiting.lock().push_back(Box::new(asked));
        Answer(answered)
    }

    /// Carries out what waits, as soon as the round under way is over.
    pub(super) fn run_changes(self: &Arc<Self>) {
        let broker = self.clone();
        tokio::spawn(async move {
            let turn = broker.cluster.turn().await;
            let waiting: Vec<_> = {
                let mut waiting = broker.changes.waiting.lock();
                let count = waiting.len().min(ROUND_MAX);
                waiting.drain(..count).collect()
            };
            // The round before may have taken them already.
            if waiting.is_empty() {
                return;
            }
            let this = broker.clone();
            // A panic has been logged by the panic hook; the changes it dropped are answered.
            let _ = tokio::task::spawn_blocking(move || this.round(turn, waiting)).await;
            if !broker.changes.waiting.lock().is_empty() {
                broker.run_changes();
            }
        });
    }

    fn round(&self, turn: Turn, waiting: Vec<Box<dyn Proposal>>) {
        let base = turn.image();
        let (mut round, mut next) = self.decide_all(base, waiting);
        self.make_partitions(base, &next, &mut round.decided);
        if round.decided.iter().any(|decided| decided.failed) {
            next = self.sort_out(base, &mut round);
        }
        let mut changes: Vec<Change> =
            round.decided.iter().flat_map(|decided| decided.changes.iter().cloned()).collect();
        let done = match changes.is_empty() {
            true => Ok(()),
            false => {
                let removed = self.removed(base);
                removed.iter().for_each(|change| next.apply(change));
                changes.extend(removed);
                turn.commit(&changes, self.clock.now())
            }
        };
        let Round { decided, answers, later } = round;
        if let Err(error) = done {
            error!(%error, changes = changes.len(), "the metadata log cannot be written to");
            for Decided { proposal, made, .. } in decided {
                self.discard(&made);
                proposal.answer(Err(disk_failed()));
            }
        } else {
            let next = Arc::new(next);
            let mut done = Vec::with_capacity(decided.len());
            for Decided { proposal, changes: committed, made, .. } in decided {
                committed.iter().for_each(|change| proposal.requester().log(change, base, &next));
                self.show(&next, made);
                done.push(proposal);
            }
            self.reconfigure(&next, &changes);
            self.close_deleted(&next);
            self.dirs.descriptors().share(next.partition_count());
            turn.publish(next.clone());
            done.into_iter().for_each(|proposal| proposal.answer(Ok(next.clone())));
        }
        answers.into_iter().for_each(|(proposal, why)| proposal.answer(Err(why)));
        let mut waiting = self.changes.waiting.lock();
        later.into_iter().rev().for_each(|proposal| waiting.push_front(proposal));
    }

    /// What need not be remembered any more of topics that were deleted: nothing is left of them.
    fn removed(&self, image: &Image) -> Vec<Change> {
        let gone = image.deleted().filter(|id| self.dirs.is_removed(*id)).take(ROUND_MAX);
        gone.map(|id| Change::TopicRemoved { id: id.to_string() }).collect()
    }

    /// Decides on changes, and returns the image that all of them lead to.
    fn decide_all(&self, base: &Image, waiting: Vec<Box<dyn Proposal>>) -> (Round, Image) {
        let (mut round, mut next) = (Round::default(), Image::clone(base));
        for mut proposal in waiting {
            // A panic in one must not fail the others; its client is answered when it is dropped.
            let decided = catch_unwind(AssertUnwindSafe(|| proposal.decide(&next, self)));
            match decided {
                Err(_) => {}
                Ok(Err(why)) => round.answers.push((proposal, why)),
                Ok(Ok(changes)) if replaces(base, &changes) => round.later.push(proposal),
                Ok(Ok(changes)) => {
                    let mut needs = Vec::new();
                    for change in &changes {
                        needs.extend(needed(&next, change));
                        next.apply(change);
                    }
                    let made = Vec::new();
                    round.decided.push(Decided { proposal, changes, needs, made, failed: false });
                }
            }
        }
        (round, next)
    }

    /// Makes the partitions that the changes need. Those of which one cannot be made have failed.
    fn make_partitions(&self, base: &Image, next: &Image, decided: &mut [Decided]) {
        if self.dirs.first_failed() {
            decided.iter_mut().for_each(|decided| decided.failed = true);
            return;
        }
        let broker = self.live();
        let (mut wanted, mut owners): (Vec<Wanted>, Vec<usize>) = (Vec::new(), Vec::new());
        for (n, one) in decided.iter().enumerate() {
            for (id, range) in &one.needs {
                // Created and deleted in one round: there is nothing to make.
                let Some(topic) = next.topic_by_id(*id) else { continue };
                let config = TopicConfig::of(&broker, &topic.configs);
                wanted.extend(range.clone().map(|index| (topic.clone(), index, config.clone())));
                owners.resize(wanted.len(), n);
            }
        }
        if wanted.is_empty() {
            return;
        }
        self.spare_descriptors(next.partition_count());
        let made = self.dirs.create(&wanted, base, &broker, self.clock.now());
        let mut first: Option<(Error, &Wanted)> = None;
        let mut failures = 0;
        for ((one, made), owner) in wanted.iter().zip(made).zip(owners) {
            let Some(decided) = decided.get_mut(owner) else { continue };
            match made {
                Ok(partition) => decided.made.push((one.0.id, partition)),
                Err(error) => {
                    decided.failed = true;
                    failures += 1;
                    first.get_or_insert((error, one));
                }
            }
        }
        if let Some((error, (topic, index, _))) = first {
            let partition = format!("{}-{index}", topic.name);
            error!(%error, partition, failures, "partitions could not be created; their topics were refused");
        }
    }

    /// Some changes have failed: they are refused, and what was decided with them in mind is decided again.
    /// Returns the image that the rest leads to.
    fn sort_out(&self, base: &Image, round: &mut Round) -> Image {
        let (mut next, mut touched) = (Image::clone(base), BTreeSet::new());
        for decided in std::mem::take(&mut round.decided) {
            let topics: Vec<String> = decided.changes.iter().filter_map(topic_of).collect();
            if !decided.failed && !topics.iter().any(|id| touched.contains(id)) {
                decided.changes.iter().for_each(|change| next.apply(change));
                round.decided.push(decided);
                continue;
            }
            touched.extend(topics);
            self.discard(&decided.made);
            match decided.failed {
                true => round.answers.push((decided.proposal, disk_failed())),
                false => round.later.push(decided.proposal),
            }
        }
        let refused = std::mem::take(&mut round.answers);
        for (proposal, why) in refused {
            match why.0 {
                ErrorCode::KAFKA_STORAGE_ERROR => round.answers.push((proposal, why)),
                _ => round.later.push(proposal),
            }
        }
        next
    }

    /// Removes what was made for a change that does not come to be.
    fn discard(&self, made: &[(Uuid, Arc<Partition>)]) {
        for same in made.chunk_by(|(one, _), (other, _)| one == other) {
            let partitions: Vec<_> = same.iter().map(|(_, partition)| partition.clone()).collect();
            if let [(id, _), ..] = same {
                self.dirs.discard(*id, &partitions);
            }
        }
    }

    /// Adds new partitions to their topics.
    fn show(&self, image: &Image, made: Vec<(Uuid, Arc<Partition>)>) {
        for same in made.chunk_by(|(one, _), (other, _)| one == other) {
            let partitions: Vec<_> = same.iter().map(|(_, partition)| partition.clone()).collect();
            let Some(image) = same.first().and_then(|(id, _)| image.topic_by_id(*id)) else { continue };
            match self.topics.get_by_id(image.id) {
                Some(topic) => topic.grow(partitions),
                None => {
                    let config = TopicConfig::of(&self.live(), &image.configs);
                    let metrics = self.metrics.topic(&image.name);
                    self.topics.insert(Arc::new(Topic::new(image, config, metrics, partitions)));
                }
            }
        }
    }

    /// Closes what the image no longer has.
    fn close_deleted(&self, image: &Image) {
        for topic in self.topics.all() {
            if image.topic_by_id(topic.id).is_none() {
                self.topics.remove(topic.id);
                self.metrics.forget(&topic.name);
                self.dirs.delete(topic.id, &topic.partitions());
            }
        }
    }

    /// Closes files that can be opened again if this many partitions leave no room for them.
    pub(super) fn spare_descriptors(&self, partitions: usize) {
        if !self.dirs.descriptors().share(partitions) {
            // What is offline has no files open.
            self.topics.partitions().iter().for_each(|p| drop(p.look(|log| log.close_sealed())));
        }
    }

    /// Looks after directories and descriptors; to be called every few seconds. Cheap while all is well.
    pub fn watch(&self) {
        self.dirs.watch();
        self.spare_descriptors(self.cluster.image().partition_count());
    }
}

/// Whether a topic is created under a name that another one still has on disk.
fn replaces(base: &Image, changes: &[Change]) -> bool {
    changes
        .iter()
        .any(|change| matches!(change, Change::TopicCreated { name, .. } if base.topic(name).is_some()))
}

/// The topic that a change is about.
fn topic_of(change: &Change) -> Option<String> {
    match change {
        Change::TopicCreated { id, .. }
        | Change::PartitionsCreated { id, .. }
        | Change::TopicDeleted { id }
        | Change::TopicRemoved { id }
        | Change::TopicConfigs { id, .. } => Some(id.clone()),
        Change::Formatted { .. }
        | Change::BrokerConfigs { .. }
        | Change::GroupConfigs { .. }
        | Change::LeaderEpoch { .. }
        | Change::ProducerIds { .. } => None,
    }
}

/// The partitions that a change adds to an image.
fn needed(image: &Image, change: &Change) -> Option<(Uuid, Range<i32>)> {
    match change {
        Change::TopicCreated { id, partitions, .. } => Some((id.parse().ok()?, 0..*partitions)),
        Change::PartitionsCreated { id, partitions } => {
            let id = id.parse().ok()?;
            Some((id, image.topic_by_id(id)?.partitions..*partitions))
        }
        _ => None,
    }
}
