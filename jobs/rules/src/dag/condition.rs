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
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(left: Value, operator: &str, right: Value) -> bool {
        let (_, operator) = Operator::ALL.into_iter().find(|(name, _)| *name == operator).unwrap();
        compare(&left, operator, &right).unwrap()
    }

    #[test]
    fn operators_compare_as_the_table_says() {
        let table = [
            (json!(1), "equals", json!(1.0), true),
            (json!("1"), "equals", json!(1), true),
            (json!("1.0"), "equals", json!(1), true),
            (json!("true"), "equals", json!(true), true),
            (json!("a"), "equals", json!("A"), false),
            (json!(null), "equals", json!(null), true),
            (json!(null), "equals", json!(0), false),
            (json!([1, {"a": 2}]), "equals", json!([1.0, {"a": 2}]), true),
            (json!(9007199254740993u64), "equals", json!(9007199254740993u64), true),
            (json!("a"), "not_equals", json!("b"), true),
            (json!("hello"), "contains", json!("ell"), true),
            (json!("a1"), "contains", json!(1), true),
            (json!([1, 2]), "contains", json!("2"), true),
            (json!({"k": 1}), "contains", json!("k"), true),
            (json!(null), "contains", json!(""), false),
            (json!([1]), "not_contains", json!(3), true),
            (json!("hello"), "starts_with", json!("he"), true),
            (json!("hello"), "ends_with", json!("lo"), true),
            (json!(10), "greater_than", json!(9), true),
            (json!("10"), "greater_than", json!("9"), true),
            (json!("b"), "greater_than", json!("a"), true),
            (json!("2026-01-02"), "greater_than", json!("2026-01-01"), true),
            (json!(null), "greater_than", json!(0), false),
            (json!(null), "less_than", json!(0), false),
            (json!(2), "less_than", json!("10"), true),
            (json!(2), "greater_or_equal", json!(2), true),
            (json!(2), "less_or_equal", json!(1), false),
            (json!([]), "greater_or_equal", json!([]), false),
            (json!(""), "is_empty", json!(null), true),
            (json!(null), "is_empty", json!(null), true),
            (json!([]), "is_empty", json!(null), true),
            (json!(0), "is_empty", json!(null), false),
            (json!({"a": 1}), "is_not_empty", json!(null), true),
            (json!("ab12"), "matches_regex", json!("^[a-z]+\\d+$"), true),
            (json!(12), "matches_regex", json!("^1"), true),
            (json!("ab"), "matches_regex", json!("^b"), false),
        ];
        for (left, operator, right, expected) in table {
            assert_eq!(holds(left.clone(), operator, right.clone()), expected, "{left} {operator} {right}");
        }
    }

    fn branch(id: &str, logic: Logic, tests: Vec<Test>) -> Branch {
        Branch { id: id.into(), label: id.to_uppercase(), logic, tests }
    }

    fn test(left: Value, operator: Operator, right: Value) -> Test {
        Test::Compare {
            left: Template::read(&left, &["ctx"]).unwrap(),
            operator,
            right: Template::read(&right, &["ctx"]).unwrap(),
        }
    }

    #[test]
    fn the_first_branch_that_holds_is_taken() {
        let ctx = json!({"input": {"n": 5}});
        let yes = || test(json!("{{ctx.input.n}}"), Operator::Equals, json!(5));
        let no = || test(json!("{{ctx.input.n}}"), Operator::Equals, json!(6));
        let bad = || Test::Expression("boom".into());
        let run = |branches: Vec<Branch>| {
            Condition { branches, default: "default".into() }
                .decide(
                    &ctx,
                    &|code| if code == "boom" { Err("failed".into()) } else { Ok(code == "yes") },
                    &|| 0,
                )
                .map(|d| d.handle)
        };
        assert_eq!(run(vec![]), Ok("default".into()));
        let two = vec![branch("a", Logic::And, vec![yes(), yes()]), branch("b", Logic::And, vec![yes()])];
        assert_eq!(run(two), Ok("a".into()));
        assert_eq!(run(vec![branch("a", Logic::And, vec![yes(), no()])]), Ok("default".into()));
        assert_eq!(run(vec![branch("a", Logic::Or, vec![no(), yes()])]), Ok("a".into()));
        // What needs no answer is not asked.
        assert_eq!(run(vec![branch("a", Logic::Or, vec![yes(), bad()])]), Ok("a".into()));
        assert_eq!(run(vec![branch("a", Logic::And, vec![no(), bad()])]), Ok("default".into()));
        let failed = run(vec![branch("a", Logic::And, vec![yes(), bad()])]);
        assert_eq!(failed, Err(Undecided::Expression("a".into(), "failed".into())));
        let yes_expression = branch("e", Logic::And, vec![Test::Expression("yes".into())]);
        assert_eq!(run(vec![yes_expression]), Ok("e".into()));
    }

    #[test]
    fn only_who_asks_whether_there_is_something_may_find_nothing() {
        let ctx = json!({"input": {"coupon": null}});
        let run = |left: &str, operator| {
            let branches = vec![branch("a", Logic::And, vec![test(json!(left), operator, json!(null))])];
            let condition = Condition { branches, default: "default".into() };
            condition.decide(&ctx, &|_| Ok(false), &|| 0).map(|d| d.handle)
        };
        assert_eq!(run("{{ctx.input.nothing}}", Operator::IsEmpty), Ok("a".into()));
        assert_eq!(run("{{ctx.input.nothing}}", Operator::IsNotEmpty), Ok("default".into()));
        assert_eq!(run("{{ctx.input.coupon}}", Operator::Equals), Ok("a".into()));
        assert_eq!(run("{{ctx.input.nothing ?? null}}", Operator::Equals), Ok("a".into()));
        let refused = run("{{ctx.input.cupon}}", Operator::Equals).unwrap_err();
        assert!(!refused.again());
        let told = refused.to_string();
        assert!(told.starts_with("branch `a`: `{{ctx.input.cupon}}` leads to nothing"), "{told}");
        assert!(told.contains("`coupon` is the nearest"), "{told}");
    }

    #[test]
    fn a_decision_ends_at_its_deadline() {
        let always = || test(json!(1), Operator::Equals, json!(2));
        let branches = (0..50).map(|n| branch(&n.to_string(), Logic::Or, vec![always(); 50])).collect();
        let condition = Condition { branches, default: "default".into() };
        // Each look at the clock finds a millisecond gone.
        let (looks, never) = (std::cell::Cell::new(0), |_: &str| Ok(false));
        let clock = || looks.replace(looks.get() + 1);
        let decided = condition.decide(&json!({}), &never, &clock);
        assert_eq!(decided, Err(Undecided::Late("20".into())));
        assert_eq!(looks.get(), MAX_CONDITION_MS + 1, "nothing is tested after it");
    }
}
