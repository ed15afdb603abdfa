//! Differential: what Kafka's own consumer and broker, kafka-python and franz-go make of batches that are
//! framed in every way that the formats know. The table, `storage/tests/frames.tsv`, is made by
//! `compat/frames/make`, with Kafka 4.3.1's jars, kafka-python 3.0.12 and franz-go 1.22.2: a line each of
//! name, how many records Kafka's consumer reads (or `fails`), what its broker says, how many the others
//! read, and the batch in hexadecimal, where `(61x4000)` is 4,000 times the byte 61.

use braid_storage::{Rules, readable, records, validate};
use bytes::Bytes;

use crate::support::{NOW, rules};

/// Read by all four and refused nevertheless, because of others: librdkafka reads only the first gzip member,
/// and fails on anything behind an lz4 frame; kafka-python 2.0.2 reads only the first zstd frame, and takes
/// xerial's versions for a part of its magic. The others are what no encoder writes: empty lz4 blocks (at the
/// front, Java fails on them) and the id of no dictionary.
const REFUSED: &[&str] = &[
    "gzip, two members",
    "gzip, an empty member behind",
    "gzip, an empty member before",
    "snappy xerial, version 0",
    "snappy xerial, version 2",
    "snappy xerial, version -1",
    "snappy xerial, oldest version 2",
    "snappy xerial, oldest version 0",
    "snappy xerial, little-endian versions",
    "lz4, an empty frame behind",
    "lz4, skippable frame behind",
    "lz4, empty block behind",
    "lz4, empty stored block behind",
    "zstd, dictionary 0",
    "zstd, two frames",
    "zstd, two frames with sizes",
    "zstd, an empty frame behind",
    "zstd, an empty frame before",
    "zstd, skippable frame before",
    "zstd, skippable frame behind",
    "zstd, skippable frame behind a frame with its size",
    // Kafka looks at the offsets of compressed records only, and so would let two records have the same.
    "records, offsets from 1",
];

/// Kafka's own clients and broker take these, another client does not; nothing is wrong with the frame.
const TAKEN: &str = "records, header name not UTF-8";

pub(crate) struct Row {
    name: String,
    /// Java's consumer, kafka-python, franz-go.
    read: [Option<i32>; 3],
    accepted: bool,
    pub(crate) batch: Bytes,
}

pub(crate) fn rows() -> Vec<Row> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        let [name, java, broker, python, go, batch] = columns[..] else { panic!("{line}") };
        Row {
            name: name.to_owned(),
            read: [java, python, go].map(|count| count.parse().ok()),
            accepted: broker == "accepts",
            batch: bytes_of(batch),
        }
    };
    include_str!("../frames.tsv").lines().map(row).collect()
}

fn bytes_of(text: &str) -> Bytes {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let mut bytes = Vec::new();
    for piece in text.split('(') {
        let (run, rest) = piece.split_once(')').unwrap_or(("", piece));
        if let Some((byte, times)) = run.split_once('x') {
            bytes.extend(hex(byte).repeat(times.parse().unwrap()));
        }
        bytes.extend(hex(rest));
    }
    bytes.into()
}

// A producer sent lz4 with linked blocks: it was stored and acknowledged, and Java consumers stood still at
// that offset.
#[test]
fn a_batch_is_accepted_if_every_client_reads_it() {
    let rules = Rules { max_message_bytes: 1 << 20, ..rules() };
    let (mut accepted, mut wrong) = (0, Vec::new());
    for row in rows() {
        let verdict = validate(&row.batch, &rules, NOW).map(|checked| checked.header().records_count);
        let all = row.accepted.then_some(row.read[0]).flatten().filter(|n| row.read == [Some(*n); 3]);
        let expected = match &row.name {
            name if name.starts_with(TAKEN) => row.read[0],
            name if REFUSED.contains(&&**name) => None,
            _ => all,
        };
        match &verdict {
            Ok(count) => {
                accepted += 1;
                assert_eq!(readable(&row.batch), Ok(()), "{}", row.name);
                let found = records(&row.batch).unwrap().map(Result::unwrap).count();
                assert_eq!(found as i32, *count, "{}", row.name);
            }
            Err(refusal) => assert!(!refusal.message.is_empty()),
        }
        if verdict.as_ref().ok() != expected.as_ref() {
            wrong.push(format!("{}: {:?}, expected {expected:?}", row.name, verdict.map_err(|r| r.message)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted > 80, "{accepted}");
}
