//! The floor: the least a program must do to take and serve records as a broker does.
//!
//! It checks checksums, places batches in preallocated files with one `pwritev` for all that came together,
//! and serves them by `sendfile`; it knows neither groups nor configs nor an index on disk, and keeps nothing
//! across a start. What a broker does beyond this is what it costs. All topics are one; deleting any empties
//! it.
//! Not done: reading a partition that two connections produce to: a hole may show before it is filled.

mod api;
mod connection;
mod log;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use tokio::net::TcpListener;

/// The floor of a broker: produce and fetch, and nothing that could be left out.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port to listen on, on 127.0.0.1.
    #[arg(long, default_value_t = 19092)]
    port: u16,
    /// The folder of the log, emptied at the start.
    #[arg(long)]
    dir: PathBuf,
    /// Partitions of the one topic.
    #[arg(long, default_value_t = 16)]
    parts: usize,
    /// Megabytes of a segment, allocated ahead.
    #[arg(long, default_value_t = 512)]
    segment_mb: u64,
    /// Answer only when the records are on stable storage.
    #[arg(long)]
    synced: bool,
}

fn main() -> Result<()> {
    let Arguments { port, dir, parts, segment_mb, synced } = Arguments::parse();
    let broker = Arc::new(api::Broker { port, log: log::Log::create(dir, parts, segment_mb << 20, synced)? });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        // Accepting is a task like others: what `block_on` itself runs wakes up more slowly.
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await?;
                let broker = Arc::clone(&broker);
                // A connection that ends in an error has a client that went away.
                tokio::spawn(async move { connection::serve(&broker, socket).await.ok() });
            }
        })
        .await?
    })
}
