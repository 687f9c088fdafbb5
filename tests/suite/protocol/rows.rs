//! Where the rows of a job are: in the real tables, and as they were explored.

use jobs::db::PgConnection;
use rules::id::JobId;

use super::state::{State, Wait};

/// Where the rows of a job are, as both sides can tell.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Rows {
    row: bool,
    ready: bool,
    waits: bool,
    due: bool,
    holds_key: bool,
    blocked: bool,
    leased: bool,
    ran_out: bool,
    cancel: bool,
    done: i64,
    cancelled: i64,
    dead: bool,
    attempt: Option<i16>,
    crashes: Option<i16>,
}

const ROWS: &str = "select exists (select from job where id = $1) as row,
    exists (select from job_ready where job_id = $1) as ready,
    exists (select from job_scheduled where job_id = $1) as waits,
    exists (select from job_scheduled where job_id = $1 and run_at <= now()) as due,
    exists (select from job_scheduled where job_id = $1 and holds_key) as holds_key,
    exists (select from job_blocked where job_id = $1) as blocked,
    exists (select from job_lease where job_id = $1) as leased,
    exists (select from job_lease where job_id = $1 and lease_until < now()) as ran_out,
    exists (select from job_lease where job_id = $1 and cancel_requested) as cancel,
    (select count(*) from job_history where job_id = $1 and outcome = 0) as done,
    (select count(*) from job_history where job_id = $1 and outcome = 4) as cancelled,
    exists (select from job_dead where job_id = $1) as dead,
    t.attempt, t.crashes
    from (select) one left join (
        select job_id, attempt, crashes from job_ready union all select job_id, attempt, crashes from job_scheduled
        union all select job_id, attempt, crashes from job_blocked union all select job_id, attempt, crashes from job_lease
        union all select job_id, attempt, crashes from job_dead
    ) t on t.job_id = $1";

impl Rows {
    /// As the search has them.
    pub(super) fn explored(state: &State, id: u8) -> Self {
        let job = state.job(id);
        let counts = job.row || job.dead;
        Self {
            row: job.row,
            ready: job.ready,
            waits: job.waits != Wait::No,
            due: job.waits == Wait::Due,
            holds_key: job.holds_key,
            blocked: job.blocked,
            leased: job.lease.is_some(),
            ran_out: job.lease.is_some_and(|lease| lease.ran_out),
            cancel: job.lease.is_some_and(|lease| lease.cancel),
            done: job.done.into(),
            cancelled: job.cancelled.into(),
            dead: job.dead,
            attempt: counts.then_some(job.attempt.into()),
            crashes: counts.then_some(job.crashes.into()),
        }
    }

    /// As the queue has them.
    pub(super) async fn real(conn: &mut PgConnection, id: JobId) -> Self {
        sqlx::query_as(ROWS).bind(id.0).fetch_one(conn).await.unwrap()
    }
}
