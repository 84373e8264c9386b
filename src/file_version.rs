//! Whether a file that is read again and again has changed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells one content of a file from the next. The time of the last change cannot be set back, and a file that is
/// renamed into the place of another has a number of its own.
///
/// Take it before the file is read, or an exchange in between is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    modified: (i64, i64),
    changed: (i64, i64),
    bytes: u64,
    inode: u64,
}

impl FileVersion {
    /// `None` when there is no such file.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            bytes: metadata.len(),
            inode: metadata.ino(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn file_version_of_other_file_with_same_size_and_time_differs() {
        let directory = tempfile::tempdir().unwrap();
        let [path, other] = ["one", "other"].map(|name| directory.path().join(name));
        assert_eq!(FileVersion::of(&path), None);
        for path in [&path, &other] {
            std::fs::write(path, "same").unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        let before = FileVersion::of(&path);
        assert!(before.is_some() && before == FileVersion::of(&path));
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(FileVersion::of(&path), before);
    }
}
