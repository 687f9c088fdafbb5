//! Scripts that try what the interpreter must not give, or what it may get wrong.

use crate::{End, all};

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
