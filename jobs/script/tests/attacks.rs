//! Runs scripts that try to take more than they may, and proves that none does.
//!
//! `cargo test -p script --test attacks -- --nocapture` prints the table: what each was stopped by,
//! how long it ran, and the most memory that it held.

#![allow(clippy::print_stdout, reason = "the measured table is the point")]

use std::time::Duration;

use script::{Limits, Sandbox, ScriptError, Subject, Usage};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: script::CountingAllocator = script::CountingAllocator;

/// The promise, and not a byte of slack.
const MEMORY_BYTES: usize = 16 << 20;
/// A machine under load can suspend a thread for long; a script that is not stopped at all runs for
/// minutes, so this tells the two apart without being fooled.
const WALL: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Compile,
    Runtime,
    Time,
    Memory,
    Source,
    Input,
    InputDepth,
    Output,
    OutputDepth,
    Panic,
    Fine,
    /// Which of the two limits it meets first is the machine's affair.
    TimeOrMemory,
    /// It may end well, because what it makes is cut short, or meet the clock on a slow machine.
    Bounded,
}

fn end(outcome: &Result<Value, ScriptError>) -> End {
    match outcome {
        Ok(_) => End::Fine,
        Err(ScriptError::Compile { .. }) => End::Compile,
        Err(ScriptError::Runtime { .. }) => End::Runtime,
        Err(ScriptError::TimeLimit { .. }) => End::Time,
        Err(ScriptError::MemoryLimit { .. }) => End::Memory,
        Err(ScriptError::TooLarge { subject, .. }) => match subject {
            Subject::Source => End::Source,
            Subject::Input => End::Input,
            Subject::InputDepth => End::InputDepth,
            Subject::Output => End::Output,
            Subject::OutputDepth => End::OutputDepth,
        },
        Err(ScriptError::Panic) => End::Panic,
        Err(other @ (ScriptError::NotAccounted | ScriptError::NoThread)) => panic!("{other}"),
    }
}

fn attack(
    sandbox: &Sandbox,
    name: &str,
    code: &str,
    expected: End,
    vars: &[(&str, Value)],
) -> Option<String> {
    let (outcome, Usage { wall, peak_bytes }) = sandbox.run_measured(&code.replace(S16, MAKE_S16), vars);
    let seen = end(&outcome);
    let what = outcome.map_or_else(|error| error.to_string(), |value| value.to_string());
    let what: String = what.chars().take(90).collect();
    println!("{name:<34} {seen:<13?} {:>9.2} ms {peak_bytes:>10} B  {what}", wall.as_secs_f64() * 1e3);
    let right = match expected {
        End::TimeOrMemory => matches!(seen, End::Time | End::Memory),
        End::Bounded => matches!(seen, End::Fine | End::Time | End::Memory),
        one => seen == one,
    };
    if !right {
        return Some(format!("{name}: expected {expected:?}, got {seen:?}: {what}"));
    }
    if peak_bytes > MEMORY_BYTES {
        return Some(format!("{name}: held {peak_bytes} bytes"));
    }
    (wall > WALL).then(|| format!("{name}: ran {wall:?}"))
}

/// What is asked of the kind of end alone is given time: a machine under load must not turn it into
/// another.
const PATIENT: Duration = Duration::from_secs(30);

fn all(table: &[(&str, &str, End)]) {
    let strict = Sandbox::new(Limits::default());
    let patient = Sandbox::new(Limits { time: PATIENT, ..Limits::default() });
    let faults: Vec<String> = table
        .iter()
        .filter_map(|(name, code, expected)| {
            let timed = matches!(expected, End::Time | End::TimeOrMemory | End::Bounded);
            attack(if timed { &strict } else { &patient }, name, code, *expected, &[])
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // The sandbox is none the worse for it.
    assert_eq!(strict.run("1 + 1", &[]), Ok(json!(2)));
}

/// Stands in a script for the making of a text of 16 KiB, `s`.
const S16: &str = "<16K>";
const MAKE_S16: &str = r#"let s = "a"; for i in 0..14 { s += s; }"#;

const TIME: &[(&str, &str, End)] = &[
    ("endless loop", "loop { }", End::Time),
    ("endless while", "let x = 0; while true { x += 1; }", End::Time),
    ("huge range", "let n = 0; for i in 0..9223372036854775807 { n = i; } n", End::Time),
    ("huge closed range", "let n = 0; for i in 0..=9223372036854775807 { n = i; } n", End::Time),
    ("stepped range", "for i in range(0, 9223372036854775807, 3) { }", End::Time),
    ("catch the stop", "loop { try { loop { } } catch { } }", End::Time),
    ("sleep", "sleep(5)", End::Runtime),
    ("quadratic index_of", "<16K> loop { s.index_of(\"b\"); }", End::Time),
    ("sort with a comparer", "let a = []; a.pad(100000, 1); a.sort(|x, y| y - x); a.len()", End::Time),
    (
        "sort with a liar",
        "let a = []; for i in 0..500 { a.push(i); } a.sort(|x, y| 1); a.len()",
        End::Bounded,
    ),
    (
        "sort of long equal texts",
        "<16K> for i in 0..7 { s += s; } let t = s + \"x\"; let u = s + \"y\"; let a = []; \
             for i in 0..20000 { a.push(t); a.push(u); } a.sort(); a.len()",
        End::TimeOrMemory,
    ),
    (
        "comparison of shared texts",
        "<16K> for i in 0..7 { s += s; } let t = s + \"x\"; let u = s + \"x\"; let a = []; let b = []; \
             a.pad(50000, t); b.pad(50000, u); a == b",
        End::TimeOrMemory,
    ),
    (
        "dedup of shared texts",
        "<16K> for i in 0..7 { s += s; } let t = s + \"x\"; let u = s + \"x\"; let a = []; \
             for i in 0..20000 { a.push(t); a.push(u); } a.dedup(); a.len()",
        End::TimeOrMemory,
    ),
    ("map over callbacks", "let a = []; a.pad(100000, 1); loop { a.map(|x| x + 1); }", End::TimeOrMemory),
    ("reduce", "let a = []; a.pad(100000, 1); loop { a.reduce(|s, x| s + x, 0); }", End::TimeOrMemory),
    ("mutual recursion", "fn a(n) { b(n) } fn b(n) { a(n) } a(1)", End::Runtime),
    ("switch loop", "let x = 0; loop { switch x { 0 => x = 1, _ => x = 0 } }", End::Time),
];

#[test]
fn of_time() {
    all(TIME);
}

const MEMORY: &[(&str, &str, End)] = &[
    ("text doubling", r#"let s = "a"; loop { s += s; }"#, End::TimeOrMemory),
    ("text sum", r#"let s = "a"; loop { s = s + s + s + s; }"#, End::TimeOrMemory),
    ("text interpolation", r#"let s = "a"; loop { s = `${s}${s}${s}${s}`; }"#, End::TimeOrMemory),
    ("array doubling", "let a = [1]; loop { a += a; }", End::TimeOrMemory),
    ("array sum", "let a = [1]; loop { a = a + a; }", End::TimeOrMemory),
    ("array append", "let a = [1]; loop { a.append(a); }", End::TimeOrMemory),
    ("nested duplication", "let a = [1]; loop { a = [a, a, a, a]; }", End::TimeOrMemory),
    ("array push", "let a = []; loop { a.push(1); }", End::TimeOrMemory),
    (
        "array of arrays by index",
        "let b = []; b.pad(1000, 1); let a = []; a.pad(10000, 0); let i = 0; loop { a[i] = b; i += 1; }",
        End::TimeOrMemory,
    ),
    (
        "clone of a large value",
        "let b = []; b.pad(200000, 1); let c = [b, b]; let d = c; let e = [d, d]; e.len()",
        End::TimeOrMemory,
    ),
    (
        "texts by index",
        "<16K> let a = []; a.pad(5000, ()); for i in 0..5000 { a[i] = s + i; }",
        End::TimeOrMemory,
    ),
    ("map keys", "<16K> let m = #{}; for i in 0..5000 { m[\"k\" + i] = s + i; }", End::TimeOrMemory),
    ("map of many keys", "let m = #{}; let i = 0; loop { m[\"\" + i] = i; i += 1; }", End::TimeOrMemory),
    ("map merge", "let m = #{a: 1}; loop { m = #{a: m, b: m, c: m}; }", End::TimeOrMemory),
    ("closures", "<16K> let a = []; for i in 0..5000 { let t = s + i; a.push(t); }", End::TimeOrMemory),
    ("replace a text by itself", "<16K> s.replace(\"a\", s); s.len()", End::TimeOrMemory),
    ("replace by char", "<16K> s.replace('a', s); s.len()", End::TimeOrMemory),
    ("replace nothing", "<16K> s.replace(\"\", s); s.len()", End::TimeOrMemory),
    ("pad a text", r#"let s = "a"; s.pad(100000000, "ab"); s.len()"#, End::TimeOrMemory),
    ("pad a text by char", "let s = \"a\"; s.pad(9223372036854775807, 'b'); s.len()", End::TimeOrMemory),
    ("pad an array", "let a = []; a.pad(100000000, 1); a.len()", End::TimeOrMemory),
    (
        "pad with a large item",
        "let b = []; b.pad(10000, 1); let a = []; a.pad(10000, b); a.len()",
        End::TimeOrMemory,
    ),
    (
        "split into nothing",
        "<16K> for i in 0..6 { s += s; } let a = s.split(\"\"); a.len()",
        End::TimeOrMemory,
    ),
    ("split by char", "<16K> for i in 0..6 { s += s; } let a = s.split('a'); a.len()", End::TimeOrMemory),
    (
        "split from the end",
        "<16K> for i in 0..6 { s += s; } let a = s.split_rev('a'); a.len()",
        End::TimeOrMemory,
    ),
    ("to_chars", "<16K> for i in 0..6 { s += s; } let a = s.to_chars(); a.len()", End::TimeOrMemory),
    (
        "chars",
        "<16K> for i in 0..8 { s += s; } let n = 0; for c in s.chars() { n += 1; } n",
        End::TimeOrMemory,
    ),
    (
        "iterate a text",
        "<16K> for i in 0..8 { s += s; } let n = 0; for c in s { n += 1; } n",
        End::TimeOrMemory,
    ),
    (
        "sub_string of a large text",
        "<16K> for i in 0..8 { s += s; } let t = []; loop { t.push(s.sub_string(1)); }",
        End::TimeOrMemory,
    ),
    ("upper case grows", r#"let s = "ΐ"; for i in 0..21 { s += s; } s.to_upper().len()"#, End::TimeOrMemory),
    (
        "print a shared list",
        "<16K> let a = []; a.pad(10000, s); let t = a.to_string(); t.len()",
        End::Bounded,
    ),
    (
        "print a nest",
        r#"let s = "0123456789"; for i in 0..14 { s = [s, s]; } let t = `${s}`; t.len()"#,
        End::Bounded,
    ),
    ("add a list to a text", "<16K> let a = []; a.pad(10000, s); let t = \"\" + a; t.len()", End::Bounded),
    (
        "to_json of shared texts",
        "<16K> let a = []; a.pad(10000, s); let m = #{a: a}; m.to_json()",
        End::Runtime,
    ),
    (
        "to_debug",
        "<16K> for i in 0..8 { s += s; } let a = []; loop { a.push(s.to_debug()); }",
        End::TimeOrMemory,
    ),
    (
        "parse_json of a list",
        r#"let s = "[" ; for i in 0..400000 { s += "1,"; } s += "1]"; parse_json(s).len()"#,
        End::TimeOrMemory,
    ),
    (
        "parse_json of objects",
        "let o = \"{\\\"a\\\":1},\"; for i in 0..17 { o += o; } let s = \"[\" + o + \"1]\"; parse_json(s).len()",
        End::TimeOrMemory,
    ),
    ("blob", "blob(10000000, 1)", End::Runtime),
    (
        "to_blob",
        r#"let s = "a"; for i in 0..20 { s += s; } let b = []; loop { b.push(s.to_blob()); }"#,
        End::TimeOrMemory,
    ),
    ("throw a large value", "<16K> let a = []; a.pad(10000, s); throw a", End::Runtime),
    (
        "keys and values",
        "let m = #{}; for i in 0..2000 { m[\"\" + i] = i; } let a = []; loop { a.push(m.keys()); a.push(m.values()); }",
        End::TimeOrMemory,
    ),
    ("zip", "let a = []; a.pad(1000, 1); loop { a = a.zip(a, |x, y| [x, y]); }", End::TimeOrMemory),
    (
        "order copies",
        "let a = []; a.pad(60000, 1); let b = []; loop { b.push(a.order()); }",
        End::TimeOrMemory,
    ),
    ("extract", "let a = []; a.pad(60000, 1); let b = []; loop { b.push(a.extract(0)); }", End::TimeOrMemory),
    ("splice", "let a = [1, 2]; loop { a.splice(1, 0, a); }", End::TimeOrMemory),
    ("recursion that keeps", "fn f(n) { let a = []; a.pad(50000, 1); f(n + 1) } f(0)", End::TimeOrMemory),
    (
        "arguments that copy",
        "fn f(a, n) { f(a, n + 1) } let a = []; a.pad(100000, 1); f(a, 0)",
        End::TimeOrMemory,
    ),
];

#[test]
fn of_memory() {
    all(MEMORY);
}

#[test]
fn of_memory_on_a_machine_five_times_as_fast() {
    // With more time, more of them meet the other limit, and further on.
    let sandbox = Sandbox::new(Limits { time: 5 * Limits::default().time, ..Limits::default() });
    let faults: Vec<String> = MEMORY
        .iter()
        .filter_map(|(name, code, expected)| attack(&sandbox, name, code, *expected, &[]))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn of_depth() {
    let repeat = |open: &str, middle: &str, close: &str, n: usize| {
        format!("{}{middle}{}", open.repeat(n), close.repeat(n))
    };
    all(&[
        ("deep recursion", "fn f(n) { f(n + 1) } f(0)", End::Runtime),
        (
            "recursion with deep arguments",
            "fn f(n) { [[[[[[[[f((((((((n + 1))))))))]]]]]]]] } f(0)",
            End::Runtime,
        ),
        (
            "value nested by calls",
            "fn w(a) { [[[[[[[[a]]]]]]]] } let a = []; loop { a = w(a); }",
            End::TimeOrMemory,
        ),
        ("value nested by maps", "let a = #{}; loop { a = #{a: #{a: #{a: #{a: a}}}}; }", End::TimeOrMemory),
        ("deep result", "let a = []; for i in 0..40 { a = [a]; } a", End::OutputDepth),
        ("deep result that is compared", "let a = []; for i in 0..400 { a = [a]; } a == a", End::Bounded),
        ("deep to_string", "let a = []; for i in 0..300 { a = [a]; } a.to_string().len()", End::Bounded),
        ("parentheses", &repeat("(", "1", ")", 30000), End::Compile),
        ("brackets", &repeat("[", "", "]", 30000), End::Compile),
        ("braces", &repeat("{", "", "}", 30000), End::Compile),
        ("object braces", &repeat("#{a:", "1", "}", 10000), End::Compile),
        ("calls", &repeat("f(", "1", ")", 20000), End::Compile),
        ("indexes", &repeat("a[", "0", "]", 20000), End::Compile),
        ("not", &repeat("!", "true", "", 60000), End::Compile),
        ("minus", &repeat("-", "x", "", 60000), End::Compile),
        ("sum", &repeat("1+", "1", "", 30000), End::Compile),
        ("and", &repeat("true&&", "true", "", 9000), End::Compile),
        ("coalesce", &repeat("()??", "1", "", 12000), End::Compile),
        ("power", &repeat("2**", "1", "", 15000), End::Compile),
        ("dots", &repeat("a.", "a", "", 30000), End::Compile),
        ("index chain", &repeat("", "let a = 1; a", "[0]", 20000), End::Compile),
        ("interpolations", &repeat("`${", "1", "}`", 12000), End::Compile),
        ("else if", &format!("if x {{}}{}", " else if x {}".repeat(5000)), End::Compile),
        ("nested if", &repeat("if true {", "", "}", 6000), End::Compile),
        ("nested while", &repeat("while false {", "", "}", 4000), End::Compile),
        ("nested for", &repeat("for i in a {", "", "}", 4000), End::Compile),
        ("nested switch", &repeat("switch 1 { 1 => ", "1", "}", 3000), End::Compile),
        ("nested try", &repeat("try {", "", "} catch {}", 4000), End::Compile),
        ("nested functions of no name", &repeat("|x|", "x", "", 20000), End::Compile),
        ("nested comments", &repeat("/*", "", "*/", 15000), End::Fine),
        ("assignments", &repeat("x = ", "1", "", 15000), End::Compile),
        ("many functions", &(0..2000).map(|n| format!("fn f{n}() {{}}")).collect::<String>(), End::Compile),
        ("many variables", &(0..3000).map(|n| format!("let a{n}=1;")).collect::<String>(), End::Runtime),
        ("many statements", &"1;".repeat(30000), End::Bounded),
        (
            "many fields",
            &format!("#{{{}}}.len()", (0..5000).map(|n| format!("a{n}:1,")).collect::<String>()),
            End::Bounded,
        ),
    ]);
}

const INTERPRETER: &[(&str, &str, End)] = &[
    ("eval", r#"eval("1+1")"#, End::Compile),
    ("import", r#"import "x" as x; 1"#, End::Compile),
    ("print", r#"print("x")"#, End::Compile),
    ("debug", r#"debug("x")"#, End::Compile),
    ("this", "fn f() { this } f()", End::Compile),
    ("exit", "exit(1)", End::Runtime),
    ("timestamp", "timestamp()", End::Runtime),
    ("call eval by name", r#"Fn("eval").call("1+1")"#, End::Compile),
    ("call print by name", r#"Fn("print").call("1+1"); 1"#, End::Compile),
    ("add overflows", "9223372036854775807 + 1", End::Runtime),
    ("negate the least", "-(-9223372036854775807 - 1)", End::Runtime),
    ("multiply overflows", "9223372036854775807 * 2", End::Runtime),
    ("power overflows", "9223372036854775807 ** 9", End::Runtime),
    ("divide by zero", "1 / 0", End::Runtime),
    ("remainder by zero", "1 % 0", End::Runtime),
    ("least divided by -1", "(-9223372036854775807 - 1) / -1", End::Runtime),
    ("shift", "1 << 9999999999", End::Fine),
    ("absolute of the least", "(-9223372036854775807 - 1).abs()", End::Runtime),
    (
        "closed range to the end",
        "let n = 0; for i in 9223372036854775806..=9223372036854775807 { n += 1; } n",
        End::Fine,
    ),
    ("reversed range", "let n = 0; for i in 10..=1 { n += 1; } n", End::Fine),
    (
        "cut at the edges",
        "let s = \"äöü\"; [s.sub_string(-9223372036854775807 - 1, 9223372036854775807), s.sub_string(0..=9223372036854775807), s.sub_string(5, 1), s.index_of(\"ü\", -1)]",
        End::Fine,
    ),
    ("crop at the edges", "let s = \"äöü\"; s.crop(-1..9223372036854775807); s.crop(2); s", End::Fine),
    (
        "array at the edges",
        "let a = [1, 2]; a.extract(-9223372036854775807 - 1, 9223372036854775807).len() + a.drain(0..=9223372036854775807).len()",
        End::Fine,
    ),
    ("index beyond", "let a = [1]; a[9223372036854775807]", End::Runtime),
    ("index before", "let a = [1]; a[-9223372036854775807 - 1]", End::Runtime),
    ("text index beyond", r#"let a = "x"; a[9223372036854775807]"#, End::Runtime),
    ("sort of kinds", r#"let a = [1, "x", ()]; a.sort(); a"#, End::Runtime),
    (
        "own function in place of ours",
        r#"fn replace(a, b, c) { loop {} } let s = "a"; s.replace("a", "b"); s"#,
        End::Fine,
    ),
    ("operator in place of ours", r#"fn index_of(s, x) { 7 } "abc".index_of("c")"#, End::Fine),
    ("a function as the result", "|x| x", End::Runtime),
    ("a range as the result", "0..5", End::Runtime),
    ("the character zero", r#""a\x00b""#, End::Runtime),
    ("not a number", "0.0 / 0.0", End::Fine),
    ("range of bits", "let n = 5; n[0..=9223372036854775807]", End::Fine),
    ("no regular expressions", r#""aaaa".matches("(a+)+$")"#, End::Runtime),
];

#[test]
fn of_the_interpreter() {
    all(INTERPRETER);
}

#[test]
fn of_size() {
    let sandbox = Sandbox::new(Limits { time: PATIENT, ..Limits::default() });
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
        .filter_map(|(name, code, expected, vars)| attack(&sandbox, name, code, *expected, vars))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
