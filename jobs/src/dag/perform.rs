//! Performs what a step commands: puts the next jobs in the queue, and withdraws those that a run which
//! ended still waits for.

use std::collections::BTreeSet;
use std::time::Duration;

use rules::dag::Command;
use rules::id::{JobId, RunId, TenantId};
use sqlx::PgConnection;

use super::log::{self, NewLine};
use super::store::Locked;
use crate::Result;
use crate::payload::run::{RunNode, RunWake};
use crate::queue::postgres::control::{self, Cancel};
use crate::queue::{Enqueued, NewJob, enqueue};

/// What became of the commands.
#[derive(Debug, Default)]
pub(super) struct Performed {
    /// The next jobs.
    pub(super) enqueued: Vec<Enqueued>,
    /// Whether a handler that runs now must be told to stop.
    pub(super) stopping: bool,
}

/// Performs the commands of a step. `awaiting` are the places of the lines that wait for a job, in the
/// order of the commands that ask for one; they are told which job it is.
///
/// # Errors
/// Unavailable when nobody answers.
pub(super) async fn perform(
    conn: &mut PgConnection,
    id: RunId,
    locked: &Locked,
    commands: &[Command],
    lines: &mut [NewLine],
    awaiting: &[usize],
) -> Result<Performed> {
    let withdrawn: BTreeSet<(&str, u16)> = commands
        .iter()
        .filter_map(|command| match command {
            Command::Withdraw { node, attempt } => Some((node.as_str(), *attempt)),
            Command::Dispatch { .. } | Command::WakeAt { .. } | Command::FinishRun { .. } => None,
        })
        .collect();
    let mut jobs = Vec::new();
    let mut places = Vec::new();
    let mut again = Vec::new();
    let mut awaiting = awaiting.iter();
    for command in commands {
        let (node, attempt) = match command {
            Command::Dispatch { node, attempt, .. } | Command::WakeAt { node, attempt, .. } => {
                (node, *attempt)
            }
            Command::Withdraw { .. } | Command::FinishRun { .. } => continue,
        };
        let place = awaiting.next();
        // A step that takes in much may dispatch a node and then end the run: nobody needs that job.
        if withdrawn.contains(&(node.as_str(), attempt)) {
            continue;
        }
        jobs.extend(job(id, locked, command)?);
        again.push(matches!(command, Command::Dispatch { after_s: 1.., .. }));
        places.push(place);
    }
    let enqueued = enqueue(conn, &jobs).await?;
    let retries: Vec<i64> =
        enqueued.iter().zip(&again).filter(|(_, again)| **again).map(|(job, _)| job.id.0).collect();
    if !retries.is_empty() {
        control::mark_retries(conn, &retries).await?;
    }
    for (job, place) in enqueued.iter().zip(places) {
        if let Some(line) = place.and_then(|place| lines.get_mut(*place)) {
            line.job_id = Some(job.id.0);
        }
    }
    let nodes: Vec<&str> = withdrawn.into_iter().map(|(node, _)| node).collect();
    let stopping = withdraw(conn, id, &nodes).await?;
    Ok(Performed { enqueued, stopping })
}

/// Cancels the jobs that these nodes of a run wait for. Tells whether one of them runs.
async fn withdraw(conn: &mut PgConnection, id: RunId, nodes: &[&str]) -> Result<bool> {
    if nodes.is_empty() {
        return Ok(false);
    }
    let mut stopping = false;
    for job in log::jobs_of(conn, id, nodes).await? {
        stopping |= control::withdraw(conn, JobId(job)).await? == Cancel::Cancelling;
    }
    Ok(stopping)
}

fn job(id: RunId, locked: &Locked, command: &Command) -> Result<Option<NewJob>> {
    let job = match command {
        Command::Dispatch { node, attempt, after_s } => {
            let job = NewJob::of(&RunNode { run_id: id, node_id: node.clone(), attempt: *attempt })?;
            if *after_s > 0 { job.after(Duration::from_secs(*after_s)) } else { job }
        }
        Command::WakeAt { node, attempt, until } => {
            NewJob::of(&RunWake { run_id: id, node_id: node.clone(), attempt: *attempt })?.at(*until)
        }
        Command::Withdraw { .. } | Command::FinishRun { .. } => return Ok(None),
    };
    Ok(Some(job.tenant(TenantId(locked.tenant_id)).trace(locked.trace_parent.clone())))
}
