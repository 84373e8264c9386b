//! The virtual disk of one instance: what is written is in a cache until it is synced.
//!
//! A process that dies leaves the cache to the next one. A power cut leaves what was synced, and of what was not, sector by
//! sector, the old bytes, the new ones, or a sector that is torn. Names that were made, moved or removed since their directory
//! was synced are there up to some point in their order. A sync that fails keeps some sectors, and the cache forgets that the
//! others were not written, as Linux does.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_journal::{Open, VirtualDisk};

use crate::random::Random;

const SECTOR: usize = 512;
/// The handle of the one directory.
const DIRECTORY: u64 = u64::MAX;

/// How a process ends that was not asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Its machine goes on.
    Killed,
    PowerCut,
}

/// What an operation fails with, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    Write,
    Full,
    Sync,
}

/// What this disk does wrong that no disk may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lies {
    /// A file's sync says that it is done, and nothing is.
    pub files: bool,
    /// The same of a directory's.
    pub directories: bool,
}

#[derive(Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// From where to where the cache may differ from what is durable.
    dirty: Option<(usize, usize)>,
}

enum Naming {
    Is(PathBuf, u64),
    Moves(PathBuf, PathBuf, u64),
    Goes(PathBuf),
}

type Names = Vec<(PathBuf, u64)>;

struct State {
    inodes: Vec<Inode>,
    names: Names,
    durable_names: Names,
    unsynced: Vec<Naming>,
    random: Random,
    lies: Lies,
    elapsed: Duration,
    /// After so many operations that change something, the process dies.
    dies_in: Option<(usize, Death)>,
    dead: Option<Death>,
    /// After so many of them, one fails.
    fails_in: Option<(usize, DiskFault)>,
}

/// One instance's disk.
pub struct Disk(Mutex<State>);

impl Disk {
    #[must_use]
    pub fn new(seed: u64, lies: Lies) -> Self {
        Self(Mutex::new(State {
            inodes: Vec::new(),
            names: Vec::new(),
            durable_names: Vec::new(),
            unsynced: Vec::new(),
            random: Random::new(seed),
            lies,
            elapsed: Duration::ZERO,
            dies_in: None,
            dead: None,
            fails_in: None,
        }))
    }

    /// A file that was there before everything began.
    pub fn put(&self, path: &Path, content: &[u8]) {
        let mut state = self.state();
        let inode = state.inodes.len() as u64;
        state.inodes.push(Inode { cached: content.to_vec(), durable: content.to_vec(), dirty: None });
        state.names.push((path.to_owned(), inode));
        state.durable_names.push((path.to_owned(), inode));
    }

    pub fn pass(&self, time: Duration) {
        self.state().elapsed += time;
    }

    /// The process that uses it dies after so many more operations that change something.
    pub fn die_in(&self, operations: usize, death: Death) {
        self.state().dies_in = Some((operations, death));
    }

    pub fn fail_in(&self, operations: usize, fault: DiskFault) {
        self.state().fails_in = Some((operations, fault));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.fails_in, state.dies_in) = (None, None);
    }

    /// From now on nothing that a process does has an effect: it is gone.
    pub fn die(&self, death: Death) {
        self.state().dead.get_or_insert(death);
    }

    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state().dead.is_some()
    }

    /// Another process finds what the last one has left.
    pub fn revive(&self) {
        let mut state = self.state();
        state.dies_in = None;
        if state.dead.take() == Some(Death::PowerCut) {
            state.lose_unsynced();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for an operation that changes something.
    fn changing(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.living()?;
        if let Some((_, death)) = state.dies_in.take_if(|(left, _)| *left == 0) {
            state.dead = Some(death);
            return Err(gone());
        }
        if let Some((left, _)) = &mut state.dies_in {
            *left -= 1;
        }
        Ok(state)
    }

    fn living(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.dead.is_some() { Err(gone()) } else { Ok(state) }
    }
}

fn gone() -> io::Error {
    io::Error::other("the process is gone")
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

fn find(names: &Names, path: &Path) -> Option<usize> {
    names.iter().position(|(name, _)| name == path)
}

fn set(names: &mut Names, path: PathBuf, inode: u64) {
    match find(names, &path) {
        Some(at) => names[at].1 = inode,
        None => names.push((path, inode)),
    }
}

fn apply(names: &mut Names, naming: Naming) {
    match naming {
        Naming::Is(path, inode) => set(names, path, inode),
        Naming::Moves(from, to, inode) => {
            names.retain(|(name, _)| *name != from);
            set(names, to, inode);
        }
        Naming::Goes(path) => names.retain(|(name, _)| *name != path),
    }
}

impl State {
    /// Whether the operation is the one that fails.
    fn fails(&mut self, is_sync: bool) -> Option<DiskFault> {
        let (left, fault) = self.fails_in?;
        if (fault == DiskFault::Sync) != is_sync {
            return None;
        }
        self.fails_in = left.checked_sub(1).map(|left| (left, fault));
        self.fails_in.is_none().then_some(fault)
    }

    fn name(&mut self, naming: Naming) {
        match &naming {
            Naming::Is(path, inode) => set(&mut self.names, path.clone(), *inode),
            Naming::Moves(from, to, inode) => {
                self.names.retain(|(name, _)| name != from);
                set(&mut self.names, to.clone(), *inode);
            }
            Naming::Goes(path) => self.names.retain(|(name, _)| name != path),
        }
        self.unsynced.push(naming);
    }

    fn inode(&mut self, file: u64) -> &mut Inode {
        &mut self.inodes[usize::try_from(file).unwrap_or_default()]
    }

    fn lose_unsynced(&mut self) {
        let kept = self.random.below(self.unsynced.len() + 1);
        for naming in std::mem::take(&mut self.unsynced).into_iter().take(kept) {
            apply(&mut self.durable_names, naming);
        }
        self.names.clone_from(&self.durable_names);
        for inode in &mut self.inodes {
            inode.tear(&mut self.random);
            inode.cached.clone_from(&inode.durable);
        }
    }
}

impl Inode {
    fn changed(&mut self, from: usize, to: usize) {
        self.dirty = Some(self.dirty.map_or((from, to), |(first, last)| (first.min(from), last.max(to))));
    }

    fn sync(&mut self) {
        let Some((from, to)) = self.dirty.take() else { return };
        self.durable.resize(self.cached.len(), 0);
        let to = to.min(self.cached.len());
        if from < to {
            self.durable[from..to].copy_from_slice(&self.cached[from..to]);
        }
    }

    /// Of what is dirty, some becomes durable.
    fn tear(&mut self, random: &mut Random) {
        let Some((from, to)) = self.dirty.take() else { return };
        let (old, new) = (self.durable.len(), self.cached.len());
        if old != new {
            let length = match random.below(4) {
                0 => old,
                1 => old.min(new) + random.below(old.abs_diff(new) + 1),
                _ => new,
            };
            self.durable.resize(length, 0);
        }
        let to = to.min(new).min(self.durable.len());
        let mut at = from;
        while at < to {
            let end = ((at / SECTOR + 1) * SECTOR).min(to);
            let written = match random.below(4) {
                0 => 0,
                1 => random.below(end - at + 1),
                _ => end - at,
            };
            self.durable[at..at + written].copy_from_slice(&self.cached[at..at + written]);
            at = end;
        }
    }
}

impl VirtualDisk for Disk {
    fn open(&self, path: &Path, how: Open) -> io::Result<u64> {
        let mut state = self.living()?;
        let found = find(&state.names, path).map(|at| state.names[at].1);
        match found {
            Some(_) if how.must_be_new => Err(io::ErrorKind::AlreadyExists.into()),
            Some(inode) => {
                if how.empties {
                    drop(state);
                    self.set_length(inode, 0)?;
                }
                Ok(inode)
            }
            None if how.makes => {
                drop(state);
                state = self.changing()?;
                match state.fails(false) {
                    Some(DiskFault::Full) => return Err(io::ErrorKind::StorageFull.into()),
                    Some(_) => return Err(io::Error::other("a fault of the disk")),
                    None => {}
                }
                let inode = state.inodes.len() as u64;
                state.inodes.push(Inode::default());
                state.name(Naming::Is(path.to_owned(), inode));
                Ok(inode)
            }
            None if path.parent() == Some(Path::new("")) => Ok(DIRECTORY),
            None => Err(not_found()),
        }
    }

    fn read_at(&self, file: u64, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.living()?;
        let bytes = &state.inode(file).cached;
        let from = usize::try_from(offset).map_or(bytes.len(), |from| from.min(bytes.len()));
        let length = buffer.len().min(bytes.len() - from);
        buffer[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    fn write_at(&self, file: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.living()?;
        let dies = state.dies_in.take_if(|(left, _)| *left == 0);
        if let Some((left, _)) = &mut state.dies_in {
            *left -= 1;
        }
        let fault = if dies.is_some() { None } else { state.fails(false) };
        // What dies or fails in the middle has written a part.
        let is_whole = dies.is_none() && fault.is_none();
        let length = if is_whole { bytes.len() } else { state.random.below(bytes.len() + 1) };
        let inode = state.inode(file);
        if length > 0 {
            if inode.cached.len() < at + length {
                let end = inode.cached.len();
                inode.cached.resize(at + length, 0);
                inode.changed(end.min(at), at + length);
            }
            inode.cached[at..at + length].copy_from_slice(&bytes[..length]);
            inode.changed(at, at + length);
        }
        if let Some((_, death)) = dies {
            state.dead = Some(death);
            return Err(gone());
        }
        match fault {
            None => Ok(()),
            Some(DiskFault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(_) => Err(io::Error::other("a fault of the disk")),
        }
    }

    fn length(&self, file: u64) -> io::Result<u64> {
        Ok(self.living()?.inode(file).cached.len() as u64)
    }

    fn set_length(&self, file: u64, length: u64) -> io::Result<()> {
        let mut state = self.changing()?;
        let inode = state.inode(file);
        let (old, new) = (inode.cached.len(), usize::try_from(length).map_err(io::Error::other)?);
        if old != new {
            inode.cached.resize(new, 0);
            inode.changed(old.min(new), old.max(new));
        }
        Ok(())
    }

    fn sync(&self, file: u64) -> io::Result<()> {
        let mut state = self.changing()?;
        let fault = state.fails(true);
        if file == DIRECTORY {
            if fault.is_some() {
                return Err(io::Error::other("a fault of the disk"));
            }
            if !state.lies.directories {
                for naming in std::mem::take(&mut state.unsynced) {
                    apply(&mut state.durable_names, naming);
                }
            }
            return Ok(());
        }
        let State { inodes, random, lies, .. } = &mut *state;
        let inode = &mut inodes[usize::try_from(file).unwrap_or_default()];
        if fault.is_some() {
            inode.tear(random);
            return Err(io::Error::other("a fault of the disk"));
        }
        if !lies.files {
            inode.sync();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.living()?;
        if find(&state.names, path).is_none() {
            return Err(not_found());
        }
        drop(state);
        state = self.changing()?;
        state.name(Naming::Goes(path.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        let at = find(&state.names, from).ok_or_else(not_found)?;
        let inode = state.names[at].1;
        state.name(Naming::Moves(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn list(&self, _directory: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let state = self.living()?;
        let length = |inode: u64| state.inodes[usize::try_from(inode).unwrap_or_default()].cached.len() as u64;
        Ok(state.names.iter().map(|(path, inode)| (path.clone(), length(*inode))).collect())
    }

    fn length_of(&self, path: &Path) -> io::Result<u64> {
        let mut state = self.living()?;
        let at = find(&state.names, path).ok_or_else(not_found)?;
        let inode = state.names[at].1;
        Ok(state.inode(inode).cached.len() as u64)
    }

    fn elapsed(&self) -> Duration {
        self.state().elapsed
    }
}
