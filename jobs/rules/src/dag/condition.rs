//! Decides which way a condition node goes.

use std::cmp::Ordering;

use serde_json::Value;

use super::limits::{MAX_CONDITION_MS, MAX_CONTEXT_BYTES};
use super::pattern;
use super::template::{Missing, Room, Template, Unfilled, text_of};

/// A condition node: the first branch that holds is taken, else the default.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The branches, in order.
    pub branches: Vec<Branch>,
    /// The handle that is taken when no branch holds.
    pub default: String,
}

/// One way out of a condition node.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// Its id, which is its handle.
    pub id: String,
    /// Its name for people.
    pub label: String,
    /// Whether all tests must hold, or one.
    pub logic: Logic,
    /// What is tested; at least one.
    pub tests: Vec<Test>,
}

/// How the tests of a branch are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logic {
    /// All must hold.
    And,
    /// One must hold.
    Or,
}

/// One test.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// Two values, compared.
    Compare {
        /// The left value.
        left: Template,
        /// How they are compared.
        operator: Operator,
        /// The right value; null for the operators that take one value.
        right: Template,
    },
    /// A Rhai expression over `ctx` that is true or false.
    Expression(String),
}

/// The operators that compare values; the fourteenth, `expression`, is [`Test::Expression`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// The same value; a text and a number or boolean agree when their texts do.
    Equals,
    /// Not [`Self::Equals`].
    NotEquals,
    /// A text in a text, an item in a list, a member in an object.
    Contains,
    /// Not [`Self::Contains`].
    NotContains,
    /// As texts.
    StartsWith,
    /// As texts.
    EndsWith,
    /// As numbers where both are, else as texts.
    GreaterThan,
    /// As above.
    LessThan,
    /// As above.
    GreaterOrEqual,
    /// As above.
    LessOrEqual,
    /// Null, or a text, list or object with nothing in it.
    IsEmpty,
    /// Not [`Self::IsEmpty`].
    IsNotEmpty,
    /// The left text has a match of the right pattern; linear in time.
    MatchesRegex,
}

/// Why a condition gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// A pattern that is none, or too much for its text.
    #[error("branch `{0}`: `{1}` {2}")]
    Pattern(String, String, String),
    /// More tests than could be looked at in time.
    #[error("branch `{0}`: the tests before took {MAX_CONDITION_MS} ms, which all may take together")]
    Late(String),
    /// Templates that lead to nothing, or to more than a node may see.
    #[error("branch `{0}`: {1}")]
    Unfilled(String, Unfilled),
    /// An expression that failed.
    #[error("branch `{0}`: {1}")]
    Expression(String, String),
}

/// What a condition came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The handle to leave by.
    pub handle: String,
    /// The branch's label, when one held.
    pub label: Option<String>,
}

impl Undecided {
    /// Whether another look at the same context could fare better: only how long it takes may differ.
    pub const fn again(&self) -> bool {
        match self {
            Self::Late(_) | Self::Expression(..) => true,
            Self::Pattern(..) | Self::Unfilled(..) => false,
        }
    }
}

impl Operator {
    /// Every operator that compares, with its name in definitions.
    pub const ALL: [(&str, Self); 13] = [
        ("equals", Self::Equals),
        ("not_equals", Self::NotEquals),
        ("contains", Self::Contains),
        ("not_contains", Self::NotContains),
        ("starts_with", Self::StartsWith),
        ("ends_with", Self::EndsWith),
        ("greater_than", Self::GreaterThan),
        ("less_than", Self::LessThan),
        ("greater_or_equal", Self::GreaterOrEqual),
        ("less_or_equal", Self::LessOrEqual),
        ("is_empty", Self::IsEmpty),
        ("is_not_empty", Self::IsNotEmpty),
        ("matches_regex", Self::MatchesRegex),
    ];

    /// Whether it looks at the left value alone.
    pub const fn is_unary(self) -> bool {
        matches!(self, Self::IsEmpty | Self::IsNotEmpty)
    }
}

impl Condition {
    /// Decides over a context. `expression` evaluates a Rhai expression; `spent_ms` tells how long the
    /// decision has taken so far.
    ///
    /// # Errors
    /// [`Undecided`], when a test that had to be looked at cannot be answered.
    pub fn decide(
        &self,
        ctx: &Value,
        expression: &dyn Fn(&str) -> Result<bool, String>,
        spent_ms: &dyn Fn() -> u64,
    ) -> Result<Decided, Undecided> {
        for branch in &self.branches {
            if branch.holds(ctx, expression, spent_ms)? {
                return Ok(Decided { handle: branch.id.clone(), label: Some(branch.label.clone()) });
            }
        }
        Ok(Decided { handle: self.default.clone(), label: None })
    }
}

impl Branch {
    fn holds(
        &self,
        ctx: &Value,
        expression: &dyn Fn(&str) -> Result<bool, String>,
        spent_ms: &dyn Fn() -> u64,
    ) -> Result<bool, Undecided> {
        // Either kind of joining stops at the first test that settles it.
        let settles = matches!(self.logic, Logic::Or);
        for test in &self.tests {
            if spent_ms() >= MAX_CONDITION_MS {
                return Err(Undecided::Late(self.id.clone()));
            }
            if self.test(test, ctx, expression)? == settles {
                return Ok(settles);
            }
        }
        Ok(!settles)
    }

    fn test(
        &self,
        test: &Test,
        ctx: &Value,
        expression: &dyn Fn(&str) -> Result<bool, String>,
    ) -> Result<bool, Undecided> {
        match test {
            Test::Expression(code) => {
                expression(code).map_err(|why| Undecided::Expression(self.id.clone(), why))
            }
            Test::Compare { left, operator, right } => {
                let root = |name: &str| (name == "ctx").then_some(ctx);
                let mut room = Room::of(MAX_CONTEXT_BYTES);
                // Whether there is something is what these two ask.
                let missing = if operator.is_unary() { Missing::Null } else { Missing::Refused };
                let mut fill = |side: &Template| {
                    side.fill_in(&root, missing, &mut room)
                        .map_err(|why| Undecided::Unfilled(self.id.clone(), why))
                };
                let (left, right) = (fill(left)?, fill(right)?);
                compare(&left, *operator, &right).map_err(|why| {
                    Undecided::Pattern(self.id.clone(), text_of(&right).chars().take(100).collect(), why)
                })
            }
        }
    }
}

fn compare(left: &Value, operator: Operator, right: &Value) -> Result<bool, String> {
    Ok(match operator {
        Operator::Equals => same(left, right),
        Operator::NotEquals => !same(left, right),
        Operator::Contains => contains(left, right),
        Operator::NotContains => !contains(left, right),
        Operator::StartsWith => text_of(left).starts_with(&text_of(right)),
        Operator::EndsWith => text_of(left).ends_with(&text_of(right)),
        Operator::GreaterThan => order(left, right) == Some(Ordering::Greater),
        Operator::LessThan => order(left, right) == Some(Ordering::Less),
        Operator::GreaterOrEqual => order(left, right).is_some_and(Ordering::is_ge),
        Operator::LessOrEqual => order(left, right).is_some_and(Ordering::is_le),
        Operator::IsEmpty => is_empty(left),
        Operator::IsNotEmpty => !is_empty(left),
        Operator::MatchesRegex => pattern::is_match(&text_of(right), &text_of(left))?,
    })
}

fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        // Forms and query strings give numbers as texts.
        (Value::String(_), Value::Number(_) | Value::Bool(_))
        | (Value::Number(_) | Value::Bool(_), Value::String(_)) => {
            text_of(left) == text_of(right)
                || matches!((number(left), number(right)), (Some(a), Some(b)) if a == b)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => left == right,
    }
}

fn contains(left: &Value, right: &Value) -> bool {
    match left {
        Value::String(text) => text.contains(&text_of(right)),
        Value::Array(items) => items.iter().any(|item| same(item, right)),
        Value::Object(members) => members.contains_key(&text_of(right)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The order of two values: of numbers where both are or can be read as one, else of two texts.
fn order(left: &Value, right: &Value) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (number(left), number(right)) {
        return a.partial_cmp(&b);
    }
    match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;
