//! Tests of `step`: random workflows, deliveries in any order, late, twice, and cancelled in between,
//! judged by the oracle; and every order of a few small ones.

use proptest::prelude::*;
use proptest::sample::Index;

use super::change::{Change, Command, Entry, RunEnd};
use super::graph::Graph;
use super::limits::{MAX_NODES, MAX_RETRIES};
use super::oracle::{Fate, Plan, PlanKind, PlanNode};
use super::run::{Illegal, NodeState, Run, Status};
use super::step::step;
use super::task::Join;

/// A run under test, with the world around it.
#[derive(Clone)]
struct World<'a> {
    plan: &'a Plan,
    graph: &'a Graph,
    run: Run,
    log: Vec<Entry>,
    /// Changes that will be delivered, in any order.
    coming: Vec<Change>,
    delivered: Vec<Change>,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, graph: &'a Graph) -> Self {
        let run = Run::new(graph);
        Self { plan, graph, run, log: Vec::new(), coming: vec![Change::Started], delivered: Vec::new() }
    }

    fn deliver(&mut self, change: Change) {
        let ended = self.run.status().is_end();
        let stepped = step(&self.run, self.graph, &change).unwrap();
        if ended {
            assert!(stepped.entries.is_empty() && stepped.commands.is_empty(), "an ended run moved");
        }
        for command in &stepped.commands {
            match command {
                Command::Dispatch { node, attempt, .. } => {
                    let place = self.graph.place(node).unwrap();
                    self.may_begin(place, &stepped.run);
                    self.coming.push(self.plan.report(place, *attempt));
                }
                Command::WakeAt { node, attempt, .. } => {
                    self.coming.push(Change::TimerFired { node: node.clone(), attempt: *attempt });
                }
                Command::Withdraw { .. } | Command::FinishRun { .. } => {}
            }
        }
        self.log.extend(stepped.entries);
        self.run = stepped.run;
        self.delivered.push(change);
        assert_eq!(Run::replay(self.graph, &self.log).unwrap(), self.run, "the log says otherwise");
    }

    /// A node never begins before what comes before it is decided.
    fn may_begin(&self, place: usize, run: &Run) {
        let resolved = |from: usize| {
            matches!(
                run.node(from),
                NodeState::Succeeded { .. } | NodeState::Failed { .. } | NodeState::Skipped
            )
        };
        let mut before = self.graph.into(place).map(|e| resolved(e.from));
        match self.graph.node(place).join {
            Join::All => assert!(before.all(|yes| yes), "{place} began too early"),
            Join::Any => assert!(before.any(|yes| yes), "{place} began too early"),
        }
    }

    fn judge(&self, cancelled: bool) {
        let fates = self.plan.fates();
        let fatal = fates.contains(&Fate::Fatal);
        assert!(self.run.status().is_end(), "nothing is to come and the run has not ended");
        assert!(self.run.live().next().is_none());
        let ends = self.log.iter().filter(|e| matches!(e, Entry::RunFinished { .. })).count();
        assert_eq!(ends, 1);
        for (place, fate) in fates.iter().enumerate() {
            let id = &self.graph.node(place).id;
            let begun = self
                .log
                .iter()
                .filter(|e| matches!(e, Entry::NodeDispatched { node, attempt: 1 } if node == id));
            assert!(begun.count() <= 1, "{id} began twice");
            let matches = match (*fate, self.run.node(place)) {
                (Fate::Succeeds(by), NodeState::Succeeded { handle }) => by == handle.as_deref(),
                (Fate::FailsBy(by), NodeState::Failed { handle }) => Some(by) == handle.as_deref(),
                (Fate::Fatal, NodeState::Failed { handle } | NodeState::Succeeded { handle }) => {
                    handle.is_none()
                }
                (Fate::Skipped, NodeState::Skipped) => true,
                (_, NodeState::Waiting | NodeState::Cancelled) => fatal || cancelled,
                _ => false,
            };
            assert!(matches, "{id}: {fate:?} became {:?}", self.run.node(place));
        }
        match self.run.status() {
            Status::Cancelled => assert!(cancelled),
            Status::Failed => assert!(fatal),
            Status::Completed => assert!(!fatal),
            Status::Pending | Status::Running => unreachable!(),
        }
    }
}

fn kind() -> impl Strategy<Value = PlanKind> {
    prop_oneof![
        5 => Just(PlanKind::Script),
        2 => any::<bool>().prop_map(PlanKind::Condition),
        1 => Just(PlanKind::Delay),
        1 => Just(PlanKind::End),
        1 => prop::bool::weighted(0.3).prop_map(|e| if e { PlanKind::ErrorEnd } else { PlanKind::End }),
    ]
}

fn node() -> impl Strategy<Value = PlanNode> {
    (kind(), any::<bool>(), prop::bool::weighted(0.8), 0u16..3, prop_oneof![3 => Just(0u16), 1 => 1u16..4])
        .prop_map(|(kind, any, continues, retries, failures)| PlanNode {
            kind,
            any,
            continues,
            retries,
            failures,
        })
}

/// Random nodes behind a start; each has an edge from at least one before it that has a way out.
fn plan() -> impl Strategy<Value = Plan> {
    let nodes =
        prop::collection::vec((node(), prop::collection::vec((any::<Index>(), any::<Index>()), 1..4)), 1..14);
    nodes.prop_map(|given| {
        let start = PlanNode { kind: PlanKind::Start, any: false, continues: false, retries: 0, failures: 0 };
        let mut plan = Plan { nodes: vec![start], edges: Vec::new() };
        for (node, befores) in given {
            let place = plan.nodes.len();
            for (before, by) in befores {
                let open: Vec<usize> =
                    (0..place).filter(|p| !plan.nodes[*p].kind.handles().is_empty()).collect();
                let from = *before.get(&open);
                let source = &plan.nodes[from];
                let mut handles = source.kind.handles().to_vec();
                if source.continues && source.kind != PlanKind::Start {
                    handles.push("error");
                }
                let edge = (from, place, *by.get(&handles));
                if !plan.edges.contains(&edge) {
                    plan.edges.push(edge);
                }
            }
            plan.nodes.push(node);
        }
        plan
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_run_ends_as_the_oracle_says(
        plan in plan(),
        order in prop::collection::vec((any::<Index>(), any::<Index>(), 0u8..10), 1..200),
        cancel_at in prop_oneof![3 => Just(None), 1 => (0usize..20).prop_map(Some)],
    ) {
        let graph = plan.graph();
        let mut world = World::new(&plan, &graph);
        let mut order = order.iter().cycle();
        let mut delivered = 0;
        let mut cancelled = false;
        while !world.coming.is_empty() {
            let (which, again, chance) = order.next().unwrap();
            if *chance == 0 && !world.delivered.is_empty() {
                // The same once more: nothing moves by it.
                let before = (world.run.clone(), world.log.len(), world.coming.len());
                let change = again.get(&world.delivered).clone();
                world.deliver(change);
                prop_assert_eq!(before, (world.run.clone(), world.log.len(), world.coming.len()));
            }
            if Some(delivered) == cancel_at {
                cancelled = true;
                world.deliver(Change::CancelRequested { by: "tester".into() });
            }
            let change = world.coming.swap_remove(which.index(world.coming.len()));
            world.deliver(change);
            delivered += 1;
        }
        world.judge(cancelled);
    }
}

/// Every order in which the deliveries can come.
fn every_order(world: &World<'_>, orders: &mut usize) {
    if world.coming.is_empty() {
        world.judge(false);
        *orders += 1;
        return;
    }
    for which in 0..world.coming.len() {
        let mut next = world.clone();
        let change = next.coming.swap_remove(which);
        next.deliver(change);
        every_order(&next, orders);
    }
}

fn script(any: bool, failures: u16) -> PlanNode {
    PlanNode { kind: PlanKind::Script, any, continues: true, retries: 1, failures }
}

#[test]
fn small_workflows_end_right_in_every_order() {
    let mut orders = 0;
    for any in [false, true] {
        for failures in 0..27u16 {
            // start → three in parallel → join → end, with a bypass from the start to the join's error path.
            let begin =
                PlanNode { kind: PlanKind::Start, any: false, continues: false, retries: 0, failures: 0 };
            let end = PlanNode { kind: PlanKind::End, ..script(any, 0) };
            let plan = Plan {
                nodes: vec![
                    begin,
                    script(false, failures % 3),
                    script(false, failures / 3 % 3),
                    script(false, failures / 9 % 3),
                    script(any, 0),
                    end,
                ],
                edges: vec![
                    (0, 1, "output"),
                    (0, 2, "output"),
                    (0, 3, "output"),
                    (1, 4, "success"),
                    (2, 4, "success"),
                    (3, 4, "error"),
                    (4, 5, "success"),
                    (3, 5, "success"),
                ],
            };
            let graph = plan.graph();
            every_order(&World::new(&plan, &graph), &mut orders);
        }
    }
    assert!(orders > 5_000, "{orders}");
}

#[test]
fn changes_that_cannot_be_are_told_apart_from_late_ones() {
    let begin = PlanNode { kind: PlanKind::Start, any: false, continues: false, retries: 0, failures: 0 };
    let plan = Plan {
        nodes: vec![begin, script(false, 0), script(false, 0)],
        edges: vec![(0, 1, "output"), (1, 2, "success")],
    };
    let graph = plan.graph();
    let mut world = World::new(&plan, &graph);
    world.deliver(Change::Started);
    let succeeded = |node: &str, attempt| Change::Succeeded {
        node: node.into(),
        attempt,
        handle: Some("success".into()),
    };
    let refused = |change: &Change, world: &World<'_>| step(&world.run, &graph, change).unwrap_err();
    assert_eq!(refused(&succeeded("zz", 1), &world), Illegal::UnknownNode("zz".into()));
    assert_eq!(refused(&succeeded("n2", 1), &world), Illegal::NeverDispatched("n2".into(), 1));
    assert_eq!(refused(&succeeded("n1", 2), &world), Illegal::NeverDispatched("n1".into(), 2));
    // A handle that a node does not have is a failure of the node, so that nothing waits for ever.
    let strange = Change::Succeeded { node: "n1".into(), attempt: 1, handle: Some("nowhere".into()) };
    world.deliver(strange);
    assert_eq!(*world.run.node(1), NodeState::Failed { handle: Some("error".into()) });
    assert_eq!(world.run.status(), Status::Completed);
}

#[test]
fn a_cancelled_run_withdraws_what_is_under_way() {
    let begin = PlanNode { kind: PlanKind::Start, any: false, continues: false, retries: 0, failures: 0 };
    let delay = PlanNode { kind: PlanKind::Delay, ..script(false, 0) };
    let plan =
        Plan { nodes: vec![begin, script(false, 0), delay], edges: vec![(0, 1, "output"), (0, 2, "output")] };
    let graph = plan.graph();
    let mut world = World::new(&plan, &graph);
    world.deliver(Change::Started);
    world.deliver(plan.report(2, 1));
    let stepped = step(&world.run, &graph, &Change::CancelRequested { by: "user:1".into() }).unwrap();
    let withdrawn = |node: &str| Command::Withdraw { node: node.into(), attempt: 1 };
    assert_eq!(
        stepped.commands,
        [withdrawn("n1"), withdrawn("n2"), Command::FinishRun { end: RunEnd::Cancelled, error: None }]
    );
    let mut unstarted = World::new(&plan, &graph);
    unstarted.deliver(Change::CancelRequested { by: "user:1".into() });
    unstarted.deliver(Change::Started);
    assert_eq!(unstarted.run.status(), Status::Cancelled);
}

/// Entries of one run's log. It holds by construction: every attempt of every node leaves at most three
/// (dispatched, suspended, then how it ended), a node that is skipped or cancelled one, and the run
/// itself three.
const MAX_LOG_ENTRIES: usize = MAX_NODES * (3 * (MAX_RETRIES as usize + 1) + 1) + 3;

#[test]
fn the_log_of_the_largest_run_keeps_its_bound() {
    let begin = PlanNode { kind: PlanKind::Start, any: false, continues: false, retries: 0, failures: 0 };
    let worst = PlanNode { retries: 10, failures: 10, ..script(false, 0) };
    let mut plan = Plan { nodes: vec![begin], edges: Vec::new() };
    for place in 1..MAX_NODES {
        plan.nodes.push(PlanNode { kind: PlanKind::Delay, ..worst.clone() });
        plan.edges.push((0, place, "output"));
    }
    let graph = plan.graph();
    let (mut run, mut entries) = (Run::new(&graph), 0);
    let mut coming = vec![Change::Started];
    while let Some(change) = coming.pop() {
        let stepped = step(&run, &graph, &change).unwrap();
        entries += stepped.entries.len();
        run = stepped.run;
        for command in stepped.commands {
            match command {
                Command::Dispatch { node, attempt, .. } => {
                    coming.push(plan.report(graph.place(&node).unwrap(), attempt));
                }
                Command::WakeAt { node, attempt, .. } => coming.push(Change::TimerFired { node, attempt }),
                Command::Withdraw { .. } | Command::FinishRun { .. } => {}
            }
        }
    }
    assert_eq!(run.status(), Status::Completed);
    assert!(entries > MAX_NODES * 20 && entries <= MAX_LOG_ENTRIES, "{entries}");
}
