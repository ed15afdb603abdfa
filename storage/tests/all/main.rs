//! The storage crate from outside: stories of a partition's log, on a real disk and on one that forgets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod codecs;
mod compact;
mod crash;
mod flusher;
mod frames;
mod fuzz;
mod fuzz_recovery;
mod hostile;
mod memory;
mod model;
mod old_brokers;
mod producers;
mod retention;
mod rot;
mod small_files;
mod steps;
mod support;
mod swap;
mod truncate;
mod txn_model;
mod txns;
mod validation;

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;
