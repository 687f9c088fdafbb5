//! Reads the log of events by what is visible in Postgres' snapshots.

use chrono::{DateTime, Utc};
use rules::event::{Cursor, Snapshot, Topic, TopicKind};
use rules::id::TenantId;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Result};

/// The most events that one call reads.
pub const MAX_EVENTS: i32 = 500;

/// What the events that one look back reads may come to, in bytes of their data; the one that exceeds it is the last.
const MAX_REPLAY_BYTES: i64 = 1024 * 1024;

/// The most events that may be looked back over: each page of them reads again what came since the cursor's base.
pub const MAX_MISSED: i64 = 10_000;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number. Of one topic a later event has a higher one.
    pub seq: i64,
    /// When its transaction began, by the database's clock.
    pub at: DateTime<Utc>,
    /// Whose it is; nil for that of a user's account.
    pub tenant: TenantId,
    /// What it is about.
    pub topic: Topic,
    /// The department of the machine that it is about.
    pub department: Option<Uuid>,
    /// What happened.
    pub name: String,
    /// What there is to tell of it, as the text of a JSON value: many wait, and each is read when it is told.
    pub data: String,
}

impl Event {
    /// What there is to tell of it.
    ///
    /// # Errors
    /// Internal when it is no JSON, which the database does not let happen.
    pub fn value(&self) -> Result<Value> {
        serde_json::from_str(&self.data).map_err(Error::internal)
    }
}

/// Some of what is new.
#[derive(Debug)]
pub struct Page {
    /// Up to where was looked.
    pub upto: Snapshot,
    /// What is new, by `seq`; as many as were asked for when there may be more.
    pub events: Vec<Event>,
}

/// What all tenants' events come to between two snapshots, from behind `seq` on; up to the present moment unless one
/// is given. For the feed of a process, which tells each only to whom it may be told. The moment is one that lasts, as
/// that of [`lasting`].
///
/// # Errors
/// Internal when what is stored does not read back; Unavailable when nobody answers.
pub async fn feed(
    conn: &mut PgConnection,
    after: &Snapshot,
    seq: i64,
    upto: Option<&Snapshot>,
) -> Result<Page> {
    let rows = sqlx::query!(
        r#"with lasting as materialized (
            select case when $3::text is null and (pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()
                or current_setting('synchronous_standby_names') <> '')
                then pg_logical_emit_message(true, 'millrace', '') end
        )
        select upto, seq, at, tenant_id, topic, topic_id, department_id, name, data
        from lasting, event_feed_v2($1, $2, $3, $4)"#,
        after.as_str(),
        seq,
        upto.map(Snapshot::as_str),
        MAX_EVENTS
    )
    .fetch_all(conn)
    .await?;
    // The first row is no event, and tells up to where was looked.
    let seen = rows.iter().find_map(|row| row.upto.as_deref());
    let seen = seen.ok_or_else(|| Error::internal("the feed told of no snapshot"))?;
    let upto = seen.parse().map_err(Error::internal)?;
    let mut events = Vec::new();
    for row in rows {
        let (Some(seq), Some(at), Some(tenant), Some(topic), Some(id), Some(name), Some(data)) =
            (row.seq, row.at, row.tenant_id, row.topic, row.topic_id, row.name, row.data)
        else {
            continue;
        };
        let topic = topic_of(&topic, id)?;
        events.push(Event {
            seq,
            at,
            tenant: TenantId(tenant),
            topic,
            department: row.department_id,
            name,
            data,
        });
    }
    Ok(Page { upto, events })
}

/// The present moment, as one that lasts: a crash of the server forgets what committed without waiting for the disk, and
/// gives the numbers of such transactions to others, whose events a place that shows them as over would hide for ever.
/// Whoever commits here, and waits for the disk or a standby as every commit of an event does, waits for all that came
/// before.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn lasting(conn: &mut PgConnection) -> Result<Snapshot> {
    let row = sqlx::query!(
        r#"with lasting as materialized (
            select case when pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()
                or current_setting('synchronous_standby_names') <> ''
                then pg_logical_emit_message(true, 'millrace', '') end
        )
        select pg_current_snapshot()::text as "now!" from lasting"#
    )
    .fetch_one(conn)
    .await?;
    row.now.parse().map_err(Error::internal)
}

/// The present moment. It says what there is to see, and is no place to look from later: see [`lasting`].
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn now(conn: &mut PgConnection) -> Result<Snapshot> {
    let row = sqlx::query!(r#"select pg_current_snapshot()::text as "now!""#).fetch_one(conn).await?;
    row.now.parse().map_err(Error::internal)
}

/// Some of what was missed.
#[derive(Debug)]
pub struct Missed {
    /// In their order, each with the cursor behind it.
    pub events: Vec<(Event, Cursor)>,
    /// Whether there may be more.
    pub more: bool,
}

/// What a topic's events come to from a cursor up to a snapshot: the first [`MAX_EVENTS`], or fewer where they are
/// large. Under the API's role that of the tenant that was entered.
///
/// # Errors
/// As [`feed`].
pub async fn replay(
    conn: &mut PgConnection,
    tenant: TenantId,
    topic: Topic,
    from: &Cursor,
    upto: &Snapshot,
) -> Result<Missed> {
    // First the rest of what the cursor had begun to show, then what came after it.
    let rows = sqlx::query!(
        r#"select seq as "seq!", at as "at!", topic as "topic!", topic_id as "topic_id!",
            department_id as "department_id?", name as "name!", text as "data!", begun as "begun!", counted as "counted!"
        from (
            select n.*, n.data::text as text, count(*) over () as counted,
                sum(octet_length(n.data::text)) over (order by n.begun desc, n.seq) as bytes
            from (
                select seq, at, topic, topic_id, department_id, name, data,
                    pg_visible_in_snapshot(xid, $4::text::pg_snapshot) as begun
                from event
                where tenant_id = $1 and (topic_id = $2 or department_id = $2) and topic <> all('{KEY,TENANT}')
                    and xid >= pg_snapshot_xmin($3::text::pg_snapshot)
                    and not pg_visible_in_snapshot(xid, $3::text::pg_snapshot)
                    and (not pg_visible_in_snapshot(xid, $4::text::pg_snapshot) or seq > $5)
                    and pg_visible_in_snapshot(xid, $6::text::pg_snapshot)
                order by begun desc, seq
                limit $7
            ) n
        ) p
        where bytes - octet_length(text) < $8
        order by begun desc, seq"#,
        tenant.0,
        topic.id,
        from.base.as_str(),
        from.upto.as_str(),
        from.seq,
        upto.as_str(),
        i64::from(MAX_EVENTS),
        MAX_REPLAY_BYTES
    )
    .fetch_all(conn)
    .await?;
    let counted = rows.first().map_or(0, |row| row.counted);
    let told = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let more = counted >= i64::from(MAX_EVENTS) || told < counted;
    let events = rows.into_iter().map(|row| {
        let cursor = if row.begun {
            Cursor { seq: row.seq, ..from.clone() }
        } else {
            Cursor { base: from.upto.clone(), upto: upto.clone(), seq: row.seq }
        };
        let event = Event {
            seq: row.seq,
            at: row.at,
            tenant,
            topic: topic_of(&row.topic, row.topic_id)?,
            department: row.department_id,
            name: row.name,
            data: row.data,
        };
        Ok((event, cursor))
    });
    Ok(Missed { events: events.collect::<Result<_>>()?, more })
}

/// Whether more than [`MAX_MISSED`] events of a topic came from a cursor up to a snapshot. As [`replay`].
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn is_too_much(
    conn: &mut PgConnection,
    tenant: TenantId,
    topic: Topic,
    from: &Cursor,
    upto: &Snapshot,
) -> Result<bool> {
    let row = sqlx::query!(
        r#"select count(*) > $7::bigint as "too_much!"
        from (
            select
            from event
            where tenant_id = $1 and (topic_id = $2 or department_id = $2) and topic <> all('{KEY,TENANT}')
                and xid >= pg_snapshot_xmin($3::text::pg_snapshot)
                and not pg_visible_in_snapshot(xid, $3::text::pg_snapshot)
                and (not pg_visible_in_snapshot(xid, $4::text::pg_snapshot) or seq > $5)
                and pg_visible_in_snapshot(xid, $6::text::pg_snapshot)
            limit $7::bigint + 1
        ) n"#,
        tenant.0,
        topic.id,
        from.base.as_str(),
        from.upto.as_str(),
        from.seq,
        upto.as_str(),
        MAX_MISSED
    )
    .fetch_one(conn)
    .await?;
    Ok(row.too_much)
}

fn topic_of(word: &str, id: Uuid) -> Result<Topic> {
    let kind = TopicKind::from_word(word);
    let kind =
        kind.ok_or_else(|| Error::internal(format!("events are about `{word}`, which nobody knows")))?;
    Ok(Topic { kind, id })
}

/// Whether all that came after a cursor is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is.
    All,
    /// Some of it may have been removed.
    Gone,
    /// The cursor is of a moment that this database has not seen: it was restored since, or is another.
    Unknown,
}

/// Whether all that came after a cursor is still there.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn kept(conn: &mut PgConnection, cursor: &Cursor) -> Result<Kept> {
    let row = sqlx::query!(
        r#"select (select f.xid from event_floor f) >= pg_snapshot_xmin($1::text::pg_snapshot) as "gone!",
            pg_snapshot_xmax($2::text::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot()) as "unknown!""#,
        cursor.base.as_str(),
        cursor.upto.as_str()
    )
    .fetch_one(conn)
    .await?;
    Ok(match (row.unknown, row.gone) {
        (true, _) => Kept::Unknown,
        (false, true) => Kept::Gone,
        (false, false) => Kept::All,
    })
}
