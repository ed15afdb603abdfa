//! The patterns that groups subscribe to, compiled, and the topics that each stands for now.
//!
//! All machines share one of these, so a pattern is compiled once, however many groups use it, and only
//! topics that come and go are held against it. It is a cache: what it answers follows from what it is asked,
//! so a machine that has one is a value all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::cluster::Image;
use crate::machine::Pattern;

/// Patterns remembered, and the memory they may take with the names of their topics.
const PATTERNS_MAX: usize = 1_000;
const BYTES_MAX: usize = 32 << 20;

/// Cheap to clone; clones share what they know.
#[derive(Clone, Default)]
pub struct Patterns(Arc<Mutex<Known>>);

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patterns").finish_non_exhaustive()
    }
}

impl PartialEq for Patterns {
    /// A cache makes no difference.
    fn eq(&self, _: &Patterns) -> bool {
        true
    }
}

#[derive(Default)]
struct Known {
    by_text: BTreeMap<String, Entry>,
    /// The cluster that the topics are of.
    image: Arc<Image>,
    /// Counts uses, to find what was not used for the longest time.
    uses: u64,
    bytes: usize,
}

struct Entry {
    pattern: Result<Pattern, String>,
    /// Names of topics, sorted; none until somebody asks.
    topics: Option<Vec<Arc<str>>>,
    used: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        let pattern = self.pattern.as_ref().map_or_else(String::len, Pattern::memory_bytes);
        pattern + self.topics.as_ref().map_or(0, |names| size_of_val(names.as_slice()))
    }
}

impl Patterns {
    /// The most that are remembered.
    pub const MAX: usize = PATTERNS_MAX;

    /// Compiles these.
    pub fn compile(&self, texts: &BTreeSet<String>) {
        // What is wrong with one of them, its member will hear.
        texts.iter().for_each(|text| drop(self.pattern(text)));
    }

    /// Whether nothing has to be computed to say what this pattern stands for.
    pub(in crate::group) fn knows(&self, text: &str, image: &Arc<Image>) -> bool {
        let known = self.0.lock();
        let is_known = |entry: &Entry| entry.pattern.is_err() || entry.topics.is_some();
        Arc::ptr_eq(&known.image, image) && known.by_text.get(text).is_some_and(is_known)
    }

    /// The topics of this cluster that a pattern stands for, by name. The error is for the client.
    pub(in crate::group) fn topics(&self, text: &str, image: &Arc<Image>) -> Result<Vec<String>, String> {
        let pattern = self.pattern(text)?;
        let strings = |names: &[Arc<str>]| names.iter().map(|name| name.to_string()).collect();
        let mut known = self.0.lock();
        known.follow(image);
        if let Some(names) = known.by_text.get(text).and_then(|entry| entry.topics.as_deref()) {
            return Ok(strings(names));
        }
        drop(known);
        // Without the lock: others must not wait for it.
        let all = image.topics().map(|topic| &topic.name);
        let names: Vec<Arc<str>> = all.filter(|name| pattern.is_match(name)).cloned().collect();
        let found = strings(&names);
        let mut known = self.0.lock();
        if Arc::ptr_eq(&known.image, image) {
            known.change(text, |entry| entry.topics = Some(names));
        }
        Ok(found)
    }

    /// Whether a text is a pattern. The error is for the client.
    pub(in crate::group) fn check(&self, text: &str) -> Result<(), String> {
        self.pattern(text).map(drop)
    }

    fn pattern(&self, text: &str) -> Result<Pattern, String> {
        let mut known = self.0.lock();
        known.uses += 1;
        let now = known.uses;
        if let Some(entry) = known.by_text.get_mut(text) {
            entry.used = now;
            return entry.pattern.clone();
        }
        drop(known);
        let pattern = Pattern::new(text);
        let entry = Entry { pattern: pattern.clone(), topics: None, used: now };
        let mut known = self.0.lock();
        known.by_text.entry(text.to_owned()).or_insert(entry);
        known.recount();
        pattern
    }
}

impl Known {
    /// Brings the topics of all patterns up to another cluster: only those are matched that are new in it.
    fn follow(&mut self, image: &Arc<Image>) {
        if Arc::ptr_eq(&self.image, image) {
            return;
        }
        let before = std::mem::replace(&mut self.image, image.clone());
        let missing = |one: &Image, other: &Image| -> BTreeSet<Arc<str>> {
            let names = one.topics().map(|topic| &topic.name);
            names.filter(|name| other.topic(name).is_none()).cloned().collect()
        };
        let (new, gone) = (missing(image, &before), missing(&before, image));
        for entry in self.by_text.values_mut() {
            let (Ok(pattern), Some(names)) = (&entry.pattern, &mut entry.topics) else { continue };
            names.retain(|name| !gone.contains(name));
            let before = names.len();
            names.extend(new.iter().filter(|name| pattern.is_match(name)).cloned());
            if names.len() > before {
                names.sort_unstable();
            }
        }
        self.recount();
    }

    fn change(&mut self, text: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.by_text.get_mut(text) {
            change(entry);
            self.recount();
        }
    }

    /// Forgets what was not used for the longest time, until the rest fits.
    fn recount(&mut self) {
        self.bytes = self.by_text.iter().map(|(text, entry)| text.len() + entry.bytes()).sum();
        while self.by_text.len() > PATTERNS_MAX || (self.bytes > BYTES_MAX && self.by_text.len() > 1) {
            let oldest = self.by_text.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(text, _)| text.clone()) else { return };
            if let Some(entry) = self.by_text.remove(&oldest) {
                self.bytes -= oldest.len() + entry.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use braid_protocol::Uuid;

    use super::*;
    use crate::cluster::Change;
    use crate::machine::COMPILED;

    fn image(names: &[&str]) -> Arc<Image> {
        let mut image = Image::default();
        for (n, name) in names.iter().enumerate() {
            let id = Uuid([u8::try_from(n + 1).unwrap(); 16]).to_string();
            let configs = Default::default();
            image.apply(&Change::TopicCreated { name: (*name).to_owned(), id, partitions: 1, configs });
        }
        Arc::new(image)
    }

    // Each coordinator partition compiled a pattern by itself, and each change of a topic did it again.
    #[test]
    fn a_pattern_is_compiled_once_and_follows_the_topics() {
        let patterns = Patterns::default();
        let before = COMPILED.get();
        let one = image(&["a1", "b1"]);
        assert!(!patterns.knows("a.*", &one));
        assert_eq!(patterns.topics("a.*", &one), Ok(vec!["a1".to_owned()]));
        assert!(patterns.knows("a.*", &one));
        let two = image(&["a0", "a1", "a2", "b2"]);
        let other = patterns.clone();
        let names = |patterns: &Patterns, image| patterns.topics("a.*", image).unwrap().join(" ");
        assert_eq!(names(&other, &two), "a0 a1 a2");
        assert_eq!(names(&patterns, &one), "a1", "an older image is answered too");
        assert_eq!(names(&patterns, &image(&[])), "");
        assert_eq!(COMPILED.get(), before + 1);
        assert!(patterns.check("(").is_err() && patterns.check("(").is_err());
        assert_eq!(COMPILED.get(), before + 2, "what is none is remembered as well");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let patterns = Patterns::default();
        let one = image(&["a"]);
        for n in 0..PATTERNS_MAX + 10 {
            patterns.topics(&format!("x{n}"), &one).unwrap();
        }
        assert_eq!(patterns.0.lock().by_text.len(), PATTERNS_MAX);
        assert!(!patterns.knows("x0", &one) && patterns.knows("x1000", &one));
        for n in 0..60 {
            let list: Vec<String> = (0..150).map(|i| format!("some-topic-{n}-with-a-name-{i}")).collect();
            patterns.topics(&list.join("|"), &one).unwrap();
        }
        let known = patterns.0.lock();
        assert!(known.bytes <= BYTES_MAX && known.by_text.len() > 1);
    }
}
