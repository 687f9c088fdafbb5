//! Reads one node of a draft.

use serde_json::Value;

use super::build::Compilers;
use super::condition::{Branch, Condition, Logic, Operator, Test};
use super::fault::Reason;
use super::fields::Fields;
use super::graph::Node;
use super::limits::{
    MAX_BRANCHES, MAX_CONDITIONS, MAX_DELAY_MINUTES, MAX_ID_BYTES, MAX_PARAMETERS, MAX_RETRIES,
    MAX_RETRY_DELAY_S, MAX_TIMEOUT_S, MAX_WAIT_S,
};
use super::pattern;
use super::read_order;
use super::schema::Schema;
use super::task::{Delay, ERROR, End, Join, OnFailure, Policy, Script, Task};
use super::template::Template;

/// Seconds that an attempt may take when the node does not say.
const TIMEOUT_S: u64 = 30;
/// Seconds that a node waits for what it ordered when it does not say: the longest that an operation which
/// nothing delays may take.
const WAITING_TIMEOUT_S: u64 = 300;
/// Further attempts of a `retry_then_…` node that does not say how many.
const RETRIES: u64 = 3;
/// Seconds between attempts when the node does not say.
const RETRY_DELAY_S: u64 = 5;
/// The name of a script's result in `ctx` when the node does not say.
const OUTPUT_VARIABLE: &str = "scriptResult";

#[derive(Clone, Copy)]
enum Kind {
    Start,
    Script,
    Condition,
    Delay,
    MachineOperation,
    HealthCheck,
    End,
}

const KINDS: [(&str, Kind); 7] = [
    ("start", Kind::Start),
    ("script", Kind::Script),
    ("condition", Kind::Condition),
    ("delay", Kind::Delay),
    ("machineOperation", Kind::MachineOperation),
    ("healthCheck", Kind::HealthCheck),
    ("end", Kind::End),
];

/// Reads a node whose id is known; none when it has a fault that leaves nothing to work with.
pub(super) fn node(id: &str, mut fields: Fields<'_, '_>, compilers: &Compilers<'_>) -> Option<Node> {
    // For editors; they mean nothing here.
    for ignored in ["title", "description", "position"] {
        fields.get(ignored);
    }
    fields.get("id");
    let kind = fields.word("type", &KINDS);
    let policy = policy(&mut fields, kind);
    let join = fields.choice("joinMode", &[("all", Join::All), ("any", Join::Any)], Join::All);
    let task = match fields.inside("config") {
        Some(mut config) => {
            let task = match kind {
                Some(Kind::Start) => Some(start(&mut config)),
                Some(Kind::Script) => script(&mut config, compilers),
                Some(Kind::Condition) => condition(&mut config, compilers),
                Some(Kind::Delay) => delay(&mut config),
                Some(Kind::MachineOperation) => read_order::operation(&mut config),
                Some(Kind::HealthCheck) => read_order::check(&mut config),
                Some(Kind::End) => Some(end(&mut config)),
                None => {
                    config.forgive_the_rest();
                    None
                }
            };
            config.end();
            task
        }
        None => None,
    };
    fields.end();
    Some(Node { id: id.into(), task: task?, policy, join })
}

fn policy(fields: &mut Fields<'_, '_>, kind: Option<Kind>) -> Policy {
    let waits = matches!(kind, Some(Kind::MachineOperation | Kind::HealthCheck));
    let timeout_s = if waits { WAITING_TIMEOUT_S } else { TIMEOUT_S };
    let longest_s = if waits { MAX_WAIT_S } else { MAX_TIMEOUT_S };
    let words = [
        ("fail_workflow", (OnFailure::FailRun, 0)),
        ("continue", (OnFailure::Continue, 0)),
        ("retry_then_fail", (OnFailure::FailRun, RETRIES)),
        ("retry_then_continue", (OnFailure::Continue, RETRIES)),
    ];
    let (on_failure, retries) = fields.choice("errorHandling", &words, (OnFailure::FailRun, 0));
    let retries = fields.whole("retryLimit", 0..=MAX_RETRIES, retries);
    Policy {
        timeout_s: fields.whole("timeoutSeconds", 1..=longest_s, timeout_s),
        retries: u16::try_from(retries).unwrap_or(0),
        retry_delay_s: fields.whole("retryDelaySeconds", 0..=MAX_RETRY_DELAY_S, RETRY_DELAY_S),
        on_failure,
    }
}

fn start(config: &mut Fields<'_, '_>) -> Task {
    let Some(schema) = config.get("inputSchema") else { return Task::Start(None) };
    match Schema::compile(schema) {
        Ok(schema) => Task::Start(Some(schema)),
        Err(why) => {
            config.fault("inputSchema", Reason::Schema, why);
            Task::Start(None)
        }
    }
}

fn script(config: &mut Fields<'_, '_>, compilers: &Compilers<'_>) -> Option<Task> {
    let output_variable = output_variable(config, OUTPUT_VARIABLE);
    let code = config.text("code")?;
    if let Err(why) = (compilers.script)(code) {
        config.fault("code", Reason::Script, why);
    }
    Some(Task::Script(Script { code: code.into(), output_variable }))
}

/// The name under which a node's output stands in `ctx`.
pub(super) fn output_variable(config: &mut Fields<'_, '_>, default: &str) -> String {
    let name = config.optional_text("outputVariable").unwrap_or(default).to_owned();
    if !is_variable(&name) {
        config.fault(
            "outputVariable",
            Reason::Malformed,
            format!(
                "must be a name of at most {MAX_ID_BYTES} letters, digits and `_`, neither `input` nor beginning with `__`"
            ),
        );
    }
    name
}

fn condition(config: &mut Fields<'_, '_>, compilers: &Compilers<'_>) -> Option<Task> {
    let default = config.get("defaultBranch").map_or(Some("default"), |_| config.id("defaultBranch"));
    let given = config.list("branches", MAX_BRANCHES);
    if given.is_empty() {
        config.fault("branches", Reason::Missing, "must list at least one branch");
    }
    let mut branches: Vec<Branch> = Vec::new();
    for (place, value) in given.iter().enumerate() {
        let Some(mut fields) = config.item("branches", place, value) else {
            branches.push(Branch {
                id: String::new(),
                label: String::new(),
                logic: Logic::And,
                tests: Vec::new(),
            });
            continue;
        };
        let branch = branch(&mut fields, compilers);
        if branch.id == ERROR || Some(branch.id.as_str()) == default {
            fields.fault("id", Reason::Duplicate, format!("`{}` is a handle already", branch.id));
        } else if !branch.id.is_empty() && branches.iter().any(|b| b.id == branch.id) {
            fields.fault("id", Reason::Duplicate, format!("`{}` is another branch already", branch.id));
        }
        branches.push(branch);
        fields.end();
    }
    if default == Some(ERROR) {
        config.fault("defaultBranch", Reason::Duplicate, format!("`{ERROR}` is a handle already"));
    }
    Some(Task::Condition(Condition { branches, default: default?.into() }))
}

/// Reads a branch; one that names itself badly has no id, but keeps its place, by which its faults are told.
fn branch(fields: &mut Fields<'_, '_>, compilers: &Compilers<'_>) -> Branch {
    let id = fields.id("id");
    let label = fields.optional_text("label").or(id).unwrap_or_default().to_owned();
    let logic = fields.choice("conditionLogic", &[("AND", Logic::And), ("OR", Logic::Or)], Logic::And);
    let given = fields.list("conditions", MAX_CONDITIONS);
    if given.is_empty() {
        fields.fault("conditions", Reason::Missing, "must list at least one condition");
    }
    let mut tests = Vec::new();
    for (place, value) in given.iter().enumerate() {
        let Some(mut inner) = fields.item("conditions", place, value) else {
            tests.push(Test::Expression(String::new()));
            continue;
        };
        tests.push(test(&mut inner, compilers));
        inner.end();
    }
    Branch { id: id.unwrap_or_default().into(), label, logic, tests }
}

/// Reads a test. What cannot be read of it is nothing in it, so that the rest of it and all behind it are still told
/// by their places: a graph with a fault is never used.
fn test(fields: &mut Fields<'_, '_>, compilers: &Compilers<'_>) -> Test {
    fields.get("id");
    let words: Vec<(&str, Option<Operator>)> = Operator::ALL
        .into_iter()
        .map(|(name, operator)| (name, Some(operator)))
        .chain([("expression", None)])
        .collect();
    let Some(operator) = fields.word("operator", &words) else {
        // What stands beside it is read all the same, so that its faults are told at once.
        let (left, right) = (fields.template("leftValue"), fields.template("rightValue"));
        if fields.get("expression").is_some() {
            expression(fields, compilers);
        }
        return compare(left, Operator::Equals, right);
    };
    let Some(operator) = operator else {
        return expression(fields, compilers);
    };
    fields.required("leftValue");
    let left = fields.template("leftValue");
    if !operator.is_unary() && fields.get("rightValue").is_none() {
        fields.fault("rightValue", Reason::Missing, "must be there for this operator");
    }
    let right = fields.template("rightValue");
    if let (Operator::MatchesRegex, Some(Template::Plain(Value::String(pattern)))) = (operator, &right)
        && let Err(why) = pattern::check(pattern)
    {
        fields.fault("rightValue", Reason::Malformed, why);
    }
    compare(left, operator, right)
}

/// A test of two values, either of which may be absent.
fn compare(left: Option<Template>, operator: Operator, right: Option<Template>) -> Test {
    Test::Compare { left: left.unwrap_or_else(nothing), operator, right: right.unwrap_or_else(nothing) }
}

/// What stands for a value that is absent or cannot be read.
const fn nothing() -> Template {
    Template::Plain(Value::Null)
}

/// A test by an expression of its own.
fn expression(fields: &mut Fields<'_, '_>, compilers: &Compilers<'_>) -> Test {
    let code = fields.text("expression");
    if let Some(Err(why)) = code.map(compilers.expression) {
        fields.fault("expression", Reason::Script, why);
    }
    Test::Expression(code.unwrap_or_default().into())
}

fn delay(config: &mut Fields<'_, '_>) -> Option<Task> {
    let words = [("fixed", 0), ("dynamic", 1), ("until", 2)];
    let Some(chosen) = config.word("delayType", &words) else {
        // What stands beside it is read all the same, so that its faults are told at once.
        fixed(config);
        config.template("delayVariable");
        config.template("untilTime");
        return None;
    };
    let delay = if chosen == 0 {
        fixed(config)
    } else {
        let field = if chosen == 1 { "delayVariable" } else { "untilTime" };
        config.required(field)?;
        let template = config.template(field)?;
        if chosen == 1 { Delay::Dynamic(template) } else { Delay::Until(template) }
    };
    Some(Task::Delay(delay))
}

fn fixed(config: &mut Fields<'_, '_>) -> Delay {
    let minutes = config.whole("delayMinutes", 0..=MAX_DELAY_MINUTES, 0);
    let seconds = config.whole("delaySeconds", 0..=59, 0);
    let ms = config.whole("delayMs", 0..=999, 0);
    Delay::Fixed(minutes * 60_000 + seconds * 1_000 + ms)
}

fn end(config: &mut Fields<'_, '_>) -> Task {
    let fails = config.choice("status", &[("success", false), ("error", true)], false);
    let given = config.list("outputParameters", MAX_PARAMETERS);
    let mut parameters: Vec<(String, Template)> = Vec::new();
    for (place, value) in given.iter().enumerate() {
        // One that cannot be read keeps its place, by which the faults of those behind it are told.
        let Some(mut fields) = config.item("outputParameters", place, value) else {
            parameters.push((String::new(), nothing()));
            continue;
        };
        let name = fields.id("name").unwrap_or_default();
        fields.required("sourceVariable");
        let source = fields.template("sourceVariable").unwrap_or_else(nothing);
        if !name.is_empty() && parameters.iter().any(|(other, _)| other == name) {
            fields.fault("name", Reason::Duplicate, format!("`{name}` is another parameter already"));
        }
        parameters.push((name.into(), source));
        fields.end();
    }
    Task::End(End { fails, parameters })
}

/// Whether a text can name a result in `ctx`, so that templates and scripts can reach it.
fn is_variable(text: &str) -> bool {
    text.len() <= MAX_ID_BYTES
        && text != "input"
        && !text.starts_with("__")
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
