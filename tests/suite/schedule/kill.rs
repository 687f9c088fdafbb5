//! Leaders killed at the moment of firing: each tick is fired once all the same.

use chrono::{DateTime, Utc};
use serde_json::json;
use tests::{Millrace, wait};

use super::stage::Stage;
use crate::scheduler::clock::{first_leader, next_leader, run};

/// How many leaders are killed.
const KILLED: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn leaders_killed_while_they_fire_lose_no_tick_and_fire_none_twice() {
    let stage = Stage::new().await;
    let db = stage.db.clone();
    // Whoever fires waits in the middle of its transaction for as long as the test holds the key.
    run(
        &db,
        "create function hold() returns trigger language plpgsql as $$ begin
            perform pg_advisory_xact_lock_shared(4711); return new; end $$;
        create trigger hold before insert on schedule_firing for each row execute function hold()",
    )
    .await;
    let id = stage.schedule(json!({"intervalSeconds": 1, "catchUp": "ALL", "catchUpMax": 100})).await;
    let start = || {
        let variables =
            [("DATABASE_URL", stage.database.url()), ("SCHEDULER_LEASE_S", "3"), ("LOG_FORMAT", "json")];
        Millrace::start(&["scheduler"], &variables)
    };
    let mut leading = start();
    let mut holding = first_leader(&db).await;
    let hands = stage.hands().await;
    for _ in 0..KILLED {
        let mut standby = start();
        standby.printed("scheduler started").await;
        let mut key = stage.database.connect().await;
        sqlx::query("select pg_advisory_lock(4711)").execute(&mut key).await.unwrap();
        wait::until("the leader is in the middle of firing", async || {
            let waiting = "pg_locks where locktype = 'advisory' and objid = 4711 and not granted";
            stage.count(waiting).await > 0
        })
        .await;
        leading.kill();
        sqlx::query("select pg_advisory_unlock(4711)").execute(&mut key).await.unwrap();
        let before = stage.count("schedule_firing").await;
        holding = next_leader(&db, &holding).await;
        wait::until("the next leader fires", async || stage.count("schedule_firing").await > before).await;
        leading = standby;
    }
    assert!(leading.stop(wait::LIMIT).await.success());
    wait::until("all have ended", async || stage.count("schedule_firing where ended_at is null").await == 0)
        .await;
    hands.stop().await;
    let ticks: Vec<DateTime<Utc>> =
        sqlx::query_scalar("select tick_at from schedule_firing order by tick_at")
            .fetch_all(&db)
            .await
            .unwrap();
    assert!(ticks.len() > KILLED);
    assert!(
        ticks.windows(2).all(|two| (two[1] - two[0]).num_seconds() == 1),
        "a tick is missing or there twice: {ticks:?}"
    );
    let fired = ticks.len() as i64;
    assert_eq!(stage.count("schedule_firing where state = 'SUCCESS' and attempt = 1").await, fired);
    assert_eq!(stage.count("run").await, fired, "one run for each tick");
    assert_eq!(stage.count("job_history where kind = 'schedule.fire'").await, fired, "and one job");
    assert!(stage.look(&id).await["nextRunAt"].is_string());
    stage.close().await;
}
