//! Tells those who waited how it ended.

use std::collections::{HashMap, HashSet};

use rules::dag::{Change, SUCCESS, wire};
use rules::health::Check;
use rules::id::{MachineId, OperationId, RunId};
use rules::machine::OperationState;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::{self, Ended, Waiter, Word};
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
    operations_ended(conn, &[id]).await
}

/// [`operation_ended`] of many, whose ends are one transaction.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn operations_ended(conn: &mut PgConnection, ids: &[OperationId]) -> Result<Vec<Enqueued>> {
    let waiters = store::take_for_operations(conn, ids).await?;
    if waiters.is_empty() {
        return Ok(Vec::new());
    }
    let outcomes = outcomes(conn, waiters.iter().map(|(id, _)| *id)).await?;
    let told = waiters.into_iter().map(|(id, waiter)| (waiter, of(&outcomes, id))).collect();
    tell(conn, told).await
}

/// What a node comes to by the end of its operation: its output, or why there is none and whether trying again
/// may help.
type Outcome = std::result::Result<Value, (String, bool)>;

/// What came of operations that have ended, those that are gone not among them.
async fn outcomes(
    conn: &mut PgConnection,
    ids: impl Iterator<Item = OperationId>,
) -> Result<HashMap<OperationId, Outcome>> {
    let ids: Vec<Uuid> = ids.map(|id| id.0).collect();
    let ended = store::ended(conn, &ids).await?;
    Ok(ended.into_iter().map(|ended| (OperationId(ended.id), outcome(ended))).collect())
}

fn of(outcomes: &HashMap<OperationId, Outcome>, id: OperationId) -> Outcome {
    let gone = || Err(("its operation was removed before anybody told how it ended".into(), false));
    outcomes.get(&id).cloned().unwrap_or_else(gone)
}

fn outcome(ended: Ended) -> Outcome {
    match OperationState::from_name(&ended.state) {
        Some(OperationState::Succeeded) => Ok(ended.output),
        Some(OperationState::Superseded) => {
            let instead = ended.instead.unwrap_or_else(|| "another operation".into());
            Err((format!("`{instead}` took its place before it was done"), false))
        }
        Some(OperationState::Failed | OperationState::Waiting | OperationState::Running) | None => {
            Err((ended.error.unwrap_or_else(|| "it failed".into()), true))
        }
    }
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
    let result = found.map_err(|error| (error, true));
    tell(conn, waiters.into_iter().map(|waiter| (waiter, result.clone())).collect()).await
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
    let missed = store::take_missed(conn, &runs, MISSED).await?;
    if missed.is_empty() {
        return Ok((next, Vec::new()));
    }
    let outcomes = outcomes(conn, missed.iter().filter_map(|m| m.operation_id).map(OperationId)).await?;
    let told = missed.into_iter().map(|missed| {
        let result = match missed.operation_id {
            Some(operation) => of(&outcomes, OperationId(operation)),
            None => Err(("its check ended without a word of what it found".into(), true)),
        };
        (missed.waiter(), result)
    });
    let told = tell(conn, told.collect()).await?;
    Ok((next, told))
}

async fn tell(conn: &mut PgConnection, told: Vec<(Waiter, Outcome)>) -> Result<Vec<Enqueued>> {
    let words: Vec<Word> = told.iter().map(|(waiter, result)| word(waiter, result)).collect();
    // Of a run that has ended, and may be removed, nobody waits any more.
    let reached: HashSet<RunId> = store::leave_words(conn, &words).await?.into_iter().collect();
    let mut jobs = Vec::new();
    for (waiter, _) in told.iter().filter(|(waiter, _)| reached.contains(&waiter.run)) {
        jobs.push(NewJob::of(&RunAdvance { run_id: waiter.run })?.tenant(waiter.tenant));
    }
    enqueue(conn, &jobs).await
}

fn word(waiter: &Waiter, result: &Outcome) -> Word {
    let (node, attempt) = (waiter.node.clone(), waiter.attempt);
    let (change, output) = match result {
        Ok(output) => {
            (Change::Succeeded { node, attempt, handle: Some(SUCCESS.into()) }, Some(output.clone()))
        }
        Err((error, again)) => (Change::Failed { node, attempt, error: error.clone(), again: *again }, None),
    };
    Word { run: waiter.run, change: wire::write_change(&change), output }
}
