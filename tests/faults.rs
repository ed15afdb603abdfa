//! A whole broker on a disk in memory of which each call in turn fails once, with EIO and with ENOSPC: open,
//! list, rename, remove, read, append, sync, set_len, and the sync of a folder; from the start of the broker
//! to its shutdown.
//!
//! Nothing panics and nothing hangs; what fails is answered with an error. What was acknowledged is there
//! afterwards, in the broker that goes on and in the next one, after a kill and after a power cut; nothing
//! else is, but what was sent. What was readable stays so unless its folder failed. A full disk is no lasting
//! matter; a failed sync is, and so is an error of the device: the folder is given up, nothing is tried
//! again, and the health check says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;
#[path = "../storage/tests/all/txn_model.rs"]
mod txn_model;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use braid::broker::{Broker, NewTopic, Requester};
use braid::topic::{Closed, Fault, Isolation};
use braid_protocol::ErrorCode;
use braid_storage::sim::{Call, Loss, SimDisk};
use braid_storage::{BatchBuilder, Log};
use support::disk::{NOW, open, partition, read, transact, try_open};
use txn_model::Model;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const STEPS: usize = 30;
const LOGS: [&str; 3] = ["kept", "retained", "compacted"];

/// What the world outside knows.
#[derive(Clone, Default)]
struct Outside {
    /// Values by log and offset, as they were acknowledged; and all that were sent.
    acked: BTreeMap<&'static str, BTreeMap<i64, String>>,
    sent: BTreeSet<String>,
    /// What happened in the log of transactions.
    txns: Model,
    created: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

async fn create(broker: &Arc<Broker>, outside: &mut Outside, name: &str, configs: &[(&str, &str)]) {
    outside.deleted.remove(name);
    let configs = configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let new = NewTopic { name: name.to_owned(), partitions: 1, replication_factor: 1, configs };
    if broker.create_topic(new, &Requester::Broker).await.is_ok() {
        outside.created.insert(name.to_owned());
    }
}

async fn delete(broker: &Arc<Broker>, outside: &mut Outside, name: &str) {
    let Some(topic) = broker.topic(name) else { return };
    outside.created.remove(name);
    if broker.delete_topic(topic.id, &Requester::Broker).await.is_ok() {
        outside.deleted.insert(name.to_owned());
    }
}

/// Appends a batch of three records, the key of each its number, and waits for the acknowledgement.
async fn produce(broker: &Broker, outside: &mut Outside, log: &'static str, now: i64) -> Result<(), Fault> {
    let mut batch = BatchBuilder::new();
    let values: Vec<String> =
        (0..3).map(|n| format!("{log}-{}-{}", outside.sent.len() + n, "x".repeat(40))).collect();
    for (n, value) in values.iter().enumerate() {
        let key = (log == "compacted").then(|| format!("k{n}"));
        batch.push(now, key.as_deref().map(str::as_bytes), Some(value.as_bytes()), &[]);
    }
    outside.sent.extend(values.iter().cloned());
    let partition = partition(broker, log).ok_or(Fault::Closed(Closed::Failed))?;
    let appended = partition.append(&batch.build().unwrap(), None, now)?;
    partition.reached(appended.last_offset).await?;
    outside.acked.entry(log).or_default().extend((appended.base_offset..).zip(values));
    Ok(())
}

/// A step of some transaction. What the log did not take did not happen.
fn produce_in_txn(broker: &Broker, outside: &mut Outside, step: usize) -> Result<(), Fault> {
    let partition = partition(broker, "txns").ok_or(Fault::Closed(Closed::Failed))?;
    let producer = 20 + step as i64 % 2;
    let commit = step.is_multiple_of(3);
    let ends = step % 5 > 2 && outside.txns.open.contains_key(&producer);
    let offset = transact(&partition, producer, ends.then_some(commit))?;
    match ends {
        true => outside.txns.end(offset, producer, commit),
        false => outside.txns.data(offset, offset, producer),
    }
    Ok(())
}

/// The workload. Whatever fails, it goes on; a produce that fails says so in Kafka's terms.
async fn work(broker: &Arc<Broker>, outside: &mut Outside) {
    for step in 0..STEPS {
        let log = LOGS[step % 3];
        if let Err(fault) = produce_in_txn(broker, outside, step) {
            assert_eq!(fault.code(), ErrorCode::KAFKA_STORAGE_ERROR, "{fault}");
        }
        if let Err(fault) = produce(broker, outside, log, NOW + step as i64).await {
            assert_eq!(fault.code(), ErrorCode::KAFKA_STORAGE_ERROR, "{fault}");
        }
        match step % 10 {
            1 => broker.retain(),
            3 => drop(broker.checkpoint()),
            5 => drop(broker.unlink()),
            7 => broker.clean(),
            8 => create(broker, outside, &format!("t{step}"), &[]).await,
            9 => delete(broker, outside, &format!("t{}", step - 1)).await,
            _ => {}
        }
        if let Some(partition) = partition(broker, log)
            && let Ok(start) = partition.start_offset()
        {
            let _ = partition.read(start, 300, true);
            let _ = partition.offset_for_timestamp(NOW, Isolation::ReadUncommitted);
        }
    }
}

/// Everything that was acknowledged is there, and nothing that was not sent.
fn verify(broker: &Arc<Broker>, outside: &Outside) {
    let image = broker.cluster.image();
    outside.created.iter().for_each(|name| assert!(image.topic(name).is_some(), "{name} is lost"));
    outside.deleted.iter().for_each(|name| assert!(image.topic(name).is_none(), "{name} is back"));
    if let Some(partition) = partition(broker, "txns").filter(|partition| !partition.is_offline()) {
        let check = |log: &Log| outside.txns.cut(log.end_offset()).check(log);
        partition.look(check).unwrap();
    }
    for log in LOGS {
        let partition = partition(broker, log).unwrap_or_else(|| panic!("{log} is lost"));
        if partition.is_offline() {
            continue;
        }
        let (found, start) = (read(&partition), partition.start_offset().unwrap());
        let values: BTreeSet<&String> = found.values().map(|(_, value)| value).collect();
        assert_eq!(values.len(), found.len(), "{log}: a record is there twice");
        assert!(values.iter().all(|value| outside.sent.contains(*value)), "{log}: a record out of nothing");
        assert!(log == "retained" || start == 0, "{log} begins at {start}");
        let Some(acked) = outside.acked.get(log) else { continue };
        let mut newest: HashMap<i64, i64> = HashMap::new();
        found.keys().for_each(|offset| *newest.entry(offset % 3).or_default() = *offset);
        for (offset, value) in acked.range(start..) {
            match found.get(offset) {
                Some((_, found)) => assert_eq!(found, value, "{log}: offset {offset}"),
                // Another value of the key came later.
                None => {
                    assert!(log == "compacted" && newest[&(offset % 3)] > *offset, "{log}: {offset} is lost")
                }
            }
        }
    }
}

/// A broker that has worked for a while, and how it was left.
fn before(clean: bool) -> (SimDisk, Outside) {
    let (disk, mut outside) = (SimDisk::new(), Outside::default());
    let broker = open(&disk);
    runtime().block_on(async {
        create(&broker, &mut outside, "kept", &[("retention.bytes", "-1")]).await;
        create(&broker, &mut outside, "retained", &[("retention.bytes", "1500")]).await;
        create(&broker, &mut outside, "compacted", &[("cleanup.policy", "compact")]).await;
        create(&broker, &mut outside, "txns", &[]).await;
        work(&broker, &mut outside).await;
    });
    if clean {
        broker.close().unwrap();
    }
    drop(broker);
    let kept = if clean { Loss::Everything } else { Loss::Nothing };
    (disk.crash(kept), outside)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// What became of a life in which one call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The broker did not start.
    NotOpened,
    /// It went on as if nothing had been.
    GoesOn,
    /// A log could not be opened: its partition is offline until the next start, and counted as such.
    Unopened,
    /// The folder has failed.
    Offline,
}

/// One life in which the call of that number fails, and what comes after it. None if there is no such call.
fn life(before: &(SimDisk, Outside), call: u64, errno: i32) -> Option<(Call, Fate)> {
    let (disk, mut outside) = (before.0.crash(Loss::Nothing), before.1.clone());
    disk.fail_once(call, errno);
    let mut fate = Fate::NotOpened;
    if let Ok(broker) = try_open(&disk) {
        let unopened = offline(&broker);
        let worked = async {
            work(&broker, &mut outside).await;
            after(&broker, &mut outside, &disk, (&unopened, errno)).await
        };
        let worked =
            runtime().block_on(async { tokio::time::timeout(Duration::from_secs(60), worked).await });
        fate = worked.expect("it hangs");
        // Otherwise the fault is for the shutdown.
        if disk.failed().is_some() {
            verify(&broker, &outside);
        }
        let _ = broker.close();
    }
    assert_eq!(disk.retried(), 0, "synced again after a sync that failed");
    disk.heal();
    for loss in [Loss::Nothing, Loss::Everything] {
        let disk = disk.crash(loss);
        let next = open(&disk);
        assert!(next.topics.partitions().iter().all(|partition| !partition.is_offline()), "{loss:?}");
        verify(&next, &outside);
        let mut outside = outside.clone();
        runtime().block_on(async {
            for log in LOGS {
                produce(&next, &mut outside, log, NOW + 1000).await.unwrap();
            }
        });
        verify(&next, &outside);
    }
    disk.failed().map(|call| (call, fate))
}

/// What must be true while the broker lives on.
async fn after(
    broker: &Arc<Broker>,
    outside: &mut Outside,
    disk: &SimDisk,
    (unopened, errno): (&[&'static str], i32),
) -> Fate {
    let offline = offline(broker);
    let Some(call) = disk.failed() else { return Fate::GoesOn };
    for log in &offline {
        let fault = produce(broker, outside, log, NOW + 900).await.unwrap_err();
        assert_eq!(fault.code(), ErrorCode::KAFKA_STORAGE_ERROR);
    }
    if broker.health().is_err_and(|why| why.contains("the log folder")) {
        assert_eq!(offline, LOGS, "the folder has failed, and all that is in it");
    }
    if offline == unopened {
        for log in LOGS.into_iter().filter(|log| !offline.contains(log)) {
            let written = produce(broker, outside, log, NOW + 900).await;
            assert!(written.is_ok(), "{call:?}: {log} is online and cannot be written to: {written:?}");
        }
        return if offline.is_empty() { Fate::GoesOn } else { Fate::Unopened };
    }
    assert!(broker.health().is_err(), "{call:?}: {offline:?} are offline and nobody would know");
    let may = errno == EIO || matches!(call, Call::Sync | Call::SyncDir);
    assert!(may, "{call:?} took {offline:?} offline");
    Fate::Offline
}

/// The logs that cannot be used.
fn offline(broker: &Broker) -> Vec<&'static str> {
    LOGS.into_iter().filter(|log| partition(broker, log).is_none_or(|p| p.is_offline())).collect()
}

fn every_call_fails_once(clean: bool, errno: i32) {
    let before = before(clean);
    let mut fates: BTreeMap<String, BTreeMap<Fate, usize>> = BTreeMap::new();
    for call in 0.. {
        let life = std::panic::catch_unwind(AssertUnwindSafe(|| life(&before, call, errno)));
        match life.unwrap_or_else(|_| panic!("at call {call} with errno {errno}, clean: {clean}")) {
            Some((kind, fate)) => {
                *fates.entry(format!("{kind:?}")).or_default().entry(fate).or_default() += 1
            }
            None => break,
        }
    }
    println!("errno {errno}, clean {clean}: {fates:?}");
    assert!(fates.len() >= 9, "not every kind of call came to fail: {fates:?}");
    assert!(fates["Sync"].contains_key(&Fate::Offline), "no failed sync took anything offline");
    let others = if errno == EIO { Fate::Offline } else { Fate::GoesOn };
    assert!(["Append", "Read"].iter().all(|call| fates[*call].contains_key(&others)), "{fates:?}");
}

#[test]
fn an_input_output_error_at_any_call_loses_nothing() {
    every_call_fails_once(true, EIO);
}

#[test]
fn an_input_output_error_at_any_call_after_a_kill_loses_nothing() {
    every_call_fails_once(false, EIO);
}

#[test]
fn a_full_disk_at_any_call_loses_nothing_and_heals() {
    every_call_fails_once(true, ENOSPC);
}
