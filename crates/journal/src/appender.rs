//! Appending: what handlers hold of a journal. Clones share one journal.
//!
//! Invariant: `append` never waits. It puts a record into the bounded queue of the commit thread, or refuses.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crossbeam_channel::TrySendError;
use tokio::sync::oneshot;

use super::MAX_RECORD_BYTES;
use super::completion::QueueId;
use super::error::AppendError;
use super::shared::{Command, Pending, Shared};

/// Completes when the record is durable, or is known not to be.
#[must_use = "a record is not durable before its ack"]
pub struct Ack(oneshot::Receiver<Result<(), AppendError>>);

impl Future for Ack {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A dropped sender means that the thread panicked over the batch: nothing more is known of it.
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(AppendError::Failed)))
    }
}

/// The writing end of a journal.
#[derive(Clone)]
pub struct Appender(Arc<Shared>);

impl Appender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Hands a record over. The returned ack completes when it is durable.
    ///
    /// # Errors
    /// At once, when the queue or the disk bound is reached, or the journal is closed.
    pub fn append(&self, payload: Vec<u8>) -> Result<Ack, AppendError> {
        let shared = &self.0;
        let length = payload.len();
        if length > MAX_RECORD_BYTES {
            return Err(AppendError::TooLong);
        }
        if shared.is_closed() {
            return Err(AppendError::Closed);
        }
        let completes = shared.delay.enqueue(length, shared.options.queue_bytes).ok_or(AppendError::QueueFull)?;
        let (ack, answer) = oneshot::channel();
        match shared.queue.try_send(Command::Append(Pending { payload, queue: QueueId::here(), ack })) {
            Ok(()) => {
                if completes {
                    shared.delay.batch_complete();
                }
                Ok(Ack(answer))
            }
            Err(refused) => {
                shared.delay.dequeue(length);
                Err(match refused {
                    TrySendError::Full(_) => AppendError::QueueFull,
                    TrySendError::Disconnected(_) => AppendError::Closed,
                })
            }
        }
    }

    /// Writes and syncs everything that was accepted, and accepts nothing more. Blocks until that is done.
    pub fn close(&self) {
        // The queue may be full: wait for room rather than lose the order to close.
        let _ = self.0.queue.send(Command::Close);
        if let Some(ended) = self.0.ended.get() {
            let _ = ended.recv();
        }
    }
}
