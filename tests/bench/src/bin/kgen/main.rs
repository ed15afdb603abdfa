//! A load generator that is lighter than any broker: one thread, batches encoded once, answers only skimmed.
//!
//! It prints one line of JSON. In an open loop (`--rate`) latency counts from the moment a request was *due*,
//! so that a broker that stalls cannot hide the requests which it kept waiting. Produce v7, Fetch v4.

mod client;
mod errands;
mod load;
mod tally;
mod txns;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Loads a Kafka-compatible broker and measures it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The broker.
    #[arg(long, global = true, default_value = "127.0.0.1:19092")]
    addr: String,
    /// The topic.
    #[arg(long, global = true, default_value = "bench")]
    topic: String,
    /// Partitions of the topic.
    #[arg(long, global = true, default_value_t = 1)]
    parts: usize,
    /// Connections: of producers, or for `fetch` of consumers.
    #[arg(long, global = true, default_value_t = 1)]
    conns: usize,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send batches, to the partitions in turn.
    Produce(Options),
    /// Read the partitions from the beginning, again and again.
    Fetch(Options),
    /// Send batches while one consumer per partition waits for them.
    E2e(Options),
    /// Fill partition 0 by transactions.
    Transactions(txns::Options),
    /// Create the topic, and wait until it can be used.
    Create,
    /// Delete the topic.
    Delete,
    /// Open connections and keep them until the end of stdin.
    Idle,
    /// Start a broker, and tell how long it takes to its first Metadata answer; then stop it.
    Start {
        /// The broker's command line.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// What a load is like.
#[derive(Debug, Clone, Args)]
struct Options {
    /// Requests in flight on one connection.
    #[arg(long, default_value_t = 5)]
    inflight: usize,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    rec: usize,
    /// Records of a batch.
    #[arg(long, default_value_t = 16)]
    nrec: usize,
    /// Acks of a Produce request.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    acks: i16,
    /// Seconds before anything is counted.
    #[arg(long, default_value_t = 0.1)]
    warm: f64,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5.0)]
    secs: f64,
    /// Megabytes to measure, if fewer than `secs` seconds' worth; 0 for no limit.
    #[arg(long, default_value_t = 0)]
    mb: u64,
    /// Requests a second, of all connections together; 0 for as many as can be.
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// The most bytes of an answer to Fetch.
    #[arg(long, default_value_t = 1 << 20)]
    maxbytes: i32,
    /// What Fetch may see: 0 every record, 1 those of committed transactions.
    #[arg(long, default_value_t = 0)]
    isolation: i8,
    /// End with stdin, if not before.
    #[arg(long)]
    stdin: bool,
    /// The broker's process, to measure its CPU and memory.
    #[arg(long, default_value_t = 0)]
    pid: u32,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.command {
        Command::Produce(options) => load::run(&arguments, options, load::Kind::Produce),
        Command::Fetch(options) => load::run(&arguments, options, load::Kind::Fetch),
        Command::E2e(options) => load::run(&arguments, options, load::Kind::EndToEnd),
        Command::Transactions(options) => txns::run(&arguments, options),
        Command::Create => errands::create(&arguments),
        Command::Delete => errands::delete(&arguments),
        Command::Idle => errands::idle(&arguments),
        Command::Start { command } => errands::start(&arguments, command),
    }
}
