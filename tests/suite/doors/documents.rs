//! Documents that the installation knows are asked for by their ids, and where it says so no others are taken.

use serde_json::{Value, json};
use tests::door::{JWT_SECRET, keyring_text};
use tests::http::{Answer, send};
use tests::{Database, Millrace, wait};

use super::errors::address;

/// `printf '{ __typename }' | sha256sum`.
const ID: &str = "sha256:7f56e67dd21ab3f30d1ff8b7bed08893f0a0db86449836189b361dd1e56ddb4b";

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_known_is_executed() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("name.graphql"), "{ __typename }").unwrap();
    let (keyring, path) = (keyring_text(), folder.path().to_str().unwrap());
    for mode in ["off", "allowed", "only"] {
        let variables = [
            ("DATABASE_URL", database.url()),
            ("JWT_SECRET", JWT_SECRET),
            ("KEYRING", keyring.as_str()),
            ("PORT", "0"),
            ("LOG_FORMAT", "json"),
            ("PERSISTED_DOCUMENTS", mode),
            ("PERSISTED_DOCUMENTS_PATH", path),
        ];
        let mut api = Millrace::start(&["api"], &variables);
        let at = address(&mut api).await;
        let ask = async |body: Value| {
            let headers = [("content-type", "application/json")];
            send(at, "POST", "/graphql", &headers, body.to_string().as_bytes()).await
        };
        let told = |answer: &Answer| {
            let code = answer.json()["errors"][0]["extensions"]["code"].as_str().unwrap_or("").to_owned();
            (answer.status, code)
        };
        let by_text = told(&ask(json!({"query": "{ __typename }"})).await);
        let by_id = told(&ask(json!({"documentId": ID})).await);
        let unknown = told(&ask(json!({"documentId": "sha256:00"})).await);
        let (fine, invalid) = ((200, String::new()), (400, "GRAPHQL_VALIDATION_FAILED".to_owned()));
        let missing = (400, "PERSISTED_QUERY_NOT_FOUND".to_owned());
        let expected = match mode {
            "off" => [&fine, &invalid, &invalid],
            "allowed" => [&fine, &fine, &missing],
            _ => [&missing, &fine, &missing],
        };
        assert_eq!([&by_text, &by_id, &unknown], expected, "{mode}");
        for bad in [json!({"query": "{ __typename }", "documentId": ID}), json!({"documentId": 7}), json!({})]
        {
            assert_eq!(told(&ask(bad.clone()).await), invalid, "{mode} {bad}");
        }
        assert!(api.stop(wait::LIMIT).await.success());
    }
}
