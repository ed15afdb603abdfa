//! `braid dump` and `braid check` as users run them, over a folder that a broker wrote: clean as it is, and
//! every kind of damage found and named.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use braid::topic::{Marker, Partition};
use braid_storage::{BatchBuilder, TxnStatus};
use support::{TestBroker, files};
use tempfile::TempDir;

/// Runs the binary; its output, and whether the exit code was 0. Any other than 1 is a crash.
fn braid(words: &[&str]) -> (String, bool) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_braid")).args(words).output().unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    assert!(matches!(status.code(), Some(0 | 1)), "{status}: {text}");
    (text, status.success())
}

fn check(dir: &Path) -> (String, bool) {
    braid(&["check", dir.to_str().unwrap()])
}

fn dump(file: &Path) -> (String, bool) {
    braid(&["dump", "--records", file.to_str().unwrap()])
}

/// A copy of a folder that a broker wrote into and closed, or (not `clean`) lost: topic `t` with two
/// partitions and many segments in the first, an idempotent producer, and timestamps.
async fn written(clean: bool) -> TempDir {
    let broker = TestBroker::start(&[("log.index.interval.bytes", "200")]);
    broker.topic("t", 2, &[("segment.bytes", "1000"), ("index.interval.bytes", "200")]).await;
    let mut client = broker.connect();
    for n in 0..60 {
        // Times of their own, so that the time index has entries however fast this machine is.
        let mut batch = BatchBuilder::new().producer(7, 0, n * 2);
        for value in ["some value", "and another"] {
            batch.push(1_700_000_000_000 + i64::from(n), None, Some(value.as_bytes()), &[]);
        }
        client.produce_batch("t", 0, batch.build().unwrap().to_bytes()).await;
    }
    client.produce("t", 1, &["alone"]).await;
    if clean {
        broker.broker.close().unwrap();
    }
    copy_of(&broker.path())
}

/// Aborts and commits transactions of two producers over many segments, some with one open in the other.
fn transactions(partition: &Arc<Partition>) {
    let send = |producer: i64, sequence: i32| {
        let leave = match partition.transaction(producer, 0).unwrap() {
            TxnStatus::Open => None,
            TxnStatus::Closed(guard) => Some(guard),
        };
        let mut batch = BatchBuilder::new().producer(producer, 0, sequence).transactional();
        batch.push(1_700_000_000_000, None, Some(&[b'x'; 60]), &[]);
        partition.append(&batch.build().unwrap(), leave, 1_700_000_000_000).unwrap();
    };
    let end = |producer_id, commit| {
        let marker = Marker { producer_id, producer_epoch: 0, coordinator_epoch: 3, commit };
        partition.append_marker(marker, 1_700_000_000_000).unwrap();
    };
    for n in 0..16 {
        send(5, n);
        send(6, n);
        end(5, n % 3 == 0);
        if n % 4 == 3 {
            end(6, n % 8 == 3);
        }
    }
}

/// A folder with transactions in `t-0`, closed or lost.
async fn with_transactions(clean: bool) -> TempDir {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[("segment.bytes", "1000")]).await;
    transactions(&broker.broker.topics.get("t").unwrap().partition(0).unwrap());
    if clean {
        broker.broker.close().unwrap();
    }
    copy_of(&broker.path())
}

// Found by kafka-dump-log's story: a coordinator's topic has many partitions that nothing was written to.
#[tokio::test(start_paused = true)]
async fn a_partition_that_nothing_was_written_to_is_whole() {
    let broker = TestBroker::start(&[]);
    broker.topic("empty", 3, &[]).await;
    broker.broker.close().unwrap();
    let (said, fine) = check(copy_of(&broker.path()).path());
    assert!(fine, "{said}");
}

#[tokio::test(start_paused = true)]
async fn aborted_transactions_have_their_entries_and_nothing_else_has() {
    let dir = with_transactions(true).await;
    let (text, sound) = check(dir.path());
    assert!(sound && text.lines().count() == 1, "{text}");
    let indexes = of_kind(dir.path(), ".txnindex");
    assert!(indexes.len() > 3);
    let (text, _) = dump(&indexes[0]);
    assert!(
        text.starts_with("version: 0 producerId: 5 firstOffset: 3 lastOffset: 5 lastStableOffset: 1\n"),
        "{text}"
    );
    let (text, _) = dump(&of_kind(dir.path(), ".log")[0]);
    assert!(
        text.contains("| offset: 2 CreateTime: 1700000000000 endTxnMarker: COMMIT coordinatorEpoch: 3\n"),
        "{text}"
    );
    assert!(text.contains(" endTxnMarker: ABORT coordinatorEpoch: 3\n"), "{text}");

    for file in &indexes {
        let name = file.file_name().unwrap().to_str().unwrap();
        let right = fs::read(file).unwrap();
        for at in 0..right.len() {
            change(file, |bytes| bytes[at] ^= 0x41);
            let (text, sound) = check(&dir.path().join("t-0"));
            assert!(!sound && text.contains(name), "{name}, byte {at}: {text}");
            fs::write(file, &right).unwrap();
        }
        for cut in (0..right.len()).step_by(34) {
            change(file, |bytes| bytes.truncate(cut));
            let (text, sound) = check(dir.path());
            assert!(!sound && text.contains(" is not in it"), "{name} cut to {cut}: {text}");
            fs::write(file, &right).unwrap();
        }
        fs::remove_file(file).unwrap();
        let (text, sound) = check(dir.path());
        assert!(!sound && text.contains(" is not in it"), "{name} removed: {text}");
        fs::write(file, &right).unwrap();
    }
    // One more, of a transaction that was committed.
    change(&indexes[0], |bytes| {
        let more: Vec<u8> = [5i64, 0, 2, 1].iter().flat_map(|n| n.to_be_bytes()).collect();
        bytes.splice(0..0, [&[0, 0], &more[..]].concat());
    });
    let (text, sound) = check(dir.path());
    assert!(!sound && text.contains("offset 2: no transaction of that producer was aborted"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn entries_that_recovery_makes_are_not_missed() {
    let dir = with_transactions(false).await;
    let (text, sound) = check(dir.path());
    assert!(sound && text.contains("harmless: "), "{text}");
    assert!(text.contains(" is not in it; the next start makes it again"), "{text}");
}

fn copy_of(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in files(dir) {
        let to = copy.path().join(file.strip_prefix(dir).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&file, &to).unwrap();
    }
    copy
}

/// The files of the first partition that end so, in order, the last first if `newest`.
fn of_kind(dir: &Path, kind: &str) -> Vec<PathBuf> {
    let found = files(&dir.join("t-0")).into_iter();
    found.filter(|path| path.to_str().unwrap().ends_with(kind)).collect()
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_broker_wrote_is_sound_and_every_file_of_it_can_be_shown() {
    for clean in [true, false] {
        let dir = written(clean).await;
        let before: Vec<_> = files(dir.path()).iter().map(|file| fs::read(file).unwrap()).collect();
        let (text, sound) = check(dir.path());
        assert!(sound && text.contains("3 partitions, ") && text.contains(": no problem"), "{text}");
        assert!(!clean || text.lines().count() == 1, "{text}");
        let (text, sound) = check(&dir.path().join("t-0"));
        assert!(sound && text.contains("1 partition, ") && text.contains("60 batches"), "{text}");
        for file in files(dir.path()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            if !name.starts_with('.') {
                let (text, sound) = dump(&file);
                assert!(sound, "{name}: {text}");
            }
        }
        let after: Vec<_> = files(dir.path()).iter().map(|file| fs::read(file).unwrap()).collect();
        assert_eq!(before, after, "the tools only read");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dump_shows_what_was_written() {
    let dir = written(true).await;
    let first = |kind: &str| of_kind(dir.path(), kind).remove(0);
    let (text, _) = dump(&first(".log"));
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("baseOffset: 0 lastOffset: 1 count: 2 baseSequence: 0 lastSequence: 1"));
    assert!(lines[0].contains(" producerId: 7 ") && lines[0].ends_with("isvalid: true"), "{text}");
    assert!(lines[2].starts_with("| offset: 1 CreateTime: "), "{text}");
    assert!(lines[2].ends_with(" sequence: 1 key: null value: \"and another\""), "{text}");
    let (text, _) = braid(&["dump", first(".log").to_str().unwrap()]);
    assert!(!text.contains('|'), "{text}");
    // More than index.interval.bytes after the beginning: the fourth batch of 96 bytes.
    assert!(dump(&first(".index")).0.starts_with("offset: 7 position: 288\n"), "{text}");
    assert!(dump(&first(".timeindex")).0.contains("timestamp: "));
    let snapshots = of_kind(dir.path(), ".snapshot");
    let (text, _) = dump(snapshots.last().unwrap());
    assert!(text.contains("producerId: 7 producerEpoch: 0 lastSequence: 119 lastOffset: 119"), "{text}");
    assert_eq!(dump(&dir.path().join("t-0/leader-epoch-checkpoint")).0, "epoch: 0 startOffset: 0\n");
    let (text, _) = dump(&dir.path().join("recovery-point-offset-checkpoint"));
    assert!(text.contains("topic: t partition: 0 offset: 120\n"), "{text}");
    assert!(dump(&dir.path().join("t-0/partition.metadata")).0.starts_with("topicId: "));
    assert!(dump(&dir.path().join("meta.properties")).0.contains(" nodeId: 1 "));
    for (file, says) in [("no.such", "tells what is in it"), ("t-0/00000000000000000009.log", "No such file")]
    {
        let (text, sound) = dump(&dir.path().join(file));
        assert!(!sound && text.contains(says), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_flipped_byte_of_a_log_is_found() {
    let dir = written(true).await;
    let logs = of_kind(dir.path(), ".log");
    assert!(logs.len() > 3);
    let bytes = fs::read(&logs[1]).unwrap();
    // A batch and a bit; the leader epoch (12 to 15) is told by another file, the rest by itself.
    for at in (0..160).step_by(7) {
        change(&logs[1], |bytes| bytes[at] ^= 0x41);
        let (text, sound) = check(dir.path());
        let named = if (12..16).contains(&at) { "leader-epoch-checkpoint" } else { "0.log, offset " };
        assert!(!sound && text.contains("problem: ") && text.contains(named), "byte {at}: {text}");
        assert!(!text.contains("index"), "a consequence is not named too: {text}");
        let (text, sound) = dump(&logs[1]);
        assert!((12..16).contains(&at) || !sound && text.contains(".log, offset "), "byte {at}: {text}");
        fs::write(&logs[1], &bytes).unwrap();
    }
    assert!(check(dir.path()).1);
}

#[tokio::test(start_paused = true)]
async fn every_flipped_byte_of_an_index_or_a_snapshot_is_found() {
    let dir = written(true).await;
    for kind in [".index", ".timeindex", ".snapshot"] {
        let file =
            of_kind(dir.path(), kind).into_iter().find(|f| fs::metadata(f).unwrap().len() > 12).unwrap();
        let bytes = fs::read(&file).unwrap();
        for at in 0..bytes.len() {
            change(&file, |bytes| bytes[at] ^= 0x41);
            let (text, sound) = check(&dir.path().join("t-0"));
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(!sound && text.contains(name), "{name}, byte {at}: {text}");
            fs::write(&file, &bytes).unwrap();
        }
        change(&file, |bytes| bytes.truncate(bytes.len() - 1));
        for (text, sound) in [check(dir.path()), dump(&file)] {
            assert!(!sound && text.contains(kind), "{kind}: {text}");
        }
        fs::write(&file, &bytes).unwrap();
    }
}

// The cleaner of Kafka 2.0 writes several batches at once, with one index entry: where the first begins, and
// the last offset of all. To look there finds what is looked for; the other way round it does not.
#[tokio::test(start_paused = true)]
async fn an_index_entry_may_name_the_last_of_several_batches_but_not_the_first() {
    let dir = written(true).await;
    let indexes = of_kind(dir.path(), ".index");
    let file = indexes.iter().find(|file| fs::metadata(file).unwrap().len() >= 24).unwrap();
    let bytes = fs::read(file).unwrap();
    let with = |offset: usize, position: usize| {
        let entry = [&bytes[offset..offset + 4], &bytes[position + 4..position + 8], &bytes[24..]].concat();
        fs::write(file, entry).unwrap();
        check(dir.path())
    };
    let (text, sound) = with(16, 0);
    assert!(sound && !text.contains("it says"), "{text}");
    let (text, sound) = with(0, 16);
    assert!(!sound && text.contains("it says position"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_is_a_problem_or_said_to_be_harmless() {
    let dir = written(true).await;
    let logs = of_kind(dir.path(), ".log");
    let gone = |file: &Path, sound: bool, says: &str| {
        let copy = copy_of(dir.path());
        fs::remove_file(copy.path().join(file.strip_prefix(dir.path()).unwrap())).unwrap();
        let (text, found) = check(copy.path());
        assert!(found == sound && text.contains(says), "{}: {text}", file.display());
        assert!(text.contains(if sound { "harmless: " } else { "problem: " }), "{text}");
    };
    gone(&logs[0], false, "the segment it belongs to is missing");
    gone(&logs[1], false, "before this segment are missing");
    gone(logs.last().unwrap(), false, "below its recovery point: records are missing");
    gone(&of_kind(dir.path(), ".index")[0], true, "made again");
    gone(&of_kind(dir.path(), ".timeindex")[0], true, "made again");
    gone(&dir.path().join("t-0/leader-epoch-checkpoint"), false, "epochs of this log are not known");
    gone(&dir.path().join("meta.properties"), true, "writes it again");
    gone(&dir.path().join("recovery-point-offset-checkpoint"), true, "from its beginning");
    let copy = copy_of(dir.path());
    fs::remove_dir_all(copy.path().join("t-0")).unwrap();
    let (text, sound) = check(copy.path());
    assert!(!sound && text.contains("t-0: the folder is missing"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_torn_end_is_harmless_only_where_the_next_start_cuts_it() {
    let dirs = [written(true).await, written(false).await];
    for (dir, sound) in dirs.iter().zip([false, true]) {
        let log = of_kind(dir.path(), ".log").pop().unwrap();
        let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
        let zeros = |bytes: &mut Vec<u8>| bytes.extend([0; 99]);
        for tear in [cut as fn(&mut Vec<u8>), zeros] {
            let whole = fs::read(&log).unwrap();
            change(&log, tear);
            let (text, found) = check(dir.path());
            assert_eq!(found, sound, "{text}");
            assert!(text.contains(".log, offset 1") && text.contains("position "), "{text}");
            assert_eq!(text.contains("the next start cuts the log here"), sound, "{text}");
            fs::write(&log, whole).unwrap();
        }
        let first = of_kind(dir.path(), ".log").remove(0);
        change(&first, |bytes| bytes.truncate(bytes.len() - 1));
        let (text, sound) = check(dir.path());
        assert!(!sound && text.contains("ends within a batch"), "only the end may be torn: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn checkpoints_and_ids_are_compared_with_the_logs() {
    let dir = written(true).await;
    let spoilt = |file: &str, from: &str, to: &str, says: &str| {
        let copy = copy_of(dir.path());
        let text = fs::read_to_string(copy.path().join(file)).unwrap();
        assert!(text.contains(from), "{file}: {text}");
        fs::write(copy.path().join(file), text.replacen(from, to, 1)).unwrap();
        let (text, sound) = check(copy.path());
        assert!(!sound && text.contains(says), "{file}: {text}");
    };
    let points = "recovery-point-offset-checkpoint";
    spoilt(points, "t 0 120", "t 0 121", "ends at 120, below its recovery point");
    spoilt(points, "t 0 120", "t 0 many", "recovery-point-offset-checkpoint: not in the format");
    spoilt("meta.properties", "version=1", "version=9", "meta.properties: a version other than 0 and 1");
    spoilt("t-0/leader-epoch-checkpoint", "0 0", "x 0", "leader-epoch-checkpoint: not in the format");
    spoilt("t-0/leader-epoch-checkpoint", "0 0", "5 0", "it says epoch 5, the log 0");
    spoilt("t-1/partition.metadata", "version: 0", "version: 7", "partition.metadata: not in the format");
    let copy = copy_of(dir.path());
    fs::write(copy.path().join("cleaner-offset-checkpoint"), "").unwrap();
    assert!(check(copy.path()).1, "Kafka makes checkpoints before it has anything to say");
    let other = braid_storage::checkpoint::id_to_text(&uuid::Uuid::from_u128(7));
    fs::write(copy.path().join("t-1/partition.metadata"), format!("version: 0\ntopic_id: {other}\n"))
        .unwrap();
    let (text, sound) = check(copy.path());
    assert!(!sound && text.contains("t-1/partition.metadata: not the topic id that"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_folder_in_use_and_one_that_is_none_are_refused() {
    let broker = TestBroker::start(&[]);
    broker.topic("t", 1, &[]).await;
    for dir in [broker.path(), broker.path().join("t-0")] {
        let (text, sound) = check(&dir);
        assert!(!sound && text.contains("is used by a broker; stop it first"), "{text}");
    }
    let empty = tempfile::tempdir().unwrap();
    let (text, sound) = check(empty.path());
    assert!(!sound && text.contains("neither a data folder"), "{text}");
    let (text, sound) = check(&empty.path().join("none"));
    assert!(!sound && text.contains("No such file"), "{text}");
}

// `braid check` called a sealed segment bad whose largest timestamp is 0: its time index is one entry of
// zeros.
#[tokio::test(start_paused = true)]
async fn timestamps_at_and_below_zero_are_as_good_as_others() {
    let broker = TestBroker::start(&[]);
    for (n, times) in
        [[0, 0, 0], [-1, -1, -1], [-5, -5, -5], [-1, 0, -1], [0, -1, 1], [-9, 0, 9]].iter().enumerate()
    {
        for (size, kind) in [(1, "one"), (3, "three")] {
            let topic = format!("{kind}-{n}");
            broker.topic(&topic, 1, &[("segment.bytes", "1000"), ("index.interval.bytes", "0")]).await;
            let mut client = broker.connect();
            for time in times.repeat(6) {
                let mut batch = BatchBuilder::new();
                for _ in 0..size {
                    batch.push(time, None, Some(&[b'x'; 200]), &[]);
                }
                client.produce_batch(&topic, 0, batch.build().unwrap().to_bytes()).await;
            }
        }
    }
    broker.broker.close().unwrap();
    let (text, sound) = check(copy_of(&broker.path()).path());
    assert!(sound && text.lines().count() == 1, "{text}");
}

/// The rows of `storage/tests/frames.tsv`: a name, what Kafka's broker says, and the batch. (`(61x40)` in a
/// batch is 40 times the byte 61.)
fn frames() -> Vec<(&'static str, bool, Vec<u8>)> {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let bytes = |text: &str| {
        let mut bytes = Vec::new();
        for piece in text.split('(') {
            let (run, rest) = piece.split_once(')').unwrap_or(("", piece));
            let run = run.split_once('x').map(|(byte, times)| hex(byte).repeat(times.parse().unwrap()));
            bytes.extend(run.unwrap_or_default());
            bytes.extend(hex(rest));
        }
        bytes
    };
    let row = |line: &'static str| {
        let columns: Vec<_> = line.split('\t').collect();
        (columns[0], columns[1] != "fails", bytes(columns[5]))
    };
    include_str!("../storage/tests/frames.tsv").lines().map(row).collect()
}

// lz4 with linked blocks was stored and acknowledged; Java consumers stood still at it, and `braid check`
// called the folder clean.
#[test]
fn batches_that_no_consumer_gets_beyond_are_found() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("meta.properties"), "version=1\ncluster.id=a\nnode.id=1\n").unwrap();
    fs::write(dir.path().join("log-start-offset-checkpoint"), "0\n0\n").unwrap();
    let rows = frames();
    let mut points = format!("0\n{}\n", rows.len());
    for (n, (_, _, batch)) in rows.iter().enumerate() {
        let partition = dir.path().join(format!("t-{n}"));
        fs::create_dir(&partition).unwrap();
        let mut batch = batch.clone();
        batch[12..16].fill(0); // leader epoch
        fs::write(partition.join(format!("{:020}.log", 0)), batch).unwrap();
        fs::write(partition.join("leader-epoch-checkpoint"), "0\n1\n0 0\n").unwrap();
        points += &format!("t {n} 1\n");
    }
    fs::write(dir.path().join("recovery-point-offset-checkpoint"), points).unwrap();
    let (text, sound) = check(dir.path());
    assert!(!sound);
    for (n, (name, read, _)) in rows.iter().enumerate() {
        let log = format!("/t-{n}/00000000000000000000.log, offset 0, position 0: ");
        let found = text.lines().find(|line| line.starts_with("problem: ") && line.contains(&log));
        assert!(*read || found.is_some(), "{name}: not found");
        if ["lz4, long, linked blocks", "lz4, no end mark", "lz4, skippable frame before"].contains(name) {
            let says = "consumers cannot read the batch and stop at it (lz4: ";
            assert!(
                found.unwrap().contains(says) && found.unwrap().contains("seek them to 3, or delete"),
                "{text}"
            );
        }
        let good = *read && (!name.contains(", ") || name.ends_with(", long"));
        assert!(!good || found.is_none(), "{name}: {found:?}");
    }
}

// A crash of the file system left log-start-offset-checkpoint empty: deleted records came back, without a
// word.
#[tokio::test(start_paused = true)]
async fn checkpoints_without_anything_in_them_are_named() {
    let dir = written(true).await;
    for (file, says) in [
        ("log-start-offset-checkpoint", "records that DeleteRecords has deleted can be read again"),
        ("t-0/leader-epoch-checkpoint", "the leader epochs of this log are not known"),
    ] {
        let copy = copy_of(dir.path());
        fs::write(copy.path().join(file), "").unwrap();
        let (text, sound) = check(copy.path());
        assert!(!sound && text.contains(file) && text.contains(says), "{text}");
    }
    fs::write(dir.path().join("recovery-point-offset-checkpoint"), "").unwrap();
    let (text, sound) = check(dir.path());
    assert!(sound && text.contains("a start that is not clean reads every log from its beginning"), "{text}");
}
