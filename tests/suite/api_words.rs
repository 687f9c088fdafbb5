//! Requests that do not fit the schema: each is refused with a code of the closed set and a message that
//! names the value, the reason and the remedy, and none of it is executed.

use serde_json::{Value, json};
use tests::http::send;
use tests::{Database, Door};

/// What is sent, as query and variables, and what the message must say.
fn misfits() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let page = "query($n: Int) { tenants(first: $n) { nodes { id } } }";
    let make =
        "mutation($i: CreateMachineInput!) { createMachine(tenant: \"t\", input: $i) { machine { id } } }";
    vec![
        (
            "{ tenants(first: \"7\") { nodes { id } } }",
            json!({}),
            &["the argument `first` of `tenants` is `\"7\"`, a text", "`Int` is asked", "without quotes"],
        ),
        ("{ tenants(first: 1.5) { nodes { id } } }", json!({}), &["`1.5`", "`Int`", "send a whole number"]),
        ("{ tenants(after: 7) { nodes { id } } }", json!({}), &["`after` of `tenants` is `7`", "in quotes"]),
        (
            page,
            json!({"n": "seven"}),
            &["the variable `$n` is `\"seven\"`, a text", "`Int`", "without quotes"],
        ),
        (page, json!({"n": [1, 2]}), &["the variable `$n` is a list", "`Int`"]),
        (page, json!({"n": 1e300}), &["the variable `$n`", "a number", "send a whole number"]),
        (
            "query($n: Int!) { tenants(first: $n) { nodes { id } } }",
            json!({}),
            &["the variable `$n`", "`Int!`", "must be given"],
        ),
        (
            "query($n: String) { tenants(first: $n) { nodes { id } } }",
            json!({"n": "7"}),
            &[
                "`first` of `tenants` is `$n`, declared as `String`, and `Int` is asked",
                "declare it as `Int`",
            ],
        ),
        (
            "query($n: String) { tenants(first: $n) { nodes { id } } }",
            json!({}),
            &["`first` of `tenants` is `$n`, declared as `String`", "declare it as `Int`"],
        ),
        (
            "{ jobs(state: ASLEEP) { nodes { id } } }",
            json!({}),
            &["`state` of `jobs` is `ASLEEP`", "`JobState`", "send one of `READY`"],
        ),
        (
            "query($s: JobState) { jobs(state: $s) { nodes { id } } }",
            json!({"s": "ASLEEP"}),
            &["the variable `$s` is `\"ASLEEP\"`", "send one of `READY`"],
        ),
        (make, json!({"i": {}}), &["the variable `$i` lacks the field `name` of type `String!`", "give it"]),
        (
            make,
            json!({"i": {"name": 7}}),
            &["the variable `$i`, field `name`, is `7`, a number", "`String!`", "in quotes"],
        ),
        (make, json!({"i": {"nmae": "x"}}), &["field `nmae`", "`CreateMachineInput`", "send one of `name`"]),
        (make, json!({"i": 7}), &["the variable `$i` is `7`, a number", "send an object"]),
    ]
}

/// As above: what the document itself has or lacks.
fn strays() -> Vec<(&'static str, Value, &'static [&'static str])> {
    vec![
        ("{ job { id } }", json!({}), &["`job` needs the argument `id` of type `ID!`", "give it"]),
        ("{ tenants(frist: 1) { nodes { id } } }", json!({}), &["Unknown argument `frist`", "leave it out"]),
        ("{ tenantz { nodes { id } } }", json!({}), &["Unknown field `tenantz`", "Did you mean"]),
        ("{ qqqqqqqqqqqqq }", json!({}), &["Unknown field `qqqqqqqqqqqqq`", "the schema lists"]),
        ("{ tenants }", json!({}), &["`tenants`", "must have a selection of subfields; mend the selection"]),
        (
            "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
            json!({}),
            &["the fragment `a` spreads itself", "take that spread out"],
        ),
        ("{ ...nowhere }", json!({}), &["Unknown fragment: `nowhere`", "define it"]),
        ("query($a: Int) { __typename }", json!({}), &["Variable `$a` is not used", "use it"]),
        ("{ tenants(first: $n) { nodes { id } } }", json!({}), &["`$n` is not defined", "declare"]),
        (
            "fragment f on Event { name } subscription { userEvents { ...f } }",
            json!({}),
            &["text/event-stream", "graphql-transport-ws"],
        ),
        ("query a { __typename } query b { __typename }", json!({}), &["operationName"]),
        ("{ me @quickly { user { id } } }", json!({}), &["Unknown directive `quickly`", "`@include`"]),
        ("query($w: Nothing) { __typename }", json!({}), &["`Nothing`", "schema lists"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_schema_is_told_with_value_reason_and_remedy() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    for (query, variables, told) in misfits().into_iter().chain(strays()) {
        for client in [&admin, &door.nobody()] {
            let answer = client.ask(query, variables.clone()).await;
            let answered = answer.json();
            let error = &answered["errors"][0];
            assert_eq!(error["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{query}: {answered}");
            let message = error["message"].as_str().unwrap_or_default();
            for part in told {
                assert!(message.contains(part), "{query} with {variables}: `{message}` lacks `{part}`");
            }
            assert!(
                !message.contains('"') || variables.to_string().contains('"') || query.contains('"'),
                "{message}"
            );
            assert!(answered.get("data").is_none(), "{query} was executed: {answered}");
        }
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_stands_twice_in_the_body_is_refused() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    for (body, key) in [
        (r#"{"query":"{ __typename }","query":"{ me { user { id } } }"}"#, "query"),
        (r#"{"query":"query($a: JSON) { __typename }","variables":{"a":[{"b":1,"b":2}]}}"#, "b"),
        (r#"{"query":"{ __typename }","variables":{},"variables":{"a":1}}"#, "variables"),
    ] {
        let json = [("content-type", "application/json")];
        let answer = send(door.address, "POST", "/graphql", &json, body.as_bytes()).await;
        let error = answer.json()["errors"][0].clone();
        assert_eq!(
            (answer.status, error["extensions"]["code"].as_str()),
            (400, Some("GRAPHQL_VALIDATION_FAILED"))
        );
        let message = error["message"].as_str().unwrap_or_default();
        let told = format!("the key `{key}` stands twice in one object");
        assert!(message.contains(&told) && message.contains("send the key once"), "{message}");
    }
    door.close().await;
}
