//! Calls every function on the largest values that a script can hold, and proves that none passes the
//! ceiling of memory or breaks the interpreter.

#![allow(clippy::print_stdout, reason = "the measured table is the point")]

use std::time::Duration;

use script::{Limits, Sandbox, ScriptError, Usage};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: script::CountingAllocator = script::CountingAllocator;

/// The promise, and not a byte of slack.
const MEMORY_BYTES: usize = 16 << 20;
/// What one call may take on a machine under load, unoptimised: the deadline is not looked at inside it.
const WALL: Duration = Duration::from_secs(10);

/// What can be called on a text, each tried on the largest that a script can hold.
const ON_A_TEXT: &[&str] = &[
    "s.set(0, 'b')",
    "s.remove(\"b\")",
    "s.remove('a')",
    "s.truncate(5)",
    "s.trim()",
    "s.pop()",
    "s.pop(4000000)",
    "s.pop(-5)",
    "s.get(-1)",
    "s.split(2000000).len()",
    "s.crop(1)",
    "s.crop(-5)",
    "s.sub_string(1).len()",
    "s.index_of('b', 5)",
    "s.index_of(\"ab\", -5)",
    "s.contains(\"ab\")",
    "s.starts_with(s)",
    "s.to_upper().len()",
    "s.make_lower()",
    "s - \"a\"",
    "s -= 'a'",
    "s += 'b'",
    "s += 1",
    "s = 'b' + s",
    "s = 1 + s",
    "s[0] = 'b'",
    "s[0..4000000].len()",
    "s[-1]",
    "s == s",
    "s < s",
    "max(s, s).len()",
    "s in s",
    "`${s}b`.len()",
    "s.to_string().len()",
    "s.to_debug().len()",
    "s.to_chars().len()",
    "s.split('a').len()",
    "s.replace(\"a\", \"b\")",
    "s.replace('a', \"bb\")",
    "s.pad(4194305, 'x')",
    "s.to_blob() == 1",
    "parse_int(s)",
    "parse_int(s, 16)",
    "parse_int(s, -1)",
    "parse_float(s)",
    "parse_json(s)",
    "s.bytes + s.len",
    "s.clear()",
    "let m = #{}; m[s] = 1; m.len()",
    "switch s { \"a\" => 1, _ => 2 }",
    "type_of(s)",
    "throw s",
    "s",
];

/// What can be called on a list, each tried on about the largest that a script can hold.
const ON_A_LIST: &[&str] = &[
    "a.set(0, 2)",
    "a.push(1)",
    "a.insert(0, 1)",
    "a.append(a)",
    "a += a",
    "a += 1",
    "(a + a).len()",
    "a = a.extract(0, 230000); let b = a; b.len()",
    "a.splice(0, 1, a)",
    "a.extract(0).len()",
    "a.split(250000).len()",
    "a.chop(100)",
    "a.truncate(5)",
    "a.pop()",
    "a.shift()",
    "a.remove(0)",
    "a.reverse()",
    "a.dedup()",
    "a.sort()",
    "a.sort_desc()",
    "a.order().len()",
    "a.drain(0..400000).len()",
    "a.retain(0..400000).len()",
    "a.retain(|x| true).len()",
    "a.map(|x| [x]).len()",
    "a.filter(|x| true).len()",
    "a.zip(a, |x, y| x).len()",
    "a.reduce(|x, y| x)",
    "a.contains(2)",
    "a.index_of(2)",
    "a == a",
    "a != a",
    "2 in a",
    "a.to_string().len()",
    "`${a}`.len()",
    "#{a: a}.to_json().len()",
    "let b = a; b.len()",
    "let m = #{}; m.a = a; m.values().len()",
    "#{a: a}.mixin(#{b: a})",
    "[a].len()",
    "for x in a { }",
    "a[0..10]",
    "fn f(x) { x } f(a).len()",
    "a.for_each(|x| x)",
    "a",
];

/// What can be called on an object map, each tried on about the largest that a script can hold.
const ON_A_MAP: &[&str] = &[
    "m.keys().len()",
    "m.values().len()",
    "m.len()",
    "m.contains(\"k1\")",
    "m.set(\"x\", m)",
    "m.x = m",
    "m.remove(\"k1\")",
    "m.mixin(m)",
    "m += m",
    "(m + m).len()",
    "m.fill_with(m)",
    "m == m",
    "m != m",
    "m.map(|k, v| v).len()",
    "m.filter(|k, v| true).len()",
    "m.drain(|k, v| true).len()",
    "m.retain(|k, v| false).len()",
    "m.to_json().len()",
    "m.to_string().len()",
    "`${m}`.len()",
    "\"\" + m",
    "let n = m; n.len()",
    "[m, m].len()",
    "#{a: m}.len()",
    "\"k1\" in m",
    "m[\"k1\"] = m",
    "fn f(x) { x } f(m).len()",
    "throw m",
    "m.clear()",
    "m",
];

/// Makes each call on its own, over variables that take all that may be held together.
fn try_each(calls: &[&str], vars: &[(&str, Value)]) {
    let limits = Limits { time: 2 * Limits::default().time, input_bytes: 32 << 20, ..Limits::default() };
    let sandbox = Sandbox::new(limits);
    let mut faults = Vec::new();
    for call in calls {
        let (outcome, Usage { wall, peak_bytes, .. }) = sandbox.run_measured(call, vars);
        let panicked = outcome == Err(ScriptError::Panic);
        let what = outcome.map_or_else(|error| error.to_string(), |value| value.to_string());
        let what: String = what.chars().take(60).collect();
        println!("{call:<38} {:>9.2} ms {peak_bytes:>10} B  {what}", wall.as_secs_f64() * 1e3);
        if peak_bytes > MEMORY_BYTES || wall > WALL || panicked {
            faults.push(format!("{call}: {peak_bytes} bytes, {wall:?}, {what}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn ballast() -> (&'static str, Value) {
    ("ballast", json!("b".repeat(3_000_000)))
}

#[test]
fn of_a_text_as_large_as_there_can_be() {
    try_each(ON_A_TEXT, &[("s", json!("a".repeat(4 << 20))), ballast()]);
}

#[test]
fn of_a_large_list() {
    try_each(ON_A_LIST, &[("a", json!(vec![1; 262_000])), ballast()]);
}

#[test]
fn of_a_large_map() {
    let fields: serde_json::Map<String, Value> = (0..60_000).map(|n| (format!("k{n}"), n.into())).collect();
    try_each(ON_A_MAP, &[("m", Value::Object(fields)), ballast()]);
}
