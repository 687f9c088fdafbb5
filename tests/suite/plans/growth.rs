//! The hot statements touch as few pages with a million rows as with a thousand.
//!
//! A function's plan is not shown by EXPLAIN, but its pages are counted, and they are what a bad plan
//! costs: a sequential scan of a million rows cannot hide in a bound of some pages per job.

use jobs::db::PgConnection;
use sqlx::Row;
use tests::Database;

/// Jobs handled by each measured call.
pub(super) const BATCH: i64 = 200;

/// How often all is done on empty tables first: a session plans anew for the first five times, and what it has come to
/// by then must serve the full ones too.
const WARM_UPS: usize = 6;

/// The tables that are filled.
pub(super) const TABLES: [&str; 4] = ["job", "job_ready", "job_scheduled", "job_lease"];

/// Pages that a claim may touch per job: take from ready, lease, read the job.
const CLAIM_PAGES: i64 = 24;

/// Pages that an acknowledgement may touch per job: leave the lease and the job, enter the history.
const ACK_PAGES: i64 = 24;

/// Pages that a promotion may touch per job.
const PROMOTE_PAGES: i64 = 24;

/// Pages that a rescue may touch per job: leave the lease, enter ready, note the attempt.
const RESCUE_PAGES: i64 = 24;

/// Pages that a rescue may touch per job that ends by it: leave the lease and the job, enter the dead letters.
const END_PAGES: i64 = 40;

/// Pages that a rescue may touch in all when nothing has expired, above those of the leases themselves, which it walks
/// over once. A fresh session reads the catalogue with it.
pub(super) const IDLE_RESCUE_PAGES: i64 = 400;

/// Pages touched by a statement and everything that it calls.
pub(super) async fn pages(conn: &mut PgConnection, statement: &str) -> i64 {
    let explain = format!("explain (analyze, buffers, costs off, timing off, format json) {statement}");
    let row = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_one(conn).await.unwrap();
    let plan: serde_json::Value = row.get(0);
    let top = &plan[0]["Plan"];
    top["Shared Hit Blocks"].as_i64().unwrap() + top["Shared Read Blocks"].as_i64().unwrap()
}

pub(crate) async fn run(conn: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(conn).await.unwrap();
}

async fn number(conn: &mut PgConnection, statement: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement.to_owned())).fetch_one(conn).await.unwrap()
}

/// Fills the tables with `rows` ready, as many scheduled far ahead, as many leased by workers that live, and as many
/// finished. What is leased here is known by its negative id.
async fn fill(conn: &mut PgConnection, rows: i64) {
    run(
        conn,
        &format!(
            "with j as (
                insert into job (pool_id, queue_id, priority, max_attempts, kind, payload)
                select 4, 4, 2, 3, 'queue.noop', '{{}}' from generate_series(1, {rows}) returning id)
            insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind)
            select id, 4, 4, 2, 0, 0, 'queue.noop' from j"
        ),
    )
    .await;
    run(
        conn,
        &format!(
            "with j as (
                insert into job (pool_id, queue_id, priority, max_attempts, kind, payload)
                select 4, 4, 2, 3, 'queue.noop', '{{}}' from generate_series(1, {rows}) returning id)
            insert into job_scheduled (run_at, job_id, pool_id, queue_id, priority, attempt, crashes, reason, holds_key, kind)
            select now() + id * interval '1 second' + interval '1 day', id, 4, 4, 2, 0, 0, 0, false, 'queue.noop' from j"
        ),
    )
    .await;
    run(
        conn,
        &format!(
            "insert into job_history (job_id, created_at, run_ms, queue_id, priority, attempt, crashes, outcome, kind, payload)
            select -i, now(), 1, 4, 2, 1, 0, 0, 'queue.noop', '{{}}' from generate_series(1, {rows}) i"
        ),
    )
    .await;
    run(
        conn,
        &format!(
            "insert into job_lease (job_id, token, worker_id, lease_until, pool_id, queue_id, priority, attempt, crashes, kind)
            select -{rows} - i, w, w, now() + interval '1 hour', 4, 4, 2, 1, 0, 'queue.noop'
            from generate_series(0, {rows} - 1) i, (select gen_random_uuid()) x(w)"
        ),
    )
    .await;
}

/// Makes a batch of due jobs, promotes and claims them; tells the pages of both.
pub(super) async fn lease(conn: &mut PgConnection) -> (i64, i64) {
    run(
        conn,
        &format!(
            "with j as (
                insert into job (pool_id, queue_id, priority, max_attempts, kind, payload)
                select 4, 4, 2, 3, 'queue.noop', '{{}}' from generate_series(1, {BATCH}) returning id)
            insert into job_scheduled (run_at, job_id, pool_id, queue_id, priority, attempt, crashes, reason, holds_key, kind)
            select now() - interval '1 hour', id, 4, 4, 2, 0, 0, 0, false, 'queue.noop' from j"
        ),
    )
    .await;
    let promote = pages(conn, &format!("select * from job_promote_v2('-infinity', {BATCH})")).await;
    let claim = pages(
        conn,
        &format!(
            "select * from job_claim_v3(gen_random_uuid(), 30000, '{{queue.noop}}', '{{4}}', '{{{BATCH}}}', '{{0,0,0,0}}',
                array(select gen_random_uuid() from generate_series(1, {BATCH})))"
        ),
    )
    .await;
    assert_eq!(number(conn, LEASED).await, BATCH);
    (promote, claim)
}

/// How many leases there are of jobs that are worked on here.
const LEASED: &str = "select count(*) from job_lease where job_id > 0";

/// What is leased, as the arrays that acknowledgements take.
async fn held(conn: &mut PgConnection) -> String {
    let (ids, tokens): (String, String) = sqlx::query_as(
        "select array_agg(job_id order by job_id)::text, array_agg(token order by job_id)::text from job_lease where job_id > 0",
    )
    .fetch_one(conn)
    .await
    .unwrap();
    format!("'{ids}'::bigint[], '{tokens}'::uuid[]")
}

pub(super) async fn acknowledge(conn: &mut PgConnection) -> i64 {
    let held = held(conn).await;
    pages(
        conn,
        &format!(
            "select * from job_ack_v2({held}, array_fill(0::smallint, array[{BATCH}]), array_fill(0::bigint, array[{BATCH}]), array_fill(null::text, array[{BATCH}]), array_fill(1, array[{BATCH}]))"
        ),
    )
    .await
}

pub(super) async fn finish(conn: &mut PgConnection) -> i64 {
    let held = held(conn).await;
    pages(
        conn,
        &format!(
            "select * from job_done_v2({held}, array_fill(1, array[{BATCH}]), array_fill(null::integer, array[{BATCH}]),
                array_fill(null::uuid, array[{BATCH}]), gen_random_uuid(), 30000, '{{}}')"
        ),
    )
    .await
}

async fn measure(conn: &mut PgConnection, what: &str) {
    let (promote, claim) = lease(conn).await;
    let idle = pages(conn, RESCUE).await;
    let settle = acknowledge(conn).await;
    lease(conn).await;
    let done = finish(conn).await;
    let (rescue, end) = (rescued(conn).await, ended(conn).await);
    let leases =
        number(conn, "select pg_relation_size('job_lease') / current_setting('block_size')::integer").await;
    println!(
        "pages per job, {what}: promote {}, claim {}, ack {}, done {}, rescue {}, end {}; in all, where the leases have {leases}: rescue {rescue}, of none {idle}",
        promote / BATCH,
        claim / BATCH,
        settle / BATCH,
        done / BATCH,
        (rescue - leases) / BATCH,
        end / BATCH
    );
    assert!(claim <= CLAIM_PAGES * BATCH, "{what}: a claim touches {claim} pages");
    assert!(settle <= ACK_PAGES * BATCH, "{what}: an acknowledgement touches {settle} pages");
    assert!(done <= ACK_PAGES * BATCH, "{what}: an acknowledgement of done jobs touches {done} pages");
    assert!(promote <= PROMOTE_PAGES * BATCH, "{what}: a promotion touches {promote} pages");
    assert!(idle <= leases + IDLE_RESCUE_PAGES, "{what}: a rescue of none touches {idle} pages");
    assert!(rescue <= leases + RESCUE_PAGES * BATCH, "{what}: a rescue touches {rescue} pages");
    assert!(end <= END_PAGES * BATCH, "{what}: the end of jobs whose worker died touches {end} pages");
}

const RESCUE: &str = "select * from job_rescue_living_v2(1000, 5)";

/// A batch whose worker has died, and before it so many others.
async fn abandon(conn: &mut PgConnection, crashes: i64) {
    run(
        conn,
        &format!(
            "with j as (
                insert into job (pool_id, queue_id, priority, max_attempts, kind, payload)
                select 4, 4, 2, 3, 'queue.noop', '{{}}' from generate_series(1, {BATCH}) returning id)
            insert into job_lease (job_id, token, worker_id, lease_until, pool_id, queue_id, priority, attempt, crashes, kind)
            select id, gen_random_uuid(), gen_random_uuid(), now() - interval '1 second', 4, 4, 2, 1, {crashes}, 'queue.noop' from j"
        ),
    )
    .await;
}

/// Pages touched by the rescue of a batch whose worker has died.
async fn rescued(conn: &mut PgConnection) -> i64 {
    abandon(conn, 0).await;
    let pages = pages(conn, RESCUE).await;
    assert_eq!(number(conn, LEASED).await, 0);
    // They stand ahead of nothing that is measured later.
    run(conn, "with r as (delete from job_ready where crashes > 0 returning job_id) delete from job where id in (select job_id from r)").await;
    pages
}

/// Pages touched by the end of a batch that is poison.
async fn ended(conn: &mut PgConnection) -> i64 {
    abandon(conn, 4).await;
    let ids: String =
        sqlx::query_scalar("select array_agg(job_id order by job_id)::text from job_lease where job_id > 0")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
    let pages = pages(conn, &format!("select * from job_rescue_ending_v1('{ids}', 5)")).await;
    assert_eq!(number(conn, LEASED).await, 0);
    pages
}

#[tokio::test]
async fn claim_ack_promote_and_rescue_do_not_grow_with_the_tables() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    // Unlogged, which changes no plan and no page: the log of four million rows takes longer than all that is measured.
    let days = "select array_agg(inhrelid::regclass::text) from pg_inherits where inhparent = 'job_history'::regclass";
    let days: Vec<String> = sqlx::query_scalar(days).fetch_one(&mut conn).await.unwrap();
    for table in TABLES.into_iter().chain(days.iter().map(String::as_str)) {
        run(&mut conn, &format!("alter table {table} set unlogged")).await;
        // Nobody else renews the statistics in between, nor keeps what is dead from being known as dead.
        run(&mut conn, &format!("alter table {table} set (autovacuum_enabled = false)")).await;
    }
    // Plans made on empty tables, with statistics that say so, must serve the full ones too.
    for table in TABLES {
        run(&mut conn, &format!("vacuum analyze {table}")).await;
    }
    for _ in 0..WARM_UPS {
        measure(&mut conn, "empty").await;
    }
    fill(&mut conn, 100_000).await;
    measure(&mut conn, "100,000 of each, statistics of empty tables").await;
    fill(&mut conn, 900_000).await;
    measure(&mut conn, "1,000,000 of each, statistics of empty tables").await;
    for table in TABLES {
        run(&mut conn, &format!("analyze {table}")).await;
    }
    measure(&mut conn, "1,000,000 of each, fresh statistics").await;
    let mut fresh = database.connect().await;
    measure(&mut fresh, "1,000,000 of each, a fresh session").await;
}
