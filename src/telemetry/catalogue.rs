//! Every metric: its name, its kind, its labels with every value that they may have, what it says.
//!
//! `docs/metrics.md` is made from this file (`document`).

use super::label::{self, BoundedLabel};

/// What a series is.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Its series appear when they are first counted.
    Counter,
    /// A counter of what is rare: all of its series are there from the start, at 0. `increase` and `rate` see no step from
    /// nothing to one.
    RareCounter,
    /// Its series appear when they are first set.
    Gauge,
    /// With the upper bounds of its buckets, which belong to them.
    Histogram(&'static [f64]),
}

/// One row of the catalogue.
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static BoundedLabel],
    pub help: &'static str,
}

/// Bounds for what takes milliseconds.
const SECONDS: &[f64] =
    &[0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds for what takes microseconds.
const SHORT_SECONDS: &[f64] = &[
    0.000_001,
    0.000_002_5,
    0.000_005,
    0.000_01,
    0.000_025,
    0.000_05,
    0.0001,
    0.000_25,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.1,
    1.0,
];
/// Bounds for records in a batch.
const RECORDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0];

macro_rules! catalogue {
    ($($constant:ident = $name:literal, $kind:expr, [$($label:ident),*], $help:literal;)*) => {
        /// The names, for the code that records.
        pub mod name {
            $(#[doc = $help] pub const $constant: &str = $name;)*
        }
        /// Every metric of Weir.
        pub const CATALOGUE: &[Metric] = &[$(Metric {
            name: $name,
            kind: $kind,
            labels: &[$(&label::$label),*],
            help: $help,
        }),*];
    };
}

catalogue! {
    REQUESTS = "weir_requests_total", Kind::Counter, [ROUTE, OUTCOME, STATUS], "Requests by route, outcome and status. Every request is counted once.";
    REQUEST_SECONDS = "weir_request_duration_seconds", Kind::Histogram(SECONDS), [ROUTE], "Time from a request's head to its answer, by route.";
    READY = "weir_ready", Kind::Gauge, [], "1 while /health/ready answers 200.";
    CONNECTIONS = "weir_connections", Kind::Gauge, [], "Open connections of clients.";
    CONNECTIONS_MAX = "weir_connections_max", Kind::Gauge, [], "The most connections of clients; more wait until one ends.";
    STAGE_SECONDS = "weir_stage_duration_seconds", Kind::Histogram(SHORT_SECONDS), [STAGE], "Time in one stage of a request: parse, enrich, journal.";
    BOTS = "weir_bots_total", Kind::RareCounter, [BOT_WORD], "Sessions and views of bots, by the word that gave them away; what an operator added counts as configured.";
    USER_AGENT_LOOKUPS = "weir_user_agent_lookups_total", Kind::Counter, [LOOKUP_RESULT], "User-agent look-ups by result: hit, miss (parsed by the pool), refused (the pool was full).";
    USER_AGENT_CACHE_ENTRIES = "weir_user_agent_cache_entries", Kind::Gauge, [], "User agents held parsed.";
    FIELDS_CUT = "weir_fields_cut_total", Kind::RareCounter, [CUT_FIELD], "Optional texts that were cut because they were longer than Weir keeps, by field.";
    TOKENS_WITHOUT_USER = "weir_tokens_without_user_total", Kind::RareCounter, [], "Valid access tokens whose user is neither a text nor a whole number: somebody signed in was taken for nobody.";
    GEOIP_LOADED = "weir_geoip_loaded", Kind::Gauge, [], "1 when a GeoIP database is loaded.";
    GEOIP_RELOADS = "weir_geoip_reloads_total", Kind::RareCounter, [RELOAD_RESULT], "Loads of a GeoIP database that was not there before or has changed, by result.";
    GEOIP_BUILD_SECONDS = "weir_geoip_build_timestamp_seconds", Kind::Gauge, [], "When the GeoIP database in use was built, in seconds since 1970; absent without one.";
    LIMITER_ENTRIES = "weir_limiter_entries", Kind::Gauge, [], "Open throttle windows.";
    LIMITER_CAPACITY = "weir_limiter_capacity_entries", Kind::Gauge, [], "The most throttle windows that are kept.";
    LIMITER_REFUSALS = "weir_limiter_refusals_total", Kind::RareCounter, [ROUTE], "Requests over their limit, by route.";
    LIMITER_BYPASSED = "weir_limiter_bypassed_total", Kind::RareCounter, [], "Requests let through uncounted because the table of windows was full.";
    FINGERPRINT_ENTRIES = "weir_fingerprint_entries", Kind::Gauge, [], "Fingerprints of new visitors within their window.";
    FINGERPRINT_CAPACITY = "weir_fingerprint_capacity_entries", Kind::Gauge, [], "The most fingerprints that are kept.";
    FINGERPRINTS_BYPASSED = "weir_fingerprints_bypassed_total", Kind::RareCounter, [], "Visitors made without a fingerprint because the table was full.";
    VISITOR_TOKENS = "weir_visitor_tokens", Kind::Gauge, [], "Visitor tokens known without a look-up.";
    BATCH_KEY_ENTRIES = "weir_batch_key_entries", Kind::Gauge, [], "Keys of batches' items known.";
    BATCH_KEY_CAPACITY = "weir_batch_key_capacity_entries", Kind::Gauge, [], "The most keys of batches' items that are known.";
    BATCH_ITEMS = "weir_batch_items_total", Kind::Counter, [ITEM_TYPE, OUTCOME], "Items of batches, by type and outcome.";
    MAILBOX_MESSAGES = "weir_mailbox_messages", Kind::Gauge, [MAILBOX], "Messages in an actor's mailbox.";
    MAILBOX_CAPACITY = "weir_mailbox_capacity_messages", Kind::Gauge, [MAILBOX], "Messages that fit into an actor's mailbox.";
    ACTOR_RESTARTS = "weir_actor_restarts_total", Kind::RareCounter, [ACTOR, CAUSE], "Restarts by actor and cause.";
    JOURNAL_APPEND_SECONDS = "weir_journal_append_duration_seconds", Kind::Histogram(SECONDS), [JOURNAL], "Time to write and sync one batch.";
    JOURNAL_FSYNC_SECONDS = "weir_journal_fsync_duration_seconds", Kind::Histogram(SECONDS), [JOURNAL], "Time of one fdatasync.";
    JOURNAL_BATCH_RECORDS = "weir_journal_batch_records", Kind::Histogram(RECORDS), [JOURNAL], "Records that shared one append and fsync.";
    JOURNAL_RECORDS = "weir_journal_appended_records_total", Kind::Counter, [JOURNAL], "Records made durable.";
    JOURNAL_BYTES = "weir_journal_appended_bytes_total", Kind::Counter, [JOURNAL], "Bytes made durable.";
    JOURNAL_FAILURES = "weir_journal_failures_total", Kind::Counter, [JOURNAL], "Batches that could not be made durable.";
    JOURNAL_QUEUE_RECORDS = "weir_journal_queue_records", Kind::Gauge, [JOURNAL], "Records that wait for the journal's disk.";
    JOURNAL_QUEUE_CAPACITY = "weir_journal_queue_capacity_records", Kind::Gauge, [JOURNAL], "Records that may wait for the journal's disk.";
    JOURNAL_SEGMENTS = "weir_journal_segments", Kind::Gauge, [JOURNAL], "Segment files.";
    JOURNAL_DISK_BYTES = "weir_journal_disk_bytes", Kind::Gauge, [JOURNAL], "Bytes that all files of the journal take.";
    JOURNAL_KEPT_BYTES = "weir_journal_kept_bytes", Kind::Gauge, [JOURNAL], "Bytes of them in segments that are applied and kept for a database that goes back; records that need the room get it.";
    JOURNAL_DISK_MAX_BYTES = "weir_journal_disk_max_bytes", Kind::Gauge, [JOURNAL], "The most bytes that the journal may take.";
    JOURNAL_POSITION = "weir_journal_position", Kind::Gauge, [JOURNAL], "The last durable position.";
    JOURNAL_WRITABLE = "weir_journal_writable", Kind::Gauge, [JOURNAL], "1 while the journal accepts records.";
    WRITER_APPLY_SECONDS = "weir_writer_apply_duration_seconds", Kind::Histogram(SECONDS), [DATABASE], "Time of one batch's transaction, from its turn on: what was written of it before is not in it. Under a steady load the rows of analytics take 150 ms on purpose.";
    WRITER_BATCH_RECORDS = "weir_writer_batch_records", Kind::Histogram(RECORDS), [DATABASE], "Records applied in one transaction.";
    WRITER_RECORDS = "weir_writer_applied_records_total", Kind::Counter, [DATABASE], "Records applied to the database. After a rewind, those that are applied again count again.";
    WRITER_ROWS = "weir_writer_rows_total", Kind::Counter, [DATABASE, TABLE], "Rows written, by table. After a rewind, those that are written again count again.";
    WRITER_RETRIES = "weir_writer_retries_total", Kind::Counter, [DATABASE], "Attempts that failed and were repeated.";
    PENDING_EFFECTS = "weir_pending_effects", Kind::Gauge, [DATABASE], "Leaves, views, heartbeats and identifies that wait in the database for a session or a view that is not there yet.";
    PENDING_EFFECTS_ENDED = "weir_pending_effects_ended_total", Kind::RareCounter, [DATABASE, PENDING_RESULT], "What became of effects that waited, where it was not the writer who applied them: applied (they had missed their session by an instant), expired (it did not come within a day), refused (a million of them wait).";
    WRITER_REWINDS = "weir_writer_rewinds_total", Kind::RareCounter, [DATABASE], "Times that the database stood further back than it had, after a failover or a restore, and got what it lacked again.";
    WRITER_REWOUND_RECORDS = "weir_writer_rewound_records_total", Kind::RareCounter, [DATABASE], "Records that it lacked then. Applied records without these are what was applied once.";
    WRITER_ERRORS = "weir_writer_errors_total", Kind::RareCounter, [DATABASE, ERROR_KIND], "Errors of the database, by what they mean: unavailable (tried again), refused (a record set aside), repeated (a row was there), moved (another process was there), schema (what is named is not there), url (its address is malformed).";
    WRITER_PIPELINED_BATCHES = "weir_writer_pipelined_batches_total", Kind::RareCounter, [DATABASE, PIPELINED_RESULT], "Batches of a backlog that were to be written in part before their turn, by result: committed, failed (all of it was written in its turn). Those without a new session or view, and those that the failure of another one rolled back, are not counted.";
    WRITER_POSITION = "weir_writer_position", Kind::Gauge, [DATABASE], "The last position that the database has; absent until it was asked.";
    WRITER_LAG_RECORDS = "weir_writer_lag_records", Kind::Gauge, [DATABASE], "Durable records that the database does not have yet; until it was asked, as the journal's control file has it.";
    WRITER_OLDEST_SECONDS = "weir_writer_oldest_unapplied_age_seconds", Kind::Gauge, [DATABASE], "Age of the oldest durable record that the database does not have yet.";
    WRITER_UP = "weir_writer_up", Kind::Gauge, [DATABASE], "1 while the writer can apply.";
    DEAD_LETTERS = "weir_dead_letters_total", Kind::RareCounter, [DATABASE, REASON], "Records set aside, by database and reason.";
    DEAD_LETTERS_WAITING = "weir_dead_letters_waiting", Kind::Gauge, [DATABASE], "Dead letters that wait to be replayed or dropped.";
    CLOCK_SKEW_SECONDS = "weir_clock_skew_seconds", Kind::Gauge, [DATABASE], "By how much the clock is ahead of the database's; negative: behind. On SQLite, whose clock is the same, ahead or behind of what its last run of retention believed, 0 where that is near; absent for the main database there.";
    RETENTION_REFUSED = "weir_retention_refused", Kind::Gauge, [], "1 while retention deletes nothing because the clock is far ahead of its last run; an operator confirms it.";
    MAILS = "weir_mails_total", Kind::RareCounter, [MAIL_RESULT], "Mails by result: sent (or written to the log), failed, expired (the code, before it could be sent), refused (too many waited).";
    BUILD_INFO = "weir_build_info", Kind::Gauge, [VERSION], "Always 1; the version is a label.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names_follow_the_conventions() {
        for metric in CATALOGUE {
            assert!(metric.name.starts_with("weir_"), "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                matches!(metric.kind, Kind::Counter | Kind::RareCounter),
                "{}",
                metric.name
            );
        }
    }

    // `weir top` reads them with a library that does not know of escapes.
    #[test]
    fn label_values_need_no_escape() {
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "_.+-".contains(character);
        for value in CATALOGUE.iter().flat_map(|metric| metric.labels).flat_map(|label| (label.values)()) {
            assert!(!value.is_empty() && value.chars().all(is_plain), "{value}");
        }
    }
}
