//! The process's own series, under the names that every exporter gives them: CPU, memory, open files, threads.
//!
//! Read here and not by `prometheus`'s collector, whose way to `/proc` (`procfs`) takes longer to compile than SQLite. What
//! this system does not tell stays 0.
//!
//! Cost: two files of `/proc` are read when the metrics are, and a directory is listed.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Registry, register_gauge_with_registry};
use rustix::process::{Resource, getrlimit};
use weir_domain::approximate;

/// What the kernel counts time in for programs (`USER_HZ`), on every architecture that Rust has a standard library for.
const TICKS_PER_SECOND: u64 = 100;

/// Adds them to a registry.
pub(super) fn register(registry: &Registry) -> prometheus::Result<()> {
    registry.register(Box::new(Process::new()?))?;
    let help = "Maximum amount of virtual memory available in bytes, 0 without a limit.";
    register_gauge_with_registry!("process_virtual_memory_max_bytes", help, registry)?
        .set(getrlimit(Resource::As).current.map_or(0.0, approximate));
    Ok(())
}

struct Process {
    cpu: Counter,
    open_files: Gauge,
    max_files: Gauge,
    virtual_memory: Gauge,
    resident_memory: Gauge,
    started: Gauge,
    threads: Gauge,
}

impl Process {
    fn new() -> prometheus::Result<Self> {
        let process = Self {
            cpu: Counter::new("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")?,
            open_files: Gauge::new("process_open_fds", "Number of open file descriptors.")?,
            max_files: Gauge::new("process_max_fds", "Maximum number of open file descriptors.")?,
            virtual_memory: Gauge::new("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            resident_memory: Gauge::new("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            started: Gauge::new(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?,
            threads: Gauge::new("process_threads", "Number of OS threads in the process.")?,
        };
        if let (Some(booted), Some(Reading { started, .. })) = (boot_time_seconds(), Reading::take()) {
            process.started.set(approximate(booted + started));
        }
        Ok(process)
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = [
            &self.open_files,
            &self.max_files,
            &self.virtual_memory,
            &self.resident_memory,
            &self.started,
            &self.threads,
        ];
        gauges.into_iter().flat_map(Collector::desc).chain(self.cpu.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(now) = Reading::take() {
            // Two may read at once, and the other be ahead.
            self.cpu.inc_by((now.cpu_seconds - self.cpu.get()).max(0.0));
            self.virtual_memory.set(approximate(now.virtual_bytes));
            self.resident_memory.set(approximate(now.resident_bytes));
            self.threads.set(approximate(now.threads));
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            self.open_files.set(approximate(files.count() as u64));
        }
        if let Some(limit) = getrlimit(Resource::Nofile).current {
            self.max_files.set(approximate(limit));
        }
        let gauges = [
            &self.open_files,
            &self.max_files,
            &self.virtual_memory,
            &self.resident_memory,
            &self.started,
            &self.threads,
        ];
        self.cpu.collect().into_iter().chain(gauges.into_iter().flat_map(Collector::collect)).collect()
    }
}

/// What `/proc/self` tells (`proc_pid_stat(5)`, `proc_pid_status(5)`).
struct Reading {
    cpu_seconds: f64,
    threads: u64,
    /// Seconds after the system's start.
    started: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

impl Reading {
    fn take() -> Option<Self> {
        let of = |name| fs::read_to_string(format!("/proc/self/{name}")).ok();
        Self::parse(&of("stat")?, &of("status")?)
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The second field is a name in parentheses, which may hold anything; the third is the state.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        // `status` counts in kibibytes, `stat` in pages, whose size would have to be asked for.
        let line = |name| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        Some(Self {
            cpu_seconds: approximate(ticks(14)? + ticks(15)?) / approximate(TICKS_PER_SECOND),
            threads: line("Threads")?,
            started: ticks(22)? / TICKS_PER_SECOND,
            virtual_bytes: line("VmSize")? * 1024,
            resident_bytes: line("VmRSS")? * 1024,
        })
    }
}

fn boot_time_seconds() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::Telemetry;
    use super::*;

    #[test]
    fn reading_survives_a_name_with_a_parenthesis() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 0 0 230 20 0 0 20 0 5 0 4200 8192000 300 18446744073709551615";
        let status = "Name:\ta ) b\nVmSize:\t    8000 kB\nVmRSS:\t    1200 kB\nThreads:\t5\n";
        let reading = Reading::parse(stat, status).unwrap();
        assert!((reading.cpu_seconds - 2.5).abs() < 1e-9);
        assert_eq!((reading.threads, reading.started), (5, 42));
        assert_eq!((reading.virtual_bytes, reading.resident_bytes), (8_192_000, 1_228_800));
    }

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
