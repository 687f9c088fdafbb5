//! What is told: every mutation once, accepted or refused, with who, where, with what and for how long.

use serde_json::{Map, Value, json};
use tests::door::{ADMIN, PASSWORD};
use tests::{Database, Door, Operations, wait};
use uuid::Uuid;

use super::stage::{Stored, ask_as, chained, dead_letter, stored};
use crate::api_identity::{join, tenant};
use crate::api_tenancy::belongings;

/// What ends the session that the others need.
const LAST: [&str; 2] = ["changePassword", "logout"];

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_of_the_schema_is_told_once_whatever_becomes_of_it() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    door.user("ada@example.org", "USER").await;
    let things = belongings(&database, &admin, &acme).await;
    let operations = Operations::read(&door.nobody()).await;
    let mut mutations: Vec<_> = operations.all.iter().filter(|o| o.kind == "mutation").collect();
    mutations.sort_by_key(|o| LAST.contains(&o.name.as_str()));
    let mut asked = Vec::new();
    for operation in mutations {
        // With each thing in turn, so that one of them is what it is for.
        for (kind, thing) in &things {
            let mut given = operations.naming(operation, thing);
            if operation.takes_tenant() {
                given.insert("tenant".into(), acme.clone());
            }
            let id = format!("{}-{kind}", operation.name);
            let (query, variables) = operation.call(&operations, &given);
            let answer = ask_as(&door, &admin, &id, &query, variables).await;
            // Without credentials nobody comes as far as an operation.
            if answer.status != 401 {
                asked.push((id, operation.name.clone(), answer.json()));
            }
        }
    }
    door.close().await;
    chained(&database).await;
    let all = stored(&database.pool().await).await;
    let mut accepted = 0;
    for (id, operation, answer) in &asked {
        let told: Vec<&Stored> = all.iter().filter(|e| e.request_id.as_ref() == Some(id)).collect();
        assert_eq!(told.len(), 1, "{id}: {answer}\n{told:?}");
        assert_eq!(told[0].operation, *operation);
        let of_each = |name: &str| answer["data"][name][0]["code"].as_str();
        let of_each = of_each("redriveEachDeadLetter").or_else(|| of_each("powerMachines"));
        match answer["errors"][0]["extensions"]["code"].as_str().or(of_each) {
            None => {
                accepted += 1;
                assert_eq!((told[0].outcome.as_str(), told[0].code.as_deref()), ("ACCEPTED", None), "{id}");
            }
            Some(code) => {
                let outcome = if matches!(code, "INTERNAL" | "UNAVAILABLE") { "FAILED" } else { "REFUSED" };
                assert_eq!(
                    (told[0].outcome.as_str(), told[0].code.as_deref()),
                    (outcome, Some(code)),
                    "{id}"
                );
            }
        }
        assert!(told[0].actor.starts_with("user:"), "{told:?}");
        assert_eq!(told[0].address.as_deref(), Some("127.0.0.1"));
    }
    assert!(accepted >= 40, "only {accepted} of {} were accepted, which tells little", asked.len());
}

fn only<'a>(all: &'a [Stored], id: &str) -> &'a Stored {
    let found: Vec<&Stored> = all.iter().filter(|e| e.request_id.as_deref() == Some(id)).collect();
    assert_eq!(found.len(), 1, "{id}: {found:?}");
    found[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_stands_in_the_audit_of_those_whom_it_concerns() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let (ada, eve) = (door.user("ada@example.org", "USER").await, door.user("eve@example.org", "USER").await);
    join(&admin, &acme, "ada@example.org", "MEMBER").await;
    join(&admin, &other, "eve@example.org", "ADMIN").await;
    let make = "mutation($t: ID!, $n: String!) { createListener(tenant: $t, path: $n, title: \"L\", pipeline: {actions: []}) { secret } }";
    let rename = "mutation($t: ID!) { renameTenant(tenant: $t, title: \"T\") { id } }";
    let read = "query($t: ID!) { auditLogs(tenant: $t) { nodes { id } } }";
    ask_as(&door, &ada, "done", make, json!({"t": acme, "n": "d"})).await;
    ask_as(&door, &ada, "beyond", rename, json!({"t": acme})).await;
    ask_as(&door, &eve, "stranger", rename, json!({"t": acme})).await;
    ask_as(&door, &eve, "nowhere", rename, json!({"t": Uuid::now_v7()})).await;
    ask_as(&door, &ada, "look", read, json!({"t": acme})).await;
    ask_as(&door, &admin, "read", read, json!({"t": acme})).await;
    ask_as(&door, &door.nobody(), "anonymous", rename, json!({"t": acme})).await;
    ask_as(&door, &door.nobody().bearing("a.b.c"), "forged", "{ __typename }", json!({})).await;
    let login = "mutation($e: String!, $p: String!) { login(email: $e, password: $p) { token } }";
    ask_as(&door, &door.nobody(), "wrong", login, json!({"e": ADMIN, "p": "no"})).await;
    ask_as(&door, &door.nobody(), "right", login, json!({"e": ADMIN, "p": PASSWORD})).await;
    // Two in one request, one of which is refused, and names that are not the operations' own.
    let two = "mutation($t: ID!) { a: createListener(tenant: $t, path: \"x\", title: \"L\", pipeline: {actions: []}) { secret }
        b: createListener(tenant: $t, path: \"x\", title: \"L\", pipeline: {actions: []}) { secret } }";
    ask_as(&door, &ada, "two", two, json!({"t": acme})).await;
    door.close().await;
    chained(&database).await;
    let all = stored(&database.pool().await).await;
    let at = |id: &str| {
        let e = only(&all, id);
        let of = if e.tenant_id.is_nil() {
            "installation"
        } else if json!(e.tenant_id) == acme {
            "acme"
        } else {
            "other"
        };
        (of, e.operation.as_str(), e.outcome.as_str(), e.code.as_deref().unwrap_or_default())
    };
    assert_eq!(at("done"), ("acme", "createListener", "ACCEPTED", ""));
    assert_eq!(at("beyond"), ("acme", "renameTenant", "REFUSED", "FORBIDDEN"));
    assert_eq!(at("stranger"), ("installation", "renameTenant", "REFUSED", "NOT_FOUND"));
    assert_eq!(at("nowhere"), ("installation", "renameTenant", "REFUSED", "NOT_FOUND"));
    assert_eq!(at("look"), ("acme", "auditLogs", "REFUSED", "FORBIDDEN"));
    assert_eq!(at("read"), ("acme", "auditLogs", "ACCEPTED", ""));
    assert_eq!(at("anonymous"), ("installation", "renameTenant", "REFUSED", "UNAUTHENTICATED"));
    assert_eq!(at("forged"), ("installation", "authenticate", "REFUSED", "UNAUTHENTICATED"));
    assert_eq!(at("wrong"), ("installation", "login", "REFUSED", "UNAUTHENTICATED"));
    assert_eq!(at("right"), ("installation", "login", "ACCEPTED", ""));
    assert_eq!(only(&all, "wrong").actor, "nobody");
    assert!(only(&all, "right").actor.starts_with("user:"));
    assert_eq!(
        only(&all, "done").arguments,
        json!({"tenant": acme, "path": "d", "title": "L", "pipeline": {"actions": []}})
    );
    assert_eq!(only(&all, "wrong").arguments, json!({"email": ADMIN, "password": "[FILTERED]"}));
    assert!(only(&all, "right").took_ms > 0, "a login takes time: {:?}", only(&all, "right"));
    let two: Vec<&str> =
        all.iter().filter(|e| e.request_id.as_deref() == Some("two")).map(|e| e.outcome.as_str()).collect();
    assert_eq!(two, ["ACCEPTED", "REFUSED"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_buffered_is_handed_on_at_fifty_after_five_seconds_and_at_the_end() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let db = database.pool().await;
    let carried = async || -> i64 {
        let sum = "select coalesce(sum(json_array_length((payload->'entries')::json)), 0) from job where kind = 'audit.flush'";
        sqlx::query_scalar(sum).fetch_one(&db).await.unwrap()
    };
    // A user who is known, for what nobodies are refused is counted together.
    let ada = door.user("ada@example.org", "USER").await;
    let refused = "mutation { pauseQueue(name: \"dag\") { name } }";
    assert_eq!(ada.refusal(refused, json!({})).await.0, "FORBIDDEN");
    wait::until("one entry alone is handed on", async || carried().await == 1).await;
    for _ in 0..60 {
        ada.refusal(refused, json!({})).await;
    }
    wait::until_within(std::time::Duration::from_secs(4), "fifty are handed on", async || {
        carried().await >= 51
    })
    .await;
    door.close().await;
    assert_eq!(carried().await, 61, "the rest is handed on at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_nobodies_and_refused_deliveries_are_few_entries() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    for _ in 0..70 {
        door.nobody().bearing("a.b.c").ask("{ __typename }", json!({})).await;
        door.post("/hooks/acme/orders", &[("content-type", "application/json")], b"{}").await;
    }
    door.close().await;
    chained(&database).await;
    let all = stored(&database.pool().await).await;
    let times = |operation: &str| -> i64 {
        let of = all.iter().filter(|e| e.operation == operation);
        of.map(|e| e.arguments["times"].as_i64().unwrap_or(1)).sum()
    };
    assert_eq!((times("authenticate"), times("webhook.receive")), (70, 70));
    let refused = all.iter().find(|e| e.operation == "webhook.receive").unwrap();
    assert_eq!(
        (refused.arguments["path"].as_str(), refused.code.as_deref()),
        (Some("orders"), Some("UNSIGNED"))
    );
    assert!(all.len() < 10, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_kept_as_the_executor_reads_them() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let other = "query other($n: String = \"Other\") { a: __type(name: $n) { name } }";
    let rename =
        "mutation rename($t: ID!, $n: String! = \"Acme\") { renameTenant(tenant: $t, title: $n) { id } }";
    let body =
        json!({"query": format!("{other} {rename}"), "operationName": "rename", "variables": {"t": acme}});
    let mut headers = vec![("content-type", "application/json"), ("x-request-id", "default")];
    headers.extend(admin.headers().iter().map(|(name, value)| (*name, value.as_str())));
    tests::http::send(door.address, "POST", "/graphql", &headers, body.to_string().as_bytes()).await;
    let make = "mutation($t: ID!, $d: ID) { createMachine(tenant: $t, input: {name: \"m\", os: UBUNTU, host: \"a\", departmentId: $d}) { machine { id } } }";
    ask_as(&door, &admin, "absent", make, json!({"t": acme})).await;
    let login = "mutation($e: String!) { login(email: $e, password: \"p\") { token } }";
    for n in 0..50 {
        let quotes = format!("{n}{}", "\"".repeat(1_990));
        ask_as(&door, &door.nobody(), "quotes", login, json!({"e": quotes})).await;
    }
    door.close().await;
    chained(&database).await;
    let all = stored(&database.pool().await).await;
    let renamed = only(&all, "default");
    assert_eq!(renamed.outcome, "ACCEPTED", "{renamed:?}");
    assert_eq!(renamed.arguments, json!({"tenant": acme, "title": "Acme"}));
    let input = json!({"name": "m", "os": "UBUNTU", "host": "a", "departmentId": null});
    assert_eq!(only(&all, "absent").arguments, json!({"tenant": acme, "input": input}));
    // Entries that grow where they are carried reach the audit all the same.
    assert_eq!(all.iter().filter(|e| e.request_id.as_deref() == Some("quotes")).count(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_that_are_asked_for_each_is_told_by_itself() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let db = database.pool().await;
    let dead = dead_letter(&db, &acme).await;
    let each = "mutation($t: ID!, $ids: [ID!]!) { redriveEachDeadLetter(tenant: $t, ids: $ids) { code } }";
    ask_as(&door, &admin, "none", each, json!({"t": acme, "ids": ["999999999", "x"]})).await;
    ask_as(&door, &admin, "some", each, json!({"t": acme, "ids": ["x", dead]})).await;
    door.close().await;
    chained(&database).await;
    let all = stored(&db).await;
    let parts = |id: &str| -> Vec<(Value, String, Option<String>)> {
        let mut of: Vec<_> = all
            .iter()
            .filter(|e| e.request_id.as_deref() == Some(id))
            .map(|e| (e.arguments["ids"].clone(), e.outcome.clone(), e.code.clone()))
            .collect();
        of.sort_by_key(|(ids, ..)| ids.to_string());
        of
    };
    let refused = |id: &str, code: &str| (json!([id]), "REFUSED".to_owned(), Some(code.to_owned()));
    assert_eq!(parts("none"), [refused("999999999", "NOT_FOUND"), refused("x", "BAD_USER_INPUT")]);
    let done = (json!([dead]), "ACCEPTED".to_owned(), None);
    assert_eq!(parts("some"), [done, refused("x", "BAD_USER_INPUT")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_one_transaction_asks_of_many_those_are_told_together_that_came_to_the_same() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    door.user("ada@example.org", "USER").await;
    let machine = belongings(&database, &admin, &acme).await["machine"].clone();
    let each =
        "mutation($t: ID!, $ids: [ID!]!) { powerMachines(tenant: $t, ids: $ids, operation: RESET) { code } }";
    let (one, other) = (Uuid::now_v7().to_string(), Uuid::now_v7().to_string());
    let ids = json!([one, "x", machine, other]);
    ask_as(&door, &admin, "some", each, json!({"t": acme, "ids": ids})).await;
    door.close().await;
    chained(&database).await;
    let all = stored(&database.pool().await).await;
    let mut told: Vec<(Value, &str, Option<&str>)> = all
        .iter()
        .filter(|e| e.request_id.as_deref() == Some("some"))
        .map(|e| (e.arguments["ids"].clone(), e.outcome.as_str(), e.code.as_deref()))
        .collect();
    told.sort_by_key(|(_, _, code)| *code);
    let refused = |ids: Value, code| (ids, "REFUSED", Some(code));
    assert_eq!(
        told,
        [
            (json!([machine]), "ACCEPTED", None),
            refused(json!(["x"]), "BAD_USER_INPUT"),
            refused(json!([one, other]), "NOT_FOUND")
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_kept_without_secrets_and_bounded() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let workflow =
        "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"W\", definition: $d) { id } }";
    let made = admin.ok(workflow, json!({"t": acme, "d": crate::api_tenancy::graph()})).await;
    let start = "mutation($t: ID!, $w: ID!, $i: JSON) { executeWorkflow(tenant: $t, workflow: $w, input: $i) { existing } }";
    let deep = json!({"user": {"Api-Key": "canary", "list": [{"client_secret": ["canary"]}], "note": "x".repeat(5000)}});
    let given = |input: Value| json!({"t": acme, "w": made["createWorkflow"]["id"], "i": input});
    ask_as(&door, &admin, "deep", start, given(deep)).await;
    let large: Map<String, Value> = (0..100).map(|n| (format!("n{n}"), json!("y".repeat(1000)))).collect();
    ask_as(&door, &admin, "large", start, given(large.into())).await;
    let change = "mutation($o: String!, $n: String!) { changePassword(old: $o, new: $n) }";
    ask_as(&door, &admin, "change", change, json!({"o": "canary", "n": "canary canary canary"})).await;
    door.close().await;
    chained(&database).await;
    let all = stored(&database.pool().await).await;
    assert!(all.iter().all(|e| !e.arguments.to_string().contains("canary")), "{all:?}");
    let kept = &only(&all, "deep").arguments["input"]["user"];
    assert_eq!(kept["Api-Key"], "[FILTERED]");
    assert_eq!(kept["note"].as_str().unwrap().chars().count(), 2_000);
    assert!(only(&all, "large").arguments["input"].as_str().unwrap().ends_with(" BYTES]"));
    assert_eq!(only(&all, "change").arguments, json!({"old": "[FILTERED]", "new": "[FILTERED]"}));
}
