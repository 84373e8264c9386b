//! The file system, as a journal uses it: `std::fs` and nothing else.
//!
//! With the cargo feature `virtual-disk`, a thread that was given a [`VirtualDisk`] has its files there: a simulation loses
//! what was not synced and tears what was written, without a disk and without waiting. Without the feature, which is for tests
//! alone, all names here are those of `std`. Invariant: no other file of this crate names `std::fs` or asks what time it is.

#[cfg(not(feature = "virtual-disk"))]
pub(super) use real::*;
#[cfg(feature = "virtual-disk")]
pub use simulated::*;

#[cfg(not(feature = "virtual-disk"))]
mod real {
    use std::io;
    use std::path::Path;
    use std::thread::{Builder, JoinHandle};
    use std::time::{Duration, Instant};

    pub use std::fs::{
        File, OpenOptions, create_dir_all, exists, metadata, read, read_dir, read_to_string, remove_file, rename,
    };

    /// Work that goes on beside.
    pub type Worker<T> = JoinHandle<T>;

    pub fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Worker<T>> {
        Builder::new().name(name.to_owned()).spawn(work)
    }

    /// Whether a path leads to this open file or directory.
    pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
        Ok(super::is_same(&file.metadata()?, &metadata(path)?))
    }

    /// Leaves the disk to others for a while.
    pub fn pause(time: Duration) {
        std::thread::sleep(time);
    }

    pub fn now() -> Instant {
        Instant::now()
    }

    /// Milliseconds since 1970.
    pub fn unix_millis() -> u64 {
        super::wall_clock_ms()
    }
}

fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn wall_clock_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(feature = "virtual-disk")]
mod simulated {
    use std::cell::RefCell;
    use std::fs;
    use std::io::{self, Read, Seek, SeekFrom, Write};
    use std::os::unix::fs::FileExt;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, OnceLock};
    use std::thread::{Builder, JoinHandle};
    use std::time::{Duration, Instant};

    /// How a file is opened.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Open {
        pub makes: bool,
        pub must_be_new: bool,
        pub empties: bool,
    }

    /// Files in a test's hands. A directory is opened as a file is, to be synced.
    pub trait VirtualDisk: Send + Sync + 'static {
        fn open(&self, path: &Path, how: Open) -> io::Result<u64>;
        fn read_at(&self, file: u64, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
        fn write_at(&self, file: u64, bytes: &[u8], offset: u64) -> io::Result<()>;
        fn length(&self, file: u64) -> io::Result<u64>;
        fn set_length(&self, file: u64, length: u64) -> io::Result<()>;
        fn sync(&self, file: u64) -> io::Result<()>;
        fn remove(&self, path: &Path) -> io::Result<()>;
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
        /// The files of the directory, with their lengths.
        fn list(&self, directory: &Path) -> io::Result<Vec<(PathBuf, u64)>>;
        fn length_of(&self, path: &Path) -> io::Result<u64>;
        /// What the disk's clocks have gone on by since it was made.
        fn elapsed(&self) -> Duration;
    }

    thread_local! {
        static HERE: RefCell<Option<Arc<dyn VirtualDisk>>> = const { RefCell::new(None) };
    }

    /// Does something whose files are on this disk.
    pub fn with_disk<T>(disk: &Arc<dyn VirtualDisk>, work: impl FnOnce() -> T) -> T {
        /// Gives back what was there before, also after a panic.
        struct Before(Option<Arc<dyn VirtualDisk>>);
        impl Drop for Before {
            fn drop(&mut self) {
                HERE.set(self.0.take());
            }
        }
        let _before = Before(HERE.replace(Some(Arc::clone(disk))));
        work()
    }

    fn here() -> Option<Arc<dyn VirtualDisk>> {
        HERE.with_borrow(Clone::clone)
    }

    /// A file of either kind.
    pub enum File {
        Real(fs::File),
        Virtual { disk: Arc<dyn VirtualDisk>, file: u64, at: u64 },
    }

    #[derive(Default)]
    #[allow(clippy::struct_excessive_bools)] // as `std` has them
    pub struct OpenOptions {
        write: bool,
        append: bool,
        create: bool,
        create_new: bool,
        truncate: bool,
    }

    impl OpenOptions {
        pub fn new() -> Self {
            Self::default()
        }

        pub fn write(self, write: bool) -> Self {
            Self { write, ..self }
        }

        pub fn append(self, append: bool) -> Self {
            Self { append, ..self }
        }

        pub fn create(self, create: bool) -> Self {
            Self { create, ..self }
        }

        pub fn create_new(self, create_new: bool) -> Self {
            Self { create_new, ..self }
        }

        pub fn truncate(self, truncate: bool) -> Self {
            Self { truncate, ..self }
        }

        pub fn open(self, path: impl AsRef<Path>) -> io::Result<File> {
            let Some(disk) = here() else {
                let mut options = fs::OpenOptions::new();
                options.read(!self.write && !self.append).write(self.write).append(self.append);
                options.create(self.create).create_new(self.create_new).truncate(self.truncate);
                return options.open(path).map(File::Real);
            };
            let makes = self.create || self.create_new;
            let how = Open { makes, must_be_new: self.create_new, empties: self.truncate };
            let file = disk.open(path.as_ref(), how)?;
            let at = if self.append { disk.length(file)? } else { 0 };
            Ok(File::Virtual { disk, file, at })
        }
    }

    impl File {
        pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
            OpenOptions::new().open(path)
        }

        pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
            OpenOptions::new().write(true).create(true).truncate(true).open(path)
        }

        pub fn set_len(&self, length: u64) -> io::Result<()> {
            match self {
                Self::Real(file) => file.set_len(length),
                Self::Virtual { disk, file, .. } => disk.set_length(*file, length),
            }
        }

        pub fn sync_all(&self) -> io::Result<()> {
            match self {
                Self::Real(file) => file.sync_all(),
                Self::Virtual { disk, file, .. } => disk.sync(*file),
            }
        }

        pub fn sync_data(&self) -> io::Result<()> {
            match self {
                Self::Real(file) => file.sync_data(),
                Self::Virtual { disk, file, .. } => disk.sync(*file),
            }
        }

        /// Whoever has a virtual disk has it for himself.
        pub fn try_lock(&self) -> Result<(), fs::TryLockError> {
            match self {
                Self::Real(file) => file.try_lock(),
                Self::Virtual { .. } => Ok(()),
            }
        }

        pub fn lock(&self) -> io::Result<()> {
            match self {
                Self::Real(file) => file.lock(),
                Self::Virtual { .. } => Ok(()),
            }
        }
    }

    impl Read for File {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self {
                Self::Real(file) => file.read(buffer),
                Self::Virtual { disk, file, at } => {
                    let read = disk.read_at(*file, buffer, *at)?;
                    *at += read as u64;
                    Ok(read)
                }
            }
        }
    }

    impl Write for File {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self {
                Self::Real(file) => file.write(bytes),
                Self::Virtual { disk, file, at } => {
                    disk.write_at(*file, bytes, *at)?;
                    *at += bytes.len() as u64;
                    Ok(bytes.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for File {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            match (self, to) {
                (Self::Real(file), to) => file.seek(to),
                (Self::Virtual { at, .. }, SeekFrom::Start(to)) => {
                    *at = to;
                    Ok(to)
                }
                (Self::Virtual { .. }, _) => Err(io::ErrorKind::Unsupported.into()),
            }
        }
    }

    impl FileExt for File {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            match self {
                Self::Real(file) => file.read_at(buffer, offset),
                Self::Virtual { disk, file, .. } => disk.read_at(*file, buffer, offset),
            }
        }

        fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
            match self {
                Self::Real(file) => file.write_at(bytes, offset),
                Self::Virtual { disk, file, .. } => disk.write_at(*file, bytes, offset).map(|()| bytes.len()),
            }
        }
    }

    /// Whether a path leads to this open file or directory. Nobody but its owner deletes anything on a virtual disk.
    pub fn is_at(file: &File, path: &Path) -> io::Result<bool> {
        match file {
            File::Real(file) => Ok(super::is_same(&file.metadata()?, &fs::metadata(path)?)),
            File::Virtual { .. } => Ok(true),
        }
    }

    /// What is known of a file without opening it.
    pub struct Metadata(u64);

    impl Metadata {
        pub fn len(&self) -> u64 {
            self.0
        }
    }

    /// A file of a directory.
    pub enum DirEntry {
        Real(fs::DirEntry),
        Virtual(PathBuf, u64),
    }

    impl DirEntry {
        pub fn path(&self) -> PathBuf {
            match self {
                Self::Real(entry) => entry.path(),
                Self::Virtual(path, _) => path.clone(),
            }
        }

        pub fn metadata(&self) -> io::Result<Metadata> {
            match self {
                Self::Real(entry) => entry.metadata().map(|metadata| Metadata(metadata.len())),
                Self::Virtual(_, length) => Ok(Metadata(*length)),
            }
        }
    }

    pub fn read_dir(path: impl AsRef<Path>) -> io::Result<Box<dyn Iterator<Item = io::Result<DirEntry>>>> {
        Ok(match here() {
            None => Box::new(fs::read_dir(path)?.map(|entry| entry.map(DirEntry::Real))),
            Some(disk) => {
                let files = disk.list(path.as_ref())?.into_iter();
                Box::new(files.map(|(path, length)| Ok(DirEntry::Virtual(path, length))))
            }
        })
    }

    pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
        if here().is_some() { Ok(()) } else { fs::create_dir_all(path) }
    }

    pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
        match here() {
            None => fs::metadata(path).map(|metadata| Metadata(metadata.len())),
            Some(disk) => disk.length_of(path.as_ref()).map(Metadata),
        }
    }

    pub fn exists(path: impl AsRef<Path>) -> io::Result<bool> {
        match here() {
            None => fs::exists(path),
            Some(disk) => Ok(disk.length_of(path.as_ref()).is_ok()),
        }
    }

    pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let Some(disk) = here() else { return fs::read(path) };
        let file = disk.open(path.as_ref(), Open::default())?;
        let mut bytes = vec![0; usize::try_from(disk.length(file)?).unwrap_or_default()];
        let read = disk.read_at(file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
        String::from_utf8(read(path)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
        match here() {
            None => fs::remove_file(path),
            Some(disk) => disk.remove(path.as_ref()),
        }
    }

    pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        match here() {
            None => fs::rename(from, to),
            Some(disk) => disk.rename(from.as_ref(), to.as_ref()),
        }
    }

    /// Work that goes on beside, or is done already: a virtual disk belongs to one thread.
    pub enum Worker<T> {
        Beside(JoinHandle<T>),
        Done(T),
    }

    impl<T> Worker<T> {
        pub fn is_finished(&self) -> bool {
            match self {
                Self::Beside(thread) => thread.is_finished(),
                Self::Done(_) => true,
            }
        }

        pub fn join(self) -> std::thread::Result<T> {
            match self {
                Self::Beside(thread) => thread.join(),
                Self::Done(done) => Ok(done),
            }
        }
    }

    pub fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Worker<T>> {
        if here().is_some() {
            return Ok(Worker::Done(work()));
        }
        Builder::new().name(name.to_owned()).spawn(work).map(Worker::Beside)
    }

    pub fn pause(time: Duration) {
        if here().is_none() {
            std::thread::sleep(time);
        }
    }

    pub fn now() -> Instant {
        /// From when virtual time is counted.
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        match here() {
            None => Instant::now(),
            Some(disk) => *BEGAN.get_or_init(Instant::now) + disk.elapsed(),
        }
    }

    pub fn unix_millis() -> u64 {
        /// A day in 2026.
        const DAY: u64 = 1_777_543_200_000;
        match here() {
            None => super::wall_clock_ms(),
            Some(disk) => DAY + u64::try_from(disk.elapsed().as_millis()).unwrap_or_default(),
        }
    }
}
