//! Control files: numbers and names beside the segments that must survive a crash.
//!
//! Invariant: a control file is there as a whole, the old one or the new one, and is durable when its call returns.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::layout::{APPLIED, APPLIERS, CLEAN, TRIM_POINT};
use super::{Position, ballast};

/// Writes down that an applier of this name uses the directory. The newest thousand are kept.
pub(super) fn remember_applier(directory: &Path, applier: &str) -> io::Result<()> {
    const KEPT: usize = 1000;
    let known = fs::read_to_string(directory.join(APPLIERS)).unwrap_or_default();
    if known.lines().any(|name| name == applier) {
        return Ok(());
    }
    let mut names: Vec<&str> = known.lines().rev().take(KEPT - 1).collect();
    names.reverse();
    names.push(applier);
    write_durably(directory, APPLIERS, names.join("\n").as_bytes())
}

/// Whether an applier of this name ever used the directory.
pub(super) fn knows_applier(directory: &Path, applier: &str) -> bool {
    fs::read_to_string(directory.join(APPLIERS)).is_ok_and(|known| known.lines().any(|name| name == applier))
}

/// Makes entries of a directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The position in a control file, where there is one that makes sense.
pub(super) fn read_position(path: &Path) -> Option<Position> {
    fs::read_to_string(path).ok()?.trim().parse().ok().map(Position).filter(|noted| *noted <= Position::MAX)
}

/// Writes a control file; see this file's invariant.
pub(super) fn write_durably(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!("{name}.new"));
    ballast::write_with(directory, || {
        let mut file = File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()
    })?;
    fs::rename(&temporary, directory.join(name))?;
    sync_directory(directory)
}

/// Remembers how far segments are trimmed, before they are.
pub(super) fn write_trim_point(directory: &Path, position: Position) -> io::Result<()> {
    write_durably(directory, TRIM_POINT, position.0.to_string().as_bytes())
}

/// Remembers how far the database is.
pub(super) fn write_applied(directory: &Path, position: Position) -> io::Result<()> {
    write_durably(directory, APPLIED, position.0.to_string().as_bytes())
}

/// Remembers that the stop was orderly.
pub(super) fn write_clean(directory: &Path, last: Position) -> io::Result<()> {
    write_durably(directory, CLEAN, last.0.to_string().as_bytes())
}
