//! Tools for operators: look at one file of a data folder, verify a whole one. They only read.

pub mod check; // a data folder or a partition's folder, verified
pub mod dump; // one file, in words

mod entries; // indexes and snapshots as tables
mod finding; // what is wrong, and where
mod folder; // what a data folder says of its partitions, and who uses it
mod partition; // one partition, verified
mod read_only; // a disk that refuses to write
mod txns; // aborted transactions, in the log and in its indexes
mod walk; // a segment, batch by batch

use std::io;

/// Why a tool could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A line for people.
    #[error("{0}")]
    Cannot(String),
    /// What it has to say cannot be written; a broken pipe is a reader who has seen enough.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

impl From<String> for Failure {
    fn from(line: String) -> Failure {
        Failure::Cannot(line)
    }
}
