//! The loop of a load: send what is due, ask for what follows, wait for sockets, count.

use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Result, ensure};
use braid_bench::batch;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::client::{Consumer, Producer, batches};
use crate::tally::Tally;
use crate::{Arguments, Options, errands};

/// What is done to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Produce,
    Fetch,
    EndToEnd,
}

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;
/// What stdin is called among the sockets.
const STDIN: u64 = u64::MAX;
/// The longest sleep, so that the end of the load is seen in time.
const NAP: u64 = 5_000_000;

struct Load<'a> {
    options: &'a Options,
    kind: Kind,
    partitions: usize,
    /// One batch for all producers, so that it stays in the CPU's cache; or one each, where they are stamped.
    batches: Vec<Vec<u8>>,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    poll: OwnedFd,
    clock: Instant,
    /// Nanoseconds between two requests of an open loop; 0 in a closed one.
    step: f64,
    /// Requests begun.
    begun: u64,
    tally: Tally,
    warm: bool,
    /// Whether stdin has ended.
    over: bool,
}

/// Runs a load and prints its result.
pub(crate) fn run(arguments: &Arguments, options: &Options, kind: Kind) -> Result<()> {
    let mut load = Load::new(arguments, options, kind)?;
    while !load.finished() {
        let busy = load.send()?;
        load.ask()?;
        load.wait(busy)?;
        ensure!(load.tally.error == 0, "{kind:?}: error {}", load.tally.error);
    }
    let now = load.now();
    println!("{}", load.tally.report(now, options.pid)?);
    Ok(())
}

impl<'a> Load<'a> {
    fn new(arguments: &Arguments, options: &'a Options, kind: Kind) -> Result<Self> {
        let Arguments { addr, topic, parts, conns, .. } = arguments;
        let batch = batch::encode(options.nrec, options.rec);
        let batches = vec![batch; if kind == Kind::EndToEnd { *conns } else { 1 }];
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (producing, consuming) = match kind {
            Kind::Produce => (*conns, 0),
            Kind::Fetch => (0, *conns),
            Kind::EndToEnd => (*conns, *parts),
        };
        let mut producers = Vec::new();
        for _ in 0..producing {
            producers.push(Producer::connect(addr, topic, options.acks, batches[0].len())?);
        }
        let mut consumers = Vec::new();
        for index in 0..consuming {
            let partition = index % parts;
            consumers.push(Consumer::connect(addr, topic, partition, options.maxbytes, options.isolation)?);
        }
        let sockets = producers.iter().map(|p| &p.socket).chain(consumers.iter().map(|c| &c.socket));
        for (index, socket) in sockets.enumerate() {
            epoll::add(&poll, socket, EventData::new_u64(index as u64), EventFlags::IN)?;
        }
        if options.stdin {
            epoll::add(&poll, std::io::stdin(), EventData::new_u64(STDIN), EventFlags::IN)?;
        }
        if kind == Kind::EndToEnd {
            let ends = errands::ends(&TcpStream::connect(addr)?, topic, 0..*parts)?;
            consumers.iter_mut().zip(ends).for_each(|(consumer, end)| consumer.next = end);
        }
        Ok(Self {
            options,
            kind,
            partitions: *parts,
            batches,
            producers,
            consumers,
            poll,
            clock: Instant::now(),
            step: if options.rate > 0.0 { SECOND / options.rate } else { 0.0 },
            begun: 0,
            tally: Tally::default(),
            warm: true,
            over: false,
        })
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Whether all is measured; also sees to it that counting begins when the broker is warm.
    fn finished(&mut self) -> bool {
        let now = self.now();
        if self.warm && now as f64 >= self.options.warm * SECOND {
            self.warm = false;
            self.tally = Tally::begin(now, self.options.pid);
        }
        let enough = self.options.mb > 0 && self.tally.bytes >= self.options.mb * 1_000_000;
        !self.warm && (self.over || enough || (now - self.tally.began) as f64 >= self.options.secs * SECOND)
    }

    /// Begins the requests that are due, on the connections in turn; tells whether there were any.
    fn send(&mut self) -> Result<bool> {
        let (before, count) = (self.begun, self.producers.len());
        for index in (0..count).map(|turn| (before as usize + turn) % count) {
            let now = self.now();
            while !self.producers[index].sending
                && self.producers[index].in_flight.len() < self.options.inflight
            {
                let due = if self.step > 0.0 { self.due() } else { now };
                if due > now {
                    break;
                }
                self.begin(index, due)?;
                if self.step > 0.0 {
                    break;
                }
            }
        }
        Ok(self.begun > before)
    }

    /// When the next request of an open loop is due.
    fn due(&self) -> u64 {
        (self.begun as f64 * self.step) as u64
    }

    fn begin(&mut self, index: usize, due: u64) -> Result<()> {
        let count = self.producers.len();
        let (producer, shared) = (&mut self.producers[index], index % self.batches.len());
        let batch = &mut self.batches[shared];
        if self.kind == Kind::EndToEnd {
            batch::stamp(batch, due);
        }
        // The second of four connections serves partitions 1, 5, 9 and so on.
        producer.begin((producer.begun * count + index) % self.partitions, due);
        self.begun += 1;
        producer.push(batch)?;
        if producer.sending {
            self.watch(index)?;
        }
        self.answered_unasked(index);
        Ok(())
    }

    /// With acks=0 a request is done when it is sent.
    fn answered_unasked(&mut self, index: usize) {
        let producer = &mut self.producers[index];
        if self.options.acks == 0 && !producer.sending && producer.in_flight.pop_front().is_some() {
            self.tally.requests += 1;
            self.tally.bytes += self.batches[0].len() as u64;
            self.tally.records += self.options.nrec as u64;
        }
    }

    /// Lets the producer's socket wake us when it can take more, if it has to.
    fn watch(&self, index: usize) -> Result<()> {
        let producer = &self.producers[index];
        let flags = if producer.sending { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.poll, &producer.socket, EventData::new_u64(index as u64), flags)?)
    }

    fn ask(&mut self) -> Result<()> {
        self.consumers.iter_mut().filter(|consumer| !consumer.waiting).try_for_each(Consumer::ask)
    }

    /// Sleeps until a socket has something, or the next request is due.
    fn wait(&mut self, busy: bool) -> Result<()> {
        let nap = match busy {
            _ if self.step > 0.0 => self.due().saturating_sub(self.now()).min(NAP),
            true => 0,
            false => NAP,
        };
        let mut events = Vec::with_capacity(64);
        let timeout = Timespec { tv_sec: 0, tv_nsec: nap as i64 };
        match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events {
            let (index, flags) = (event.data.u64() as usize, event.flags);
            if event.data.u64() == STDIN {
                self.over = true;
                continue;
            }
            match index.checked_sub(self.producers.len()) {
                Some(consumer) => self.consumed(consumer)?,
                None => self.produced(index, flags)?,
            }
        }
        Ok(())
    }

    fn produced(&mut self, index: usize, flags: EventFlags) -> Result<()> {
        let now = self.now();
        let (size, records) = (self.batches[0].len() as u64, self.options.nrec as u64);
        let (producer, tally) = (&mut self.producers[index], &mut self.tally);
        producer.pull(|due, error| {
            tally.requests += 1;
            tally.bytes += size;
            tally.records += records;
            tally.note(error);
            tally.acks.push(now.saturating_sub(due) as f32 / 1e3);
        })?;
        if producer.sending && flags.contains(EventFlags::OUT) {
            producer.push(&self.batches[index % self.batches.len()])?;
            if !producer.sending {
                self.watch(index)?;
                self.answered_unasked(index);
            }
        }
        Ok(())
    }

    fn consumed(&mut self, index: usize) -> Result<()> {
        let now = self.now();
        let (kind, tally, records) = (self.kind, &mut self.tally, self.options.nrec as u64);
        let consumer = &mut self.consumers[index];
        let mut end = None;
        consumer.pull(|fetched| {
            end = Some(fetched.high_watermark);
            tally.note(fetched.error);
            if kind == Kind::EndToEnd {
                let stamps = batches(fetched.records).map(batch::stamp_of);
                tally.ends.extend(stamps.map(|due| now.saturating_sub(due) as f32 / 1e3));
            } else {
                tally.requests += 1;
                tally.bytes += fetched.records.len() as u64;
                tally.records += batches(fetched.records).count() as u64 * records;
            }
        })?;
        if let Some(end) = end.filter(|end| kind == Kind::Fetch && consumer.next >= *end) {
            ensure!(end != 0, "there is nothing to fetch");
            consumer.next = 0;
        }
        Ok(())
    }
}
