//! Applied segments: how long they are kept, and which of them go first.
//!
//! A database can go back: a standby that lagged is promoted, or a copy is restored. What it lost is read again from segments
//! that were applied before. They are kept for a time and up to a size. The time begins when a process first sees that a segment
//! is applied, by its monotonic clock: a restart keeps longer, and no wall clock can make it shorter.
//!
//! Invariants: only applied segments are deleted, the oldest first, never the newest; the trim point is on disk before the
//! first segment up to it is deleted; one thread deletes at a time.

use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::index::{Segment, applied_segments};
use super::shared::Shared;
use super::{JournalOptions, Position, control_files, disk};

/// How often it is written down how far the database is.
const NOTE_EVERY: Duration = Duration::from_secs(10);

/// Deletes the applied segments that are over their time or their size. True when there are any, deleted or kept.
pub(super) fn delete_due(shared: &Shared) -> io::Result<bool> {
    let mut noted_at = shared.deleting.lock().unwrap_or_else(PoisonError::into_inner);
    let (applied, now) = (shared.applied(), disk::now());
    let (done, due) = shared.index.with(|segments| {
        let done = applied_segments(segments, applied);
        for (number, segment) in segments.iter_mut().enumerate() {
            segment.applied_since = (number < done).then(|| segment.applied_since.unwrap_or(now));
        }
        (done, due(&segments[..done], &shared.options, now))
    });
    delete_oldest(shared, due)?;
    count(shared);
    // Last: on a full disk this finds room only when something was deleted.
    if noted_at.is_none_or(|at| now.duration_since(at) >= NOTE_EVERY) {
        if let Err(error) = note_applied(shared, applied) {
            tracing::debug!(journal = shared.name, %error, "the applied position could not be written down yet");
        }
        *noted_at = Some(now);
    }
    Ok(done > 0)
}

/// Deletes the oldest segment that is kept, because its room is needed. False when none is kept.
pub(super) fn give_up_oldest(shared: &Shared) -> bool {
    let _deleting = shared.deleting.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.index.applied_segments(shared.applied()) == 0 {
        return false;
    }
    let given_up = delete_oldest(shared, 1);
    count(shared);
    if let Err(error) = &given_up {
        tracing::warn!(journal = shared.name, %error, "applied journal segment could not be deleted");
    }
    given_up.is_ok()
}

/// How many of these applied segments are to go.
fn due(applied: &[Segment], options: &JournalOptions, now: Instant) -> usize {
    let mut kept_bytes: u64 = applied.iter().map(|segment| segment.bytes).sum();
    let is_due = |segment: &&Segment| {
        let is_over = kept_bytes > options.keep_applied_bytes;
        kept_bytes -= segment.bytes;
        is_over || segment.applied_since.is_none_or(|since| now.duration_since(since) >= options.keep_applied)
    };
    applied.iter().take_while(is_due).count()
}

/// Remembers how far the database is: a start reads only what lies behind it, and sees by it that a database has gone back.
fn note_applied(shared: &Shared, applied: Position) -> io::Result<()> {
    if applied.0 > shared.applied_noted.load(Ordering::Acquire) {
        control_files::write_applied(&shared.path, applied)?;
        shared.applied_noted.store(applied.0, Ordering::Release);
    }
    Ok(())
}

fn delete_oldest(shared: &Shared, count: usize) -> io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    let (paths, through): (Vec<PathBuf>, Position) = shared.index.with(|segments| {
        let paths = segments.iter().take(count).map(|segment| segment.path.clone()).collect();
        (paths, segments.get(count).map_or(Position::START, |next| next.previous))
    });
    control_files::write_trim_point(&shared.path, through)?;
    shared.trim_point.store(through.0, Ordering::Release);
    for path in paths {
        match disk::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => shared.index.with(|segments| segments.retain(|segment| segment.path != path)),
        }
    }
    Ok(())
}

fn count(shared: &Shared) {
    let applied = shared.applied();
    let kept = |segments: &mut Vec<Segment>| {
        let done = applied_segments(segments, applied);
        segments[..done].iter().map(|segment| segment.bytes).sum()
    };
    shared.index.kept_bytes.store(shared.index.with(kept), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(now: Instant, ages: &[u64]) -> Vec<Segment> {
        let of_age = |seconds: &u64| Segment {
            path: PathBuf::new(),
            first: Position(1),
            previous: Position::START,
            first_at_ms: None,
            bytes: 100,
            applied_since: now.checked_sub(Duration::from_secs(*seconds)),
        };
        ages.iter().map(of_age).collect()
    }

    #[test]
    fn kept_segments_go_by_time_and_by_size_oldest_first() {
        let now = Instant::now() + Duration::from_hours(1);
        let keep = |seconds, bytes| JournalOptions {
            keep_applied: Duration::from_secs(seconds),
            keep_applied_bytes: bytes,
            ..JournalOptions::default()
        };
        let all = segments(now, &[90, 60, 30, 0]);
        assert_eq!(due(&all, &keep(60, 1000), now), 2, "by time");
        assert_eq!(due(&all, &keep(3600, 1000), now), 0);
        assert_eq!(due(&all, &keep(3600, 300), now), 1, "by size");
        assert_eq!(due(&all, &keep(3600, 99), now), 4);
        assert_eq!(due(&all, &keep(0, 1000), now), 4, "none is kept");
        assert_eq!(due(&[], &keep(0, 0), now), 0);
    }
}
