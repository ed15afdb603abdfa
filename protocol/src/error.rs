//! Error codes: one table of number, name, whether a retry may help, and words.
//!
//! Numbers, names and retries are Kafka 4.3's; the words are our own, for clients that show them to people.

use std::fmt;

use crate::wire::{Cx, Parsed, Version, Wire};
use crate::writer::Writer;

/// What went wrong, as every response says it. A number that the table lacks is kept as it came.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(
    /// The number on the wire; 0 is no error.
    pub i16,
);

impl ErrorCode {
    /// Is there no error?
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// May the same request succeed a little later?
    pub fn is_retriable(self) -> bool {
        self.row().is_some_and(|row| row.retriable)
    }

    /// Kafka's name for it; `UNKNOWN_ERROR_CODE` for a number beyond the table.
    pub fn name(self) -> &'static str {
        self.row().map_or("UNKNOWN_ERROR_CODE", |row| row.name)
    }

    /// A sentence for people.
    pub fn message(self) -> &'static str {
        self.row().map_or("The error code is not known here.", |row| row.message)
    }

    fn row(self) -> Option<&'static Row> {
        // The table starts at -1 and has no gaps.
        TABLE.get(usize::try_from(i32::from(self.0) + 1).ok()?)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// So that a refusal can travel with `?`.
impl std::error::Error for ErrorCode {}

impl Wire for ErrorCode {
    fn decode<'a>(cx: Cx<'a>, i: &'a [u8]) -> Parsed<'a, Self> {
        i16::decode(cx, i).map(|(i, code)| (i, ErrorCode(code)))
    }

    fn encode(&self, v: Version, out: &mut Writer) {
        self.0.encode(v, out);
        out.note(*self);
    }
}

struct Row {
    #[cfg(test)]
    code: i16,
    name: &'static str,
    retriable: bool,
    message: &'static str,
}

macro_rules! retriable {
    (retry) => {
        true
    };
    (final) => {
        false
    };
}

macro_rules! errors {
    ($($code:literal $NAME:ident $retry:tt $message:literal)*) => {
        /// The codes by name; what each one says is its documentation.
        impl ErrorCode { $(
            #[doc = $message]
            pub const $NAME: ErrorCode = ErrorCode($code);
        )* }

        const TABLE: &[Row] = &[ $( Row {
            #[cfg(test)]
            code: $code,
            name: stringify!($NAME),
            retriable: retriable!($retry),
            message: $message,
        }, )* ];
    };
}

errors! {
    -1 UNKNOWN_SERVER_ERROR final "Something went wrong in the broker that it has no word for."
    0 NONE final "No error."
    1 OFFSET_OUT_OF_RANGE final "The partition holds no record at this offset."
    2 CORRUPT_MESSAGE retry "The records are damaged: wrong checksum or size, or a key is missing."
    3 UNKNOWN_TOPIC_OR_PARTITION retry "This broker has no such topic or partition."
    4 INVALID_FETCH_SIZE final "The requested fetch size is invalid."
    5 LEADER_NOT_AVAILABLE retry "The partition has no leader at the moment."
    6 NOT_LEADER_OR_FOLLOWER retry "This broker does not lead the partition, or holds no replica of it."
    7 REQUEST_TIMED_OUT retry "The request took longer than allowed."
    8 BROKER_NOT_AVAILABLE final "The broker is not available."
    9 REPLICA_NOT_AVAILABLE retry "The replica is not available on this broker."
    10 MESSAGE_TOO_LARGE final "The batch is larger than the topic allows."
    11 STALE_CONTROLLER_EPOCH final "The controller has moved to another broker."
    12 OFFSET_METADATA_TOO_LARGE final "The text that comes with the offset is too long."
    13 NETWORK_EXCEPTION retry "The connection ended before the response."
    14 COORDINATOR_LOAD_IN_PROGRESS retry "The coordinator is still reading its log."
    15 COORDINATOR_NOT_AVAILABLE retry "The coordinator is not available."
    16 NOT_COORDINATOR retry "Another broker is the coordinator."
    17 INVALID_TOPIC_EXCEPTION final "A topic cannot have this name, or cannot be used like this."
    18 RECORD_LIST_TOO_LARGE final "The batch is larger than a segment."
    19 NOT_ENOUGH_REPLICAS retry "Fewer replicas are in sync than the topic asks for; nothing was written."
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND retry "Written, but to fewer in-sync replicas than asked for."
    21 INVALID_REQUIRED_ACKS final "The acks must be -1, 0 or 1."
    22 ILLEGAL_GENERATION final "The group has moved on to another generation."
    23 INCONSISTENT_GROUP_PROTOCOL final "The member shares no protocol with the others of its group."
    24 INVALID_GROUP_ID final "A group cannot have this id."
    25 UNKNOWN_MEMBER_ID final "The group has no such member."
    26 INVALID_SESSION_TIMEOUT final "The session timeout is outside the range that the broker allows."
    27 REBALANCE_IN_PROGRESS final "The group is rebalancing: join again."
    28 INVALID_COMMIT_OFFSET_SIZE final "The commit is too large to be kept."
    29 TOPIC_AUTHORIZATION_FAILED final "Not authorized for this topic."
    30 GROUP_AUTHORIZATION_FAILED final "Not authorized for this group."
    31 CLUSTER_AUTHORIZATION_FAILED final "Not authorized for this operation on the cluster."
    32 INVALID_TIMESTAMP final "A record's timestamp is too far from the broker's clock."
    33 UNSUPPORTED_SASL_MECHANISM final "The broker does not offer this SASL mechanism."
    34 ILLEGAL_SASL_STATE final "The request does not fit the state of authentication."
    35 UNSUPPORTED_VERSION final "The broker does not speak this version."
    36 TOPIC_ALREADY_EXISTS final "There already is a topic of this name."
    37 INVALID_PARTITIONS final "The topic cannot have this number of partitions."
    38 INVALID_REPLICATION_FACTOR final "The replication factor is below 1 or above the number of brokers."
    39 INVALID_REPLICA_ASSIGNMENT final "The replicas cannot be placed like this."
    40 INVALID_CONFIG final "A setting cannot have this value."
    41 NOT_CONTROLLER retry "This broker is not the controller."
    42 INVALID_REQUEST final "The request contradicts itself or the protocol."
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT final "The partition's record format cannot do this."
    44 POLICY_VIOLATION final "A policy of the cluster forbids this."
    45 OUT_OF_ORDER_SEQUENCE_NUMBER final "The batch does not follow the producer's last one."
    46 DUPLICATE_SEQUENCE_NUMBER final "The batch was written before."
    47 INVALID_PRODUCER_EPOCH final "A newer producer has taken over this producer id."
    48 INVALID_TXN_STATE final "The transaction is not in a state that allows this."
    49 INVALID_PRODUCER_ID_MAPPING final "The producer id does not belong to this transactional id."
    50 INVALID_TRANSACTION_TIMEOUT final "The transaction timeout is longer than the broker allows."
    51 CONCURRENT_TRANSACTIONS retry "Another operation on this transaction is not finished yet."
    52 TRANSACTION_COORDINATOR_FENCED final "A newer coordinator has taken over this transaction."
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED final "Not authorized for this transactional id."
    54 SECURITY_DISABLED final "The broker has no authorizer."
    55 OPERATION_NOT_ATTEMPTED final "Not tried, because another part of the request failed."
    56 KAFKA_STORAGE_ERROR retry "The disk of this partition has failed."
    57 LOG_DIR_NOT_FOUND final "The broker has no such log folder."
    58 SASL_AUTHENTICATION_FAILED final "Authentication failed."
    59 UNKNOWN_PRODUCER_ID final "Nothing is known about this producer any more."
    60 REASSIGNMENT_IN_PROGRESS final "The partition is being moved."
    61 DELEGATION_TOKEN_AUTH_DISABLED final "Delegation tokens are switched off."
    62 DELEGATION_TOKEN_NOT_FOUND final "There is no such delegation token."
    63 DELEGATION_TOKEN_OWNER_MISMATCH final "The delegation token belongs to somebody else."
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED final "Delegation tokens cannot be asked for on this connection."
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED final "Not authorized for this delegation token."
    66 DELEGATION_TOKEN_EXPIRED final "The delegation token has expired."
    67 INVALID_PRINCIPAL_TYPE final "There are no principals of this type."
    68 NON_EMPTY_GROUP final "The group still has members."
    69 GROUP_ID_NOT_FOUND final "There is no such group."
    70 FETCH_SESSION_ID_NOT_FOUND retry "There is no such fetch session: start a new one."
    71 INVALID_FETCH_SESSION_EPOCH retry "The fetch session is at another epoch: start a new one."
    72 LISTENER_NOT_FOUND retry "The leader has no listener like the one that was asked."
    73 TOPIC_DELETION_DISABLED final "Topics cannot be deleted here."
    74 FENCED_LEADER_EPOCH retry "The request knows an older leader epoch than the broker."
    75 UNKNOWN_LEADER_EPOCH retry "The request knows a newer leader epoch than the broker."
    76 UNSUPPORTED_COMPRESSION_TYPE final "The client cannot read this compression."
    77 STALE_BROKER_EPOCH final "The broker has registered again since."
    78 OFFSET_NOT_AVAILABLE retry "The new leader does not know yet how far records are committed."
    79 MEMBER_ID_REQUIRED final "Join again with the member id of this response."
    80 PREFERRED_LEADER_NOT_AVAILABLE retry "The preferred leader is not available."
    81 GROUP_MAX_SIZE_REACHED final "The group is full."
    82 FENCED_INSTANCE_ID final "Another member has taken over this instance id."
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE retry "No replica that may lead is available."
    84 ELECTION_NOT_NEEDED retry "The right replica leads already."
    85 NO_REASSIGNMENT_IN_PROGRESS final "The partition is not being moved."
    86 GROUP_SUBSCRIBED_TO_TOPIC final "The group still reads this topic, so its offsets stay."
    87 INVALID_RECORD final "A record breaks the rules of its topic."
    88 UNSTABLE_OFFSET_COMMIT retry "Offsets wait for a transaction to end."
    89 THROTTLING_QUOTA_EXCEEDED retry "Too many changes: try again after the throttle time."
    90 PRODUCER_FENCED final "A newer producer uses this transactional id."
    91 RESOURCE_NOT_FOUND final "There is no such resource."
    92 DUPLICATE_RESOURCE final "The request names a resource twice."
    93 UNACCEPTABLE_CREDENTIAL final "The credential breaks the rules for credentials."
    94 INCONSISTENT_VOTER_SET final "One of the two is not among the voters."
    95 INVALID_UPDATE_VERSION final "The feature cannot move to this level."
    96 FEATURE_UPDATE_FAILED final "The features could not be updated."
    97 PRINCIPAL_DESERIALIZATION_FAILURE final "The principal of a forwarded request cannot be read."
    98 SNAPSHOT_NOT_FOUND final "There is no such snapshot."
    99 POSITION_OUT_OF_RANGE final "The position is not inside the snapshot."
    100 UNKNOWN_TOPIC_ID retry "This broker has no topic of this id."
    101 DUPLICATE_BROKER_REGISTRATION final "Another broker has this id."
    102 BROKER_ID_NOT_REGISTERED final "No broker has registered with this id."
    103 INCONSISTENT_TOPIC_ID retry "The topic has another id."
    104 INCONSISTENT_CLUSTER_ID final "This is another cluster."
    105 TRANSACTIONAL_ID_NOT_FOUND final "There is no such transactional id."
    106 FETCH_SESSION_TOPIC_ID_ERROR retry "The fetch session mixes topic names and topic ids."
    107 INELIGIBLE_REPLICA final "A replica cannot be in sync at the moment."
    108 NEW_LEADER_ELECTED final "Done, and the partition has a new leader."
    109 OFFSET_MOVED_TO_TIERED_STORAGE final "The records have moved to tiered storage."
    110 FENCED_MEMBER_EPOCH final "The member is at an old epoch: give up all partitions and join again."
    111 UNRELEASED_INSTANCE_ID final "Another member still has this instance id."
    112 UNSUPPORTED_ASSIGNOR final "The group cannot use this assignor."
    113 STALE_MEMBER_EPOCH final "The member's epoch has changed: its next heartbeat brings the new one."
    114 MISMATCHED_ENDPOINT_TYPE final "This is not the kind of endpoint the request is for."
    115 UNSUPPORTED_ENDPOINT_TYPE final "There are no endpoints of this kind."
    116 UNKNOWN_CONTROLLER_ID final "There is no such controller."
    117 UNKNOWN_SUBSCRIPTION_ID final "The telemetry subscription is out of date."
    118 TELEMETRY_TOO_LARGE final "So much telemetry is not accepted."
    119 INVALID_REGISTRATION final "The controller does not accept this registration."
    120 TRANSACTION_ABORTABLE final "The transaction has to be aborted; the producer can go on after that."
    121 INVALID_RECORD_STATE final "The record is not in a state to be acknowledged."
    122 SHARE_SESSION_NOT_FOUND retry "There is no such share session."
    123 INVALID_SHARE_SESSION_EPOCH retry "The share session is at another epoch."
    124 FENCED_STATE_EPOCH final "The share group's state is at another epoch."
    125 INVALID_VOTER_KEY final "The voter has another key."
    126 DUPLICATE_VOTER final "This is a voter already."
    127 VOTER_NOT_FOUND final "This is not a voter."
    128 INVALID_REGULAR_EXPRESSION final "The regular expression cannot be read."
    129 REBOOTSTRAP_REQUIRED final "The client is out of date: start again from the bootstrap servers."
    130 STREAMS_INVALID_TOPOLOGY final "The topology contradicts itself."
    131 STREAMS_INVALID_TOPOLOGY_EPOCH final "A topology cannot have this epoch."
    132 STREAMS_TOPOLOGY_FENCED final "The group has moved on to a newer topology."
    133 SHARE_SESSION_LIMIT_REACHED retry "There are as many share sessions as allowed."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_finds_its_own_row() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(i32::from(row.code), i as i32 - 1, "{}", row.name);
            assert_eq!(ErrorCode(row.code).name(), row.name);
        }
        assert_eq!(TABLE.len(), 135);
        for beyond in [i16::MIN, -2, 134, i16::MAX] {
            assert_eq!(ErrorCode(beyond).name(), "UNKNOWN_ERROR_CODE");
        }
    }

    #[test]
    fn names_and_retries_match_an_independent_table() {
        use kafka_protocol::error::ResponseError;
        for row in TABLE {
            let Some(theirs) = ResponseError::try_from_code(row.code) else { continue };
            let same = |c: &char| c.is_ascii_alphanumeric();
            let ours: String = row.name.to_lowercase().chars().filter(same).collect();
            let name: String = format!("{theirs:?}").to_lowercase().chars().filter(same).collect();
            if !name.starts_with("unknown") || ours.starts_with("unknown") {
                assert_eq!(name.trim_end_matches("exception"), ours.trim_end_matches("exception"));
            }
            // Kafka 4 made this one retriable, for clients that begin again before the last end is through.
            let newer = ErrorCode(row.code) == ErrorCode::CONCURRENT_TRANSACTIONS;
            assert_eq!(theirs.is_retriable() || newer, row.retriable, "{}", row.name);
        }
    }
}
