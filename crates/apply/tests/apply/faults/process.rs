//! A process with a writer: its journal, its database, and faults between the two.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Poll, Waker};

use weir_apply::{Applier, ApplierState};
use weir_journal::{Journal, JournalOptions};
use weir_store::{AnalyticsSink, Sink, open_analytics};
use weir_testkit::{Backend, Databases};

use super::faulty::Faulty;
use crate::applier;

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
    open_analytics(&databases.analytics_url).unwrap()
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
    pub state: Arc<ApplierState>,
    pub applier: Applier<Faulty>,
}

impl Process {
    pub fn start(home: &Path, world: &World) -> Self {
        let options = JournalOptions { segment_bytes: 700, fsync: false, ..JournalOptions::default() };
        let journal = Journal::open("analytics", home, options, Arc::new(())).unwrap();
        let sink = Arc::new(Faulty::new(sink(&world.databases), Arc::clone(&world.early)));
        let state = Arc::<ApplierState>::default();
        let applier = applier(Arc::clone(&sink), &journal, Arc::clone(&state));
        Self { journal, sink, state, applier }
    }

    /// The writer is gone at whatever it was; the next one knows nothing of it.
    pub fn replace_applier(&mut self) {
        self.applier = applier(Arc::clone(&self.sink), &self.journal, Arc::clone(&self.state));
    }
}
