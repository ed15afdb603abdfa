//! What is to be done before and beside a load: topics, idle connections, a broker's start.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use braid_bench::process;
use braid_bench::wire::{Reader, Writer, call, key, request};

use crate::Arguments;

/// How long to wait for a topic or a broker before giving up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Topics of many partitions take a while on some brokers.
const TIMEOUT_MS: i32 = 60_000;

/// Creates the topic, and waits until every partition of it answers.
pub(crate) fn create(arguments: &Arguments) -> Result<()> {
    let socket = TcpStream::connect(&arguments.addr)?;
    let mut frame = request(key::CREATE_TOPICS, 2);
    frame.i32(1).string(arguments.topic.as_bytes()).length(arguments.parts).i16(1).i32(0).i32(0);
    frame.i32(TIMEOUT_MS).i8(0);
    let answer = call(&socket, frame)?;
    let mut answer = Reader::new(&answer, 8);
    answer.string();
    let error = answer.i16();
    ensure!(error == 0, "CreateTopics: error {error}");
    let began = Instant::now();
    while !all_answer(&socket, arguments)? {
        ensure!(began.elapsed() < PATIENCE, "the topic {} never came into being", arguments.topic);
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn all_answer(socket: &TcpStream, arguments: &Arguments) -> Result<bool> {
    let ends = ends(socket, &arguments.topic, 0..arguments.parts)?;
    Ok(ends.len() == arguments.parts && ends.iter().all(|end| *end >= 0))
}

/// The offsets behind the last records of partitions; a negative one where there was an error.
pub(crate) fn ends(
    socket: &TcpStream,
    topic: &str,
    partitions: impl ExactSizeIterator<Item = usize>,
) -> Result<Vec<i64>> {
    let mut frame = request(key::LIST_OFFSETS, 1);
    frame.i32(-1).i32(1).string(topic.as_bytes()).length(partitions.len());
    for partition in partitions {
        frame.length(partition).i64(-1);
    }
    let answer = call(socket, frame)?;
    let mut answer = Reader::new(&answer, 4);
    answer.string();
    let count = answer.i32();
    let mut one = || {
        let (_, error, _, offset) = (answer.i32(), answer.i16(), answer.i64(), answer.i64());
        if error == 0 { offset } else { -1 }
    };
    Ok((0..count).map(|_| one()).collect())
}

/// Deletes the topic.
pub(crate) fn delete(arguments: &Arguments) -> Result<()> {
    let mut frame = request(key::DELETE_TOPICS, 1);
    frame.i32(1).string(arguments.topic.as_bytes()).i32(TIMEOUT_MS);
    let answer = call(&TcpStream::connect(&arguments.addr)?, frame)?;
    let mut answer = Reader::new(&answer, 8);
    answer.string();
    let error = answer.i16();
    ensure!(error == 0, "DeleteTopics: error {error}");
    Ok(())
}

/// Opens connections that have asked something once, says so, and keeps them until the end of stdin.
pub(crate) fn idle(arguments: &Arguments) -> Result<()> {
    let mut open = Vec::with_capacity(arguments.conns);
    for _ in 0..arguments.conns {
        let socket = TcpStream::connect(&arguments.addr)?;
        call(&socket, request(key::API_VERSIONS, 0)).context("an idle connection was refused")?;
        open.push(socket);
    }
    println!("{{\"open\": {}}}", open.len());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Starts a broker, and prints the milliseconds from before its process to after its first Metadata answer.
pub(crate) fn start(arguments: &Arguments, command: &[String]) -> Result<()> {
    let (program, rest) = command.split_first().context("what should be started?")?;
    let began = Instant::now();
    let mut broker = Command::new(program).args(rest).stdout(Stdio::null()).spawn()?;
    let mut milliseconds = None;
    while milliseconds.is_none() && began.elapsed() < PATIENCE && broker.try_wait()?.is_none() {
        match metadata(&arguments.addr) {
            Ok(()) => milliseconds = Some(began.elapsed().as_secs_f64() * 1e3),
            Err(_) => sleep(Duration::from_micros(200)),
        }
    }
    let resident_kib = process::resident_kib(broker.id());
    if let Some(pid) = rustix::process::Pid::from_raw(broker.id().cast_signed()) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    broker.wait()?;
    let Some(milliseconds) = milliseconds else { bail!("the broker never answered") };
    println!("{{\"start_ms\": {milliseconds:.3}, \"resident_kib\": {resident_kib}}}");
    Ok(())
}

/// Asks what a client asks first, and is content when a broker is named and every topic has its partitions.
fn metadata(addr: &str) -> Result<()> {
    let socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    call(&socket, request(key::API_VERSIONS, 0))?;
    let mut frame = request(key::METADATA, 4);
    frame.i32(-1).i8(0);
    let answer = call(&socket, frame)?;
    let brokers = Reader::new(&answer, 4).i32();
    ensure!(brokers > 0, "no broker yet");
    Ok(())
}
