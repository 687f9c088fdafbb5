//! The jobs of a run: execute a node, let it move on, wake a node that waits.

use rules::id::RunId;
use rules::queue::{About, Job, Kind};
use serde::{Deserialize, Serialize};

/// Executes one node of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunNode {
    /// The run.
    pub run_id: RunId,
    /// The node.
    pub node_id: String,
    /// Which attempt of the node, from 1: the engine's count, not the queue's.
    pub attempt: u16,
}

/// Lets a run move on by what lies in its inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAdvance {
    /// The run.
    pub run_id: RunId,
}

/// Ends the waiting of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunWake {
    /// The run.
    pub run_id: RunId,
    /// The node.
    pub node_id: String,
    /// Which attempt of the node waits.
    pub attempt: u16,
}

impl Job for RunNode {
    const KIND: Kind = Kind::RunNode;

    fn about(&self) -> About {
        About { run: Some(self.run_id), node: Some(self.node_id.clone()), ..About::default() }
    }
}

impl Job for RunAdvance {
    const KIND: Kind = Kind::RunAdvance;

    fn about(&self) -> About {
        About { run: Some(self.run_id), ..About::default() }
    }
}

impl Job for RunWake {
    const KIND: Kind = Kind::RunWake;

    fn about(&self) -> About {
        About { run: Some(self.run_id), node: Some(self.node_id.clone()), ..About::default() }
    }
}
