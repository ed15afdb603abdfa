//! The broker's shared state and its operations: append, read, and changes of the cluster.

mod adopt; // the log directories of another broker become ours
mod append; // one path for all writers
mod changes; // how the cluster is changed: many at a time
mod configs; // settings altered while the broker runs
mod compaction; // one value of each key
mod groups; // the group coordinator's start, and its journal
mod internal; // what is common to the topics of coordinators
mod memory; // what clients make the broker hold
mod read; // from many partitions, waiting until there is enough
mod report; // what metrics and health checks ask
mod requester; // who asked for a change of the cluster
mod retention; // old segments go
mod topics; // changes of the cluster
mod txns; // the transaction coordinator's start, and its markers
mod workers; // where requests are handled that compute for long

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use braid_storage::{Disk, Origin};
use parking_lot::{Mutex, RwLock};
use tokio::sync::OnceCell;
use tracing::warn;

use crate::cluster::Solo;
use crate::config::BrokerConfig;
use crate::group::Coordinator;
use crate::logging::Loggers;
use crate::machine::Clock;
use crate::metrics::{self, Metrics};
use crate::topic::{LogDirs, SyncTurn, Topic, Topics};
use crate::txn;

pub use crate::topic::{CloseError, OpenError};
pub use append::{Pending, Unappended, Verification, Writer};
pub use changes::Refused;
pub use configs::Alter;
pub use memory::{Evicted, Held, Memory};
pub use read::{ReadPlan, Reads, Want};
pub use report::{Folder, Volume};
pub use requester::Requester;
pub use topics::{NewTopic, PARTITIONS_PER_REQUEST_MAX, check_topic_name};
pub use workers::Workers;

/// Everything that lives as long as the broker.
pub struct Broker {
    /// The settings it was started with. Those that can be altered while it runs are in [`Broker::live`].
    pub config: BrokerConfig,
    live: RwLock<Arc<BrokerConfig>>,
    /// What time it is.
    pub clock: Clock,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// Which topics exist.
    pub cluster: Arc<Solo>,
    /// The topics' open partitions.
    pub topics: Topics,
    /// The levels of its log.
    pub loggers: Loggers,
    /// The memory that requests and their answers may take.
    pub memory: Arc<Memory>,
    /// The threads for requests that compute for long.
    pub workers: Workers,
    dirs: LogDirs,
    changes: changes::Changes,
    disk: Arc<dyn Disk>,
    cleaning: compaction::Cleaning,
    groups: OnceCell<Coordinator>,
    transactions: OnceCell<txn::Coordinator>,
    producer_ids: tokio::sync::Mutex<Range<i64>>,
}

/// Who is at the other end, and where it came in.
pub struct Peer {
    /// The client's address.
    pub address: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// The name of the listener it came by.
    pub listener: String,
    /// Its place in the metrics.
    pub counted: Mutex<metrics::Connection>,
    /// Whose turn it is among the transactional writes of the connection.
    pub order: Order,
    /// What its requests have appended since it last waited.
    pub syncs: SyncTurn,
    /// Whether it is to be closed for the memory that it holds.
    pub evicted: Evicted,
}

/// The group coordinator's topic.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The transaction coordinator's topic.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";

impl Peer {
    /// The peer of a new connection.
    pub fn new(
        address: SocketAddr,
        local: SocketAddr,
        listener: String,
        counted: metrics::Connection,
    ) -> Peer {
        Peer {
            address,
            local,
            listener,
            counted: Mutex::new(counted),
            order: Order::default(),
            syncs: SyncTurn::default(),
            evicted: Evicted::default(),
        }
    }

    /// Does the work; whenever that waits, for whatever it is, what has been appended is synced meanwhile.
    pub async fn syncing<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            loop {
                let polled = work.as_mut().poll(cx);
                // What is synced already can be answered at once.
                if !self.syncs.end() || polled.is_ready() {
                    return polled;
                }
            }
        })
        .await
    }
}

/// Names of topics that belong to a broker itself and that no client ever sees.
fn is_reserved(name: &str) -> bool {
    matches!(name, "__cluster_metadata" | "__braid_metadata")
}

impl Broker {
    /// Opens the log folders, and every partition in them: afterwards the broker can serve.
    pub fn open(
        config: BrokerConfig,
        metrics: Arc<Metrics>,
        disk: Arc<dyn Disk>,
        clock: Clock,
    ) -> Result<Arc<Broker>, OpenError> {
        let now = clock.now();
        let mut dirs = LogDirs::open(&disk, &config.log_dirs, config.num_recovery_threads_per_data_dir)?;
        let first = dirs.first().map(|dir| dir.path().to_owned()).unwrap_or_default();
        let mut adopted = false;
        let found = || {
            let topics = adopt::topics(&*disk, &dirs, &config);
            adopted = !topics.is_empty();
            Ok(topics)
        };
        let cluster = Arc::new(Solo::open(disk.clone(), &first, dirs.cluster_id(), found, now)?);
        let image = cluster.image();
        dirs.claim(&image.cluster_id, config.node_id)?;
        if adopted {
            dirs.adopt();
        }
        let live = configs::altered(&config, &image);
        let memory = Memory::new(config.queued_max_request_bytes, config.socket_request_max_bytes);
        let broker = Broker {
            workers: Workers::default(),
            memory,
            config,
            live: RwLock::new(Arc::new(live)),
            clock,
            metrics,
            cluster,
            loggers: Loggers::default(),
            topics: Topics::default(),
            dirs,
            changes: changes::Changes::default(),
            disk,
            cleaning: compaction::Cleaning::default(),
            groups: OnceCell::new(),
            transactions: OnceCell::new(),
            producer_ids: tokio::sync::Mutex::default(),
        };
        broker.open_partitions(&image)?;
        broker.raise_leader_epochs(now);
        // What was found out about the logs of another broker is not found out again.
        if adopted && let Err(error) = broker.checkpoint() {
            warn!(%error, "the recovery points of the other broker's logs stay as they are");
        }
        Ok(Arc::new(broker))
    }

    /// The folders of its data.
    pub fn dirs(&self) -> &LogDirs {
        &self.dirs
    }

    /// Where bytes that were read from a log lie, if they can be sent from there.
    pub fn origin(&self, records: &[u8]) -> Option<Origin> {
        self.disk.origin(records)
    }

    /// The topic of this name, if it is open here.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.get(name)
    }

    /// The address a client should use for this broker: what the operator advertises, or else the one it came
    /// by.
    pub fn endpoint(&self, peer: &Peer) -> (String, i32) {
        let advertised = self.config.advertised_listeners.iter().flatten().find(|l| l.name == peer.listener);
        match advertised {
            Some(listener) => (listener.host.clone(), i32::from(listener.port)),
            None => {
                let address = SocketAddr::new(peer.local.ip().to_canonical(), peer.local.port());
                (address.ip().to_string(), i32::from(address.port()))
            }
        }
    }

    /// Syncs what was written without a sync, and writes the recovery points of all logs, so that a crash
    /// costs little reading.
    pub fn checkpoint(&self) -> Result<(), braid_storage::Error> {
        self.dirs.checkpoint(&self.topics.partitions(), true)
    }

    /// Syncs and closes everything, and leaves the mark of a clean shutdown. Nothing may be appended any
    /// more.
    pub fn close(&self) -> Result<(), CloseError> {
        self.dirs.close(&self.topics.partitions())
    }
}

/// Keeps requests of one connection in order that have to wait before they append: those behind them must not
/// overtake them.
#[derive(Default)]
pub struct Order {
    turn: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
}

impl Order {
    /// The turn, if nobody has it.
    pub fn try_turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.turn.try_lock().ok()
    }

    /// Waits for all that came before; those that come later wait until the guard is dropped.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        if let Ok(turn) = self.turn.try_lock() {
            return turn;
        }
        let _waits = Waits::at(&self.waiting);
        self.turn.lock().await
    }

    /// Is there anybody who waits for their turn, and so has not done what is to be done in order?
    pub fn is_queued(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Counts one that waits, for as long as it lives.
struct Waits<'a>(&'a AtomicUsize);

impl Waits<'_> {
    fn at(count: &AtomicUsize) -> Waits<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Waits(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
