//! Who wakes whom when a batch is durable.

use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::{self, ThreadId};

use futures_util::FutureExt;
use weir::journal::{Ack, attend_desk};

use super::*;

const RECORDS: usize = 100;

/// Tells which thread woke it.
struct Notes(mpsc::Sender<ThreadId>);

impl Wake for Notes {
    fn wake(self: Arc<Self>) {
        self.0.send(thread::current().id()).unwrap();
    }
}

/// Appends until records have shared a batch, and tells who woke the tasks that waited for them.
async fn wakers_of_a_batch(journal: &Journal) -> Vec<ThreadId> {
    let (sender, wakings) = mpsc::channel();
    let waker = Waker::from(Arc::new(Notes(sender)));
    // Fewer than tokio lets a task poll in one go: past that it would wake them here by itself.
    let mut acks: Vec<Ack> = numbered(0..RECORDS).into_iter().map(|record| journal.append(record).unwrap()).collect();
    // What is durable already needs nobody to be woken.
    acks.retain_mut(|ack| ack.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
    assert!(acks.len() > 2, "the records were synced while they were appended");
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while !acks.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            acks.retain_mut(|ack| ack.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        }
    })
    .await
    .expect("every ack completes");
    wakings.try_iter().collect()
}

#[tokio::test]
async fn a_thread_with_a_desk_wakes_the_tasks_of_a_batch_itself() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), JournalOptions::default());
    let here = thread::current().id();
    let wakers = tokio::task::LocalSet::new()
        .run_until(async {
            tokio::task::spawn_local(attend_desk());
            tokio::task::yield_now().await;
            wakers_of_a_batch(&journal).await
        })
        .await;
    assert!(wakers.contains(&here), "{wakers:?}");
    assert_eq!(read_all(&journal, Position::START).0.len(), RECORDS);
    // The desk went with its tasks.
    assert!(!wakers_of_a_batch(&journal).await.contains(&here));
}
