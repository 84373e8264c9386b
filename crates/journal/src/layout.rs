//! The names of a journal's files. What stands on a disk keeps its name, whatever the code calls it.
//!
//! | file | what it is |
//! |---|---|
//! | `lock` | held while a process owns the directory |
//! | `identity.json` | the journal's id |
//! | `NNN.journal` | a segment, named after its first position |
//! | `spare` | the preallocated segment |
//! | `reserve` | the ballast: room for the control files on a full disk |
//! | `released` | the trim point: how far segments were deleted |
//! | `clean` | written by an orderly stop, removed by the next start |
//! | `applied` | how far the database was, at least |
//! | `databases` | the ids of the databases that the journal was applied to |
//! | `accepted` | another database that an operator wants to be used, and from where |
//! | `jumped` | the first position after the last gap |
//! | `writers` | the names of the appliers that moved offsets from here |
//! | `dead-letters`, `dead-letters.lock` | the dead-letter queue |
//! | `torn-tail` | what the last unclean start cut |

use std::path::{Path, PathBuf};

use super::Position;
use super::disk as fs;

pub(super) const LOCK: &str = "lock";
pub(super) const IDENTITY: &str = "identity.json";
pub(super) const PREALLOCATED: &str = "spare";
pub(super) const BALLAST: &str = "reserve";
pub(super) const TRIM_POINT: &str = "released";
pub(super) const CLEAN: &str = "clean";
pub(super) const APPLIED: &str = "applied";
pub(super) const DATABASES: &str = "databases";
pub(super) const ACCEPTED: &str = "accepted";
pub(super) const GAP: &str = "jumped";
pub(super) const APPLIERS: &str = "writers";
pub(super) const DEAD_LETTERS: &str = "dead-letters";
pub(super) const DEAD_LETTERS_LOCK: &str = "dead-letters.lock";
pub(super) const TORN_TAIL: &str = "torn-tail";

const SEGMENT_EXTENSION: &str = "journal";

/// Where the segment with this first position lies.
pub(super) fn segment_path(directory: &Path, first: Position) -> PathBuf {
    directory.join(format!("{:020}.{SEGMENT_EXTENSION}", first.0))
}

/// Whether a path is that of a segment.
pub(super) fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == SEGMENT_EXTENSION)
}

/// What all files take but the segments and the preallocated one, in bytes.
pub(super) fn other_bytes(directory: &Path) -> u64 {
    let paths = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let others = paths.filter(|path| !is_segment(path) && path.file_name().is_none_or(|name| name != PREALLOCATED));
    others.filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
}

/// What the preallocated segment in a directory takes, whoever made it, in bytes.
pub(super) fn preallocated_bytes(directory: &Path) -> u64 {
    fs::metadata(directory.join(PREALLOCATED)).map_or(0, |metadata| metadata.len())
}
