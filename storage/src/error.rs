//! The failures of this crate. Refusals of a client's bytes are not failures: see `batch::Refusal`.

use std::io;
use std::path::{Path, PathBuf};

use crate::producers::ProducerError;

/// The storage failed, or what it holds cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system said no. The log folder should be taken offline unless the disk is merely full.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that were once synced are bad. Nothing was cut: the partition must be looked at.
    #[error("{path} is corrupt at offset {offset}: {why}", path = path.display())]
    Corrupt {
        /// The file that holds the bad bytes.
        path: PathBuf,
        /// The first offset that cannot be read.
        offset: i64,
        /// What is wrong.
        why: &'static str,
    },
    /// Another process owns this data folder.
    #[error("{path} is used by another process", path = path.display())]
    Locked {
        /// The data folder.
        path: PathBuf,
    },
    /// A small text file (checkpoint, `meta.properties`, ...) does not follow its format.
    #[error("{path} cannot be understood: {why}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

/// Turns an `io::Result` into ours, remembering which file it was about.
pub(crate) trait At<T> {
    /// Adds the path.
    fn at(self, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io { path: path.to_path_buf(), source })
    }
}

/// Why a batch was not appended. The log is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Idempotence or a transaction forbids it: an answer for the client.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// Offsets would pass `i64::MAX`.
    #[error("no offsets are left")]
    OffsetsExhausted,
    /// The disk failed or is full.
    #[error(transparent)]
    Storage(#[from] Error),
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is not between the log's start and its end.
    #[error("offset {offset} is not within {start}..={end}")]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// The first offset there is.
        start: i64,
        /// The offset after the last.
        end: i64,
    },
    /// The disk failed, or the log is corrupt there.
    #[error(transparent)]
    Storage(#[from] Error),
}
