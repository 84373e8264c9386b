//! Small files beside the segments: numbers and names that must survive a crash.
//!
//! Invariant: a note is there as a whole, the old one or the new one, and is durable when its call returns.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::directory::SEGMENT_EXTENSION;
use super::spare::SpareFile;
use super::{Position, reserve};

const WRITERS: &str = "writers";

/// What all files take but the segments and the one that is to be the next of them.
pub(super) fn other_bytes(directory: &Path) -> u64 {
    let paths = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let others = paths.filter(|path| path.extension().is_none_or(|extension| extension != SEGMENT_EXTENSION));
    let others = others.filter(|path| !SpareFile::is_at(path));
    others.filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Notes that a writer of this name uses the directory. The newest thousand are kept.
pub(super) fn remember_writer(directory: &Path, writer: &str) -> io::Result<()> {
    const KEPT: usize = 1000;
    let known = fs::read_to_string(directory.join(WRITERS)).unwrap_or_default();
    if known.lines().any(|name| name == writer) {
        return Ok(());
    }
    let mut names: Vec<&str> = known.lines().rev().take(KEPT - 1).collect();
    names.reverse();
    names.push(writer);
    write_durably(directory, WRITERS, names.join("\n").as_bytes())
}

/// Whether a writer of this name ever used the directory.
pub(super) fn knows_writer(directory: &Path, writer: &str) -> bool {
    fs::read_to_string(directory.join(WRITERS)).is_ok_and(|known| known.lines().any(|name| name == writer))
}

/// Makes entries of a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The position in a note, where there is one that makes sense.
pub(super) fn read_position(path: &Path) -> Option<Position> {
    fs::read_to_string(path).ok()?.trim().parse().ok().map(Position).filter(|noted| *noted <= Position::MAX)
}

/// Writes a note; see this file's invariant.
pub(super) fn write_durably(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!("{name}.new"));
    reserve::write_with(directory, || {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()
    })?;
    fs::rename(&temporary, directory.join(name))?;
    sync_directory(directory)
}
