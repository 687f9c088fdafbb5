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
