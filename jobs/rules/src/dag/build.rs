//! Turns a draft into a graph, or tells every fault of it at once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fault::{Fault, Reason};
use super::fields::{Fields, Owner};
use super::graph::{Edge, Graph, Node};
use super::limits::{MAX_DEFINITION_BYTES, MAX_EDGES, MAX_END_NODES, MAX_FAULTS, MAX_NODES};
use super::reach::Reach;
use super::read;
use super::sense;
use super::task::{ERROR, OnFailure, Task};
use super::template::Step;
use crate::access::Permissions;
use crate::nearest::nearest;

/// What tells whether code compiles; the error names line and column.
pub struct Compilers<'a> {
    /// Of a whole script.
    pub script: &'a dyn Fn(&str) -> Result<(), String>,
    /// Of one expression.
    pub expression: &'a dyn Fn(&str) -> Result<(), String>,
}

/// How strictly a definition is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As its author wrote it: what can never come true is told as well.
    Draft,
    /// As it was saved, by this version or an earlier one, which asked less of it.
    Saved,
}

/// Builds a graph from a draft.
///
/// # Errors
/// Every fault, at most [`MAX_FAULTS`] of them.
pub fn build(draft: &Value, compilers: &Compilers<'_>) -> Result<Graph, Vec<Fault>> {
    judge(draft, compilers, Reading::Draft)
}

fn judge(draft: &Value, compilers: &Compilers<'_>, reading: Reading) -> Result<Graph, Vec<Fault>> {
    let bytes = draft.to_string().len();
    if bytes > MAX_DEFINITION_BYTES {
        let message = format!("has {bytes} bytes; at most {MAX_DEFINITION_BYTES} fit");
        return Err(vec![Fault::whole("", Reason::TooLarge, message)]);
    }
    let mut faults = Vec::new();
    let graph = assemble(draft, compilers, reading, &mut faults);
    faults.truncate(MAX_FAULTS);
    match graph {
        Some(graph) if faults.is_empty() => Ok(graph),
        Some(_) | None => Err(faults),
    }
}

/// A definition that was found right. Only [`validate`] makes one, so that nothing else is saved.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    json: Value,
    needs: Permissions,
}

impl Definition {
    /// The definition, as it was written.
    pub const fn as_json(&self) -> &Value {
        &self.json
    }

    /// What its nodes do for whoever saves it: they must hold it then, and again whenever it is done.
    pub const fn needs(&self) -> Permissions {
        self.needs
    }
}

/// Finds a draft right, so that it can be saved.
///
/// # Errors
/// Every fault, at most [`MAX_FAULTS`] of them.
pub fn validate(draft: Value, compilers: &Compilers<'_>) -> Result<Definition, Vec<Fault>> {
    let graph = build(&draft, compilers)?;
    let needs = graph.nodes().iter().filter_map(|node| node.task.needs());
    let needs = needs.fold(Permissions::NONE, |all, one| all.or(Permissions::only(one)));
    Ok(Definition { json: draft, needs })
}

/// Builds a graph from a definition that was built before: its code is known to compile.
///
/// # Errors
/// The faults, when it was not.
pub fn rebuild(definition: &Value) -> Result<Graph, Vec<Fault>> {
    let accept = |_: &str| Ok(());
    judge(definition, &Compilers { script: &accept, expression: &accept }, Reading::Saved)
}

fn assemble(
    draft: &Value,
    compilers: &Compilers<'_>,
    reading: Reading,
    faults: &mut Vec<Fault>,
) -> Option<Graph> {
    let mut fields = Fields::of(draft, Owner::Workflow, "", faults)?;
    let given_nodes = fields.list("nodes", MAX_NODES);
    let given_edges = fields.list("edges", MAX_EDGES);
    fields.end();

    let ids = node_ids(given_nodes, faults);
    let mut nodes: Vec<Option<Node>> = Vec::new();
    for (value, id) in given_nodes.iter().zip(&ids.names) {
        let owner = Owner::Node(id.clone());
        let node = Fields::of(value, owner, "", faults).and_then(|f| read::node(id, f, compilers));
        nodes.push(node);
    }
    let ends = nodes.iter().flatten().filter(|n| matches!(n.task, Task::End(_))).count();
    if ends > MAX_END_NODES {
        let message = format!("has {ends} end nodes; at most {MAX_END_NODES} fit; let paths share one");
        faults.push(Fault::whole("nodes", Reason::TooLarge, message));
    }
    let edges = edges(given_edges, &ids, &nodes, faults);
    let start = start(&ids, &nodes, &edges, faults);
    let reach = Reach::of(ids.names.len(), &edges);
    for circle in reach.circles() {
        let names: Vec<String> = circle.iter().map(|place| format!("`{}`", ids.names[*place])).collect();
        let message = format!("leads back to itself through {}; a workflow has no loops", names.join(", "));
        faults.push(Fault::node(&ids.names[circle[0]], "", Reason::Cycle, message));
    }
    if let Some(start) = start {
        for (place, id) in ids.names.iter().enumerate() {
            // Edges lead to the first node of an id; that another has it too is told already.
            let first = ids.places.get(id) == Some(&place);
            if first && place != start && !reach.leads(start, place) {
                let message = "no path leads here from the start node; connect it or remove it";
                faults.push(Fault::node(id, "", Reason::Unreachable, message));
            }
        }
    }
    templates(&nodes, &reach, faults);
    if reading == Reading::Draft {
        sense::of_all(draft, &nodes, faults);
    }
    let nodes: Option<Vec<Node>> = nodes.into_iter().collect();
    if !faults.is_empty() {
        return None;
    }
    Some(Graph::assemble(nodes?, edges, start?))
}

struct Ids {
    /// The id of each node, in order; one made up where it has none.
    names: Vec<String>,
    places: BTreeMap<String, usize>,
}

fn node_ids(given: &[Value], faults: &mut Vec<Fault>) -> Ids {
    let mut ids = Ids { names: Vec::new(), places: BTreeMap::new() };
    for (place, value) in given.iter().enumerate() {
        let made_up = format!("#{place}");
        let named = value.get("id").and_then(Value::as_str).unwrap_or(&made_up).to_owned();
        if value.is_object() {
            Fields::of(value, Owner::Node(named.clone()), "", faults).map(|mut f| f.id("id").is_some());
        }
        if ids.places.contains_key(&named) {
            let message = "is the id of another node; each needs its own";
            faults.push(Fault::node(&named, "id", Reason::Duplicate, message));
        } else {
            ids.places.insert(named.clone(), place);
        }
        ids.names.push(named);
    }
    ids
}

fn edges(given: &[Value], ids: &Ids, nodes: &[Option<Node>], faults: &mut Vec<Fault>) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut seen_ids = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (place, value) in given.iter().enumerate() {
        let id = value.get("id").and_then(Value::as_str).map_or_else(|| format!("#{place}"), str::to_owned);
        let Some(mut fields) = Fields::of(value, Owner::Edge(id.clone()), "", faults) else { continue };
        // For editors; they mean nothing here.
        for ignored in ["label", "targetHandle"] {
            fields.get(ignored);
        }
        if fields.get("id").is_some() && fields.id("id").is_some() && !seen_ids.insert(id.clone()) {
            fields.fault("id", Reason::Duplicate, "is the id of another edge; each needs its own");
        }
        let source = end(&mut fields, "source", ids);
        let target = end(&mut fields, "target", ids);
        let handle = fields.optional_text("sourceHandle");
        if let Some(from) = source
            && let Some(handle) = leaving(&mut fields, nodes.get(from).and_then(Option::as_ref), handle)
            && let Some(to) = target
        {
            if !seen.insert((from, to, handle.clone())) {
                fields.fault("", Reason::Duplicate, "another edge joins the same nodes by the same handle");
            }
            edges.push(Edge { from, to, handle });
        }
        fields.end();
    }
    edges
}

fn end(fields: &mut Fields<'_, '_>, name: &'static str, ids: &Ids) -> Option<usize> {
    let id = fields.text(name)?;
    let place = ids.places.get(id).copied();
    if place.is_none() {
        let near = nearest(id, ids.places.keys().map(String::as_str));
        let hint =
            near.map(|near| format!("; `{near}` is the nearest name that there is")).unwrap_or_default();
        fields.fault(name, Reason::Dangling, format!("there is no node `{id}`{hint}"));
    }
    place
}

/// The handle by which an edge leaves its node; a node that could not be read has none to compare with.
fn leaving(fields: &mut Fields<'_, '_>, node: Option<&Node>, handle: Option<&str>) -> Option<String> {
    let Some(node) = node else { return Some(handle.unwrap_or_default().into()) };
    let mut known = node.task.handles();
    let continues = node.task.can_fail() && node.policy.on_failure == OnFailure::Continue;
    if continues {
        known.push(ERROR);
    }
    let list = known.iter().map(|h| format!("`{h}`")).collect::<Vec<_>>().join(", ");
    let Some(handle) = handle.or(node.task.main_handle()) else {
        let message = match node.task {
            Task::End(_) => "an end node leads nowhere".into(),
            Task::Start(_) | Task::Script(_) | Task::Condition(_) | Task::Delay(_) | Task::Order(_) => {
                format!("must name one of {list}")
            }
        };
        fields.fault("sourceHandle", Reason::Missing, message);
        return None;
    };
    if known.contains(&handle) {
        return Some(handle.into());
    }
    let message = if handle == ERROR && node.task.can_fail() {
        format!("`{}` is never left by `{ERROR}`; set its errorHandling to `continue`", node.id)
    } else if known.is_empty() {
        format!("`{}` is an end node, which leads nowhere", node.id)
    } else {
        format!("`{handle}` is no handle of `{}`; there are {list}", node.id)
    };
    fields.fault("sourceHandle", Reason::Unknown, message);
    // The edge still says what leads where.
    Some(handle.into())
}

fn start(ids: &Ids, nodes: &[Option<Node>], edges: &[Edge], faults: &mut Vec<Fault>) -> Option<usize> {
    let is_start = |node: &Option<Node>| node.as_ref().is_some_and(|n| matches!(n.task, Task::Start(_)));
    let starts: Vec<usize> =
        nodes.iter().enumerate().filter(|(_, node)| is_start(node)).map(|(place, _)| place).collect();
    match starts.as_slice() {
        [] => {
            faults.push(Fault::whole("nodes", Reason::Start, "there is no start node; add one"));
            None
        }
        [only] => {
            if edges.iter().any(|e| e.to == *only) {
                let message = "an edge leads into the start node; nothing can come before it";
                faults.push(Fault::node(&ids.names[*only], "", Reason::Start, message));
            }
            Some(*only)
        }
        [_, others @ ..] => {
            for place in others {
                let message = "is another start node; a workflow has one";
                faults.push(Fault::node(&ids.names[*place], "type", Reason::Start, message));
            }
            None
        }
    }
}

/// Refuses templates that lead to nothing: to a result that no node before this one writes.
fn templates(nodes: &[Option<Node>], reach: &Reach, faults: &mut Vec<Fault>) {
    for (place, node) in nodes.iter().enumerate() {
        let Some(node) = node else { continue };
        let written: BTreeSet<&str> = nodes
            .iter()
            .enumerate()
            .filter(|(other, _)| reach.leads(*other, place))
            .filter_map(|(_, other)| other.as_ref()?.task.output_variable())
            .chain(["input"])
            .collect();
        for (field, template) in node.task.templates() {
            for path in template.paths() {
                let name = match path.steps.first() {
                    None => continue,
                    Some(Step::Member(name)) if written.contains(name.as_str()) => continue,
                    Some(Step::Member(name)) => format!("ctx.{name}"),
                    Some(Step::Place(place)) => format!("ctx[{place}]"),
                };
                let known = written.iter().map(|w| format!("`ctx.{w}`")).collect::<Vec<_>>().join(", ");
                let message =
                    format!("`{name}` leads to nothing: what comes before `{}` writes {known}", node.id);
                faults.push(Fault::node(&node.id, &field, Reason::Template, message));
            }
        }
    }
}
