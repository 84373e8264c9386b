//! The process's own series, under the names that every exporter gives them: CPU, memory, open files, threads.
//!
//! Cost: a few files of `/proc` are read when the metrics are.

use prometheus::process_collector::ProcessCollector;
use prometheus::{Registry, register_gauge_with_registry};
use rustix::process::{Resource, getrlimit};
use weir_domain::approximate;

/// Adds them to a registry.
pub(super) fn register(registry: &Registry) -> prometheus::Result<()> {
    registry.register(Box::new(ProcessCollector::for_self()))?;
    // The collector does not have this one.
    let help = "Maximum amount of virtual memory available in bytes, 0 without a limit.";
    register_gauge_with_registry!("process_virtual_memory_max_bytes", help, registry)?
        .set(getrlimit(Resource::As).current.map_or(0.0, approximate));
    Ok(())
}
