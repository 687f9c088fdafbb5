//! What schedules may cost at most: batches are bounded, and finding what is due touches few pages among many.

use jobs::schedule::{FIRINGS_BATCH, SCHEDULES_BATCH};
use serde_json::json;
use sqlx::Row;

use super::stage::Stage;

/// How many schedules are due every second.
const MANY: i64 = 10_000;

/// Pages that finding what is due may touch per schedule: its entry, its row, the lock, and what a vacuum has not yet taken
/// of its versions before.
const DUE_PAGES: i64 = 30;

/// Pages that counting a tenant's firings may touch, when there are few of them among many.
const STATUS_PAGES: i64 = 60;

/// Pages that it may touch in all when nothing is due.
const IDLE_PAGES: i64 = 60;

/// Makes [`MANY`] of the schedule there is, none of them due for an hour.
async fn many(stage: &Stage) {
    // What is measured are plans that follow no statistics, so nobody else may renew them in between.
    let alone = "alter table schedule set (autovacuum_enabled = false)";
    sqlx::query(alone).execute(&stage.db).await.unwrap();
    let copies = "insert into schedule (id, tenant_id, title, workflow_id, interval_s, at, catch_up, catch_up_max, timeout_s, retries,
            retry_delay_s, next_at, saved_by)
        select gen_random_uuid(), tenant_id, title, workflow_id, interval_s, at, catch_up, catch_up_max, timeout_s, retries,
            retry_delay_s, now() + interval '1 hour', saved_by from schedule, generate_series(2, $1)";
    sqlx::query(copies).bind(MANY as i32).execute(&stage.db).await.unwrap();
    sqlx::query("update schedule set next_at = now() + interval '1 hour'").execute(&stage.db).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_schedules_of_every_second_cost_a_bounded_batch() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 1, "catchUp": "ALL", "catchUpMax": 100})).await;
    many(&stage).await;
    let idle = pages(&stage).await;
    assert!(idle <= IDLE_PAGES, "with nothing due {idle} pages");
    // The statistics say that there are none: the plan must not follow them.
    sqlx::query("analyze schedule").execute(&stage.db).await.unwrap();
    sqlx::query("update schedule set at = date_trunc('second', now()) - interval '1 hour', next_at = date_trunc('second', now()) - interval '1 hour'")
        .execute(&stage.db)
        .await
        .unwrap();
    let due = pages(&stage).await;
    assert!(due <= DUE_PAGES * SCHEDULES_BATCH, "with {MANY} due {due} pages");
    sqlx::query("analyze schedule").execute(&stage.db).await.unwrap();
    let due = pages(&stage).await;
    assert!(due <= DUE_PAGES * SCHEDULES_BATCH, "with {MANY} due, and analysed, {due} pages");

    // The tick of another tenant, which came due long after all of these, has its turn in the first batch.
    let other = crate::api_identity::tenant(&stage.admin, "other").await;
    let of_other = "with w as (insert into workflow (id, tenant_id, title, created_by)
            values (gen_random_uuid(), $1::uuid, 'W', 'x') returning id)
        insert into schedule (id, tenant_id, title, workflow_id, interval_s, at, catch_up, catch_up_max, timeout_s, retries,
            retry_delay_s, next_at, saved_by)
        select gen_random_uuid(), $1::uuid, title, w.id, 1000000, at, 'SKIP', 1, timeout_s, retries, retry_delay_s,
            date_trunc('second', now()), saved_by from schedule, w limit 1";
    sqlx::query(of_other)
        .bind(other.as_str().unwrap().parse::<uuid::Uuid>().unwrap())
        .execute(&stage.db)
        .await
        .unwrap();
    let fired = stage.fire().await;
    assert!(fired.due as i64 <= SCHEDULES_BATCH, "{}", fired.due);
    let turned = "select next_at > now() from schedule where tenant_id = $1::uuid";
    let turned: bool = sqlx::query_scalar(turned)
        .bind(other.as_str().unwrap().parse::<uuid::Uuid>().unwrap())
        .fetch_one(&stage.db)
        .await
        .unwrap();
    assert!(turned, "it waits behind the {MANY} of another tenant");
    let before = stage.count("job where kind = 'schedule.fire'").await;

    let mut firings = 0;
    for _ in 0..3 {
        let fired = stage.fire().await;
        assert_eq!(fired.due as i64, SCHEDULES_BATCH);
        assert!(
            fired.enqueued.len() <= FIRINGS_BATCH && fired.turned < fired.due,
            "{}",
            fired.enqueued.len()
        );
        firings += fired.enqueued.len() as i64;
    }
    assert_eq!(stage.count("job where kind = 'schedule.fire'").await, before + firings);
    assert!(firings <= 3 * FIRINGS_BATCH as i64);
    assert!(!stage.history(&id).await.is_empty() || firings > 0);
    let insert = "mutation($t: ID!, $i: ScheduleInput!) { createSchedule(tenant: $t, input: $i) { id } }";
    let (code, told) = stage
        .admin
        .refusal(insert, json!({"t": stage.tenant, "i": stage.input(json!({"cron": "@daily"}))}))
        .await;
    assert!(told.contains("1000 schedules") && told.contains("delete one"), "{code}: {told}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_firings_are_counted_without_those_of_others_or_of_long_ago() {
    let stage = Stage::new().await;
    stage.schedule(json!({"cron": "@daily"})).await;
    let many = "insert into schedule_firing (id, tenant_id, schedule_id, trigger_type, tick_at, state, fired_at, ended_at)
        select gen_random_uuid(), case when n % 2 = 0 then tenant_id else gen_random_uuid() end, id, 'MANUAL', now(), 'SUCCESS',
            now() - (n % 2) * interval '1 hour' - (1 - n % 2) * interval '2 days', now()
        from schedule, generate_series(1, 40000) n";
    sqlx::query(many).execute(&stage.db).await.unwrap();
    let few = "insert into schedule_firing (id, tenant_id, schedule_id, trigger_type, tick_at, state, fired_at, ended_at)
        select gen_random_uuid(), tenant_id, id, 'MANUAL', now(), s, now() - d, case when s <> 'STARTED' then now() end
        from schedule, (values ('SUCCESS', interval '1 hour'), ('FAILURE', interval '1 hour'), ('STARTED', interval '9 days')) x(s, d)";
    sqlx::query(few).execute(&stage.db).await.unwrap();
    sqlx::query("analyze schedule_firing").execute(&stage.db).await.unwrap();
    let status = "query($t: ID!) { scheduleStatus(tenant: $t) { running succeeded failed } }";
    let told = stage.admin.ok(status, json!({"t": stage.tenant})).await["scheduleStatus"].clone();
    assert_eq!(told, json!({"running": 1, "succeeded": 1, "failed": 1}), "what runs since days ago runs");
    let mut conn = stage.database.connect().await;
    let tenant = stage.tenant.as_str().unwrap().parse::<uuid::Uuid>().unwrap();
    for counted in ["ended_at is null", "fired_at > now() - interval '1 day'"] {
        let explain = format!(
            "explain (analyze, buffers, costs off, timing off, format json)
            select count(*) from schedule_firing where tenant_id = '{tenant}' and {counted}"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_one(&mut conn).await.unwrap();
        let plan: serde_json::Value = row.get(0);
        let top = &plan[0]["Plan"];
        let pages = top["Shared Hit Blocks"].as_i64().unwrap() + top["Shared Read Blocks"].as_i64().unwrap();
        assert!(pages <= STATUS_PAGES, "{counted}: {pages} pages");
    }
    stage.close().await;
}

/// Pages that finding what is due touches, in a transaction that is rolled back.
async fn pages(stage: &Stage) -> i64 {
    let mut tx = jobs::db::begin(&stage.db).await.unwrap();
    let explain = format!(
        "explain (analyze, buffers, costs off, timing off, format json) select * from schedule_due_v2({SCHEDULES_BATCH})"
    );
    // A fresh session reads the catalogue the first time.
    sqlx::query(sqlx::AssertSqlSafe(explain.clone())).fetch_one(&mut *tx).await.unwrap();
    let row = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_one(&mut *tx).await.unwrap();
    let plan: serde_json::Value = row.get(0);
    tx.rollback().await.unwrap();
    let top = &plan[0]["Plan"];
    top["Shared Hit Blocks"].as_i64().unwrap() + top["Shared Read Blocks"].as_i64().unwrap()
}
