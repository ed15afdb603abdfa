//! A disk in memory that forgets what was not synced and fails when told: for tests, also the broker's.
//!
//! It keeps two worlds: what a program sees, and what a power cut would leave. `sync` moves a file's contents
//! from the one to the other, `sync_dir` a folder's names. [`SimDisk::crash`] makes the disk as it is found
//! afterwards: with nothing of the rest, all of it, or a random part (writes may arrive in any order and
//! torn, with zeros between; names arrive in order).

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::dice::Dice;
use crate::disk::{Disk, Entry, File};

/// How much of what was not synced a crash takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// As after a kill of the process.
    Nothing,
    /// The worst power cut.
    Everything,
    /// Any power cut; the same seed loses the same.
    Random(u64),
}

/// What happens at a call that was chosen with [`SimDisk::fail_at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// That call fails with this errno; an append leaves half of its bytes.
    Once(i32),
    /// That call and all that change anything after it fail: the power is gone.
    PowerCut,
}

/// The calls of `Disk` and `File` that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `Disk::open` of a file that is there.
    Open,
    /// `Disk::open` that makes a file, or `Disk::make_dir`.
    Create,
    /// `Disk::list`.
    List,
    /// `Disk::rename`.
    Rename,
    /// `Disk::remove`.
    Remove,
    /// `Disk::sync_dir`.
    SyncDir,
    /// `File::read`.
    Read,
    /// `File::append`.
    Append,
    /// `File::sync`.
    Sync,
    /// `File::set_len`.
    SetLen,
}

impl Call {
    fn changes(self) -> bool {
        !matches!(self, Call::Open | Call::List | Call::Read)
    }
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<World>>);

#[derive(Default)]
struct World {
    seen: Names,
    durable: Names,
    /// Changes of names, each with the folder whose sync makes it durable.
    changes: Vec<(PathBuf, Change)>,
    /// Calls that change something.
    calls: u64,
    fault: Option<(u64, Fault)>,
    /// All calls.
    all: u64,
    /// The number among all calls that fails once, with this errno.
    fault_of_all: Option<(u64, i32)>,
    /// Which kind it was, once it has.
    failed: Option<Call>,
    /// Syncs of files of which one had failed before.
    retried: u64,
}

type Names = BTreeMap<PathBuf, Name>;

#[derive(Clone)]
enum Name {
    Dir,
    File(Arc<Mutex<Inode>>),
}

#[derive(Clone)]
enum Change {
    Put(PathBuf, Name),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
    sync_failed: bool,
}

enum Write {
    At(usize, Vec<u8>),
    SetLen(usize),
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Write::SetLen(len) => to.resize(*len, 0),
            Write::At(at, bytes) => {
                to.resize(to.len().max(at + bytes.len()), 0);
                if let Some(place) = to.get_mut(*at..at + bytes.len()) {
                    place.copy_from_slice(bytes);
                }
            }
        }
    }
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Change::Put(path, name) => {
                names.insert(path.clone(), name.clone());
            }
            Change::Remove(path) => names.retain(|name, _| !name.starts_with(path)),
            Change::Rename(from, to) => {
                let moved: Vec<PathBuf> =
                    names.keys().filter(|name| name.starts_with(from)).cloned().collect();
                for name in moved {
                    let Some(entry) = names.remove(&name) else { continue };
                    let rest = name.strip_prefix(from).unwrap_or(Path::new(""));
                    let name = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    names.insert(name, entry);
                }
            }
        }
    }
}

impl World {
    /// Counts a call; fails if it is to.
    fn call(&mut self, call: Call) -> io::Result<()> {
        let (n, all) = (self.calls, self.all);
        self.calls += u64::from(call.changes());
        self.all += 1;
        match (self.fault_of_all, self.fault) {
            (Some((at, errno)), _) if at == all => {
                self.failed = Some(call);
                Err(io::Error::from_raw_os_error(errno))
            }
            _ if !call.changes() => Ok(()),
            (_, Some((at, Fault::Once(errno)))) if at == n => Err(io::Error::from_raw_os_error(errno)),
            (_, Some((at, Fault::PowerCut))) if at <= n => Err(io::Error::other("the power is gone")),
            _ => Ok(()),
        }
    }

    fn change(&mut self, dir: Option<&Path>, change: Change) {
        change.apply(&mut self.seen);
        self.changes.push((dir.unwrap_or(Path::new("")).to_path_buf(), change));
    }

    fn make_dirs(&mut self, dir: &Path) {
        let missing: Vec<&Path> =
            dir.ancestors().filter(|dir| dir.parent().is_some() && !self.seen.contains_key(*dir)).collect();
        for dir in missing.into_iter().rev() {
            self.change(dir.parent(), Change::Put(dir.to_path_buf(), Name::Dir));
        }
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// How many calls have changed something so far (or tried to).
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Has a fault happen at the call that [`SimDisk::calls`] will number `call`; replaces an earlier wish.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.0.lock().fault = Some((call, fault));
    }

    /// How many calls of any kind there were so far.
    pub fn all_calls(&self) -> u64 {
        self.0.lock().all
    }

    /// Has one call fail with this errno: the one that [`SimDisk::all_calls`] will number `call`.
    pub fn fail_once(&self, call: u64, errno: i32) {
        let mut world = self.0.lock();
        (world.fault_of_all, world.failed) = (Some((call, errno)), None);
    }

    /// What kind of call has failed since [`SimDisk::fail_once`], if it came to that.
    pub fn failed(&self) -> Option<Call> {
        self.0.lock().failed
    }

    /// How often a file was synced again after that had failed. On a real disk that proves nothing.
    pub fn retried(&self) -> u64 {
        self.0.lock().retried
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut world = self.0.lock();
        (world.fault, world.fault_of_all) = (None, None);
    }

    /// The disk as it is found after a crash now. This one is not changed.
    pub fn crash(&self, loss: Loss) -> SimDisk {
        let world = self.0.lock();
        let mut dice = Dice(if let Loss::Random(seed) = loss { seed } else { 0 });
        let kept = match loss {
            Loss::Nothing => world.changes.len(),
            Loss::Everything => 0,
            Loss::Random(_) => dice.below(world.changes.len() as u64 + 1) as usize,
        };
        let mut names = world.durable.clone();
        for (_, change) in world.changes.iter().take(kept) {
            change.apply(&mut names);
        }
        let lost: Vec<PathBuf> = names.keys().filter(|name| !has_parents(&names, name)).cloned().collect();
        names.retain(|name, _| !lost.contains(name));
        for name in names.values_mut() {
            if let Name::File(inode) = name {
                let bytes = inode.lock().after(loss, &mut dice);
                *name = Name::File(Arc::new(Mutex::new(Inode::durable(bytes))));
            }
        }
        SimDisk(Arc::new(Mutex::new(World { seen: names.clone(), durable: names, ..World::default() })))
    }

    /// What a file holds.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        match self.0.lock().seen.get(path)? {
            Name::File(inode) => Some(inode.lock().seen.clone()),
            Name::Dir => None,
        }
    }

    /// Puts a file there for good, as if it had always been so: for damage.
    pub fn plant(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.0.lock();
        for dir in path.ancestors().skip(1).filter(|dir| dir.parent().is_some()) {
            world.seen.insert(dir.to_path_buf(), Name::Dir);
            world.durable.insert(dir.to_path_buf(), Name::Dir);
        }
        let name = Name::File(Arc::new(Mutex::new(Inode::durable(bytes.to_vec()))));
        world.seen.insert(path.to_path_buf(), name.clone());
        world.durable.insert(path.to_path_buf(), name);
    }
}

fn has_parents(names: &Names, name: &Path) -> bool {
    let parents = name.ancestors().skip(1).filter(|dir| dir.parent().is_some());
    parents.into_iter().all(|dir| names.contains_key(dir))
}

impl Inode {
    fn durable(bytes: Vec<u8>) -> Inode {
        Inode { seen: bytes.clone(), durable: bytes, ..Inode::default() }
    }

    fn write(&mut self, write: Write) {
        write.apply(&mut self.seen);
        self.pending.push(write);
    }

    fn after(&self, loss: Loss, dice: &mut Dice) -> Vec<u8> {
        if loss == Loss::Nothing {
            return self.seen.clone();
        }
        let mut bytes = self.durable.clone();
        for write in self.pending.iter().filter(|_| loss != Loss::Everything) {
            match (dice.below(3), write) {
                (0, _) => {}
                (1, Write::At(at, data)) => {
                    let torn = dice.below(data.len() as u64 + 1) as usize;
                    Write::At(*at, data.get(..torn).unwrap_or_default().to_vec()).apply(&mut bytes);
                }
                _ => write.apply(&mut bytes),
            }
        }
        bytes
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, create: bool, _capacity: u64) -> io::Result<Arc<dyn File>> {
        let mut world = self.0.lock();
        let inode = match world.seen.get(path) {
            Some(Name::File(inode)) => {
                let inode = Arc::clone(inode);
                world.call(Call::Open)?;
                inode
            }
            Some(Name::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            None if !create => return Err(io::ErrorKind::NotFound.into()),
            None => {
                world.call(Call::Create)?;
                if let Some(dir) = path.parent() {
                    world.make_dirs(dir);
                }
                let inode = Arc::<Mutex<Inode>>::default();
                world.change(path.parent(), Change::Put(path.to_path_buf(), Name::File(Arc::clone(&inode))));
                inode
            }
        };
        let len = AtomicU64::new(inode.lock().seen.len() as u64);
        Ok(Arc::new(SimFile { disk: self.clone(), inode, len }))
    }

    fn make_dir(&self, dir: &Path) -> io::Result<bool> {
        let mut world = self.0.lock();
        world.call(Call::Create)?;
        let is_new = !world.seen.contains_key(dir);
        world.make_dirs(dir);
        Ok(is_new)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut world = self.0.lock();
        world.call(Call::List)?;
        if !world.seen.contains_key(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = world.seen.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, name): (&PathBuf, &Name)| {
            let (len, is_dir) = match name {
                Name::Dir => (0, true),
                Name::File(inode) => (inode.lock().seen.len() as u64, false),
            };
            Some(Entry { name: path.file_name()?.to_str()?.to_owned(), len, is_dir })
        };
        Ok(inside.filter_map(entry).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.call(Call::Rename)?;
        if !world.seen.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change(to.parent(), Change::Rename(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.0.lock();
        world.call(Call::Remove)?;
        if !world.seen.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change(path.parent(), Change::Remove(path.to_path_buf()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut guard = self.0.lock();
        guard.call(Call::SyncDir)?;
        let world = &mut *guard;
        let (now, later) = std::mem::take(&mut world.changes).into_iter().partition(|(of, _)| of == dir);
        world.changes = later;
        let now: Vec<(PathBuf, Change)> = now;
        for (_, change) in now {
            change.apply(&mut world.durable);
        }
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    inode: Arc<Mutex<Inode>>,
    len: AtomicU64,
}

impl File for SimFile {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        self.disk.0.lock().call(Call::Read)?;
        let inode = self.inode.lock();
        let end = at.checked_add(len as u64).filter(|end| *end <= self.len());
        let bytes = end.and_then(|end| inode.seen.get(at as usize..end as usize));
        bytes.map(Bytes::copy_from_slice).ok_or(io::ErrorKind::UnexpectedEof.into())
    }

    fn append(&self, at: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        let allowed = self.disk.0.lock().call(Call::Append);
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        if allowed.is_err() {
            bytes.truncate(bytes.len() / 2);
        }
        let end = at + bytes.len() as u64;
        self.inode.lock().write(Write::At(at as usize, bytes));
        allowed?;
        self.len.store(end, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.0.lock();
        let allowed = world.call(Call::Sync);
        let mut inode = self.inode.lock();
        world.retried += u64::from(inode.sync_failed);
        inode.sync_failed |= allowed.is_err();
        allowed?;
        inode.durable = inode.seen.clone();
        inode.pending.clear();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.0.lock().call(Call::SetLen)?;
        self.inode.lock().write(Write::SetLen(len as usize));
        self.len.store(len, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn File> {
        let file = disk.open(Path::new(path), true, 0).unwrap();
        file.append(file.len(), &mut [IoSlice::new(bytes)]).unwrap();
        file
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_need_not() {
        let disk = SimDisk::new();
        let file = write(&disk, "/d/a", b"one");
        file.sync().unwrap();
        let a = Path::new("/d/a");
        assert_eq!(disk.crash(Loss::Everything).contents(a), None, "the name was not synced");
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(disk.crash(Loss::Everything).contents(a), None, "nor the folder's");
        disk.sync_dir(Path::new("/")).unwrap();
        file.append(3, &mut [IoSlice::new(b"two")]).unwrap();
        assert_eq!(disk.crash(Loss::Everything).contents(a).unwrap(), b"one");
        assert_eq!(disk.crash(Loss::Nothing).contents(a).unwrap(), b"onetwo");
        for seed in 0..50 {
            let after = disk.crash(Loss::Random(seed)).contents(a).unwrap();
            assert!(b"onetwo".starts_with(&after[..]) && after.len() >= 3, "{after:?}");
        }
        disk.rename(Path::new("/d"), Path::new("/e")).unwrap();
        assert_eq!(disk.contents(Path::new("/e/a")).unwrap(), b"onetwo");
        assert!(disk.list(Path::new("/d")).is_err());
    }

    #[test]
    fn the_nth_call_fails_once_or_for_good() {
        let disk = SimDisk::new();
        let file = write(&disk, "/a", b"x");
        disk.fail_at(disk.calls() + 1, Fault::Once(5));
        file.append(1, &mut [IoSlice::new(b"y")]).unwrap();
        assert_eq!(file.append(2, &mut [IoSlice::new(b"1234")]).unwrap_err().raw_os_error(), Some(5));
        assert_eq!((file.len(), disk.contents(Path::new("/a")).unwrap()), (2, b"xy12".to_vec()));
        file.sync().unwrap();
        disk.fail_at(disk.calls(), Fault::PowerCut);
        assert!(file.sync().is_err() && file.sync().is_err());
        disk.heal();
        assert!(file.sync().is_ok());
        disk.fail_once(disk.all_calls() + 1, 5);
        assert!(file.read(0, 1).is_ok() && disk.failed().is_none());
        assert_eq!(file.read(0, 1).unwrap_err().raw_os_error(), Some(5));
        assert!(file.sync().is_ok());
        assert_eq!(disk.failed(), Some(Call::Read));
        // After the sync whose power was cut above.
        assert_eq!(disk.retried(), 3);
    }
}
