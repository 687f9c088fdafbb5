//! Decides what a run does next. Knows nothing of Postgres, clocks or workers.

use std::collections::VecDeque;

use super::change::{Change, Command, Entry, RunEnd};
use super::graph::Graph;
use super::join::{Verdict, verdict};
use super::limits::clip;
use super::run::{Illegal, NodeState, Run, Status};
use super::task::{ERROR, OUTPUT, OnFailure, Task};

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stepped {
    /// The run after it.
    pub run: Run,
    /// What the log gains; nothing for a change that came late or twice.
    pub entries: Vec<Entry>,
    /// What must be done.
    pub commands: Vec<Command>,
}

/// Folds one change into a run and says what must be done about it. The commands are data; whoever
/// calls performs them in the transaction that keeps the entries.
///
/// A change that came late or twice changes nothing, and is no error: deliveries may be repeated.
///
/// # Errors
/// [`Illegal`] for a change that cannot be of this run. It may be dropped: nobody waits for it.
pub fn step(run: &Run, graph: &Graph, change: &Change) -> Result<Stepped, Illegal> {
    let mut stepper = Stepper { graph, run: run.clone(), entries: Vec::new(), commands: Vec::new() };
    match change {
        Change::Started => stepper.started()?,
        Change::Succeeded { node, attempt, handle } => {
            if let Some(place) = stepper.current(node, *attempt)? {
                stepper.stop_waiting(place, *attempt);
                stepper.succeeded(place, *attempt, handle.as_deref())?;
            }
        }
        Change::Failed { node, attempt, error, again } => {
            if let Some(place) = stepper.current(node, *attempt)? {
                stepper.stop_waiting(place, *attempt);
                stepper.failed(place, *attempt, error, *again)?;
            }
        }
        Change::Suspended { node, attempt, until } => {
            if let Some(place) = stepper.current(node, *attempt)?
                && matches!(stepper.run.node(place), NodeState::Dispatched { .. })
            {
                let (node, attempt, until) = (node.clone(), *attempt, *until);
                stepper.record(Entry::NodeSuspended { node: node.clone(), attempt, until })?;
                stepper.commands.push(Command::WakeAt { node, attempt, until });
            }
        }
        Change::TimerFired { node, attempt } => {
            if let Some(place) = stepper.current(node, *attempt)?
                && matches!(stepper.run.node(place), NodeState::Suspended { .. })
            {
                let node = stepper.graph.node(place);
                match &node.task {
                    // What it ordered did not come to its end in time; it goes on by itself.
                    Task::Order(_) => stepper.failed(place, *attempt, &node.policy.timed_out(), true)?,
                    Task::Start(_) | Task::Script(_) | Task::Condition(_) | Task::Delay(_) | Task::End(_) => {
                        stepper.succeeded(place, *attempt, Some(OUTPUT))?;
                    }
                }
            }
        }
        Change::CancelRequested { by } => {
            if !stepper.run.status().is_end() {
                stepper.record(Entry::CancelRequested { by: by.clone() })?;
                stepper.finish(RunEnd::Cancelled, None)?;
            }
        }
    }
    Ok(Stepped { run: stepper.run, entries: stepper.entries, commands: stepper.commands })
}

struct Stepper<'a> {
    graph: &'a Graph,
    run: Run,
    entries: Vec<Entry>,
    commands: Vec<Command>,
}

impl Stepper<'_> {
    /// Keeps an entry. The only way to change the run, so that it stays the fold of its log.
    fn record(&mut self, entry: Entry) -> Result<(), Illegal> {
        self.run.apply(self.graph, &entry)?;
        self.entries.push(entry);
        Ok(())
    }

    /// The place of a node whose attempt is under way; none when the change came late or twice.
    fn current(&self, node: &str, attempt: u16) -> Result<Option<usize>, Illegal> {
        let place = self.graph.place(node).ok_or_else(|| Illegal::UnknownNode(node.into()))?;
        if self.run.status().is_end() {
            return Ok(None);
        }
        let never = || Illegal::NeverDispatched(node.into(), attempt);
        match self.run.node(place) {
            NodeState::Waiting => Err(never()),
            state => match state.live() {
                Some(live) if attempt > live => Err(never()),
                Some(live) => Ok((attempt == live).then_some(place)),
                None => Ok(None),
            },
        }
    }

    /// Takes back the wake-up of a node that was told before its time.
    fn stop_waiting(&mut self, place: usize, attempt: u16) {
        if matches!(self.run.node(place), NodeState::Suspended { .. }) {
            self.commands.push(Command::Withdraw { node: self.graph.node(place).id.clone(), attempt });
        }
    }

    fn started(&mut self) -> Result<(), Illegal> {
        if self.run.status() != Status::Pending {
            return Ok(());
        }
        self.record(Entry::RunStarted)?;
        self.leave(self.graph.start(), 1, Some(OUTPUT))
    }

    fn succeeded(&mut self, place: usize, attempt: u16, handle: Option<&str>) -> Result<(), Illegal> {
        let node = self.graph.node(place);
        if let Task::End(end) = &node.task {
            let fails = end.fails;
            self.record(Entry::NodeSucceeded { node: node.id.clone(), attempt, handle: None })?;
            if fails {
                return self
                    .finish(RunEnd::Failed, Some(format!("the run reached the error end `{}`", node.id)));
            }
            return self.settle();
        }
        match handle {
            Some(handle) if node.task.handles().contains(&handle) => self.leave(place, attempt, Some(handle)),
            other => {
                let error =
                    format!("`{}` went on by `{}`, which is no handle of it", node.id, other.unwrap_or(""));
                self.failed(place, attempt, &error, false)
            }
        }
    }

    fn leave(&mut self, place: usize, attempt: u16, handle: Option<&str>) -> Result<(), Illegal> {
        let node = self.graph.node(place).id.clone();
        self.record(Entry::NodeSucceeded { node, attempt, handle: handle.map(str::to_owned) })?;
        self.spread(place)?;
        self.settle()
    }

    fn failed(&mut self, place: usize, attempt: u16, error: &str, again: bool) -> Result<(), Illegal> {
        let policy = self.graph.node(place).policy;
        let node = self.graph.node(place).id.clone();
        let error = clip(error.to_owned());
        if again && attempt <= policy.retries {
            self.record(Entry::NodeRetried { node, attempt, error })?;
            return self.dispatch(place, attempt + 1, policy.retry_delay_s);
        }
        match policy.on_failure {
            OnFailure::Continue => {
                self.record(Entry::NodeFailed { node, attempt, error, handle: Some(ERROR.into()) })?;
                self.spread(place)?;
                self.settle()
            }
            OnFailure::FailRun => {
                let why = clip(format!("node `{node}` failed: {error}"));
                self.record(Entry::NodeFailed { node, attempt, error, handle: None })?;
                self.finish(RunEnd::Failed, Some(why))
            }
        }
    }

    fn dispatch(&mut self, place: usize, attempt: u16, after_s: u64) -> Result<(), Illegal> {
        let node = self.graph.node(place).id.clone();
        self.record(Entry::NodeDispatched { node: node.clone(), attempt })?;
        self.commands.push(Command::Dispatch { node, attempt, after_s });
        Ok(())
    }

    /// Tells the nodes behind a resolved one, and behind those that this skips.
    fn spread(&mut self, place: usize) -> Result<(), Illegal> {
        let mut resolved = VecDeque::from([place]);
        while let Some(place) = resolved.pop_front() {
            let behind: Vec<usize> = self.graph.out(place).map(|edge| edge.to).collect();
            for next in behind {
                if *self.run.node(next) != NodeState::Waiting {
                    continue;
                }
                match verdict(self.graph, &self.run, next) {
                    Verdict::Wait => {}
                    Verdict::Begin => self.dispatch(next, 1, 0)?,
                    Verdict::Skip => {
                        self.record(Entry::NodeSkipped { node: self.graph.node(next).id.clone() })?;
                        resolved.push_back(next);
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the run when nothing can move.
    fn settle(&mut self) -> Result<(), Illegal> {
        if self.run.live().next().is_none() { self.finish(RunEnd::Completed, None) } else { Ok(()) }
    }

    fn finish(&mut self, end: RunEnd, error: Option<String>) -> Result<(), Illegal> {
        let live: Vec<(usize, u16)> = self.run.live().collect();
        for (place, attempt) in live {
            let node = self.graph.node(place).id.clone();
            self.record(Entry::NodeCancelled { node: node.clone() })?;
            self.commands.push(Command::Withdraw { node, attempt });
        }
        self.record(Entry::RunFinished { end, error: error.clone() })?;
        self.commands.push(Command::FinishRun { end, error });
        Ok(())
    }
}
