//! Group commit: many appends, few syncs; one failure, everybody told.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};

use braid_storage::flush::{Dirty, Flusher};
use braid_storage::sim::{Fault, SimDisk};
use braid_storage::{Disk, Log, OpenMode, RealDisk, SyncPoint};

use crate::support::{DIR, NOW, batch, open_at};

/// A partition, as a broker would have it.
struct Partition {
    log: Mutex<Log>,
    syncs: AtomicUsize,
    failed: Mutex<Option<io::ErrorKind>>,
    changed: Condvar,
}

impl Partition {
    fn open(disk: Arc<dyn Disk>, dir: &Path) -> Arc<Partition> {
        let log = Mutex::new(open_at(disk, dir, OpenMode::Clean).unwrap());
        let (syncs, failed, changed) = Default::default();
        Arc::new(Partition { log, syncs, failed, changed })
    }

    fn append(&self) -> i64 {
        self.log.lock().unwrap().append(&batch(5, 1, 0), None, 0, NOW).unwrap().last_offset
    }

    fn wait_for(&self, offset: i64) {
        let waiting = |log: &mut Log| log.synced_offset() <= offset;
        drop(self.changed.wait_while(self.log.lock().unwrap(), waiting).unwrap());
    }
}

impl Dirty for Partition {
    fn begin(&self) -> Option<SyncPoint> {
        let mut log = self.log.lock().unwrap();
        log.dirty().then(|| log.sync_point())
    }

    fn end(&self, outcome: Result<SyncPoint, io::Error>) {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        match outcome {
            Ok(point) => self.log.lock().unwrap().synced(point),
            Err(error) => *self.failed.lock().unwrap() = Some(error.kind()),
        }
        self.changed.notify_all();
    }
}

#[test]
fn logs_are_synced_one_by_one_or_all_at_once() {
    for count in [1, 3, 20] {
        let tmp = tempfile::tempdir().unwrap();
        let flusher = Flusher::start(Some(tmp.path()), |_| panic!("no sync fails here")).unwrap();
        let open = |n| Partition::open(Arc::new(RealDisk::default()), &tmp.path().join(format!("t-{n}")));
        let partitions: Vec<_> = (0..count).map(open).collect();
        for _ in 0..10 {
            let offsets: Vec<_> = partitions.iter().map(|partition| partition.append()).collect();
            for partition in &partitions {
                flusher.submit(Arc::clone(partition) as Arc<dyn Dirty>).unwrap();
            }
            for (partition, offset) in partitions.iter().zip(offsets) {
                partition.wait_for(offset);
            }
        }
        drop(flusher);
        assert!(partitions.iter().all(|partition| !partition.log.lock().unwrap().dirty()));
    }
}

#[test]
fn what_was_submitted_is_synced_before_the_end_and_a_log_queues_once() {
    let disk = SimDisk::new();
    let partition = Partition::open(Arc::new(disk), Path::new(DIR));
    let flusher = Flusher::start(None, |_| {}).unwrap();
    let held = partition.log.lock().unwrap();
    for _ in 0..1000 {
        flusher.submit(Arc::clone(&partition) as Arc<dyn Dirty>).unwrap();
    }
    drop(held);
    let offset = partition.append();
    flusher.submit(Arc::clone(&partition) as Arc<dyn Dirty>).unwrap();
    drop(flusher);
    assert_eq!(partition.log.lock().unwrap().synced_offset(), offset + 1);
    assert!(partition.syncs.load(Ordering::SeqCst) <= 3);
}

#[test]
fn a_failed_sync_is_final_and_told_to_all() {
    let disk = SimDisk::new();
    let open = |n| Partition::open(Arc::new(disk.clone()), Path::new(&format!("/data/t-{n}")));
    let partitions: Vec<_> = (0..3).map(open).collect();
    let (told, hear) = mpsc::channel();
    let flusher = Flusher::start(None, move |error| told.send(error.to_string()).unwrap()).unwrap();
    for partition in &partitions {
        partition.append();
    }
    disk.fail_at(disk.calls(), Fault::Once(5));
    for partition in &partitions {
        // The first may have failed by now, which is told to the others here.
        drop(flusher.submit(Arc::clone(partition) as Arc<dyn Dirty>));
    }
    assert!(hear.recv().unwrap().contains("os error 5"));
    while flusher.failure().is_none() {
        std::thread::yield_now();
    }
    assert!(flusher.submit(Arc::clone(&partitions[0]) as Arc<dyn Dirty>).is_err());
    drop(flusher);
    assert!(partitions[0].failed.lock().unwrap().is_some());
    for partition in &partitions {
        assert_eq!(partition.log.lock().unwrap().synced_offset(), 0, "the next sync would have worked");
        assert!(partition.syncs.load(Ordering::SeqCst) <= 1);
    }
    assert!(hear.try_recv().is_err(), "told once");
}

#[test]
fn a_disk_that_is_given_up_syncs_nothing_more_and_tells_those_who_wait() {
    let disk = SimDisk::new();
    let partition = Partition::open(Arc::new(disk.clone()), Path::new(DIR));
    let flusher = Flusher::start(None, |_| panic!("no sync fails here")).unwrap();
    let offset = partition.append();
    flusher.submit(Arc::clone(&partition) as Arc<dyn Dirty>).unwrap();
    partition.wait_for(offset);
    flusher.give_up(&io::Error::from_raw_os_error(5));
    flusher.give_up(&io::Error::from_raw_os_error(30));
    assert_eq!(flusher.failure().unwrap().raw_os_error(), Some(5), "the first counts");
    partition.append();
    assert!(flusher.submit(Arc::clone(&partition) as Arc<dyn Dirty>).is_err());
    assert!(flusher.flush(vec![Arc::clone(&partition) as Arc<dyn Dirty>]).is_err());
    drop(flusher);
    assert_eq!(partition.log.lock().unwrap().synced_offset(), offset + 1);
}

// Found by scripts/bench: a topic was deleted just after it had rolled a segment. The folder that was to be
// synced had another name by then, the disk was given up for that, and every other topic on it with it.
#[test]
fn a_log_that_is_deleted_before_its_sync_is_no_failure_of_the_disk() {
    let tmp = tempfile::tempdir().unwrap();
    let real = || -> Arc<dyn Disk> { Arc::new(RealDisk::default()) };
    let flusher = Flusher::start(Some(tmp.path()), |_| panic!("the disk is as good as before")).unwrap();
    let doomed = Partition::open(real(), &tmp.path().join("doomed-0"));
    let point = {
        let mut log = doomed.log.lock().unwrap();
        log.append(&batch(5, 1, 0), None, 0, NOW).unwrap();
        log.roll(NOW).unwrap();
        log.append(&batch(6, 1, 0), None, 0, NOW).unwrap();
        log.delete().unwrap();
        log.sync_point()
    };
    point.sync().unwrap();
    flusher.submit(doomed.clone()).unwrap();
    let other = Partition::open(real(), &tmp.path().join("other-0"));
    let offset = other.append();
    flusher.submit(other.clone()).unwrap();
    other.wait_for(offset);
    assert!(flusher.failure().is_none());
}

#[test]
fn who_finds_the_flusher_idle_syncs_on_its_own_thread() {
    let disk = SimDisk::new();
    let partition = Partition::open(Arc::new(disk.clone()), Path::new(DIR));
    let (told, hear) = mpsc::channel();
    let flusher = Flusher::start(None, move |error| told.send(error.to_string()).unwrap()).unwrap();
    for syncs in 1..100 {
        let offset = partition.append();
        assert!(flusher.is_idle());
        assert!(flusher.sync_if_idle(Arc::clone(&partition) as Arc<dyn Dirty>));
        assert_eq!(partition.log.lock().unwrap().synced_offset(), offset + 1, "when it returns");
        assert_eq!(partition.syncs.load(Ordering::SeqCst), syncs);
    }
    let synced = partition.log.lock().unwrap().synced_offset();
    partition.append();
    disk.fail_at(disk.calls(), Fault::Once(5));
    assert!(flusher.sync_if_idle(Arc::clone(&partition) as Arc<dyn Dirty>), "it was tried, and told");
    assert!(hear.recv().unwrap().contains("os error 5"));
    assert!(partition.failed.lock().unwrap().is_some());
    assert!(!flusher.is_idle() && !flusher.sync_if_idle(Arc::clone(&partition) as Arc<dyn Dirty>));
    assert!(flusher.submit(Arc::clone(&partition) as Arc<dyn Dirty>).is_err());
    assert_eq!(partition.log.lock().unwrap().synced_offset(), synced, "the next sync would have worked");
}

#[test]
fn who_finds_a_sync_under_way_does_not_wait_for_it() {
    let partition = Partition::open(Arc::new(SimDisk::new()), Path::new(DIR));
    let flusher = Flusher::start(None, |_| panic!("no sync fails here")).unwrap();
    let offset = partition.append();
    let held = partition.log.lock().unwrap();
    flusher.submit(Arc::clone(&partition) as Arc<dyn Dirty>).unwrap();
    // Its thread, or the queue until that is awake, keeps it from being idle.
    for _ in 0..100 {
        assert!(!flusher.is_idle() && !flusher.sync_if_idle(Arc::clone(&partition) as Arc<dyn Dirty>));
    }
    drop(held);
    partition.wait_for(offset);
}
