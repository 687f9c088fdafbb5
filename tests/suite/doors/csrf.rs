//! What a page of another site can have a browser send is refused before it is looked at, whatever it is.

use serde_json::{Value, json};
use tests::http::{Answer, send};
use tests::{Database, Door};

use crate::api_identity::tenant;

const ORIGIN: &str = "https://app.example.org";

/// Everything that a browser sends to another site without asking it first, and types that some version of one let pass
/// for that; with nothing in their place, too.
const TYPES: [Option<&str>; 14] = [
    None,
    Some("text/plain"),
    Some("text/plain; charset=utf-8"),
    Some("application/x-www-form-urlencoded"),
    Some("multipart/form-data; boundary=x"),
    Some("multipart/form-data; boundary=application/json"),
    Some("text/plain; application/json"),
    Some("text/plain, application/json"),
    Some("application/jsonp"),
    Some("message/rfc822"),
    Some("message/http"),
    Some("nonsense"),
    Some(";application/json"),
    Some("application/graphql"),
];

fn allows(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_of_another_site_can_send_does_nothing() {
    let database = Database::new().await;
    let door = Door::with(&database, |config| config.origins = ORIGIN.parse().unwrap()).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    // With credentials, so that nothing but the form of the request stands in its way.
    let (name, token) = admin.headers()[0].clone();
    let query = format!("mutation {{ createDepartment(tenant: {acme}, name: \"d\") {{ id }} }}");
    let json = json!({ "query": query }).to_string();
    let part = |field: &str, value: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n")
    };
    let whole = format!("{}{}--x--\r\n", part("operations", &json), part("map", "{}"));
    let bodies = [
        json.clone(),
        format!("query={query}"),
        whole,
        format!("{{\"query\":{json}}}="),
        format!("[{json}]"),
    ];
    for origin in ["https://evil.example.org", "null", ORIGIN] {
        for content in TYPES {
            for body in &bodies {
                let mut headers = vec![("origin", origin), (name, token.as_str())];
                headers.extend(content.map(|content| ("content-type", content)));
                let answer = send(door.address, "POST", "/graphql", &headers, body.as_bytes()).await;
                assert_eq!(answer.status, 415, "{origin} {content:?}: {answer:?}");
                assert_eq!(allows(&answer), (origin == ORIGIN).then_some(ORIGIN), "{answer:?}");
            }
        }
        let headers = [("origin", origin), (name, token.as_str()), ("content-type", "application/json")];
        let path = format!("/graphql?query={}", query.replace(' ', "%20").replace('"', "%22"));
        let answer = send(door.address, "GET", &path, &headers, b"").await;
        assert_eq!(answer.status, 405, "{answer:?}");
    }
    let there: i64 = sqlx::query_scalar("select count(*) from department")
        .fetch_one(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(there, 0, "nothing was done");
    // The same as a client sends it that may.
    let made: Value = admin.ok(&query, json!({})).await;
    assert!(made["createDepartment"]["id"].is_string());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_which_pages_may_ask() {
    let database = Database::new().await;
    let door = Door::with(&database, |config| config.origins = ORIGIN.parse().unwrap()).await;
    let ask = async |origin: &str, method: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", "authorization,content-type,idempotency-key"),
        ];
        send(door.address, "OPTIONS", "/graphql", &headers, b"").await
    };
    let asked = ask(ORIGIN, "POST").await;
    assert_eq!((asked.status, allows(&asked)), (200, Some(ORIGIN)), "{asked:?}");
    assert!(asked.header("access-control-allow-headers").unwrap().contains("idempotency-key"), "{asked:?}");
    assert!(asked.header("vary").unwrap().contains("origin"), "{asked:?}");
    for strange in [
        "https://evil.example.org",
        "null",
        "http://app.example.org",
        "https://app.example.org.evil.org",
        "https://app.example.org:8443",
    ] {
        assert_eq!(allows(&ask(strange, "POST").await), None, "{strange}");
    }
    let methods = asked.header("access-control-allow-methods").unwrap();
    assert!(!methods.contains("DELETE") && !methods.contains('*'), "{methods}");
    // A page reads the answer with what it needs of its head; cookies are never allowed.
    let sent = [("origin", ORIGIN), ("content-type", "application/json")];
    let answer = send(door.address, "POST", "/graphql", &sent, br#"{"query":"{ __typename }"}"#).await;
    assert_eq!((answer.status, allows(&answer)), (200, Some(ORIGIN)), "{answer:?}");
    let readable = answer.header("access-control-expose-headers").unwrap();
    assert!(readable.contains("x-request-id") && readable.contains("ratelimit"), "{readable}");
    for answer in [&asked, &answer] {
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{answer:?}");
    }
    door.close().await;

    // Unless somebody names origins, nobody is told anything.
    let shut = Door::open(&database).await;
    let answer = send(shut.address, "POST", "/graphql", &sent, br#"{"query":"{ __typename }"}"#).await;
    assert_eq!((answer.status, allows(&answer)), (200, None));
    let asked = send(
        shut.address,
        "OPTIONS",
        "/graphql",
        &[("origin", ORIGIN), ("access-control-request-method", "POST")],
        b"",
    )
    .await;
    assert_eq!((asked.status, allows(&asked)), (405, None));
    shut.close().await;
}
