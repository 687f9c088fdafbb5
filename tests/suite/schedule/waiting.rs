//! What becomes of firings whose jobs are gone, and of jobs that are brought back.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tests::wait;

use super::stage::Stage;
use crate::scheduler::clock::{Clock, quick};

const RUN: &str = "mutation($t: ID!, $id: ID!) { runSchedule(tenant: $t, id: $id) { id } }";

impl Stage {
    /// Fires a schedule, and answers the firing.
    async fn asked(&self, id: &Value) -> String {
        let run = self.admin.ok(RUN, json!({"t": self.tenant, "id": id})).await;
        run["runSchedule"]["id"].as_str().unwrap().to_owned()
    }

    async fn execute(&self, statement: String) {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&self.db).await.unwrap();
    }

    async fn job_of(&self, firing: &str) -> i64 {
        let job = format!("select job_id from schedule_firing where id = '{firing}'");
        sqlx::query_scalar(AssertSqlSafe(job)).fetch_one(&self.db).await.unwrap()
    }

    async fn result(&self, firing: &str) -> (String, Option<String>) {
        let told = format!("select state, result from schedule_firing where id = '{firing}'");
        sqlx::query_as(AssertSqlSafe(told)).fetch_one(&self.db).await.unwrap()
    }

    /// Buries the job of a firing without a word to it.
    async fn bury(&self, firing: &str) -> i64 {
        let job = self.job_of(firing).await;
        self.execute(format!(
            "insert into job_dead (job_id, created_at, pool_id, queue_id, priority, attempt, crashes, max_attempts, reason, kind,
                tenant_id, error, payload, attempts)
            select id, created_at, pool_id, queue_id, priority, 1, 5, max_attempts, 'poison', kind, tenant_id, 'x', payload, '[]'
            from job where id = {job}; delete from job_ready where job_id = {job}; delete from job where id = {job}"
        ))
        .await;
        job
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_a_job_that_is_gone_ends_with_the_reason() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 1_000_000})).await;
    let (waits, lost, dead) = (stage.asked(&id).await, stage.asked(&id).await, stage.asked(&id).await);
    let job = stage.job_of(&lost).await;
    stage.execute(format!("select * from job_cancel_v1({job})")).await;
    stage.bury(&dead).await;
    stage.execute("update schedule_firing set look_at = now()".into()).await;
    let clock = Clock::start(&stage.database, quick()).await;
    wait::until("both have ended", async || {
        stage.count("schedule_firing where state = 'FAILURE' and ended_at is not null").await == 2
    })
    .await;
    clock.stop().await;
    assert!(stage.result(&lost).await.1.unwrap().contains("is gone"));
    assert!(stage.result(&dead).await.1.unwrap().contains("redrive it"));
    assert_eq!(stage.result(&waits).await, ("QUEUED".into(), None));
    assert_eq!(stage.count("schedule_firing where look_at <= now()").await, 0, "what waits is put off");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_that_is_redriven_starts_its_run() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 1_000_000})).await;
    let (back, gone) = (stage.asked(&id).await, stage.asked(&id).await);
    let jobs = [stage.bury(&back).await, stage.bury(&gone).await];
    stage
        .execute(
            "update schedule_firing set state = 'FAILURE', ended_at = now(), result = 'its job died'".into(),
        )
        .await;
    stage.execute(format!("delete from schedule_firing where id = '{gone}'")).await;
    let redrive = "mutation($t: ID!, $ids: [ID!]!) { redriveDeadLetters(tenant: $t, ids: $ids) }";
    let ids = jobs.map(|job| job.to_string());
    stage.admin.ok(redrive, json!({"t": stage.tenant, "ids": ids})).await;
    let hands = stage.hands().await;
    wait::until("its run has completed", async || stage.result(&back).await.0 == "SUCCESS").await;
    assert_eq!(stage.result(&back).await.1, None);
    wait::until("what cannot be brought back is dead again", async || stage.count("job_dead").await == 1)
        .await;
    hands.stop().await;
    assert_eq!(stage.count("job_dead where error like '%is gone%fire its schedule anew%'").await, 1);
    assert_eq!(stage.count("run").await, 1);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_run_took_too_long_is_told_by_what_stopped_it_and_one_that_is_odd_holds_up_no_other() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 1_000_000})).await;
    let (stopped, odd) = (stage.asked(&id).await, stage.asked(&id).await);
    let hands = stage.hands().await;
    wait::until("both have run", async || stage.count("schedule_firing where state = 'SUCCESS'").await == 2)
        .await;
    hands.stop().await;
    // As a worker of an older version leaves a run that somebody cancelled, and as a later one may leave another.
    let status = "select conname from pg_constraint where conrelid = 'run'::regclass and contype = 'c' and conname like '%status%'";
    let checks: Vec<String> = sqlx::query_scalar(status).fetch_all(&stage.db).await.unwrap();
    for check in checks {
        stage.execute(format!("alter table run drop constraint {check}")).await;
    }
    let of = |firing: &str| format!("id = (select run_id from schedule_firing where id = '{firing}')");
    stage.execute(format!("update run set status = 'CANCELLED' where {}", of(&stopped))).await;
    stage.execute(format!("update run set status = 'PAUSED' where {}", of(&odd))).await;
    stage
        .execute("update schedule_firing set state = 'STARTED', ended_at = null, deadline_at = now(), result = null".into())
        .await;
    let clock = Clock::start(&stage.database, quick()).await;
    wait::until("the end of the one is told", async || stage.result(&stopped).await.0 != "STARTED").await;
    clock.stop().await;
    assert_eq!(stage.result(&stopped).await, ("CANCELLED".into(), Some("the run was cancelled".into())));
    assert_eq!(stage.result(&odd).await.0, "STARTED");
    stage.close().await;
}
