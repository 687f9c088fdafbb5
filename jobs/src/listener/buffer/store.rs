//! Keeps buffered events, and no more of them than their retention holds.

use chrono::{DateTime, Utc};
use rules::id::{ListenerId, NoticeId, TenantId};
use rules::kept;
use rules::listener::{BufferName, Retention};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Result;
use crate::db::{MAX_FETCHED, Slice, slice};

/// How many events one save prunes at most: more than it adds, so that a shortened retention is caught up
/// with, and few enough to stay quick.
const PRUNE_BATCH: i64 = 200;
/// Most names of buffers that are told.
const MAX_NAMES: i64 = 100;

/// A buffered event.
#[derive(Debug, Clone, PartialEq)]
pub struct BufferEvent {
    /// Its place in the order of arrival, with gaps.
    pub id: i64,
    /// The notice that it was.
    pub notice_id: Uuid,
    /// When it was stored.
    pub stored_at: DateTime<Utc>,
    /// The event.
    pub event: Value,
}

/// Stores an event.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn insert(
    conn: &mut PgConnection,
    tenant: TenantId,
    listener: ListenerId,
    buffer: &BufferName,
    notice: NoticeId,
    event: &Value,
) -> Result<()> {
    sqlx::query!(
        "insert into buffer_event (tenant_id, listener_id, buffer, notice_id, event) values ($1, $2, $3, $4, $5)",
        tenant.0,
        listener.0,
        buffer.as_str(),
        notice.0,
        event
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The names of the buffers in which a listener has events, a bounded number of them. Goes from name to name, whatever
/// stands under each.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn names(conn: &mut PgConnection, tenant: TenantId, listener: ListenerId) -> Result<Vec<String>> {
    let names = sqlx::query_scalar!(
        r#"with recursive held (name) as (
            (select buffer from buffer_event where tenant_id = $1 and listener_id = $2 order by buffer limit 1)
            union all
            select (select e.buffer from buffer_event e where e.tenant_id = $1 and e.listener_id = $2 and e.buffer > h.name order by e.buffer limit 1)
            from held h where h.name is not null
        )
        select name as "name!" from held where name is not null limit $3"#,
        tenant.0,
        listener.0,
        MAX_NAMES
    )
    .fetch_all(conn)
    .await?;
    Ok(names)
}

/// Deletes the oldest of a buffer's events beyond its retention, a batch of them; answers how many. Only
/// the oldest are looked at, for what must go is among them, and the rest may be many. Those that another
/// save prunes at the same time are left to it.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn prune(
    conn: &mut PgConnection,
    listener: ListenerId,
    buffer: &BufferName,
    retention: Retention,
) -> Result<u64> {
    let done = sqlx::query!(
        "delete from buffer_event where id = any(array(
            select e.id from buffer_event e where e.id = any(array(
                select o.id from (
                    select b.id, b.stored_at from buffer_event b where b.listener_id = $1 and b.buffer = $2
                    order by b.id limit $5) o
                where o.stored_at < now() - make_interval(hours => $4)
                    or o.id <= (select k.id from buffer_event k where k.listener_id = $1 and k.buffer = $2
                        order by k.id desc offset $3 limit 1)))
            order by e.id for update skip locked))",
        listener.0,
        buffer.as_str(),
        i64::from(retention.max_events()),
        i32::try_from(retention.max_age_hours()).unwrap_or(i32::MAX),
        PRUNE_BATCH
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// A page of a buffer's events, newest first, older than the given one. What the retention's age no longer
/// holds may still be shown until the next save.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn page(
    conn: &mut PgConnection,
    tenant: TenantId,
    listener: ListenerId,
    buffer: &BufferName,
    before: Option<i64>,
    limit: i64,
) -> Result<Slice<BufferEvent>> {
    let rows = sqlx::query_as!(
        BufferEvent,
        "select id, notice_id, stored_at, event from buffer_event
        where listener_id = $1 and buffer = $2 and tenant_id = $3 and ($4::bigint is null or id < $4)
        order by id desc limit $5",
        listener.0,
        buffer.as_str(),
        tenant.0,
        before,
        limit.clamp(1, MAX_FETCHED)
    )
    .fetch(conn);
    slice(rows, |e| kept::bytes(&e.event)).await
}
