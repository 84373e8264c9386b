//! Progress of a long command: a bar on a terminal, a line every few seconds elsewhere. Both go to the standard error, so
//! that what the command prints stays what it is.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use weir_apply::Throughput;
use weir_domain::approximate;

use super::outcome::{Done, say};
use super::words;

/// How often there is a line, where there is no bar.
pub const LINE_EVERY: Duration = Duration::from_secs(5);
/// How often a bar moves that counts nothing.
const TICK: Duration = Duration::from_millis(120);

/// How far a command is.
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    total: u64,
    left: Throughput,
    told: Instant,
}

impl Progress {
    /// Of so many things to do.
    pub fn of(what: &'static str, total: u64) -> Self {
        let template = "{bar:30} {human_pos} of {human_len} {msg}, {rate} a second, about {left} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style
            .with_key("rate", |state: &ProgressState, text: &mut dyn fmt::Write| {
                let _ = write!(text, "{}", words::rate(state.per_sec()));
            })
            .with_key("left", |state: &ProgressState, text: &mut dyn fmt::Write| {
                let _ = write!(text, "{}", words::duration(state.eta()));
            });
        let bar = ProgressBar::new(total).with_style(style).with_message(what);
        bar.set_draw_target(if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let (mut left, now) = (Throughput::default(), Instant::now());
        left.note(now, total);
        Self { bar, what, total, left, told: now }
    }

    /// Prints a line of the command's own, beside the bar.
    pub fn say(&self, line: &str) -> Done {
        self.bar.suspend(|| say(line))
    }

    /// So many are done.
    pub fn reached(&mut self, done: u64) {
        self.bar.set_position(done);
        let now = Instant::now();
        if !self.bar.is_hidden() || now.duration_since(self.told) < LINE_EVERY {
            return;
        }
        self.told = now;
        self.left.note(now, self.total.saturating_sub(done));
        let per_second = words::rate(-self.left.per_second().unwrap_or_default());
        let left = self.left.time_left().map_or(words::UNKNOWN.to_owned(), words::duration);
        let (done, total) = (words::count(approximate(done)), words::count(approximate(self.total)));
        tell(&format!("{done} of {total} {}, {per_second} a second, about {left} left", self.what));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Something that takes long, and cannot tell how far it is.
pub struct Waiting {
    bar: ProgressBar,
}

impl Waiting {
    pub fn new() -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let bar = ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(TICK);
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bar }
    }

    /// Begins to wait for something else.
    pub fn on(&self, what: &str) {
        self.bar.reset_elapsed();
        self.bar.set_message(what.to_owned());
    }

    /// Says what is waited for, where there is no bar that does.
    pub fn tell(&self) {
        let what = self.bar.message();
        if self.bar.is_hidden() && !what.is_empty() {
            tell(&format!("still at it after {}: {what}", words::duration(self.bar.elapsed())));
        }
    }

    /// Prints a line of the command's own, beside the bar.
    pub fn say(&self, line: &str) -> Done {
        self.bar.suspend(|| say(line))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A line for whoever waits. Nobody may be reading; the command goes on all the same.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "weir: {line}");
}
