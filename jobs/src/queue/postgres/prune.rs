//! Takes away what the queue has outlived, a bounded number of rows at a time.

use sqlx::PgConnection;

use crate::Result;

/// How many rows one call takes away at most: a call stays short whatever has piled up.
pub const BATCH: i64 = 5_000;

/// How many dead letters one call takes away at most: each has a payload and the errors of its attempts.
pub const DEAD_LETTER_BATCH: i64 = 1_000;

/// Takes away expired uniqueness keys whose job is no longer live, and tells how many.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn unique_keys(conn: &mut PgConnection) -> Result<u64> {
    let gone = sqlx::query!(
        "delete from job_unique where key = any(array(
            select u.key from job_unique u
            where u.keep_until <= now() and not exists (select from job j where j.id = u.job_id)
            order by u.keep_until limit $1 for update skip locked))",
        BATCH
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}

/// Takes away workers that were not seen for this many seconds, and tells how many. One that lives on
/// enters itself again.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn workers(conn: &mut PgConnection, unseen_s: i32) -> Result<u64> {
    let gone = sqlx::query!(
        "delete from job_worker where id = any(array(
            select id from job_worker where seen_at < now() - $1::integer * interval '1 second' limit $2 for update skip locked))",
        unseen_s,
        BATCH
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}

/// Takes away dead letters older than this many days, oldest first, and tells how many.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn dead_letters(conn: &mut PgConnection, keep_days: i32) -> Result<u64> {
    let gone = sqlx::query!(
        "delete from job_dead where job_id = any(array(
            select job_id from job_dead where died_at < now() - $1::integer * interval '1 day'
            order by died_at limit $2 for update skip locked))",
        keep_days,
        DEAD_LETTER_BATCH
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}
