//! The statements of schedules.

use chrono::{DateTime, Utc};
use rules::id::{ScheduleId, TenantId, WorkflowId};
use rules::kept;
use rules::schedule::{CatchUp, SCHEDULES_PER_TENANT_MAX, When};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::{MAX_FETCHED, Slice, slice};
use crate::{Error, Listing, Result};

/// A schedule.
#[derive(Debug, Clone, Serialize)]
pub struct Schedule {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Its name for people, 1 to 255 characters.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// The workflow that it starts.
    pub workflow_id: Uuid,
    /// What each run starts with.
    pub input: Value,
    /// The cron line, where it has one.
    pub cron: Option<String>,
    /// The time zone of the line.
    pub time_zone: Option<String>,
    /// So many seconds apart.
    pub interval_s: Option<i64>,
    /// The only tick, or with an interval the first.
    pub at: Option<DateTime<Utc>>,
    /// SKIP, ONCE or ALL.
    pub catch_up: String,
    /// How many missed ticks are made up for at most, with ALL.
    pub catch_up_max: i32,
    /// How long a run may take, in seconds.
    pub timeout_s: i32,
    /// How many further attempts a firing has whose run fails.
    pub retries: i32,
    /// The wait before each, in seconds.
    pub retry_delay_s: i32,
    /// Whether nothing is fired.
    pub disabled: bool,
    /// The next tick; none while it is disabled, or when none is left.
    pub next_at: Option<DateTime<Utc>>,
    /// Counts edits; the first is 1.
    pub version: i32,
    /// Who saved it last.
    pub saved_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Schedule {
    /// When it is due.
    ///
    /// # Errors
    /// Internal when what is stored does not read back.
    pub fn when(&self) -> Result<When> {
        match (&self.cron, &self.time_zone, self.interval_s, self.at) {
            (Some(line), Some(zone), None, None) => Ok(When::Cron { line: line.clone(), zone: zone.clone() }),
            (None, None, Some(seconds), Some(from)) => Ok(When::Every { seconds, from }),
            (None, None, None, Some(at)) => Ok(When::Once(at)),
            _ => Err(Error::internal(format!("the timing of schedule {} does not read back", self.id))),
        }
    }

    /// What is done about ticks that were missed.
    ///
    /// # Errors
    /// Internal when what is stored does not read back.
    pub fn catches_up(&self) -> Result<CatchUp> {
        let most = self.catch_up_max.unsigned_abs();
        CatchUp::from_name(&self.catch_up, most).ok_or_else(|| {
            Error::internal(format!("schedule {} has the unknown catch-up `{}`", self.id, self.catch_up))
        })
    }
}

/// What is kept of a schedule that is saved.
#[derive(Debug, Clone)]
pub(super) struct Saved<'a> {
    pub(super) title: &'a str,
    pub(super) description: &'a str,
    pub(super) workflow: WorkflowId,
    pub(super) input: &'a Value,
    pub(super) when: &'a When,
    pub(super) catch_up: CatchUp,
    pub(super) timeout_s: i32,
    pub(super) retries: i32,
    pub(super) retry_delay_s: i32,
    pub(super) disabled: bool,
    pub(super) next_at: Option<DateTime<Utc>>,
    pub(super) by: &'a str,
}

/// A timing as its columns: line, zone, interval and time.
type Columns<'a> = (Option<&'a str>, Option<&'a str>, Option<i64>, Option<DateTime<Utc>>);

fn columns(when: &When) -> Columns<'_> {
    match when {
        When::Cron { line, zone } => (Some(line), Some(zone), None, None),
        When::Every { seconds, from } => (None, None, Some(*seconds), Some(*from)),
        When::Once(at) => (None, None, None, Some(*at)),
    }
}

fn most(catch_up: CatchUp) -> i32 {
    match catch_up {
        CatchUp::Skip | CatchUp::Once => 1,
        CatchUp::All(most) => i32::try_from(most).unwrap_or(i32::MAX),
    }
}

/// The database's clock.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn now(conn: &mut PgConnection) -> Result<DateTime<Utc>> {
    Ok(sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(conn).await?)
}

/// Stores a schedule.
///
/// # Errors
/// Exhausted when the tenant has as many as it may have.
pub(super) async fn insert(
    conn: &mut PgConnection,
    id: ScheduleId,
    tenant: TenantId,
    saved: &Saved<'_>,
) -> Result<()> {
    let (cron, zone, interval_s, at) = columns(saved.when);
    let done = sqlx::query!(
        "insert into schedule (id, tenant_id, title, description, workflow_id, input, cron, time_zone, interval_s, at,
            catch_up, catch_up_max, timeout_s, retries, retry_delay_s, disabled, next_at, saved_by)
        select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18
        where (select count(*) from schedule where tenant_id = $2) < $19",
        id.0,
        tenant.0,
        saved.title,
        saved.description,
        saved.workflow.0,
        saved.input,
        cron,
        zone,
        interval_s,
        at,
        saved.catch_up.as_str(),
        most(saved.catch_up),
        saved.timeout_s,
        saved.retries,
        saved.retry_delay_s,
        saved.disabled,
        saved.next_at,
        saved.by,
        SCHEDULES_PER_TENANT_MAX
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    Err(Error::exhausted(format!(
        "the tenant has {SCHEDULES_PER_TENANT_MAX} schedules, the most that it may have; delete one"
    )))
}

/// Stores a schedule anew, if it still is at `version`.
///
/// # Errors
/// Conflict when it was changed meanwhile.
pub(super) async fn save(
    conn: &mut PgConnection,
    id: ScheduleId,
    tenant: TenantId,
    version: i32,
    saved: &Saved<'_>,
) -> Result<()> {
    let (cron, zone, interval_s, at) = columns(saved.when);
    let done = sqlx::query!(
        "update schedule set title = $4, description = $5, workflow_id = $6, input = $7, cron = $8, time_zone = $9,
            interval_s = $10, at = $11, catch_up = $12, catch_up_max = $13, timeout_s = $14, retries = $15,
            retry_delay_s = $16, disabled = $17, next_at = $18, saved_by = $19, version = version + 1, updated_at = now()
        where tenant_id = $1 and id = $2 and version = $3",
        tenant.0,
        id.0,
        version,
        saved.title,
        saved.description,
        saved.workflow.0,
        saved.input,
        cron,
        zone,
        interval_s,
        at,
        saved.catch_up.as_str(),
        most(saved.catch_up),
        saved.timeout_s,
        saved.retries,
        saved.retry_delay_s,
        saved.disabled,
        saved.next_at,
        saved.by
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(());
    }
    Err(Error::conflict(format!(
        "schedule `{id}` is not at version {version} any more; read it again and repeat the change"
    )))
}

/// Says whether a schedule fires, and when next.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn set_disabled(
    conn: &mut PgConnection,
    id: ScheduleId,
    tenant: TenantId,
    disabled: bool,
    next_at: Option<DateTime<Utc>>,
) -> Result<()> {
    sqlx::query!(
        "update schedule set disabled = $3, next_at = $4, version = version + 1, updated_at = now() where tenant_id = $1 and id = $2",
        tenant.0,
        id.0,
        disabled,
        next_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A schedule; with no tenant named, anybody's.
///
/// # Errors
/// NotFound when there is no such schedule.
pub async fn get(conn: &mut PgConnection, tenant: Option<TenantId>, id: ScheduleId) -> Result<Schedule> {
    let found = sqlx::query_as!(
        Schedule,
        "select id, tenant_id, title, description, workflow_id, input, cron, time_zone, interval_s, at, catch_up, catch_up_max,
            timeout_s, retries, retry_delay_s, disabled, next_at, version, saved_by, created_at, updated_at
        from schedule where id = $1 and ($2::uuid is null or tenant_id = $2)",
        id.0,
        tenant.map(|t| t.0)
    )
    .fetch_optional(conn)
    .await?;
    found
        .ok_or_else(|| Error::not_found(format!("there is no schedule `{id}`")).listed_in(Listing::Schedules))
}

/// Holds a schedule of a tenant's until the transaction ends.
///
/// # Errors
/// NotFound when there is no such schedule.
pub(super) async fn hold(conn: &mut PgConnection, tenant: TenantId, id: ScheduleId) -> Result<Schedule> {
    sqlx::query!("select id from schedule where tenant_id = $1 and id = $2 for update", tenant.0, id.0)
        .fetch_optional(&mut *conn)
        .await?;
    get(conn, Some(tenant), id).await
}

/// Which schedules a page holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// Only this tenant's.
    pub tenant: Option<TenantId>,
    /// Only those of this workflow.
    pub workflow: Option<WorkflowId>,
    /// Only those that are disabled, or that are not.
    pub disabled: Option<bool>,
}

/// A page of schedules, newest first, older than the given one.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    filter: &Filter,
    before: Option<ScheduleId>,
    limit: i64,
) -> Result<Slice<Schedule>> {
    let rows = sqlx::query_as!(
        Schedule,
        "select id, tenant_id, title, description, workflow_id, input, cron, time_zone, interval_s, at, catch_up, catch_up_max,
            timeout_s, retries, retry_delay_s, disabled, next_at, version, saved_by, created_at, updated_at
        from schedule
        where ($1::uuid is null or tenant_id = $1) and ($2::uuid is null or workflow_id = $2)
            and ($3::boolean is null or disabled = $3) and ($4::uuid is null or id < $4)
        order by id desc limit $5",
        filter.tenant.map(|t| t.0),
        filter.workflow.map(|w| w.0),
        filter.disabled,
        before.map(|s| s.0),
        limit.clamp(1, MAX_FETCHED)
    )
    .fetch(conn);
    slice(rows, |s| kept::bytes(&s.input) + s.description.len()).await
}

/// Deletes a schedule. What came of its firings is kept for its time; those that wait fail.
///
/// # Errors
/// NotFound when there is no such schedule.
pub async fn delete(conn: &mut PgConnection, tenant: TenantId, id: ScheduleId) -> Result<()> {
    let done = sqlx::query!("delete from schedule where tenant_id = $1 and id = $2", tenant.0, id.0)
        .execute(conn)
        .await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::not_found(format!("there is no schedule `{id}`")).listed_in(Listing::Schedules))
    }
}

/// Schedules that are due, held until the transaction ends: the most overdue, or of more than `limit` as many of each
/// tenant. There may be more than are answered, though these are fewer than `limit`.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn due(conn: &mut PgConnection, limit: i64) -> Result<Vec<Schedule>> {
    let rows = sqlx::query_as!(
        Schedule,
        r#"select id as "id!", tenant_id as "tenant_id!", title as "title!", description as "description!",
            workflow_id as "workflow_id!", '{}'::jsonb as "input!", cron, time_zone, interval_s, at, catch_up as "catch_up!",
            catch_up_max as "catch_up_max!", timeout_s as "timeout_s!", retries as "retries!",
            retry_delay_s as "retry_delay_s!", disabled as "disabled!", next_at, version as "version!",
            saved_by as "saved_by!", created_at as "created_at!", updated_at as "updated_at!"
        from schedule_due_v2($1)"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Says of schedules when each is due next.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn advance(
    conn: &mut PgConnection,
    next: &[(ScheduleId, Option<DateTime<Utc>>)],
) -> Result<()> {
    let ids: Vec<Uuid> = next.iter().map(|(id, _)| id.0).collect();
    let times: Vec<Option<DateTime<Utc>>> = next.iter().map(|(_, at)| *at).collect();
    sqlx::query!(
        "update schedule s set next_at = n.at from unnest($1::uuid[], $2::timestamptz[]) n(id, at) where s.id = n.id",
        &ids,
        &times as &[Option<DateTime<Utc>>]
    )
    .execute(conn)
    .await?;
    Ok(())
}
