//! What nests too deep is refused by a running `millrace api`, which lives on: a stack that overflows would
//! end the process, and no test inside that process could tell.

use serde_json::json;
use tests::Database;
use tests::http::send;

use crate::writes::api;

/// How deep: one that overflowed a parser's stack once, and one that overflows any.
const DEPTHS: [usize; 2] = [300, 100_000];

/// The codes of a document that is refused before anything of it is executed.
const CODES: [&str; 4] =
    ["QUERY_TOO_DEEP", "QUERY_TOO_COMPLEX", "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"];

/// Bodies that nest so deep in one of the ways that there are.
fn bodies(depth: usize) -> Vec<(&'static str, String)> {
    let nest = |open: &str, inside: &str, close: &str| {
        format!("{}{inside}{}", open.repeat(depth), close.repeat(depth))
    };
    let query = |query: String| json!({ "query": query }).to_string();
    let variables = |value: String| {
        format!(
            r#"{{"query":"query($v: JSON!) {{ validateWorkflow(definition: $v) {{ valid }} }}","variables":{{"v":{value}}}}}"#
        )
    };
    vec![
        ("selections", query(nest("{a", "", "}"))),
        ("braces alone", query(nest("{", "", "}"))),
        ("braces never closed", query("{".repeat(depth))),
        ("brackets", query(format!("{{ a(b: {}) }}", nest("[", "1", "]")))),
        ("objects", query(format!("{{ a(b: {}) }}", nest("{c:", "1", "}")))),
        ("parentheses", query(format!("{{ a{} }}", nest("(", "", ")")))),
        ("arguments in arguments", query(nest("{a(b:", "1", ")}"))),
        ("list types", query(format!("query($v: {}) {{ __typename }}", nest("[", "Int", "]")))),
        ("defaults", query(format!("query($v: JSON = {}) {{ __typename }}", nest("[", "", "]")))),
        ("directives", query(format!("{{ __typename @a(b: {}) }}", nest("{c:", "1", "}")))),
        ("a fragment", query(format!("{{ ...f }} fragment f on Query {}", nest("{ me", "", "}")))),
        ("inline fragments", query(format!("{{{}}}", nest("... on Query {", "__typename", "}")))),
        ("variables of lists", variables(nest("[", "", "]"))),
        ("variables of objects", variables(nest(r#"{"c":"#, "1", "}"))),
        ("the body itself", nest("[", "", "]")),
        (
            "extensions",
            format!(r#"{{"query":"{{ __typename }}","extensions":{}}}"#, nest(r#"{"c":"#, "1", "}")),
        ),
    ]
}

#[tokio::test]
async fn what_nests_too_deep_is_refused_and_the_api_lives_on() {
    let database = Database::new().await;
    let (mut api, address) = api(&database).await;
    let json = [("content-type", "application/json")];
    for depth in DEPTHS {
        for (what, body) in bodies(depth) {
            let answer = send(address, "POST", "/graphql", &json, body.as_bytes()).await;
            assert!(api.is_running(), "{depth} {what} ended the process");
            if answer.status == 413 {
                // A hundred thousand of them are more than a body may hold.
                assert!(body.len() > 1 << 20, "{depth} {what}: {answer:?}");
                continue;
            }
            let told = answer.json();
            let code = told["errors"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned();
            assert!(CODES.contains(&code.as_str()), "{depth} {what}: {told}");
            assert!(told.get("data").is_none(), "{depth} {what}: {told}");
            assert!(answer.text.len() < 4096, "{depth} {what}: an answer of {} bytes", answer.text.len());
        }
        let hook = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let answer = send(address, "POST", "/hooks/acme/orders", &json, hook.as_bytes()).await;
        assert_eq!(answer.status, 401, "nothing unsigned is parsed");
    }
    let answer = send(address, "POST", "/graphql", &json, br#"{"query":"{ __typename }"}"#).await;
    assert_eq!(answer.json()["data"]["__typename"], "Query");
    assert!(api.stop(std::time::Duration::from_secs(30)).await.success(), "{}", api.log());
}
