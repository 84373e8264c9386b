//! Room for the journal's own notes on a disk that is full.
//!
//! A segment may be deleted only after a note of how far, and a writer may begin only after a note of its name. On a disk
//! that the journal itself has filled, neither could be written, and nothing would ever be deleted. So a few blocks are
//! held from the start, given up when a note finds no room, and taken back when there is some.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

const FILE: &str = "reserve";
/// More than all notes together take: the names of a thousand writers are the longest of them.
const BYTES: usize = 64 << 10;

/// Takes the reserve, where it is not there and there is room.
pub(super) fn hold(directory: &Path) {
    let path = directory.join(FILE);
    if path.exists() {
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

/// Writes a note; gives the reserve up for it when the disk is full.
pub(super) fn write_with<T>(directory: &Path, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match write() {
        Err(full) if full.kind() == ErrorKind::StorageFull && fs::remove_file(directory.join(FILE)).is_ok() => {
            tracing::warn!(journal = %directory.display(), "disk is full, the reserve is given up for the journal's notes");
            write()
        }
        written => written,
    }
}
