//! Secrets that are planted everywhere are seen nowhere: not in logs, figures, the audit, dead letters or a dump.

use std::net::SocketAddr;

use rules::signature::{self, Secret};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::door::{ADMIN, JWT_SECRET, PASSWORD, keyring_text};
use tests::{Database, Door, Millrace, http, wait};

use super::stage::chained;
use crate::api_identity::tenant;

/// A secret with the place where it was planted.
type Planted = (&'static str, String);

/// Somebody at the door of a process.
struct Visitor {
    at: SocketAddr,
    headers: Vec<(&'static str, String)>,
}

impl Visitor {
    async fn ask(&self, query: &str, variables: Value) -> Value {
        let body = json!({"query": query, "variables": variables}).to_string();
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let answer =
            http::send(self.at, "POST", "/graphql?token=canary-of-the-query", &headers, body.as_bytes())
                .await;
        serde_json::from_str(&answer.text).unwrap_or_default()
    }
}

/// Everything in a table, as a dump would hold it.
async fn dumped(database: &Database, tables: &str) -> Vec<(String, String)> {
    let mut conn = database.desk().await;
    let names: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "select c.oid::regclass::text from pg_class c where c.relnamespace = current_schema()::regnamespace
            and c.relkind = 'r' and {tables} order by 1"
    )))
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    let mut all = Vec::new();
    for name in names {
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("select t::text from {name} t")))
            .fetch_all(&mut *conn)
            .await
            .unwrap();
        all.push((name, rows.join("\n")));
    }
    all
}

fn unseen(place: &str, text: &str, planted: &[Planted]) {
    for (what, secret) in planted {
        if let Some(at) = text.find(secret.as_str()) {
            let from = text[..at].char_indices().rev().nth(200).map_or(0, |(i, _)| i);
            panic!("{what} is seen in {place}: …{}", &text[from..at + secret.len()]);
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Logs in, rightly and wrongly; gives the administrator.
async fn log_in(visitor: &Visitor, ours: &mut Vec<Planted>) -> Visitor {
    let login =
        "mutation($e: String!, $p: String!) { login(email: $e, password: $p) { token refreshToken } }";
    let wrong = "canary-of-a-wrong-password";
    visitor.ask(login, json!({"e": ADMIN, "p": wrong})).await;
    ours.push(("a wrong password", wrong.into()));
    let granted = visitor.ask(login, json!({"e": ADMIN, "p": PASSWORD})).await["data"]["login"].clone();
    ours.push(("an access token", text(&granted["token"])));
    ours.push(("a refresh token", text(&granted["refreshToken"])));
    let refresh = "mutation($t: String!) { refreshSession(refreshToken: $t) { token refreshToken } }";
    let next = visitor.ask(refresh, json!({"t": granted["refreshToken"]})).await;
    let next = next["data"]["refreshSession"].clone();
    ours.push(("the next refresh token", text(&next["refreshToken"])));
    let bearer = vec![("authorization", format!("Bearer {}", text(&next["token"])))];
    Visitor { at: visitor.at, headers: bearer }
}

/// Makes keys, users and invitations, and shows credentials in every place where they are looked for.
async fn let_in(visitor: &Visitor, admin: &Visitor, acme: &Value, ours: &mut Vec<Planted>) {
    let make = "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\", role: ADMIN) { secret } }";
    let key = text(&admin.ask(make, json!({"t": acme})).await["data"]["createApiKey"]["secret"]);
    let invite = "mutation($t: ID!) { inviteMember(tenant: $t, email: \"x@example.org\") { token } }";
    let invitation = text(&admin.ask(invite, json!({"t": acme})).await["data"]["inviteMember"]["token"]);
    let accept = "mutation($t: String!, $p: String!) { acceptInvitation(token: $t, password: $p) { token } }";
    for who in [admin, visitor] {
        who.ask(accept, json!({"t": invitation, "p": "canary-of-a-new-member"})).await;
    }
    let make = "mutation($e: String!, $p: String!) { createUser(email: $e, password: $p) { id } }";
    admin.ask(make, json!({"e": "ada@example.org", "p": "canary-of-a-user"})).await;
    let change = "mutation($o: String!, $n: String!) { changePassword(old: $o, new: $n) }";
    admin.ask(change, json!({"o": "canary-of-the-old", "n": "canary-of-the-new-one"})).await;
    let set_up = "mutation($t: String!) { setUp(setupToken: $t, email: \"y@example.org\", password: \"canary-of-the-setup\") { id } }";
    admin.ask(set_up, json!({"t": "canary-of-a-setup-token"})).await;
    for (name, value) in [
        ("x-api-key", key.clone()),
        ("authorization", "Bearer canary-of-a-bearer".into()),
        ("cookie", "s=canary-of-a-cookie".into()),
    ] {
        let who = Visitor { at: visitor.at, headers: vec![(name, value)] };
        who.ask("{ me { apiKey { id } } }", json!({})).await;
    }
    ours.extend([
        ("an API key", key),
        ("an invitation", invitation),
        ("a member's password", "canary-of-a-new-member".into()),
        ("a user's password", "canary-of-a-user".into()),
        ("an old password", "canary-of-the-old".into()),
        ("a new password", "canary-of-the-new-one".into()),
        ("a setup token", "canary-of-a-setup-token".into()),
        ("a literal", "canary-of-the-setup".into()),
        ("a bearer", "canary-of-a-bearer".into()),
        ("a cookie", "canary-of-a-cookie".into()),
    ]);
}

/// Sends secrets under telling names, as people do, in what runs and listeners take; one action dies of it.
async fn send(admin: &Visitor, acme: &Value, ours: &mut Vec<Planted>) -> Vec<Planted> {
    let make =
        "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"W\", definition: $d) { id } }";
    let made = admin.ask(make, json!({"t": acme, "d": crate::api_tenancy::graph()})).await;
    let workflow = made["data"]["createWorkflow"]["id"].clone();
    let start = "mutation($t: ID!, $w: ID!, $i: JSON) { executeWorkflow(tenant: $t, workflow: $w, input: $i) { existing } }";
    let input = json!({"deep": [{"Pass-Word": "canary-in-an-input"}]});
    admin.ask(start, json!({"t": acme, "w": workflow, "i": input})).await;
    let pipeline = json!({"actions": [{"type": "trigger_workflow", "workflowId": workflow,
        "inputValues": {"clientSecret": "canary-in-a-pipeline", "t": "{{event.token}}"}}]});
    let listen = "mutation($t: ID!, $p: JSON!) { createListener(tenant: $t, path: \"orders\", title: \"L\", pipeline: $p) { secret } }";
    let made = admin.ask(listen, json!({"t": acme, "p": pipeline})).await;
    let secret = text(&made["data"]["createListener"]["secret"]);
    let signing = Secret::decode(&secret).ok().unwrap();
    ours.push(("a listener's secret", secret.trim_start_matches("whsec_").to_owned()));
    // An action whose workflow is switched off dies.
    let off = "mutation($t: ID!, $w: ID!) { setWorkflowEnabled(tenant: $t, id: $w, enabled: false) { id } }";
    admin.ask(off, json!({"t": acme, "w": workflow})).await;
    let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let body = json!({"token": "canary-in-an-event"}).to_string();
    let signed = signature::sign(&signing, "d1", at, body.as_bytes()).unwrap();
    let at = at.to_string();
    let headers = [
        ("content-type", "application/json"),
        ("webhook-id", "d1"),
        ("webhook-timestamp", at.as_str()),
        ("webhook-signature", signed.as_str()),
        ("x-api-key", "canary-of-a-sender"),
    ];
    let taken = http::send(admin.at, "POST", "/hooks/acme/orders", &headers, body.as_bytes()).await;
    assert_eq!(taken.status, 202, "{}", taken.text);
    ours.extend([("a signature", signed.clone()), ("a sender's header", "canary-of-a-sender".into())]);
    vec![
        ("a password in a run's input", "canary-in-an-input".to_owned()),
        ("a token in an event", "canary-in-an-event".to_owned()),
        ("a secret in a pipeline", "canary-in-a-pipeline".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_are_planted_everywhere_are_seen_nowhere() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let acme = tenant(&door.admin().await, "acme").await;
    door.close().await;
    let keyring = keyring_text();
    let variables = [
        ("DATABASE_URL", database.url()),
        ("JWT_SECRET", JWT_SECRET),
        ("KEYRING", keyring.as_str()),
        ("PORT", "0"),
        ("LOG_FORMAT", "json"),
        ("LOG", "debug,sqlx=info,hyper=info,h2=info"),
    ];
    let mut api = Millrace::start(&["api"], &variables);
    api.printed("\"listening\"").await;
    let log = api.log();
    let line = log.lines().find(|line| line.contains("\"listening\"")).unwrap();
    let at = serde_json::from_str::<Value>(line).unwrap()["address"].as_str().unwrap().parse().unwrap();
    let mut worker = Millrace::start(&["worker", "--pools", "dag,events,maintenance"], &variables);
    let visitor = Visitor { at, headers: Vec::new() };
    let mut ours: Vec<Planted> = vec![
        ("the key that signs", JWT_SECRET.into()),
        ("the keyring", keyring_text().split(':').nth(1).unwrap().into()),
        ("the administrator's password", PASSWORD.into()),
        ("a query string", "canary-of-the-query".into()),
    ];
    let admin = log_in(&visitor, &mut ours).await;
    let_in(&visitor, &admin, &acme, &mut ours).await;
    let theirs = send(&admin, &acme, &mut ours).await;
    let db = database.pool().await;
    wait::until("the action died and the run ended", async || {
        let ended = "select (select count(*) from job_dead) > 0 and not exists (select from run where finished_at is null)";
        sqlx::query_scalar::<_, bool>(ended).fetch_one(&db).await.unwrap()
    })
    .await;
    let figures = http::send(at, "GET", "/metrics", &[], b"").await.text;
    assert!(api.stop(wait::LIMIT).await.success());
    assert!(worker.stop(wait::LIMIT).await.success());
    chained(&database).await;

    let all: Vec<Planted> = ours.iter().chain(&theirs).cloned().collect();
    unseen("the API's log", &api.log(), &all);
    unseen("the worker's log", &worker.log(), &all);
    unseen("the figures", &figures, &all);
    // What people put into their events and inputs stands where they put it, and nowhere else.
    for (table, text) in dumped(&database, "(c.relname like 'audit%' or c.relname like 'job%')").await {
        unseen(&table, &text, &all);
    }
    for (table, text) in dumped(&database, "true").await {
        unseen(&table, &text, &ours);
    }
    let entries: i64 = sqlx::query_scalar("select count(*) from audit_entry").fetch_one(&db).await.unwrap();
    assert!(entries >= 12, "only {entries} entries, in which there was little to be seen");
}
