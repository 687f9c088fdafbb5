//! Scripts that nest, in their text or in what they make.

use crate::{End, all};

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
        (
            "deep parse_json",
            r#"let s = "["; for i in 0..13 { s += s; } parse_json(s + "1").len()"#,
            End::Runtime,
        ),
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
