//! Work over GraphQL: workflows and their runs, jobs and queues, dead letters, pages.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue};
use rules::id::TenantId;
use rules::queue::{Outcome, Pool};
use serde_json::{Value, json};
use tests::{Client, Database, Door, Hands, wait};

use crate::api_identity::tenant;
use crate::api_tenancy::graph;

async fn workflow(client: &Client, tenant: &Value, definition: Value) -> Value {
    let query = "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"W\", definition: $d) { id version } }";
    client.ok(query, json!({"t": tenant, "d": definition})).await["createWorkflow"]["id"].clone()
}

const EXECUTE: &str = "mutation($t: ID!, $w: ID!, $i: JSON, $k: String) {
    executeWorkflow(tenant: $t, workflow: $w, input: $i, idempotencyKey: $k) { existing run { id status startedBy } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_made_run_and_read_back() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let definition = json!({
        "nodes": [
            {"id": "s", "type": "start"},
            {"id": "twice", "type": "script", "config": {"code": "ctx.input.n * 2", "outputVariable": "m"}},
            {"id": "e", "type": "end", "config": {"outputParameters": [{"name": "m", "sourceVariable": "{{ctx.m}}"}]}}
        ],
        "edges": [
            {"id": "1", "source": "s", "target": "twice"},
            {"id": "2", "source": "twice", "target": "e", "sourceHandle": "success"}
        ]
    });
    let id = workflow(&admin, &acme, definition).await;
    let start = json!({"t": acme, "w": id, "i": {"n": 21}, "k": "once"});
    let started = admin.ok(EXECUTE, start.clone()).await["executeWorkflow"].clone();
    assert_eq!((&started["existing"], &started["run"]["status"]), (&json!(false), &json!("PENDING")));
    let again = admin.ok(EXECUTE, start).await["executeWorkflow"].clone();
    assert_eq!((&again["existing"], &again["run"]["id"]), (&json!(true), &started["run"]["id"]));
    let other = admin.refusal(EXECUTE, json!({"t": acme, "w": id, "i": {"n": 22}, "k": "once"})).await;
    assert_eq!(other.0, "CONFLICT");

    let hands = Hands::start(&database, &[Pool::Dag]).await;
    let read = "query($t: ID!, $id: ID!) { run(tenant: $t, id: $id) { status output error log(first: 100) { nodes { event node entry } } } }";
    let run = json!({"t": acme, "id": started["run"]["id"]});
    let ended = wait::value("the run ends", || async {
        let run = admin.ok(read, run.clone()).await["run"].clone();
        assert_ne!(run["status"], "FAILED", "{run}");
        (run["status"] == "COMPLETED").then_some(run)
    })
    .await;
    hands.stop().await;
    assert_eq!(ended["output"], json!({"m": 42}), "{ended}");
    let log = ended["log"]["nodes"].as_array().unwrap();
    assert_eq!(
        (&log[0]["event"], &log[log.len() - 1]["event"]),
        (&json!("run.started"), &json!("run.finished"))
    );

    let late = "mutation($t: ID!, $id: ID!) { cancelRun(tenant: $t, id: $id) { id } }";
    assert_eq!(admin.refusal(late, run).await.0, "CONFLICT");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_workflow_is_told_by_node_and_field() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let wrong = json!({
        "nodes": [
            {"id": "s", "type": "start"},
            {"id": "a", "type": "script", "config": {"code": "let let"}},
            {"id": "lost", "type": "delay", "config": {"delayType": "fixed", "delaySeconds": 99}},
            {"id": "e", "type": "end"}
        ],
        "edges": [
            {"id": "1", "source": "s", "target": "a"},
            {"id": "2", "source": "a", "target": "e"},
            {"id": "3", "source": "a", "target": "nowhere"}
        ]
    });
    let check = "query($d: JSON!) { validateWorkflow(definition: $d) { valid faults { node edge field reason message } } }";
    let checked = admin.ok(check, json!({"d": wrong})).await["validateWorkflow"].clone();
    let told: BTreeSet<(String, String)> = checked["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            let place = f["node"].as_str().or(f["edge"].as_str()).unwrap_or_default();
            (place.to_owned(), f["reason"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    for (place, reason) in
        [("a", "SCRIPT"), ("3", "DANGLING_EDGE"), ("lost", "UNREACHABLE"), ("lost", "MALFORMED")]
    {
        assert!(told.contains(&(place.into(), reason.into())), "{place} {reason} in {checked}");
    }
    assert_eq!(checked["valid"], json!(false));
    let make =
        "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"W\", definition: $d) { id } }";
    let refused = admin.ask(make, json!({"t": acme, "d": wrong})).await.json();
    let extensions = &refused["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "BAD_USER_INPUT");
    assert_eq!(extensions["faults"], checked["faults"], "saving and checking tell the same");
    let kept: i64 = sqlx::query_scalar("select count(*) from workflow")
        .fetch_one(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(kept, 0);
    assert!(admin.ok(check, json!({"d": graph()})).await["validateWorkflow"]["valid"].as_bool().unwrap());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_keeps_its_secret_to_itself() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let pipeline = json!({"actions": [{"type": "save_to_buffer"}]});
    let make = "mutation($t: ID!, $p: JSON!) { createListener(tenant: $t, path: \"orders\", title: \"L\", pipeline: $p) {
        secret listener { id active version } } }";
    let made = admin.ok(make, json!({"t": acme, "p": pipeline})).await["createListener"].clone();
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{made}");
    assert_eq!(admin.refusal(make, json!({"t": acme, "p": pipeline})).await.0, "CONFLICT");
    let bad = json!({"actions": [{"type": "transform", "code": "let"}, {"type": "nothing"}]});
    let refused = admin.ask(make, json!({"t": acme, "p": bad})).await.json();
    assert!(refused["errors"][0]["extensions"]["faults"][0]["field"].is_string(), "{refused}");
    let all_wrong = "mutation($t: ID!, $p: JSON!) { createListener(tenant: $t, path: \"No/way\", title: \"\", pipeline: $p) { secret } }";
    let refused = admin.ask(all_wrong, json!({"t": acme, "p": bad})).await.json();
    let faults = refused["errors"][0]["extensions"]["faults"].as_array().unwrap();
    let fields: Vec<&str> = faults.iter().map(|f| f["field"].as_str().unwrap()).collect();
    assert_eq!(fields[..2], ["path", "title"], "{refused}");
    assert!(fields.len() > 3 && fields[2].starts_with("actions["), "{refused}");

    let id = &made["listener"]["id"];
    let all = "query($t: ID!) { listeners(tenant: $t) { nodes { id path pipeline active version } } }";
    let listed = admin.ask(all, json!({"t": acme})).await;
    assert!(!listed.text.contains(secret) && listed.text.contains("orders"), "{listed:?}");
    let rotate = "mutation($t: ID!, $id: ID!) { rotateListenerSecret(tenant: $t, id: $id) { secret } }";
    let fresh = admin.ok(rotate, json!({"t": acme, "id": id})).await["rotateListenerSecret"].clone();
    assert_ne!(fresh["secret"].as_str(), Some(secret));
    let rename =
        "mutation($t: ID!, $id: ID!) { renameListener(tenant: $t, id: $id, title: \"Orders\") { title } }";
    assert_eq!(admin.ok(rename, json!({"t": acme, "id": id})).await["renameListener"]["title"], "Orders");
    let update = "mutation($t: ID!, $id: ID!, $p: JSON!) { updateListener(tenant: $t, id: $id, version: 1, pipeline: $p) { version } }";
    let change = json!({"t": acme, "id": id, "p": pipeline});
    assert_eq!(admin.ok(update, change.clone()).await["updateListener"]["version"], 2);
    assert_eq!(admin.refusal(update, change).await.0, "CONFLICT", "an edit of an old version");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_and_its_jobs_say_why_they_wait() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let mut conn = database.connect().await;
    let job = NewJob::of(&Noop::default()).unwrap();
    let id = enqueue(&mut conn, &[job]).await.unwrap()[0].id.to_string();
    let why = "query($id: ID!) { whyWaiting(id: $id) { code message } }";
    let told = admin.ok(why, json!({"id": id})).await["whyWaiting"].clone();
    assert_eq!(told["code"], "NO_WORKER", "{told}");
    admin.ok("mutation { pauseQueue(name: \"maintenance\") { pausedAt } }", json!({})).await;
    assert_eq!(admin.ok(why, json!({"id": id})).await["whyWaiting"]["code"], "QUEUE_PAUSED");
    let queues = admin.ok("{ queues { name ready pausedBy } }", json!({})).await;
    let paused = queues["queues"].as_array().unwrap().iter().find(|q| q["name"] == "maintenance").unwrap();
    assert_eq!(paused["ready"], 1);
    assert!(paused["pausedBy"].as_str().unwrap().starts_with("user:"), "{paused}");
    admin.ok("mutation { resumeQueue(name: \"maintenance\") { pausedAt } }", json!({})).await;
    let cancel = "mutation($id: ID!) { cancelJob(id: $id) }";
    assert_eq!(admin.ok(cancel, json!({"id": id})).await["cancelJob"], "CANCELLED");
    assert_eq!(admin.ok(cancel, json!({"id": id})).await["cancelJob"], "ENDED");
    assert_eq!(
        admin.refusal("mutation { pauseQueue(name: \"none\") { id } }", json!({})).await.0,
        "NOT_FOUND"
    );
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_shown_with_every_attempt_and_redriven_together_or_each_for_itself() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let owner = TenantId(acme.as_str().unwrap().parse().unwrap());
    let mut conn = database.connect().await;
    let jobs: Vec<NewJob> = (0..2).map(|_| NewJob::of(&Noop::default()).unwrap().tenant(owner)).collect();
    enqueue(&mut conn, &jobs).await.unwrap();
    let taken = crate::queue::take(&mut conn, 9).await;
    let acks: Vec<_> =
        taken.iter().map(|a| crate::queue::ack(a, Outcome::Dead { error: "no luck".into() })).collect();
    jobs::queue::settle(&mut conn, &acks).await.unwrap();

    let slip = "query($t: ID!) { deadLetters(tenant: $t, kind: \"queue.nop\") { nodes { id } } }";
    let (code, told) = admin.refusal(slip, json!({"t": acme})).await;
    assert_eq!(
        (code.as_str(), told.contains("`queue.noop` is the nearest")),
        ("BAD_USER_INPUT", true),
        "{told}"
    );
    let list = "query($t: ID!) { deadLetters(tenant: $t) { nodes { id error attempts { error } } } }";
    let dead = admin.ok(list, json!({"t": acme})).await["deadLetters"]["nodes"].clone();
    assert_eq!((dead.as_array().unwrap().len(), &dead[0]["error"]), (2, &json!("no luck")), "{dead}");
    assert_eq!(dead[0]["attempts"][0]["error"], "no luck");
    let redrive = "mutation($t: ID!, $ids: [ID!]!) { redriveDeadLetters(tenant: $t, ids: $ids) }";
    let ids: Vec<&Value> = vec![&dead[0]["id"], &dead[1]["id"]];
    let with_unknown = json!({"t": acme, "ids": [ids[0], "999999999"]});
    assert_eq!(admin.refusal(redrive, with_unknown).await.0, "NOT_FOUND");
    assert_eq!(admin.refusal(redrive, json!({"t": acme, "ids": []})).await.0, "BAD_USER_INPUT");
    let still = admin.ok(list, json!({"t": acme})).await;
    assert_eq!(
        still["deadLetters"]["nodes"].as_array().unwrap().len(),
        2,
        "one failed, so none was redriven"
    );
    // Each for itself: what cannot be redriven is told of, and holds up none of the others.
    let other = tenant(&admin, "other").await;
    let each = "mutation($t: ID!, $ids: [ID!]!) { redriveEachDeadLetter(tenant: $t, ids: $ids) { id redriven code message } }";
    let told = admin.ok(each, json!({"t": other, "ids": [ids[0]]})).await["redriveEachDeadLetter"].clone();
    assert_eq!((&told[0]["redriven"], &told[0]["code"]), (&json!(false), &json!("NOT_FOUND")), "{told}");
    let mixed = json!({"t": acme, "ids": ["999999999", ids[0], "x", ids[0]]});
    let told = admin.ok(each, mixed).await["redriveEachDeadLetter"].clone();
    let codes: Vec<&Value> = told.as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(
        codes,
        ["NOT_FOUND", "", "BAD_USER_INPUT", "CONFLICT"]
            .map(|c| json!(Some(c).filter(|c| !c.is_empty())))
            .iter()
            .collect::<Vec<_>>(),
        "{told}"
    );
    assert_eq!((&told[1]["id"], &told[1]["redriven"]), (ids[0], &json!(true)), "{told}");
    assert!(told[0]["message"].as_str().unwrap().contains("`jobs` lists"), "{told}");
    assert_eq!(admin.refusal(each, json!({"t": acme, "ids": []})).await.0, "BAD_USER_INPUT");
    admin.ok(redrive, json!({"t": acme, "ids": [ids[1]]})).await;
    let after = admin.ok(list, json!({"t": acme})).await;
    assert!(after["deadLetters"]["nodes"].as_array().unwrap().is_empty(), "{after}");
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    let done = "query($t: ID!) { jobs(tenant: $t, state: DONE) { nodes { id } } }";
    wait::until("both are done", || async {
        admin.ok(done, json!({"t": acme})).await["jobs"]["nodes"].as_array().unwrap().len() == 2
    })
    .await;
    hands.stop().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_decided_against_and_stays_to_be_seen() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let owner = TenantId(acme.as_str().unwrap().parse().unwrap());
    let mut conn = database.connect().await;
    let ready =
        enqueue(&mut conn, &[NewJob::of(&Noop::default()).unwrap().tenant(owner)]).await.unwrap()[0].id;
    let taken = crate::queue::take(&mut conn, 9).await;
    let ack = crate::queue::ack(&taken[0], Outcome::Dead { error: "for nobody".into() });
    jobs::queue::settle(&mut conn, &[ack]).await.unwrap();
    assert_eq!(taken[0].id, ready);
    let ready =
        enqueue(&mut conn, &[NewJob::of(&Noop::default()).unwrap().tenant(owner)]).await.unwrap()[0].id;
    let (id, ready) = (taken[0].id.to_string(), ready.to_string());
    let list = "query($t: ID!) { deadLetters(tenant: $t) { nodes { id } } }";
    let discard = "mutation($t: ID!, $ids: [ID!]!) { discardDeadLetters(tenant: $t, ids: $ids) }";
    assert_eq!(admin.refusal(discard, json!({"t": other, "ids": [id]})).await.0, "NOT_FOUND");
    assert_eq!(admin.refusal(discard, json!({"t": acme, "ids": [id, ready]})).await.0, "CONFLICT");
    let left = admin.ok(list, json!({"t": acme})).await;
    assert_eq!(left["deadLetters"]["nodes"][0]["id"], json!(id), "{left}");
    admin.ok(discard, json!({"t": acme, "ids": [id]})).await;
    let left = admin.ok(list, json!({"t": acme})).await;
    assert!(left["deadLetters"]["nodes"].as_array().unwrap().is_empty(), "{left}");
    let one = "query($t: ID!, $id: ID!) { job(tenant: $t, id: $id) { state attempts { error } } }";
    let kept = admin.ok(one, json!({"t": acme, "id": id})).await["job"].clone();
    assert_eq!(kept, json!({"state": "CANCELLED", "attempts": [{"error": "for nobody"}]}));
    let redrive = "mutation($t: ID!, $ids: [ID!]!) { redriveDeadLetters(tenant: $t, ids: $ids) }";
    assert_eq!(admin.refusal(redrive, json!({"t": acme, "ids": [id]})).await.0, "CONFLICT");
    let noted: i64 =
        sqlx::query_scalar("select count(*) from audit_intake where operation like '%discardDeadLetters'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!(noted, 1, "what was done is in the audit");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_walked_without_gap_or_repeat_while_it_grows() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let put = async || {
        let job = NewJob::of(&Noop::default()).unwrap();
        enqueue(&mut database.connect().await, &[job]).await.unwrap()[0].id.to_string()
    };
    let mut there = BTreeSet::new();
    for _ in 0..7 {
        there.insert(put().await);
    }
    let query = "query($after: String) { jobs(first: 3, after: $after) { nodes { id } pageInfo { endCursor hasNextPage } } }";
    let (mut seen, mut after, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let page = admin.ok(query, json!({"after": after})).await["jobs"].clone();
        seen.extend(page["nodes"].as_array().unwrap().iter().map(|n| n["id"].as_str().unwrap().to_owned()));
        pages += 1;
        // What comes meanwhile is newer than all that is still to be seen.
        put().await;
        if page["pageInfo"]["hasNextPage"] != json!(true) {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!((pages, seen.len()), (3, 7));
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), there);
    let hundred = admin.ok("{ jobs(first: 100) { nodes { id } pageInfo { hasNextPage } } }", json!({})).await;
    assert_eq!(hundred["jobs"]["pageInfo"]["hasNextPage"], false);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_why_and_what_to_do() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let mut told = String::new();
    for query in [
        "{ workflows { nodes { id } } }",
        "{ workflows(tenant: \"7\") { nodes { id } } }",
        "{ workflows(tenant: \"018f0000-0000-7000-8000-000000000000\") { nodes { id } } }",
        "{ workflow(tenant: ACME, id: \"018f0000-0000-7000-8000-000000000000\") { id } }",
        "{ runs(tenant: ACME, workflow: \"018f0000-0000-7000-8000-000000000000\") { nodes { id } } }",
        "{ notices(tenant: ACME, listener: \"018f0000-0000-7000-8000-000000000000\") { nodes { id } } }",
        "{ machines(tenant: ACME, departmentId: \"018f0000-0000-7000-8000-000000000000\") { nodes { id } } }",
        "{ jobs(first: 0) { nodes { id } } }",
        "{ jobs(after: \"x\") { nodes { id } } }",
        "{ job(id: \"one\") { id } }",
        "{ job(id: \"9223372036854775807\") { id } }",
        "{ jobs(kind: \"a\\u0000b\") { nodes { id } } }",
        "{ jobs(kind: \"run.nod\") { nodes { id } } }",
        "mutation { pauseQueue(name: \"dag\") { name } }",
        "mutation { drainHost(name: \"nowhere\") { name } }",
        "mutation { createTenant(slug: \"acme\", title: \"T\") { id } }",
        "mutation { createTenant(slug: \"Not A Slug\", title: \"T\") { id } }",
        "mutation { createTenant(slug: \"a\", title: \"\") { id } }",
        "mutation { createUser(email: \"nobody\", password: \"x\") { id } }",
        "mutation { createUser(email: \"a@b\", password: \"short\") { id } }",
        "mutation { executeWorkflow(tenant: ACME, workflow: \"018f0000-0000-7000-8000-000000000000\") { existing } }",
        "{ me { nope } }",
        "{ jobs(first: \"many\") { nodes { id } } }",
        "{ jobs(state: LOST) { nodes { id } } }",
    ] {
        let (code, message) = admin.refusal(&query.replace("ACME", &acme.to_string()), json!({})).await;
        writeln!(told, "{query}\n  {code}: {message}").unwrap();
    }
    insta::assert_snapshot!(told);
    door.close().await;
}
