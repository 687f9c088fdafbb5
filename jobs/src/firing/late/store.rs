//! The statements that find firings which wait or run for too long.

use rules::id::FiringId;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// How long a firing that was looked at is left alone, in seconds.
const LOOK_EVERY_S: i32 = 300;

/// A firing whose run took too long, or whose end nobody told.
#[derive(Debug, Clone)]
pub struct Overdue {
    /// The firing.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Its run.
    pub run_id: Uuid,
    /// The run's status; none where the run is gone.
    pub status: Option<String>,
    /// Why the run failed.
    pub error: Option<String>,
}

/// Firings whose runs should have ended by now, the most overdue first; they are looked at again a minute later.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn overdue(conn: &mut PgConnection, limit: i64) -> Result<Vec<Overdue>> {
    let rows = sqlx::query_as!(
        Overdue,
        r#"with late as materialized (
            select id from schedule_firing where state = 'STARTED' and deadline_at <= now()
            order by deadline_at limit $1 for update skip locked),
        put_off as (
            update schedule_firing f set deadline_at = now() + interval '1 minute'
            where f.id = any(array(select id from late)) returning f.id, f.tenant_id, f.run_id)
        select p.id as "id!", p.tenant_id as "tenant_id!", p.run_id as "run_id!", r.status as "status?", r.error as "error?"
        from put_off p left join run r on r.id = p.run_id"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Says whether the run of a firing is cancelled because it took too long.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn set_timed_out(conn: &mut PgConnection, id: FiringId, timed_out: bool) -> Result<()> {
    sqlx::query!("update schedule_firing set timed_out = $2 where id = $1", id.0, timed_out)
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes hold of firings that have waited for their jobs since somebody looked, the longest first.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn waiting(conn: &mut PgConnection, limit: i64) -> Result<Vec<Uuid>> {
    let rows = sqlx::query_scalar!(
        "with late as materialized (
            select id from schedule_firing where state = 'QUEUED' and look_at <= now()
            order by look_at limit $1 for update skip locked)
        update schedule_firing f set look_at = now() + $2::integer * interval '1 second'
        where f.id = any(array(select id from late)) returning f.id",
        limit,
        LOOK_EVERY_S
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A firing that waits for a job which will not come.
#[derive(Debug, Clone, Copy)]
pub struct Jobless {
    /// The firing.
    pub id: Uuid,
    /// Whether its job is among the dead letters.
    pub dead: bool,
}

/// Those of the given firings whose jobs are not there any more. A statement of its own after they are held, so that it
/// sees the job of an attempt that began meanwhile.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn jobless(conn: &mut PgConnection, held: &[Uuid]) -> Result<Vec<Jobless>> {
    let rows = sqlx::query_as!(
        Jobless,
        r#"select f.id, exists (select from job_dead d where d.job_id = f.job_id) as "dead!" from schedule_firing f
        where f.id = any($1) and f.state = 'QUEUED' and f.job_id is not null
            and not exists (select from job j where j.id = f.job_id)"#,
        held
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
