//! Does what one node of a workflow says, away from the runtime's threads.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use jobs::dag::drive::Arrival;
use jobs::{Error, Result};
use rules::dag::limits::{MAX_OUTPUT_BYTES, clip};
use rules::dag::{Change, Condition, Graph, Node, OUTPUT, SUCCESS, Task};
use rules::kept;
use script::{Sandbox, ScriptError};
use serde_json::{Value, json};

use super::script::counted;

/// What a node came to.
enum Done {
    /// It succeeded: the handle to go on by, and what it puts out.
    Succeeded(Option<String>, Option<Value>),
    /// It failed: why, and whether another attempt could fare better.
    Failed(String, bool),
    /// It waits for a time.
    Suspended(DateTime<Utc>),
}

/// Does what the node at `place` says, over the context. `now` is the database's clock.
///
/// # Errors
/// Unavailable when the machine cannot do it now.
pub(crate) async fn perform(
    sandbox: Arc<Sandbox>,
    graph: Arc<Graph>,
    place: usize,
    ctx: Value,
    now: DateTime<Utc>,
    attempt: u16,
) -> Result<Arrival> {
    let working = tokio::task::spawn_blocking(move || {
        let node = graph.node(place);
        let done = act(&sandbox, node, ctx, now)?;
        Ok(arrival(node, attempt, done))
    });
    working.await.map_err(Error::internal)?
}

fn act(sandbox: &Sandbox, node: &Node, ctx: Value, now: DateTime<Utc>) -> Result<Done> {
    match &node.task {
        Task::Start(_) => Ok(Done::Succeeded(Some(OUTPUT.into()), None)),
        Task::Script(script) => Ok(match counted(|| sandbox.run(&script.code, &[("ctx", ctx)]))? {
            Ok(value) => bounded(Some(SUCCESS.into()), value, MAX_OUTPUT_BYTES),
            Err(error) => refused(&error),
        }),
        Task::Condition(condition) => {
            let vars = [("ctx", ctx.clone())];
            decide(condition, &ctx, &|code| sandbox.eval_bool(code, &vars))
        }
        Task::Delay(delay) => Ok(match delay.due(&ctx, now) {
            Ok(due) if due <= now => Done::Succeeded(Some(OUTPUT.into()), None),
            Ok(due) => Done::Suspended(due),
            Err(error) => Done::Failed(error, false),
        }),
        // They wait, and are performed where a transaction is.
        Task::Order(_) => {
            Err(Error::internal("a node that orders something was performed as one that works"))
        }
        Task::End(end) => Ok(match end.output(&ctx) {
            Ok(output) => bounded(None, Value::Object(output), MAX_OUTPUT_BYTES),
            Err(error) => Done::Failed(error, false),
        }),
    }
}

/// Which way a condition goes. `evaluate` evaluates one expression.
fn decide(
    condition: &Condition,
    ctx: &Value,
    evaluate: &dyn Fn(&str) -> std::result::Result<bool, ScriptError>,
) -> Result<Done> {
    let not_run = RefCell::new(None);
    let expression = |code: &str| match counted(|| evaluate(code)) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(error) => {
            let told = error.to_string();
            not_run.replace(Some(error));
            Err(told)
        }
    };
    let began = Instant::now();
    let spent_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let decided = condition.decide(ctx, &expression, &spent_ms);
    if let Some(error) = not_run.take() {
        return Err(error);
    }
    Ok(match decided {
        Ok(decided) => {
            let output = json!({ "matched": decided.handle, "label": decided.label, "success": true });
            Done::Succeeded(Some(decided.handle), Some(output))
        }
        Err(error) => Done::Failed(error.to_string(), error.again()),
    })
}

/// A failed script: a script is a function of its input, but how long it takes is the machine's doing.
fn refused(error: &ScriptError) -> Done {
    let again = match error {
        ScriptError::Runtime { .. }
        | ScriptError::TimeLimit { .. }
        | ScriptError::Panic
        | ScriptError::NoThread => true,
        ScriptError::Compile { .. }
        | ScriptError::MemoryLimit { .. }
        | ScriptError::TooLarge { .. }
        | ScriptError::NotAccounted => false,
    };
    Done::Failed(error.to_string(), again)
}

fn bounded(handle: Option<String>, output: Value, limit: usize) -> Done {
    let bytes = kept::bytes(&output);
    if bytes > limit {
        let told = format!(
            "the output has {bytes} bytes once its numbers are written out; at most {limit} are kept"
        );
        return Done::Failed(told, false);
    }
    Done::Succeeded(handle, Some(output))
}

fn arrival(node: &Node, attempt: u16, done: Done) -> Arrival {
    let id = node.id.clone();
    match done {
        Done::Succeeded(handle, output) => {
            Arrival { change: Change::Succeeded { node: id, attempt, handle }, output }
        }
        Done::Failed(error, again) => {
            let change = Change::Failed { node: id, attempt, error: clip(error), again };
            Arrival { change, output: None }
        }
        Done::Suspended(until) => {
            Arrival { change: Change::Suspended { node: id, attempt, until }, output: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use jobs::Code;
    use rules::dag::{Branch, Logic, Test};

    use super::*;

    #[test]
    fn a_condition_for_which_there_is_no_thread_has_not_failed() {
        let branch = Branch {
            id: "yes".into(),
            label: "Yes".into(),
            logic: Logic::And,
            tests: vec![Test::Expression("ctx.input.a".into())],
        };
        let condition = Condition { branches: vec![branch], default: "else".into() };
        let ctx = json!({ "input": { "a": true } });
        let Err(error) = decide(&condition, &ctx, &|_| Err(ScriptError::NoThread)) else {
            panic!("the node was given an end");
        };
        assert_eq!(error.code, Code::Unavailable);
        assert!(matches!(decide(&condition, &ctx, &|_| Err(ScriptError::Panic)), Ok(Done::Failed(..))));
        assert!(
            matches!(decide(&condition, &ctx, &|_| Ok(true)), Ok(Done::Succeeded(Some(way), _)) if way == "yes")
        );
    }
}
