//! The statements that make and drop months of the audit.

use sqlx::PgConnection;

use crate::queue::postgres::partition::Dropped;
use crate::{Code, Error, Result};

/// Makes the months from the present one to this many ahead, and tells how many were missing. Work goes on meanwhile.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn ensure(conn: &mut PgConnection, months_ahead: i32) -> Result<i32> {
    let row =
        sqlx::query!(r#"select audit_months_ensure_v1($1) as "made!""#, months_ahead).fetch_one(conn).await?;
    Ok(row.made)
}

/// Drops the oldest month that ended before the last `keep_months` months; each chain keeps where it goes on. Call it
/// in a transaction of its own: it locks the audit for a moment, and does not wait for long.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn drop_oldest(conn: &mut PgConnection, keep_months: i32) -> Result<Dropped> {
    match sqlx::query_scalar!("select audit_months_drop_v1($1)", keep_months)
        .fetch_one(conn)
        .await
        .map_err(Error::from)
    {
        Ok(Some(name)) => Ok(Dropped::Partition(name)),
        Ok(None) => Ok(Dropped::Nothing),
        Err(error) if error.code == Code::Interrupted => Ok(Dropped::Busy),
        Err(error) => Err(error),
    }
}
