//! Bad input is told with its field, the reason and the remedy, and changes nothing.

use serde_json::{Value, json};

use super::stage::{Stage, faults};
use crate::api_identity::{join, tenant};

const CREATE: &str = "mutation($t: ID!, $i: ScheduleInput!) { createSchedule(tenant: $t, input: $i) { id } }";

const UPDATE: &str = "mutation($t: ID!, $id: ID!, $v: Int!, $i: ScheduleInput!) {
    updateSchedule(tenant: $t, id: $id, version: $v, input: $i) { version title nextRunAt } }";

const ENABLE: &str = "mutation($t: ID!, $id: ID!, $e: Boolean!) { setScheduleEnabled(tenant: $t, id: $id, enabled: $e) { id } }";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_schedule_is_told_all_at_once_and_nothing_is_changed() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"cron": "0 7 * * *", "timeZone": "Europe/Berlin"})).await;
    let before = stage.look(&id).await;
    let cases: Vec<(Value, &str, &str)> = vec![
        (json!({}), "cron", "give one of them"),
        (json!({"cron": "60 * * * *"}), "cron", "minute `60`"),
        (json!({"cron": "0 0 30 2 *"}), "cron", "never comes true"),
        (json!({"cron": "* ".repeat(5_000)}), "cron", "at most 256"),
        (json!({"cron": "1-59/99999999999 * * * *"}), "cron", "minute"),
        (json!({"cron": "@daily", "timeZone": "Europe/Berln"}), "timeZone", "`Europe/Berlin` is the nearest"),
        (json!({"cron": "@daily", "timeZone": "../../etc/passwd"}), "timeZone", "no time zone"),
        (json!({"intervalSeconds": 0}), "intervalSeconds", "between 1 and"),
        (json!({"intervalSeconds": -60}), "intervalSeconds", "between 1 and"),
        (json!({"at": "2020-01-01T00:00:00Z"}), "at", "in the past"),
        (json!({"at": "9999-01-01T00:00:00Z"}), "at", "take a nearer time"),
        (json!({"cron": "@daily", "at": "2060-01-01T00:00:00Z"}), "at", "take the other away"),
        (json!({"cron": "@daily", "catchUpMax": 101}), "catchUpMax", "between 1 and 100"),
        (json!({"cron": "@daily", "timeoutSeconds": 0}), "timeoutSeconds", "between 1 and 2592000"),
        (json!({"cron": "@daily", "retryAttempts": -1}), "retryAttempts", "between 0 and 20"),
        (json!({"cron": "@daily", "retryDelaySeconds": 86_401}), "retryDelaySeconds", "between 1 and 86400"),
        (json!({"cron": "@daily", "workflowConfig": [1]}), "workflowConfig", "no object"),
        (json!({"cron": "@daily", "description": "x".repeat(2_001)}), "description", "2000"),
        (json!({"cron": "@daily", "workflow": uuid::Uuid::now_v7()}), "workflow", "unknown"),
    ];
    for (wrong, field, says) in &cases {
        let input = stage.input(wrong.clone());
        for (query, more) in [(CREATE, json!({})), (UPDATE, json!({"id": id, "v": 1}))] {
            let mut variables = json!({"t": stage.tenant, "i": input});
            variables.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let (code, told) = faults(&stage.admin.ask(query, variables).await.json());
            assert_eq!(code, "BAD_USER_INPUT", "{wrong}: {told:?}");
            assert!(told.len() == 1 && told[0].0 == *field && told[0].1.contains(says), "{wrong}: {told:?}");
        }
    }
    let many = stage.input(json!({"intervalSeconds": 0, "retryAttempts": 99, "timeZone": "UTC"}));
    let (_, told) = faults(&stage.admin.ask(CREATE, json!({"t": stage.tenant, "i": many})).await.json());
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(stage.look(&id).await, before);
    assert_eq!(stage.count("schedule").await, 1);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_another_came_before_is_refused_and_one_of_the_title_keeps_the_next_tick() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 100})).await;
    let due = stage.due_since(&id, 30).await;
    let at = stage.look(&id).await["nextRuns"][0].clone();
    assert!(at.is_string());
    // The same interval from the same time on is due as before: the tick of half a minute ago is not lost.
    let same = stage.input(json!({"intervalSeconds": 100, "at": due, "title": "New"}));
    let saved = stage.admin.ok(UPDATE, json!({"t": stage.tenant, "id": id, "v": 1, "i": same})).await;
    assert_eq!(saved["updateSchedule"]["title"], "New");
    assert_eq!(stage.fire().await.enqueued.len(), 1);
    let (code, told) =
        stage.admin.refusal(UPDATE, json!({"t": stage.tenant, "id": id, "v": 1, "i": same})).await;
    assert!(code == "CONFLICT" && told.contains("not at version 1 any more"), "{told}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_says_nothing_of_when_leaves_the_ticks_where_they_are() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 3_600})).await;
    let before = stage.look(&id).await;
    // As if it had been saved half an hour ago: a shift would show.
    sqlx::query(
        "update schedule set at = at - interval '30 minutes', next_at = next_at - interval '30 minutes'",
    )
    .execute(&stage.db)
    .await
    .unwrap();
    let due = stage.look(&id).await["nextRunAt"].clone();
    assert_ne!(due, before["nextRunAt"]);
    let same = stage.input(json!({"intervalSeconds": 3_600, "title": "New"}));
    let saved = stage.admin.ok(UPDATE, json!({"t": stage.tenant, "id": id, "v": 1, "i": same})).await;
    assert_eq!(saved["updateSchedule"]["nextRunAt"], due);
    let other = stage.input(json!({"intervalSeconds": 7_200}));
    let saved = stage.admin.ok(UPDATE, json!({"t": stage.tenant, "id": id, "v": 2, "i": other})).await;
    assert_ne!(saved["updateSchedule"]["nextRunAt"], due, "another interval begins anew");

    // What was due once and has fired keeps its time; it is not made to come again.
    let once = stage.schedule(json!({"at": "2060-01-01T00:00:00Z"})).await;
    let past = "update schedule set at = '2026-01-01', next_at = null where id = $1::uuid";
    let of = |id: &Value| id.as_str().unwrap().parse::<uuid::Uuid>().unwrap();
    sqlx::query(past).bind(of(&once)).execute(&stage.db).await.unwrap();
    let at = "2026-01-01T00:00:00Z";
    let edit = async |version: i64, more: Value| {
        let input = stage.input(more);
        stage.admin.ask(UPDATE, json!({"t": stage.tenant, "id": once, "v": version, "i": input})).await.json()
    };
    let saved = edit(1, json!({"at": at, "title": "Then"})).await;
    assert_eq!(saved["data"]["updateSchedule"]["title"], "Then", "{saved}");
    assert!(saved["data"]["updateSchedule"]["nextRunAt"].is_null(), "{saved}");
    assert!(edit(2, json!({"at": at, "isDisabled": true})).await["data"]["updateSchedule"].is_object());
    for (version, more) in [(3, json!({"at": at})), (3, json!({"at": "2026-01-02T00:00:00Z"}))] {
        let (code, told) = faults(&edit(version, more).await);
        assert!(
            code == "BAD_USER_INPUT" && told[0].0 == "at" && told[0].1.contains("in the past"),
            "{told:?}"
        );
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_execute_workflows_makes_and_runs_no_schedule() {
    let stage = Stage::new().await;
    let eve = stage.door.user("eve@example.org", "USER").await;
    join(&stage.admin, &stage.tenant, "eve@example.org", "MEMBER").await;
    let role = "mutation($t: ID!) { createRole(tenant: $t, title: \"cron only\", grants: [\"tenant:cronjob:*\"]) { id } }";
    let role = stage.admin.ok(role, json!({"t": stage.tenant})).await["createRole"]["id"].clone();
    let user: uuid::Uuid = sqlx::query_scalar("select id from app_user where email = 'eve@example.org'")
        .fetch_one(&stage.db)
        .await
        .unwrap();
    let give = "mutation($t: ID!, $u: ID!, $r: [ID!]!) { setMemberRoles(tenant: $t, user: $u, roles: $r) { userId } }";
    stage.admin.ok(give, json!({"t": stage.tenant, "u": user, "r": [role]})).await;
    let id = stage.schedule(json!({"cron": "@daily"})).await;
    eve.ok("query($t: ID!) { schedules(tenant: $t) { nodes { id } } }", json!({"t": stage.tenant})).await;
    let input = stage.input(json!({"cron": "@daily"}));
    let run = "mutation($t: ID!, $id: ID!) { runSchedule(tenant: $t, id: $id) { id } }";
    for (query, variables) in [
        (CREATE, json!({"t": stage.tenant, "i": input})),
        (UPDATE, json!({"t": stage.tenant, "id": id, "v": 1, "i": input})),
        (run, json!({"t": stage.tenant, "id": id})),
        (ENABLE, json!({"t": stage.tenant, "id": id, "e": true})),
        (ENABLE, json!({"t": stage.tenant, "id": id, "e": false})),
    ] {
        let (code, told) = eve.refusal(query, variables).await;
        assert!(code == "FORBIDDEN" && told.contains("tenant:workflow:execute"), "{query}: {told}");
    }
    assert_eq!(stage.count("schedule").await + stage.count("schedule_firing").await, 1);
    // In a tenant of their own nobody starts the workflow of another.
    let other = tenant(&stage.admin, "other").await;
    let (code, told) = faults(&stage.admin.ask(CREATE, json!({"t": other, "i": input})).await.json());
    assert!(code == "BAD_USER_INPUT" && told[0].0 == "workflow", "{told:?}");
    stage.close().await;
}
