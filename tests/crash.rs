//! A whole broker on a disk in memory, whose power is cut at each write and each sync of a workload in turn,
//! with un-synced pages lost in all, none, or a random part.
//!
//! The workload: appends, transactions, rolls, retention, compaction, checkpoints, topics created, grown and
//! deleted. Afterwards no acknowledged record is lost and none invented, offsets have no gaps, every index
//! agrees with its log, every topic that was acknowledged is there and every deleted one is gone, a producer
//! goes on where it was, and `read_committed` is told of the transactions that were aborted and of no others.
//!
//! `BRAID_CRASH_ROUNDS=20 cargo test --release --test crash` visits each point with twenty seeds instead of
//! one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;
#[path = "../storage/tests/all/txn_model.rs"]
mod txn_model;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use braid::broker::{Broker, NewTopic, Requester};
use braid::topic::{Isolation, Partition};
use braid_storage::checkpoint::{CLEAN_SHUTDOWN, RECOVERY_POINTS};
use braid_storage::sim::{Fault, Loss, SimDisk};
use braid_storage::{BatchBuilder, Disk};
use support::disk::{NOW, Pair, open, read, transact};
use txn_model::Model;

const STEPS: usize = 60;
const KEYS: usize = 5;

/// The power is gone, or something that follows from it.
#[derive(Debug)]
struct Stopped;

/// What the world outside knows.
#[derive(Default)]
struct Outside {
    /// Topics that were asked for, and whether the answer came.
    topics: BTreeMap<String, Known>,
    /// Records sent to each log, in order: key and value; and how many of them were acknowledged.
    sent: BTreeMap<&'static str, Vec<Pair>>,
    acked: BTreeMap<&'static str, usize>,
    /// What happened in the log of transactions.
    txns: Model,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Wanted,
    Created,
    Unwanted,
    Deleted,
}

fn partition(broker: &Broker, topic: &str) -> Result<Arc<Partition>, Stopped> {
    support::disk::partition(broker, topic).ok_or(Stopped)
}

async fn create(
    broker: &Arc<Broker>,
    outside: &mut Outside,
    name: &str,
    configs: &[(&str, &str)],
) -> Result<(), Stopped> {
    outside.topics.insert(name.to_owned(), Known::Wanted);
    let configs = configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let new = NewTopic { name: name.to_owned(), partitions: 1, replication_factor: 1, configs };
    broker.create_topic(new, &Requester::Broker).await.map_err(|_| Stopped)?;
    outside.topics.insert(name.to_owned(), Known::Created);
    Ok(())
}

/// Appends a batch of the step's records and waits until it is acknowledged.
async fn produce(
    broker: &Broker,
    outside: &mut Outside,
    log: &'static str,
    step: usize,
) -> Result<(), Stopped> {
    let sent = outside.sent.entry(log).or_default();
    let mut batch = BatchBuilder::new().producer(7, 0, sent.len() as i32);
    for n in 0..1 + step % 3 {
        let key = (log == "compacted").then(|| format!("k{}", (step * 3 + n) % KEYS));
        let value = format!("{log}-{}-{}", sent.len(), "x".repeat(40));
        batch.push(NOW + step as i64, key.as_deref().map(str::as_bytes), Some(value.as_bytes()), &[]);
        sent.push((key, value));
    }
    let partition = partition(broker, log)?;
    let appended = partition.append(&batch.build().unwrap(), None, NOW + step as i64).map_err(|_| Stopped)?;
    partition.reached(appended.last_offset).await.map_err(|_| Stopped)?;
    outside.acked.insert(log, appended.last_offset as usize + 1);
    Ok(())
}

/// A step of some transaction, acknowledged.
async fn produce_in_txn(broker: &Broker, outside: &mut Outside, step: usize) -> Result<(), Stopped> {
    let partition = partition(broker, "txns")?;
    let base = partition.look(|log| log.end_offset()).map_err(|_| Stopped)?;
    let producer = 20 + step as i64 % 2;
    let ends = step % 5 > 2 && outside.txns.open.contains_key(&producer);
    // In the model even if it fails: it may be found later.
    match ends {
        true => outside.txns.end(base, producer, step.is_multiple_of(3)),
        false => outside.txns.data(base, base, producer),
    }
    let ends = ends.then_some(step.is_multiple_of(3));
    let last = transact(&partition, producer, ends).map_err(|_| Stopped)?;
    partition.reached(last).await.map_err(|_| Stopped)?;
    outside.acked.insert("txns", last as usize + 1);
    Ok(())
}

/// The workload, until the power goes.
async fn work(broker: &Arc<Broker>, outside: &mut Outside) -> Result<(), Stopped> {
    create(broker, outside, "kept", &[("retention.bytes", "-1")]).await?;
    create(broker, outside, "retained", &[("retention.bytes", "1500")]).await?;
    create(broker, outside, "compacted", &[("cleanup.policy", "compact")]).await?;
    create(broker, outside, "txns", &[]).await?;
    for step in 0..STEPS {
        produce_in_txn(broker, outside, step).await?;
        produce(broker, outside, ["kept", "retained", "compacted"][step % 3], step).await?;
        match step % 10 {
            2 => broker.retain(),
            4 => broker.checkpoint().map_err(|_| Stopped)?,
            5 => {
                broker.unlink();
            }
            6 => broker.clean(),
            7 => create(broker, outside, &format!("t{step}"), &[]).await?,
            9 => {
                let name = format!("t{}", step - 2);
                let id = broker.topic(&name).ok_or(Stopped)?.id;
                outside.topics.insert(name.clone(), Known::Unwanted);
                broker.delete_topic(id, &Requester::Broker).await.map_err(|_| Stopped)?;
                outside.topics.insert(name, Known::Deleted);
            }
            _ => {}
        }
    }
    broker.close().map_err(|_| Stopped)
}

fn verify(broker: &Arc<Broker>, outside: &Outside) {
    let image = broker.cluster.image();
    for (name, known) in &outside.topics {
        match known {
            Known::Created => assert!(image.topic(name).is_some(), "{name} was acknowledged and is lost"),
            Known::Deleted => assert!(image.topic(name).is_none(), "{name} was deleted and is back"),
            Known::Wanted | Known::Unwanted => {}
        }
    }
    assert!(image.topics().all(|t| outside.topics.contains_key(&*t.name)), "topics out of nothing");
    if let Ok(partition) = partition(broker, "txns") {
        let acked = outside.acked.get("txns").copied().unwrap_or(0);
        assert!(partition.watermark() as usize >= acked, "an acknowledged transaction is lost");
        let model = outside.txns.cut(partition.watermark());
        partition.look(|log| model.check(log)).unwrap();
        assert_eq!(partition.last_stable_offset(), model.stable(partition.watermark()));
    }
    for (log, sent) in &outside.sent {
        let Ok(partition) = partition(broker, log) else { continue };
        let acked = outside.acked.get(log).copied().unwrap_or(0);
        let found = read(&partition);
        let (start, end) = (partition.start_offset().unwrap(), partition.watermark());
        assert!(end as usize >= acked, "{log}: {acked} acknowledged, the log ends at {end}");
        for (offset, record) in &found {
            assert_eq!(Some(record), sent.get(*offset as usize), "{log}: offset {offset} was never sent");
        }
        match *log {
            "compacted" => {
                for key in (0..KEYS).map(|n| Some(format!("k{n}"))) {
                    let last = |up_to: usize| sent[..up_to].iter().rposition(|(k, _)| *k == key);
                    let newest =
                        found.iter().rev().find(|(_, (k, _))| *k == key).map(|(offset, _)| *offset as usize);
                    assert!(newest >= last(acked), "{key:?}: {newest:?} is not the newest");
                }
            }
            _ => {
                let gapless = found.keys().copied().eq(start..end);
                assert!(gapless, "{log}: {start}..{end}, found {:?}", found.keys());
                assert!(*log == "retained" || start == 0, "{log} begins at {start}");
            }
        }
        for (offset, step) in found.keys().map(|offset| (*offset, NOW)).take(1) {
            let first = partition.offset_for_timestamp(step, Isolation::ReadUncommitted).unwrap();
            assert_eq!(first.map(|(_, offset)| offset), Some(offset), "{log}: the time index");
        }
    }
}

/// One life and what comes after it. Returns false if the workload ended before the power went.
fn life(point: u64, loss: Loss) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let disk = SimDisk::new();
    let mut outside = Outside::default();
    let broker = open(&disk);
    disk.fail_at(disk.calls() + point, Fault::PowerCut);
    let done = runtime.block_on(work(&broker, &mut outside)).is_ok();
    drop(broker);
    let after = disk.crash(loss);
    let broker = open(&after);
    verify(&broker, &outside);
    if done {
        let records = |log: &str| read(&partition(&broker, log).unwrap()).len();
        assert!(records("compacted") < outside.sent["compacted"].len(), "nothing was compacted");
        assert!(records("retained") < outside.sent["retained"].len(), "nothing was deleted");
    }
    // It goes on, and a second start finds the same.
    let more = runtime.block_on(async {
        if let Ok(partition) = partition(&broker, "txns") {
            outside.txns = outside.txns.cut(partition.watermark());
            for step in 0..7 {
                produce_in_txn(&broker, &mut outside, step).await?;
            }
        }
        for (step, log) in (0..).zip(outside.sent.keys().copied().collect::<Vec<_>>()) {
            let Ok(partition) = partition(&broker, log) else { continue };
            outside.sent.get_mut(log).unwrap().truncate(partition.watermark() as usize);
            outside.acked.insert(log, partition.watermark() as usize);
            produce(&broker, &mut outside, log, step).await?;
        }
        broker.close().map_err(|_| Stopped)
    });
    more.unwrap();
    drop(broker);
    let stopped = after.crash(Loss::Everything);
    if point.is_multiple_of(2) {
        // An operator's hand: what was compacted has gaps, and must not be cut there.
        for name in [CLEAN_SHUTDOWN, RECOVERY_POINTS] {
            stopped.remove(&Path::new("/data").join(name)).unwrap();
        }
    }
    verify(&open(&stopped), &outside);
    !done
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_goes() {
    let rounds: u64 = std::env::var("BRAID_CRASH_ROUNDS").map_or(0, |rounds| rounds.parse().unwrap());
    let mut points = 0;
    for point in 1.. {
        // Every point is visited; by how much is lost, in turn when time is short.
        let few = [Loss::Everything, Loss::Random(point), Loss::Nothing];
        let all = few.into_iter().chain((1..rounds).map(|round| Loss::Random(point * 1_000 + round)));
        let losses: Vec<Loss> = if rounds == 0 { vec![few[point as usize % 3]] } else { all.collect() };
        let mut cut = false;
        for loss in losses {
            let fault = std::panic::catch_unwind(|| life(point, loss));
            cut = fault.unwrap_or_else(|_| panic!("at point {point}, with {loss:?}"));
            points += 1;
        }
        if !cut {
            break;
        }
    }
    println!("{points} crashes");
    assert!(points > 300, "{points} crashes are too few to say anything");
}
