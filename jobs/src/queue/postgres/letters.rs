//! Dead letters by what ended them: found, searched, and counted in groups.

use chrono::{DateTime, Utc};
use rules::id::TenantId;
use rules::kept;
use rules::queue::letter::Letters;
use sqlx::PgConnection;

use super::look::{JobView, known};
use crate::db::{MAX_FETCHED, Slice, slice};
use crate::{Error, Result};

/// The dead letters that one statement looks at: a search goes through all there are, so many at a time.
const WINDOW: i32 = 10_000;

/// The most dead letters that are counted in groups.
pub const GROUPED_MAX: i32 = 100_000;

/// Dead letters of one kind whose errors have one shape.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct LetterGroup {
    /// By what it is asked for.
    pub fingerprint: String,
    /// Their kind's wire name.
    pub kind: String,
    /// How many there are.
    pub count: i64,
    /// When the first of them died.
    pub first_at: DateTime<Utc>,
    /// When the last of them died.
    pub last_at: DateTime<Utc>,
    /// The newest job of them.
    pub sample_id: i64,
    /// Why that one died.
    pub sample_error: String,
}

/// Groups, the largest first.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LetterGroups {
    /// The groups.
    pub groups: Vec<LetterGroup>,
    /// How many dead letters were looked at.
    pub looked: i64,
    /// Whether these were all there are.
    pub complete: bool,
}

/// From where dead letters are walked, and which way.
#[derive(Debug, Clone, Copy)]
pub enum Walk {
    /// From the newest before this one.
    Before(Option<i64>),
    /// From the oldest after this one.
    After(i64),
}

/// Some of those that were asked for.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The ids of their jobs, in the order of the walk.
    pub ids: Vec<i64>,
    /// Where to go on; none when there are no more.
    pub reached: Option<i64>,
}

/// Looks for dead letters among those that come next; with a tenant, only that tenant's. It may find none and there be
/// more.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn find(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    letters: &Letters,
    walk: Walk,
    limit: i32,
) -> Result<Found> {
    let (after, before) = match walk {
        Walk::Before(before) => (None, before),
        Walk::After(after) => (Some(after), None),
    };
    let row = sqlx::query!(
        r#"select ids as "ids!", reached from letter_find_v1($1, $2, $3, $4, $5, $6)"#,
        tenant.map(|t| t.0),
        serde_json::to_value(letters).map_err(Error::internal)?,
        after,
        before,
        WINDOW,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(Found { ids: row.ids, reached: row.reached })
}

/// A page of dead letters, the newest job first.
///
/// # Errors
/// Invalid for what cannot be asked for, Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    letters: &Letters,
    before: Option<i64>,
    limit: i64,
) -> Result<Slice<JobView>> {
    letters.check().map_err(|bad| Error::invalid(bad.to_string()))?;
    let limit = usize::try_from(limit.clamp(1, MAX_FETCHED)).unwrap_or(1);
    let (mut ids, mut from) = (Vec::new(), before);
    while ids.len() < limit {
        let left = i32::try_from(limit - ids.len()).unwrap_or(i32::MAX);
        let found = find(conn, tenant, letters, Walk::Before(from), left).await?;
        ids.extend(found.ids);
        let Some(reached) = found.reached else { break };
        from = Some(reached);
    }
    if ids.is_empty()
        && let Some(kind) = &letters.kind
    {
        known(kind)?;
    }
    rows(conn, &ids).await
}

/// The groups of the dead letters that are asked for, the largest first. They are not searched by the text of their
/// errors.
///
/// # Errors
/// As [`page`].
pub async fn groups(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    letters: &Letters,
    limit: i32,
) -> Result<LetterGroups> {
    letters.check().map_err(|bad| Error::invalid(bad.to_string()))?;
    let row = sqlx::query!(
        r#"select looked as "looked!", groups as "groups!" from letter_groups_v1($1, $2, $3, $4)"#,
        tenant.map(|t| t.0),
        serde_json::to_value(letters).map_err(Error::internal)?,
        // One more, to know whether there are more.
        GROUPED_MAX + 1,
        limit
    )
    .fetch_one(&mut *conn)
    .await?;
    let groups: Vec<LetterGroup> = serde_json::from_value(row.groups).map_err(Error::internal)?;
    if groups.is_empty()
        && let Some(kind) = &letters.kind
    {
        known(kind)?;
    }
    let most = i64::from(GROUPED_MAX);
    Ok(LetterGroups { groups, looked: row.looked.min(most), complete: row.looked <= most })
}

async fn rows(conn: &mut PgConnection, ids: &[i64]) -> Result<Slice<JobView>> {
    let rows = sqlx::query_as!(
        JobView,
        r#"select t.job_id as "id!", 'DEAD' as "state!", t.kind, q.name as queue, t.tenant_id, t.priority, t.attempt, t.crashes,
            t.created_at, null::timestamptz as run_at, null::timestamptz as started_at, t.died_at as "finished_at?",
            null::integer as run_ms, null::uuid as worker_id, t.error as "error?", t.trace_parent, t.payload
        from job_dead t join job_queue q on q.id = t.queue_id
        where t.job_id = any($1) order by t.job_id desc"#,
        ids
    )
    .fetch(conn);
    slice(rows, |job| kept::bytes(&job.payload)).await
}
