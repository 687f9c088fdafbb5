//! The worker runtime inside one process: handlers, retries, cancellation, graceful stop.

use std::time::Duration;

use jobs::db::PgPool;
use jobs::payload::noop::Noop;
use jobs::queue::postgres::{control, look};
use jobs::queue::wake::Hint;
use jobs::queue::{NewJob, enqueue};
use rules::id::JobId;
use rules::queue::Pool;
use tests::{Cutter, Database, Hands, wait};
use workers::WorkerConfig;

use crate::queue::{noop, put, state};

fn job(payload: Noop) -> NewJob {
    NewJob::of(&payload).unwrap()
}

async fn becomes(database: &Database, id: JobId, wanted: &str) {
    let pool = database.pool().await;
    wait::until(&format!("job {id} becomes {wanted}"), || async {
        let mut conn = pool.acquire().await.unwrap();
        state(&mut conn, id).await == wanted
    })
    .await;
}

async fn count(database: &Database, table: &str) -> i64 {
    let statement = format!("select count(*) from {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&mut database.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_jobs_are_done_once_each() {
    let database = Database::new().await;
    let hands = Hands::start(&database, &[Pool::Maintenance, Pool::Dag]).await;
    let mut conn = database.connect().await;
    let jobs: Vec<NewJob> = (0..1_000)
        .map(|i| job(Noop { settles: i % 2 == 0, note: i.to_string(), ..Noop::default() }))
        .collect();
    hands.wake.send(&enqueue(&mut conn, &jobs).await.unwrap());
    wait::until("all are done", || async { count(&database, "job_history").await == 1_000 }).await;
    hands.stop().await;
    for table in ["job", "job_ready", "job_lease", "job_attempt", "job_dead", "job_worker"] {
        assert_eq!(count(&database, table).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_works_without_any_wake_up() {
    let database = Database::new().await;
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    let mut conn = database.connect().await;
    let now = put(&mut conn, noop("now")).await;
    let later = put(&mut conn, noop("later").after(Duration::from_millis(200))).await;
    becomes(&database, now, "DONE").await;
    becomes(&database, later, "DONE").await;
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_job_is_tried_again_and_then_dead() {
    let database = Database::new().await;
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    let mut conn = database.connect().await;
    let unlucky = Noop { fail: Some("no luck".into()), retry_after_ms: Some(20), ..Noop::default() };
    let id = put(&mut conn, job(unlucky)).await;
    becomes(&database, id, "DEAD").await;
    let attempts = look::attempts(&mut conn, id).await.unwrap();
    assert_eq!(attempts.iter().map(|a| a.error.as_str()).collect::<Vec<_>>(), ["no luck"; 3]);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_cannot_be_read_is_dead_at_once() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = put(&mut conn, noop("broken")).await;
    sqlx::query("update job set payload = '{\"sleep_ms\": \"long\"}'").execute(&mut conn).await.unwrap();
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    becomes(&database, id, "DEAD").await;
    let view = look::job(&mut conn, id, None).await.unwrap();
    assert!(view.error.unwrap().contains("cannot be read"));
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_stops_when_it_is_cancelled() {
    let database = Database::new().await;
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    let mut conn = database.connect().await;
    let id = put(&mut conn, job(Noop { sleep_ms: 25_000, ..Noop::default() })).await;
    becomes(&database, id, "LEASED").await;
    assert_eq!(control::cancel(&mut conn, id).await.unwrap(), control::Cancel::Cancelling);
    hands.wake.hint(Hint::Cancelled);
    becomes(&database, id, "CANCELLED").await;
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_hands_back_what_has_not_begun_and_what_does_not_end() {
    let database = Database::new().await;
    let config = WorkerConfig::of_pools(vec![Pool::Maintenance], 2, Duration::from_millis(300));
    let mut conn = database.connect().await;
    let jobs: Vec<NewJob> =
        (0..2).map(|_| job(Noop { sleep_ms: 25_000, ..Noop::default() })).chain([noop("waits")]).collect();
    enqueue(&mut conn, &jobs).await.unwrap();
    let hands = Hands::with(database.pool().await, config);
    wait::until("two run", || async { count(&database, "job_lease").await >= 2 }).await;
    hands.stop().await;
    assert_eq!(count(&database, "job_ready").await, 3);
    assert_eq!(count(&database, "job_lease").await, 0);
    let attempts: Vec<i16> =
        sqlx::query_scalar("select attempt from job_ready").fetch_all(&mut conn).await.unwrap();
    assert_eq!(attempts, [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_was_lost_is_handed_back_and_costs_nothing() {
    const WORD: &str = "never heard of";
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = put(&mut conn, noop(WORD)).await;
    let cutter = Cutter::start(&database, WORD).await;
    let config = WorkerConfig::of_pools(vec![Pool::Maintenance], 2, Duration::from_secs(5));
    let hands = Hands::with(PgPool::connect(cutter.url()).await.unwrap(), config);
    // One that is leased before and after stays where it is.
    let long = put(&mut conn, job(Noop { sleep_ms: 15_000, ..Noop::default() })).await;
    wait::until("the answer to the claim is cut off", || async { cutter.cuts() == 1 }).await;
    assert_eq!(state(&mut conn, id).await, "LEASED");
    becomes(&database, long, "LEASED").await;
    becomes(&database, id, "DONE").await;
    let (attempt, crashes): (i16, i16) =
        sqlx::query_as("select attempt, crashes from job_history where job_id = $1")
            .bind(id.0)
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!((attempt, crashes), (1, 0));
    assert!(look::attempts(&mut conn, id).await.unwrap().is_empty());
    becomes(&database, long, "DONE").await;
    let tries: i64 = sqlx::query_scalar("select count(*) from job_history where attempt = 1 and crashes = 0")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(tries, 2);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_lost_worker_is_taken_over_and_its_late_result_refused() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    let id = put(&mut conn, job(Noop { sleep_ms: 4_000, ..Noop::default() })).await;
    becomes(&database, id, "LEASED").await;
    wait::until("it was taken back", || async {
        let mut conn = database.connect().await;
        if !look::attempts(&mut conn, id).await.unwrap().is_empty() {
            return true;
        }
        // As if this worker had been away for too long: its lease has run out while its handler goes on.
        // Said again at each look, because the worker may renew in between.
        let away = "update job_lease set lease_until = now() - interval '1 second' where attempt = 1";
        sqlx::query(away).execute(&mut conn).await.unwrap();
        false
    })
    .await;
    becomes(&database, id, "DONE").await;
    hands.stop().await;
    assert_eq!(count(&database, "job_history").await, 1);
    let view = look::job(&mut conn, id, None).await.unwrap();
    assert_eq!((view.attempt, view.crashes), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_queue_goes_on_at_once() {
    let database = Database::new().await;
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    let mut conn = database.connect().await;
    control::pause(&mut conn, "maintenance", "tester").await.unwrap();
    let id = put(&mut conn, noop("waits")).await;
    hands.wake.hint(Hint::Ready(Pool::Maintenance.id()));
    control::resume(&mut conn, "maintenance").await.unwrap();
    hands.wake.hint(Hint::Resumed);
    becomes(&database, id, "DONE").await;
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_free_slot_is_used_beside_long_jobs() {
    let database = Database::new().await;
    let config = WorkerConfig::of_pools(vec![Pool::Maintenance], 8, Duration::ZERO);
    let mut conn = database.connect().await;
    let long: Vec<NewJob> = (0..7).map(|_| job(Noop { sleep_ms: 25_000, ..Noop::default() })).collect();
    drop(enqueue(&mut conn, &long).await.unwrap());
    let hands = Hands::with(database.pool().await, config);
    wait::until("seven run", || async { count(&database, "job_lease").await == 7 }).await;
    let short = put(&mut conn, noop("short")).await;
    becomes(&database, short, "DONE").await;
    hands.stop().await;
}
