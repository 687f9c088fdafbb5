//! Dead letters by what ended them: found, searched, and counted in groups.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rules::id::TenantId;
use rules::kept;
use rules::queue::Kind;
use rules::queue::letter::Letters;
use sqlx::PgConnection;

use super::look::{JobView, known};
use crate::db::{MAX_FETCHED, Slice, slice};
use crate::{Error, Result};

/// The kind whose letters a sweep leaves out: that of its own job.
const OF_SWEEPS: Kind = Kind::LetterSweep;

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

/// How far one call looks: a search goes through all dead letters there are.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// How many one statement looks at.
    pub window: i32,
    /// How many statements there are at most.
    pub windows: u32,
    /// After how long none more is begun.
    pub time: Duration,
}

impl Bound {
    /// What a call may cost that somebody waits for: a million letters, and two seconds.
    pub const USUAL: Self = Self { window: 10_000, windows: 100, time: Duration::from_secs(2) };

    /// Whether so many statements since then are all.
    fn is_reached(&self, windows: u32, since: Instant) -> bool {
        windows >= self.windows || since.elapsed() >= self.time
    }
}

/// Some of those that were asked for.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The ids of their jobs, in the order in which they were looked at.
    pub ids: Vec<i64>,
    /// Where to go on; none when there are no more.
    pub reached: Option<i64>,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counted {
    /// How many were found.
    pub count: i64,
    /// Whether these are all; otherwise it was not looked any further.
    pub complete: bool,
}

/// A page of dead letters.
#[derive(Debug)]
pub struct Leaf {
    /// The letters, the newest job first.
    pub letters: Slice<JobView>,
    /// Up to where it was looked, where that is neither the end nor the last of the page.
    pub reached: Option<i64>,
}

/// Looks for dead letters in the ascending order of their ids, from the one after `after`, among those that come next: at
/// most `window`. Those of a sweep's own kind are left out. It may find none and there be more.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn find_up(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    letters: &Letters,
    after: i64,
    window: i32,
    limit: i32,
) -> Result<Found> {
    find(conn, tenant, letters, Some(OF_SWEEPS), (Some(after), None), (window, limit)).await
}

async fn find(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    letters: &Letters,
    besides: Option<Kind>,
    (after, before): (Option<i64>, Option<i64>),
    (window, limit): (i32, i32),
) -> Result<Found> {
    let row = sqlx::query!(
        r#"select ids as "ids!", reached from letter_find_v2($1, $2, $3, $4, $5, $6, $7)"#,
        tenant.map(|t| t.0),
        serde_json::to_value(letters).map_err(Error::internal)?,
        besides.map(Kind::as_str),
        after,
        before,
        window,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(Found { ids: row.ids, reached: row.reached })
}

/// How many dead letters a sweep of those that are asked for would take, counted from the newest for as far as the bound
/// allows.
///
/// # Errors
/// As [`page`].
pub async fn count(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    letters: &Letters,
    bound: Bound,
) -> Result<Counted> {
    letters.check().map_err(|bad| Error::invalid(bad.to_string()))?;
    let (mut count, mut from, mut windows, since) = (0, None, 0, Instant::now());
    let complete = loop {
        let sizes = (bound.window, bound.window);
        let found = find(conn, tenant, letters, Some(OF_SWEEPS), (None, from), sizes).await?;
        count += i64::try_from(found.ids.len()).unwrap_or(i64::MAX);
        windows += 1;
        from = found.reached;
        if from.is_none() || bound.is_reached(windows, since) {
            break from.is_none();
        }
    };
    if count == 0
        && let Some(kind) = &letters.kind
    {
        known(kind)?;
    }
    Ok(Counted { count, complete })
}

/// A page of dead letters, the newest job first, looked for as far as the bound allows.
///
/// # Errors
/// Invalid for what cannot be asked for, Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: Option<TenantId>,
    letters: &Letters,
    before: Option<i64>,
    limit: i64,
    bound: Bound,
) -> Result<Leaf> {
    letters.check().map_err(|bad| Error::invalid(bad.to_string()))?;
    let limit = usize::try_from(limit.clamp(1, MAX_FETCHED)).unwrap_or(1);
    let (mut ids, mut from, mut windows, since) = (Vec::new(), before, 0, Instant::now());
    let mut reached = None;
    while ids.len() < limit {
        if windows > 0 && bound.is_reached(windows, since) {
            reached = from;
            break;
        }
        let left = i32::try_from(limit - ids.len()).unwrap_or(i32::MAX);
        let found = find(conn, tenant, letters, None, (None, from), (bound.window, left)).await?;
        windows += 1;
        ids.extend(found.ids);
        let Some(next) = found.reached else { break };
        from = Some(next);
    }
    if ids.is_empty()
        && let Some(kind) = &letters.kind
    {
        known(kind)?;
    }
    let letters = rows(conn, &ids).await?;
    // What was left out because it is large is the next page's.
    let reached = reached.filter(|_| !letters.cut);
    Ok(Leaf { letters, reached })
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
