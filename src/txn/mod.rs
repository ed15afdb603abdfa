//! Transactions: what is written to many partitions counts everywhere or nowhere. The face of the
//! transaction coordinator.
//!
//! Every transactional id lives in one partition of `__transaction_state`, chosen by a hash of it. Each
//! partition has one [`Transactions`] machine and one task that drives it (see [`crate::machine`]);
//! [`Coordinator`] finds the right one. The files: `transaction` has the rules for one id; `transactions` is
//! the machine; `record` what the log keeps. Who writes the markers takes them from [`Coordinator::markers`]:
//! it is told of an end only when the decision is durable, and says when every partition has it.

mod face;
mod record;
mod transaction;
mod transactions;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_transactions::TransactionState;
use braid_protocol::api::list_transactions::{ListTransactionsRequest, TransactionState as Listed};

pub use face::Coordinator;
pub use record::Record;
pub use transaction::{Producer, State, Transaction, Version};
pub use transactions::Transactions;

use crate::machine::{Millis, Pattern};

/// Text in records has 16 bits for its length.
const TEXT_MAX: usize = i16::MAX as usize;

/// The rules for transactions, each with the name of its setting.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnConfig {
    /// `transaction.max.timeout.ms`
    pub timeout_max_ms: i32,
    /// `transactional.id.expiration.ms`
    pub id_expiration_ms: Millis,
    /// How long a request waits for an end that is under way before its client is sent away to ask again.
    pub patience_ms: Millis,
    /// Transactional ids of one partition of `__transaction_state`; above it no new ones begin.
    pub ids_max: usize,
}

impl Default for TxnConfig {
    /// Kafka's defaults, and finite limits where Kafka has none.
    fn default() -> Self {
        TxnConfig {
            timeout_max_ms: 900_000,
            id_expiration_ms: 604_800_000,
            // Markers take a sync or two; a request that waits longer waits for a broken disk.
            patience_ms: 1_000,
            ids_max: 10_000,
        }
    }
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// InitProducerId.
    Init {
        /// The transactional id.
        id: String,
        /// After how long its transactions shall be aborted.
        timeout_ms: i32,
        /// Who the producer believes to be (KIP-360).
        expected: Option<Producer>,
        /// A producer id that nobody ever had, if one was asked for.
        fresh: Option<i64>,
    },
    /// AddPartitionsToTxn, and what amounts to it.
    Add {
        /// The transactional id.
        id: String,
        /// Who asks.
        producer: Producer,
        /// Topics and partitions.
        partitions: BTreeSet<(String, i32)>,
        /// What the client speaks.
        version: Version,
    },
    /// Is the partition part of the open transaction?
    Verify {
        /// The transactional id.
        id: String,
        /// Who asks.
        producer: Producer,
        /// Topic and partition.
        partition: (String, i32),
    },
    /// EndTxn.
    End {
        /// The transactional id.
        id: String,
        /// Who asks.
        producer: Producer,
        /// To commit; else to abort.
        commit: bool,
        /// What the client speaks.
        version: Version,
        /// A producer id that nobody ever had, if one was asked for.
        fresh: Option<i64>,
    },
    /// Which ends are decided and nobody was told of yet? Answered when there are any.
    Markers,
    /// Every partition has the marker of this end.
    Marked {
        /// The transactional id.
        id: String,
        /// The producer in the marker.
        producer: Producer,
    },
    /// DescribeTransactions, for one id.
    Describe {
        /// The transactional id.
        id: String,
    },
    /// ListTransactions, for one partition.
    List {
        /// What is asked for.
        filters: ListTransactionsRequest,
        /// Its pattern of ids, if it has one.
        pattern: Option<Pattern>,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To what a producer asks: yes, and it is this one now; or why not.
    Producer(Result<Producer, ErrorCode>),
    /// Ask again with a producer id that nobody ever had.
    NeedsProducerId,
    /// To [`Input::Markers`].
    Markers(Vec<Ended>),
    /// To [`Input::Marked`].
    Done,
    /// To [`Input::Describe`].
    Described(TransactionState),
    /// To [`Input::List`].
    List(Vec<Listed>),
}

/// A transaction whose end is decided: every partition is to get a marker.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The transactional id.
    pub id: String,
    /// The producer that the markers name.
    pub producer: Producer,
    /// Committed; else aborted.
    pub commit: bool,
    /// Topics and partitions.
    pub partitions: BTreeSet<(String, i32)>,
}
