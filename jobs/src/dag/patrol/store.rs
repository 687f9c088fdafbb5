//! Finds runs under way, and what they wait for in vain.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;

/// Whether anybody left something behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftBehind {
    /// Leases that ran out.
    pub leases: bool,
    /// Runs under way, such as wait for a word, or waiters of whichever run: the patrol and the sweep have something to look at.
    pub runs: bool,
    /// Sweeps of dead letters that are under way and have no job.
    pub sweeps: bool,
}

/// Looks whether anybody left something behind, so that an idle worker asks one thing and not five.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn left_behind(conn: &mut PgConnection) -> Result<LeftBehind> {
    let found = sqlx::query_as!(
        LeftBehind,
        r#"select exists (select from job_lease where lease_until < now()) as "leases!",
            exists (select from run_inbox) or exists (select from run_waiter) or exists (select from run where status = 'RUNNING')
                or exists (select from run where status = 'PENDING' and created_at < now() - interval '1 minute') as "runs!",
            exists (select from letter_sweep s where s.state = 'RUNNING' and not exists (select from job j where j.id = s.job_id))
                as "sweeps!""#
    )
    .fetch_one(conn)
    .await?;
    Ok(found)
}

/// A line whose job is gone, with nothing after it.
#[derive(Debug)]
pub(super) struct Lost {
    /// The run.
    pub(super) run_id: Uuid,
    /// Whose it is.
    pub(super) tenant_id: Uuid,
    /// The line's entry, in its stored form.
    pub(super) entry: Value,
}

/// The next runs under way after one.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn running(conn: &mut PgConnection, after: Uuid, limit: i64) -> Result<Vec<Uuid>> {
    let rows = sqlx::query!(
        "select id from run where status = 'RUNNING' and id > $1 order by id limit $2",
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| r.id).collect())
}

/// Of these runs, the nodes whose last line waits for a job that is gone, while no word of it lies in the
/// inbox. One statement, hence one moment: a job that ends leaves its line or its letter in the same
/// transaction.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn lost(conn: &mut PgConnection, runs: &[Uuid]) -> Result<Vec<Lost>> {
    let rows = sqlx::query_as!(
        Lost,
        r#"select r.id as run_id, r.tenant_id, l.entry
        from run r cross join lateral (
            select distinct on (x.node_id) x.entry, x.job_id from run_log x
            where x.run_id = r.id and x.node_id is not null order by x.node_id, x.seq desc
        ) l
        where r.id = any($1) and r.status = 'RUNNING' and l.job_id is not null
            and not exists (select from job j where j.id = l.job_id)
            and not exists (select from run_inbox i where i.run_id = r.id)"#,
        runs
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}
