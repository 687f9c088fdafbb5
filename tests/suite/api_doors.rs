//! The door itself: what it takes, what it refuses, and how it closes.

use std::time::Duration;

use serde_json::{Value, json};
use tests::http::{Answer, read, send};
use tests::{Database, Door};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const JSON: (&str, &str) = ("content-type", "application/json");
const STRICT: (&str, &str) = ("accept", "application/graphql-response+json");

async fn post(door: &Door, headers: &[(&str, &str)], body: &str) -> Answer {
    send(door.address, "POST", "/graphql", headers, body.as_bytes()).await
}

fn code(answer: &Answer) -> String {
    answer.json()["errors"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_json_that_says_so_is_read() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let body = r#"{"query":"{ __typename }"}"#;
    for good in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        let answer = post(&door, &[("content-type", good)], body).await;
        assert_eq!(
            (answer.status, answer.json()["data"]["__typename"].as_str()),
            (200, Some("Query")),
            "{good}"
        );
    }
    for bad in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/json; charset=latin1",
        "message/http",
        "nonsense",
    ] {
        assert_eq!(post(&door, &[("content-type", bad)], body).await.status, 415, "{bad}");
    }
    assert_eq!(post(&door, &[], body).await.status, 415);
    assert_eq!(post(&door, &[JSON, JSON], body).await.status, 415);
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let answer = send(door.address, method, "/graphql?query={__typename}", &[], b"").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    assert_eq!(post(&door, &[JSON, ("accept", "text/html")], body).await.status, 406);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_request_is_told_what_is_wrong() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    for body in [
        "",
        "{",
        "[]",
        r#"[{"query":"{ __typename }"}]"#,
        r#""{ __typename }""#,
        "{}",
        r#"{"query":7}"#,
        r#"{"query":"{ __typename }","variables":[]}"#,
        r#"{"query":"{ __typename }","variables":"{}"}"#,
        r#"{"query":"{ __typename }","operationName":{}}"#,
        r#"{"query":"{ __typename }","extensions":7}"#,
    ] {
        for accept in ["application/json", "application/graphql-response+json"] {
            let answer = post(&door, &[JSON, ("accept", accept)], body).await;
            assert_eq!((answer.status, code(&answer).as_str()), (400, "GRAPHQL_VALIDATION_FAILED"), "{body}");
            assert!(answer.json().get("data").is_none(), "{body}");
        }
    }
    // Deeper than any parser should follow.
    let nested = format!(
        r#"{{"query":"{{ __typename }}","variables":{{"a":{}{}}}}}"#,
        "[".repeat(9_999),
        "]".repeat(9_999)
    );
    assert_eq!(post(&door, &[JSON], &nested).await.status, 400);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_refused_and_nothing_else_suffers() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let of = |bytes: usize| {
        json!({"query": "{ __typename }", "variables": {"ballast": "x".repeat(bytes)}}).to_string()
    };
    for size in [1024 * 1024, 10 * 1024 * 1024] {
        let answer = post(&door, &[JSON], &of(size)).await;
        assert_eq!(answer.status, 413, "{size}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(post(&door, &[JSON], &of(1000 * 1024)).await.status, 200);
    door.close().await;
}

/// What refuses a document is told with 200 to those who asked for plain JSON, else with 400.
async fn document_refused(door: &Door, query: &str, variables: Value) -> String {
    let body = json!({"query": query, "variables": variables}).to_string();
    let (plain, strict) = (post(door, &[JSON], &body).await, post(door, &[JSON, STRICT], &body).await);
    assert_eq!((plain.status, strict.status), (200, 400), "{query}");
    assert!(strict.json().get("data").is_none());
    assert_eq!(code(&plain), code(&strict));
    code(&strict)
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_held_to_their_limits() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let none = || json!({});
    let deep = format!("{}{}", "{ me ".repeat(13), "}".repeat(13));
    let aliases: String = (0..31).map(|i| format!("a{i}: __typename ")).collect();
    let roots = "__typename ".repeat(21);
    let dear = "{ tenants(first: 100) { nodes { id } edges { node { id slug title createdAt } cursor } } jobs(first: 100) { nodes { id attempts { attempt } why { code } } edges { node { id kind queue state priority attempt crashes createdAt runAt startedAt finishedAt runMs workerId error traceParent payload tenant attempts { attempt crashed startedAt runMs workerId error } why { code message until behind ahead } } } } runs(first: 100) { nodes { id log(first: 100) { nodes { seq } } } } }";
    for (query, told) in [
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ me", "GRAPHQL_PARSE_FAILED"),
        ("", "GRAPHQL_PARSE_FAILED"),
        ("{ ...a } fragment a on Query { ...a }", "GRAPHQL_VALIDATION_FAILED"),
        (&deep, "QUERY_TOO_DEEP"),
        (&format!("{{ {aliases} }}"), "QUERY_TOO_COMPLEX"),
        (&format!("{{ {roots} }}"), "QUERY_TOO_COMPLEX"),
        (dear, "QUERY_TOO_COMPLEX"),
        (&format!("{{ me {{ {} }} }}", "x ".repeat(6_000)), "QUERY_TOO_COMPLEX"),
        ("subscription { a }", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        assert_eq!(document_refused(&door, query, none()).await, told, "{query}");
    }
    let typed = "query($n: Int!) { tenants(first: $n) { nodes { id } } }";
    for variables in [none(), json!({"n": "7"}), json!({"n": null}), json!({"n": 1.5}), json!({"n": {}})] {
        assert_eq!(document_refused(&door, typed, variables).await, "GRAPHQL_VALIDATION_FAILED");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_shown_only_where_it_is_meant_to_be() {
    let database = Database::new().await;
    let open = Door::open(&database).await;
    let shut = Door::with(&database, |config| config.introspection = false).await;
    let query = "{ __schema { queryType { name } } }";
    assert_eq!(open.nobody().ok(query, json!({})).await["__schema"]["queryType"]["name"], "Query");
    let hidden = shut.nobody().ask(query, json!({})).await;
    assert!(!hidden.text.contains("queryType\":{"), "{hidden:?}");
    let (_, suggesting) = open.nobody().refusal("{ tenantz { nodes } }", json!({})).await;
    let (_, silent) = shut.nobody().refusal("{ tenantz { nodes } }", json!({})).await;
    assert!(suggesting.contains("tenants") && !silent.contains("tenants"), "{suggesting} / {silent}");
    open.close().await;
    shut.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_tell_a_supervisor_the_truth() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = send(door.address, "GET", path, &[("x-request-id", "mine-7")], b"").await;
        assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("mine-7")), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let forged = send(door.address, "GET", "/livez", &[("x-request-id", "a b")], b"").await;
    assert_eq!(forged.header("x-request-id").map(str::len), Some(36));
    let nothing = send(door.address, "GET", "/nothing", &[], b"").await;
    assert_eq!((nothing.status, nothing.json()["status"].as_u64()), (404, Some(404)));
    door.app.start_draining();
    assert_eq!(send(door.address, "GET", "/readyz", &[], b"").await.status, 503);
    assert_eq!(send(door.address, "GET", "/livez", &[], b"").await.status, 200);
    door.close().await;

    let bare = Database::empty().await;
    let db = bare.pool().await;
    let state = jobs::db::schema_state(&db).await.unwrap();
    assert!(matches!(state, jobs::db::SchemaState::Behind(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_cut_and_makes_room() {
    let database = Database::new().await;
    let door = Door::with(&database, |config| {
        config.limits.connections = 2;
        config.limits.head_timeout = Duration::from_millis(200);
    })
    .await;
    // One says nothing, one begins as HTTP/2 does and goes silent: together they hold every slot.
    let silent = TcpStream::connect(door.address).await.unwrap();
    let mut halting = TcpStream::connect(door.address).await.unwrap();
    halting.write_all(b"PRI * HT").await.unwrap();
    assert_eq!(send(door.address, "GET", "/livez", &[], b"").await.status, 200);
    drop((silent, halting));
    let mut dripping = TcpStream::connect(door.address).await.unwrap();
    dripping.write_all(b"GET /livez HTTP/1.1\r\nhost: te").await.unwrap();
    let mut rest = Vec::new();
    let cut = tokio::time::timeout(Duration::from_secs(5), dripping.read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "a head that never ends holds its connection for ever");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_given_up() {
    let database = Database::new().await;
    let door =
        Door::with(&database, |config| config.limits.request_timeout = Duration::from_millis(200)).await;
    let mut dripping = TcpStream::connect(door.address).await.unwrap();
    let head = "POST /graphql HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    dripping.write_all(head.as_bytes()).await.unwrap();
    let answer = read(dripping).await;
    assert_eq!((answer.status, answer.json()["status"].as_u64()), (503, Some(503)));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_door_says_so_and_lives() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    door.app.db().close().await;
    let answer = admin.ask("{ me { user { email } } }", json!({})).await;
    assert_eq!((answer.status, code(&answer).as_str()), (503, "UNAVAILABLE"));
    let login = "mutation { login(email: \"a@example.org\", password: \"x\") { token } }";
    let (code, told) = door.nobody().refusal(login, json!({})).await;
    assert_eq!(
        (code.as_str(), told.as_str()),
        ("UNAVAILABLE", "the database cannot be reached now; try again")
    );
    assert_eq!(send(door.address, "GET", "/readyz", &[], b"").await.status, 503);
    assert_eq!(send(door.address, "GET", "/livez", &[], b"").await.status, 200);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_beyond_its_bounds_is_refused() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let long = "x".repeat(64 * 1024);
    assert_eq!(send(door.address, "GET", "/livez", &[("x-long", &long)], b"").await.status, 431);
    let many: Vec<(String, &str)> = (0..100).map(|i| (format!("x-{i}"), "1")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    assert_eq!(send(door.address, "GET", "/livez", &many, b"").await.status, 431);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_answered_before_the_end() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let body = r#"{"query":"{ __typename }"}"#;
    let mut under_way = TcpStream::connect(door.address).await.unwrap();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    under_way.write_all(head.as_bytes()).await.unwrap();
    // Half of the body: the request has begun and cannot be answered yet.
    under_way.write_all(&body.as_bytes()[..9]).await.unwrap();
    let idle = TcpStream::connect(door.address).await.unwrap();
    assert_eq!(send(door.address, "GET", "/livez", &[], b"").await.status, 200);
    door.begin_close();
    door.shut().await;
    under_way.write_all(&body.as_bytes()[9..]).await.unwrap();
    assert_eq!(read(under_way).await.json()["data"]["__typename"], "Query");
    door.close().await;
    drop(idle);
}
