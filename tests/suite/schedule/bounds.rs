//! What schedules may cost at most: batches are bounded, and finding what is due touches few pages among many.

use jobs::schedule::{FIRINGS_BATCH, SCHEDULES_BATCH};
use serde_json::json;
use sqlx::Row;

use super::stage::Stage;

/// How many schedules are due every second.
const MANY: i64 = 10_000;

/// Pages that finding what is due may touch per schedule: its entry, its row, the lock.
const DUE_PAGES: i64 = 12;

/// Pages that it may touch in all when nothing is due.
const IDLE_PAGES: i64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_schedules_of_every_second_cost_a_bounded_batch() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 1, "catchUp": "ALL", "catchUpMax": 100})).await;
    let copies = "insert into schedule (id, tenant_id, title, workflow_id, interval_s, at, catch_up, catch_up_max, timeout_s, retries,
            retry_delay_s, next_at, saved_by)
        select gen_random_uuid(), tenant_id, title, workflow_id, interval_s, at, catch_up, catch_up_max, timeout_s, retries,
            retry_delay_s, now() + interval '1 hour', saved_by from schedule, generate_series(2, $1)";
    sqlx::query(copies).bind(MANY as i32).execute(&stage.db).await.unwrap();
    sqlx::query("update schedule set next_at = now() + interval '1 hour'").execute(&stage.db).await.unwrap();
    let idle = pages(&stage).await;
    assert!(idle <= IDLE_PAGES, "with nothing due {idle} pages");
    // The statistics say that there are none: the plan must not follow them.
    sqlx::query("update schedule set at = date_trunc('second', now()) - interval '1 hour', next_at = date_trunc('second', now()) - interval '1 hour'")
        .execute(&stage.db)
        .await
        .unwrap();
    let due = pages(&stage).await;
    assert!(due <= DUE_PAGES * SCHEDULES_BATCH, "with {MANY} due {due} pages");
    sqlx::query("analyze schedule").execute(&stage.db).await.unwrap();
    let due = pages(&stage).await;
    assert!(due <= DUE_PAGES * SCHEDULES_BATCH, "with {MANY} due, and analysed, {due} pages");

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
    assert_eq!(stage.count("job where kind = 'schedule.fire'").await, firings);
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

/// Pages that finding what is due touches, in a transaction that is rolled back.
async fn pages(stage: &Stage) -> i64 {
    let mut tx = jobs::db::begin(&stage.db).await.unwrap();
    let explain = format!(
        "explain (analyze, buffers, costs off, timing off, format json) select * from schedule_due_v1({SCHEDULES_BATCH})"
    );
    // A fresh session reads the catalogue the first time.
    sqlx::query(sqlx::AssertSqlSafe(explain.clone())).fetch_one(&mut *tx).await.unwrap();
    let row = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_one(&mut *tx).await.unwrap();
    let plan: serde_json::Value = row.get(0);
    tx.rollback().await.unwrap();
    let top = &plan[0]["Plan"];
    top["Shared Hit Blocks"].as_i64().unwrap() + top["Shared Read Blocks"].as_i64().unwrap()
}
