//! Which folders belong to this broker, beside the first one, which remembers them: a disk that is not
//! mounted leaves an empty folder behind, and that must not be taken for a new one.
//!
//! The file has a line a folder: its id as in its `meta.properties`, a space, and its path.

use std::path::{Path, PathBuf};

use braid_protocol::Uuid;
use braid_storage::checkpoint::{self, MetaProperties, id_from_text, id_to_text};
use braid_storage::{Disk, Error};

/// The file's name; in the first folder of `log.dirs`.
const FILE: &str = "braid-log-dirs";

/// What the file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Known {
    folders: Vec<(Uuid, PathBuf)>,
}

impl Known {
    /// Reads the file in the first folder.
    pub(super) fn read(disk: &dyn Disk, first: &Path) -> Result<Known, Error> {
        let path = first.join(FILE);
        let Some(bytes) = checkpoint::read(disk, &path)? else { return Ok(Known::default()) };
        let line = |line: &str| {
            let (id, path) = line.split_once(' ')?;
            Some((Uuid(*id_from_text(id)?.as_bytes()), PathBuf::from(path)))
        };
        let text = std::str::from_utf8(&bytes).ok();
        let folders = text.and_then(|text| text.lines().map(line).collect());
        let folders = folders.ok_or(Error::Malformed { path, why: "not lines of an id and a path" })?;
        Ok(Known { folders })
    }

    /// The folders that are at none of these paths any more.
    pub(super) fn lost(&self, disk: &dyn Disk, paths: &[PathBuf]) -> Vec<PathBuf> {
        let id = |path: &PathBuf| {
            MetaProperties::read(disk, path).ok().flatten().and_then(|meta| meta.directory_id)
        };
        let there: Vec<Uuid> = paths.iter().filter_map(id).map(|id| Uuid(*id.as_bytes())).collect();
        let lost = self.folders.iter().filter(|(id, _)| !there.contains(id));
        lost.map(|(_, path)| path.clone()).collect()
    }

    /// Adds folders; writes the file if that makes a difference.
    pub(super) fn remember(
        mut self,
        disk: &dyn Disk,
        first: &Path,
        others: &[(Uuid, &Path)],
    ) -> Result<(), Error> {
        let before = self.folders.clone();
        for (id, path) in others {
            let path = absolute(path);
            match self.folders.iter_mut().find(|(known, _)| known == id) {
                Some((_, known)) => *known = path,
                None => self.folders.push((*id, path)),
            }
        }
        if self.folders == before {
            return Ok(());
        }
        let line = |(id, path): &(Uuid, PathBuf)| {
            format!("{} {}\n", id_to_text(&uuid::Uuid::from_bytes(id.0)), path.display())
        };
        let text: String = self.folders.iter().map(line).collect();
        checkpoint::write(disk, &first.join(FILE), text.as_bytes())
    }

    /// What can be done about a folder that is lost.
    pub(super) fn what_to_do(&self, first: &Path) -> String {
        let file = first.join(FILE);
        format!("mount or name it again, or if it is gone for good, remove its line from {}", file.display())
    }
}

/// The path from the root, as the file has it.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
