//! Whether a node begins, waits or is skipped, by the edges into it.
//!
//! An edge is *taken* when the node that it leaves went on by its handle; *dead* when that node went on
//! by another handle, stopped, or was skipped itself; *open* until one of these is known.
//!
//! | edges into the node          | all   | any   |
//! |------------------------------|-------|-------|
//! | all dead                     | skip  | skip  |
//! | none taken, some open        | wait  | wait  |
//! | some taken, some open        | wait  | begin |
//! | some taken, none open        | begin | begin |
//!
//! A dead edge therefore never holds up a join, and a join begins only by an edge that was taken.

use super::graph::{Edge, Graph};
use super::run::{NodeState, Run};
use super::task::Join;

/// What a node's edges say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Begin,
    Wait,
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EdgeState {
    Open,
    Taken,
    Dead,
}

/// What the edges into a node say.
pub(super) fn verdict(graph: &Graph, run: &Run, place: usize) -> Verdict {
    decide(graph.node(place).join, graph.into(place).map(|edge| state(run, edge)))
}

fn state(run: &Run, edge: &Edge) -> EdgeState {
    match run.node(edge.from) {
        NodeState::Waiting | NodeState::Dispatched { .. } | NodeState::Suspended { .. } => EdgeState::Open,
        NodeState::Succeeded { handle } | NodeState::Failed { handle } => {
            if handle.as_ref() == Some(&edge.handle) { EdgeState::Taken } else { EdgeState::Dead }
        }
        NodeState::Skipped | NodeState::Cancelled => EdgeState::Dead,
    }
}

fn decide(join: Join, edges: impl Iterator<Item = EdgeState>) -> Verdict {
    let (mut taken, mut open) = (false, false);
    for edge in edges {
        taken |= edge == EdgeState::Taken;
        open |= edge == EdgeState::Open;
    }
    match (join, taken, open) {
        (_, false, false) => Verdict::Skip,
        (_, false, true) | (Join::All, true, true) => Verdict::Wait,
        (Join::Any, true, true) | (_, true, false) => Verdict::Begin,
    }
}

#[cfg(test)]
mod tests {
    use super::EdgeState::{Dead, Open, Taken};
    use super::*;

    #[test]
    fn the_truth_table_holds() {
        let table = [
            (vec![], Verdict::Skip, Verdict::Skip),
            (vec![Dead], Verdict::Skip, Verdict::Skip),
            (vec![Dead, Dead], Verdict::Skip, Verdict::Skip),
            (vec![Open], Verdict::Wait, Verdict::Wait),
            (vec![Open, Dead], Verdict::Wait, Verdict::Wait),
            (vec![Taken, Open], Verdict::Wait, Verdict::Begin),
            (vec![Dead, Taken, Open], Verdict::Wait, Verdict::Begin),
            (vec![Taken], Verdict::Begin, Verdict::Begin),
            (vec![Taken, Dead], Verdict::Begin, Verdict::Begin),
            (vec![Taken, Taken], Verdict::Begin, Verdict::Begin),
        ];
        for (edges, all, any) in table {
            assert_eq!(decide(Join::All, edges.iter().copied()), all, "all {edges:?}");
            assert_eq!(decide(Join::Any, edges.iter().copied()), any, "any {edges:?}");
        }
    }
}
