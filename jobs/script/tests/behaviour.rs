//! What an ordinary script gets, and how it is told of its faults.

use std::time::Duration;

use script::{Limits, Sandbox, ScriptError};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: script::CountingAllocator = script::CountingAllocator;

fn sandbox() -> Sandbox {
    Sandbox::new(Limits::default())
}

fn run(code: &str, ctx: Value) -> Value {
    sandbox().run(code, &[("ctx", ctx)]).unwrap_or_else(|error| panic!("{code}: {error}"))
}

fn fault(code: &str) -> String {
    match sandbox().run(code, &[("ctx", json!({}))]) {
        Ok(value) => panic!("{code}: {value}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_last_expression_is_the_result() {
    assert_eq!(run("ctx.a + 1", json!({"a": 41})), json!(42));
    assert_eq!(
        run(
            "#{ total: ctx.items.map(|i| i.price * i.count).reduce(|s, x| s + x, 0) }",
            json!({"items": [{"price": 2, "count": 3}, {"price": 5, "count": 1}]})
        ),
        json!({"total": 11})
    );
    assert_eq!(run("if ctx.a > 1 { return \"early\"; } \"late\"", json!({"a": 2})), json!("early"));
    assert_eq!(run("let x = 1;", json!(null)), json!(null));
    assert_eq!(run("()", json!({})), json!(null));
}

#[test]
fn a_member_that_is_not_there_is_an_error_that_names_it_and_the_remedy() {
    let sandbox = sandbox();
    let vars = [("ctx", json!({"input": {"amount": 1, "nothing": null}}))];
    let fault = |code: &str| sandbox.run(code, &vars).expect_err(code).to_string();
    assert_eq!(
        fault("let r = 1;\nctx.input.amuont * r"),
        "script failed: `ctx.input` has no `amuont`; `amount` is the nearest name that it has. Mend the name; a member \
         that may be absent is read by `ctx.input.get(\"amuont\") ?? 0`, or asked for by `\"amuont\" in ctx.input` \
         (line 2, column 11)"
    );
    for (code, told) in [
        ("ctx.inptu.amount", "`ctx` has no `inptu`; `input` is the nearest"),
        (r#"ctx.input["amuont"]"#, "`ctx.input` has no `amuont`; `amount` is the nearest"),
        ("ctx?.input?.amuont ?? 7", "`ctx.input` has no `amuont`"),
        ("ctx.elsewhere ?? 7", "`ctx` has no `elsewhere`. Mend the name"),
        ("let x = #{a: 1}; x.b", "an object has no `b`. Mend the name"),
        ("fn f(x) { x.b } f(ctx)", "an object has no `b`"),
        ("[ctx.input].map(|i| i.amuont)", "an object has no `amuont`"),
        ("ctx.input.deep.n = 1;", "`ctx.input` has no `deep`"),
    ] {
        let said = fault(code);
        assert!(said.contains(told), "{code}: {said}");
    }
}

#[test]
fn a_member_that_may_be_absent_is_read_on_purpose() {
    let ctx = json!({"input": {"amount": 1, "nothing": null}});
    for (code, expected) in [
        (r#"ctx.input.get("coupon")"#, json!(null)),
        (r#"ctx.input.get("coupon") ?? 7"#, json!(7)),
        (r#"ctx.get("else")?.get("deeper") ?? 7"#, json!(7)),
        (r#"ctx.get("input")?.get("amount") ?? 7"#, json!(1)),
        (r#"if "coupon" in ctx.input { ctx.input.coupon } else { 7 }"#, json!(7)),
        (r#"if "amount" in ctx.input { ctx.input.amount } else { 7 }"#, json!(1)),
        // What is there and null is there.
        ("ctx.input.nothing", json!(null)),
        ("ctx.input.nothing?.deeper ?? 7", json!(7)),
        ("ctx.input.nothing ?? 7", json!(7)),
        // What is given a value need not be there before.
        ("ctx.fresh = 2; ctx.fresh", json!(2)),
        (r#"let x = #{}; x["a"] = #{}; x.a.b = 3; x.a.b"#, json!(3)),
        (r#"let r = 0; try { r = ctx.amuont } catch { r = 7 } r"#, json!(7)),
    ] {
        assert_eq!(run(code, ctx.clone()), expected, "{code}");
    }
}

#[test]
fn the_variables_are_the_scripts_own() {
    let sandbox = sandbox();
    let vars = [("ctx", json!({"n": 1}))];
    for _ in 0..2 {
        assert_eq!(sandbox.run("ctx.n += 1; ctx.n", &vars), Ok(json!(2)));
    }
}

#[test]
fn texts_and_lists_work_as_rhai_says() {
    let cases = [
        (r#"let s = "a-b"; s.replace("-", "+"); s"#, json!("a+b")),
        (r#""a,b,c".split(",")"#, json!(["a", "b", "c"])),
        (r#""a,b,c".split(',', 2)"#, json!(["a", "b,c"])),
        (r#""a b".split()"#, json!(["a", "b"])),
        (r#""straße".to_upper()"#, json!("STRASSE")),
        (r#"let s = "x"; s.pad(3, "ab"); s"#, json!("xab")),
        (r#""hello".sub_string(1, 3)"#, json!("ell")),
        (r#""hello".sub_string(-3)"#, json!("llo")),
        (r#""hello".sub_string(1..=2)"#, json!("el")),
        (r#""hello".sub_string(3..1)"#, json!("")),
        (r#"let s = "hello"; [s.pop(2), s, s.pop(9), s, s.pop(-1)]"#, json!(["lo", "hel", "hel", "", ""])),
        (
            r#"[parse_int("42"), parse_int("-7"), parse_int("ff", 16), parse_float("2.5")]"#,
            json!([42, -7, 255, 2.5]),
        ),
        (r#""hello".index_of('l', 3)"#, json!(3)),
        (r#""hello".index_of("l", -1)"#, json!(-1)),
        (r#"let n = ""; for c in "abc" { n = c + n; } n"#, json!("cba")),
        (r#"let n = ""; for c in "abcd".chars(1, 2) { n += c; } n"#, json!("bc")),
        ("let a = [3, 1, 2]; a.sort(); a", json!([1, 2, 3])),
        ("let a = [3, 1.5, 2]; a.sort_desc(); a", json!([3, 2, 1.5])),
        ("let a = [3, 1, 2]; a.sort(|x, y| y - x); a", json!([3, 2, 1])),
        (
            r#"[#{n: 2, t: "a"}, #{n: 1, t: "b"}, #{n: 2, t: "c"}].order_by(|x, y| x.n < y.n).map(|x| x.t)"#,
            json!(["b", "a", "c"]),
        ),
        ("let a = [1]; a.pad(3, 0); a", json!([1, 0, 0])),
        (r#"`${[1, "x", #{a: ()}]}`"#, json!(r#"[1, "x", #{"a": }]"#)),
        (r#"#{a: [1, "x"], b: 1.5}.to_json()"#, json!(r#"{"a":[1,"x"],"b":1.5}"#)),
        (r#"parse_json("{\"a\": [1, 2.5, null, true]}").a"#, json!([1, 2.5, null, true])),
        ("const X = [2, 1]; X.order()", json!([1, 2])),
        (r#"let r = ""; try { throw "no" } catch (e) { r = e + "!" } r"#, json!("no!")),
    ];
    for (code, expected) in cases {
        assert_eq!(run(code, json!({})), expected, "{code}");
    }
}

#[test]
fn a_list_built_in_a_loop_costs_no_more_than_its_length() {
    // Under the data limits of Rhai this is quadratic.
    let roomy = Sandbox::new(Limits { time: Duration::from_secs(5), ..Limits::default() });
    let made =
        roomy.run("let a = []; for i in 0..10000 { a.push(#{id: i, even: i % 2 == 0}); } a.len()", &[]);
    assert_eq!(made, Ok(json!(10000)));
}

#[test]
fn conditions_are_true_or_false() {
    let sandbox = sandbox();
    let vars = [("ctx", json!({"n": 3}))];
    assert_eq!(sandbox.eval_bool("ctx.n > 2 && ctx.n < 4", &vars), Ok(true));
    assert_eq!(sandbox.eval_bool("ctx.n > 3", &vars), Ok(false));
    let wrong = sandbox.eval_bool("ctx.n", &vars).expect_err("it is a number");
    assert_eq!(wrong.to_string(), "script failed: the expression is a number, not `true` or `false`");
    let statement = sandbox.eval_bool("let x = 1; x > 0", &vars).expect_err("it is no expression");
    assert!(matches!(statement, ScriptError::Compile { .. }), "{statement}");
}

#[test]
fn faults_name_their_place() {
    let cases = [
        ("let x = 1;\nlet y = x +;", "script does not compile: Unexpected ';' (line 2, column 12)"),
        (
            "let a = [1, 2",
            "script does not compile: Expecting ']' to end this array literal (line 1, column 14)",
        ),
        ("eval(\"1\")", "script does not compile: reserved keyword 'eval' is disabled (line 1, column 1)"),
        ("ctx.a = 1;\nctx.nothing()", "script failed: Function not found: nothing (map) (line 2, column 5)"),
        ("let x = 1;\n\n  y", "script failed: Variable not found: y (line 3, column 3)"),
        ("fn f(x) {\n  x / 0\n}\nf(1)", "script failed: Division by zero: 1 / 0 (line 2, column 5)"),
        ("parse_int(\"seven\")", "script failed: `seven` is no whole number (line 1, column 1)"),
        ("throw \"the order has no items\"", "script failed: the order has no items (line 1, column 1)"),
        (
            "throw #{code: 7}",
            "script failed: it threw a map; throw a text that says what is wrong (line 1, column 1)",
        ),
        (
            "[1, 2][5]",
            "script failed: Array index 5 out of bounds: only 2 elements in array (line 1, column 8)",
        ),
        (
            "1 + \"a\" - 1",
            "script failed: Function not found: - (&str | ImmutableString | String, i64) (line 1, column 9)",
        ),
    ];
    for (code, expected) in cases {
        assert_eq!(fault(code), expected, "{code}");
    }
}

#[test]
fn the_editor_is_told_the_remedy() {
    let hint = |code: &str| match sandbox().check(code) {
        Err(ScriptError::Compile { hint, .. }) => hint,
        other => panic!("{code}: {other:?}"),
    };
    assert_eq!(
        hint("print(1)"),
        Some("a script has no output but its result: make what you want to see part of it")
    );
    assert_eq!(hint("var x = 1"), Some("declare variables with `let`"));
    assert_eq!(hint("let a = {"), Some("a brace, bracket or quote is not closed"));
    assert_eq!(sandbox().check("ctx.a + event.b"), Ok(()));
    assert!(matches!(sandbox().check(&"1;".repeat(1 << 19)), Err(ScriptError::TooLarge { .. })));
    assert_eq!(sandbox().check_expression("ctx.a > 1"), Ok(()));
    assert!(sandbox().check_expression("let x = 1;").is_err());
}

#[test]
fn a_thrown_text_of_any_length_makes_a_short_message() {
    let message = fault("let s = \"ä\"; for i in 0..15 { s += s; } throw s");
    assert!(message.len() < 1100, "{}", message.len());
    assert!(message.ends_with("… (line 1, column 41)"), "{message}");
}

#[test]
fn many_threads_share_one_sandbox() {
    let sandbox = sandbox();
    std::thread::scope(|scope| {
        for n in 0..8_i64 {
            let sandbox = &sandbox;
            scope.spawn(move || {
                for i in 0..20 {
                    assert_eq!(sandbox.run("ctx * 2", &[("ctx", json!(n * i))]), Ok(json!(n * i * 2)));
                }
            });
        }
    });
}
