//! A workflow as it is performed: nodes and edges, acyclic because only `build` makes it.

use std::collections::HashMap;

use super::task::{Join, Policy, Task};

/// A workflow that has no faults.
#[derive(Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    /// Edges into each node.
    into: Vec<Vec<usize>>,
    /// Edges out of each node.
    out: Vec<Vec<usize>>,
    places: HashMap<String, usize>,
    start: usize,
}

/// A vertex.
#[derive(Debug)]
pub struct Node {
    /// Its name, unique in the workflow.
    pub id: String,
    /// What it does.
    pub task: Task,
    /// How it is tried.
    pub policy: Policy,
    /// When it begins.
    pub join: Join,
}

/// A way from one node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The place of the node that it leaves.
    pub from: usize,
    /// The place of the node that it enters.
    pub to: usize,
    /// The handle by which it leaves.
    pub handle: String,
}

impl Graph {
    /// Puts together what `build` has found without fault: `start` and the ends of edges are places of
    /// `nodes`, and no edges lead round in a circle.
    pub(super) fn assemble(nodes: Vec<Node>, edges: Vec<Edge>, start: usize) -> Self {
        let mut into = vec![Vec::new(); nodes.len()];
        let mut out = vec![Vec::new(); nodes.len()];
        for (place, edge) in edges.iter().enumerate() {
            into[edge.to].push(place);
            out[edge.from].push(place);
        }
        let places = nodes.iter().enumerate().map(|(place, node)| (node.id.clone(), place)).collect();
        Self { nodes, edges, into, out, places, start }
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: a graph has a start node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node at a place below [`Self::len`].
    pub fn node(&self, place: usize) -> &Node {
        &self.nodes[place]
    }

    /// All nodes, in the order of their places.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The place of a node, by its id.
    pub fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// The place of the start node.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The edges into a node.
    pub fn into(&self, place: usize) -> impl Iterator<Item = &Edge> {
        self.into[place].iter().map(|edge| &self.edges[*edge])
    }

    /// The edges out of a node.
    pub fn out(&self, place: usize) -> impl Iterator<Item = &Edge> {
        self.out[place].iter().map(|edge| &self.edges[*edge])
    }

    /// The input schema's faults of an input; none without a schema.
    ///
    /// # Errors
    /// The faults.
    pub fn check_input(&self, input: &serde_json::Value) -> Result<(), Vec<super::schema::InputFault>> {
        match &self.nodes[self.start].task {
            Task::Start(Some(schema)) => schema.check(input),
            Task::Start(None)
            | Task::Script(_)
            | Task::Condition(_)
            | Task::Delay(_)
            | Task::Order(_)
            | Task::End(_) => Ok(()),
        }
    }
}
