//! Weir: tracking ingestion where **an id in an answer is a record on disk**.
//!
//! # One event's journey
//!
//! A `POST /api/v1/analytics/session` arrives.
//!
//! 1. [`http`] gives it a request id and counts it, asks the [`limit`]er whether this address may, reads the body to its
//!    end and checks every field.
//! 2. [`enrich`] decides whether it is to be stored at all (bot, consent, token), and adds what the server knows: device and
//!    browser from the user agent (cached; a miss goes to a pool of actors), the place from the address. Here the address
//!    ends.
//! 3. The record, encoded by [`weir_domain`], goes to the analytics [journal](weir_journal). Its thread writes and fsyncs everything that
//!    waits in one go, and only then the client gets the id.
//! 4. A [writer](mod@writers) follows the journal: an [applier](weir_apply) hands batches to the [store](weir_store), which commits the rows *and* the journal's
//!    position in one transaction: exactly once, whatever was killed when.
//!
//! Everything else that happens takes the same way. What is made once under a key is [`visitors`]' and [`idempotency`]'s
//! subject. [`read`] answers what must be true to all of it, [`auth`] signs people in, [`mail`] brings them their codes.
//!
//! A dead database stops step 4 only. A full disk stops step 3, and the client is told the truth: `id: null`.
//!
//! [`app`] wires the stages, [`actor`] makes actix safe to build them on, [`telemetry`] tells what they do.

pub mod actor;
pub mod app;
pub mod auth;
pub mod clock_watch;
pub mod config;
pub mod contract;
pub mod enrich;
pub mod file_version;
pub mod http;
pub mod idempotency;
pub mod limit;
pub mod mail;
pub mod read;
pub mod settings;
pub mod telemetry;
pub mod visitors;
pub mod writers;
