//! What old versions of Apache Kafka left in a log directory.

use std::path::Path;
use std::sync::Arc;

use braid_storage::sim::SimDisk;
use braid_storage::{Error, OpenMode};

use crate::support::{DIR, NOW, batch, open};

/// A message of format 0 or 1: the CRC is zlib's.
fn message(offset: i64, magic: u8, value: &[u8]) -> Vec<u8> {
    let mut body = vec![magic, 0];
    if magic == 1 {
        body.extend(NOW.to_be_bytes());
    }
    body.extend((-1i32).to_be_bytes());
    body.extend((value.len() as i32).to_be_bytes());
    body.extend(value);
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    let size = body.len() as i32 + 4;
    [&offset.to_be_bytes()[..], &size.to_be_bytes(), &crc.sum().to_be_bytes(), &body].concat()
}

fn path() -> std::path::PathBuf {
    Path::new(DIR).join("00000000000000000000.log")
}

// A directory of a cluster with message.format.version=0.10: killed, or without its checkpoints, its topics
// were truncated to nothing, with a WARN.
#[test]
fn messages_of_an_old_format_are_refused_and_never_truncated() {
    for magic in [0, 1] {
        for value in [&b"v"[..], &[b'v'; 300]] {
            let old = [message(0, magic, value), message(1, magic, value)].concat();
            for mode in [
                OpenMode::Unknown,
                OpenMode::Recover { recovery_point: 0 },
                OpenMode::Recover { recovery_point: 2 },
                OpenMode::Foreign { recovery_point: 0 },
            ] {
                let disk = SimDisk::new();
                disk.plant(&path(), &old);
                let refused = open(Arc::new(disk.clone()), mode).map(drop);
                let why = refused.unwrap_err().to_string();
                assert!(why.contains("message format 0 or 1"), "{mode:?}: {why}");
                assert_eq!(disk.contents(&path()).unwrap(), old, "{mode:?}");
            }
            // A message that is not whole is a torn tail like any other.
            let disk = SimDisk::new();
            disk.plant(&path(), &old[..old.len() / 2 - 1]);
            assert!(open(Arc::new(disk), OpenMode::Unknown).is_ok());
        }
    }
}

// Kafka's cleaner had replaced segments above the recovery point when it was killed: the partition was
// offline.
#[test]
fn gaps_that_another_brokers_cleaner_left_are_believed() {
    let at = |base_offset: i64, count| {
        let made = batch(NOW, count, 10);
        // The checksum does not cover the base offset.
        let header = braid_storage::Header { base_offset, ..*made.header() };
        [&header.encode()[..], made.body()].concat()
    };
    let batches = [at(0, 3), at(10, 2), at(17, 1)].concat();
    let planted = || {
        let disk = SimDisk::new();
        disk.plant(&path(), &batches);
        Arc::new(disk)
    };
    let open = |mode| open(planted(), mode);
    assert_eq!(open(OpenMode::Foreign { recovery_point: 3 }).unwrap().end_offset(), 18);
    assert_eq!(
        open(OpenMode::Recover { recovery_point: 3 }).unwrap().end_offset(),
        3,
        "of ours it is damage"
    );
    let lost = open(OpenMode::Foreign { recovery_point: 19 });
    assert!(matches!(lost.map(drop), Err(Error::Corrupt { .. })), "what was synced is missing");
}
