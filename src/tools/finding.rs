//! What a tool found: a file, a place in it, and a sentence.

use std::fmt;
use std::path::{Path, PathBuf};

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    path: PathBuf,
    offset: Option<i64>,
    position: Option<u64>,
    what: String,
    harmless: bool,
}

impl Finding {
    /// A problem with a file as a whole.
    pub(super) fn new(path: &Path, what: impl fmt::Display) -> Finding {
        let what = what.to_string();
        Finding { path: path.to_path_buf(), offset: None, position: None, what, harmless: false }
    }

    /// At which offset of the log.
    pub(super) fn offset(self, offset: i64) -> Finding {
        Finding { offset: Some(offset), ..self }
    }

    /// At which byte of the file.
    pub(super) fn position(self, position: u64) -> Finding {
        Finding { position: Some(position), ..self }
    }

    /// Nothing is lost by it and no one is misled; `then` says what becomes of it.
    pub(super) fn harmless(self, then: &str) -> Finding {
        Finding { what: format!("{}; {then}", self.what), harmless: true, ..self }
    }

    /// The same, if it is so.
    pub(super) fn harmless_if(self, so: bool, then: &str) -> Finding {
        if so { self.harmless(then) } else { self }
    }

    /// Does it leave the exit code alone?
    pub(super) fn is_harmless(&self) -> bool {
        self.harmless
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.harmless { "harmless" } else { "problem" };
        write!(f, "{kind}: {}", self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        if let Some(position) = self.position {
            write!(f, ", position {position}")?;
        }
        write!(f, ": {}", self.what)
    }
}
