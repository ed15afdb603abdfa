//! `braid check DIR`: verifies a data folder, or one partition's folder, several partitions at a time.
//!
//! What is wrong is a problem; what a crash leaves and the next start mends, or what is made again, is named
//! too and called harmless. Nothing is changed.
//!
//! Not done: the metadata log's JSON is not compared with the folders (`sweep` does that at each start); old
//! segments of Kafka's formats 0 and 1 are problems.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use braid_storage::checkpoint;

use super::Failure;
use super::finding::Finding;
use super::folder::{self, Context, DataFolder, is_partition, names, segment_file};
use super::partition::{self, Report};

/// How often a long check says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
const MIB: f64 = (1 << 20) as f64;

/// Verifies `dir` and prints what is wrong on `out`, one line for each problem and one for all; progress goes
/// to stderr. True if there is no problem. The error is one line for people: `dir` is no such folder, or a
/// broker uses it.
pub fn check(dir: &Path, out: &mut dyn Write) -> Result<bool, Failure> {
    let begin = Instant::now();
    let absolute = dir.canonicalize().map_err(|error| format!("{}: {error}", dir.display()))?;
    let alone = is_log(&absolute)?;
    let data = if alone { absolute.parent().unwrap_or(&absolute) } else { &absolute };
    let _lock = folder::lock(data)?;
    let folder = DataFolder::read(data);
    let partitions = if alone { vec![absolute.clone()] } else { partitions(&folder)? };
    let mut total = Total::default();
    let print = |total: &mut Total, out: &mut dyn Write, findings: Vec<Finding>| {
        findings.iter().try_for_each(|finding| total.tell(finding, out))
    };
    if !alone {
        let missing = folder.expected().filter(|name| !folder.path.join(name).is_dir());
        let missing = missing.map(|name| {
            Finding::new(&folder.path.join(name), "the folder is missing, but it has a recovery point")
        });
        let findings = folder.findings.iter().cloned().chain(missing).collect();
        print(&mut total, out, findings)?;
    }
    let mut ids = BTreeMap::new();
    each(&folder, partitions, |path, report| {
        let report = report?;
        total.add(&report);
        ids.extend(report.topic_id.map(|id| (path, id)));
        Ok(print(&mut total, out, report.findings)?)
    })?;
    print(&mut total, out, other_ids(&ids))?;
    writeln!(out, "{}", total.summary(begin.elapsed()))?;
    Ok(total.problems == 0)
}

/// Is this the folder of one partition?
fn is_log(dir: &Path) -> Result<bool, String> {
    Ok(names(dir, false)?.iter().any(|name| segment_file(name).is_some_and(|(_, kind)| kind == "log")))
}

/// The folders of the partitions in a data folder.
fn partitions(folder: &DataFolder) -> Result<Vec<PathBuf>, String> {
    let found: Vec<_> = names(&folder.path, true)?.into_iter().filter(|name| is_partition(name)).collect();
    if found.is_empty() && !folder.is_known() {
        let path = folder.path.display();
        return Err(format!("{path} is neither a data folder (log.dirs) nor the folder of a partition"));
    }
    Ok(found.into_iter().map(|name| folder.path.join(name)).collect())
}

/// Checks partitions on as many threads as there are processors and hands each report on as it comes.
fn each(
    folder: &DataFolder,
    partitions: Vec<PathBuf>,
    mut reported: impl FnMut(PathBuf, Result<Report, String>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(partitions.len());
    let (sender, receiver) = mpsc::sync_channel(threads);
    let (wanted, next, done) = (&partitions, &next, &done);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(move || {
                while let Some(path) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = partition::check(path, context(folder, path), done);
                    if sender.send((path.clone(), report)).is_err() {
                        return; // nobody listens any more
                    }
                }
            });
        }
        drop(sender);
        let (mut count, mut told) = (0, Instant::now());
        loop {
            match receiver.recv_timeout(PROGRESS_EVERY.saturating_sub(told.elapsed())) {
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Ok((path, report)) => {
                    count += 1;
                    if let Err(error) = reported(path, report) {
                        next.store(wanted.len(), Ordering::Relaxed);
                        drop(receiver);
                        return Err(error);
                    }
                }
            }
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                let read = done.load(Ordering::Relaxed) as f64 / MIB;
                eprintln!("{count} of {} partitions, {read:.0} MiB", wanted.len());
            }
        }
    })
}

fn context(folder: &DataFolder, path: &Path) -> Context {
    folder.context(path.file_name().and_then(|name| name.to_str()).unwrap_or_default())
}

/// All partitions of a topic must have the same topic id.
fn other_ids(ids: &BTreeMap<PathBuf, uuid::Uuid>) -> Vec<Finding> {
    let mut first: BTreeMap<&str, (&Path, &uuid::Uuid)> = BTreeMap::new();
    let mut findings = Vec::new();
    for (path, id) in ids {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some((topic, _)) = name.and_then(|name| name.rsplit_once('-')) else { continue };
        let (whose, expected) = first.entry(topic).or_insert((path, id));
        if *expected != id {
            let what = format!("not the topic id that {} has", whose.display());
            findings.push(Finding::new(&path.join(checkpoint::PARTITION_METADATA), what));
        }
    }
    findings
}

/// What was checked in all.
#[derive(Default)]
struct Total {
    problems: u64,
    harmless: u64,
    partitions: u64,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.partitions += 1;
        self.segments += report.segments;
        self.batches += report.batches;
        self.records += report.records;
        self.bytes += report.bytes;
    }

    fn tell(&mut self, finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
        *(if finding.is_harmless() { &mut self.harmless } else { &mut self.problems }) += 1;
        writeln!(out, "{finding}")
    }

    fn summary(&self, took: Duration) -> String {
        let Total { partitions, segments, batches, records, .. } = self;
        let mut counts = String::new();
        for (count, name) in [(partitions, "partition"), (segments, "segment"), (batches, "batch")] {
            let plural = match (*count, name) {
                (1, _) => "",
                (_, "batch") => "es",
                _ => "s",
            };
            counts.push_str(&format!("{count} {name}{plural}, "));
        }
        let verdict = match (self.problems, self.harmless) {
            (0, 0) => "no problem".to_owned(),
            (0, harmless) => format!("no problem, {harmless} harmless"),
            (1, harmless) => format!("1 problem, {harmless} harmless"),
            (problems, harmless) => format!("{problems} problems, {harmless} harmless"),
        };
        let size = self.bytes as f64 / MIB;
        format!("{counts}{records} records, {size:.1} MiB in {:.1} s: {verdict}", took.as_secs_f64())
    }
}
