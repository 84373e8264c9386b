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

#[cfg(test)]
mod tests {
    use super::super::Telemetry;

    #[test]
    fn process_series_of_the_document_are_all_there() {
        let document = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));
        let names: Vec<&str> = document.split('`').filter(|word| word.starts_with("process_")).collect();
        assert_eq!(names.len(), 8);
        let text = Telemetry::new().render();
        for name in names {
            assert!(
                text.contains(&format!("# HELP {name} ")) && text.contains(&format!("\n{name} ")),
                "{name}\n{text}"
            );
        }
    }
}
