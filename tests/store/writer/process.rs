//! A process with a writer: its journal, its database, and faults between the two.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Poll, Waker};

use weir::actor::Vitals;
use weir::app::{AnalyticsSink, open_analytics};
use weir::domain::Clock;
use weir::journal::{Journal, JournalOptions, SegmentStorage};
use weir::store::Sink;
use weir::telemetry::Telemetry;
use weir::write::{Pump, WriterState};

use super::faulty::Faulty;
use crate::database_url;
use crate::support::{Backend, Databases};

/// A fresh directory; in memory where there is such a place, because no power is cut here.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A database for every case of a test: each has a journal and ids of its own.
pub struct World {
    pub runtime: tokio::runtime::Runtime,
    pub databases: Databases,
    /// How many steps were applied that had been begun before their turn.
    pub early: Arc<AtomicUsize>,
    _directory: tempfile::TempDir,
}

impl World {
    pub fn new(backend: Backend) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let directory = directory();
        let early = Arc::<AtomicUsize>::default();
        let databases = runtime.block_on(async {
            let databases = Databases::fresh(backend, directory.path()).await;
            Faulty::new(sink(&databases), Arc::clone(&early)).migrate().await.unwrap();
            databases.refuse_poison().await;
            databases
        });
        Self { runtime, databases, early, _directory: directory }
    }
}

fn sink(databases: &Databases) -> AnalyticsSink {
    open_analytics(&database_url(databases.backend, &databases.analytics_url)).unwrap()
}

/// Waits for work until it is done, or until it pauses at a moment when `enough` says so.
pub async fn until<T>(work: impl Future<Output = T>, mut enough: impl FnMut(&Waker) -> bool) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if enough(context.waker()) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// What a process has.
pub struct Process {
    pub journal: Journal,
    pub sink: Arc<Faulty>,
    pub state: Arc<WriterState>,
    telemetry: Arc<Telemetry>,
    pub pump: Pump<Faulty>,
}

impl Process {
    pub fn start(home: PathBuf, world: &World) -> Self {
        let options = JournalOptions { segment_bytes: 700, fsync: false, ..JournalOptions::default() };
        let telemetry = Telemetry::new();
        let lifeline = Vitals::new(Arc::clone(&telemetry)).lifeline("journal");
        let storage = SegmentStorage::open(&home, options, weir::telemetry::Histogram::unread()).unwrap();
        let journal = Journal::start("analytics", storage, options, telemetry.journal("analytics"), lifeline).unwrap();
        let sink = Arc::new(Faulty::new(sink(&world.databases), Arc::clone(&world.early)));
        let state = Arc::<WriterState>::default();
        let pump = new_pump(&sink, &journal, &state, &telemetry);
        Self { journal, sink, state, telemetry, pump }
    }

    /// The writer is gone at whatever it was; the next one knows nothing of it.
    pub fn replace_writer(&mut self) {
        self.pump = new_pump(&self.sink, &self.journal, &self.state, &self.telemetry);
    }
}

fn new_pump(
    sink: &Arc<Faulty>,
    journal: &Journal,
    state: &Arc<WriterState>,
    telemetry: &Arc<Telemetry>,
) -> Pump<Faulty> {
    let clock = Arc::new(Clock::system());
    Pump::new(Arc::clone(sink), journal.clone(), Arc::clone(state), Arc::clone(telemetry), clock)
}
