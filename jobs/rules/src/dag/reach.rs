//! Which node leads to which, and where they lead round in circles.

use super::graph::Edge;

/// For each node, the nodes that a path of at least one edge leads to.
pub(super) struct Reach {
    leads: Vec<Vec<bool>>,
}

impl Reach {
    /// Follows all edges among `count` nodes.
    pub(super) fn of(count: usize, edges: &[Edge]) -> Self {
        let mut next = vec![Vec::new(); count];
        for edge in edges {
            next[edge.from].push(edge.to);
        }
        let leads = (0..count)
            .map(|from| {
                let mut seen = vec![false; count];
                let mut open = next[from].clone();
                while let Some(place) = open.pop() {
                    if !std::mem::replace(&mut seen[place], true) {
                        open.extend(&next[place]);
                    }
                }
                seen
            })
            .collect();
        Self { leads }
    }

    /// Whether a path leads from one node to another.
    pub(super) fn leads(&self, from: usize, to: usize) -> bool {
        self.leads[from][to]
    }

    /// The sets of nodes that lead to each other, each told once.
    pub(super) fn circles(&self) -> Vec<Vec<usize>> {
        let mut told = vec![false; self.leads.len()];
        let mut circles = Vec::new();
        for place in 0..self.leads.len() {
            if told[place] || !self.leads(place, place) {
                continue;
            }
            let circle: Vec<usize> = (place..self.leads.len())
                .filter(|other| self.leads(place, *other) && self.leads(*other, place))
                .collect();
            circle.iter().for_each(|member| told[*member] = true);
            circles.push(circle);
        }
        circles
    }
}
