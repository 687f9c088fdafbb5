//! The stored forms of entries, changes and runs, apart from the types that the engine works with, so
//! that these may change and what was stored stays readable.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change::{Change, Entry, RunEnd};
use super::graph::Graph;
use super::run::{NodeState, Run, Status};

/// The version that is written. A later one reads all that came before it.
const VERSION: u8 = 1;

/// Why something stored cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It was written by a later version.
    #[error("it is of version {0} and this executable reads up to {VERSION}; update it")]
    Later(u64),
    /// It has another form.
    #[error("it has another form: {0}")]
    Form(#[from] serde_json::Error),
    /// It is of another workflow.
    #[error("it is of another workflow: {0}")]
    Misfit(#[from] super::run::Illegal),
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u8,
    #[serde(flatten)]
    inner: T,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireEnd {
    Completed,
    Failed,
    Cancelled,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum WireEntry {
    #[serde(rename = "run.started")]
    RunStarted,
    #[serde(rename = "node.dispatched")]
    NodeDispatched { node: String, attempt: u16 },
    #[serde(rename = "node.succeeded")]
    NodeSucceeded { node: String, attempt: u16, handle: Option<String> },
    #[serde(rename = "node.retried")]
    NodeRetried { node: String, attempt: u16, error: String },
    #[serde(rename = "node.failed")]
    NodeFailed { node: String, attempt: u16, error: String, handle: Option<String> },
    #[serde(rename = "node.suspended")]
    NodeSuspended { node: String, attempt: u16, until: DateTime<Utc> },
    #[serde(rename = "node.skipped")]
    NodeSkipped { node: String },
    #[serde(rename = "node.cancelled")]
    NodeCancelled { node: String },
    #[serde(rename = "run.cancel_requested")]
    CancelRequested { by: String },
    #[serde(rename = "run.finished")]
    RunFinished { end: WireEnd, error: Option<String> },
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum WireChange {
    #[serde(rename = "started")]
    Started,
    #[serde(rename = "succeeded")]
    Succeeded { node: String, attempt: u16, handle: Option<String> },
    #[serde(rename = "failed")]
    Failed { node: String, attempt: u16, error: String, again: bool },
    #[serde(rename = "suspended")]
    Suspended { node: String, attempt: u16, until: DateTime<Utc> },
    #[serde(rename = "timer_fired")]
    TimerFired { node: String, attempt: u16 },
    #[serde(rename = "cancel_requested")]
    CancelRequested { by: String },
}

/// Short, for it is rewritten at every step: one small array per node, in the order of the definition.
#[derive(Serialize, Deserialize)]
struct WireRun {
    status: String,
    nodes: Vec<WireNode>,
}

#[derive(Serialize, Deserialize)]
enum WireNode {
    #[serde(rename = "w")]
    Waiting,
    #[serde(rename = "d")]
    Dispatched(u16),
    #[serde(rename = "t")]
    Suspended(u16, DateTime<Utc>),
    #[serde(rename = "s")]
    Succeeded(Option<String>),
    #[serde(rename = "f")]
    Failed(Option<String>),
    #[serde(rename = "x")]
    Skipped,
    #[serde(rename = "c")]
    Cancelled,
}

/// The stored form of an entry.
pub fn write_entry(entry: &Entry) -> Value {
    write(match entry.clone() {
        Entry::RunStarted => WireEntry::RunStarted,
        Entry::NodeDispatched { node, attempt } => WireEntry::NodeDispatched { node, attempt },
        Entry::NodeSucceeded { node, attempt, handle } => WireEntry::NodeSucceeded { node, attempt, handle },
        Entry::NodeRetried { node, attempt, error } => WireEntry::NodeRetried { node, attempt, error },
        Entry::NodeFailed { node, attempt, error, handle } => {
            WireEntry::NodeFailed { node, attempt, error, handle }
        }
        Entry::NodeSuspended { node, attempt, until } => WireEntry::NodeSuspended { node, attempt, until },
        Entry::NodeSkipped { node } => WireEntry::NodeSkipped { node },
        Entry::NodeCancelled { node } => WireEntry::NodeCancelled { node },
        Entry::CancelRequested { by } => WireEntry::CancelRequested { by },
        Entry::RunFinished { end, error } => WireEntry::RunFinished { end: write_end(end), error },
    })
}

/// An entry of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn read_entry(stored: &Value) -> Result<Entry, Unreadable> {
    Ok(match read::<WireEntry>(stored)? {
        WireEntry::RunStarted => Entry::RunStarted,
        WireEntry::NodeDispatched { node, attempt } => Entry::NodeDispatched { node, attempt },
        WireEntry::NodeSucceeded { node, attempt, handle } => Entry::NodeSucceeded { node, attempt, handle },
        WireEntry::NodeRetried { node, attempt, error } => Entry::NodeRetried { node, attempt, error },
        WireEntry::NodeFailed { node, attempt, error, handle } => {
            Entry::NodeFailed { node, attempt, error, handle }
        }
        WireEntry::NodeSuspended { node, attempt, until } => Entry::NodeSuspended { node, attempt, until },
        WireEntry::NodeSkipped { node } => Entry::NodeSkipped { node },
        WireEntry::NodeCancelled { node } => Entry::NodeCancelled { node },
        WireEntry::CancelRequested { by } => Entry::CancelRequested { by },
        WireEntry::RunFinished { end, error } => Entry::RunFinished {
            end: match end {
                WireEnd::Completed => RunEnd::Completed,
                WireEnd::Failed => RunEnd::Failed,
                WireEnd::Cancelled => RunEnd::Cancelled,
            },
            error,
        },
    })
}

/// The stored form of a change.
pub fn write_change(change: &Change) -> Value {
    write(match change.clone() {
        Change::Started => WireChange::Started,
        Change::Succeeded { node, attempt, handle } => WireChange::Succeeded { node, attempt, handle },
        Change::Failed { node, attempt, error, again } => WireChange::Failed { node, attempt, error, again },
        Change::Suspended { node, attempt, until } => WireChange::Suspended { node, attempt, until },
        Change::TimerFired { node, attempt } => WireChange::TimerFired { node, attempt },
        Change::CancelRequested { by } => WireChange::CancelRequested { by },
    })
}

/// A change of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn read_change(stored: &Value) -> Result<Change, Unreadable> {
    Ok(match read::<WireChange>(stored)? {
        WireChange::Started => Change::Started,
        WireChange::Succeeded { node, attempt, handle } => Change::Succeeded { node, attempt, handle },
        WireChange::Failed { node, attempt, error, again } => Change::Failed { node, attempt, error, again },
        WireChange::Suspended { node, attempt, until } => Change::Suspended { node, attempt, until },
        WireChange::TimerFired { node, attempt } => Change::TimerFired { node, attempt },
        WireChange::CancelRequested { by } => Change::CancelRequested { by },
    })
}

/// The stored form of a run.
pub fn write_run(run: &Run) -> Value {
    let nodes = run
        .nodes()
        .iter()
        .map(|state| match state.clone() {
            NodeState::Waiting => WireNode::Waiting,
            NodeState::Dispatched { attempt } => WireNode::Dispatched(attempt),
            NodeState::Suspended { attempt, until } => WireNode::Suspended(attempt, until),
            NodeState::Succeeded { handle } => WireNode::Succeeded(handle),
            NodeState::Failed { handle } => WireNode::Failed(handle),
            NodeState::Skipped => WireNode::Skipped,
            NodeState::Cancelled => WireNode::Cancelled,
        })
        .collect();
    write(WireRun { status: run.status().as_str().into(), nodes })
}

/// A run of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn read_run(stored: &Value, graph: &Graph) -> Result<Run, Unreadable> {
    let wire = read::<WireRun>(stored)?;
    let status = Status::from_name(&wire.status)
        .ok_or_else(|| serde::de::Error::custom(format!("`{}` is no status", wire.status)))
        .map_err(Unreadable::Form)?;
    let nodes = wire
        .nodes
        .into_iter()
        .map(|node| match node {
            WireNode::Waiting => NodeState::Waiting,
            WireNode::Dispatched(attempt) => NodeState::Dispatched { attempt },
            WireNode::Suspended(attempt, until) => NodeState::Suspended { attempt, until },
            WireNode::Succeeded(handle) => NodeState::Succeeded { handle },
            WireNode::Failed(handle) => NodeState::Failed { handle },
            WireNode::Skipped => NodeState::Skipped,
            WireNode::Cancelled => NodeState::Cancelled,
        })
        .collect();
    Ok(Run::restore(status, nodes, graph)?)
}

fn write_end(end: RunEnd) -> WireEnd {
    match end {
        RunEnd::Completed => WireEnd::Completed,
        RunEnd::Failed => WireEnd::Failed,
        RunEnd::Cancelled => WireEnd::Cancelled,
    }
}

fn write<T: Serialize>(inner: T) -> Value {
    // Plain enums and structs with text for keys: turning them into JSON cannot fail.
    serde_json::to_value(Versioned { v: VERSION, inner }).unwrap_or_default()
}

fn read<T: for<'de> Deserialize<'de>>(stored: &Value) -> Result<T, Unreadable> {
    let version = stored.get("v").and_then(Value::as_u64).unwrap_or(0);
    if version > u64::from(VERSION) {
        return Err(Unreadable::Later(version));
    }
    Ok(Versioned::<T>::deserialize(stored)?.inner)
}
