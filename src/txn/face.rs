//! The way in: one driver for each partition of `__transaction_state`, and the routing of requests to them.

use std::collections::BTreeSet;

use braid_protocol::ErrorCode;
use braid_protocol::api::describe_transactions::TransactionState;
use braid_protocol::api::list_transactions::{ListTransactionsRequest, TransactionState as Listed};

use super::transaction::{State, Version};
use super::{Ended, Input, Producer, Record, Reply, Transactions};
use crate::machine::{Clock, Drivers, Journal, Pattern, partition_of};

/// All transaction coordinators of this broker. Cheap to clone; the drivers end when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Coordinator {
    drivers: Drivers<Transactions>,
}

/// Takes the reply that belongs to the question.
macro_rules! reply {
    ($asked:expr, $Kind:ident) => {
        match $asked.await? {
            Reply::$Kind(it) => Ok(it),
            other => unreachable!("a transaction answered {other:?}"),
        }
    };
}

impl Coordinator {
    /// Starts one driver for each partition, in order; the machines have replayed what their partition holds.
    pub fn start<J: Journal<Record = Record>>(
        clock: Clock,
        partitions: Vec<Option<(Transactions, J)>>,
    ) -> Coordinator {
        Coordinator { drivers: Drivers::start(clock, partitions) }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.drivers.partitions()
    }

    async fn ask(&self, id: &str, input: Input) -> Result<Reply, ErrorCode> {
        self.drivers.ask(partition_of(id, self.partitions()), input).await
    }

    /// InitProducerId; `expected` is who the producer believes to be. `fresh` makes a producer id that nobody
    /// ever had: it is awaited only when one is needed.
    pub async fn init(
        &self,
        id: &str,
        timeout_ms: i32,
        expected: Option<Producer>,
        fresh: impl Future<Output = Result<i64, ErrorCode>>,
    ) -> Result<Producer, ErrorCode> {
        let input = |fresh| Input::Init { id: id.to_owned(), timeout_ms, expected, fresh };
        self.ask_with_id(id, input, fresh).await
    }

    /// Adds partitions to the transaction of this producer, and begins it if it has none.
    pub async fn add(
        &self,
        id: &str,
        producer: Producer,
        partitions: BTreeSet<(String, i32)>,
        version: Version,
    ) -> Result<(), ErrorCode> {
        let input = Input::Add { id: id.to_owned(), producer, partitions, version };
        reply!(self.ask(id, input), Producer)?.map(drop)
    }

    /// Is the partition part of the transaction that this producer has open? TRANSACTION_ABORTABLE if not.
    pub async fn verify(
        &self,
        id: &str,
        producer: Producer,
        partition: (String, i32),
    ) -> Result<(), ErrorCode> {
        let input = Input::Verify { id: id.to_owned(), producer, partition };
        reply!(self.ask(id, input), Producer)?.map(drop)
    }

    /// EndTxn: decides how the transaction ends. The markers follow. Says whom the producer goes on as.
    pub async fn end(
        &self,
        id: &str,
        producer: Producer,
        commit: bool,
        version: Version,
        fresh: impl Future<Output = Result<i64, ErrorCode>>,
    ) -> Result<Producer, ErrorCode> {
        let input = |fresh| Input::End { id: id.to_owned(), producer, commit, version, fresh };
        self.ask_with_id(id, input, fresh).await
    }

    async fn ask_with_id(
        &self,
        id: &str,
        input: impl Fn(Option<i64>) -> Input,
        fresh: impl Future<Output = Result<i64, ErrorCode>>,
    ) -> Result<Producer, ErrorCode> {
        match self.ask(id, input(None)).await? {
            Reply::NeedsProducerId => reply!(self.ask(id, input(Some(fresh.await?))), Producer)?,
            Reply::Producer(answer) => answer,
            other => unreachable!("a transaction answered {other:?}"),
        }
    }

    /// The ends of one partition that are decided and that nobody was told of; waits until there are any.
    pub async fn markers(&self, partition: usize) -> Result<Vec<Ended>, ErrorCode> {
        reply!(self.drivers.ask(partition, Input::Markers), Markers)
    }

    /// Every partition has the marker of this end.
    pub async fn marked(&self, ended: &Ended) -> Result<(), ErrorCode> {
        let Ended { id, producer, .. } = ended;
        self.ask(id, Input::Marked { id: id.clone(), producer: *producer }).await.map(drop)
    }

    /// DescribeTransactions of one id.
    pub async fn describe(&self, id: String) -> Result<TransactionState, ErrorCode> {
        let input = Input::Describe { id: id.clone() };
        reply!(self.ask(&id, input), Described)
    }

    /// ListTransactions: those of all partitions that the filters let through, sorted.
    /// INVALID_REGULAR_EXPRESSION if the pattern is none.
    pub async fn list(&self, request: ListTransactionsRequest) -> Result<Vec<Listed>, ErrorCode> {
        let text = request.transactional_id_pattern.clone().filter(|text| !text.is_empty());
        // Compiling may take milliseconds, which the sockets of others would wait for.
        let compiling = tokio::task::spawn_blocking(move || text.map(|text| Pattern::new(&text)).transpose());
        let compiled = compiling.await.map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let pattern = compiled.map_err(|_| ErrorCode::INVALID_REGULAR_EXPRESSION)?;
        let replies = self.drivers.ask_all(Input::List { filters: request, pattern }).await?.into_iter();
        let lists = replies.filter_map(|reply| if let Reply::List(ids) = reply { Some(ids) } else { None });
        let mut ids: Vec<Listed> = lists.flatten().collect();
        ids.sort_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
        Ok(ids)
    }

    /// Those of these names of states that nobody knows.
    pub fn unknown_states(names: &[String]) -> Vec<String> {
        names.iter().filter(|name| !State::is_name(name)).cloned().collect()
    }
}
