//! Moves a run: load, step, then keep log, state and next jobs in the caller's transaction.
//!
//! Only whoever holds the run's row steps it. Who cannot get hold of it leaves a letter in the inbox and
//! goes; after its own commit everybody looks whether the inbox holds anything. The last to commit looks
//! last, and sees what all before it left.

use rules::dag::{Change, Command, Entry, Graph, Run, RunEnd, Status, Task, step, wire};
use rules::id::{RunId, WorkflowId};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use super::graphs::Graphs;
use super::inbox;
use super::log::{self, NewLine};
use super::perform::perform;
use super::start::BY_SCHEDULE;
use super::store::{self, Locked, Stepped};
use crate::queue::Enqueued;
use crate::{Error, Result, firing, metrics};

/// The most letters that one step takes in; what is left is seen right after its commit.
const MAX_LETTERS: i64 = 1_000;

/// A change and the output that comes with it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// What happened.
    pub change: Change,
    /// What the node put out.
    pub output: Option<Value>,
}

/// What a step came to.
#[derive(Debug, Default)]
#[must_use = "wake the workers and count the end after the commit"]
pub struct Moved {
    /// The next jobs.
    pub enqueued: Vec<Enqueued>,
    /// Whether a handler that runs now must be told to stop.
    pub stopping: bool,
    /// How the run ended, if it did.
    pub ended: Option<RunEnd>,
    /// Whether the run began.
    pub began: bool,
}

impl Moved {
    /// Counts what happened; call it after the commit.
    pub fn count(&self) {
        if self.began {
            metrics::run_started();
        }
        if let Some(end) = self.ended {
            metrics::run_finished(match end {
                RunEnd::Completed => "completed",
                RunEnd::Failed => "failed",
                RunEnd::Cancelled => "cancelled",
            });
        }
    }
}

/// Takes in what arrived, together with what lies in the inbox; or, when somebody else holds the run,
/// leaves it there.
///
/// # Errors
/// Conflict when another step came between, Unavailable when nobody answers: roll back.
pub async fn deliver(conn: &mut PgConnection, graphs: &Graphs, id: RunId, arrival: Arrival) -> Result<Moved> {
    match store::lock(conn, id).await? {
        Some(locked) => move_on(conn, graphs, id, &locked, vec![arrival]).await,
        None => {
            inbox::post(conn, id, &wire::write_change(&arrival.change), arrival.output.as_ref()).await?;
            Ok(Moved::default())
        }
    }
}

/// Takes in what lies in the inbox, and lets a new run begin. None when somebody else holds the run, who
/// will look into the inbox after its commit.
///
/// # Errors
/// As [`deliver`].
pub async fn advance(conn: &mut PgConnection, graphs: &Graphs, id: RunId) -> Result<Option<Moved>> {
    match store::lock(conn, id).await? {
        Some(locked) => move_on(conn, graphs, id, &locked, Vec::new()).await.map(Some),
        None => Ok(None),
    }
}

async fn move_on(
    conn: &mut PgConnection,
    graphs: &Graphs,
    id: RunId,
    locked: &Locked,
    own: Vec<Arrival>,
) -> Result<Moved> {
    let graph = graphs.get(conn, WorkflowId(locked.workflow_id), locked.workflow_version).await?;
    let mut stepper = Stepper::of(locked, &graph)?;
    if locked.state.is_none() {
        stepper.take(id, Arrival { change: Change::Started, output: None });
    }
    for letter in inbox::take(conn, id, MAX_LETTERS).await? {
        match wire::read_change(&letter.change) {
            Ok(change) => stepper.take(id, Arrival { change, output: letter.output }),
            // Left by a later version, most likely: it waits for a worker of that one, and the run goes on.
            Err(error) => {
                tracing::error!(run.id = %id, letter.id = letter.id, %error, "a letter that cannot be read was put aside");
                inbox::put_aside(conn, id, &letter).await?;
            }
        }
    }
    own.into_iter().for_each(|arrival| stepper.take(id, arrival));
    if stepper.lines.is_empty() {
        return Ok(Moved::default());
    }
    let Stepper { run, mut lines, commands, awaiting, last_seq, .. } = stepper;
    let performed = perform(conn, id, locked, &commands, &mut lines, &awaiting).await?;
    log::append(conn, id, &lines).await?;
    let end = commands.iter().find_map(|c| match c {
        Command::FinishRun { end, error } => Some((*end, error.clone())),
        Command::Dispatch { .. } | Command::WakeAt { .. } | Command::Withdraw { .. } => None,
    });
    let output = match end {
        Some(_) => Some(run_output(conn, id, &graph).await?),
        None => None,
    };
    let saved = Stepped {
        version: locked.version,
        last_seq,
        state: &wire::write_run(&run),
        status: run.status().as_str(),
        output: output.as_ref(),
        error: end.as_ref().and_then(|(_, error)| error.as_deref()),
    };
    if !store::save(conn, id, &saved).await? {
        return Err(Error::conflict(format!("run `{id}` was stepped by somebody else meanwhile")));
    }
    let mut enqueued = performed.enqueued;
    if let Some((end, error)) = end.as_ref().filter(|_| locked.started_by.starts_with(BY_SCHEDULE)) {
        enqueued.extend(firing::run_ended(conn, id, *end, error.as_deref()).await?);
    }
    Ok(Moved {
        enqueued,
        stopping: performed.stopping,
        ended: end.map(|(end, _)| end),
        began: locked.state.is_none(),
    })
}

/// Folds arrivals into a run and gathers what they lead to.
struct Stepper<'g> {
    graph: &'g Graph,
    run: Run,
    lines: Vec<NewLine>,
    commands: Vec<Command>,
    /// The places of lines that wait for a job, in the order of the commands that ask for one.
    awaiting: Vec<usize>,
    last_seq: i32,
}

impl<'g> Stepper<'g> {
    fn of(locked: &Locked, graph: &'g Graph) -> Result<Self> {
        let run = match &locked.state {
            Some(state) => wire::read_run(state, graph).map_err(Error::internal)?,
            None => Run::new(graph),
        };
        Ok(Self {
            graph,
            run,
            lines: Vec::new(),
            commands: Vec::new(),
            awaiting: Vec::new(),
            last_seq: locked.last_seq,
        })
    }

    fn take(&mut self, id: RunId, arrival: Arrival) {
        let Arrival { change, output } = arrival;
        match step(&self.run, self.graph, &change) {
            Ok(stepped) => {
                self.run = stepped.run;
                for entry in &stepped.entries {
                    let line = self.line(entry, output.as_ref());
                    if matches!(entry, Entry::NodeDispatched { .. } | Entry::NodeSuspended { .. }) {
                        self.awaiting.push(self.lines.len());
                    }
                    self.lines.push(line);
                }
                self.commands.extend(stepped.commands);
            }
            Err(illegal) => {
                tracing::error!(run.id = %id, %illegal, "a change that cannot be of this run was dropped")
            }
        }
    }

    fn line(&mut self, entry: &Entry, output: Option<&Value>) -> NewLine {
        self.last_seq += 1;
        let mut line = NewLine {
            seq: self.last_seq,
            node_id: node_of(entry).map(str::to_owned),
            entry: wire::write_entry(entry),
            output_variable: None,
            output: None,
            job_id: None,
        };
        // Only what a node did itself carries an output; start nodes have none.
        if let (Entry::NodeSucceeded { node, .. }, Some(output)) = (entry, output) {
            let task = self.graph.place(node).map(|place| &self.graph.node(place).task);
            line.output_variable = task.and_then(Task::output_variable).map(str::to_owned);
            line.output = Some(output.clone());
        }
        line
    }
}

fn node_of(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::NodeDispatched { node, .. }
        | Entry::NodeSucceeded { node, .. }
        | Entry::NodeRetried { node, .. }
        | Entry::NodeFailed { node, .. }
        | Entry::NodeSuspended { node, .. }
        | Entry::NodeSkipped { node }
        | Entry::NodeCancelled { node } => Some(node),
        Entry::RunStarted | Entry::CancelRequested { .. } | Entry::RunFinished { .. } => None,
    }
}

/// The outputs of the end nodes that were reached, merged; of two with one name the later wins.
async fn run_output(conn: &mut PgConnection, id: RunId, graph: &Graph) -> Result<Value> {
    let ends: Vec<&str> =
        graph.nodes().iter().filter(|n| matches!(n.task, Task::End(_))).map(|n| n.id.as_str()).collect();
    let mut merged = Map::new();
    for output in log::outputs_of(conn, id, &ends).await? {
        if let Value::Object(fields) = output {
            merged.extend(fields);
        }
    }
    Ok(Value::Object(merged))
}

/// Whether nothing can happen to a run of this status any more.
pub fn has_ended(status: &str) -> bool {
    Status::from_name(status).is_some_and(Status::is_end)
}
