//! Bots, found and counted by the word that gave them away, so that an operator sees who is dropped.
//!
//! The rule itself is [`weir_domain::BotFilter`]'s.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use weir_domain::{BotFilter, BotWord};

use crate::telemetry::Telemetry;

/// How often the log says who was dropped.
const REPORTED_EVERY: Duration = Duration::from_hours(24);

/// The filter in force, and what it found.
pub struct Bots {
    filter: BotFilter,
    counters: Vec<(&'static str, IntCounter)>,
    report: Mutex<Report>,
}

/// What the log said last.
struct Report {
    at: Instant,
    counts: Vec<u64>,
}

impl Bots {
    /// A filter whose finds are counted as `weir_bots_total`.
    #[must_use]
    pub fn new(filter: BotFilter, telemetry: &Telemetry) -> Self {
        let counters = telemetry.bots();
        let report = Mutex::new(Report { at: Instant::now(), counts: vec![0; counters.len()] });
        Self { filter, counters, report }
    }

    /// The word that makes a user agent a bot's, without counting it.
    #[must_use]
    pub fn find(&self, user_agent: &str) -> Option<BotWord> {
        self.filter.find(user_agent)
    }

    /// Counts an event that was dropped for this word.
    pub fn dropped(&self, word: BotWord) {
        if let Some((_, counter)) = self.counters.iter().find(|(label, _)| *label == word.as_str()) {
            counter.inc();
        }
    }

    /// Says once a day who was dropped since it was said last. Cheap when it is not due.
    pub fn report(&self) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if report.at.elapsed() < REPORTED_EVERY {
            return;
        }
        report.at = Instant::now();
        let counts: Vec<u64> = self.counters.iter().map(|(_, counter)| counter.get()).collect();
        let before = std::mem::replace(&mut report.counts, counts);
        drop(report);
        if let Some((events, words)) = self.since(&before) {
            tracing::info!(events, words, "events of bots dropped in the last day");
        }
    }

    fn since(&self, before: &[u64]) -> Option<(u64, String)> {
        let mut news: Vec<(&str, u64)> = self
            .counters
            .iter()
            .zip(before)
            .map(|((word, counter), before)| (*word, counter.get() - before))
            .filter(|(_, events)| *events > 0)
            .collect();
        news.sort_by_key(|(_, events)| std::cmp::Reverse(*events));
        let mut words = String::new();
        for (word, events) in &news {
            let comma = if words.is_empty() { "" } else { ", " };
            let _ = write!(words, "{comma}{word} {events}");
        }
        (!news.is_empty()).then(|| (news.iter().map(|(_, events)| events).sum(), words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_dropped_since_a_report_are_told_by_word_the_most_frequent_first() {
        let bots = Bots::new(BotFilter::default(), &Telemetry::new());
        let before = vec![0; bots.counters.len()];
        assert_eq!(bots.since(&before), None);
        for user_agent in ["Twitterbot/1.0", "curl/8", "Googlebot", "Mozilla/5.0"] {
            if let Some(word) = bots.find(user_agent) {
                bots.dropped(word);
            }
        }
        bots.dropped(bots.find("curl/7").unwrap());
        let (events, words) = bots.since(&before).unwrap();
        assert_eq!(events, 4);
        assert!(words.starts_with("curl 2, "), "{words}");
        assert!(words.contains("twitter 1") && words.contains("google 1"), "{words}");
    }
}
