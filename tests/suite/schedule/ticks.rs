//! Which ticks are fired: each once, however many fire at once and whatever the clock does, and what was missed.

use serde_json::json;
use tests::wait;

use super::stage::{Stage, fire};

#[tokio::test(flavor = "multi_thread")]
async fn each_tick_is_fired_once_however_many_schedulers_fire_at_once() {
    let stage = Stage::new().await;
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(stage.schedule(json!({"intervalSeconds": 5, "catchUp": "ALL", "catchUpMax": 100})).await);
    }
    for id in &all {
        stage.due_since(id, 50).await;
    }
    // None of them holds a lease: what keeps them apart is the rows alone.
    let rounds = (0..8).map(|_| {
        let db = stage.db.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                drop(fire(&db).await);
            }
        })
    });
    for round in rounds.collect::<Vec<_>>() {
        round.await.unwrap();
    }
    for id in &all {
        let told = stage.history(id).await;
        assert!(told.len() >= 11, "{told:?}");
        assert!(told.iter().all(|f| f["status"] == "QUEUED" && f["triggerType"] == "SCHEDULED"), "{told:?}");
        let mut ticks: Vec<_> = told.iter().map(|f| f["scheduledAt"].as_str().unwrap()).collect();
        assert!(ticks.is_sorted_by(|a, b| a > b), "the latest first, none twice: {ticks:?}");
        ticks.dedup();
        assert_eq!(ticks.len(), told.len());
    }
    let firings = stage.count("schedule_firing").await;
    assert_eq!(stage.count("job where kind = 'schedule.fire'").await, firings, "one job for each");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_fires_no_tick_again() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 1_000, "catchUp": "ALL", "catchUpMax": 100})).await;
    let first = stage.due_since(&id, 5_000).await;
    assert_eq!(stage.fire().await.enqueued.len(), 6);
    // A server that took over has a clock five minutes behind: what it takes to be due was fired already.
    sqlx::query("update schedule set next_at = $1").bind(first).execute(&stage.db).await.unwrap();
    let again = stage.fire().await;
    assert_eq!((again.due, again.enqueued.len()), (1, 0));
    assert_eq!(stage.count("schedule_firing").await, 6);
    assert_eq!(stage.count("job where kind = 'schedule.fire'").await, 6);
    assert_eq!(stage.fire().await.due, 0, "and it goes on with the next");
    // One that is ahead fires the ticks that it takes to be due; they are not fired again when they come.
    sqlx::query(
        "update schedule set at = at + interval '5 minutes', next_at = next_at + interval '5 minutes'",
    )
    .execute(&stage.db)
    .await
    .unwrap();
    assert_eq!(stage.fire().await.due, 0, "what is not due waits");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_skipped_or_made_up_for_as_the_schedule_says_and_told() {
    let stage = Stage::new().await;
    let of = async |catch_up: &str, most: i64| {
        let id =
            stage.schedule(json!({"intervalSeconds": 100, "catchUp": catch_up, "catchUpMax": most})).await;
        stage.due_since(&id, 1_000).await;
        drop(stage.fire().await);
        let told = stage.history(&id).await;
        let missed = told.iter().find(|f| f["status"] == "MISSED").map(|f| f["missed"].as_i64().unwrap());
        (told.iter().filter(|f| f["status"] == "QUEUED").count(), missed)
    };
    // Eleven ticks, of which the last is due now.
    assert_eq!(of("SKIP", 1).await, (1, Some(10)));
    assert_eq!(of("ONCE", 1).await, (2, Some(9)));
    assert_eq!(of("ALL", 3).await, (4, Some(7)));
    assert_eq!(of("ALL", 100).await, (11, None));
    let status = "query($t: ID!) { scheduleStatus(tenant: $t) { total disabled overdue running succeeded failed missed } }";
    let told = stage.admin.ok(status, json!({"t": stage.tenant})).await["scheduleStatus"].clone();
    assert_eq!(
        told,
        json!({"total": 4, "disabled": 0, "overdue": 0, "running": 18, "succeeded": 0, "failed": 0, "missed": 26})
    );
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_paused_misses_nothing_and_goes_on_with_the_next() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 100_000, "catchUp": "ALL", "catchUpMax": 100})).await;
    let enable = "mutation($t: ID!, $id: ID!, $e: Boolean!) { setScheduleEnabled(tenant: $t, id: $id, enabled: $e) { isDisabled nextRunAt nextRuns } }";
    let set = async |on: bool| {
        stage.admin.ok(enable, json!({"t": stage.tenant, "id": id, "e": on})).await["setScheduleEnabled"]
            .clone()
    };
    let paused = set(false).await;
    assert!(paused["isDisabled"] == true && paused["nextRunAt"].is_null(), "{paused}");
    assert_eq!(paused["nextRuns"].as_array().unwrap().len(), 5, "what would be is told all the same");
    sqlx::query("update schedule set at = at - interval '30 days'").execute(&stage.db).await.unwrap();
    assert_eq!(stage.fire().await.due, 0);
    assert!(set(true).await["nextRunAt"].is_string());
    assert_eq!((stage.fire().await.due, stage.history(&id).await.len()), (0, 0));
    // What was due once and is over cannot go on.
    let once = stage.schedule(json!({"at": "2060-01-01T00:00:00Z", "isDisabled": true})).await;
    sqlx::query("update schedule set at = now() - interval '1 day' where interval_s is null")
        .execute(&stage.db)
        .await
        .unwrap();
    let (code, told) = stage.admin.refusal(enable, json!({"t": stage.tenant, "id": once, "e": true})).await;
    assert!(code == "CONFLICT" && told.contains("give it another time"), "{told}");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_firings_are_taken_by_retention_and_others_stay() {
    let stage = Stage::new().await;
    let id = stage.schedule(json!({"intervalSeconds": 31_000_000})).await;
    let insert = "insert into schedule_firing (id, tenant_id, schedule_id, trigger_type, tick_at, state, ended_at)
        select gen_random_uuid(), tenant_id, id, 'SCHEDULED', now() - n * interval '20 day', case when n = 3 then 'QUEUED' else 'SUCCESS' end,
            case when n < 3 then now() - n * interval '20 day' end from schedule, generate_series(1, 3) n";
    sqlx::query(insert).execute(&stage.db).await.unwrap();
    let clock =
        crate::scheduler::clock::Clock::start(&stage.database, crate::scheduler::clock::quick()).await;
    wait::until("the old one is gone", async || stage.count("schedule_firing").await == 2).await;
    clock.stop().await;
    let states: Vec<_> = stage.history(&id).await.iter().map(|f| f["status"].clone()).collect();
    assert!(states.contains(&json!("QUEUED")) && states.contains(&json!("SUCCESS")), "{states:?}");
    stage.close().await;
}
