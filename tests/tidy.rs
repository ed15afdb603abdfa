//! The house rules, as a test: who may know whom, how long a file and a function may be, what a file begins
//! with.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of `src/`, from top to bottom. A module uses only modules below it; those on one line do
/// not know each other. (A cluster view of the same: README, "Where things are".)
const ROOMS: &[&[&str]] = &[
    &["main", "lib"],
    &["args", "notify"],
    &["server", "tools"],
    &["connection"],
    &["api", "http", "upkeep"],
    &["broker"],
    &["group", "txn"],
    &["machine"],
    &["topic"],
    &["cluster"],
    &["logging"],
    &["config", "metrics", "dice"],
];
/// Files that are values: no clock, no tokio, no storage, and no order that depends on hashing.
const PURE: &[&str] =
    &["src/cluster/image.rs", "src/group/", "src/txn/", "storage/src/producers.rs", "protocol/src/"];
/// What a pure file must not contain, outside of its tests.
const IMPURE: &[&str] = &["tokio::", "SystemTime", "Instant::now", "HashMap", "rand::", "braid_storage"];
/// Faces that join a pure room to the world.
const FACES: &[&str] = &["src/group/mod.rs", "src/group/face.rs", "src/txn/mod.rs", "src/txn/face.rs"];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_MAX: usize = 110;

struct Source {
    /// Path from the project's root.
    path: String,
    text: String,
}

impl Source {
    /// The text before the tests, which may do what the rest may not.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
    }

    fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        inside.split('/').next()?.strip_suffix(".rs").or_else(|| inside.split('/').next())
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "protocol/src", "storage/src", "tests", "storage/tests", "protocol/tests"] {
        walk(&root.join(folder), &mut found);
    }
    let relative = |path: &PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    found
        .iter()
        .map(|path| Source { path: relative(path), text: fs::read_to_string(path).unwrap() })
        .collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() => walk(&path, found),
            Some(e) if e == "rs" => found.push(path),
            _ => {}
        }
    }
}

fn assert_none(what: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{what}:\n  {}\n", broken.join("\n  "));
}

#[test]
fn rooms_know_only_rooms_below_them() {
    let rank = |room: &str| ROOMS.iter().position(|level| level.contains(&room));
    let mut broken = Vec::new();
    for source in sources().iter().filter(|s| s.path.starts_with("src/")) {
        let room = source.room().unwrap();
        let own = rank(room).unwrap_or_else(|| panic!("{} is in no row of ROOMS", source.path));
        for (number, line) in source.text.lines().enumerate() {
            for known in line.split("crate::").skip(1) {
                let known: String = known.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if known == room || room == "lib" || !known.starts_with(char::is_lowercase) {
                    continue;
                }
                if rank(&known).is_none_or(|theirs| theirs <= own) {
                    broken.push(format!("{}:{}: {room} may not use {known}", source.path, number + 1));
                }
            }
        }
    }
    assert_none("a module uses only modules below it", broken);
}

/// Where messages of the wire are known: the APIs, and the coordinators that are their protocol.
const WIRE: &[&str] = &["src/api/", "src/group/", "src/txn/"];

#[test]
fn messages_of_the_wire_stop_at_the_apis() {
    let inside = |source: &&Source| source.path.starts_with("src/");
    let knows = |source: &&Source| source.text.contains("braid_protocol::api::");
    let sources = sources();
    let broken = sources.iter().filter(inside).filter(knows).map(|source| source.path.clone());
    let broken = broken.filter(|path| !WIRE.iter().any(|known| path.starts_with(known)));
    assert_none("the broker and its topics know no message of the wire", broken.collect());
}

/// Words that are not Kafka's or the field's, or that have to be read twice, and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("anew", "again"),
    ("whoever", "the caller, the client, a reader"),
    ("for ever", "forever"),
    ("goes by", "uses"),
    ("so many", "this many"),
    ("likewise", "the noun again"),
    ("cellar", "bottom"),
    ("unasked", "in the background"),
    ("bury", "write tombstones"),
    ("mended", "repaired"),
];

#[test]
fn words_are_plain() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.path != "tests/tidy.rs") {
        for (number, line) in source.text.lines().enumerate() {
            let line = line.to_lowercase();
            let has = |word: &str| {
                line.match_indices(word).any(|(at, _)| {
                    let (before, after) = (line[..at].chars().last(), line[at + word.len()..].chars().next());
                    !before.into_iter().chain(after).any(|c| c.is_alphanumeric() || c == '_')
                })
            };
            let found = BANNED.iter().filter(|(word, _)| has(word));
            broken.extend(found.map(|(word, instead)| {
                format!("{}:{}: {word:?}; write: {instead}", source.path, number + 1)
            }));
        }
    }
    assert_none("plain technical English", broken);
}

#[test]
fn pure_files_are_values() {
    let mut broken = Vec::new();
    for source in sources() {
        let pure = PURE.iter().any(|p| source.path.starts_with(p)) && !FACES.contains(&source.path.as_str());
        if pure && !source.path.contains("/tests") {
            let found = IMPURE.iter().filter(|word| source.code().contains(**word));
            broken.extend(found.map(|word| format!("{} contains {word}", source.path)));
        }
    }
    assert_none("what is to be simulated reads no clock, no disk and no hash order", broken);
}

#[test]
fn files_functions_and_lines_are_short() {
    let mut broken = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            broken.push(format!("{}: {} lines", source.path, lines.len()));
        }
        for (number, line) in lines.iter().enumerate() {
            if line.chars().count() > LINE_MAX {
                broken.push(format!("{}:{}: a line of {}", source.path, number + 1, line.chars().count()));
            }
            if let Some(length) = function_length(&lines[number..]).filter(|n| *n > FUNCTION_LINES_MAX) {
                broken.push(format!("{}:{}: a function of {length} lines", source.path, number + 1));
            }
        }
    }
    assert_none("a stranger should be able to read it", broken);
}

/// How long the function is that begins on the first line, if one does.
fn function_length(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    let start = first.trim_start();
    let words =
        ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "async fn ", "pub async fn ", "const fn "];
    if !words.iter().any(|word| start.starts_with(word)) || first.trim_end().ends_with([';', '}']) {
        return None;
    }
    let indent = first.len() - start.len();
    let end = format!("{}}}", " ".repeat(indent));
    lines.iter().position(|line| *line == end).map(|at| at + 1)
}

#[test]
fn every_file_says_what_it_is_for() {
    let broken = sources().into_iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.path).collect();
    assert_none("the first line of a file tells a reader that they arrived", broken);
}

#[test]
fn nothing_is_left_unfinished() {
    let words = ["todo!(", "unimplemented!(", "FIXME", "XXX"].map(str::to_owned);
    let mut broken = Vec::new();
    for source in sources().iter().filter(|s| s.path != "tests/tidy.rs") {
        let found = words.iter().filter(|word| source.text.contains(word.as_str()));
        broken.extend(found.map(|word| format!("{} contains {word}", source.path)));
    }
    assert_none("what is not finished is not there", broken);
}
