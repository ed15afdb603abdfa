//! The table of APIs, and the way from a frame to its handler.
//!
//! One API, one file. `ApiVersions`, dispatch, metrics, README's support table and the tests read [`TABLE`]:
//! what is not in it is not served and not advertised.

use std::collections::HashSet;
use std::future::{Future, ready};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use braid_protocol::api::api_versions::ApiVersions;
use braid_protocol::{Api, ErrorCode, Malformed, Uuid, frame};
use bytes::Bytes;
use pin_project_lite::pin_project;

use crate::broker::{Broker, OFFSETS_TOPIC, Peer, TRANSACTIONS_TOPIC};
use crate::cluster::Image;
use crate::metrics::{Inside, Metrics, Phases, RequestMetrics};
use crate::topic::{LEADER_EPOCH, Topic};

/// What a handler knows besides the request itself.
#[derive(Clone)]
pub struct Context {
    /// The broker's state and verbs.
    pub broker: Arc<Broker>,
    /// The cluster, taken once, so that one request sees one truth.
    pub image: Arc<Image>,
    /// Who asks.
    pub peer: Arc<Peer>,
    /// The client id of the request's header; empty if it was null.
    pub client_id: Arc<str>,
    /// The version of the request.
    pub version: i16,
    /// Milliseconds since the epoch, when the request was taken up.
    pub now_ms: i64,
}

/// Why a request gets no response.
#[derive(Clone, Debug, PartialEq)]
pub enum NoAnswer {
    /// The protocol says so: Produce with `acks=0` that went well.
    Silent,
    /// The connection must be closed, for this reason.
    Close(String),
}

/// What comes of a request. Errors that the client should see are part of the response, in its own shape.
pub type Handled<R> = Result<R, NoAnswer>;

/// One API, served. The file that implements it is the whole story of that API.
///
/// What a handler does before its first `await` happens in arrival order, before the next request of the same
/// connection is looked at; the rest may overlap with later ones. Responses leave in request order all the
/// same.
pub trait Handler: Api {
    /// The versions served; never wider than what the codec reads.
    const SERVES: RangeInclusive<i16> = Self::VERSIONS;
    /// The versions that ApiVersions names.
    const ADVERTISES: RangeInclusive<i16> = Self::SERVES;

    /// Does what the request asks.
    fn handle(cx: Context, request: Self::Request) -> impl Future<Output = Handled<Self::Response>> + Send;
}

/// A response on its way out.
pub struct Outgoing {
    /// The frame, its size in front.
    pub chunks: Vec<Bytes>,
    /// The first error code in it that is one.
    pub error: Option<ErrorCode>,
}

/// A request under way.
pub type InFlight = Pin<Box<dyn Future<Output = Handled<Outgoing>> + Send>>;

/// Encodes a response.
fn outgoing<A: Api>(version: i16, correlation_id: i32, response: &A::Response) -> Handled<Outgoing> {
    let framed = frame::response_frame::<A>(version, correlation_id, response);
    framed
        .map(|(chunks, error)| Outgoing { chunks, error })
        .map_err(|e| NoAnswer::Close(format!("a response to {} of {e}", A::NAME)))
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Kafka's name of the API.
    pub name: &'static str,
    /// Its key.
    pub key: i16,
    /// The versions served.
    pub serves: RangeInclusive<i16>,
    /// The versions that ApiVersions names.
    pub advertises: RangeInclusive<i16>,
    /// The first flexible version.
    pub flexible: i16,
    serve: fn(Context, &Bytes) -> Result<InFlight, Malformed>,
}

impl Row {
    const fn of<H: Handler + 'static>() -> Row {
        assert!(*H::VERSIONS.start() <= *H::SERVES.start() && *H::SERVES.end() <= *H::VERSIONS.end());
        Row {
            name: H::NAME,
            key: H::KEY,
            serves: H::SERVES,
            advertises: H::ADVERTISES,
            flexible: H::FLEXIBLE,
            serve: serve::<H>,
        }
    }
}

fn serve<H: Handler>(mut cx: Context, frame: &Bytes) -> Result<InFlight, Malformed> {
    let (header, request) = frame::read_request::<H>(frame)?;
    cx.client_id = header.client_id.as_deref().unwrap_or_default().into();
    let (version, correlation_id) = (cx.version, header.correlation_id);
    let encode = move |response: &H::Response| outgoing::<H>(version, correlation_id, response);
    Ok(Box::pin(Serving { response: H::handle(cx, request), encode }))
}

pin_project! {
    /// A handler at work, and what encodes its response. An `async` block would hold the handler twice: from
    /// about 1 KB on, memory for it comes from the allocator's slow path.
    struct Serving<F, E> {
        #[pin]
        response: F,
        encode: E,
    }
}

impl<R, F, E> Future for Serving<F, E>
where
    F: Future<Output = Handled<R>>,
    E: Fn(&R) -> Handled<Outgoing>,
{
    type Output = Handled<Outgoing>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Handled<Outgoing>> {
        let this = self.project();
        this.response.poll(cx).map(|handled| handled.and_then(|response| (this.encode)(&response)))
    }
}

macro_rules! table {
    ($($module:ident $Api:ident),* $(,)?) => {
        $( mod $module; )*
        /// Every API served, in the order of their keys.
        pub const TABLE: &[Row] = &[$( Row::of::<braid_protocol::api::$module::$Api>() ),*];
    };
}

table! {
    produce Produce,
    fetch Fetch,
    list_offsets ListOffsets,
    metadata Metadata,
    offset_commit OffsetCommit,
    offset_fetch OffsetFetch,
    find_coordinator FindCoordinator,
    join_group JoinGroup,
    heartbeat Heartbeat,
    leave_group LeaveGroup,
    sync_group SyncGroup,
    describe_groups DescribeGroups,
    list_groups ListGroups,
    api_versions ApiVersions,
    create_topics CreateTopics,
    delete_topics DeleteTopics,
    delete_records DeleteRecords,
    init_producer_id InitProducerId,
    offset_for_leader_epoch OffsetForLeaderEpoch,
    add_partitions_to_txn AddPartitionsToTxn,
    add_offsets_to_txn AddOffsetsToTxn,
    end_txn EndTxn,
    write_txn_markers WriteTxnMarkers,
    txn_offset_commit TxnOffsetCommit,
    describe_acls DescribeAcls,
    create_acls CreateAcls,
    delete_acls DeleteAcls,
    describe_configs DescribeConfigs,
    alter_configs AlterConfigs,
    alter_replica_log_dirs AlterReplicaLogDirs,
    describe_log_dirs DescribeLogDirs,
    create_partitions CreatePartitions,
    delete_groups DeleteGroups,
    elect_leaders ElectLeaders,
    incremental_alter_configs IncrementalAlterConfigs,
    alter_partition_reassignments AlterPartitionReassignments,
    list_partition_reassignments ListPartitionReassignments,
    offset_delete OffsetDelete,
    describe_client_quotas DescribeClientQuotas,
    describe_user_scram_credentials DescribeUserScramCredentials,
    describe_quorum DescribeQuorum,
    update_features UpdateFeatures,
    describe_cluster DescribeCluster,
    describe_producers DescribeProducers,
    describe_transactions DescribeTransactions,
    list_transactions ListTransactions,
    consumer_group_heartbeat ConsumerGroupHeartbeat,
    consumer_group_describe ConsumerGroupDescribe,
    list_config_resources ListConfigResources,
    describe_topic_partitions DescribeTopicPartitions,
}

/// The index in [`TABLE`] of an API key.
pub fn row(key: i16) -> Option<usize> {
    TABLE.binary_search_by_key(&key, |row| row.key).ok()
}

/// A request that has found its row.
pub struct Dispatched {
    /// Index of the row in [`TABLE`].
    pub row: usize,
    /// The version of the request.
    pub version: i16,
    /// The work; polled once, it has done all that must be done in arrival order.
    pub answer: InFlight,
}

/// Finds the handler for a frame (without its size), or says why the connection must be closed.
pub fn dispatch(broker: &Arc<Broker>, peer: &Arc<Peer>, frame: &Bytes) -> Result<Dispatched, String> {
    let head = frame::peek(frame).map_err(|e| format!("malformed request header: {e}"))?;
    let (key, version) = (head.api_key, head.api_version);
    let at = row(key).ok_or_else(|| format!("unknown API key {key}, version {version}"))?;
    let Some(row) = TABLE.get(at) else { return Err(format!("unknown API key {key}")) };
    if !row.serves.contains(&version) {
        if key == ApiVersions::KEY {
            let answer = Box::pin(ready(api_versions::unsupported(head.correlation_id)));
            return Ok(Dispatched { row: at, version: 0, answer });
        }
        return Err(format!("{} version {version} is not supported ({:?} are)", row.name, row.serves));
    }
    let cx = Context {
        broker: broker.clone(),
        image: broker.cluster.image(),
        peer: peer.clone(),
        client_id: Arc::default(),
        version,
        now_ms: broker.clock.now(),
    };
    let answer =
        (row.serve)(cx, frame).map_err(|e| format!("malformed {} version {version}: {e}", row.name))?;
    Ok(Dispatched { row: at, version, answer })
}

/// The counters of every row and version, looked up once.
pub struct Meters {
    rows: Vec<Vec<RequestMetrics>>,
}

impl Meters {
    /// The counters of the whole table.
    pub fn new(metrics: &Metrics) -> Meters {
        let row =
            |row: &Row| row.advertises.clone().map(|version| metrics.request(row.name, version)).collect();
        Meters { rows: TABLE.iter().map(row).collect() }
    }

    /// Counts an answered request.
    pub fn answered(&self, row: usize, version: i16, error: Option<&str>) {
        if let Some(meter) = self.of(row, version) {
            meter.answered(error);
        }
    }

    /// Counts where the time of a request went whose answer has been sent.
    pub fn sent(&self, row: usize, version: i16, phases: &Phases) {
        if let Some(meter) = self.of(row, version) {
            meter.sent(phases);
        }
    }

    /// Counts a request as parked for as long as the value returned lives.
    pub fn parked(&self, row: usize, version: i16) -> Option<Inside> {
        self.of(row, version).map(RequestMetrics::parked)
    }

    fn of(&self, row: usize, version: i16) -> Option<&RequestMetrics> {
        let first = TABLE.get(row).map_or(0, |row| *row.advertises.start());
        self.rows.get(row)?.get(usize::try_from(version - first).ok()?)
    }
}

/// What anybody may do with a topic while there are no ACLs: read, write, create, delete, alter, describe,
/// and describe and alter its configs; a bit for each operation's code.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Likewise with the cluster: create, alter, describe, act as a broker, describe and alter configs, write
/// idempotently.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// Likewise with a group: read, describe, delete.
const GROUP_OPERATIONS: i32 = 0b1_0100_1000;

/// Each group once, in the order in which they were named: what one is answered may be much larger than its
/// name, and no client asks twice.
fn distinct<T>(groups: Vec<T>, id: impl Fn(&T) -> &str) -> Vec<T> {
    let mut named = HashSet::new();
    groups.into_iter().filter(|group| named.insert(id(group).to_owned())).collect()
}

/// Whether clients should hide a topic from their users.
fn is_internal(name: &str) -> bool {
    matches!(name, OFFSETS_TOPIC | TRANSACTIONS_TOPIC)
}

/// Who leads a partition, as every API tells it: the code, the leader, and the offline replicas. One that is
/// offline has no leader, as in Kafka where its one replica lies on a failed disk.
fn led(open: Option<&Topic>, index: i32, node: i32) -> (ErrorCode, i32, Vec<i32>) {
    match open.is_some_and(|open| open.is_offline(index)) {
        true => (ErrorCode::LEADER_NOT_AVAILABLE, -1, vec![node]),
        false => (ErrorCode::NONE, node, Vec::new()),
    }
}

/// The topic that a request names: by id from version `ids_from` on, else by name.
fn find_topic(cx: &Context, name: &str, id: Uuid, ids_from: i16) -> Result<Arc<Topic>, ErrorCode> {
    if cx.version >= ids_from {
        cx.broker.topics.get_by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    } else {
        cx.broker.topics.get(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}

/// What a producer with an old epoch is told: before version `from` of its request there was no
/// PRODUCER_FENCED (KIP-360).
fn fenced(cx: &Context, code: ErrorCode, from: i16) -> ErrorCode {
    match code {
        ErrorCode::PRODUCER_FENCED if cx.version < from => ErrorCode::INVALID_PRODUCER_EPOCH,
        code => code,
    }
}

/// Compares the leader epoch that a client believes in with the real one; -1 believes in nothing (KIP-320).
fn check_epoch(believed: i32) -> Result<(), ErrorCode> {
    match believed {
        -1 | LEADER_EPOCH => Ok(()),
        old if old < LEADER_EPOCH => Err(ErrorCode::FENCED_LEADER_EPOCH),
        _ => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_keys_so_that_it_can_be_searched() {
        assert!(TABLE.is_sorted_by(|a, b| a.key < b.key));
        assert!(TABLE.iter().enumerate().all(|(i, r)| row(r.key) == Some(i)));
    }

    #[test]
    fn everything_served_is_advertised() {
        for row in TABLE {
            assert!(row.advertises.start() <= row.serves.start(), "{}", row.name);
            assert_eq!(row.advertises.end(), row.serves.end(), "{}", row.name);
        }
    }
}
