//! What is another tenant's does not exist; what needs a login is closed without one.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tests::{Client, Database, Door, Operations};
use uuid::Uuid;

use crate::api_identity::{join, tenant};

/// A graph that runs nothing.
pub(crate) fn graph() -> Value {
    json!({
        "nodes": [{"id": "start", "type": "start"}, {"id": "end", "type": "end"}],
        "edges": [{"id": "e", "source": "start", "target": "end"}],
    })
}

/// Every operation within a tenant, with the thing that it names by id.
const OPERATIONS: [(&str, &str); 53] = [
    ("", "query($t: ID) { members(tenant: $t) { nodes { userId } } }"),
    ("", "query($t: ID) { apiKeys(tenant: $t) { nodes { id } } }"),
    ("", "query($t: ID) { workflows(tenant: $t) { nodes { id } } }"),
    ("", "query($t: ID) { runs(tenant: $t) { nodes { id } } }"),
    ("", "query($t: ID) { listeners(tenant: $t) { nodes { id } } }"),
    ("", "query($t: ID) { notices(tenant: $t) { nodes { id } } }"),
    ("", "query($t: ID) { jobs(tenant: $t) { nodes { id } } }"),
    ("", "query($t: ID) { deadLetters(tenant: $t) { nodes { id } } }"),
    ("", "query($t: ID) { deadLetterGroups(tenant: $t) { looked } }"),
    ("", "query($t: ID) { deadLetterCount(tenant: $t, letters: {}) { count } }"),
    ("", "query($t: ID) { deadLetterSweeps(tenant: $t) { nodes { id } } }"),
    ("sweep", "query($t: ID, $id: ID!) { deadLetterSweep(tenant: $t, id: $id) { id } }"),
    ("sweep", "mutation($t: ID, $id: ID!) { cancelDeadLetterSweep(tenant: $t, id: $id) { id } }"),
    (
        "job",
        "mutation($t: ID, $id: ID!) { redriveEditedDeadLetter(tenant: $t, id: $id, payload: {}) { id } }",
    ),
    ("", "mutation($t: ID) { redriveMatchingDeadLetters(tenant: $t, letters: {}) { id } }"),
    ("", "mutation($t: ID) { discardMatchingDeadLetters(tenant: $t, letters: {}) { id } }"),
    ("workflow", "query($t: ID, $id: ID!) { workflow(tenant: $t, id: $id) { id } }"),
    ("run", "query($t: ID, $id: ID!) { run(tenant: $t, id: $id) { id log { nodes { seq } } } }"),
    ("listener", "query($t: ID, $id: ID!) { listener(tenant: $t, id: $id) { id } }"),
    ("listener", "query($t: ID, $id: ID!) { bufferEvents(tenant: $t, listener: $id) { nodes { id } } }"),
    ("notice", "query($t: ID, $id: ID!) { notice(tenant: $t, id: $id) { id } }"),
    ("job", "query($t: ID, $id: ID!) { job(tenant: $t, id: $id) { id } }"),
    ("job", "query($t: ID, $id: ID!) { whyWaiting(tenant: $t, id: $id) { code } }"),
    ("job", "query($t: ID, $id: ID!) { deadLetter(tenant: $t, id: $id) { id } }"),
    ("", "mutation($t: ID) { addMember(tenant: $t, email: \"x@example.org\") { userId } }"),
    ("", "mutation($t: ID) { createApiKey(tenant: $t, title: \"K\") { secret } }"),
    (
        "",
        "mutation($t: ID) { createWorkflow(tenant: $t, title: \"W\", definition: {nodes: [], edges: []}) { id } }",
    ),
    (
        "",
        "mutation($t: ID) { createListener(tenant: $t, path: \"p\", title: \"L\", pipeline: {actions: []}) { secret } }",
    ),
    ("key", "mutation($t: ID, $id: ID!) { revokeApiKey(tenant: $t, id: $id) { id } }"),
    (
        "workflow",
        "mutation($t: ID, $id: ID!) { updateWorkflow(tenant: $t, id: $id, version: 1, definition: {nodes: [], edges: []}) { id } }",
    ),
    (
        "workflow",
        "mutation($t: ID, $id: ID!) { setWorkflowEnabled(tenant: $t, id: $id, enabled: false) { id } }",
    ),
    ("workflow", "mutation($t: ID, $id: ID!) { executeWorkflow(tenant: $t, workflow: $id) { existing } }"),
    ("run", "mutation($t: ID, $id: ID!) { cancelRun(tenant: $t, id: $id) { id } }"),
    (
        "listener",
        "mutation($t: ID, $id: ID!) { updateListener(tenant: $t, id: $id, version: 1, pipeline: {actions: []}) { id } }",
    ),
    ("listener", "mutation($t: ID, $id: ID!) { renameListener(tenant: $t, id: $id, title: \"L\") { id } }"),
    (
        "listener",
        "mutation($t: ID, $id: ID!) { setListenerActive(tenant: $t, id: $id, active: false) { id } }",
    ),
    ("", "query($t: ID) { schedules(tenant: $t) { nodes { id } } }"),
    ("schedule", "query($t: ID, $id: ID!) { schedule(tenant: $t, id: $id) { id history { nodes { id } } } }"),
    ("schedule", "mutation($t: ID, $id: ID!) { cloneSchedule(tenant: $t, id: $id, title: \"S\") { id } }"),
    (
        "schedule",
        "mutation($t: ID, $id: ID!) { setScheduleEnabled(tenant: $t, id: $id, enabled: false) { id } }",
    ),
    ("schedule", "mutation($t: ID, $id: ID!) { runSchedule(tenant: $t, id: $id) { id } }"),
    (
        "",
        "mutation($t: ID) { createSchedule(tenant: $t, input: {title: \"S\", workflow: \"0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b\", cron: \"@daily\"}) { id } }",
    ),
    (
        "schedule",
        "mutation($t: ID, $id: ID!) { updateSchedule(tenant: $t, id: $id, version: 1, input: {title: \"S\", workflow: \"0190a2b4-7c1d-7e3f-8a5b-6c7d8e9f0a1b\", cron: \"@daily\"}) { id } }",
    ),
    ("", "query($t: ID) { scheduleStatus(tenant: $t) { total } }"),
    ("notice", "mutation($t: ID, $id: ID!) { replayNotice(tenant: $t, id: $id) { id } }"),
    ("job", "mutation($t: ID, $id: ID!) { cancelJob(tenant: $t, id: $id) }"),
    ("job", "mutation($t: ID, $id: ID!) { retryJob(tenant: $t, id: $id) { id } }"),
    ("job", "mutation($t: ID, $id: ID!) { redriveDeadLetters(tenant: $t, ids: [$id]) }"),
    ("job", "mutation($t: ID, $id: ID!) { discardDeadLetters(tenant: $t, ids: [$id]) }"),
    ("run", "subscription($t: ID, $id: ID!) { runEvents(tenant: $t, id: $id) { name } }"),
    ("listener", "subscription($t: ID, $id: ID!) { listenerEvents(tenant: $t, id: $id) { name } }"),
    ("machine", "subscription($t: ID, $id: ID!) { machineEvents(tenant: $t, id: $id) { name } }"),
    ("department", "subscription($t: ID, $id: ID!) { departmentEvents(tenant: $t, id: $id) { name } }"),
];

/// Operations that a member may not do in their own tenant either; tried by its administrator.
const MANAGED: [(&str, &str); 22] = [
    ("", "query($t: ID) { auditLogs(tenant: $t) { nodes { id } } }"),
    // Of what is another's it tells as of what never was, without being refused as a whole.
    ("", "mutation($t: ID) { redriveEachDeadLetter(tenant: $t, ids: [\"1\"]) { code } }"),
    ("", "query($t: ID) { tenant(tenant: $t) { id } }"),
    ("", "mutation($t: ID) { renameTenant(tenant: $t, title: \"T\") { id } }"),
    ("", "query($t: ID) { invitations(tenant: $t) { nodes { id } } }"),
    ("", "mutation($t: ID) { inviteMember(tenant: $t, email: \"x@example.org\") { token } }"),
    ("invitation", "mutation($t: ID, $id: ID!) { revokeInvitation(tenant: $t, id: $id) { id } }"),
    ("key", "mutation($t: ID, $id: ID!) { rotateApiKey(tenant: $t, id: $id) { secret } }"),
    ("key", "mutation($t: ID, $id: ID!) { setApiKeyEnabled(tenant: $t, id: $id, enabled: true) { id } }"),
    ("", "query($t: ID) { permissions(tenant: $t) { title } }"),
    ("", "query($t: ID) { roles(tenant: $t) { nodes { id } } }"),
    ("", "mutation($t: ID) { createRole(tenant: $t, title: \"R\", grants: []) { id } }"),
    ("role", "query($t: ID, $id: ID!) { role(tenant: $t, id: $id) { id } }"),
    (
        "role",
        "mutation($t: ID, $id: ID!) { updateRole(tenant: $t, id: $id, title: \"R\", grants: []) { id } }",
    ),
    ("role", "mutation($t: ID, $id: ID!) { deleteRole(tenant: $t, id: $id) }"),
    ("user", "mutation($t: ID, $id: ID!) { setMemberRole(tenant: $t, user: $id, role: MEMBER) { userId } }"),
    ("user", "mutation($t: ID, $id: ID!) { setMemberRoles(tenant: $t, user: $id, roles: []) { userId } }"),
    ("listener", "mutation($t: ID, $id: ID!) { rotateListenerSecret(tenant: $t, id: $id) { secret } }"),
    ("listener", "mutation($t: ID, $id: ID!) { endOldListenerSecret(tenant: $t, id: $id) { id } }"),
    ("listener", "mutation($t: ID, $id: ID!) { deleteListener(tenant: $t, id: $id) }"),
    ("schedule", "mutation($t: ID, $id: ID!) { deleteSchedule(tenant: $t, id: $id) }"),
    ("user", "mutation($t: ID, $id: ID!) { removeMember(tenant: $t, user: $id) }"),
];

fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    OPERATIONS.into_iter().chain(MANAGED).chain(crate::api_machine::OPERATIONS)
}

/// Acme's things, one of each kind, by kind.
pub(crate) async fn belongings(database: &Database, admin: &Client, acme: &Value) -> Map<String, Value> {
    let mut things = Map::new();
    let made = admin
        .ok(
            "mutation($t: ID!, $d: JSON!) { createWorkflow(tenant: $t, title: \"W\", definition: $d) { id } }",
            json!({"t": acme, "d": graph()}),
        )
        .await;
    let workflow = made["createWorkflow"]["id"].clone();
    let started = admin
        .ok(
            "mutation($t: ID!, $w: ID!) { executeWorkflow(tenant: $t, workflow: $w) { run { id } } }",
            json!({"t": acme, "w": workflow}),
        )
        .await;
    let pipeline = json!({"actions": [{"type": "save_to_buffer"}]});
    let listener = admin
        .ok(
            "mutation($t: ID!, $p: JSON!) { createListener(tenant: $t, path: \"p\", title: \"L\", pipeline: $p) { listener { id } } }",
            json!({"t": acme, "p": pipeline}),
        )
        .await;
    let key = admin
        .ok(
            "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\") { apiKey { id } } }",
            json!({"t": acme}),
        )
        .await;
    let jobs = admin.ok("query($t: ID!) { jobs(tenant: $t) { nodes { id } } }", json!({"t": acme})).await;
    let role = "mutation($t: ID!) { createRole(tenant: $t, title: \"R\", grants: []) { id } }";
    things.insert("role".into(), admin.ok(role, json!({"t": acme})).await["createRole"]["id"].clone());
    let invite =
        "mutation($t: ID!) { inviteMember(tenant: $t, email: \"x@example.org\") { invitation { id } } }";
    let invited = admin.ok(invite, json!({"t": acme})).await["inviteMember"]["invitation"]["id"].clone();
    things.insert("invitation".into(), invited);
    let input = json!({"title": "S", "workflow": workflow, "cron": "@yearly"});
    let plan = "mutation($t: ID!, $i: ScheduleInput!) { createSchedule(tenant: $t, input: $i) { id } }";
    let planned = admin.ok(plan, json!({"t": acme, "i": input})).await["createSchedule"]["id"].clone();
    let run = "mutation($t: ID!, $id: ID!) { runSchedule(tenant: $t, id: $id) { id } }";
    admin.ok(run, json!({"t": acme, "id": planned})).await;
    things.insert("schedule".into(), planned);
    things.insert("workflow".into(), workflow);
    things.insert("run".into(), started["executeWorkflow"]["run"]["id"].clone());
    things.insert("listener".into(), listener["createListener"]["listener"]["id"].clone());
    things.insert("key".into(), key["createApiKey"]["apiKey"]["id"].clone());
    things.insert("job".into(), jobs["jobs"]["nodes"][0]["id"].clone());
    let member = "mutation($t: ID!) { addMember(tenant: $t, email: \"ada@example.org\") { userId } }";
    let member = admin.ok(member, json!({"t": acme})).await["addMember"]["userId"].clone();
    things.insert("user".into(), member);
    let sweep = "mutation($t: ID!) { redriveMatchingDeadLetters(tenant: $t, letters: {}) { id } }";
    let swept = admin.ok(sweep, json!({"t": acme})).await["redriveMatchingDeadLetters"]["id"].clone();
    things.insert("sweep".into(), swept);
    things.insert("notice".into(), json!(heard(database, &things["listener"], acme).await));
    for (kind, id) in crate::api_machine::belongings(database, admin, acme).await {
        things.insert(kind.into(), id);
    }
    for (kind, id) in &things {
        assert!(id.is_string(), "no {kind}: {things:?}");
    }
    things
}

/// A notice, entered as its own door would.
async fn heard(database: &Database, listener: &Value, tenant: &Value) -> Uuid {
    let hook = jobs::listener::Hook {
        listener: listener.as_str().unwrap().parse().unwrap(),
        tenant: tenant.as_str().unwrap().parse().unwrap(),
        active: true,
        secret: Vec::new(),
        old_secret: None,
    };
    let (headers, event) = (json!({}), json!({"n": 1}));
    let delivery = jobs::listener::Delivery { id: "d", headers: &headers, event: &event, trace_parent: None };
    let mut conn = database.desk().await;
    jobs::listener::receive(&mut conn, &hook, &delivery).await.unwrap().notice.0
}

/// Everything that stands in the tables that tenants share, to see that nothing was changed.
async fn census(database: &Database) -> String {
    let statement = "select jsonb_build_object(
        'members', (select jsonb_agg(role order by user_id) from membership), 'roles', (select count(*) from tenant_role), 'keys', (select jsonb_agg(disabled_at order by id) from api_key),
        'workflows', (select jsonb_agg(jsonb_build_array(id, version, disabled_at) order by id) from workflow),
        'runs', (select count(*) from run), 'inbox', (select count(*) from run_inbox), 'jobs', (select count(*) from job where kind <> 'audit.flush'),
        'listeners', (select jsonb_agg(jsonb_build_array(id, version, active, md5(secret)) order by id) from listener),
        'machines', (select jsonb_agg(jsonb_build_array(id, wanted, generation, department_id) order by id) from machine),
        'schedules', (select jsonb_agg(jsonb_build_array(id, version, disabled) order by id) from schedule), 'firings', (select count(*) from schedule_firing),
        'departments', (select jsonb_agg(name order by id) from department), 'operations', (select count(*) from machine_operation),
        'sweeps', (select jsonb_agg(state order by id) from letter_sweep), 'notices', (select jsonb_agg(jsonb_build_array(id, replay, state) order by id) from notice))::text";
    sqlx::query_scalar(statement).fetch_one(&mut *database.desk().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_looks_as_if_it_did_not_exist() {
    let database = Database::new().await;
    // The statements alone must say so: behind the wall one that forgets its tenant would not be seen here.
    let door = Door::without_wall(&database).await;
    let admin = door.admin().await;
    let (acme, other) = (tenant(&admin, "acme").await, tenant(&admin, "other").await);
    let stranger = door.user("eve@example.org", "ADMIN").await;
    door.user("ada@example.org", "USER").await;
    join(&admin, &other, "eve@example.org", "ADMIN").await;
    let things = belongings(&database, &admin, &acme).await;
    let before = census(&database).await;

    for (kind, query) in all() {
        let (theirs, absent) = match kind {
            "" => (Value::Null, Value::Null),
            "job" => (things[kind].clone(), json!("999999999")),
            _ => (things[kind].clone(), json!(Uuid::now_v7())),
        };
        // Another's tenant is answered as one that never was.
        let closed = stranger.refusal(query, json!({"t": acme, "id": theirs})).await;
        let nowhere = stranger.refusal(query, json!({"t": Uuid::now_v7(), "id": theirs})).await;
        assert_eq!(closed, nowhere, "{query}");
        assert_eq!(closed.0, "NOT_FOUND", "{query}: {closed:?}");
        if kind.is_empty() {
            continue;
        }
        // Another's thing, sought in one's own tenant, is answered as one that never was.
        let hidden = stranger.refusal(query, json!({"t": other, "id": theirs})).await;
        let unknown = stranger.refusal(query, json!({"t": other, "id": absent})).await;
        let nameless = |told: &str, id: &Value| told.replace(id.as_str().unwrap(), "<id>");
        assert_eq!(nameless(&hidden.1, &theirs), nameless(&unknown.1, &absent), "{query}");
        assert_eq!(hidden.0, unknown.0, "{query}");
        assert!(
            matches!(hidden.0.as_str(), "NOT_FOUND" | "CONFLICT" | "BAD_USER_INPUT"),
            "{query}: {hidden:?}"
        );
    }
    assert_eq!(census(&database).await, before, "a refused operation changed something");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_tenant_is_closed_to_its_own() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let admin = door.admin().await;
    let acme = tenant(&admin, "acme").await;
    let ada = door.user("ada@example.org", "USER").await;
    join(&admin, &acme, "ada@example.org", "MEMBER").await;
    let look = "query($t: ID!) { workflows(tenant: $t) { nodes { id } } }";
    ada.ok(look, json!({"t": acme})).await;
    let manage = "mutation($t: ID!) { createApiKey(tenant: $t, title: \"K\") { secret } }";
    assert_eq!(ada.refusal(manage, json!({"t": acme})).await.0, "FORBIDDEN");
    sqlx::query("update tenant set disabled_at = now()")
        .execute(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(ada.refusal(look, json!({"t": acme})).await.0, "FORBIDDEN");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_within_a_tenant_is_in_the_tests_above() {
    let database = Database::new().await;
    let door = Door::open(&database).await;
    let operations = Operations::read(&door.nobody()).await;
    let covered: BTreeSet<&str> =
        all().filter_map(|(_, q)| q.split_once("{ ")?.1.split(['(', ' ']).next()).collect();
    for operation in operations.all.iter().filter(|o| o.takes_tenant()) {
        assert!(covered.contains(operation.name.as_str()), "`{}` is in no tenancy test", operation.name);
    }
    door.close().await;
}
