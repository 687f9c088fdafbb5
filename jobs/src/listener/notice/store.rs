//! Keeps notices and the state of their actions.

use chrono::{DateTime, Utc};
use rules::id::{ActionId, ListenerId, NoticeId, RunId, TenantId};
use rules::kept;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::db::{MAX_FETCHED, Slice, slice};
use crate::{Error, Listing, Result};

/// The longest error that is kept with a notice, in characters.
const ERROR_CHARS_MAX: usize = 2_000;

/// One thing that a listener heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Who heard it.
    pub listener_id: Uuid,
    /// What its sender calls it.
    pub delivery_id: String,
    /// When it was heard.
    pub received_at: DateTime<Utc>,
    /// Those of its headers that are kept.
    pub headers: Value,
    /// The event as it came.
    pub event: Value,
    /// What the transform made of it, once it did.
    pub transformed: Option<Value>,
    /// The name of a [`NoticeState`].
    pub state: String,
    /// How often it was taken through the pipeline again.
    pub replay: i32,
    /// Why it is dead, or why it was dropped where its transform did not do that.
    pub error: Option<String>,
    /// When its transform came to an end, the last time.
    pub settled_at: Option<DateTime<Utc>>,
}

/// What became of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeState {
    /// Its transform has not run.
    Received,
    /// Its actions are jobs now.
    Dispatched,
    /// Its transform gave null, its listener is gone, or its job was cancelled.
    Dropped,
    /// Its transform failed for good.
    Dead,
}

/// One action for one notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionRecord {
    /// The notice.
    pub notice_id: Uuid,
    /// The action of the pipeline.
    pub action_id: Uuid,
    /// Which time through the pipeline.
    pub replay: i32,
    /// What it does.
    pub kind: String,
    /// The name of an [`ActionState`].
    pub state: String,
    /// The run that it started.
    pub run_id: Option<Uuid>,
    /// Why it is dead, or was skipped where its pipeline does not say that.
    pub error: Option<String>,
    /// When it came to an end.
    pub settled_at: Option<DateTime<Utc>>,
}

/// What became of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionState {
    /// Its job lives.
    Queued,
    /// Done.
    Done,
    /// It was taken out of the pipeline, switched off or cancelled, or its listener was deleted, before its job ran.
    Skipped,
    /// It failed for good.
    Dead,
}

impl NoticeState {
    /// The name in the database and for users.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "RECEIVED",
            Self::Dispatched => "DISPATCHED",
            Self::Dropped => "DROPPED",
            Self::Dead => "DEAD",
        }
    }
}

impl ActionState {
    /// The name in the database and for users.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Done => "DONE",
            Self::Skipped => "SKIPPED",
            Self::Dead => "DEAD",
        }
    }
}

/// Stores a notice; none when the listener heard this delivery already.
///
/// # Errors
/// Unavailable when nobody answers.
pub(in crate::listener) async fn insert(
    conn: &mut PgConnection,
    id: NoticeId,
    tenant: TenantId,
    listener: ListenerId,
    delivery_id: &str,
    headers: &Value,
    event: &Value,
) -> Result<Option<NoticeId>> {
    let row = sqlx::query!(
        "insert into notice (id, tenant_id, listener_id, delivery_id, headers, event) values ($1, $2, $3, $4, $5, $6)
        on conflict on constraint notice_delivery_unique do nothing returning id",
        id.0,
        tenant.0,
        listener.0,
        delivery_id,
        headers,
        event
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| NoticeId(r.id)))
}

/// The notice of a delivery.
///
/// # Errors
/// Unavailable when nobody answers.
pub(in crate::listener) async fn by_delivery(
    conn: &mut PgConnection,
    listener: ListenerId,
    delivery_id: &str,
) -> Result<Option<NoticeId>> {
    let row = sqlx::query!(
        "select id from notice where listener_id = $1 and delivery_id = $2",
        listener.0,
        delivery_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| NoticeId(r.id)))
}

/// A tenant's notice.
///
/// # Errors
/// NotFound when the tenant has no such notice.
pub async fn get(conn: &mut PgConnection, tenant: TenantId, id: NoticeId) -> Result<Notice> {
    sqlx::query_as!(
        Notice,
        "select id, tenant_id, listener_id, delivery_id, received_at, headers, event, transformed, state, replay,
            error, settled_at
        from notice where tenant_id = $1 and id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))
}

/// A page of a tenant's notices, newest first, older than the given one; of one listener, if given.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: TenantId,
    listener: Option<ListenerId>,
    before: Option<NoticeId>,
    limit: i64,
) -> Result<Slice<Notice>> {
    let rows = sqlx::query_as!(
        Notice,
        "select id, tenant_id, listener_id, delivery_id, received_at, headers, event, transformed, state, replay,
            error, settled_at
        from notice where tenant_id = $1 and ($2::uuid is null or listener_id = $2) and ($3::uuid is null or id < $3)
        order by id desc limit $4",
        tenant.0,
        listener.map(|l| l.0),
        before.map(|n| n.0),
        limit.clamp(1, MAX_FETCHED)
    )
    .fetch(conn);
    slice(rows, |n| kept::bytes(&n.event) + n.transformed.as_ref().map_or(0, kept::bytes)).await
}

/// What became of the actions of these notices, the latest time first.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn actions(
    conn: &mut PgConnection,
    tenant: TenantId,
    notices: &[Uuid],
) -> Result<Vec<ActionRecord>> {
    let rows = sqlx::query_as!(
        ActionRecord,
        "select a.notice_id, a.action_id, a.replay, a.kind, a.state, a.run_id, a.error, a.settled_at
        from notice_action a join notice n on n.id = a.notice_id
        where n.tenant_id = $1 and n.id = any($2) order by a.replay desc, a.action_id",
        tenant.0,
        notices
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Says what a notice's transform came to. When it was sent through again since, that pass says what state
/// it is in, and what this one made of the event is kept aside, for its own actions.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn settle(
    conn: &mut PgConnection,
    id: NoticeId,
    replay: i32,
    state: NoticeState,
    transformed: Option<&Value>,
) -> Result<()> {
    sqlx::query!(
        "with latest as (
            update notice set transformed = $4, state = $3, error = null, settled_at = now()
            where id = $1 and replay = $2 returning id)
        insert into notice_pass (notice_id, tenant_id, replay, transformed)
        select n.id, n.tenant_id, $2, $4 from notice n where n.id = $1 and not exists (select from latest)
        on conflict (notice_id, replay) do update set transformed = excluded.transformed",
        id.0,
        replay,
        state.as_str(),
        transformed
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What the actions of an earlier pass see: what the transform made of the event in that pass, or the event
/// as it came where the pipeline had none. None when that was not kept.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn event_of_pass(conn: &mut PgConnection, id: NoticeId, replay: i32) -> Result<Option<Value>> {
    let row = sqlx::query!(
        r#"select coalesce(p.transformed, n.event) as "event!" from notice_pass p join notice n on n.id = p.notice_id
        where p.notice_id = $1 and p.replay = $2"#,
        id.0,
        replay
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| r.event))
}

/// Says that a notice's transform failed for good, unless it was sent through again since.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn bury(conn: &mut PgConnection, id: NoticeId, replay: i32, error: &str) -> Result<()> {
    sqlx::query!(
        "update notice set state = 'DEAD', error = $3, settled_at = now() where id = $1 and replay = $2",
        id.0,
        replay,
        clip(error)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says that a notice is dropped for a reason that its transform did not give, unless it was sent through again since.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn drop_for(conn: &mut PgConnection, id: NoticeId, replay: i32, reason: &str) -> Result<()> {
    sqlx::query!(
        "update notice set state = 'DROPPED', error = $3, settled_at = now() where id = $1 and replay = $2",
        id.0,
        replay,
        clip(reason)
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Marks a tenant's notice as received again and counts the pass. What the one before made of the event is
/// kept for its actions.
///
/// # Errors
/// NotFound when the tenant has no such notice.
pub(in crate::listener) async fn again(
    conn: &mut PgConnection,
    tenant: TenantId,
    id: NoticeId,
) -> Result<i32> {
    let row = sqlx::query!(
        "with before as (
            select id, tenant_id, replay, transformed, state from notice where tenant_id = $1 and id = $2 for update),
        aside as (
            insert into notice_pass (notice_id, tenant_id, replay, transformed)
            select id, tenant_id, replay, transformed from before where state = 'DISPATCHED' on conflict do nothing)
        update notice n set replay = n.replay + 1, state = 'RECEIVED', error = null, settled_at = null
        from before b where n.id = b.id returning n.replay",
        tenant.0,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| absent(id))?;
    Ok(row.replay)
}

/// Notes actions whose jobs are about to be enqueued. Noting one again changes nothing.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn queue_actions(
    conn: &mut PgConnection,
    notice: NoticeId,
    replay: i32,
    ids: &[Uuid],
    kinds: &[&str],
) -> Result<()> {
    sqlx::query!(
        "insert into notice_action (notice_id, replay, action_id, kind)
        select $1, $2, a.id, a.kind from unnest($3::uuid[], $4::text[]) as a(id, kind)
        on conflict do nothing",
        notice.0,
        replay,
        ids,
        kinds as &[&str]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says what an action came to.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn settle_action(
    conn: &mut PgConnection,
    notice: NoticeId,
    replay: i32,
    action: ActionId,
    state: ActionState,
    run: Option<RunId>,
    error: Option<&str>,
) -> Result<()> {
    sqlx::query!(
        "update notice_action set state = $4, run_id = $5, error = $6, settled_at = now()
        where notice_id = $1 and replay = $2 and action_id = $3",
        notice.0,
        replay,
        action.0,
        state.as_str(),
        run.map(|r| r.0),
        error.map(clip)
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn clip(error: &str) -> String {
    error.chars().filter(|c| *c != '\0').take(ERROR_CHARS_MAX).collect()
}

fn absent(id: NoticeId) -> Error {
    Error::not_found(format!("there is no notice `{id}`")).listed_in(Listing::Notices)
}
