//! What tests, load tests and checks of Weir share: real servers, fresh databases, and a world around them that can be
//! broken on purpose.
//!
//! The kit does not link the service. It starts the program as a process of its own, talks to it over HTTP, and looks into its
//! databases. So it serves the unit tests of every crate as well as the suites in `tests/`.
//!
//! | Room | What it gives |
//! |---|---|
//! | [`app`] | [`TestApp`]: a Weir on a random port with fresh databases; requests, waiting, signals, restarts |
//! | [`databases`] | two fresh databases of either engine, and queries with the same result from both; [`on_both_databases!`] |
//! | [`postgres`] | a PostgreSQL server of a test's own, to be crashed, frozen and starved |
//! | [`proxy`] | a TCP proxy that delays, stalls, loses or resets what passes |
//! | [`smtp`] | a mail server that accepts, defers, refuses or hangs, and keeps what it got |
//! | [`keys`] | key pairs, key sets and tokens: good ones, unsigned ones and confused ones |
//! | [`raw_connection`] | a bare TCP connection, for what no HTTP client would send |
//! | [`answers`] | request bodies, and what is inside an answer or a row |
//! | [`metrics`] | `/metrics` checked against `docs/metrics.md` |
//! | [`packages`] | test data out of the packages that cargo has downloaded |
//! | [`machine`] | how many tests run side by side, and [`exclusive`] for those that measure |
//! | `store` (a feature) | fresh, migrated databases behind their sinks, and records for them |
//! | [`workspace`] | where the program under test and the workspace's scripts are |
//!
//! ```no_run
//! use weir_testkit::{TestApp, Database, UNTHROTTLED, minimal_session, on_both_databases};
//!
//! on_both_databases! {
//!     async fn session_with_consent_is_stored(backend) {
//!         let app = TestApp::start_with(backend, UNTHROTTLED).await;
//!         let created = app.create_session(&minimal_session()).await;
//!         app.applied().await;
//!         let rows = app.rows(Database::Analytics, "SELECT id FROM analytics_sessions").await;
//!         assert_eq!(rows[0]["id"], created["id"]);
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! PostgreSQL comes from `TEST_POSTGRES_URL`, which `scripts/test` sets. A test that needs it fails without; it never
//! passes silently. Python scripts start their Weir with `scripts/testkit.py`, this kit's counterpart.

#![warn(missing_docs)]
// A helper that cannot do its work fails the test, and says why.
#![allow(clippy::missing_panics_doc, clippy::must_use_candidate)]

pub mod answers;
pub mod app;
pub mod databases;
pub mod keys;
pub mod machine;
pub mod metrics;
pub mod packages;
pub mod postgres;
pub mod proxy;
pub mod raw_connection;
pub mod smtp;
#[cfg(feature = "store")]
pub mod store;
pub mod workspace;

use std::time::Duration;

pub use answers::{
    access_token, bare, data, error, header, minimal_session, session_with, signed_with_secret, time, truth,
};
pub use app::{Finished, TestApp};
pub use databases::{Backend, Database, Databases};
pub use machine::exclusive;

/// A browser that no bot filter knows.
pub const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
/// The secret of every test's tracking tokens.
pub const TRACKING_SECRET: &str = "a tracking secret for tests";
/// The secret of every test's access tokens.
pub const JWT_SECRET: &str = "an access token secret for tests";

/// The variables that turn every throttle off.
pub const UNTHROTTLED: &[(&str, &str)] = &[
    ("WEIR_THROTTLE__SESSION", "0"),
    ("WEIR_THROTTLE__PAGEVIEW", "0"),
    ("WEIR_THROTTLE__LEAVE", "0"),
    ("WEIR_THROTTLE__HEARTBEAT", "0"),
    ("WEIR_THROTTLE__BATCH", "0"),
    ("WEIR_THROTTLE__TRACK", "0"),
    ("WEIR_THROTTLE__CONSENT", "0"),
    ("WEIR_THROTTLE__CONSENT_STATUS", "0"),
    ("WEIR_THROTTLE__TRACK_INIT", "0"),
    ("WEIR_THROTTLE__AUTH_CODE", "0"),
    ("WEIR_THROTTLE__AUTH_VERIFY", "0"),
];

/// How long anything is waited for. Long, because machines are slow at times; nothing waits so long when all is well.
pub const PATIENCE: Duration = Duration::from_mins(1);
