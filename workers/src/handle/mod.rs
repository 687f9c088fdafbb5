//! The handlers, one file per payload file, and what happens when a job of theirs dies.

pub(crate) mod audit;
mod call;
mod death;
pub(crate) mod health;
pub(crate) mod host;
mod leftover;
pub(crate) mod listener;
pub(crate) mod machine;
pub(crate) mod noop;
mod order;
mod reading;
pub(crate) mod run;
pub(crate) mod schedule;
mod script;
pub(crate) mod sweep;
mod task;

pub(crate) use death::{before_deaths, jobs_died, tell_death};

use jobs::dag::patrol::patrol;
use jobs::dag::start;
use rules::queue::Outcome;

use crate::context::Context;

/// What a handler did with its attempt.
pub(crate) enum Handled {
    /// It acknowledged the attempt in its own transaction, together with its result.
    Settled,
    /// This is to be acknowledged for it.
    Outcome(Outcome),
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
