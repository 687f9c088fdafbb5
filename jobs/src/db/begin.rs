//! Begins transactions in the one way that may be abandoned.

use sqlx::{PgPool, Postgres, Transaction};

use super::CALL_TIMEOUT;
use super::patience::bounded;
use crate::{Error, Result};

/// Begins a transaction.
///
/// A future that begins one may be dropped half-way: by a timeout, a cancelled job, a client that went
/// away. sqlx 0.9.0 notes that a transaction is open only after the server has said so, and a connection
/// dropped before that goes back to the pool with the transaction open: what its next user writes is
/// never committed. So it is begun in a task of its own, which always comes to its end, and rolls back
/// what nobody takes from it. One that the server never answers is given up with its connection, which is not
/// used again.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn begin(db: &PgPool) -> Result<Transaction<'static, Postgres>> {
    let db = db.clone();
    let begun = tokio::spawn(async move { bounded(CALL_TIMEOUT, async { Ok(db.begin().await?) }).await });
    begun.await.map_err(Error::internal)?
}
