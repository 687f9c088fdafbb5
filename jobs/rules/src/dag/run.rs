//! A run is the fold of its log: which node stands where, and nothing of what they put out.

use chrono::{DateTime, Utc};

use super::change::{Entry, RunEnd};
use super::graph::Graph;

/// One execution of a workflow, as far as deciding what comes next needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    status: Status,
    /// By the places of the graph's nodes.
    nodes: Vec<NodeState>,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It is accepted and has not begun.
    Pending,
    /// It is under way.
    Running,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
    /// It was stopped.
    Cancelled,
}

/// Where a node of a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// Its edges are not decided yet.
    Waiting,
    /// An attempt is with the workers.
    Dispatched {
        /// Which one.
        attempt: u16,
    },
    /// An attempt waits for a time.
    Suspended {
        /// Which one.
        attempt: u16,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// It succeeded.
    Succeeded {
        /// The handle by which the run goes on.
        handle: Option<String>,
    },
    /// It failed for good.
    Failed {
        /// The handle by which the run goes on in spite of it.
        handle: Option<String>,
    },
    /// It is never going to run.
    Skipped,
    /// The run ended under it.
    Cancelled,
}

/// An entry or a change that cannot be of this run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The graph has no such node.
    #[error("there is no node `{0}`")]
    UnknownNode(String),
    /// The attempt was never given to anybody.
    #[error("attempt {1} of node `{0}` was never dispatched")]
    NeverDispatched(String, u16),
    /// A stored run that does not fit its graph.
    #[error("the stored run has {0} nodes and its workflow {1}")]
    Misfit(usize, usize),
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// The name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The status of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }

    /// Whether nothing can happen any more.
    pub const fn is_end(self) -> bool {
        match self {
            Self::Pending | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl From<RunEnd> for Status {
    fn from(end: RunEnd) -> Self {
        match end {
            RunEnd::Completed => Self::Completed,
            RunEnd::Failed => Self::Failed,
            RunEnd::Cancelled => Self::Cancelled,
        }
    }
}

impl NodeState {
    /// The attempt that is under way.
    pub const fn live(&self) -> Option<u16> {
        match self {
            Self::Dispatched { attempt } | Self::Suspended { attempt, .. } => Some(*attempt),
            Self::Waiting
            | Self::Succeeded { .. }
            | Self::Failed { .. }
            | Self::Skipped
            | Self::Cancelled => None,
        }
    }
}

impl Run {
    /// A run of a graph that has not begun.
    pub fn new(graph: &Graph) -> Self {
        Self { status: Status::Pending, nodes: vec![NodeState::Waiting; graph.len()] }
    }

    /// A run as it was stored.
    pub(super) fn restore(status: Status, nodes: Vec<NodeState>, graph: &Graph) -> Result<Self, Illegal> {
        if nodes.len() == graph.len() {
            Ok(Self { status, nodes })
        } else {
            Err(Illegal::Misfit(nodes.len(), graph.len()))
        }
    }

    /// Folds a whole log.
    ///
    /// # Errors
    /// [`Illegal`] when the log is of another graph.
    pub fn replay<'e>(graph: &Graph, log: impl IntoIterator<Item = &'e Entry>) -> Result<Self, Illegal> {
        let mut run = Self::new(graph);
        log.into_iter().try_for_each(|entry| run.apply(graph, entry))?;
        Ok(run)
    }

    /// Folds one more entry.
    ///
    /// # Errors
    /// [`Illegal`] when the entry is of another graph.
    pub fn apply(&mut self, graph: &Graph, entry: &Entry) -> Result<(), Illegal> {
        let (node, state) = match entry {
            Entry::RunStarted => {
                self.status = Status::Running;
                return Ok(());
            }
            Entry::RunFinished { end, .. } => {
                self.status = (*end).into();
                return Ok(());
            }
            // What it led to follows as entries of its own.
            Entry::CancelRequested { .. } | Entry::NodeRetried { .. } => return Ok(()),
            Entry::NodeDispatched { node, attempt } => (node, NodeState::Dispatched { attempt: *attempt }),
            Entry::NodeSuspended { node, attempt, until } => {
                (node, NodeState::Suspended { attempt: *attempt, until: *until })
            }
            Entry::NodeSucceeded { node, handle, .. } => {
                (node, NodeState::Succeeded { handle: handle.clone() })
            }
            Entry::NodeFailed { node, handle, .. } => (node, NodeState::Failed { handle: handle.clone() }),
            Entry::NodeSkipped { node } => (node, NodeState::Skipped),
            Entry::NodeCancelled { node } => (node, NodeState::Cancelled),
        };
        let place = graph.place(node).ok_or_else(|| Illegal::UnknownNode(node.clone()))?;
        self.nodes[place] = state;
        Ok(())
    }

    /// Where it stands.
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Where its nodes stand, by their places in the graph.
    pub fn nodes(&self) -> &[NodeState] {
        &self.nodes
    }

    /// Where one node stands.
    pub fn node(&self, place: usize) -> &NodeState {
        &self.nodes[place]
    }

    /// The nodes under way, with their attempts.
    pub fn live(&self) -> impl Iterator<Item = (usize, u16)> {
        self.nodes.iter().enumerate().filter_map(|(place, state)| Some((place, state.live()?)))
    }
}
