//! Ends operations for which nobody can do anything any more.

use rules::id::OperationId;
use sqlx::PgConnection;

use super::store;
use crate::Result;
use crate::machine::operation::store::lose_sight;

/// Ends, as failed, an operation whose job can do nothing for it any more. Where it had begun, nobody knows what
/// its machine is until its host is looked at again. Returns whether it had not ended.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn fail(conn: &mut PgConnection, operation: OperationId, error: &str) -> Result<bool> {
    // The machine first, as everybody: nobody asks something of it, and so waits for this end, in between.
    store::hold(conn, operation).await?;
    let failed = store::fail(conn, operation, error).await?;
    if failed {
        lose_sight(conn, operation).await?;
    }
    Ok(failed)
}
