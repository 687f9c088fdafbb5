//! What can happen to a run, what its log keeps of it, and what must be done about it.

use chrono::{DateTime, Utc};

/// Something that happened, as it is told to the engine. Nodes are named by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The run may begin.
    Started,
    /// An attempt of a node succeeded.
    Succeeded {
        /// The node.
        node: String,
        /// Which attempt; 1 is the first.
        attempt: u16,
        /// The handle by which to go on; none for an end node.
        handle: Option<String>,
    },
    /// An attempt of a node failed.
    Failed {
        /// The node.
        node: String,
        /// Which attempt.
        attempt: u16,
        /// What went wrong, for people; never a secret.
        error: String,
        /// Whether another attempt could fare better.
        again: bool,
    },
    /// An attempt of a node waits for a time, holding no slot.
    Suspended {
        /// The node.
        node: String,
        /// Which attempt.
        attempt: u16,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// The time for which a node waited has come.
    TimerFired {
        /// The node.
        node: String,
        /// Which attempt.
        attempt: u16,
    },
    /// Somebody wants the run to stop.
    CancelRequested {
        /// Who.
        by: String,
    },
}

/// An entry of a run's log. The run is the fold of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The run began.
    RunStarted,
    /// An attempt of a node was given to the workers.
    NodeDispatched {
        /// The node.
        node: String,
        /// Which attempt.
        attempt: u16,
    },
    /// A node succeeded.
    NodeSucceeded {
        /// The node.
        node: String,
        /// Which attempt did.
        attempt: u16,
        /// The handle by which the run goes on.
        handle: Option<String>,
    },
    /// An attempt failed and another follows.
    NodeRetried {
        /// The node.
        node: String,
        /// Which attempt failed.
        attempt: u16,
        /// What went wrong.
        error: String,
    },
    /// A node failed for good.
    NodeFailed {
        /// The node.
        node: String,
        /// Its last attempt.
        attempt: u16,
        /// What went wrong.
        error: String,
        /// The handle by which the run goes on in spite of it.
        handle: Option<String>,
    },
    /// A node waits for a time.
    NodeSuspended {
        /// The node.
        node: String,
        /// Which attempt.
        attempt: u16,
        /// Until when.
        until: DateTime<Utc>,
    },
    /// No edge into the node will ever be taken.
    NodeSkipped {
        /// The node.
        node: String,
    },
    /// The run ended while the node was under way.
    NodeCancelled {
        /// The node.
        node: String,
    },
    /// Somebody wanted the run to stop.
    CancelRequested {
        /// Who.
        by: String,
    },
    /// The run ended.
    RunFinished {
        /// How.
        end: RunEnd,
        /// Why, when it failed.
        error: Option<String>,
    },
}

/// How a run can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// Nothing was left to move.
    Completed,
    /// A node failed and nothing was to handle it, or an end node says so.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

/// What must be done about a change, in the transaction that keeps its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Give an attempt of a node to the workers.
    Dispatch {
        /// The node.
        node: String,
        /// Which attempt.
        attempt: u16,
        /// Not before this many seconds from now.
        after_s: u64,
    },
    /// Tell [`Change::TimerFired`] at this time.
    WakeAt {
        /// The node.
        node: String,
        /// Which attempt.
        attempt: u16,
        /// When.
        until: DateTime<Utc>,
    },
    /// Stop an attempt, or its waiting, where that is still possible.
    Withdraw {
        /// The node.
        node: String,
        /// Which attempt.
        attempt: u16,
    },
    /// Keep the run's end.
    FinishRun {
        /// How it ended.
        end: RunEnd,
        /// Why, when it failed.
        error: Option<String>,
    },
}
