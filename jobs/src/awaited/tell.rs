//! Tells those who waited how it ended.

use rules::dag::{Change, SUCCESS, wire};
use rules::health::Check;
use rules::id::{MachineId, OperationId};
use rules::machine::OperationState;
use serde_json::Value;
use sqlx::PgConnection;

use super::store::{self, Waiter};
use crate::Result;
use crate::payload::run::RunAdvance;
use crate::queue::{Enqueued, NewJob, enqueue};

/// Tells those who wait for an operation that it ended, and how. Call it in the transaction of its end, after
/// it, and wake the workers after the commit.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn operation_ended(conn: &mut PgConnection, id: OperationId) -> Result<Vec<Enqueued>> {
    let waiters = store::take_for_operation(conn, id).await?;
    if waiters.is_empty() {
        return Ok(Vec::new());
    }
    let Some(ended) = store::ended(conn, id).await? else { return Ok(Vec::new()) };
    let result = match OperationState::from_name(&ended.state) {
        Some(OperationState::Succeeded) => Ok(ended.output),
        Some(OperationState::Superseded) => {
            let instead = ended.instead.unwrap_or_else(|| "another operation".into());
            Err((format!("`{instead}` took its place before it was done"), false))
        }
        Some(OperationState::Failed | OperationState::Waiting | OperationState::Running) | None => {
            Err((ended.error.unwrap_or_else(|| "it failed".into()), true))
        }
    };
    tell(conn, &waiters, &result).await
}

/// Tells those who wait for a check what it found, or why it found nothing, as [`operation_ended`] does.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn check_ended(
    conn: &mut PgConnection,
    machine: MachineId,
    check: Check,
    found: std::result::Result<Value, String>,
) -> Result<Vec<Enqueued>> {
    let waiters = store::take_for_check(conn, machine, check).await?;
    if waiters.is_empty() {
        return Ok(Vec::new());
    }
    tell(conn, &waiters, &found.map_err(|error| (error, true))).await
}

async fn tell(
    conn: &mut PgConnection,
    waiters: &[Waiter],
    result: &std::result::Result<Value, (String, bool)>,
) -> Result<Vec<Enqueued>> {
    let mut jobs = Vec::new();
    for waiter in waiters {
        let (node, attempt) = (waiter.node.clone(), waiter.attempt);
        let (change, output) = match result {
            Ok(output) => (Change::Succeeded { node, attempt, handle: Some(SUCCESS.into()) }, Some(output)),
            Err((error, again)) => {
                (Change::Failed { node, attempt, error: error.clone(), again: *again }, None)
            }
        };
        store::leave_word(conn, waiter.run, &wire::write_change(&change), output).await?;
        jobs.push(NewJob::of(&RunAdvance { run_id: waiter.run })?.tenant(waiter.tenant));
    }
    enqueue(conn, &jobs).await
}
