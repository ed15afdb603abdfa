//! What a generated request may name: things that are there, things that are not, and values that no field
//! expects.

use std::collections::VecDeque;

use braid_protocol::Uuid;

use crate::dice::Dice;

/// Topics that every world begins with; `t3` has most partitions.
pub(crate) const TOPICS: [(&str, i32); 4] = [("t0", 1), ("t1", 1), ("t2", 2), ("t3", 4)];
const ABSENT: [&str; 5] = ["t4", "t5", "no", "illegal/name", "__transaction_state"];
const GROUPS: [&str; 6] = ["g0", "g1", "g2", "g3", "k0", "k1"];
const TXNS: [&str; 4] = ["x0", "x1", "x2", "x3"];
const CONFIGS: [&str; 10] = [
    "retention.ms",
    "cleanup.policy",
    "max.message.bytes",
    "min.compaction.lag.ms",
    "message.timestamp.type",
    "delete.retention.ms",
    "consumer.session.timeout.ms",
    "log.cleaner.threads",
    "broker.id",
    "no.such.key",
];
const VALUES: [&str; 10] = [
    "",
    "-1",
    "0",
    "1",
    "1000000",
    "9223372036854775807",
    "99999999999999999999",
    "delete",
    "compact,delete",
    "INFO",
];
const PATTERNS: [&str; 9] = [
    ".*",
    "t[0-3]",
    "[",
    "(",
    "t0|t1",
    "(a{1,100}){1,100}",
    "(a{1,1000}){1,1000}",
    "\\p{L}{1,500}",
    "((((a*)*)*)*)*b",
];
const STATES: [&str; 8] =
    ["Stable", "Empty", "Ongoing", "CompleteCommit", "classic", "consumer", "Dead", "nothing"];
const OTHERS: [&str; 12] = [
    "range",
    "uniform",
    "consumer",
    "connect",
    "root",
    "braid.group",
    "1",
    "user",
    "client-id",
    "metadata.version",
    "User:*",
    "transaction.version",
];

/// What has been learnt of this world.
#[derive(Default)]
pub(crate) struct Words {
    /// Ids of topics that are there.
    pub(crate) ids: Vec<Uuid>,
    /// Ids that members were given.
    pub(crate) members: VecDeque<String>,
    /// Ids and epochs that producers were given.
    pub(crate) producers: VecDeque<(i64, i16)>,
    /// Ids that fetch sessions were given.
    pub(crate) sessions: VecDeque<i32>,
    /// Counts names that are used once.
    pub(crate) fresh: u64,
}

/// Remembers the last few.
pub(crate) fn remember<T: PartialEq>(known: &mut VecDeque<T>, new: T) {
    if !known.contains(&new) {
        known.push_back(new);
    }
    if known.len() > 24 {
        known.pop_front();
    }
}

impl Words {
    /// A value that might stand in a text field of this name.
    pub(crate) fn text(&mut self, dice: &mut Dice, field: &str) -> Vec<u8> {
        if dice.once_in(24) {
            return odd(dice);
        }
        let group = |dice: &mut Dice| *dice.pick(&GROUPS);
        let word = match field {
            "group_id" | "group" | "groups" | "groups_names" | "group_ids" => group(dice),
            "key" | "coordinator_keys" if dice.once_in(2) => group(dice),
            "key" | "coordinator_keys" => *dice.pick(&TXNS),
            "member_id" => return self.member(dice),
            "group_instance_id" | "instance_id" => *dice.pick(&["i0", "i1", "i2"]),
            "transactional_id_pattern" | "subscribed_topic_regex" => *dice.pick(&PATTERNS),
            "value" => *dice.pick(&VALUES),
            "states_filter" | "state_filters" | "types_filter" => *dice.pick(&STATES),
            "protocol_type" => *dice.pick(&["consumer", "consumer", "connect", ""]),
            "configuration_keys" => *dice.pick(&CONFIGS),
            "name" | "resource_name" => match dice.below(8) {
                0 => *dice.pick(&CONFIGS),
                1 => *dice.pick(&OTHERS),
                2 if field == "resource_name" => group(dice),
                _ => topic(dice),
            },
            _ if field.ends_with("transactional_id") || field == "transactional_ids" => *dice.pick(&TXNS),
            _ if field.contains("topic") => topic(dice),
            _ => *dice.pick(&OTHERS),
        };
        word.as_bytes().to_vec()
    }

    /// A name that nobody has used before, and that is illegal for a topic.
    pub(crate) fn fresh(&mut self) -> Vec<u8> {
        self.fresh += 1;
        format!("!{}", self.fresh).into_bytes()
    }

    fn member(&mut self, dice: &mut Dice) -> Vec<u8> {
        match self.members.len() {
            0 => Vec::new(),
            _ if dice.once_in(4) => Vec::new(),
            n => self.members[dice.below(n)].clone().into_bytes(),
        }
    }

    /// A topic id.
    pub(crate) fn id(&mut self, dice: &mut Dice) -> Uuid {
        match self.ids.len() {
            0 => Uuid::ZERO,
            _ if dice.once_in(8) => Uuid::ZERO,
            _ if dice.once_in(8) => Uuid([dice.next() as u8; 16]),
            n => self.ids[dice.below(n)],
        }
    }

    /// A number that might stand in a field of this name, of this many bytes.
    pub(crate) fn number(&mut self, dice: &mut Dice, field: &str, bytes: usize) -> i64 {
        if dice.once_in(if field.ends_with("_ms") { 200 } else { 16 }) {
            let max = (1i128 << (8 * bytes - 1)) - 1;
            return *dice.pick(&[max as i64, (-max - 1) as i64, -1, 0, (max - 1) as i64, dice.0 as i64]);
        }
        let below = |dice: &mut Dice, n| dice.below(n) as i64;
        match field {
            "acks" => *dice.pick(&[-1, -1, 1, 0]),
            "max_wait_ms" => *dice.pick(&[0, 0, 0, 0, 0, 0, 1, 100]),
            "session_timeout_ms" => *dice.pick(&[6000, 10_000, 30_000]),
            "rebalance_timeout_ms" => *dice.pick(&[0, 1000, 60_000]),
            "transaction_timeout_ms" => *dice.pick(&[1000, 60_000]),
            "timeout_ms" => *dice.pick(&[0, 100, 1000]),
            "min_bytes" => *dice.pick(&[0, 0, 1, 1000]),
            "max_bytes" | "partition_max_bytes" => *dice.pick(&[0, 1, 1 << 10, 1 << 20]),
            "replica_id" => -1,
            "session_id" => match self.sessions.len() {
                0 => 0,
                _ if dice.once_in(2) => 0,
                n => i64::from(self.sessions[dice.below(n)]),
            },
            "session_epoch" => below(dice, 5) - 1,
            "producer_id" | "v3_and_below_producer_id" | "producer_id_filters" => self.producer(dice).0,
            "producer_epoch" | "v3_and_below_producer_epoch" => i64::from(self.producer(dice).1),
            "resource_type" | "resource_types" => *dice.pick(&[2, 2, 2, 4, 8, 16, 32]),
            "num_partitions" | "count" => *dice.pick(&[-1, 0, 1, 1, 2, 3, 5]),
            "replication_factor" => *dice.pick(&[-1, 1]),
            "timestamp" => *dice.pick(&[-1, -2, -3, -4, -5, 0, 1_700_000_000_000]),
            _ if field.contains("epoch") || field.contains("generation") => below(dice, 6) - 1,
            _ => below(dice, 5),
        }
    }

    /// A producer's id and epoch.
    pub(crate) fn producer(&mut self, dice: &mut Dice) -> (i64, i16) {
        match self.producers.len() {
            0 => (-1, -1),
            n => self.producers[dice.below(n)],
        }
    }
}

fn topic(dice: &mut Dice) -> &'static str {
    match dice.below(10) {
        0 => ABSENT[dice.below(ABSENT.len())],
        1 => "__consumer_offsets",
        _ => dice.pick(&TOPICS).0,
    }
}

/// A text that no field expects.
fn odd(dice: &mut Dice) -> Vec<u8> {
    let long = *dice.pick(&[249, 250, 255, 256, 1000, 32_766, 32_767, 32_768, 40_000]);
    match dice.below(8) {
        0 => Vec::new(),
        1 => b"caf\xe9".to_vec(),
        2 => b"two\nlines WARN forged=true".to_vec(),
        3 => "\0 漢 🦀 \u{202e}".as_bytes().to_vec(),
        4 => b"..".to_vec(),
        // Long ones are rare: they take most of the time of a run.
        5 | 6 => vec![b'a'; if dice.once_in(12) { long } else { 40 }],
        _ => (0..dice.below(20)).map(|_| dice.next() as u8).collect(),
    }
}
