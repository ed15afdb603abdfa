//! The file descriptors of the process, and who may take how many: partitions up to a limit that is checked
//! before one is created, clients what is left, and a reserve for the broker's own work that neither touches.
//!
//! An open partition holds one descriptor, that of its newest `.log` file; index files are open only while
//! they are read or written. Older segments keep theirs open once they have been read, as long as there is
//! room: half of what partitions and clients leave. The reserve is for rolls, checkpoints, compaction, the
//! listeners and the connections of the HTTP listener.

use std::sync::Arc;

use braid_storage::{Disk, OpenFiles};

/// The least and the most that is kept for the broker's own work; an eighth of the limit in between.
const RESERVE: (usize, usize) = (128, 1024);
/// The least and the most that partitions leave for clients; a sixteenth of the limit in between.
const CLIENTS: (usize, usize) = (16, 1024);

/// What the process may have open. Without a limit on the disk's side nothing is refused.
pub struct Descriptors {
    disk: Arc<dyn Disk>,
}

impl Descriptors {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Descriptors {
        Descriptors { disk }
    }

    fn files(&self) -> Option<&OpenFiles> {
        self.disk.open_files()
    }

    /// The most files and sockets that may be open.
    pub fn limit(&self) -> usize {
        self.files().map_or(usize::MAX, OpenFiles::limit)
    }

    /// What neither partitions nor clients may take.
    pub fn reserve(&self) -> usize {
        (self.limit() / 8).clamp(RESERVE.0, RESERVE.1)
    }

    /// What is there for partitions, older segments and clients together.
    fn shared(&self) -> usize {
        self.limit().saturating_sub(self.reserve())
    }

    /// How many partitions may be open, all topics together.
    pub fn partitions_max(&self) -> usize {
        self.shared().saturating_sub((self.limit() / 16).clamp(CLIENTS.0, CLIENTS.1))
    }

    /// Whether one more client may connect beside this many.
    pub fn admits_client(&self, connected: usize) -> bool {
        self.files().is_none_or(|files| files.open().saturating_add(connected) < self.shared())
    }

    /// Notes how many clients are connected.
    pub fn set_clients(&self, connected: usize) {
        if let Some(files) = self.files() {
            files.set_sockets(connected);
        }
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.files().map_or(0, OpenFiles::sockets)
    }

    /// Whether this many partitions can be open beside the clients that are connected now: they may have come
    /// when there were fewer partitions. Half of the reserve is left.
    pub fn has_room_for(&self, partitions: usize) -> bool {
        partitions.saturating_add(self.clients()) <= self.limit().saturating_sub(self.reserve() / 2)
    }

    /// Has the files of older segments closed after use when more would be open than this many partitions
    /// leave room for. False if that is so already.
    pub fn share(&self, partitions: usize) -> bool {
        let Some(files) = self.files() else { return true };
        let spare = self.partitions_max().saturating_sub(partitions);
        files.keep_up_to(partitions.saturating_add(spare / 2), self.shared());
        files.may_keep()
    }

    /// What to do about a limit that is too low.
    pub fn remedy(&self) -> &'static str {
        "raise the limit of open files (LimitNOFILE of a systemd unit, ulimit -n in a shell) and restart the \
         broker"
    }
}

#[cfg(test)]
mod tests {
    use braid_storage::RealDisk;

    use super::*;

    fn of(limit: usize) -> Descriptors {
        Descriptors::new(Arc::new(RealDisk::with_limit(limit)))
    }

    #[test]
    fn every_limit_leaves_a_reserve_and_room_for_clients() {
        for limit in [0, 100, 256, 1024, 3000, 20_000, 1 << 20, usize::MAX] {
            let all = of(limit);
            let clients = all.shared() - all.partitions_max();
            assert!(all.partitions_max() + clients + all.reserve() <= limit.max(all.reserve()), "{limit}");
            assert!(clients >= CLIENTS.0 || all.partitions_max() == 0, "{limit}");
            assert_eq!(all.admits_client(0), all.shared() > 0, "{limit}");
            assert!(!all.admits_client(all.shared()), "{limit}");
        }
        let all = of(400);
        all.set_clients(272);
        assert!(all.has_room_for(60) && !all.has_room_for(100));
        assert!(of(3000).partitions_max() > 2000 && of(20_000).partitions_max() > 15_100);
    }

    #[test]
    fn files_that_can_be_opened_again_are_kept_while_there_is_room() {
        let disk = RealDisk::with_limit(256);
        let all = Descriptors::new(Arc::new(disk.clone()));
        assert!(all.share(10));
        let dir = tempfile::tempdir().unwrap();
        let open = |n: usize| disk.open(&dir.path().join(n.to_string()), true, 0).unwrap();
        let mut kept: Vec<_> = (0..70).map(open).collect();
        assert!(!all.share(10));
        assert!(all.share(60));
        kept.truncate(20);
        assert!(all.share(10));
    }
}
