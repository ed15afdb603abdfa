//! The small files of a data folder: checkpoints, `meta.properties`, the clean-shutdown marker,
//! `partition.metadata`.
//!
//! All are Kafka's, and all are replaced, never changed: `.tmp`, sync, rename, sync of the folder. A reader
//! finds the old file or the new one, and a file that it cannot understand is `Error::Malformed`, for the
//! caller to judge.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use crate::disk::{Disk, File};
use crate::error::{At, Error};

/// Up to where each partition is known to be synced: where recovery begins.
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// The first offset of each partition, where it is not that of its first segment.
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
/// The high watermark of each partition.
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// Who this folder belongs to.
pub const META_PROPERTIES: &str = "meta.properties";
/// There after a clean stop, until the next start.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// The topic id, in each partition's folder.
pub const PARTITION_METADATA: &str = "partition.metadata";

/// Small files larger than this are not read.
const SMALL_MAX: u64 = 64 << 20;

/// Topic and partition, and an offset of it.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// Replaces a file, so that after a crash it is the old one or the new one.
pub fn write(disk: &dyn Disk, path: &Path, contents: &[u8]) -> Result<(), Error> {
    let temporary = temporary(path);
    let file = fill(disk, &temporary, contents)?;
    file.sync().at(&temporary)?;
    disk.rename(&temporary, path).at(path)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(dir).at(dir)
}

/// Replaces a file without a sync: for caches, which have means of their own to tell that they are damaged.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, contents: &[u8]) -> Result<Arc<dyn File>, Error> {
    let temporary = temporary(path);
    let file = fill(disk, &temporary, contents)?;
    disk.rename(&temporary, path).at(path)?;
    Ok(file)
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn fill(disk: &dyn Disk, path: &Path, contents: &[u8]) -> Result<Arc<dyn File>, Error> {
    let file = fresh(disk, path, 0)?;
    file.append(0, &mut [IoSlice::new(contents)]).at(path)?;
    Ok(file)
}

/// Makes a file. What is there of an attempt that failed is removed: if that was its sync, another one of
/// that file would prove nothing.
pub(crate) fn fresh(disk: &dyn Disk, path: &Path, capacity: u64) -> Result<Arc<dyn File>, Error> {
    match disk.open(path, false, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(source).at(path),
        Ok(_) => disk.remove(path).at(path)?,
    }
    disk.open(path, true, capacity).at(path)
}

/// Reads a small file; `None` if there is none.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<bytes::Bytes>, Error> {
    let file = match disk.open(path, false, 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.at(path)?,
    };
    match usize::try_from(file.len().min(SMALL_MAX + 1)) {
        Ok(len) if len as u64 <= SMALL_MAX => file.read(0, len).at(path).map(Some),
        _ => Err(Error::Malformed { path: path.to_path_buf(), why: "too large" }),
    }
}

fn read_text<T>(
    disk: &dyn Disk,
    path: &Path,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Error> {
    let Some(bytes) = read(disk, path)? else { return Ok(None) };
    let parsed = std::str::from_utf8(&bytes).ok().and_then(parse);
    parsed
        .map(Some)
        .ok_or(Error::Malformed { path: path.to_path_buf(), why: "not in the format of this file" })
}

/// The lines of a checkpoint after its version (0) and their count, which must be right.
pub(crate) fn lines(text: &str) -> Option<Vec<&str>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let mut lines = text.lines();
    if lines.next()?.trim() != "0" {
        return None;
    }
    let count: usize = lines.next()?.trim().parse().ok()?;
    let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    (lines.len() == count).then_some(lines)
}

/// Writes a checkpoint of offsets: `0`, the count, then `topic partition offset` a line.
pub fn write_offsets(disk: &dyn Disk, path: &Path, offsets: &Offsets) -> Result<(), Error> {
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    write(disk, path, text.as_bytes())
}

/// Reads a checkpoint of offsets; `None` if there is none.
pub fn read_offsets(disk: &dyn Disk, path: &Path) -> Result<Option<Offsets>, Error> {
    read_text(disk, path, |text| lines(text)?.into_iter().map(offset_line).collect())
}

/// Is there no such file, or nothing in it? A checkpoint without offsets still has its version and their
/// count.
pub fn is_blank(disk: &dyn Disk, path: &Path) -> Result<bool, Error> {
    Ok(read(disk, path)?.is_none_or(|bytes| bytes.is_empty()))
}

fn offset_line(line: &str) -> Option<((String, i32), i64)> {
    let mut words = line.split_ascii_whitespace();
    let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
    let line = ((topic.to_owned(), partition.parse().ok()?), offset.parse().ok()?);
    words.next().is_none().then_some(line)
}

/// What `meta.properties` says. Version 0 is of Kafka with ZooKeeper: its `broker.id` is the node id. What a
/// version may leave out is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// Of the file: 0 or 1.
    pub version: u8,
    /// Which cluster the data is of.
    pub cluster_id: Option<String>,
    /// Which broker's it is.
    pub node_id: Option<i32>,
    /// Which of the broker's folders this is; none before Kafka 3.7.
    pub directory_id: Option<Uuid>,
}

impl MetaProperties {
    /// What a folder of this broker says.
    pub fn new(cluster_id: &str, node_id: i32, directory_id: Uuid) -> MetaProperties {
        let (cluster_id, node_id) = (Some(cluster_id.to_owned()), Some(node_id));
        MetaProperties { version: 1, cluster_id, node_id, directory_id: Some(directory_id) }
    }

    /// Does it say everything that a file of version 1 can?
    pub fn is_complete(&self) -> bool {
        let MetaProperties { version, cluster_id, node_id, directory_id } = self;
        *version == 1 && cluster_id.is_some() && node_id.is_some() && directory_id.is_some()
    }

    /// Writes it into a data folder.
    pub fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
        let MetaProperties { version, cluster_id, node_id, directory_id } = self;
        let mut text = format!("#\nversion={version}\n");
        let node = if *version == 0 { "broker.id" } else { "node.id" };
        let values = [
            ("cluster.id", cluster_id.clone()),
            (node, node_id.as_ref().map(ToString::to_string)),
            ("directory.id", directory_id.as_ref().map(id_to_text)),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{name}={value}");
            }
        }
        write(disk, &dir.join(META_PROPERTIES), text.as_bytes())
    }

    /// Reads it; `None` if there is none. Kafka escapes nothing that these values may hold but `=` and `:`.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<MetaProperties>, Error> {
        let path = dir.join(META_PROPERTIES);
        let Some(bytes) = read(disk, &path)? else { return Ok(None) };
        let text = std::str::from_utf8(&bytes).map_err(|_| "not UTF-8");
        text.and_then(MetaProperties::parse).map(Some).map_err(|why| Error::Malformed { path, why })
    }

    fn parse(text: &str) -> Result<MetaProperties, &'static str> {
        let mut values: BTreeMap<&str, String> = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.split_once('=').ok_or("a line is not name=value")?;
            values.insert(name.trim(), value.trim().replace('\\', ""));
        }
        let version = match values.get("version").map(String::as_str) {
            Some("0") => 0,
            Some("1") => 1,
            Some(_) => return Err("a version other than 0 and 1"),
            None => return Err("no version"),
        };
        let node = values.get(if version == 0 { "broker.id" } else { "node.id" });
        let node_id = node.map(|id| id.parse()).transpose();
        let node_id = node_id.map_err(|_| "the node.id (of version 0: the broker.id) is not a number")?;
        let directory_id = match values.get("directory.id") {
            Some(id) => Some(id_from_text(id).ok_or("the directory.id is not an id")?),
            None => None,
        };
        let cluster_id = values.remove("cluster.id");
        match (version, &cluster_id, node_id) {
            (1, None, _) => Err("no cluster.id"),
            (1, _, None) => Err("no node.id"),
            _ => Ok(MetaProperties { version, cluster_id, node_id, directory_id }),
        }
    }
}

/// An id as Kafka writes it: base64 for URLs, without padding.
pub fn id_to_text(id: &Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// Reads an id that Kafka wrote.
pub fn id_from_text(text: &str) -> Option<Uuid> {
    Uuid::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Writes `partition.metadata` into a partition's folder.
pub fn write_topic_id(disk: &dyn Disk, dir: &Path, topic_id: &Uuid) -> Result<(), Error> {
    replace(disk, &dir.join(PARTITION_METADATA), topic_id_text(topic_id).as_bytes()).map(drop)
}

/// Writes `partition.metadata` into a directory that was just made.
pub fn write_first_topic_id(disk: &dyn Disk, dir: &Path, topic_id: &Uuid) -> Result<(), Error> {
    let path = dir.join(PARTITION_METADATA);
    let file = disk.open(&path, true, 0).at(&path)?;
    file.append(0, &mut [IoSlice::new(topic_id_text(topic_id).as_bytes())]).at(&path)
}

fn topic_id_text(topic_id: &Uuid) -> String {
    format!("version: 0\ntopic_id: {}\n", id_to_text(topic_id))
}

/// Reads `partition.metadata`; `None` if there is none.
pub fn read_topic_id(disk: &dyn Disk, dir: &Path) -> Result<Option<Uuid>, Error> {
    read_text(disk, &dir.join(PARTITION_METADATA), |text| {
        let mut lines = text.lines().map(str::trim);
        let version = lines.next()?.strip_prefix("version:")?.trim();
        let topic_id = lines.next()?.strip_prefix("topic_id:")?.trim();
        if version == "0" { id_from_text(topic_id) } else { None }
    })
}

/// Leaves the mark of a clean stop, after every log was closed.
pub fn mark_clean(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    write(disk, &dir.join(CLEAN_SHUTDOWN), br#"{"version":0,"brokerEpoch":-1}"#)
}

/// Was the last stop clean? Removes the mark for good: call before anything is written.
pub fn take_clean_mark(disk: &dyn Disk, dir: &Path) -> Result<bool, Error> {
    let path = dir.join(CLEAN_SHUTDOWN);
    match disk.remove(&path) {
        Ok(()) => disk.sync_dir(dir).at(dir).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Io { path, source }),
    }
}
