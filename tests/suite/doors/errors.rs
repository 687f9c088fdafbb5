//! Every error has an id that its client reads, stands in the log once under it, and is counted by its severity.

use std::net::SocketAddr;

use serde_json::Value;
use tests::door::{JWT_SECRET, keyring_text};
use tests::http::{Answer, send};
use tests::proxy::Proxy;
use tests::{Database, Millrace, wait};

/// Where a process says that it listens; its log is JSON.
pub(super) async fn address(process: &mut Millrace) -> SocketAddr {
    process.printed("\"listening\"").await;
    let log = process.log();
    let line = log.lines().find(|line| line.contains("\"listening\"")).unwrap();
    serde_json::from_str::<Value>(line).unwrap()["address"].as_str().unwrap().parse().unwrap()
}

/// The one line of the log that has the id.
fn line(log: &str, id: &str) -> Value {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(id)).collect();
    assert_eq!(lines.len(), 1, "an error stands in the log once, under `{id}`:\n{log}");
    serde_json::from_str(lines[0]).unwrap()
}

/// What a client reads of an error: its code and its id.
fn told(answer: &Answer) -> (String, String) {
    let json = answer.json();
    let place = if json["errors"].is_null() { &json } else { &json["errors"][0]["extensions"] };
    let text = |name: &str| place[name].as_str().unwrap_or_else(|| panic!("no `{name}`: {json}")).to_owned();
    (text("code"), text("errorId"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_that_a_client_reads_leads_to_one_line_of_the_log() {
    let database = Database::new().await;
    let proxy = Proxy::start(database.url()).await;
    let keyring = keyring_text();
    let variables = [
        ("DATABASE_URL", proxy.url()),
        ("JWT_SECRET", JWT_SECRET),
        ("KEYRING", keyring.as_str()),
        ("PORT", "0"),
        ("LOG_FORMAT", "json"),
    ];
    let mut api = Millrace::start(&["api"], &variables);
    let at = address(&mut api).await;
    let json = ("content-type", "application/json");
    let ask = async |query: &str, headers: &[(&str, &str)]| {
        let body = serde_json::json!({ "query": query }).to_string();
        let headers = [&[json, ("x-request-id", "mine-7")], headers].concat();
        send(at, "POST", "/graphql", &headers, body.as_bytes()).await
    };
    let refused = [
        (ask("{ nope }", &[]).await, "GRAPHQL_VALIDATION_FAILED", "Low"),
        (ask("{ me { user { id } } }", &[]).await, "UNAUTHENTICATED", "Medium"),
        (ask("{ me { user { id } } }", &[("x-api-key", "canary")]).await, "UNAUTHENTICATED", "Medium"),
        (send(at, "GET", "/nothing", &[("x-request-id", "mine-7")], b"").await, "NOT_FOUND", "Low"),
        (send(at, "POST", "/graphql", &[("x-request-id", "mine-7")], b"").await, "BAD_USER_INPUT", "Low"),
        (
            send(at, "POST", "/hooks/a/b", &[json, ("x-request-id", "mine-7")], b"{}").await,
            "UNAUTHENTICATED",
            "Medium",
        ),
    ];
    // From now on nobody answers where the database was.
    drop(proxy);
    let login = "mutation { login(email: \"a@example.org\", password: \"correct horse\") { token } }";
    let failed = (ask(login, &[]).await, "UNAVAILABLE", "High");

    let figures = send(at, "GET", "/metrics", &[], b"").await.text;
    let log = wait::value("the errors stand in the log", || async {
        let log = api.log();
        log.contains(&told(&failed.0).1).then_some(log)
    })
    .await;
    for (answer, code, severity) in refused.iter().chain([&failed]) {
        let (read, id) = told(answer);
        assert_eq!(read, *code, "{answer:?}");
        assert_eq!(answer.header("x-request-id"), Some("mine-7"), "{answer:?}");
        let line = line(&log, &id);
        assert_eq!(
            (&line["error.code"], &line["error.severity"]),
            (&(*code).into(), &(*severity).into()),
            "{line}"
        );
        assert_eq!(line["spans"][0]["request.id"], "mine-7", "{line}");
        let counted = format!("millrace_errors_total{{code=\"{code}\",severity=\"{severity}\"}}");
        assert!(figures.contains(&counted), "no `{counted}` in:\n{figures}");
    }
    let line = line(&log, &told(&failed.0).1);
    assert_eq!(
        (&line["level"], line["error.cause"].as_str().map(str::is_empty)),
        (&"ERROR".into(), Some(false)),
        "{line}"
    );
    assert!(!failed.0.text.contains("refused") && !log.contains("canary"), "{failed:?}");
    assert!(api.stop(wait::LIMIT).await.success());
}
