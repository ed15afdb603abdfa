//! One Kafka partition's log on disk. Synchronous; knows nothing of the wire protocol or of tokio.
//!
//! Reading order:
//! - `batch`: the record batch v2, its header read in place; `record`: the records inside; `codec`: how they
//!   are compressed; `scan`: the records as they pass by; `validate`: what a producer may send; `builder`:
//!   the broker's own batches
//! - `disk`: the seam to the file system; `open_files`: how many files may be open; `sim`: a disk in memory
//!   that can lose and refuse
//! - `index`: offset and time index; `txn_index`: aborted transactions; `segment`: one `.log` file and its
//!   indexes;
//!   `walk`: batch by batch; `proof`: which bytes may be served
//! - `producers`: idempotence and open transactions; `epochs`: where each leader epoch began
//! - `log`: segments in order: append, roll; `config`: its settings; `sync`: making it durable; `reader`:
//!   reading without the lock; `lookup`: finding by time; `recover`: opening, also after a crash
//! - `retain`: deleting old segments; `compact`: keeping the last value of each key; `swap`: putting
//!   a cleaned segment in the place of some
//! - `flush`: group commit; `checkpoint`: the small files of a data folder; `dir`: its lock

pub mod batch;
pub mod builder;
pub mod checkpoint;
pub mod codec;
pub mod compact;
mod config;
mod dice;
pub mod dir;
pub mod disk;
pub mod epochs;
pub mod error;
pub mod flush;
mod index;
pub mod log;
mod lookup;
mod marker;
mod open_files;
pub mod producers;
mod proof;
mod reader;
mod recent;
pub mod record;
mod recover;
pub mod retain;
mod scan;
mod segment;
pub mod sim;
mod swap;
mod sync;
mod txn_index;
pub mod validate;
mod walk;

pub use batch::{Header, Invalid, Refusal, TimestampType};
pub use builder::BatchBuilder;
pub use codec::Codec;
pub use compact::{CleanRules, Cleaned, Cleaner, Plan};
pub use disk::{Disk, Entry, File, Origin, RealDisk};
pub use error::{AppendError, Error, Reach, ReadError};
pub use log::{Appended, Log, LogConfig, OpenMode, Reader, Slice, SyncPoint};
pub use marker::EndMarker;
pub use open_files::OpenFiles;
pub use producers::{TxnGuard, TxnStatus};
pub use record::{Record, batches, records};
pub use scan::readable;
pub use swap::{CleanedSegment, SealedSegment, Unlink};
pub use txn_index::{AbortedTxn, TXN_ENTRY};
pub use validate::{Checked, Rules, Validation, validate};
