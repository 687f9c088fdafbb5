//! Finds what of a draft can be read and can still never come true: it would fail in every run.
//!
//! Only drafts are asked this. A definition that was saved before a question was thought of is performed as it
//! stands.

use std::str::FromStr;

use serde_json::Value;

use super::fault::{Fault, Reason};
use super::graph::Node;
use super::order::Ordered;
use super::task::{Delay, Task};
use super::template::{Template, text_of};
use crate::id::{DepartmentId, MachineId};
use crate::machine::Name;

/// How much of a constant a message repeats, in characters.
const TOLD_CHARS: usize = 60;

/// What an id of a machine or a department looks like.
const AN_ID: &str = "such as `0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b`, or a template that leads to one";

/// What can be wrong with the workflow as a whole, as its author wrote it.
pub(super) fn of_all(draft: &Value, nodes: &[Option<Node>], faults: &mut Vec<Fault>) {
    let read = || nodes.iter().flatten();
    // A node that could not be read may have been meant as the end.
    let unread = match draft.get("nodes") {
        Some(Value::Array(given)) => given.len() > read().count(),
        Some(other) => !other.is_null(),
        None => false,
    };
    if !unread && !read().any(|node| matches!(node.task, Task::End(_))) {
        let message = "there is no end node; add one: it says how a run ends and what comes out of it";
        faults.push(Fault::whole("nodes", Reason::Missing, message));
    }
    if nodes.len() > 1 && draft.get("edges").is_none_or(Value::is_null) {
        let message =
            "must be there: a list of edges, each with `source` and `target`, says what follows what";
        faults.push(Fault::whole("edges", Reason::Missing, message));
    }
    for node in read() {
        of_node(node, faults);
    }
}

fn of_node(node: &Node, faults: &mut Vec<Fault>) {
    // A part of a delay that could not be read has been told of, and may have been all of it.
    let read_well = !faults.iter().any(|fault| fault.node.as_ref() == Some(&node.id));
    let mut tell = |field: &str, reason: Reason, message: String| {
        faults.push(Fault::node(&node.id, &format!("config{field}"), reason, message));
    };
    match &node.task {
        Task::Delay(Delay::Fixed(0)) if read_well => {
            let message = "waits for no time at all; give `delayMinutes`, `delaySeconds` or `delayMs`, more than 0 in all";
            tell("", Reason::Missing, message.into());
        }
        Task::Delay(Delay::Dynamic(template)) => {
            if let Template::Plain(value) = template
                && let Err(why) = super::task::milliseconds(value)
            {
                tell(".delayVariable", Reason::Malformed, why);
            }
        }
        Task::Delay(Delay::Until(template)) => {
            if let Template::Plain(value) = template
                && let Err(why) = super::task::moment(value)
            {
                tell(".untilTime", Reason::Malformed, why);
            }
        }
        Task::Order(order) => {
            for (field, why) in of_order(&order.ordered) {
                tell(&format!(".{field}"), Reason::Malformed, why);
            }
        }
        Task::Start(_)
        | Task::Script(_)
        | Task::Condition(_)
        | Task::Delay(Delay::Fixed(_))
        | Task::End(_) => {}
    }
}

/// The fields whose constants fit nothing, and why.
fn of_order(ordered: &Ordered) -> Vec<(&'static str, String)> {
    let found = match ordered {
        Ordered::Create(wish) => vec![
            ("name", name(Some(&wish.name))),
            ("departmentId", id::<DepartmentId>(wish.department.as_ref(), "department")),
            ("host", name(wish.host.as_ref())),
        ],
        Ordered::Act(_, machine) | Ordered::Check(_, machine) => {
            vec![("machineId", id::<MachineId>(Some(machine), "machine"))]
        }
        Ordered::Snapshot(wish) => vec![
            ("machineId", id::<MachineId>(Some(&wish.machine), "machine")),
            ("snapshotName", name(Some(&wish.name))),
            ("description", text(wish.description.as_ref()).and_then(Result::err)),
        ],
    };
    found.into_iter().filter_map(|(field, why)| Some((field, why?))).collect()
}

fn id<T: FromStr>(template: Option<&Template>, whose: &str) -> Option<String> {
    match text(template)? {
        Ok(given) if given.trim().parse::<T>().is_ok() => None,
        Ok(given) => Some(format!("{} is no id; it must be the id of a {whose}, {AN_ID}", told(&given))),
        Err(why) => Some(why),
    }
}

fn name(template: Option<&Template>) -> Option<String> {
    match text(template)? {
        Ok(given) => given.parse::<Name>().err().map(|bad| format!("{} does not fit: {bad}", told(&given))),
        Err(why) => Some(why),
    }
}

/// A constant as text; none where its run decides.
fn text(template: Option<&Template>) -> Option<Result<String, String>> {
    match template? {
        Template::Plain(value @ (Value::String(_) | Value::Number(_))) => Some(Ok(text_of(value))),
        Template::Plain(_) => Some(Err("must be a text".into())),
        Template::Whole(_) | Template::Mixed(_) => None,
        Template::List(_) | Template::Object(_) => Some(Err("must be a text".into())),
    }
}

fn told(given: &str) -> String {
    format!("`{}`", given.chars().take(TOLD_CHARS).collect::<String>())
}
