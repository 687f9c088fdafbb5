//! What happens when jobs die: whoever waits for them is told, and the log.

use jobs::dag::start;
use jobs::db::PgConnection;
use jobs::firing;
use jobs::machine::report::store::hold_of_jobs;
use jobs::payload::about;
use jobs::queue::{DeadJob, Enqueued};
use jobs::sweep;
use jobs::trace::TraceContext;
use rules::queue::Kind;

use super::{health, listener, machine};

/// Holds what the deaths of these jobs will change and others hold before they come to the jobs. Call it before the
/// statement by which they may die, in its transaction.
pub(crate) async fn before_deaths(conn: &mut PgConnection, jobs: &[i64]) -> jobs::Result<()> {
    if jobs.is_empty() { Ok(()) } else { hold_of_jobs(conn, jobs).await }
}

/// Tells whoever waits for these jobs that they died, in the transaction in which they do.
pub(crate) async fn jobs_died(conn: &mut PgConnection, dead: &[DeadJob]) -> jobs::Result<Vec<Enqueued>> {
    let mut told = Vec::new();
    for job in dead {
        match job.kind.parse::<Kind>() {
            Ok(kind) => {
                listener::died(conn, kind, job).await?;
                told.extend(machine::died(conn, kind, job).await?);
                told.extend(health::died(conn, kind, job).await?);
                firing::job_died(conn, kind, job).await?;
                sweep::job_died(conn, kind, job).await?;
                told.extend(start::job_died(conn, kind, job).await?);
            }
            // Only a later version can have enqueued it, and only a later one waits for it.
            Err(unknown) => tracing::warn!(job.id = %job.id, %unknown, "a job died that nobody here knows"),
        }
    }
    Ok(told)
}

/// Says that a job is dead: in the log, with what it was about.
pub(crate) fn tell_death(dead: &DeadJob) {
    let about = dead.kind.parse().map(|kind| about(kind, &dead.payload)).unwrap_or_default();
    let trace = dead.trace_parent.as_deref().and_then(TraceContext::parse).map(|trace| trace.trace_id());
    tracing::warn!(
        job.id = %dead.id,
        job.kind = %dead.kind,
        trace.id = trace,
        tenant.id = dead.tenant.map(display),
        run.id = about.run.map(display),
        node.id = about.node,
        notice.id = about.notice.map(display),
        operation.id = about.operation.map(display),
        error = %dead.error,
        "job is dead"
    );
}
