//! Tells those who waited how it ended.

use rules::dag::{Change, SUCCESS, wire};
use rules::health::Check;
use rules::id::{MachineId, OperationId};
use rules::machine::OperationState;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, Waiter};
use crate::Result;
use crate::payload::run::RunAdvance;
use crate::queue::{Enqueued, NewJob, enqueue};

/// How many runs with waiters one call of [`tell_missed`] looks at: each few seconds some, round and round.
const RUNS: i64 = 200;

/// How many waiters it tells at most.
const MISSED: i64 = 500;

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
    let result = outcome(conn, id).await?;
    tell(conn, &waiters, &result).await
}

/// What a node comes to by the end of its operation: its output, or why there is none and whether trying again
/// may help.
type Outcome = std::result::Result<Value, (String, bool)>;

/// What came of an operation that has ended.
async fn outcome(conn: &mut PgConnection, id: OperationId) -> Result<Outcome> {
    let Some(ended) = store::ended(conn, id).await? else {
        return Ok(Err(("its operation was removed before anybody told how it ended".into(), false)));
    };
    Ok(match OperationState::from_name(&ended.state) {
        Some(OperationState::Succeeded) => Ok(ended.output),
        Some(OperationState::Superseded) => {
            let instead = ended.instead.unwrap_or_else(|| "another operation".into());
            Err((format!("`{instead}` took its place before it was done"), false))
        }
        Some(OperationState::Failed | OperationState::Waiting | OperationState::Running) | None => {
            Err((ended.error.unwrap_or_else(|| "it failed".into()), true))
        }
    })
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

/// Tells the waiters of some runs, the next after `after`, whose word never came: a worker of an older version
/// that ends what they wait for leaves none, and neither does who cancels a check's job. Those of runs that have
/// ended go without a word. Answers behind which run to go on; none when all were looked at.
///
/// # Errors
/// Unavailable when nobody answers.
pub(crate) async fn tell_missed(
    conn: &mut PgConnection,
    after: Uuid,
) -> Result<(Option<Uuid>, Vec<Enqueued>)> {
    let runs = store::waiting(conn, after, RUNS).await?;
    let next = (runs.len() as i64 == RUNS).then(|| runs.last().copied()).flatten();
    let mut told = Vec::new();
    for missed in store::take_missed(conn, &runs, MISSED).await? {
        let result = match missed.operation_id {
            Some(operation) => outcome(conn, OperationId(operation)).await?,
            None => Err(("its check ended without a word of what it found".into(), true)),
        };
        told.extend(tell(conn, &[missed.waiter()], &result).await?);
    }
    Ok((next, told))
}

async fn tell(conn: &mut PgConnection, waiters: &[Waiter], result: &Outcome) -> Result<Vec<Enqueued>> {
    let mut jobs = Vec::new();
    for waiter in waiters {
        let (node, attempt) = (waiter.node.clone(), waiter.attempt);
        let (change, output) = match result {
            Ok(output) => (Change::Succeeded { node, attempt, handle: Some(SUCCESS.into()) }, Some(output)),
            Err((error, again)) => {
                (Change::Failed { node, attempt, error: error.clone(), again: *again }, None)
            }
        };
        if !store::leave_word(conn, waiter.run, &wire::write_change(&change), output).await? {
            // Nobody waits any more: its run has ended, and may be removed.
            continue;
        }
        jobs.push(NewJob::of(&RunAdvance { run_id: waiter.run })?.tenant(waiter.tenant));
    }
    enqueue(conn, &jobs).await
}
