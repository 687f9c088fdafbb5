//! Tests of `condition`.

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
