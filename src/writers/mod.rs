//! The supervised actors of each database: the writer, which runs an applier, and the maintenance of its tables.

mod maintenance;
mod writer;

pub use maintenance::Maintenance;
pub use writer::Writer;
