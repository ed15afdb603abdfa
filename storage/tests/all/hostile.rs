//! Bytes that mean harm: whatever they are, nothing panics, and nothing is allocated on their word.

use std::path::Path;
use std::sync::Arc;

use braid_storage::producers::Producers;
use braid_storage::sim::SimDisk;
use braid_storage::{Codec, Header, OpenMode, batches, records, validate};
use bytes::Bytes;

use crate::codecs::{compressed, with_body};
use crate::support::{DIR, Dice, NOW, batch, open, rules};

fn look_at(bytes: &Bytes) {
    drop(validate(bytes, &rules(), NOW));
    if let Ok(records) = records(bytes) {
        records.for_each(drop);
    }
    for (_, batch) in batches(bytes) {
        records(&batch).into_iter().flatten().for_each(drop);
    }
    Producers::from_snapshot(bytes, NOW);
}

#[test]
fn random_bytes() {
    let mut dice = Dice(7);
    for _ in 0..3000 {
        let length = dice.below(300);
        let mut bytes: Vec<u8> = (0..length).map(|_| dice.below(256) as u8).collect();
        if bytes.len() > 17 && dice.below(2) == 0 {
            bytes[8..12].copy_from_slice(&(length as u32 - 12).to_be_bytes());
            bytes[16] = 2;
        }
        look_at(&bytes.into());
    }
}

#[test]
fn good_batches_with_some_bytes_changed_and_the_checksum_right() {
    let mut dice = Dice(99);
    let plain = batch(NOW, 20, 30);
    for (_, codec, body) in compressed(plain.body()) {
        for _ in 0..400 {
            let mut body = body.clone();
            for _ in 0..=dice.below(3) {
                let at = dice.below(body.len() as u64) as usize;
                body[at] = dice.below(256) as u8;
            }
            look_at(&with_body(plain.header(), codec, &body));
        }
    }
    for _ in 0..2000 {
        let mut start = plain.header().encode();
        start[dice.below(61) as usize] = dice.below(256) as u8;
        let bytes: Bytes = [&start[..], plain.body()].concat().into();
        look_at(&bytes);
        if let Ok(mut header) = Header::parse(&bytes) {
            header.crc = header.crc_with(plain.body());
            look_at(&[&header.encode()[..], plain.body()].concat().into());
        }
    }
}

#[test]
fn lengths_that_lie_claim_no_memory() {
    let header = *batch(NOW, 1, 0).header();
    let huge_record = [0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    look_at(&with_body(&header, Codec::None, &huge_record));
    look_at(&with_body(&header, Codec::Gzip, &compressed(&huge_record)[1].2));
    // Raw snappy that says it becomes 4 GB, and xerial with a block of 2 GB.
    look_at(&with_body(&header, Codec::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]));
    look_at(&with_body(&header, Codec::Snappy, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\x7f\xff\xff\xffab"));
}

#[test]
fn folders_full_of_rubbish() {
    let mut dice = Dice(5);
    for round in 0..200 {
        let disk = SimDisk::new();
        let mut log = open(Arc::new(disk.clone()), OpenMode::Clean).unwrap();
        for n in 0..12 {
            log.append(&batch(n, 2, 200), None, 0, NOW).unwrap();
        }
        log.close().unwrap();
        use braid_storage::Disk;
        for entry in disk.list(Path::new(DIR)).unwrap() {
            let path = Path::new(DIR).join(&entry.name);
            let mut bytes = disk.contents(&path).unwrap();
            if !bytes.is_empty() && dice.below(3) == 0 {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] = dice.below(256) as u8;
            }
            bytes
                .truncate(bytes.len() - dice.below(bytes.len() as u64 + 1) as usize * dice.below(2) as usize);
            disk.plant(&path, &bytes);
        }
        let how = [OpenMode::Clean, OpenMode::Recover { recovery_point: dice.below(30) as i64 }][round % 2];
        let Ok(mut log) = open(Arc::new(disk), how) else { continue };
        for offset in 0..30 {
            drop(log.read(offset, 1000, 24, true));
            drop(log.by_time().offset_for_timestamp(offset, 24));
        }
        drop(log.by_time().max_timestamp());
        drop(log.append(&batch(1, 1, 1), None, 0, NOW));
        drop(log.close());
    }
}
