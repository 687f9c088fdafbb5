//! The handlers, one file per payload file, and what happens when a job of theirs dies.

pub(crate) mod noop;

use jobs::db::PgConnection;
use jobs::queue::{DeadJob, Enqueued};
use rules::queue::Outcome;

use crate::context::Context;

/// What a handler did with its attempt.
pub(crate) enum Handled {
    /// It acknowledged the attempt in its own transaction, together with its result.
    Settled,
    /// This is to be acknowledged for it.
    Outcome(Outcome),
}

/// Tells whoever waits for these jobs that they died, in the transaction in which they do.
pub(crate) async fn jobs_died(conn: &mut PgConnection, dead: &[DeadJob]) -> jobs::Result<Vec<Enqueued>> {
    tracing::trace!(dead = dead.len(), connection = ?std::ptr::from_ref(conn), "jobs died");
    Ok(Vec::new())
}

/// Looks for work that a crash stranded between two transactions, every few seconds.
pub(crate) async fn upkeep(context: &Context) -> jobs::Result<()> {
    tracing::trace!(idle = context.db.num_idle(), "nothing can be stranded yet");
    Ok(())
}
