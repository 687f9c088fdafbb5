//! The handlers, one file per payload file, and what happens when a job of theirs dies.

mod call;
pub(crate) mod host;
pub(crate) mod listener;
pub(crate) mod machine;
pub(crate) mod noop;
pub(crate) mod run;
mod script;
mod task;

use jobs::dag::patrol::patrol;
use jobs::dag::start;
use jobs::db::PgConnection;
use jobs::queue::{DeadJob, Enqueued};
use rules::queue::{Kind, Outcome};

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
    let mut told = Vec::new();
    for job in dead {
        match job.kind.parse::<Kind>() {
            Ok(kind) => {
                listener::died(conn, kind, job).await?;
                machine::died(conn, kind, job).await?;
                told.extend(start::job_died(conn, kind, job).await?);
            }
            // Only a later version can have enqueued it, and only a later one waits for it.
            Err(unknown) => tracing::warn!(job.id = %job.id, %unknown, "a job died that nobody here knows"),
        }
    }
    Ok(told)
}

/// Looks for work that a crash stranded between two transactions, every few seconds.
pub(crate) async fn upkeep(context: &Context) -> jobs::Result<()> {
    let mut conn = context.db.acquire().await?;
    let found = start::sweep(&mut conn).await?;
    context.wake.send(&found);
    drop(conn);
    let mut tx = jobs::db::begin(&context.db).await?;
    let (beat, lost) = patrol(&mut tx, context.beat()).await?;
    tx.commit().await?;
    context.went(beat);
    context.wake.send(&lost);
    Ok(())
}
