//! What was found, by API and kind, each with its worst example.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::frames::Frame;

/// Panics of any thread: where, and what they said.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Everything that is wrong.
#[derive(Default)]
pub(crate) struct Findings {
    found: BTreeMap<(String, &'static str), Found>,
}

struct Found {
    times: usize,
    worst: f64,
    text: String,
}

impl Findings {
    /// One more; `worst` compares it with others of its API and kind.
    pub(crate) fn add(&mut self, kind: &'static str, worst: f64, text: String, frame: &Frame, seed: &str) {
        let entry = self.found.entry((frame.api.name.to_owned(), kind));
        let found = entry.or_insert(Found { times: 0, worst: f64::MIN, text: String::new() });
        found.times += 1;
        if worst > found.worst {
            found.worst = worst;
            let Frame { version, bytes, note, api, .. } = frame;
            found.text = format!(
                "v{version}, frame of {} bytes{note}: {text}\n      seed {seed}, frame {}",
                bytes.len(),
                kept(api.name, kind, bytes),
            );
        }
    }

    /// All of it, as text; empty if there is nothing.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for ((api, kind), found) in &self.found {
            writeln!(text, "  {api} {kind} ({} times) {}", found.times, found.text).unwrap();
        }
        text
    }
}

/// A short frame in hex; the name of a file with that, if it is long.
fn kept(api: &str, kind: &str, bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if hex.len() <= 400 {
        return hex;
    }
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    let file = folder.join(format!("{api}-{kind}.hex"));
    let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, &hex));
    match written {
        Ok(()) => format!("in {}", file.display()),
        Err(_) => format!("{}...", &hex[..400]),
    }
}

/// Remembers every panic instead of printing it.
pub(crate) fn catch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let said = panic.payload_as_str().unwrap_or("?");
        let at = panic.location().map_or_else(String::new, ToString::to_string);
        let thread = std::thread::current().name().unwrap_or("?").to_owned();
        // Those of a test itself are for its output.
        if at.contains("tests/") {
            eprintln!("{at}: {said}");
        }
        PANICS.lock().unwrap_or_else(|e| e.into_inner()).push(format!("{at}: {said} (thread {thread})"));
    }));
}

/// The panics since this was last asked.
pub(crate) fn panics() -> Vec<String> {
    std::mem::take(&mut *PANICS.lock().unwrap_or_else(|e| e.into_inner()))
}
