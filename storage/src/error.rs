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

/// How far a failure reaches: what must not be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing beyond the call: the disk is full, or the process has too many files open. It heals by itself.
    Call,
    /// The log: its files are not what they should be. The rest of the folder is as good as before.
    Log,
    /// The whole folder: the disk does not do what it is told, or the folder is not ours.
    Folder,
}

impl Error {
    /// How far it reaches.
    pub fn reach(&self) -> Reach {
        match self {
            Error::Corrupt { .. } | Error::Malformed { .. } => Reach::Log,
            Error::Locked { .. } => Reach::Folder,
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => {
                    Reach::Call
                }
                // A file that was there when the folder was listed, or one that is shorter than it was.
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => Reach::Log,
                _ if is_out_of_files(source) => Reach::Call,
                _ => Reach::Folder,
            },
        }
    }

    /// Whether the process, or the system, has too many files open.
    pub fn is_out_of_files(&self) -> bool {
        matches!(self, Error::Io { source, .. } if is_out_of_files(source))
    }

    /// What an operator can do about it, to be said behind the error.
    pub fn remedy(&self) -> &'static str {
        match (self, self.reach()) {
            (Error::Malformed { .. }, _) => {
                "restore the file from a backup, or remove it to have it made again"
            }
            (_, Reach::Log) => {
                "look at the folder with `braid check`, then restore it from a backup, or leave an empty one \
                 in its place to begin again without its records"
            }
            (Error::Locked { .. }, _) => "stop the other process, or give this one a folder of its own",
            (_, Reach::Call) => "make room, or raise the limit of open files",
            (_, Reach::Folder) => "see to the disk, then restart the broker",
        }
    }
}

/// EMFILE or ENFILE, which the standard library has no names for.
fn is_out_of_files(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno.is_some_and(|errno| [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].contains(&errno))
}

/// Turns an `io::Result` into ours, remembering which file it was about.
pub(crate) trait At<T> {
    /// Adds the path.
    fn at(self, path: &Path) -> Result<T, Error>;
    /// Adds the path, which is not made unless there is an error: for what happens with every batch.
    fn at_with(self, path: impl FnOnce() -> PathBuf) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, Error> {
        self.at_with(|| path.to_path_buf())
    }

    fn at_with(self, path: impl FnOnce() -> PathBuf) -> Result<T, Error> {
        self.map_err(|source| Error::Io { path: path(), source })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_not_a_broken_one_and_bad_bytes_concern_their_log_only() {
        let io = |errno| Error::Io { path: "/f".into(), source: io::Error::from_raw_os_error(errno) };
        let corrupt = Error::Corrupt { path: "/f".into(), offset: 3, why: "rotten" };
        let (enoent, eio, emfile, enospc, erofs, edquot) = (2, 5, 24, 28, 30, 122);
        for (error, reach) in [
            (corrupt, Reach::Log),
            (Error::Malformed { path: "/f".into(), why: "no" }, Reach::Log),
            (io(enoent), Reach::Log),
            (io(eio), Reach::Folder),
            (io(erofs), Reach::Folder),
            (io(emfile), Reach::Call),
            (io(enospc), Reach::Call),
            (io(edquot), Reach::Call),
        ] {
            assert_eq!(error.reach(), reach, "{error}");
        }
    }
}
