//! Scripts that try to take more memory than they may.

use script::Limits;

use crate::{End, Ring, all};

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
    let ring = Ring::new(5 * Limits::default().time);
    let faults = MEMORY.iter().filter_map(|(name, code, expected)| ring.attack(name, code, *expected, &[]));
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
