//! The process's own figures, as every exporter names them: CPU, memory, open files, threads.
//!
//! Cost: a few files of `/proc` are read when the metrics are.

use metrics::Recorder;
use metrics_process::Collector;

/// Reads them.
pub(super) struct ProcessMetrics(Collector);

impl ProcessMetrics {
    /// Ready to be read, with help texts.
    pub fn described_to(recorder: &impl Recorder) -> Self {
        let collector = Collector::default();
        metrics::with_local_recorder(recorder, || collector.describe());
        Self(collector)
    }

    /// Brings them up to date.
    pub fn collect_into(&self, recorder: &impl Recorder) {
        metrics::with_local_recorder(recorder, || self.0.collect());
    }
}
