//! Places where a test breaks what it cannot break from outside: a disk between write and fsync, an actor in the middle
//! of its work, the wall clock.
//!
//! Invariant: without the cargo feature `armed`, which is for tests alone, every function here is empty and
//! nothing can be armed.
//!
//! A server with the feature follows the file that `FAIL_POINTS_FILE` names, one point a line, in the language of the
//! [`fail`](https://docs.rs/fail) crate, so that a test arms and disarms points while it runs:
//!
//! ```text
//! journal.sync=3*return(5)       the next three fsyncs fail with errno 5
//! writer.committed=return(abort) the process dies right there
//! actor.sweeper=1*panic          the sweeper panics once
//! clock.wall=-3600000            the wall clock is an hour behind
//! ```

use std::io;

/// A write or sync of the disk: `return(N)` makes it fail with errno N.
///
/// # Errors
/// The one that the point is armed with.
///
/// # Panics
/// When it is armed with anything but an errno.
#[inline]
pub fn disk(point: &'static str) -> io::Result<()> {
    #[cfg(feature = "armed")]
    if let Some(argument) = armed::reached(point) {
        let errno = argument.parse().expect("a disk's fail point takes an errno");
        return Err(io::Error::from_raw_os_error(errno));
    }
    let _ = point;
    Ok(())
}

/// A step of the pipeline: it can panic, sleep or abort the process here.
#[inline]
pub fn step(point: &'static str) {
    #[cfg(feature = "armed")]
    armed::reached(point);
    let _ = point;
}

/// The core of an actor's handler, under the actor's own name.
#[inline]
pub fn actor(name: &'static str) {
    #[cfg(feature = "armed")]
    armed::reached(&format!("actor.{name}"));
    let _ = name;
}

#[cfg(feature = "armed")]
pub use armed::follow_file;

#[cfg(feature = "armed")]
mod armed {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    const FILE: &str = "FAIL_POINTS_FILE";
    const LOOK_EVERY: Duration = Duration::from_millis(5);
    /// The one line that is no action: how far the wall clock is off, in milliseconds.
    const WALL_CLOCK: &str = "clock.wall";

    /// What an armed point returns; panics and sleeps have happened by then.
    pub(super) fn reached(point: &str) -> Option<String> {
        let argument = evaluate(point)?;
        if argument == "abort" {
            // Nothing is unwound, flushed or told: as SIGKILL, at this very place.
            std::process::abort();
        }
        Some(argument)
    }

    fn evaluate(point: &str) -> Option<String> {
        fail::fail_point!(point, |argument| Some(argument.unwrap_or_default()));
        None
    }

    /// Arms what the file says, now and whenever it changes. The wall clock is stepped by milliseconds through the closure.
    ///
    /// # Panics
    /// When the file says something that is no action: a test that breaks nothing must not pass.
    pub fn follow_file(step_wall_clock: impl Fn(i64) + Send + 'static) {
        let Some(file) = std::env::var_os(FILE) else { return };
        let mut armed = Armed { points: BTreeMap::new(), wall_clock_ms: 0, step_wall_clock };
        armed.follow(file.as_ref());
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(LOOK_EVERY);
                armed.follow(file.as_ref());
            }
        });
    }

    struct Armed<F> {
        points: BTreeMap<String, String>,
        wall_clock_ms: i64,
        step_wall_clock: F,
    }

    impl<F: Fn(i64)> Armed<F> {
        fn follow(&mut self, file: &Path) {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let mut wanted: BTreeMap<String, String> = text
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(point, actions)| (point.to_owned(), actions.to_owned()))
                .collect();
            let wall_clock_ms =
                wanted.remove(WALL_CLOCK).map_or(0, |step| step.parse().expect("clock.wall takes milliseconds"));
            (self.step_wall_clock)(wall_clock_ms - self.wall_clock_ms);
            self.wall_clock_ms = wall_clock_ms;
            for point in self.points.keys().filter(|point| !wanted.contains_key(*point)) {
                fail::remove(point);
            }
            for (point, actions) in wanted.iter().filter(|(point, actions)| self.points.get(*point) != Some(actions)) {
                fail::cfg(point.as_str(), actions).expect("an action of the fail crate");
            }
            self.points = wanted;
        }
    }
}
