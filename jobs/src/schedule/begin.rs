//! Starts the run of a firing, with the rights that whoever saved the schedule has now.

use rules::access::{Permission, Wildcard};
use rules::id::{FiringId, JobId, RunId, TenantId, WorkflowId};
use sqlx::PgConnection;

use super::store;
use crate::dag::Graphs;
use crate::dag::start::{BY_SCHEDULE, Start, Started, execute};
use crate::db::savepoint;
use crate::firing::store::{self as firings, Attempted};
use crate::queue::Enqueued;
use crate::{Code, Error, Result, access, firing};

/// What came of a firing's attempt.
#[derive(Debug)]
#[must_use = "pass `enqueued` to `Wake::send` after the commit"]
pub struct Begun {
    /// The run; none where it could not be started, or the firing had nothing to start any more.
    pub run: Option<RunId>,
    /// Whether it could not be started.
    pub refused: bool,
    /// The jobs that let it go on: those of the run, or the next attempt.
    pub enqueued: Vec<Enqueued>,
}

/// Starts the run of a firing that waits, or that ended because this `job` died, which somebody has redriven. One that
/// does not wait any more was begun before: nothing happens. What is wrong with the schedule, its workflow or the rights
/// of who saved it ends the attempt and is kept with the firing.
///
/// # Errors
/// NotFound where the firing is gone, as that of a job may be which was redriven late; Unavailable and Internal, for
/// which the schedule can do nothing: roll back and try again.
pub async fn begin(
    conn: &mut PgConnection,
    graphs: &Graphs,
    tenant: TenantId,
    id: FiringId,
    job: JobId,
    wildcard: Wildcard,
    trace_parent: Option<&str>,
) -> Result<Begun> {
    firings::reopen(conn, tenant, id, job).await?;
    let Some((attempted, schedule)) = firings::queued(conn, tenant, id).await? else {
        return match firings::get(conn, tenant, id).await {
            Ok(_) => Ok(Begun { run: None, refused: false, enqueued: Vec::new() }),
            Err(error) if error.code == Code::NotFound => Err(Error::not_found(format!(
                "firing `{id}` is gone, for it ended long ago; fire its schedule anew in place of this job"
            ))),
            Err(error) => Err(error),
        };
    };
    savepoint::mark(conn).await?;
    let started = async {
        let schedule = store::get(conn, Some(tenant), schedule).await?;
        access::may(conn, tenant, &schedule.saved_by, "the schedule", Permission::WorkflowExecute, wildcard)
            .await?;
        let by = format!("{BY_SCHEDULE}{}", schedule.id);
        let start = Start {
            tenant,
            workflow: WorkflowId(schedule.workflow_id),
            input: &schedule.input,
            idempotency_key: None,
            started_by: &by,
            trace_parent,
        };
        execute(conn, graphs, &start).await
    };
    match started.await {
        Ok(started) => keep(conn, &attempted, started).await,
        Err(error) => match error.code {
            Code::Unavailable | Code::Interrupted | Code::Internal => Err(error),
            Code::NotFound | Code::Invalid | Code::Conflict | Code::Denied | Code::Exhausted => {
                // What Postgres itself refused, such as a character that it cannot keep, would end the whole transaction.
                savepoint::take_back(conn).await?;
                let enqueued = firing::failed(conn, &attempted, &error.to_string()).await?;
                Ok(Begun { run: None, refused: true, enqueued })
            }
        },
    }
}

async fn keep(conn: &mut PgConnection, attempted: &Attempted, started: Started) -> Result<Begun> {
    firings::started(conn, attempted.id, started.run, attempted.timeout_s).await?;
    Ok(Begun { run: Some(started.run), refused: false, enqueued: started.enqueued })
}
