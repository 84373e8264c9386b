//! Writers: each follows one journal and brings its records into one database, exactly once, in order.
//!
//! - `pump`: the loop's steps: read on, apply with the position, retry, bisect, set aside.
//!   - `attach`: where the database stands, and whether it is this journal's.
//!   - `ahead` and `decoded`: the next records, read and taken apart.
//!   - `early`: chunks of a backlog that are begun before their turn.
//!   - `distance`, `batch_size` and `backoff`: when the next transaction begins, and with how many of them.
//!   - `aside`: what cannot be applied.
//!   - `catch_up` and `state`: what of it others see.
//! - `writer`: the supervised actor around it, with an arbiter of its own.
//! - `maintenance`: partitions ahead, retention behind.
//! - `letters`: one dead letter's second chance.
//!
//! Invariants: the position in the database moves only with the records it covers; a dead database holds up nothing but
//! its own journal; memory holds a handful of chunks, however long the outage was.

mod ahead;
mod aside;
mod attach;
mod backoff;
mod batch_size;
mod catch_up;
mod decoded;
mod distance;
mod early;
pub mod letters;
mod maintenance;
mod pump;
mod state;
mod writer;

pub use maintenance::Maintenance;
pub use pump::Pump;
pub use state::{WriterPhase, WriterState};
pub use writer::Writer;
