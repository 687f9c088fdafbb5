//! Tests of `template`.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn fill(template: Value) -> Value {
    let ctx = json!({"input": {"n": 7, "s": "x", "none": null, "list": [1, {"deep": [true, "end"]}], "odd name": 1, "a-b": 2}});
    Template::read(&template, &["ctx"]).unwrap().fill(&|root| (root == "ctx").then_some(&ctx), 1_000).unwrap()
}

#[test]
fn templates_fill_in() {
    let cases = [
        (json!("plain"), json!("plain")),
        (json!("{{ctx.input.n}}"), json!(7)),
        (json!("{{ ctx.input.n }}"), json!(7)),
        (json!("{{ctx.input.list[1].deep[0]}}"), json!(true)),
        (json!("{{ctx.input['odd name']}}"), json!(1)),
        (json!("{{ctx[\"input\"].a-b}}"), json!(2)),
        (json!("{{ctx.input.list}}"), json!([1, {"deep": [true, "end"]}])),
        (json!("n={{ctx.input.n}}, s={{ctx.input.s}}!"), json!("n=7, s=x!")),
        (json!("{{ctx.input.n}}{{ctx.input.n}}"), json!("77")),
        (json!(" {{ctx.input.n}}"), json!(" 7")),
        (json!("[{{ctx.input.none}}]"), json!("[]")),
        (json!("{{ctx.input.none}}"), json!(null)),
        (json!("{{ctx.nowhere.at.all[3] ?? null}}"), json!(null)),
        (json!("{{ctx.input.list[9] ?? 5}}"), json!(5)),
        (json!("{{ctx.input.list[0]??5}}"), json!(1)),
        (json!("{{ctx.input.none ?? 'it\"s'}}"), json!("it\"s")),
        (json!("{{ ctx['odd'] ?? \"none\" }}"), json!("none")),
        (json!("{{ctx.input.s.x ?? {\"a\": []} }}"), json!({"a": []})),
        (json!("a{{ctx.x ?? ''}}b{{ctx.x ?? 1.5}}{{ctx.x ?? null}}"), json!("ab1.5")),
        (json!("l={{ctx.input.list}}"), json!("l=[1,{\"deep\":[true,\"end\"]}]")),
        (json!([1, "{{ctx.input.n}}", {"a": ["{{ctx.input.s}}"]}]), json!([1, 7, {"a": ["x"]}])),
        (json!({"k": {"{{x}}": "{{ctx.input.n}}"}}), json!({"k": {"{{x}}": 7}})),
        (json!("}} and { {"), json!("}} and { {")),
    ];
    for (template, filled) in cases {
        assert_eq!(fill(template.clone()), filled, "{template}");
    }
}

#[test]
fn a_block_that_stands_a_thousand_times_is_refused() {
    let ctx = json!({"big": "x".repeat(1_000)});
    let within = |template: Value, limit| {
        Template::read(&template, &["ctx"]).unwrap().fill(&|_| Some(&ctx), limit).map(drop)
    };
    let many = "{{ctx.big}}".repeat(1_000);
    for template in [json!(many), json!(vec!["{{ctx}}"; 1_000]), json!({"a": [many.clone(), 1]})] {
        assert_eq!(within(template.clone(), 100_000), Err(Unfilled::TooLarge(100_000)));
        assert_eq!(within(template, 2_000_000), Ok(()));
    }
}

#[test]
fn a_block_that_leads_nowhere_is_refused_with_the_remedy() {
    let ctx = json!({"input": {"customer": {"id": 1}, "none": null}});
    let fill = |template: Value, missing| {
        let template = Template::read(&template, &["ctx"]).unwrap();
        template.fill_in(&|_| Some(&ctx), missing, &mut Room::of(1_000))
    };
    let told = "`{{ctx.input.custmer.id}}` leads to nothing: `ctx.input` has no `custmer`; `customer` is the \
                nearest name that it has. Mend the path, or say what stands there instead, as in \
                `{{ctx.input.custmer.id ?? null}}`";
    for template in [
        json!("{{ctx.input.custmer.id}}"),
        json!("no. {{ ctx.input.custmer.id }}!"),
        json!({"a": ["{{ctx.input.custmer.id}}"]}),
    ] {
        let refused = fill(template.clone(), Missing::Refused).unwrap_err();
        assert_eq!(refused.to_string(), told);
        fill(template, Missing::Null).unwrap();
    }
    assert_eq!(fill(json!("{{ctx.input.none}}"), Missing::Refused), Ok(Value::Null), "null is something");
}

#[test]
fn what_is_no_path_is_refused() {
    let refused = [
        "{{",
        "{{}}",
        "{{ctx",
        "{{ctx.}}",
        "{{ctx..a}}",
        "{{ctx.a b}}",
        "{{ctx[}}",
        "{{ctx[]}}",
        "{{ctx[-1]}}",
        "{{ctx['a}}",
        "{{ctx['a'}}",
        "{{ctx.a()}}",
        "{{ctx.a + 1}}",
        "{{1}}",
        "{{.a}}",
        "{{ctx.1a}}",
        "{{ctx[99999999999999999999999]}}",
        "{{{ctx.a}}}",
        "ok {{ctx.a}} then {{",
        "{{ctx.a ??}}",
        "{{ctx.a ?? none}}",
        "{{ctx.a ?? 'a'b'}}",
        "{{ctx.a ?? ctx.b}}",
        "{{ctx.a ? 1}}",
        "{{?? 1}}",
    ];
    for text in refused {
        assert!(Template::read(&json!([text]), &["ctx"]).is_err(), "{text}");
    }
    let error = Template::read(&json!("{{event.a}}"), &["ctx"]).unwrap_err();
    assert_eq!(error.to_string(), "`{{event.a}}` begins with none of `ctx`");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,40}") {
        if let Ok(template) = Template::read(&json!(text), &["ctx"])
            && template.is_plain()
        {
            prop_assert_eq!(template.fill(&|_| None, 0).unwrap(), json!(text));
        }
    }

    #[test]
    fn blocks_among_text_are_found(before in "[a-z {}]{0,6}", after in "[a-z ]{0,6}", n in any::<i64>()) {
        prop_assume!(!before.contains("{{") && !before.ends_with('{'));
        let ctx = json!({"n": n});
        let text = format!("{before}{{{{ctx.n}}}}{after}");
        let filled = Template::read(&json!(text), &["ctx"]).unwrap().fill(&|_| Some(&ctx), 100).unwrap();
        let wanted = if before.is_empty() && after.is_empty() { json!(n) } else { json!(format!("{before}{n}{after}")) };
        prop_assert_eq!(filled, wanted);
    }
}
