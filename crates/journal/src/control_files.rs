//! Control files: numbers and names beside the segments that must survive a crash.
//!
//! Invariant: a control file is there as a whole, the old one or the new one, and is durable when its call returns.

use super::disk::{self as fs, File};
use std::io::{self, Write};
use std::path::Path;

use super::layout::{ACCEPTED, APPLIED, APPLIERS, CLEAN, DATABASES, TRIM_POINT};
use super::{Position, ballast};
use weir_log::AcceptedDatabase;

/// Writes down that an applier of this name uses the directory. The newest thousand are kept.
pub(super) fn remember_applier(directory: &Path, applier: &str) -> io::Result<()> {
    const KEPT: usize = 1000;
    let known = fs::read_to_string(directory.join(APPLIERS)).unwrap_or_default();
    if known.lines().any(|name| name == applier) {
        // An earlier call may have renamed the file and failed to sync that.
        return sync_directory(directory);
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

/// The ids of the databases that the journal was applied to, the one in use last.
pub(super) fn databases(directory: &Path) -> io::Result<Vec<String>> {
    match fs::read_to_string(directory.join(DATABASES)) {
        Ok(ids) => Ok(ids.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Writes down that this database is in use. What an operator has accepted is done then. The newest hundred are kept.
pub(super) fn remember_database(directory: &Path, id: &str) -> io::Result<()> {
    const KEPT: usize = 100;
    let mut ids = databases(directory)?;
    if ids.last().is_none_or(|last| last != id) {
        ids.retain(|known| known != id);
        ids.push(id.to_owned());
        let from = ids.len().saturating_sub(KEPT);
        write_durably(directory, DATABASES, ids[from..].join("\n").as_bytes())?;
    } else {
        // As above.
        sync_directory(directory)?;
    }
    match fs::remove_file(directory.join(ACCEPTED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The database that an operator has accepted.
pub(super) fn accepted_database(directory: &Path) -> io::Result<Option<AcceptedDatabase>> {
    let text = match fs::read_to_string(directory.join(ACCEPTED)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let parsed = text
        .split_once(' ')
        .and_then(|(id, from)| Some(AcceptedDatabase { id: id.to_owned(), from: Position(from.trim().parse().ok()?) }));
    Ok(parsed.filter(|accepted| accepted.from <= Position::MAX))
}

/// Accepts another database; the applier takes it up.
pub(super) fn accept_database(directory: &Path, accepted: &AcceptedDatabase) -> io::Result<()> {
    write_durably(directory, ACCEPTED, format!("{} {}", accepted.id, accepted.from.0).as_bytes())
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
