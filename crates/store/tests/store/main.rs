//! One suite for both engines: what a sink promises, it promises on SQLite and on PostgreSQL.

mod accounts;
mod analytics;
mod events;
mod main_database;
mod model;
mod pending;
mod position;
mod visitors;

use std::time::Duration;

use uuid::Uuid;
use weir_domain::{AnalyticsEvent, AnalyticsRecord, GeoLocation, JournalRecord, MainRecord, SessionRecord, UnixMillis};
use weir_log::{JournalId, Position};
use weir_store::{Maintained, Step, StoreError};
use weir_testkit::store::{DAY, MANY, Store, open_analytics_of, record, session_at, sessions};
use weir_testkit::{Backend, Databases};
