//! Each row of what a broker refuses, and what it corrects.

use braid_storage::{
    BatchBuilder, Codec, Header, Invalid, Refusal, Rules, TimestampType, batch::RECORD_ERRORS_MAX, records,
    validate,
};
use bytes::Bytes;

use crate::codecs::{compressed, with_body};
use crate::support::{NOW, batch, rules};

fn good() -> Bytes {
    batch(NOW, 3, 5).to_bytes()
}

/// The good batch with a changed header, its checksum right again.
fn with(change: impl FnOnce(&mut Header)) -> Bytes {
    let bytes = good();
    let mut header = Header::parse(&bytes).unwrap();
    change(&mut header);
    header.crc = header.crc_with(&bytes[61..]);
    [&header.encode()[..], &bytes[61..]].concat().into()
}

/// The good batch with other bytes where its records are.
fn with_records(change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let bytes = good();
    let mut body = bytes[61..].to_vec();
    change(&mut body);
    with_body(&Header::parse(&bytes).unwrap(), Codec::None, &body)
}

fn why(bytes: &Bytes) -> Invalid {
    refusal(bytes, &rules()).why
}

fn refusal(bytes: &Bytes, rules: &Rules) -> Refusal {
    validate(bytes, rules, NOW).unwrap_err()
}

#[test]
fn what_is_right_passes_untouched() {
    let bytes = good();
    let checked = validate(&bytes, &rules(), NOW).unwrap();
    assert_eq!(checked.to_bytes(), bytes);
    assert_eq!(checked.body().as_ptr(), bytes[61..].as_ptr(), "and uncopied");
    assert_eq!(checked.records().unwrap().count(), 3);
}

#[test]
fn not_exactly_one_batch() {
    let torn = [&good()[..], &good()[..good().len() - 1]].concat();
    let checked = validate(&torn.into(), &rules(), NOW).unwrap();
    assert_eq!(checked.to_bytes(), good(), "a torn second batch is ignored");
    assert_eq!(why(&Bytes::new()), Invalid::InvalidRecord);
    assert_eq!(why(&good().slice(..100)), Invalid::InvalidRecord);
    assert_eq!(why(&[good(), good()].concat().into()), Invalid::InvalidRecord);
    assert_eq!(why(&with(|header| header.magic = 1)), Invalid::InvalidRecord);
    assert_eq!(why(&with(|header| header.magic = 0)), Invalid::InvalidRecord);
    assert_eq!(why(&with(|header| header.base_offset = 1)), Invalid::InvalidRecord);
}

#[test]
fn too_large() {
    let length = good().len();
    assert_eq!(refusal(&good(), &Rules { max_message_bytes: length - 1, ..rules() }).why, Invalid::TooLarge);
    assert!(validate(&good(), &Rules { max_message_bytes: length, ..rules() }, NOW).is_ok());
    assert_eq!(
        refusal(&good(), &Rules { segment_bytes: length - 1, ..rules() }).why,
        Invalid::RecordListTooLarge
    );
    assert!(validate(&good(), &Rules { segment_bytes: length, ..rules() }, NOW).is_ok());
}

#[test]
fn corrupt() {
    for n in 17..good().len() {
        let mut bytes = good().to_vec();
        bytes[n] ^= 1;
        assert_eq!(why(&bytes.into()), Invalid::Corrupt, "byte {n}");
    }
    for length in [-1, 0, 13, 14, 48] {
        assert_eq!(why(&with(|header| header.batch_length = length)), Invalid::Corrupt, "length {length}");
    }
    for magic in [-1, 3, 100] {
        assert_eq!(why(&with(|header| header.magic = magic)), Invalid::Corrupt);
    }
}

#[test]
fn counts_that_do_not_match() {
    for (count, delta) in [(0, -1), (-1, -2), (3, 1), (2, 2), (2, 1), (4, 3), (i32::MAX, i32::MAX - 1)] {
        let bytes = with(|header| (header.records_count, header.last_offset_delta) = (count, delta));
        assert_eq!(why(&bytes), Invalid::InvalidRecord, "{count} {delta}");
    }
}

#[test]
fn records_that_are_malformed() {
    let length = good().len() - 61;
    for cut in 0..length {
        assert_eq!(why(&with_records(|body| body.truncate(cut))), Invalid::InvalidRecord, "cut at {cut}");
    }
    assert_eq!(why(&with_records(|body| body.push(0))), Invalid::InvalidRecord, "one byte left over");
    // A record: length, attributes, timestamp delta, offset delta, key length, ...
    for (at, byte, what) in [
        (0, 0xff, "a length that goes on"),
        (0, 0x01, "a negative length"),
        (0, 0x02, "a record too short for its parts"),
        (3, 0x02, "an offset that is not the next"),
        (4, 0x03, "a negative key length that is not null"),
        (4, 0x7e, "a key beyond the record"),
    ] {
        assert_eq!(why(&with_records(|body| body[at] = byte)), Invalid::InvalidRecord, "{what}");
    }
    let mut headers = BatchBuilder::new();
    headers.push(NOW, None, None, &[(b"a", Some(b"b"))]);
    let plain = headers.build().unwrap();
    assert!(validate(&plain.to_bytes(), &rules(), NOW).is_ok());
    // ... null key, null value, header count 1, name "a", value "b".
    for (at, byte) in [(6, 0x04), (6, 0x01), (6, 0x00), (7, 0x01), (7, 0x7e), (9, 0x7e), (9, 0x03)] {
        let mut body = plain.body().to_vec();
        assert_ne!(body[at], byte);
        body[at] = byte;
        assert_eq!(
            why(&with_body(plain.header(), Codec::None, &body)),
            Invalid::InvalidRecord,
            "{at} {byte}"
        );
    }
}

#[test]
fn offsets_within_a_compressed_batch_must_be_consecutive_too() {
    let plain = batch(NOW, 3, 5);
    let mut body = plain.body().to_vec();
    body[3] = 0x02;
    for (name, codec, body) in compressed(&body) {
        assert_eq!(why(&with_body(plain.header(), codec, &body)), Invalid::InvalidRecord, "{name}");
    }
}

#[test]
fn what_clients_may_not_say() {
    assert_eq!(why(&with(|header| header.attributes = 1 << 5)), Invalid::InvalidRecord, "control");
    assert_eq!(why(&with(|header| header.producer_id = 5)), Invalid::InvalidRecord, "no sequence");
    assert!(validate(&with(|h| (h.producer_id, h.base_sequence) = (5, 0)), &rules(), NOW).is_ok());
    assert_eq!(why(&with(|header| header.attributes = 1 << 3)), Invalid::InvalidTimestamp, "log append time");
    for codec in 5..8 {
        assert_eq!(why(&with(|header| header.attributes = codec)), Invalid::InvalidRecord, "codec {codec}");
    }
}

#[test]
fn zstd_from_old_clients() {
    let plain = batch(NOW, 3, 5);
    let bytes = with_body(plain.header(), Codec::Zstd, &zstd::encode_all(&plain.body()[..], 3).unwrap());
    let old = Rules { zstd_allowed: false, ..rules() };
    assert_eq!(refusal(&bytes, &old).why, Invalid::UnsupportedCompression);
    assert!(validate(&bytes, &rules(), NOW).is_ok());
}

#[test]
fn compacted_topics_want_keys() {
    let compacted = Rules { compacted: true, ..rules() };
    let mut builder = BatchBuilder::new();
    builder.push(NOW, Some(b""), None, &[]).push(NOW, None, Some(b"v"), &[]).push(NOW, None, None, &[]);
    let plain = builder.build().unwrap();
    for (name, codec, body) in compressed(plain.body()) {
        let bytes = with_body(plain.header(), codec, &body);
        let refusal = refusal(&bytes, &compacted);
        assert_eq!(refusal.why, Invalid::InvalidRecord, "{name}");
        assert_eq!(refusal.records.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
        assert!(validate(&bytes, &rules(), NOW).is_ok());
    }
    assert!(validate(&good(), &compacted, NOW).is_ok());
}

#[test]
fn timestamps_out_of_bounds() {
    let bounded = Rules { before_max_ms: 100, after_max_ms: 50, ..rules() };
    let mut builder = BatchBuilder::new();
    for time in [NOW - 100, NOW + 50, NOW - 101, NOW + 51, -1] {
        builder.push(time, None, None, &[]);
    }
    let refused = refusal(&builder.build().unwrap().to_bytes(), &bounded);
    assert_eq!(refused.why, Invalid::InvalidTimestamp);
    assert_eq!(refused.records.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2, 3]);
    assert!(refused.records[0].1.contains(&(NOW - 101).to_string()), "{:?}", refused.records);
    let stamped = Rules { timestamp_type: TimestampType::LogAppendTime, ..bounded.clone() };
    assert!(validate(&batch(5, 1, 0).to_bytes(), &stamped, NOW).is_ok());
    let many = refusal(&batch(5, 500, 0).to_bytes(), &bounded);
    assert_eq!((many.why, many.records.len()), (Invalid::InvalidTimestamp, RECORD_ERRORS_MAX));
}

#[test]
fn the_largest_timestamp_is_corrected_and_the_checksum_with_it() {
    let bytes = with(|header| header.max_timestamp = 77);
    let checked = validate(&bytes, &rules(), NOW).unwrap();
    assert_eq!(checked.to_bytes(), good());
    for (name, codec, body) in compressed(&good()[61..]) {
        let wrong = Header { max_timestamp: 3, ..Header::parse(&good()).unwrap() };
        let checked = validate(&with_body(&wrong, codec, &body), &rules(), NOW).unwrap();
        assert_eq!(checked.header().max_timestamp, NOW + 2, "{name}");
        assert_eq!(checked.header().crc, checked.header().crc_with(&body), "{name}");
    }
}

#[test]
fn the_brokers_clock_counts_if_the_topic_says_so() {
    let stamped = Rules { timestamp_type: TimestampType::LogAppendTime, ..rules() };
    let checked = validate(&good(), &stamped, NOW + 999).unwrap();
    let header = checked.header();
    assert!(header.log_append_time());
    assert_eq!((header.max_timestamp, header.crc), (NOW + 999, header.crc_with(checked.body())));
    let times: Vec<_> =
        records(&checked.to_bytes()).unwrap().map(|record| record.unwrap().timestamp).collect();
    assert_eq!(times, [NOW + 999; 3]);
}
