//! Scripts that try to take more time than they may.

use crate::{End, all};

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
