//! A place in the caller's transaction to which it can be taken back: a statement that Postgres refuses ends all of it
//! otherwise.

use sqlx::{Executor, PgConnection};

use crate::Result;

/// Marks the place. The mark goes with the transaction.
///
/// # Errors
/// Unavailable when nobody answers; Internal outside a transaction.
pub(crate) async fn mark(conn: &mut PgConnection) -> Result<()> {
    conn.execute(sqlx::raw_sql("savepoint attempt")).await?;
    Ok(())
}

/// Takes back what was done since the mark, a statement that was refused included.
///
/// # Errors
/// As [`mark`], and Internal where there is no mark.
pub(crate) async fn take_back(conn: &mut PgConnection) -> Result<()> {
    conn.execute(sqlx::raw_sql("rollback to savepoint attempt")).await?;
    Ok(())
}
