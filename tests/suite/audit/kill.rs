//! An API that is killed loses no entry of what it did.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Client, Database, Door, Millrace, door, http, wait};

use super::stage::chained;
use crate::api_identity::tenant;

/// How often an API is killed.
const KILLS: u32 = 6;

/// Clients that change something without a pause.
const CLIENTS: u32 = 6;

/// Makes departments while APIs are killed; gives the names of those that were answered.
async fn under_kills(database: &Database, admin: &Client, acme: &Value) -> BTreeSet<String> {
    let headers: Vec<(String, String)> =
        admin.headers().iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let count = Arc::new(AtomicU32::new(0));
    let (keyring, folder) = (door::keyring_text(), tempfile::tempdir().unwrap());
    let mut heard = BTreeSet::new();
    for _ in 0..KILLS {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = port.port().to_string();
        let variables = [
            ("DATABASE_URL", database.url()),
            ("KEYRING", keyring.as_str()),
            ("JWT_SECRET", door::JWT_SECRET),
            ("PORT", text.as_str()),
            ("MILLRACE_HOME", folder.path().to_str().unwrap()),
        ];
        let mut api = Millrace::start(&["api"], &variables);
        api.printed("listening").await;
        let before = count.load(Ordering::SeqCst);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (acme, count, headers) = (acme.clone(), Arc::clone(&count), headers.clone());
                tokio::spawn(async move {
                    let mut heard = Vec::new();
                    loop {
                        let name = format!("d{}", count.fetch_add(1, Ordering::SeqCst));
                        let query = "mutation($t: ID!, $n: String!) { createDepartment(tenant: $t, name: $n) { id } }";
                        let body = json!({"query": query, "variables": {"t": acme, "n": name}}).to_string();
                        let mut sent = vec![("content-type", "application/json")];
                        sent.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
                        match http::try_send(port, "POST", "/graphql", &sent, body.as_bytes()).await {
                            Ok(answer) if answer.json().get("errors").is_none() => heard.push(name),
                            Ok(answer) => panic!("{}", answer.text),
                            Err(_) => return heard,
                        }
                    }
                })
            })
            .collect();
        wait::until_within(Duration::from_secs(60), "much was asked", || async {
            count.load(Ordering::SeqCst) >= before + 40
        })
        .await;
        api.kill();
        for client in clients {
            heard.extend(client.await.unwrap());
        }
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_mutation_is_told_once_whenever_the_api_is_killed() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    door.close().await;
    let heard = under_kills(&database, &admin, &acme).await;
    chained(&database).await;
    let db = database.pool().await;
    let made: Vec<String> =
        sqlx::query_scalar("select name from department where name like 'd%' order by name")
            .fetch_all(&db)
            .await
            .unwrap();
    let told: Vec<String> = sqlx::query_scalar(
        "select arguments->>'name' from audit_entry where operation = 'createDepartment' and outcome = 'ACCEPTED' order by 1",
    )
    .fetch_all(&db)
    .await
    .unwrap();
    assert_eq!(told, made, "what was done and what is told of it are the same");
    assert!(heard.iter().all(|name| made.contains(name)), "what was answered was done");
    assert!(made.len() > 100, "only {} were made", made.len());
    for tenant in jobs::audit::look::tenants(&mut db.acquire().await.unwrap()).await.unwrap() {
        assert_eq!(jobs::audit::verify(&db, tenant, None).await.unwrap().broken, None);
    }
}
