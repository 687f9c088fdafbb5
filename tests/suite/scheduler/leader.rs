//! One leader whatever dies, and what it alone does.

use std::time::{Duration, Instant};

use ::scheduler::SchedulerConfig;
use jobs::db::PgPool;
use jobs::lease::SCHEDULER;
use jobs::queue::enqueue;
use rules::queue::Pool;
use tests::{Database, Hands, Millrace, wait};
use tokio_util::sync::CancellationToken;

use super::clock::*;
use crate::queue::noop;

/// How soon jobs are done again after a leader's death as fast as before, or at half of that beside other tests.
const BACK_WITHIN: Duration = Duration::from_secs(10);
const BACK: f64 = 0.5;
/// Over what time a rate is taken.
const WINDOW: Duration = Duration::from_secs(1);

#[tokio::test]
async fn of_two_schedulers_one_leads_and_hands_over_when_it_stops() {
    let database = Database::new().await;
    let look = database.pool().await;
    let one = Clock::start(&database, quick()).await;
    let first = first_leader(&look).await;
    let two = Clock::start(&database, quick()).await;
    let mut at = lease_until(&look).await;
    for _ in 0..3 {
        at = renewed_after(&look, at).await;
    }
    assert_eq!(leader(&look).await.map(|h| (h.holder, h.epoch)), Some((first.holder, 1)));

    one.stop().await;
    let second = next_leader(&look, &first).await;
    assert_ne!(second.holder, first.holder);
    assert_eq!(second.epoch, 2);
    two.stop().await;
    assert_eq!(leader(&look).await, None, "a scheduler that stops gives its lease back");
}

#[tokio::test]
async fn a_leader_that_dies_or_is_cut_off_is_replaced() {
    let database = Database::new().await;
    let look = database.pool().await;
    let one = Clock::start(&database, quick()).await;
    let first = first_leader(&look).await;

    // It dies without a word, like a process that is killed.
    one.running.abort();
    let two = Clock::start(&database, quick()).await;
    let second = next_leader(&look, &first).await;
    assert_ne!(second.holder, first.holder);

    // It loses the database for good while the other keeps it; it must not lead on, nor end.
    let three = Clock::start(&database, quick()).await;
    two.db.close().await;
    let third = next_leader(&look, &second).await;
    assert_ne!(third.holder, second.holder);
    assert!(!two.running.is_finished());
    two.stop().await;
    three.stop().await;
}

#[tokio::test]
async fn a_leader_whose_connections_are_killed_leads_on() {
    let database = Database::new().await;
    let look = database.pool().await;
    let one = Clock::start(&database, SchedulerConfig { lease: Duration::from_secs(6), ..quick() }).await;
    let first = first_leader(&look).await;
    let mut at = lease_until(&look).await;
    for _ in 0..2 {
        // Everyone but the one who asks; the test's own pool recovers like the leader's.
        let mut keeper = database.connect().await;
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
            .execute(&mut keeper)
            .await
            .unwrap();
        let before = at;
        at = wait::value("the leader renews", || async {
            let at = sqlx::query_scalar("select lease_until from lease where name = $1")
                .bind(SCHEDULER)
                .fetch_one(&look);
            at.await.ok().filter(|at: &chrono::DateTime<chrono::Utc>| *at > before)
        })
        .await;
    }
    assert_eq!(first_leader(&look).await.epoch, first.epoch);
    one.stop().await;
}

#[tokio::test]
async fn a_duty_of_a_leader_that_lost_its_lease_is_rolled_back() {
    let database = Database::new().await;
    let db = database.pool().await;
    // Somebody takes the lease while the leader's transaction waits for the row that it wants to prune.
    run(&db, "insert into login_throttle values ('over', 3, now() - interval '1 h', null)").await;
    run(&db, "create function usurp() returns trigger language plpgsql as $$ begin
            update lease set epoch = epoch + 1, holder = gen_random_uuid(), lease_until = now() + interval '1 h'; return old; end $$;
        create trigger usurp before delete on login_throttle for each row execute function usurp()").await;
    let clock = Clock::start(&database, quick()).await;
    // The trigger's own update is rolled back with the duty, so the leader goes on and tries again: the
    // row stays for as long as each try is refused.
    let first = first_leader(&db).await;
    let mut at = lease_until(&db).await;
    for _ in 0..3 {
        at = renewed_after(&db, at).await;
    }
    assert_eq!(count(&db, "login_throttle").await, 1);
    assert_eq!(first_leader(&db).await.epoch, first.epoch);
    run(&db, "drop trigger usurp on login_throttle").await;
    wait::until("the duty succeeds at last", || async { count(&db, "login_throttle").await == 0 }).await;
    clock.stop().await;
}

#[tokio::test]
async fn the_leader_alone_reports_and_takes_it_back() {
    let database = Database::new().await;
    let db = database.pool().await;
    jobs::metrics::install().unwrap();
    // Other tests in this process report, too; the queue's name tells whose figures are meant.
    run(&db, "insert into job_queue (id, name, pool_id, paused_at) values (77, 'only-here', 4, now());
        insert into job (id, pool_id, queue_id, priority, max_attempts, kind, payload) select n, 4, 77, 1, 1, 'queue.noop', '{}' from generate_series(1, 5) n;
        insert into job_ready (job_id, ready_at, pool_id, queue_id, priority, attempt, crashes, kind)
        select n, now() - interval '90 s', 4, 77, 1, 0, 0, 'queue.noop' from generate_series(1, 5) n").await;
    let clock = Clock::start(&database, quick()).await;
    let reported = |line: &'static str| async move { jobs::metrics::render().lines().any(|l| l == line) };
    wait::until("the depth is reported", || {
        reported("millrace_queue_depth{queue=\"only-here\",state=\"ready\"} 5")
    })
    .await;
    wait::until("the pause is reported", || reported("millrace_queue_paused{queue=\"only-here\"} 1")).await;
    let age = jobs::metrics::render();
    let age = age
        .lines()
        .find_map(|l| l.strip_prefix("millrace_queue_oldest_ready_age_seconds{queue=\"only-here\"} "))
        .unwrap();
    assert!(age.parse::<f64>().unwrap() >= 90.0, "{age}");
    clock.stop().await;
    wait::until("the depth is taken back", || {
        reported("millrace_queue_depth{queue=\"only-here\",state=\"ready\"} 0")
    })
    .await;
}

/// Enqueues jobs until it is told to end; tells how many were accepted.
async fn load(db: PgPool, end: CancellationToken) -> i64 {
    let mut conn = db.acquire().await.unwrap();
    let mut accepted = 0;
    while !end.is_cancelled() {
        let jobs: Vec<_> = (0..10).map(|number| noop(&number.to_string())).collect();
        accepted += i64::try_from(enqueue(&mut conn, &jobs).await.unwrap().len()).unwrap();
        end.run_until_cancelled(tokio::time::sleep(Duration::from_millis(50))).await;
    }
    accepted
}

/// How many jobs are done in a second, over the time that follows.
async fn rate(db: &PgPool) -> f64 {
    let (before, began) = (count(db, "job_history").await, Instant::now());
    tokio::time::sleep(WINDOW).await;
    (count(db, "job_history").await - before) as f64 / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_killed_one_after_another_are_each_replaced_and_jobs_go_on() {
    let database = Database::new().await;
    let db = database.pool().await;
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    let end = CancellationToken::new();
    let load = tokio::spawn(load(db.clone(), end.clone()));
    let start = || {
        let variables =
            [("DATABASE_URL", database.url()), ("SCHEDULER_LEASE_S", "3"), ("LOG_FORMAT", "json")];
        Millrace::start(&["scheduler"], &variables)
    };
    let mut leading = start();
    let mut holding = first_leader(&db).await;
    for _ in 0..3 {
        let mut standby = start();
        standby.printed("scheduler started").await;
        let before = rate(&db).await;
        leading.kill();
        // While nobody leads, too.
        wait::until_within(BACK_WITHIN, "jobs are done as before", || async {
            rate(&db).await >= BACK * before
        })
        .await;
        let next = next_leader(&db, &holding).await;
        assert_eq!(next.epoch, holding.epoch + 1);
        (leading, holding) = (standby, next);
    }
    leading.printed("leading the schedulers").await;
    let log = leading.log();
    let line = log.lines().find(|line| line.contains("leading the schedulers")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["lease.epoch"], holding.epoch);
    assert_eq!(line["scheduler.id"], holding.holder.to_string());

    assert!(leading.stop(wait::LIMIT).await.success());
    assert_eq!(leader(&db).await, None);

    end.cancel();
    let accepted = load.await.unwrap();
    wait::until("what was accepted is done", || async { count(&db, "job_history").await == accepted }).await;
    hands.stop().await;
    assert_eq!(count(&db, "job_history where attempt = 1 and crashes = 0 and outcome = 0").await, accepted);
    assert_eq!((count(&db, "job").await, count(&db, "job_dead").await), (0, 0));
}
