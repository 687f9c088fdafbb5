//! The days of the history.

use sqlx::PgConnection;

use crate::Result;

/// Makes the history's partitions for today and this many days ahead, and tells how many were missing.
/// Takes no strong lock on the history: work goes on meanwhile.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn ensure_days(conn: &mut PgConnection, days_ahead: i32) -> Result<i32> {
    let row =
        sqlx::query!(r#"select job_history_ensure_v1($1) as "made!""#, days_ahead).fetch_one(conn).await?;
    Ok(row.made)
}

/// What became of the oldest partition that need not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dropped {
    /// It is gone, with this name. There may be another.
    Partition(String),
    /// All that is left must be kept.
    Nothing,
    /// Somebody reads or writes the table and held the drop up; it did not wait.
    Busy,
}

/// Drops the oldest day of the history that ended before the last `keep_days` days. Call it in a
/// transaction of its own: it locks the history for a moment.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn drop_oldest(conn: &mut PgConnection, keep_days: i32) -> Result<Dropped> {
    match sqlx::query_scalar!("select job_history_drop_v1($1)", keep_days).fetch_one(conn).await {
        Ok(Some(name)) => Ok(Dropped::Partition(name)),
        Ok(None) => Ok(Dropped::Nothing),
        Err(sqlx::Error::Database(e)) if e.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => Ok(Dropped::Busy),
        Err(error) => Err(error.into()),
    }
}

/// Postgres' code for a lock that was not got in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// For how many days after today the history has a partition.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn days_ahead(conn: &mut PgConnection) -> Result<i64> {
    let days = sqlx::query_scalar!(
        r#"select count(*) as "days!" from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'job_history'::regclass
            and c.relname > 'job_history_' || to_char(now() at time zone 'utc', 'YYYYMMDD')"#
    )
    .fetch_one(conn)
    .await?;
    Ok(days)
}
