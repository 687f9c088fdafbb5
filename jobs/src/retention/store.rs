//! The statements of retention, each over a bounded number of rows.

use sqlx::PgConnection;
use sqlx::postgres::PgQueryResult;

use crate::Result;

/// How many runs one call removes at most: each may have thousands of lines in its log.
pub const RUN_BATCH: i64 = 100;

/// How many notices one call removes at most.
pub const NOTICE_BATCH: i64 = 1_000;

/// How many letters one call removes at most.
pub const LETTER_BATCH: i64 = 1_000;

/// How many operations on machines one call removes at most.
pub const OPERATION_BATCH: i64 = 1_000;

/// How many machines that were destroyed one call removes at most.
pub const MACHINE_BATCH: i64 = 1_000;

/// How many results of checks one call removes at most: there are many, and each is small.
pub const HEALTH_BATCH: i64 = 5_000;

/// How many firings of schedules one call removes at most: there are many, and each is small.
pub const FIRING_BATCH: i64 = 5_000;

/// How many events one call removes at most.
pub const EVENT_BATCH: i64 = 5_000;

/// How many sweeps of dead letters one call removes at most.
pub const SWEEP_BATCH: i64 = 1_000;

/// How long a removal is remembered after the last of what it left behind, in seconds: a job that began
/// before it may add to that for as long as a transaction may last.
const REMOVAL_GRACE_S: i32 = 600;

/// How many notices, and as many buffered events, of listeners that are gone one call removes at most.
pub const LEFT_BEHIND_BATCH: i64 = 1_000;

/// How old a letter is, in seconds, before its run is taken to be gone: a run and a letter to it may be
/// committed by different transactions, the letter's first.
const LETTER_GRACE_S: i32 = 600;

/// How many rows a removal took.
async fn removed(removal: impl Future<Output = sqlx::Result<PgQueryResult>>) -> Result<u64> {
    Ok(removal.await?.rows_affected())
}

/// Lets this transaction take lines from the logs of runs, which refuse it to all others.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn allow_removal(conn: &mut PgConnection) -> Result<()> {
    sqlx::query!("set local millrace.retention = 'on'").execute(conn).await?;
    Ok(())
}

/// Removes runs that ended more than this many days ago, oldest first, with their logs, and tells how many.
/// Needs [`allow_removal`] in the same transaction.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_runs(conn: &mut PgConnection, keep_days: i32) -> Result<u64> {
    let removal = sqlx::query!(
        "with old as materialized (
            select id from run where finished_at < now() - $1::integer * interval '1 day'
            order by finished_at limit $2 for update skip locked
        ),
        lines as (delete from run_log where run_id = any(array(select id from old))),
        letters as (delete from run_inbox where run_id = any(array(select id from old))),
        waiters as (delete from run_waiter where run_id = any(array(select id from old)))
        delete from run where id = any(array(select id from old))",
        keep_days,
        RUN_BATCH
    );
    removed(removal.execute(conn)).await
}

/// Removes notices that were heard more than this many days ago and have come to their end, with what
/// became of them, and tells how many. One that lies among the dead letters, whole or in part, stays for as
/// long as those are kept: to redrive it needs it.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_notices(
    conn: &mut PgConnection,
    keep_days: i32,
    dead_letter_keep_days: i32,
) -> Result<u64> {
    let removal = sqlx::query!(
        "delete from notice where id = any(array(
            select n.id from notice n
            where n.received_at < now() - $1::integer * interval '1 day'
                and (n.state in ('DISPATCHED', 'DROPPED') or n.state = 'DEAD' and n.settled_at < now() - $2::integer * interval '1 day')
                and not exists (select from notice_action a where a.notice_id = n.id and (a.state = 'QUEUED'
                    or a.state = 'DEAD' and a.settled_at >= now() - $2::integer * interval '1 day'))
            order by n.received_at limit $3 for update skip locked))",
        keep_days,
        dead_letter_keep_days,
        NOTICE_BATCH
    );
    removed(removal.execute(conn)).await
}

/// Removes letters to runs that are gone, left by whoever did not know, and tells how many.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_letters(conn: &mut PgConnection) -> Result<u64> {
    let removal = sqlx::query!(
        "delete from run_inbox where id = any(array(
            select i.id from run_inbox i
            where i.created_at < now() - $1::integer * interval '1 second' and not exists (select from run r where r.id = i.run_id)
            order by i.id limit $2 for update skip locked))",
        LETTER_GRACE_S,
        LETTER_BATCH
    );
    removed(removal.execute(conn)).await
}

/// Removes operations on machines that ended more than this many days ago, oldest first, and tells how many.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_operations(conn: &mut PgConnection, keep_days: i32) -> Result<u64> {
    let removal = sqlx::query!(
        "delete from machine_operation where id = any(array(
            select o.id from machine_operation o where o.ended_at < now() - $1::integer * interval '1 day'
            order by o.ended_at limit $2 for update skip locked))",
        keep_days,
        OPERATION_BATCH
    );
    removed(removal.execute(conn)).await
}

/// Removes machines that were destroyed more than this many days ago and of which nothing else is kept, oldest
/// first, and tells how many. Their operations go before them, at the same age.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_machines(conn: &mut PgConnection, keep_days: i32) -> Result<u64> {
    let removal = sqlx::query!(
        "delete from machine where id = any(array(
            select m.id from machine m where m.destroyed_at < now() - $1::integer * interval '1 day'
                and not exists (select from machine_operation o where o.machine_id = m.id)
                and not exists (select from machine_snapshot s where s.machine_id = m.id)
                and not exists (select from machine_health h where h.machine_id = m.id)
            order by m.destroyed_at limit $2 for update skip locked))",
        keep_days,
        MACHINE_BATCH
    );
    removed(removal.execute(conn)).await
}

/// Removes what checks of machines found more than this many days ago, oldest first, and tells how many.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_health_results(conn: &mut PgConnection, keep_days: i32) -> Result<u64> {
    let removal = sqlx::query!(
        "delete from health_result where id = any(array(
            select id from health_result where at < now() - $1::integer * interval '1 day' order by at limit $2))",
        keep_days,
        HEALTH_BATCH
    );
    removed(removal.execute(conn)).await
}

/// Removes firings of schedules that ended more than this many days ago, and tells how many.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_firings(conn: &mut PgConnection, keep_days: i32) -> Result<u64> {
    let removal = sqlx::query!(
        "delete from schedule_firing where id = any(array(
            select id from schedule_firing where ended_at < now() - $1::integer * interval '1 day'
            order by ended_at limit $2 for update skip locked))",
        keep_days,
        FIRING_BATCH
    );
    removed(removal.execute(conn)).await
}

/// Removes sweeps of dead letters that ended more than this many days ago, oldest first, and tells how many; with them those
/// that failed as long ago and have no job by which they could go on.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_sweeps(conn: &mut PgConnection, keep_days: i32) -> Result<u64> {
    let removal = sqlx::query!(
        "delete from letter_sweep where id = any(array(
            select s.id from letter_sweep s
            where s.asked_at < now() - $1::integer * interval '1 day'
                and (s.ended_at < now() - $1::integer * interval '1 day' or s.state = 'FAILED'
                    and not exists (select from job j where j.id = s.job_id)
                    and not exists (select from job_dead d where d.job_id = s.job_id))
            order by s.asked_at limit $2 for update skip locked))",
        keep_days,
        SWEEP_BATCH
    );
    removed(removal.execute(conn)).await
}

/// Removes events that were told more than this many hours ago, oldest first, and tells how many; with them, notes
/// from where on whoever asks for what came before may have missed some.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_events(conn: &mut PgConnection, keep_hours: i32) -> Result<u64> {
    let row = sqlx::query!(
        r#"with old as (
            delete from event where ctid = any(array(
                select e.ctid from (select ctid, at from event order by xid limit $2) e
                where e.at < now() - $1::integer * interval '1 hour'))
            returning xid
        ),
        noted as (
            update event_floor set xid = greatest(xid, (select xid from old order by xid desc limit 1))
            where exists (select from old)
        )
        select count(*) as "removed!" from old"#,
        keep_hours,
        EVENT_BATCH
    )
    .fetch_one(conn)
    .await?;
    Ok(row.removed.unsigned_abs())
}

/// Removes at most `limit` notices, and as many buffered events, of listeners that are gone, and tells how
/// many. None mean that nothing is left of any that is not in somebody's hand: what is, the next call finds, and
/// it keeps nothing of others.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn remove_left_behind(conn: &mut PgConnection, limit: i64) -> Result<u64> {
    let row = sqlx::query!(
        r#"with notices as (
            delete from notice where id = any(array(
                select n.id from listener_removal r
                cross join lateral (select n.id from notice n where n.listener_id = r.listener_id limit $1 for update skip locked) n
                limit $1))
            returning 1
        ),
        events as (
            delete from buffer_event where id = any(array(
                select e.id from listener_removal r
                cross join lateral (select e.id from buffer_event e where e.listener_id = r.listener_id limit $1 for update skip locked) e
                limit $1))
            returning 1
        )
        select (select count(*) from notices) + (select count(*) from events) as "removed!""#,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(row.removed.unsigned_abs())
}

/// Forgets listeners that went some time ago and left nothing behind.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn forget_removals(conn: &mut PgConnection) -> Result<u64> {
    let removal = sqlx::query!(
        "delete from listener_removal r
        where r.removed_at < now() - $1::integer * interval '1 second'
            and not exists (select from notice n where n.listener_id = r.listener_id)
            and not exists (select from buffer_event e where e.listener_id = r.listener_id)",
        REMOVAL_GRACE_S
    );
    removed(removal.execute(conn)).await
}
