//! Ten times what the machine can do, for a minute.

use std::time::Duration;

use weir_testkit::{exclusive, on_both_databases};

use super::flood::{Flooded, Pace, Until, flood};
use super::ledger::Sums;
use super::memory::{Peak, mebibytes};
use super::*;

/// The most that a server may have resident, whatever is thrown at it: every queue at its bound, and room for debug builds.
const MOST_BYTES: u64 = 256 << 20;

/// Counts what is stored of some floods, in the database: a million rows are not to be carried here.
pub async fn settle_floods(app: &TestApp, ledger: &Ledger, floods: &[&Flooded]) {
    app.applied().await;
    let count = async |sql: &str| app.databases.count(Database::Analytics, sql).await.unsigned_abs();
    let stored = count("SELECT count(*) AS n FROM analytics_sessions").await;
    let pages = count("SELECT count(DISTINCT landing_page) AS n FROM analytics_sessions").await;
    let mut ids: Vec<String> = Vec::new();
    for row in app.rows(Database::Analytics, "SELECT id FROM analytics_sessions").await {
        ids.push(row["id"].as_str().unwrap().to_owned());
    }
    ids.sort_unstable();
    let acknowledged = floods.iter().flat_map(|flood| &flood.acknowledged);
    let missing = acknowledged.filter(|id| ids.binary_search(&id.to_string()).is_err()).count() as u64;
    let sum = |figure: fn(&Flooded) -> u64| floods.iter().map(|flood| figure(flood)).sum::<u64>();
    ledger.close(Sums {
        sent: sum(|flood| flood.sent),
        acknowledged: sum(|flood| flood.acknowledged.len() as u64),
        refused: sum(|flood| flood.refused),
        unanswered: sum(Flooded::unanswered),
        stored,
        missing,
        doubled: stored - pages,
        longest: floods.iter().map(|flood| flood.longest).max().unwrap_or_default(),
    });
}

on_both_databases! {
    async fn overload_at_tenfold_rate_answers_all_in_bounded_memory(backend) {
        // It saturates the machine, and looks at rates and memory.
        let _alone = exclusive().await;
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        let calm = Until::Elapsed(Duration::from_secs(scale(2, 10)));
        // Warm, so that before and after are alike.
        let warm = flood(&app, 64, Pace::Closed(1), calm, "https://example.org/load/warm").await;
        let before = flood(&app, 64, Pace::Closed(1), calm, "https://example.org/load/before").await;
        app.applied().await;
        let peak = Peak::of(&app);
        let duration = Duration::from_secs(scale(3, 60));
        let burst =
            flood(&app, 1000, Pace::Open(before.rate() * 10.0), Until::Elapsed(duration), "https://example.org/load/burst").await;
        let peak = peak.bytes();
        app.applied().await;
        let after = flood(&app, 64, Pace::Closed(1), calm, "https://example.org/load/after").await;
        let mut ledger = Ledger::of("overload: ten times the sustainable rate", backend);
        ledger.note(format!(
            "{:.0}/s before, {:.0}/s offered, {:.0}/s acknowledged, {:.0}/s after; at most {} MiB resident",
            before.rate(),
            burst.offered as f64 / duration.as_secs_f64(),
            burst.rate(),
            after.rate(),
            mebibytes(peak),
        ));
        settle_floods(&app, &ledger, &[&warm, &before, &burst, &after]).await;
        assert!(peak < MOST_BYTES, "{} MiB", mebibytes(peak));
        assert_eq!(burst.unanswered(), 0, "every request is answered");
        if is_long() {
            // The machine is anybody's: its own swings are a tenth.
            assert!(after.rate() > before.rate() * 0.8, "{:.0}/s after {:.0}/s", after.rate(), before.rate());
        }
    }
}
