//! Checkpoints and properties: as Kafka writes them, there whole or not at all.

use std::path::Path;

use braid_storage::checkpoint::{self, MetaProperties, Offsets};
use braid_storage::sim::{Fault, Loss, SimDisk};
use braid_storage::{Disk, Error};
use uuid::Uuid;

const DATA: &str = "/data";

#[test]
fn offsets_are_a_line_each() {
    let disk = SimDisk::new();
    let path = Path::new(DATA).join(checkpoint::RECOVERY_POINTS);
    assert_eq!(checkpoint::read_offsets(&disk, &path).unwrap(), None);
    let offsets = Offsets::from([(("b".to_owned(), 1), 7), (("a-c".to_owned(), 0), i64::MAX)]);
    checkpoint::write_offsets(&disk, &path, &offsets).unwrap();
    assert_eq!(disk.contents(&path).unwrap(), b"0\n2\na-c 0 9223372036854775807\nb 1 7\n");
    assert_eq!(checkpoint::read_offsets(&disk, &path).unwrap(), Some(offsets));
    for bad in
        ["0\n", "1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na 0 1 2\n", "0\n1\na x 1\n", "\u{0}\u{0}"]
    {
        disk.plant(&path, bad.as_bytes());
        assert!(matches!(checkpoint::read_offsets(&disk, &path), Err(Error::Malformed { .. })), "{bad:?}");
    }
    disk.plant(&path, b"\xff\xfe");
    assert!(checkpoint::read_offsets(&disk, &path).is_err());
    // Kafka makes the file before it has anything to write.
    disk.plant(&path, b"");
    assert_eq!(checkpoint::read_offsets(&disk, &path).unwrap(), Some(Offsets::new()));
}

#[test]
fn a_checkpoint_is_the_old_or_the_new_one_after_any_power_cut() {
    let path = Path::new(DATA).join(checkpoint::LOG_STARTS);
    let offsets = |offset| Offsets::from([(("t".to_owned(), 0), offset)]);
    for call in 0.. {
        let disk = SimDisk::new();
        disk.plant(&path, b"0\n1\nt 0 1\n");
        disk.fail_at(call, Fault::PowerCut);
        let written = checkpoint::write_offsets(&disk, &path, &offsets(2)).is_ok();
        for loss in [Loss::Nothing, Loss::Everything].into_iter().chain((1..20).map(Loss::Random)) {
            let found = checkpoint::read_offsets(&disk.crash(loss), &path).unwrap().unwrap();
            assert!(found == offsets(2) || (found == offsets(1) && !written), "{call} {loss:?} {found:?}");
        }
        if written {
            break;
        }
    }
}

#[test]
fn properties_read_back_and_kafkas_are_understood() {
    let disk = SimDisk::new();
    let dir = Path::new(DATA);
    assert_eq!(MetaProperties::read(&disk, dir).unwrap(), None);
    let properties = MetaProperties::new("a=b", 1, Uuid::from_u128(77));
    properties.write(&disk, dir).unwrap();
    assert_eq!(MetaProperties::read(&disk, dir).unwrap(), Some(properties));
    let kafka = "#\n#Mon Nov 23 07:00:00 UTC 2026\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\n\
                 directory.id=AAAAAAAAAAAAAAAAAAAATQ\nnode.id=4\nversion=1\n";
    disk.plant(&dir.join(checkpoint::META_PROPERTIES), kafka.as_bytes());
    let found = MetaProperties::read(&disk, dir).unwrap().unwrap();
    assert_eq!((found.node_id, found.directory_id), (Some(4), Some(Uuid::from_u128(77))));
    for (bad, wrong) in [
        ("", "no version"),
        ("cluster.id=a\nnode.id=1\n", "no version"),
        ("version=2\ncluster.id=a\nnode.id=1\n", "a version other than 0 and 1"),
        ("version=1\nnode.id=1\n", "no cluster.id"),
        ("version=1\ncluster.id=a\nbroker.id=1\n", "no node.id"),
        ("version=1\ncluster.id=a\nnode.id=one\n", "is not a number"),
        ("version=0\nbroker.id=\n", "is not a number"),
        ("version=1\ncluster.id=a\nnode.id=1\ndirectory.id=a\n", "is not an id"),
        ("rubbish", "a line is not name=value"),
    ] {
        disk.plant(&dir.join(checkpoint::META_PROPERTIES), bad.as_bytes());
        let Err(Error::Malformed { why, .. }) = MetaProperties::read(&disk, dir) else { panic!("{bad:?}") };
        assert!(why.contains(wrong), "{bad:?}: {why}");
    }
}

// A user pointed log.dirs at the data of a Kafka with ZooKeeper, and was answered only that the file is
// malformed.
#[test]
fn properties_of_kafka_with_zookeeper_are_understood() {
    let disk = SimDisk::new();
    let dir = Path::new(DATA);
    let read = |text: &str| {
        disk.plant(&dir.join(checkpoint::META_PROPERTIES), text.as_bytes());
        MetaProperties::read(&disk, dir).unwrap().unwrap()
    };
    let old = read("#\n#Tue Mar 03 10:00:00 UTC 2020\nversion=0\nbroker.id=1001\n");
    let nothing = MetaProperties { version: 0, cluster_id: None, node_id: Some(1001), directory_id: None };
    assert_eq!(old, nothing);
    let text = "version=0\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nbroker.id=0\n";
    let newer = read(text);
    assert_eq!((newer.node_id, newer.cluster_id.as_deref()), (Some(0), Some("MkU3OEVBNTcwNTJENDM2Qg")));
    let lone = read("version=0\n");
    assert_eq!((lone.node_id, lone.is_complete()), (None, false));
    let before_37 = read("version=1\ncluster.id=a\nnode.id=3\n");
    assert_eq!((before_37.node_id, before_37.directory_id, before_37.is_complete()), (Some(3), None, false));
    for meta in [old, newer, lone, before_37] {
        meta.write(&disk, dir).unwrap();
        assert_eq!(MetaProperties::read(&disk, dir).unwrap(), Some(meta));
    }
}

#[test]
fn topic_ids_read_back() {
    let disk = SimDisk::new();
    let dir = Path::new(DATA);
    let id = Uuid::from_u128(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210);
    checkpoint::write_topic_id(&disk, dir, &id).unwrap();
    let text = disk.contents(&dir.join(checkpoint::PARTITION_METADATA)).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "version: 0\ntopic_id: ASNFZ4mrze_-3LqYdlQyEA\n");
    assert_eq!(checkpoint::read_topic_id(&disk, dir).unwrap(), Some(id));
    disk.plant(&dir.join(checkpoint::PARTITION_METADATA), b"version: 1\ntopic_id: ASNFZ4mrze_-3LqYdlQyEA\n");
    assert!(checkpoint::read_topic_id(&disk, dir).is_err());
}

#[test]
fn the_clean_mark_is_taken_once() {
    let disk = SimDisk::new();
    let dir = Path::new(DATA);
    assert!(!checkpoint::take_clean_mark(&disk, dir).unwrap());
    checkpoint::mark_clean(&disk, dir).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    assert!(checkpoint::take_clean_mark(&disk.crash(Loss::Everything), dir).unwrap());
    assert!(checkpoint::take_clean_mark(&disk, dir).unwrap());
    assert!(!checkpoint::take_clean_mark(&disk.crash(Loss::Everything), dir).unwrap());
}
