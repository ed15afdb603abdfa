//! The records of `__transaction_state`, as Kafka writes them: one for each state of each transactional id.
//!
//! A record without a value takes the id away. Keys of other versions are to be left alone. Flexible from
//! value v1 on (KIP-915: later versions only add tags).

use bytes::Bytes;

use crate::data::{Data, data, split};
use crate::message::message;
use crate::wire::Malformed;

data! {
    TransactionLogKey = 0..=0, flexible i16::MAX;
    TransactionLogValue = 0..=1, flexible 1;
}

impl TransactionLogKey {
    /// Read a key of the version that there is; none if it is a newer one, to be left alone.
    pub fn read_known(bytes: &Bytes) -> Result<Option<TransactionLogKey>, Malformed> {
        let (number, rest) = split(bytes)?;
        let known = Self::VERSIONS.contains(&number);
        known.then(|| Self::read_body(number, &rest)).transpose()
    }
}

message! {
    /// Whose state it is.
    TransactionLogKey {
        transactional_id: String,
    }
    /// A state of a transactional id; timeouts and timestamps in milliseconds.
    TransactionLogValue {
        producer_id: i64,
        /// The producer id of the last transaction that committed.
        previous_producer_id: i64       [tag 0, 1..] = -1,
        /// The producer id that the producer was told to go on with.
        next_producer_id: i64           [tag 1, 1..] = -1,
        producer_epoch: i16,
        transaction_timeout_ms: i32,
        /// 0 Empty, 1 Ongoing, 2 PrepareCommit, 3 PrepareAbort, 4 CompleteCommit, 5 CompleteAbort, 6 Dead,
        /// 7 PrepareEpochFence.
        transaction_status: i8,
        transaction_partitions: Option<Vec<PartitionsSchema>>,
        transaction_last_update_timestamp_ms: i64,
        transaction_start_timestamp_ms: i64,
        /// Which version of transactions its client speaks: 2 if every end bumps the epoch (KIP-890).
        client_transaction_version: i16  [tag 2, 1..],
        /// The epoch that goes with the next producer id.
        next_producer_epoch: i16         [tag 3, 1..] = -1,
    }
    /// Partitions of one topic.
    PartitionsSchema {
        topic: String,
        partition_ids: Vec<i32>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Bytes {
        let digits: Vec<u8> = text.bytes().filter(|c| *c != b' ').collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn states_are_kept_as_kafka_keeps_them() {
        let key = TransactionLogKey { transactional_id: "t".into() };
        assert_eq!(key.write(0), hex("0000 0001 74"));
        assert_eq!(TransactionLogKey::read_known(&key.write(0)), Ok(Some(key)));

        let partitions = PartitionsSchema { topic: "p".into(), partition_ids: vec![3] };
        let value = TransactionLogValue {
            producer_id: 1,
            producer_epoch: 2,
            transaction_timeout_ms: 4,
            transaction_status: 1,
            transaction_partitions: Some(vec![partitions]),
            transaction_last_update_timestamp_ms: 6,
            transaction_start_timestamp_ms: 5,
            ..Default::default()
        };
        let v0 = "0000 0000000000000001 0002 00000004 01 00000001 0001 70 00000001 00000003 \
                  0000000000000006 0000000000000005";
        let v1 = "0001 0000000000000001 0002 00000004 01 02 02 70 02 00000003 00 \
                  0000000000000006 0000000000000005 00";
        for (number, golden) in [(0, v0), (1, v1)] {
            assert_eq!(value.write(number), hex(golden), "v{number}");
            assert_eq!(TransactionLogValue::read(&hex(golden)), Ok((number, value.clone())));
        }
    }

    #[test]
    fn what_kafka_4_added_is_tagged() {
        let value = TransactionLogValue {
            producer_id: 1,
            previous_producer_id: 7,
            next_producer_id: 8,
            client_transaction_version: 2,
            next_producer_epoch: 9,
            ..Default::default()
        };
        let golden = "0001 0000000000000001 0000 00000000 00 00 0000000000000000 0000000000000000 \
                      04 00 08 0000000000000007 01 08 0000000000000008 02 02 0002 03 02 0009";
        assert_eq!(value.write(1), hex(golden));
        assert_eq!(TransactionLogValue::read(&hex(golden)), Ok((1, value)));
    }

    #[test]
    fn keys_of_other_versions_are_left_alone() {
        assert_eq!(TransactionLogKey::read_known(&hex("0001 0001 74")), Ok(None));
        assert!(TransactionLogKey::read_known(&hex("0000 0001")).is_err());
        assert!(TransactionLogKey::read_known(&hex("00")).is_err());
    }
}
