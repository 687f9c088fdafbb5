//! What becomes of a firing: its run, its rights, its further attempts, its time, its end.

use serde_json::{Value, json};
use tests::wait;

use super::stage::Stage;
use crate::api_identity::join;
use crate::scheduler::clock::{Clock, quick};

const RUN: &str =
    "mutation($t: ID!, $id: ID!) { runSchedule(tenant: $t, id: $id) { id status triggerType askedBy } }";

fn flow(middle: Value) -> Value {
    json!({
        "nodes": [{"id": "start", "type": "start"}, middle, {"id": "end", "type": "end"}],
        "edges": [{"source": "start", "target": "m"}, {"source": "m", "target": "end"}],
    })
}

impl Stage {
    async fn run_now(&self, id: &Value) -> Value {
        self.admin.ok(RUN, json!({"t": self.tenant, "id": id})).await["runSchedule"].clone()
    }

    /// The latest of a schedule's history once it has ended.
    async fn ended(&self, id: &Value) -> Value {
        wait::value("a firing ends", async || {
            self.history(id).await.first().filter(|f| !f["endTime"].is_null()).cloned()
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_starts_its_workflow_with_its_input_and_tells_what_came_of_it() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"cron": "* * * * * *", "workflowConfig": {"from": "schedule"}})).await;
    let hands = stage.hands().await;
    let clock = Clock::start(&stage.database, quick()).await;
    wait::until("three ticks have come to their end", async || {
        stage.history(&id).await.iter().filter(|f| f["status"] == "SUCCESS").count() >= 3
    })
    .await;
    let asked = stage.run_now(&id).await;
    assert_eq!((&asked["status"], &asked["triggerType"]), (&json!("QUEUED"), &json!("MANUAL")));
    clock.stop().await;
    wait::until("all have ended", async || stage.count("schedule_firing where ended_at is null").await == 0)
        .await;
    hands.stop().await;
    let told = stage.history(&id).await;
    let manual = told.iter().find(|f| f["triggerType"] == "MANUAL").unwrap();
    assert!(
        manual["askedBy"].as_str().unwrap().starts_with("user:") && manual["status"] == "SUCCESS",
        "{manual}"
    );
    assert!(
        told.iter().all(|f| f["durationMs"].is_i64() && f["runId"].is_string() && f["startTime"].is_string()),
        "{told:?}"
    );
    let from = format!(
        "run where input = '{{\"from\": \"schedule\"}}' and started_by = 'schedule:{}' and status = 'COMPLETED'",
        id.as_str().unwrap()
    );
    assert_eq!(stage.count(&from).await, told.len() as i64, "a run for each firing, and none besides");
    assert_eq!(stage.count("run").await, told.len() as i64);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firing_needs_the_rights_that_who_saved_the_schedule_has_then() {
    let stage = Stage::new().await;
    let ada = stage.door.user("ada@example.org", "USER").await;
    join(&stage.admin, &stage.tenant, "ada@example.org", "MEMBER").await;
    let id = stage.schedule_by(&ada, json!({"intervalSeconds": 3_600})).await;
    let hands = stage.hands().await;
    stage.run_now(&id).await;
    assert_eq!(stage.ended(&id).await["status"], "SUCCESS");
    let members =
        "delete from membership where user_id = (select id from app_user where email = 'ada@example.org')";
    sqlx::query(members).execute(&stage.db).await.unwrap();
    stage.due_since(&id, 1).await;
    drop(stage.fire().await);
    let told = wait::value("it fails", async || {
        stage.history(&id).await.into_iter().find(|f| f["status"] == "FAILURE")
    })
    .await;
    let why = told["result"].as_str().unwrap();
    assert!(why.contains("who saved the schedule, does not belong to the tenant"), "{why}");
    assert!(told["runId"].is_null(), "{told}");
    // Whoever may fires it again by saving it.
    let update = "mutation($t: ID!, $id: ID!, $i: ScheduleInput!) { updateSchedule(tenant: $t, id: $id, version: 1, input: $i) { version savedBy } }";
    let saved = stage
        .admin
        .ok(update, json!({"t": stage.tenant, "id": id, "i": stage.input(json!({"intervalSeconds": 3_600}))}))
        .await;
    assert_eq!(saved["updateSchedule"]["version"], 2);
    stage.run_now(&id).await;
    assert_eq!(stage.ended(&id).await["status"], "SUCCESS");
    hands.stop().await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_run_fails_is_tried_again_as_often_as_the_schedule_says() {
    let stage =
        Stage::of(flow(json!({"id": "m", "type": "script", "config": {"code": "throw \"broken\""}}))).await;
    let id =
        stage.schedule(json!({"intervalSeconds": 3_600, "retryAttempts": 1, "retryDelaySeconds": 1})).await;
    let hands = stage.hands().await;
    stage.run_now(&id).await;
    let told = stage.ended(&id).await;
    assert_eq!((&told["status"], &told["attempt"]), (&json!("FAILURE"), &json!(2)), "{told}");
    assert!(told["result"].as_str().unwrap().contains("broken"), "{told}");
    assert_eq!(stage.count("run where status = 'FAILED'").await, 2);
    // What keeps a run from starting is an attempt that failed as well.
    sqlx::query("update workflow set disabled_at = now()").execute(&stage.db).await.unwrap();
    sqlx::query("update schedule set retries = 0").execute(&stage.db).await.unwrap();
    stage.run_now(&id).await;
    let told = stage.ended(&id).await;
    assert!(told["result"].as_str().unwrap().contains("disabled"), "{told}");
    hands.stop().await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_postgres_itself_refuses_ends_the_attempt_and_not_only_its_transaction() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 3_600})).await;
    let refuses = "create function refuses() returns trigger language plpgsql as $$ begin
            raise exception 'no such character' using errcode = '22P05'; end $$;
        create trigger refuses before insert on run for each row execute function refuses()";
    sqlx::raw_sql(refuses).execute(&stage.db).await.unwrap();
    let hands = stage.hands().await;
    stage.run_now(&id).await;
    let told = stage.ended(&id).await;
    assert_eq!((&told["status"], &told["attempt"]), (&json!("FAILURE"), &json!(1)), "{told}");
    assert!(told["result"].as_str().unwrap().contains("a character that cannot be stored"), "{told}");
    assert_eq!(stage.count("job_dead").await, 0);
    hands.stop().await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_run_takes_too_long_is_cancelled_and_one_that_is_cancelled_is_not_tried_again() {
    let stage = Stage::of(flow(
        json!({"id": "m", "type": "delay", "config": {"delayType": "fixed", "delayMinutes": 60}}),
    ))
    .await;
    let slow = stage.schedule(json!({"intervalSeconds": 3_600, "timeoutSeconds": 1})).await;
    let stopped = stage.schedule(json!({"intervalSeconds": 3_600, "retryAttempts": 5})).await;
    let hands = stage.hands().await;
    let clock = Clock::start(&stage.database, quick()).await;
    stage.run_now(&slow).await;
    let told = stage.ended(&slow).await;
    assert_eq!(told["status"], "FAILURE", "{told}");
    assert!(told["result"].as_str().unwrap().contains("longer than 1 seconds"), "{told}");
    assert_eq!(stage.count("run where status = 'CANCELLED'").await, 1);
    stage.run_now(&stopped).await;
    let run = wait::value("it runs", async || {
        stage.history(&stopped).await.first().map(|f| f["runId"].clone()).filter(Value::is_string)
    })
    .await;
    let cancel = "mutation($t: ID!, $id: ID!) { cancelRun(tenant: $t, id: $id) { id } }";
    stage.admin.ok(cancel, json!({"t": stage.tenant, "id": run})).await;
    let told = stage.ended(&stopped).await;
    assert_eq!((&told["status"], &told["attempt"]), (&json!("CANCELLED"), &json!(1)), "{told}");
    clock.stop().await;
    hands.stop().await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_end_nobody_told_is_looked_after() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 3_600})).await;
    let hands = stage.hands().await;
    stage.run_now(&id).await;
    assert_eq!(stage.ended(&id).await["status"], "SUCCESS");
    // As if a worker of an older version had ended the run, which knows nothing of firings.
    let untold = "update schedule_firing set state = 'STARTED', ended_at = null, deadline_at = now()";
    sqlx::query(untold).execute(&stage.db).await.unwrap();
    let clock = Clock::start(&stage.database, quick()).await;
    assert_eq!(stage.ended(&id).await["status"], "SUCCESS");
    let gone = format!("{untold}, run_id = gen_random_uuid()");
    sqlx::query(sqlx::AssertSqlSafe(gone)).execute(&stage.db).await.unwrap();
    wait::until("a run that is gone is told", async || stage.ended(&id).await["status"] == "FAILURE").await;
    clock.stop().await;
    hands.stop().await;
    stage.close().await;
}
