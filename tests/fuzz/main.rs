//! Generated requests against a whole broker: every API, every version, extremes, repetition, and bytes that
//! were requests. No panic, no request that is never answered, no answer that cannot be read, and memory and
//! time within bounds that are stated here.
//!
//! A request may hold 4 times its frame and its answer, 1 MiB, and 384 bytes for each element of its arrays;
//! besides that, what a pattern needs while it is compiled, and the partitions that it creates.
//!
//! `BRAID_FUZZ_FRAMES=10000000 BRAID_FUZZ_SEED=7 cargo test --release --test fuzz` for more of them; a
//! failure names its seed and its frame, and `BRAID_FUZZ_REPLAY=FILE` sends the frame of a file of hex.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod dice;
mod findings;
mod frames;
mod learn;
mod memory;
mod pages;
mod words;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use braid::api::TABLE;
use braid::connection::End;
use braid_protocol::grammar::{Grammar, REQUESTS};

use dice::Dice;
use findings::{Findings, catch_panics, panics};
use frames::{Fill, Frame, Maker, Plan, paths};
use world::{Outcome, World, head, longest};

/// Bytes that a request may hold besides a multiple of its frame.
const MEMORY: usize = 1 << 20;
/// That multiple, and the one of its answer.
const MULTIPLE: usize = 4;
/// Bytes for each element of an array: what is decoded, looked up and answered for it.
const ELEMENT: usize = 384;
/// Bytes while a pattern is compiled, by a worker thread: its table, which is moved as it grows.
const PATTERN: usize = 6 << 20;
/// The APIs with patterns: ConsumerGroupHeartbeat and ListTransactions.
const WITH_PATTERNS: [i16; 2] = [68, 66];
/// Bytes of a partition that is open: they stay.
const PARTITION: usize = 4 << 10;
/// Bytes of an answer to any request: the whole of what a small broker knows.
const ANSWER: usize = 1 << 20;
/// Bytes of an answer for each byte of the request.
const ANSWERED: usize = 16;
/// Milliseconds of the processor that a reactor's thread may be held: more where nothing is optimised.
const POLL_MS: f64 = if cfg!(debug_assertions) { 100.0 } else { 20.0 };
/// What the second half of a world's requests may add to what is live while no connection is open: topics,
/// groups, producers and their logs, whose names are few.
const GROWTH: isize = 2 << 20;
/// Requests of one broker, before the next one begins.
const WORLD: usize = 50_000;

/// Memory is counted for the process, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Watches one request after the other.
#[derive(Default)]
struct Watch {
    findings: Findings,
    /// How connections were closed that had sent nothing wrong.
    closed: BTreeMap<String, usize>,
    outcomes: [usize; 3],
}

impl Watch {
    async fn send(&mut self, world: &mut World, frame: &Frame, correlation: i32, seed: &str) {
        (world.seen.answered, _) = (0, longest());
        let partitions = world.partitions();
        let before = memory::mark();
        let outcome = world.send(frame, correlation).await;
        let peak = memory::peak() - before;
        let (size, answer) = (frame.bytes.len(), world.seen.answered);
        let pattern = if WITH_PATTERNS.contains(&frame.api.key) { PATTERN } else { 0 };
        let created = PARTITION * world.partitions().saturating_sub(partitions);
        let allowed = MULTIPLE * (size + answer) + ELEMENT * frame.elements + MEMORY + pattern + created;
        let mut found = |kind, worst, text| self.findings.add(kind, worst, text, frame, seed);
        if peak > allowed as isize {
            let times = peak as f64 / size as f64;
            let answer = if answer == 0 { String::new() } else { format!(", answer of {answer}") };
            found(
                "memory",
                peak as f64,
                format!("{} KiB at peak, {times:.0} x its frame{answer}", peak >> 10),
            );
        }
        if answer > ANSWERED * size + ELEMENT * frame.elements + ANSWER {
            let times = answer as f64 / size as f64;
            found("answer", times, format!("an answer of {} KiB, {times:.0} x its frame", answer >> 10));
        }
        let ms = longest() as f64 / 1e6;
        // Requests of more elements are handled by worker threads, which are not there in paused time.
        if ms > POLL_MS && frame.elements <= 2000 {
            found("time", ms, format!("the reactor was held for {ms:.0} ms"));
        }
        for panic in panics() {
            found("panic", 1.0, panic);
        }
        for wrong in world.seen.wrong.drain(..) {
            found("answers", 1.0, wrong);
        }
        match outcome {
            Outcome::Answered => self.outcomes[0] += 1,
            Outcome::Parked => self.outcomes[1] += 1,
            Outcome::Closed(end) => {
                self.outcomes[2] += 1;
                if matches!(end, End::Panicked(_)) {
                    found("panic", 0.0, end.to_string());
                } else if !frame.changed {
                    // Without what differs from one request to the next.
                    let why = end.to_string();
                    let why = why.split([' ', ',']).take(2).collect::<Vec<_>>().join(" ");
                    *self.closed.entry(why).or_default() += 1;
                }
            }
        }
    }

    fn finish(self, frames: usize, begin: Instant) {
        let seconds = begin.elapsed().as_secs_f64();
        let rate = frames as f64 / seconds;
        let [answered, parked, closed] = self.outcomes;
        println!(
            "{frames} frames in {seconds:.1} s, {rate:.0}/s: \
             {answered} answered, {parked} waited, {closed} closed"
        );
        if std::env::var_os("BRAID_FUZZ_CLOSED").is_some() {
            for (why, n) in &self.closed {
                println!("  closed {n} x {why}");
            }
        }
        let text = self.findings.text();
        assert!(text.is_empty(), "found:\n{text}");
    }
}

/// A world in paused time: whatever waits is waited for at once.
fn in_paused_time<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(work)
}

#[test]
fn the_grammar_has_every_api_of_the_table() {
    let of = |key: i16| REQUESTS.iter().find(|grammar| grammar.key == key).map(|grammar| grammar.name);
    for row in TABLE {
        assert_eq!(of(row.key), Some(row.name));
    }
}

#[test]
fn generated_requests_do_no_harm() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    catch_panics();
    let (frames, first) = (number("BRAID_FUZZ_FRAMES", 20_000), number("BRAID_FUZZ_SEED", 1));
    let (mut watch, begin) = (Watch::default(), Instant::now());
    for (n, from) in (0..frames).step_by(WORLD).enumerate() {
        let seed = (first + n) as u64;
        in_paused_time(generated(seed, WORLD.min(frames - from), &mut watch));
    }
    watch.finish(frames, begin);
}

async fn generated(seed: u64, frames: usize, watch: &mut Watch) {
    let mut dice = Dice(seed);
    let mut world = World::new().await;
    let mut half = None;
    for n in 0..frames {
        if n % 1000 == 999 {
            world.settle().await;
        }
        let row = dice.pick(TABLE);
        let api = grammar(row.key);
        let versions = row.serves.end() - row.serves.start() + 1;
        let version = row.serves.start() + dice.below(versions as usize) as i16;
        let maker = Maker::new(&mut dice, &mut world.words);
        let mut frame = maker.frame(api, version, n as i32);
        if dice.once_in(4) {
            frame.change(&mut dice);
        }
        let seed = format!("{seed} number {n}");
        watch.send(&mut world, &frame, n as i32, &seed).await;
        if n + 1 == frames / 2 || n + 1 == frames {
            world.quiet().await;
            let live = memory::live();
            let grown = live - half.unwrap_or(live);
            if grown > GROWTH {
                let text = format!("{} KiB more are live than after half of the requests", grown >> 10);
                watch.findings.add("growth", grown as f64, text, &frame, &seed);
            }
            half = Some(live);
            world.resume();
        }
    }
}

fn grammar(key: i16) -> &'static Grammar {
    REQUESTS.iter().find(|grammar| grammar.key == key).unwrap()
}

/// A name of 32,000 bytes above 150,000 partitions was copied for each of them; a topic named 50,000 times
/// was described 50,000 times; an array of a million empty elements became a hundred times its bytes.
#[test]
fn whatever_is_repeated_or_long_costs_what_it_is_worth() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    catch_panics();
    let (mut watch, begin) = (Watch::default(), Instant::now());
    let only = std::env::var("BRAID_FUZZ_API").ok();
    let mut frames = 0;
    for row in TABLE.iter().filter(|row| only.as_ref().is_none_or(|only| only == row.name)) {
        let mut versions = vec![*row.serves.start(), *row.serves.end(), row.flexible];
        versions.extend([*row.serves.end() - 1, row.flexible - 1]);
        versions.retain(|version| row.serves.contains(version));
        versions.sort_unstable();
        versions.dedup();
        frames += in_paused_time(planned(grammar(row.key), &versions, &mut watch));
    }
    watch.finish(frames, begin);
}

/// Every plan for these versions, or one of a few that the seed decides: all of them take minutes.
async fn planned(api: &'static Grammar, versions: &[i16], watch: &mut Watch) -> usize {
    let mut world = World::new().await;
    let plans: Vec<_> = versions
        .iter()
        .flat_map(|version| plans(api, *version).into_iter().map(|plan| (*version, plan)))
        .collect();
    let (every, seed) = (number("BRAID_FUZZ_EVERY", 12), number("BRAID_FUZZ_SEED", 1));
    let mut dice = Dice(1);
    for (n, (version, plan)) in plans.iter().enumerate().skip(seed % every).step_by(every) {
        world.settle().await;
        let mut maker = Maker::new(&mut dice, &mut world.words);
        maker.plan = Some(plan);
        let mut frame = maker.frame(api, *version, n as i32);
        frame.note = format!(" ({plan})");
        watch.send(&mut world, &frame, n as i32, &head(&frame.bytes)).await;
    }
    plans.len() / every
}

/// Each array repeated, with each kind of text; and each text long while an array is repeated.
fn plans(api: &Grammar, version: i16) -> Vec<Plan> {
    let (mut arrays, mut texts) = (Vec::new(), Vec::new());
    paths(&api.request, api.version(version), "", &mut arrays, &mut texts);
    let mut plans = Vec::new();
    for array in &arrays {
        for fill in [Fill::Empty, Fill::Known, Fill::Distinct] {
            for times in [1000, 10_000, 50_000] {
                plans.push(Plan { array: array.clone(), times, fill, ..Plan::default() });
            }
        }
        for text in texts.iter().filter(|text| !text.starts_with(array.as_str())) {
            for fill in [Fill::Empty, Fill::Known] {
                let text = text.clone();
                plans.push(Plan { array: array.clone(), times: 2000, text, long: 32_000, fill });
            }
        }
    }
    let long = |text: &String| Plan { text: text.clone(), long: 100_000, ..Plan::default() };
    plans.extend(texts.iter().map(long));
    plans
}
