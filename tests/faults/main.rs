//! What breaks in production, broken on purpose: nothing acknowledged is missing, nothing is there twice.
//!
//! Every test keeps a ledger of what its clients saw and holds it against the databases. `load-tests/faults` runs the
//! whole campaign in its long version (`WEIR_FAULTS=long`) and prints the ledgers as one table.

// Figures of a report and of a metric are floats; what they count here is far from where that matters.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
// `began` and `begun`, `stop` and `step`.
#![allow(clippy::similar_names)]

mod fail_points;
mod flood;
mod ledger;
mod load;
mod memory;

mod campaign;
mod clients;
mod clock;
mod commit;
mod damage;
mod database_away;
mod database_disk;
mod disk;
mod disk_full;
mod full_queues;
mod gives_up;
mod instances;
mod kill;
mod network;
mod open_files;
mod outage;
mod overfull;
mod overload;
mod panics;
mod position;
mod postgres_server;
mod rejected;
mod rewind;
mod shutdown;
mod start;
mod told;
mod vanished;

use serde_json::{Value, json};
use weir_testkit::{Backend, Database, TestApp, UNTHROTTLED, session_with};

use fail_points::{FailPoints, prepared};
use ledger::Ledger;
use load::{Load, visit};

/// How much of it: the first in every run of the tests, the second in the campaign.
fn scale<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

fn is_long() -> bool {
    std::env::var("WEIR_FAULTS").is_ok_and(|scale| scale == "long")
}

async fn readiness(app: &TestApp) -> Value {
    let response = app.client.get(app.url("/health/ready")).send().await.unwrap();
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}
