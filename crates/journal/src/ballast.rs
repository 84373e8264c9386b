//! The ballast file: room for the control files on a disk that is full.
//!
//! A segment may be deleted only after the trim point is written, and an applier may begin only after its name is. On a disk
//! that the journal itself has filled, neither could be written, and nothing would ever be deleted. So a few blocks are
//! held from the start, dropped when a control file finds no room, and taken back when there is some.

use super::disk::{self as fs, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use super::layout::BALLAST;

/// More than all control files together take: the names of a thousand appliers are the longest of them.
const BYTES: usize = 64 << 10;

/// Makes the ballast file, where it is not there and there is room.
pub(super) fn hold(directory: &Path) {
    let path = directory.join(BALLAST);
    if fs::exists(&path).is_ok_and(|exists| exists) {
        return;
    }
    // Written, not only sized: a hole takes no room. Without it all goes well until the disk is full.
    let held = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0x5a; BYTES])?;
        file.sync_all()
    });
    if held.is_err() {
        let _ = fs::remove_file(&path);
    }
}

/// Writes a control file; drops the ballast for it when the disk is full.
pub(super) fn write_with<T>(directory: &Path, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match write() {
        Err(full) if full.kind() == ErrorKind::StorageFull && fs::remove_file(directory.join(BALLAST)).is_ok() => {
            tracing::warn!(journal = %directory.display(), "disk is full, ballast dropped for the control files");
            write()
        }
        written => written,
    }
}
