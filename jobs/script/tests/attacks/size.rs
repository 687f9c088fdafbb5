//! Sources, inputs and outputs beyond their bounds.

use script::Limits;
use serde_json::{Value, json};

use crate::{End, Ring};

#[test]
fn of_size() {
    let ring = Ring::new(Limits::default().time);
    let large = json!("x".repeat(2 << 20));
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!([deep]);
    }
    let many = json!(vec![0; 500_000]);
    let objects = json!(vec![json!({"a": 1}); 100_000]);
    type Case = (&'static str, String, End, Vec<(&'static str, Value)>);
    let cases: Vec<Case> = vec![
        ("1 MB of source", "1;".repeat(1 << 19), End::Source, vec![]),
        ("source at the limit", format!("/*{}*/ 1", "x".repeat((64 << 10) - 6)), End::Fine, vec![]),
        ("2 MB of input", "ctx.len()".into(), End::Input, vec![("ctx", large)]),
        ("deep input", "1".into(), End::InputDepth, vec![("ctx", deep)]),
        ("input of many numbers", "let a = ctx; [a, a].len()".into(), End::TimeOrMemory, vec![("ctx", many)]),
        ("input of many objects", "ctx.len()".into(), End::TimeOrMemory, vec![("ctx", objects)]),
        ("2 MB of output", r#"let s = "x"; for i in 0..21 { s += s; } s"#.into(), End::Output, vec![]),
        ("output of shared texts", "<16K> let a = []; a.pad(1000, s); a".into(), End::Output, vec![]),
        ("output of shared lists", "let a = \"0123456789012345678901234567890123456789\"; a += a; a += a; a += a; a += a; a += a; a += a; for i in 0..6 { a = [a, a, a]; } a".into(), End::Output, vec![]),
    ];
    let faults: Vec<String> = cases
        .iter()
        .filter_map(|(name, code, expected, vars)| ring.attack(name, code, *expected, vars))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
