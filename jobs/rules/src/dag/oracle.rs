//! A second, naive account of what a run must come to, by which the engine is judged in tests.
//!
//! It knows no log and no order of events: a node runs if and only if some edge into it is taken, and
//! what it leaves by is fixed beforehand.

use serde_json::{Value, json};

use super::build::rebuild;
use super::change::Change;
use super::graph::Graph;

/// What a node of a plan is, and how it behaves.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) nodes: Vec<PlanNode>,
    /// From, to, handle.
    pub(super) edges: Vec<(usize, usize, &'static str)>,
}

#[derive(Debug, Clone)]
pub(super) struct PlanNode {
    pub(super) kind: PlanKind,
    pub(super) any: bool,
    /// Whether its failure is survived by the handle `error`.
    pub(super) continues: bool,
    pub(super) retries: u16,
    /// How many of its first attempts fail.
    pub(super) failures: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlanKind {
    Start,
    Script,
    /// Goes by `yes`, or by `default`.
    Condition(bool),
    Delay,
    End,
    /// An end that fails the run.
    ErrorEnd,
}

/// How a node must end when nothing stops the run early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Succeeds(Option<&'static str>),
    FailsBy(&'static str),
    /// It runs, and the run fails by it.
    Fatal,
    Skipped,
}

impl PlanKind {
    pub(super) fn handles(self) -> &'static [&'static str] {
        match self {
            Self::Start | Self::Delay => &["output"],
            Self::Script => &["success"],
            Self::Condition(_) => &["yes", "default"],
            Self::End | Self::ErrorEnd => &[],
        }
    }

    fn leaves_by(self) -> Option<&'static str> {
        match self {
            Self::Start | Self::Delay => Some("output"),
            Self::Script => Some("success"),
            Self::Condition(yes) => Some(if yes { "yes" } else { "default" }),
            Self::End | Self::ErrorEnd => None,
        }
    }

    fn fails(self) -> bool {
        matches!(self, Self::Script | Self::Condition(_) | Self::Delay)
    }
}

impl PlanNode {
    fn own_fate(&self) -> Fate {
        if self.kind.fails() && self.failures > self.retries {
            if self.continues { Fate::FailsBy("error") } else { Fate::Fatal }
        } else if self.kind == PlanKind::ErrorEnd {
            Fate::Fatal
        } else {
            Fate::Succeeds(self.kind.leaves_by())
        }
    }
}

impl Plan {
    /// What must become of each node. Nodes stand in topological order.
    pub(super) fn fates(&self) -> Vec<Fate> {
        let mut fates: Vec<Fate> = Vec::new();
        for (place, node) in self.nodes.iter().enumerate() {
            let taken = self.edges.iter().any(|(from, to, handle)| {
                *to == place
                    && match fates[*from] {
                        Fate::Succeeds(by) => by == Some(*handle),
                        Fate::FailsBy(by) => by == *handle,
                        Fate::Fatal | Fate::Skipped => false,
                    }
            });
            fates.push(if place == 0 || taken { node.own_fate() } else { Fate::Skipped });
        }
        fates
    }

    /// What an attempt of a node reports.
    pub(super) fn report(&self, place: usize, attempt: u16) -> Change {
        let node = format!("n{place}");
        let plan = &self.nodes[place];
        if plan.kind.fails() && attempt <= plan.failures {
            return Change::Failed { node, attempt, error: format!("failure {attempt}"), again: true };
        }
        match plan.kind {
            PlanKind::Delay => Change::Suspended { node, attempt, until: chrono::DateTime::UNIX_EPOCH },
            other => Change::Succeeded { node, attempt, handle: other.leaves_by().map(str::to_owned) },
        }
    }

    /// The graph, by way of a draft: what the oracle judges is the whole way.
    pub(super) fn graph(&self) -> Graph {
        let nodes: Vec<Value> = self.nodes.iter().enumerate().map(|(i, n)| draft_node(i, n)).collect();
        let edges: Vec<Value> = self
            .edges
            .iter()
            .map(|(from, to, handle)| {
                json!({"source": format!("n{from}"), "target": format!("n{to}"), "sourceHandle": handle})
            })
            .collect();
        rebuild(&json!({"nodes": nodes, "edges": edges})).unwrap_or_else(|faults| panic!("{faults:?}"))
    }
}

fn draft_node(place: usize, node: &PlanNode) -> Value {
    let (kind, config) = match node.kind {
        PlanKind::Start => ("start", json!({})),
        PlanKind::Script => ("script", json!({"code": "1"})),
        PlanKind::Condition(_) => (
            "condition",
            json!({"branches": [{"id": "yes", "conditions": [{"operator": "is_empty", "leftValue": 1}]}]}),
        ),
        PlanKind::Delay => ("delay", json!({"delayType": "fixed"})),
        PlanKind::End => ("end", json!({})),
        PlanKind::ErrorEnd => ("end", json!({"status": "error"})),
    };
    json!({
        "id": format!("n{place}"), "type": kind, "config": config, "retryLimit": node.retries,
        "retryDelaySeconds": 0, "joinMode": if node.any { "any" } else { "all" },
        "errorHandling": if node.continues { "continue" } else { "fail_workflow" }
    })
}
