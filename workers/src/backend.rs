//! Our queue as an apalis backend: apalis asks for the next task, this hands out what was claimed.
//!
//! All that touches Postgres happens in tasks of their own, so that a busy worker can neither starve its
//! leases nor end on a database error.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as PollContext, Poll, ready};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::worker::context::WorkerContext;
use jobs::queue::Attempt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::PollSemaphore;

use crate::held::Held;
use crate::settle::{Settler, released};

/// An attempt and the slot that it runs in.
pub(crate) struct Slotted {
    pub(crate) attempt: Attempt,
    /// Given back when the handler is through.
    pub(crate) slot: OwnedSemaphorePermit,
}

/// What the claimed attempts of one pool come through. It outlives the worker that takes from it: one
/// that is started again goes on where the last left off.
pub(crate) struct Inlet {
    from: Mutex<mpsc::UnboundedReceiver<Attempt>>,
    slots: Arc<Semaphore>,
}

impl Inlet {
    pub(crate) fn new(from: mpsc::UnboundedReceiver<Attempt>, slots: u32) -> Arc<Self> {
        Arc::new(Self { from: Mutex::new(from), slots: Arc::new(Semaphore::new(slots as usize)) })
    }

    fn poll_recv(&self, cx: &mut PollContext<'_>) -> Poll<Option<Attempt>> {
        // A poll that panicked left the channel itself whole.
        self.from.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(cx)
    }
}

/// The claimed attempts of one pool, as its worker asks for them.
pub(crate) struct Claims {
    inlet: Arc<Inlet>,
    slots: PollSemaphore,
    slot: Option<OwnedSemaphorePermit>,
    held: Arc<Held>,
    settler: Option<Settler>,
}

impl Claims {
    pub(crate) fn new(inlet: &Arc<Inlet>, held: &Arc<Held>, settler: &Settler) -> Self {
        Self {
            slots: PollSemaphore::new(Arc::clone(&inlet.slots)),
            inlet: Arc::clone(inlet),
            slot: None,
            held: Arc::clone(held),
            settler: Some(settler.clone()),
        }
    }
}

impl Backend for Claims {
    type Task = Task<Slotted>;
    type Error = Infallible;

    fn poll_ready(&mut self, cx: &mut PollContext<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        if self.slot.is_none() {
            self.slot = ready!(self.slots.poll_acquire(cx));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut PollContext<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        // apalis asks only after poll_ready, which took a slot; without one no attempt is taken, for it
        // would be lost.
        let Some(slot) = self.slot.take() else {
            return Poll::Ready(None);
        };
        match self.inlet.poll_recv(cx) {
            Poll::Pending => {
                self.slot = Some(slot);
                Poll::Pending
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(attempt)) => {
                Poll::Ready(Some(Ok(TaskBuilder::new(Slotted { attempt, slot }).build())))
            }
        }
    }

    /// Hands back what has not begun: it costs no attempt and another worker can have it at once.
    fn poll_close(&mut self, cx: &mut PollContext<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        // The fetcher ends with the shutdown and closes its side; until then more may come.
        while let Some(attempt) = ready!(self.inlet.poll_recv(cx)) {
            self.held.unload(&attempt);
            self.held.through(attempt.pool);
            attempt.settling.set();
            if let Some(settler) = &self.settler
                && settler.send(released(attempt.id, attempt.token)).is_err()
            {
                tracing::warn!(job.id = %attempt.id, "an unstarted job could not be handed back; its lease will run out");
            }
        }
        self.settler = None;
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for Claims {
    type Args = Slotted;
    type Id = i64;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = tower::layer::util::Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        tower::layer::util::Identity::new()
    }
}
