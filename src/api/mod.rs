//! The table of APIs, and the way from a frame to its handler.
//!
//! One API, one file. `ApiVersions`, dispatch, metrics, the table in protocol/README.md and the tests read
//! [`TABLE`]: what is not in it is not served and not advertised.

mod fetch_sessions; // what consumers read, remembered between their fetches
mod service; // what connections serve

use std::collections::{HashMap, HashSet};
use std::future::{Future, ready};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use braid_protocol::api::api_versions::ApiVersions;
use braid_protocol::api::produce::Produce;
use braid_protocol::frame::{self, Received};
use braid_protocol::{Api, ErrorCode, Malformed, Uuid};
use bytes::Bytes;
use pin_project_lite::pin_project;

pub use braid_protocol::frame::Outgoing;
pub use service::{Meters, Service};

use crate::broker::{Broker, OFFSETS_TOPIC, Peer, Requester, TRANSACTIONS_TOPIC};
use crate::cluster::Image;
use crate::topic::{Closed, Fault, Topic};
use fetch_sessions::FetchSessions;

/// What a handler knows besides the request itself.
#[derive(Clone)]
pub struct Context {
    /// The broker's state and verbs.
    pub broker: Arc<Broker>,
    /// What consumers read, remembered between their fetches.
    fetch_sessions: Arc<FetchSessions>,
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

impl Context {
    /// The client, as the one who asks for a change of the cluster.
    pub fn requester(&self) -> Requester {
        Requester::Client { id: self.client_id.clone(), address: self.peer.address }
    }
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

    /// How much memory the answer may take beyond `ANSWERED` for each element of the request, in bytes,
    /// estimated from above: for requests that list what there is, or ask for more of each thing than they
    /// name. That much is taken from the account of memory before the answer is built.
    fn answer_bytes(_: &Context, _: &Self::Request) -> usize {
        0
    }

    /// Does what the request asks.
    fn handle(cx: Context, request: Self::Request) -> impl Future<Output = Handled<Self::Response>> + Send;
}

/// A request under way.
pub type InFlight = Pin<Box<dyn Future<Output = Handled<Outgoing>> + Send>>;

/// Encodes a response.
fn outgoing<A: Api>(version: i16, correlation_id: i32, response: &A::Response) -> Handled<Outgoing> {
    let framed = frame::response_frame::<A>(version, correlation_id, response);
    framed.map_err(|e| NoAnswer::Close(format!("a response to {} of {e}", A::NAME)))
}

/// From this much memory on, decoded and for its answer, a request is handled by [`crate::broker::Workers`]:
/// it computes for longer than a thread that serves sockets may.
const LARGE: usize = 256 << 10;
/// A request is also handled there from this many elements of its arrays on.
const MANY: usize = 2_000;
/// What one element of a request may take in its answer, in bytes: an index, a code, a message.
const ANSWERED: usize = 64;
/// Names are truncated to this many bytes in messages; those of topics are shorter.
const NAME_SHOWN: usize = 249;

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
    serve: fn(Context, &Bytes) -> Result<Decoded, Malformed>,
}

/// A request that has been decoded and not begun.
struct Decoded {
    answer: InFlight,
    memory: usize,
    alone: bool,
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

fn serve<H: Handler>(mut cx: Context, frame: &Bytes) -> Result<Decoded, Malformed> {
    let Received { header, request, memory, elements } = frame::read_request::<H>(frame)?;
    cx.client_id = header.client_id.as_deref().unwrap_or_default().into();
    let (version, correlation_id) = (cx.version, header.correlation_id);
    let encode = move |response: &H::Response| outgoing::<H>(version, correlation_id, response);
    let memory = memory + elements * ANSWERED + H::answer_bytes(&cx, &request);
    let alone = memory > LARGE || elements > MANY;
    let elsewhere = alone.then(|| (cx.broker.clone(), cx.peer.clone()));
    let answer: InFlight = Box::pin(Serving { response: H::handle(cx, request), encode });
    let answer = match elsewhere {
        None => answer,
        Some((broker, peer)) => {
            let work = async move { peer.syncing(answer).await };
            Box::pin(async move { broker.workers.run(work).await })
        }
    };
    Ok(Decoded { answer, memory, alone })
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
        /// Every API served, in the order of their keys. A static, because each crate that looks at a
        /// constant would have all handlers compiled once more.
        pub static TABLE: &[Row] = &[$( Row::of::<braid_protocol::api::$module::$Api>() ),*];
    };
}

braid_protocol::apis!(table);

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
    /// The work. Nothing is done before it is first polled; then, all that must be done in arrival order.
    pub answer: InFlight,
    /// The memory that it takes beside the frame until it is answered, in bytes.
    pub memory: usize,
    /// Its first poll does not do all that must be done in arrival order: no request of the connection may be
    /// begun before it is answered.
    pub alone: bool,
}

/// Does it take long to decode this frame (without its size)? Of a Produce request most is records, which are
/// not decoded.
pub fn decodes_long(frame: &Bytes) -> bool {
    frame.len() > LARGE && frame::peek(frame).is_ok_and(|head| head.api_key != Produce::KEY)
}

/// Finds the handler for a frame (without its size), or says why the connection must be closed.
pub fn dispatch(service: &Service, peer: &Arc<Peer>, frame: &Bytes) -> Result<Dispatched, String> {
    let head = frame::peek(frame).map_err(|e| format!("malformed request header: {e}"))?;
    let (key, version) = (head.api_key, head.api_version);
    let at = row(key).ok_or_else(|| format!("unknown API key {key}, version {version}"))?;
    let Some(row) = TABLE.get(at) else { return Err(format!("unknown API key {key}")) };
    if !row.serves.contains(&version) {
        if key == ApiVersions::KEY {
            let answer = Box::pin(ready(api_versions::unsupported(head.correlation_id)));
            return Ok(Dispatched { row: at, version: 0, answer, memory: 0, alone: false });
        }
        return Err(format!("{} version {version} is not supported ({:?} are)", row.name, row.serves));
    }
    let broker = &service.broker;
    let cx = Context {
        broker: broker.clone(),
        fetch_sessions: service.fetch_sessions.clone(),
        image: broker.cluster.image(),
        peer: peer.clone(),
        client_id: Arc::default(),
        version,
        now_ms: broker.clock.now(),
    };
    let decoded = (row.serve)(cx, frame);
    let Decoded { answer, memory, alone } =
        decoded.map_err(|e| format!("{} version {version}: {e}", row.name))?;
    Ok(Dispatched { row: at, version, answer, memory, alone })
}

/// What anybody may do with a topic while there are no ACLs: read, write, create, delete, alter, describe,
/// and describe and alter its configs; a bit for each operation's code.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Operations on the cluster: create, alter, describe, act as a broker, describe and alter configs, write
/// idempotently.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// Operations on a group: read, describe, delete.
const GROUP_OPERATIONS: i32 = 0b1_0100_1000;

/// Each thing once, in the order in which they were named: the answer for one may be much larger than its
/// name, and no client asks twice.
fn distinct<T>(mut named: Vec<T>, key: impl Fn(&T) -> (&str, i32)) -> Vec<T> {
    if named.len() > 1 {
        let mut seen = HashSet::with_capacity(named.len());
        let first: Vec<bool> = named.iter().map(|one| seen.insert(key(one))).collect();
        let mut first = first.into_iter();
        named.retain(|_| first.next().unwrap_or(true));
    }
    named
}

/// Where partitions stand that were named before in the same request: positions of topic and partition.
fn named_before<T>(
    topics: &[T],
    key: impl Fn(&T) -> (&str, Uuid),
    indexes: impl Fn(&T) -> Vec<i32>,
) -> HashSet<(usize, usize)> {
    // A name may be long, and is looked at once for each time it is sent.
    let mut numbers = HashMap::new();
    let mut seen = HashSet::new();
    let mut before = HashSet::new();
    for (at, topic) in topics.iter().enumerate() {
        let number = *numbers.entry(key(topic)).or_insert(at);
        for (n, index) in indexes(topic).into_iter().enumerate() {
            if !seen.insert((number, index)) {
                before.insert((at, n));
            }
        }
    }
    before
}

/// A name within a message: one that no topic can have may be long, and is named for each of its partitions.
fn shown(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_SHOWN)).unwrap_or_default()
}

/// Whether clients should hide a topic from their users.
fn is_internal(name: &str) -> bool {
    matches!(name, OFFSETS_TOPIC | TRANSACTIONS_TOPIC)
}

/// A partition's leader, as every API describes it. One that is offline has none, as in Kafka where its one
/// replica lies on a failed disk.
struct Leader {
    error_code: ErrorCode,
    leader_id: i32,
    leader_epoch: i32,
    offline_replicas: Vec<i32>,
}

impl Leader {
    fn of(open: Option<&Topic>, index: i32, node: i32) -> Leader {
        let partition = open.and_then(|open| open.partition(index));
        let leader_epoch = partition.as_ref().map_or(0, |partition| partition.leader_epoch());
        match partition.is_some_and(|partition| partition.is_offline()) {
            true => Leader {
                error_code: ErrorCode::LEADER_NOT_AVAILABLE,
                leader_id: -1,
                leader_epoch,
                offline_replicas: vec![node],
            },
            false => Leader {
                error_code: ErrorCode::NONE,
                leader_id: node,
                leader_epoch,
                offline_replicas: Vec::new(),
            },
        }
    }
}

/// What a partition's fault is called. A topic that was deleted meanwhile is unknown: by its name or by its
/// id, whichever the request has.
fn code_of(fault: &Fault, by_id: bool) -> ErrorCode {
    match fault {
        Fault::Closed(Closed::Deleted) if by_id => ErrorCode::UNKNOWN_TOPIC_ID,
        fault => fault.code(),
    }
}

/// The topic that a request names: by id from version `ids_from` on, else by name.
fn find_topic(cx: &Context, name: &str, id: Uuid, ids_from: i16) -> Result<Arc<Topic>, ErrorCode> {
    if cx.version >= ids_from { cx.broker.topics.find_by_id(id) } else { cx.broker.topics.find(name) }
}

/// What a producer with an old epoch is told: before version `from` of its request there was no
/// PRODUCER_FENCED (KIP-360).
fn fenced(cx: &Context, code: ErrorCode, from: i16) -> ErrorCode {
    match code {
        ErrorCode::PRODUCER_FENCED if cx.version < from => ErrorCode::INVALID_PRODUCER_EPOCH,
        code => code,
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
