//! The transaction coordinator's records, and how they look in `__transaction_state`: byte for byte as Kafka
//! writes them. Pure.

use std::collections::BTreeMap;

use braid_protocol::Malformed;
use braid_protocol::data::Data;
use braid_protocol::data::transactions::{PartitionsSchema, TransactionLogKey, TransactionLogValue};
use bytes::Bytes;

use super::transaction::{State, Transaction, Version};

const KEY: i16 = 0;
/// The version with tagged fields, as Kafka writes it where every end bumps the epoch.
const VALUE: i16 = 1;

/// A new state of one transactional id.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The transactional id.
    pub id: String,
    /// What it is now; `None` forgets it.
    pub value: Option<Transaction>,
}

impl Record {
    /// Key and value for the log; no value is a tombstone.
    pub fn write(&self) -> (Bytes, Option<Bytes>) {
        let key = TransactionLogKey { transactional_id: self.id.clone() };
        (key.write(KEY), self.value.as_ref().map(|transaction| value(transaction).write(VALUE)))
    }

    /// Reads what [`Record::write`] or Kafka wrote. `Ok(None)` is a record of another kind, to be left alone.
    pub fn read(key: &Bytes, value: Option<&Bytes>) -> Result<Option<Record>, Malformed> {
        let Some(TransactionLogKey { transactional_id: id }) = TransactionLogKey::read_known(key)? else {
            return Ok(None);
        };
        let value = value.map(TransactionLogValue::read).transpose()?;
        Ok(Some(Record { id, value: value.and_then(|(_, value)| transaction(value)) }))
    }
}

fn value(transaction: &Transaction) -> TransactionLogValue {
    let mut topics = BTreeMap::<&str, Vec<i32>>::new();
    for (topic, partition) in &transaction.partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    let topics = topics.into_iter();
    let partitions = topics
        .map(|(topic, partition_ids)| PartitionsSchema { topic: topic.to_owned(), partition_ids })
        .collect();
    TransactionLogValue {
        producer_id: transaction.producer_id,
        previous_producer_id: transaction.previous_producer_id,
        next_producer_id: transaction.next_producer_id,
        producer_epoch: transaction.epoch,
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_status: transaction.state as i8,
        // Kafka has nothing here for a transactional id that has begun nothing.
        transaction_partitions: (transaction.state != State::Empty).then_some(partitions),
        transaction_last_update_timestamp_ms: transaction.updated_ms,
        transaction_start_timestamp_ms: transaction.started_ms,
        client_transaction_version: match transaction.version {
            Version::Classic => 0,
            Version::EpochBump => 2,
        },
        ..Default::default()
    }
}

/// None for one that Kafka declared dead.
fn transaction(value: TransactionLogValue) -> Option<Transaction> {
    let partitions = value.transaction_partitions.unwrap_or_default().into_iter();
    let partitions = partitions
        .flat_map(|topic| topic.partition_ids.into_iter().map(move |index| (topic.topic.clone(), index)));
    Some(Transaction {
        producer_id: value.producer_id,
        previous_producer_id: value.previous_producer_id,
        next_producer_id: value.next_producer_id,
        epoch: value.producer_epoch,
        timeout_ms: value.transaction_timeout_ms,
        state: State::numbered(value.transaction_status)?,
        partitions: partitions.collect(),
        started_ms: value.transaction_start_timestamp_ms,
        updated_ms: value.transaction_last_update_timestamp_ms,
        version: if value.client_transaction_version >= 2 { Version::EpochBump } else { Version::Classic },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_comes_back_as_it_was() {
        let ongoing = Transaction {
            producer_id: 7,
            previous_producer_id: 6,
            next_producer_id: 8,
            epoch: 3,
            timeout_ms: 60_000,
            state: State::Ongoing,
            partitions: [("t".to_owned(), 1), ("t".to_owned(), 0), ("u".to_owned(), 5)].into(),
            started_ms: 5,
            updated_ms: 6,
            version: Version::EpochBump,
        };
        let empty = Transaction { state: State::Empty, partitions: [].into(), ..ongoing.clone() };
        for value in [Some(ongoing), Some(empty), None] {
            let record = Record { id: "x".into(), value };
            let (key, value) = record.write();
            assert_eq!(Record::read(&key, value.as_ref()), Ok(Some(record)));
            for end in 0..value.as_ref().map_or(0, Bytes::len) {
                let cut = value.as_ref().map(|value| value.slice(..end));
                assert!(Record::read(&key, cut.as_ref()).is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn the_dead_are_forgotten_and_other_keys_left_alone() {
        let dead = TransactionLogValue { transaction_status: 6, ..Default::default() };
        let key = TransactionLogKey { transactional_id: "x".into() }.write(KEY);
        let read = Record::read(&key, Some(&dead.write(VALUE)));
        assert_eq!(read, Ok(Some(Record { id: "x".into(), value: None })));
        assert_eq!(Record::read(&Bytes::from_static(&[0, 9, 1]), None), Ok(None));
    }
}
