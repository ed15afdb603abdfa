//! Fills a partition by transactions, one after the other, of which some are aborted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use braid_bench::batch;
use braid_bench::wire::{Reader, Writer, call, key, request};

use crate::Arguments;

/// How long to wait for a coordinator, or for the end of the transaction before.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);
const TIMEOUT_MS: i32 = 60_000;
/// What passes by itself: the coordinator is loading, not there yet, elsewhere, or still ends the one before.
const PASSING: [i16; 4] = [14, 15, 16, 51];

/// What transactions are like.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Megabytes to write.
    #[arg(long)]
    mb: usize,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    rec: usize,
    /// Records of a batch.
    #[arg(long, default_value_t = 64)]
    nrec: usize,
    /// Batches of a transaction.
    #[arg(long, default_value_t = 16)]
    batches: usize,
    /// Of this many transactions, the last is aborted.
    #[arg(long, default_value_t = 10)]
    abort: usize,
}

/// A producer of transactions; its transactional id is the topic's name.
struct Producer<'a> {
    socket: TcpStream,
    topic: &'a [u8],
    id: i64,
    epoch: i16,
    sequence: usize,
}

/// Fills partition 0 of the topic, and prints how many transactions that took.
pub(crate) fn run(arguments: &Arguments, options: &Options) -> Result<()> {
    let mut producer = Producer::begin(&arguments.addr, arguments.topic.as_bytes())?;
    let mut batch = batch::encode(options.nrec, options.rec);
    let transactions = (options.mb * 1_000_000).div_ceil(batch.len() * options.batches);
    let mut aborted = 0;
    for number in 1..=transactions {
        producer.add_partition()?;
        for _ in 0..options.batches {
            batch::belong(&mut batch, producer.id, producer.epoch, producer.sequence);
            producer.send(&batch)?;
            producer.sequence += options.nrec;
        }
        for _ in 0..options.batches {
            producer.sent()?;
        }
        let abort = number % options.abort == 0;
        producer.end(!abort)?;
        aborted += usize::from(abort);
    }
    println!("{{\"transactions\": {transactions}, \"aborted\": {aborted}}}");
    Ok(())
}

impl<'a> Producer<'a> {
    fn begin(addr: &str, topic: &'a [u8]) -> Result<Self> {
        let socket = TcpStream::connect(addr)?;
        socket.set_nodelay(true)?;
        let mut find = request(key::FIND_COORDINATOR, 1);
        find.string(topic).i8(1);
        patiently(&socket, &find, |answer| answer.i16())?;
        let mut init = request(key::INIT_PRODUCER_ID, 0);
        init.string(topic).i32(TIMEOUT_MS);
        let answer = patiently(&socket, &init, |answer| answer.i16())?;
        let mut answer = Reader::new(&answer, 6);
        let (id, epoch) = (answer.i64(), answer.i16());
        Ok(Self { socket, topic, id, epoch, sequence: 0 })
    }

    fn add_partition(&self) -> Result<()> {
        let mut frame = request(key::ADD_PARTITIONS_TO_TXN, 0);
        frame.string(self.topic).i64(self.id).i16(self.epoch);
        frame.i32(1).string(self.topic).i32(1).i32(0);
        patiently(&self.socket, &frame, |answer| {
            answer.i32();
            answer.string();
            answer.i64(); // one partition, number 0
            answer.i16()
        })?;
        Ok(())
    }

    fn end(&self, commit: bool) -> Result<()> {
        let mut frame = request(key::END_TXN, 0);
        frame.string(self.topic).i64(self.id).i16(self.epoch).i8(commit.into());
        patiently(&self.socket, &frame, |answer| answer.i16())?;
        Ok(())
    }

    fn send(&mut self, batch: &[u8]) -> Result<()> {
        let mut frame = request(key::PRODUCE, 7);
        frame.string(self.topic).i16(-1).i32(TIMEOUT_MS).i32(1).string(self.topic).i32(1);
        frame.i32(0).length(batch.len());
        frame.close(0, batch.len());
        self.socket.write_all(&frame)?;
        Ok(self.socket.write_all(batch)?)
    }

    /// Reads the answer to the oldest batch that has none.
    fn sent(&mut self) -> Result<()> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length)?;
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut answer)?;
        let mut answer = Reader::new(&answer, 8);
        answer.string();
        answer.i64(); // one partition, number 0
        let error = answer.i16();
        ensure!(error == 0, "Produce: error {error}");
        Ok(())
    }
}

/// Asks until the answer has no error that passes by itself; `error` reads it behind the throttle time.
fn patiently(socket: &TcpStream, frame: &[u8], error: impl Fn(&mut Reader<'_>) -> i16) -> Result<Vec<u8>> {
    let began = Instant::now();
    loop {
        let answer = call(socket, frame.to_vec())?;
        match error(&mut Reader::new(&answer, 4)) {
            0 => return Ok(answer),
            code if PASSING.contains(&code) && began.elapsed() < PATIENCE => sleep(PAUSE),
            code => bail!("a transaction's request: error {code}"),
        }
    }
}
