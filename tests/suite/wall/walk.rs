//! A walk over every operation and every route from another tenant: not one byte of it comes through.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sqlx::AssertSqlSafe;
use tests::{Client, Database, Door, Operation, Operations, SocketIo};
use uuid::Uuid;

use crate::api_identity::{join, tenant};
use crate::api_tenancy::belongings;

/// What every text of acme's has in it.
const CANARY: &str = "canary";

/// Tables behind the wall with no text of their own that could be marked: ids, numbers, times, closed words.
const WITHOUT_TEXT: [(&str, &str); 13] = [
    ("audit_chain", "hashes, numbers and times"),
    ("membership", "who, where, and a built-in role"),
    ("membership_role", "ids"),
    ("api_key_role", "ids"),
    ("run_inbox", "nothing waits there once a run has begun"),
    ("run_log", "nobody works here, so no run gets further"),
    ("run_waiter", "as above"),
    ("buffer_event", "as above"),
    ("notice_action", "as above"),
    ("job_attempt", "as above"),
    ("job_history", "as above"),
    ("listener_removal", "ids, and nothing was removed here"),
    ("health_check", "names of checks, which are closed words, and times"),
];

/// Operations that end what the walk needs, and say nothing of any tenant.
const ENDING: [&str; 2] = ["logout", "changePassword"];

/// Texts that operations take and that find nothing that is a tenant's.
const FREE: [&str; 39] = [
    "action",
    "buffer",
    "after",
    "before",
    "cron",
    "cursor",
    "description",
    "email",
    "expiresAt",
    "fingerprint",
    "grants",
    "graph",
    "group",
    "host",
    "idempotencyKey",
    "identity",
    "input",
    "kind",
    "kinds",
    "level",
    "modules",
    "new",
    "note",
    "old",
    "os",
    "password",
    "path",
    "queue",
    "reason",
    "refreshToken",
    "scopes",
    "search",
    "setupToken",
    "slug",
    "state",
    "timeZone",
    "title",
    "token",
    "uri",
];

/// Texts by which an operation finds something: what of acme's they would find. Every operation with one is
/// called with it and with a text that finds nothing.
const NAMES: [(&str, &str); 2] = [("name", CANARY), ("snapshotName", CANARY)];

/// Every route of the API.
const ROUTES: [&str; 6] =
    ["/graphql", "/socket.io/", "/hooks/{tenant}/{path}", "/livez", "/readyz", "/metrics"];

/// Acme's things, each of its texts marked, so that one byte of it is known anywhere.
async fn marked(database: &Database, admin: &Client, acme: &Value) -> Map<String, Value> {
    let things = belongings(database, admin, acme).await;
    let snapshot = "mutation($t: ID!, $m: ID!) { createSnapshot(tenant: $t, machineId: $m, name: \"canary\", description: \"canary\") { operation { id } } }";
    admin.ok(snapshot, json!({"t": acme, "m": things["machine"]})).await;
    let mut conn = database.desk().await;
    for statement in [
        "update tenant set title = 'canary' where id = $1",
        "update workflow set title = 'canary', created_by = 'canary' where tenant_id = $1",
        "update workflow_version set created_by = 'canary' where workflow_id in (select id from workflow where tenant_id = $1)",
        "update run set input = '{\"canary\": 1}', started_by = 'canary' where tenant_id = $1",
        "update listener set title = 'canary', path = 'canary' where tenant_id = $1",
        "update schedule set title = 'canary', description = 'canary', input = '{\"canary\": 1}', saved_by = 'canary' where tenant_id = $1",
        "update schedule_firing set result = 'canary', asked_by = 'canary' where tenant_id = $1",
        "update notice set event = '{\"canary\": 1}', delivery_id = 'canary' where tenant_id = $1",
        "insert into notice_pass (notice_id, tenant_id, replay, transformed)
        select id, tenant_id, 9, '{\"canary\": 1}' from notice where tenant_id = $1",
        "update api_key set title = 'canary' where tenant_id = $1",
        "update tenant_role set title = 'canary' where tenant_id = $1",
        "update invitation set email = 'canary@example.org' where tenant_id = $1",
        "update department set name = 'canary' where tenant_id = $1",
        "update machine set name = 'canary', created_by = 'canary', seen_reason = 'canary' where tenant_id = $1",
        "update machine_operation set requested_by = 'canary' where tenant_id = $1",
        "update job set payload = '{\"canary\": 1}' where tenant_id = $1",
        "update app_user set email = 'canary@example.org' where email = 'ada@example.org' and $1::uuid is not null",
        "insert into machine_health (machine_id, tenant_id, reason, wanted, seen, host_answers)
        select id, tenant_id, 'canary', wanted, seen, false from machine where tenant_id = $1
        on conflict (machine_id) do update set reason = 'canary'",
        "insert into health_snapshot (machine_id, tenant_id, name, verdict, detail, figures, checked_at, since, took_ms)
        select id, tenant_id, 'STATE', 'WARNING', 'canary', '{}', now(), now(), 1 from machine where tenant_id = $1",
        "insert into health_result (machine_id, tenant_id, name, verdict, detail, figures, took_ms)
        select id, tenant_id, 'STATE', 'WARNING', 'canary', '{}', 1 from machine where tenant_id = $1",
        "update letter_sweep set asked_by = 'canary', refusal = 'canary', error = 'canary', filter = '{\"search\": \"canary\"}' where tenant_id = $1",
        "with dead as (select * from job where tenant_id = $1 limit 1)
        insert into job_dead (job_id, created_at, pool_id, queue_id, priority, attempt, crashes, max_attempts, reason, kind, tenant_id, error, payload, attempts)
        select -id, created_at, pool_id, queue_id, priority, 1, 0, 3, 'failed', kind, tenant_id, 'canary', payload, '[]' from dead",
        "insert into idempotency_key (id, tenant_id, principal, key, fingerprint, held_until)
        values (gen_random_uuid(), $1, 'canary', 'canary', '', now())",
        "update audit_intake set arguments = '{\"canary\": 1}' where tenant_id = $1",
        "insert into audit_entry (tenant_id, seq, kept_at, at, actor, operation, arguments, outcome, took_ms, address, request_id, hash)
        values ($1, 1, now(), now(), 'canary', 'canary', '{\"canary\": 1}', 'ACCEPTED', 1, 'canary', 'canary', '\\x00')",
    ] {
        let acme: Uuid = acme.as_str().unwrap().parse().unwrap();
        sqlx::query(statement).bind(acme).execute(&mut *conn).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
    let walled: Vec<String> = sqlx::query_scalar(
        "select tablename::text from pg_policies where policyname = 'tenant_wall' order by 1",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    for table in walled {
        let statement = format!("select exists (select from {table} t where t::text like '%{CANARY}%')");
        let has: bool = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&mut *conn).await.unwrap();
        let excused = WITHOUT_TEXT.iter().any(|(without, _)| *without == table);
        assert!(
            has || excused,
            "nothing in `{table}` is marked, so that the walk would miss it: give acme a row of it in \
             `api_tenancy::belongings` and mark its texts here, or name it in WITHOUT_TEXT with the reason"
        );
    }
    things
}

/// Somebody of another tenant who tries.
struct Walk<'a> {
    client: &'a Client,
    operations: &'a Operations,
    acme: &'a Value,
    other: &'a Value,
}

impl Walk<'_> {
    /// An answer with what was asked for taken out, so that two can be compared.
    async fn told(&self, operation: &Operation, given: &Map<String, Value>) -> String {
        let (query, variables) = operation.call(self.operations, given);
        let mut text = self.client.ask(&query, variables).await.said();
        for word in words(given) {
            // A number is a word of one digit: only where it stands as what was asked for is it that.
            for (around, beside) in [("`", "`"), ("\\\"", "\\\""), ("\"", "\""), ("job ", "")] {
                text = text.replace(&format!("{around}{word}{beside}"), "<asked>");
            }
        }
        assert!(!text.contains(CANARY), "{} with {given:?} tells of another's: {text}", operation.name);
        text
    }

    /// What is told of this in a tenant, where the operation takes one.
    async fn within(&self, operation: &Operation, given: &Map<String, Value>, tenant: &Value) -> String {
        let mut given = given.clone();
        if operation.takes_tenant() {
            given.insert("tenant".into(), tenant.clone());
        }
        self.told(operation, &given).await
    }

    /// What is another's, sought in one's own tenant, is answered as what never was.
    async fn hidden(&self, operation: &Operation, things: &Map<String, Value>) {
        let naming = |id: &Value| self.operations.naming(operation, id);
        if naming(&Value::Null).is_empty() {
            return;
        }
        let (no_thing, no_job) = (naming(&json!(Uuid::now_v7())), naming(&json!("999999999")));
        let no_thing = self.within(operation, &no_thing, self.other).await;
        let no_job = self.within(operation, &no_job, self.other).await;
        for (kind, theirs) in things {
            let hidden = self.within(operation, &naming(theirs), self.other).await;
            let unknown = if kind == "job" { &no_job } else { &no_thing };
            assert_eq!(hidden, *unknown, "{} with a {kind} of another's", operation.name);
        }
    }

    /// What is found by a text, likewise. Whatever else is named is another's.
    async fn unfound(&self, operation: &Operation, things: &Map<String, Value>) {
        for (name, theirs) in NAMES {
            let finds = operation.args.iter().any(|arg| arg.name == name && arg.of.starts_with("String"));
            // What makes something or gives it a name takes one that nothing has yet.
            if !finds || operation.name.starts_with("create") || operation.name.starts_with("update") {
                continue;
            }
            let mut told = Vec::new();
            for text in [theirs, "nobody"] {
                let mut given = self.operations.naming(operation, &things["machine"]);
                given.insert(name.to_owned(), json!(text));
                told.push(self.within(operation, &given, self.other).await);
            }
            assert_eq!(told[0], told[1], "{} with the {name} of another's", operation.name);
        }
    }

    /// Another's tenant is answered as one that never was, whatever is sought there.
    async fn closed(&self, operation: &Operation, things: &Map<String, Value>) {
        if !operation.takes_tenant() {
            return;
        }
        let nothing = self.operations.naming(operation, &json!(Uuid::now_v7()));
        let nowhere = self.within(operation, &nothing, &json!(Uuid::now_v7())).await;
        for kind in ["machine", "workflow"] {
            let given = self.operations.naming(operation, &things[kind]);
            let closed = self.within(operation, &given, self.acme).await;
            assert_eq!(closed, nowhere, "{} with a {kind}, in another's tenant", operation.name);
        }
        assert!(
            nowhere.contains("NOT_FOUND") || nowhere.contains("BAD_USER_INPUT"),
            "{}: {nowhere}",
            operation.name
        );
        if operation.kind == "query" {
            // What one has oneself is told, and nothing else beside it.
            self.within(operation, &Map::new(), self.other).await;
        }
    }
}

/// The words of what was asked for.
fn words(given: &Map<String, Value>) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest: Vec<&Value> = given.values().collect();
    while let Some(value) = rest.pop() {
        match value {
            Value::String(word) => words.push(word.clone()),
            Value::Array(list) => rest.extend(list),
            Value::Object(fields) => rest.extend(fields.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    words
}

pub(crate) async fn no_operation_tells_a_byte_of_another_tenant() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let eve = door.user("eve@example.org", "USER").await;
    door.user("ada@example.org", "USER").await;
    join(&admin, &other, "eve@example.org", "ADMIN").await;
    let operations = Operations::read(&door.nobody()).await;
    let key = "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\", role: ADMIN) { secret } }";
    let secret = admin.ok(key, json!({"t": other})).await["createApiKey"]["secret"].clone();
    let program = door.nobody().with_key(secret.as_str().unwrap());
    let things = marked(&database, &admin, &acme).await;
    // The walk would notice: the same operations tell it to whom it belongs.
    for name in [
        "workflows",
        "machines",
        "departments",
        "runs",
        "schedules",
        "listeners",
        "notices",
        "roles",
        "deadLetters",
        "deadLetterGroups",
        "deadLetterSweeps",
    ] {
        let operation = operations.all.iter().find(|o| o.name == name).unwrap();
        let own = Map::from_iter([("tenant".to_owned(), acme.clone())]);
        let (query, variables) = operation.call(&operations, &own);
        let told = admin.ask(&query, variables).await.text;
        assert!(told.contains(CANARY), "{name} tells its own nothing: {told}");
    }
    // Once behind the wall, and once without it: a statement that forgets its tenant is seen there alone.
    let bare = Door::without_wall(&database).await;
    let eve_there = bare.login("eve@example.org").await;
    for (client, all) in [(&eve, false), (&eve_there, true), (&program, true)] {
        let walk = Walk { client, operations: &operations, acme: &acme, other: &other };
        for operation in operations.all.iter().filter(|o| !ENDING.contains(&o.name.as_str())) {
            walk.closed(operation, &things).await;
            if all {
                walk.hidden(operation, &things).await;
                walk.unfound(operation, &things).await;
            }
        }
    }
    bare.close().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_that_operations_take_is_known_to_the_walk() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let operations = Operations::read(&door.nobody()).await;
    let known = |name: &str| FREE.contains(&name) || NAMES.iter().any(|(of, _)| *of == name);
    for operation in &operations.all {
        for arg in operation.args.iter().filter(|arg| arg.of.trim_start_matches('[').starts_with("String")) {
            assert!(
                known(&arg.name),
                "`{}` takes the text `{}`, of which the walk does not know whether it finds something of a tenant's: \
                 name it in NAMES of tests/suite/wall/walk.rs with what of acme's it would find, or in FREE",
                operation.name,
                arg.name
            );
        }
        // Every other argument is filled by its type; one that nothing is known to fit fails here.
        for arg in &operation.args {
            operations.example(arg);
        }
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_tells_a_byte_of_another_tenant() {
    let source = include_str!("../../../api/src/router.rs");
    let routes: BTreeSet<&str> =
        source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(
        routes,
        BTreeSet::from(ROUTES),
        "a route that nobody walks: walk it below, and name it in ROUTES"
    );

    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    door.user("ada@example.org", "USER").await;
    let eve = door.user("eve@example.org", "USER").await;
    join(&admin, &other, "eve@example.org", "ADMIN").await;
    let things = marked(&database, &admin, &acme).await;
    // A room of what is acme's is refused in the words in which one of nothing is.
    let mut socket = SocketIo::open(&eve).await;
    for id in things.values().filter_map(Value::as_str).filter(|id| id.parse::<Uuid>().is_ok()) {
        for (kind, tenant) in ["run", "vm", "listener", "department", "user"]
            .iter()
            .flat_map(|kind| [(kind, &acme), (kind, &other)])
        {
            let nothing = Uuid::now_v7().to_string();
            let mut told = Vec::new();
            for id in [id, &nothing] {
                let answer =
                    socket.ask("join", json!({"room": format!("{kind}:{id}"), "tenant": tenant})).await;
                assert_eq!(answer["status"], "error", "{kind}:{id}: {answer}");
                told.push((
                    answer["error"]["code"].clone(),
                    answer["error"]["message"].to_string().replace(id, "?"),
                ));
            }
            assert_eq!(told[0], told[1], "{kind}:{id}");
            assert!(!told[0].1.contains(CANARY), "{kind}:{id}: {told:?}");
        }
    }
    let id = |tenant: &Value| tenant.as_str().unwrap().to_owned();
    // An address where somebody listens is answered as one where nobody does, to whoever has no signature.
    let json_type = [("content-type", "application/json")];
    let mut answers = Vec::new();
    for tenant in ["acme", "nobody", "other", &id(&acme), &id(&other), &Uuid::now_v7().to_string()] {
        for path in [CANARY, "nobody"] {
            let answer = door.post(&format!("/hooks/{tenant}/{path}"), &json_type, b"{}").await;
            answers.push((answer.status, answer.said().replace(path, "<path>")));
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = tests::http::send(door.address, "GET", path, &[], b"").await;
        assert_eq!(answer.status, 200, "{path}");
        for theirs in [CANARY.to_owned(), id(&acme), "acme".to_owned()] {
            assert!(!answer.text.contains(&theirs), "{path} tells `{theirs}`: {}", answer.text);
        }
    }
    door.close().await;
}
