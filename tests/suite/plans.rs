//! The hot statements touch as few pages with a million rows as with a thousand.
//!
//! A function's plan is not shown by EXPLAIN, but its pages are counted, and they are what a bad plan
//! costs: a sequential scan of a million rows cannot hide in a bound of some pages per job.

use jobs::db::PgConnection;
use sqlx::Row;
use tests::Database;

/// Jobs handled by each measured call.
const BATCH: i64 = 200;

/// Pages that a claim may touch per job: take from ready, lease, read the job.
const CLAIM_PAGES: i64 = 24;

/// Pages that an acknowledgement may touch per job: leave the lease and the job, enter the history.
const ACK_PAGES: i64 = 24;

/// Pages that a promotion may touch per job.
const PROMOTE_PAGES: i64 = 24;

/// Pages that a rescue may touch per job: leave the lease, enter ready, note the attempt.
const RESCUE_PAGES: i64 = 24;

/// Pages that a rescue may touch in all when nothing has expired, above those of the leases themselves.
/// A fresh session reads the catalogue with it.
const IDLE_RESCUE_PAGES: i64 = 400;

/// Pages that an acknowledgement may touch per job when it also passes the job's order key on: take the next
/// from behind the key, lease it, read the job.
const HAND_PAGES: i64 = 80;

/// Pages touched by a statement and everything that it calls.
async fn pages(conn: &mut PgConnection, statement: &str) -> i64 {
    let explain = format!("explain (analyze, buffers, costs off, timing off, format json) {statement}");
    let row = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_one(conn).await.unwrap();
    let plan: serde_json::Value = row.get(0);
    let top = &plan[0]["Plan"];
    top["Shared Hit Blocks"].as_i64().unwrap() + top["Shared Read Blocks"].as_i64().unwrap()
}

pub(crate) async fn run(conn: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(conn).await.unwrap();
}

/// Fills the tables with `rows` ready, as many scheduled far ahead, and as many finished.
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
}

/// Makes a batch of due jobs, promotes and claims them; tells the pages of both.
async fn lease(conn: &mut PgConnection) -> (i64, i64) {
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
    let promote = pages(conn, &format!("select * from job_promote_v1('-infinity', {BATCH})")).await;
    let claim = pages(
        conn,
        &format!(
            "select * from job_claim_v3(gen_random_uuid(), 30000, '{{queue.noop}}', '{{4}}', '{{{BATCH}}}', '{{0,0,0,0}}',
                array(select gen_random_uuid() from generate_series(1, {BATCH})))"
        ),
    )
    .await;
    let leased: i64 =
        sqlx::query_scalar("select count(*) from job_lease").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(leased, BATCH);
    (promote, claim)
}

async fn measure(conn: &mut PgConnection, what: &str) {
    let arrays = "(select array_agg(job_id), array_agg(token) from (select * from job_lease order by job_id) s) x(i, t)";
    let (promote, claim) = lease(conn).await;
    let idle = pages(conn, "select * from job_rescue_living_v1(1000, 5)").await;
    let settle = pages(
        conn,
        &format!(
            "select a.* from {arrays}, job_ack_v2(x.i, x.t, array_fill(0::smallint, array[{BATCH}]), array_fill(0::bigint, array[{BATCH}]), array_fill(null::text, array[{BATCH}]), array_fill(1, array[{BATCH}])) a"
        ),
    )
    .await;
    lease(conn).await;
    let done = pages(
        conn,
        &format!(
            "select a.* from {arrays}, job_done_v2(x.i, x.t, array_fill(1, array[{BATCH}]), array_fill(null::integer, array[{BATCH}]),
                array_fill(null::uuid, array[{BATCH}]), gen_random_uuid(), 30000, '{{}}') a"
        ),
    )
    .await;
    let rescue = rescued(conn).await;
    println!(
        "pages per job, {what}: promote {}, claim {}, ack {}, done {}, rescue {}; rescue of none in all {idle}",
        promote / BATCH,
        claim / BATCH,
        settle / BATCH,
        done / BATCH,
        rescue / BATCH
    );
    assert!(claim <= CLAIM_PAGES * BATCH, "{what}: a claim touches {claim} pages");
    assert!(settle <= ACK_PAGES * BATCH, "{what}: an acknowledgement touches {settle} pages");
    assert!(done <= ACK_PAGES * BATCH, "{what}: an acknowledgement of done jobs touches {done} pages");
    assert!(promote <= PROMOTE_PAGES * BATCH, "{what}: a promotion touches {promote} pages");
    assert!(idle <= IDLE_RESCUE_PAGES, "{what}: a rescue of none touches {idle} pages");
    assert!(rescue <= RESCUE_PAGES * BATCH, "{what}: a rescue touches {rescue} pages");
}

/// Pages touched by the rescue of a batch whose worker has died.
async fn rescued(conn: &mut PgConnection) -> i64 {
    run(
        conn,
        &format!(
            "with j as (
                insert into job (pool_id, queue_id, priority, max_attempts, kind, payload)
                select 4, 4, 2, 3, 'queue.noop', '{{}}' from generate_series(1, {BATCH}) returning id)
            insert into job_lease (job_id, token, worker_id, lease_until, pool_id, queue_id, priority, attempt, crashes, kind)
            select id, gen_random_uuid(), gen_random_uuid(), now() - interval '1 second', 4, 4, 2, 1, 0, 'queue.noop' from j"
        ),
    )
    .await;
    let pages = pages(conn, "select * from job_rescue_living_v1(1000, 5)").await;
    let left: i64 = sqlx::query_scalar("select count(*) from job_lease").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(left, 0);
    // They stand ahead of nothing that is measured later.
    run(conn, "with r as (delete from job_ready where crashes > 0 returning job_id) delete from job where id in (select job_id from r)").await;
    pages
}

#[tokio::test]
async fn claim_ack_promote_and_rescue_do_not_grow_with_the_tables() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    // Plans made on empty tables, with statistics that say so, must serve the full ones too.
    for table in ["job", "job_ready", "job_scheduled", "job_lease"] {
        run(&mut conn, &format!("vacuum analyze {table}")).await;
    }
    measure(&mut conn, "empty").await;
    fill(&mut conn, 100_000).await;
    measure(&mut conn, "100,000 of each, statistics of empty tables").await;
    fill(&mut conn, 900_000).await;
    measure(&mut conn, "1,000,000 of each, statistics of empty tables").await;
    for table in ["job", "job_ready", "job_scheduled", "job_lease"] {
        run(&mut conn, &format!("analyze {table}")).await;
    }
    measure(&mut conn, "1,000,000 of each, fresh statistics").await;
    let mut fresh = database.connect().await;
    measure(&mut fresh, "1,000,000 of each, a fresh session").await;
}

/// Pages of everything that happens to a batch of jobs, one number for each statement.
async fn all_pages(conn: &mut PgConnection) -> Vec<i64> {
    let arrays = "(select array_agg(job_id), array_agg(token) from (select * from job_lease order by job_id) s) x(i, t)";
    let put = pages(
        conn,
        "with j as (
            insert into job (pool_id, queue_id, priority, max_attempts, kind, payload) values (4, 4, 2, 3, 'queue.noop', '{}') returning id)
        insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind)
        select id, 4, 4, 2, 0, 0, 'queue.noop' from j",
    )
    .await;
    run(conn, "with r as (delete from job_ready returning job_id) delete from job where id in (select job_id from r)").await;
    let (promote, claim) = lease(conn).await;
    let done = pages(
        conn,
        &format!(
            "select a.* from {arrays}, job_done_v2(x.i, x.t, array_fill(1, array[{BATCH}]), array_fill(null::integer, array[{BATCH}]),
                array_fill(null::uuid, array[{BATCH}]), gen_random_uuid(), 30000, '{{}}') a"
        ),
    )
    .await;
    lease(conn).await;
    let settle = pages(
        conn,
        &format!(
            "select a.* from {arrays}, job_ack_v2(x.i, x.t, array_fill(0::smallint, array[{BATCH}]), array_fill(0::bigint, array[{BATCH}]), array_fill(null::text, array[{BATCH}]), array_fill(1, array[{BATCH}])) a"
        ),
    )
    .await;
    vec![put, promote, claim, done, settle]
}

#[tokio::test]
async fn the_role_of_workers_costs_no_page_and_changes_no_plan() {
    let explained = async |database: &Database, role: &str, statement: &str| {
        let mut conn = database.connect().await;
        run(&mut conn, role).await;
        let plan = format!("explain (verbose, costs off) {statement}");
        let lines: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(plan)).fetch_all(&mut conn).await.unwrap();
        lines.join("\n")
    };
    let mut seen = Vec::new();
    let (owner, worker) = ("reset role", "set role millrace_worker");
    for role in [owner, worker] {
        // A database of its own for each, for pages depend on what was there before, and on who cleans up when.
        let database = Database::new().await;
        let mut conn = database.connect().await;
        for table in ["job", "job_ready", "job_scheduled", "job_lease", "job_key"] {
            run(&mut conn, &format!("alter table {table} set (autovacuum_enabled = false)")).await;
        }
        run(&mut conn, role).await;
        // The first calls read the catalogue, which knows of policies; what is paid always is what counts.
        for _ in 0..8 {
            all_pages(&mut conn).await;
        }
        seen.push(all_pages(&mut conn).await);
    }
    println!("pages of put, promote, claim, done, ack: {seen:?}");
    for (as_owner, as_worker) in seen[0].iter().zip(&seen[1]) {
        assert!(*as_worker <= as_owner + as_owner / 20 + 2, "{seen:?}");
    }
    let database = Database::new().await;
    for statement in [
        "select * from job where id = any('{1,2}')",
        "delete from job where id = any('{1,2}') returning kind",
        "insert into job (pool_id, queue_id, priority, max_attempts, kind, payload) values (4, 4, 2, 3, 'queue.noop', '{}')",
        "insert into job_history (job_id, created_at, run_ms, queue_id, priority, attempt, crashes, outcome, kind, payload) values (1, now(), 1, 4, 2, 1, 0, 0, 'queue.noop', '{}')",
        "select * from run where id = gen_random_uuid() for update",
        "select * from run_log where run_id = gen_random_uuid() order by seq",
    ] {
        let (as_owner, as_worker) =
            (explained(&database, owner, statement).await, explained(&database, worker, statement).await);
        assert_eq!(as_owner, as_worker, "{statement}");
    }
    // The test would see a policy that costs something.
    let held = explained(&database, "set role millrace_api", "select * from job where id = 1").await;
    assert!(held.contains("InitPlan") && held.contains("tenant_id"), "{held}");
    // What has an index is found by it behind the wall, too.
    let page = "select * from run where tenant_id = '01a1ff3d-1ff4-74e4-a430-87feaffcdacc' and id < '01a1ff3d-1ff4-74e4-a430-87feaffcdacc' order by id desc limit 10";
    let mut conn = database.connect().await;
    run(&mut conn, "set enable_seqscan = off; set role millrace_api").await;
    let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("explain (costs off) {page}")))
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert!(plan.join("\n").contains("Index Cond"), "{plan:?}");
}

/// Jobs that wait behind order keys when hand-overs are measured.
const BLOCKED: i64 = 100_000;

/// Puts jobs under order keys: the heads leased, the rest behind them.
async fn line_up(conn: &mut PgConnection, keys: i64) {
    run(conn, "truncate job, job_ready, job_blocked, job_key, job_lease, job_history").await;
    for statement in [
        format!(
            "insert into job (pool_id, queue_id, priority, max_attempts, kind, payload, order_key)
            select 4, 4, 2, 3, 'queue.noop', '{{}}', 'key ' || i % {keys} from generate_series(1, {BLOCKED}) i"
        ),
        "insert into job_key (key, head_id) select order_key, min(id) from job group by order_key".to_owned(),
        "insert into job_lease (job_id, token, worker_id, lease_until, pool_id, queue_id, priority, attempt, crashes, kind)
            select head_id, gen_random_uuid(), gen_random_uuid(), now() + interval '1 hour', 4, 4, 2, 1, 0, 'queue.noop' from job_key"
            .to_owned(),
        "insert into job_blocked (order_key, job_id, pool_id, queue_id, priority, attempt, crashes, kind)
            select order_key, id, 4, 4, 2, 0, 0, 'queue.noop' from job where id not in (select head_id from job_key) order by id"
            .to_owned(),
    ] {
        run(conn, &statement).await;
    }
}

/// Pages of one acknowledgement of all that is leased, which hands the next of each key over.
async fn hand_over(conn: &mut PgConnection) -> i64 {
    pages(
        conn,
        "select a.* from (select array_agg(job_id) i, array_agg(token) t, count(*)::integer n from (select * from job_lease order by job_id) s) x,
            job_done_v2(x.i, x.t, array_fill(1, array[x.n]), array_fill(4, array[x.n]), array(select gen_random_uuid() from generate_series(1, x.n)),
                gen_random_uuid(), 30000, '{queue.noop}') a",
    )
    .await
}

#[tokio::test]
async fn a_hand_over_does_not_grow_with_the_line_nor_with_what_an_old_transaction_keeps() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    for table in ["job", "job_blocked", "job_key", "job_lease"] {
        run(&mut conn, &format!("vacuum analyze {table}")).await;
    }
    // It keeps every dead entry from now on.
    let mut old = database.connect().await;
    run(&mut old, "begin").await;
    run(&mut old, "create temporary table mine as select pg_current_xact_id()").await;
    for keys in [BATCH, 1] {
        line_up(&mut conn, keys).await;
        hand_over(&mut conn).await;
        let first = hand_over(&mut conn).await;
        for _ in 0..20 {
            hand_over(&mut conn).await;
        }
        // As if nine tenths of each line had had their turn since.
        run(
            &mut conn,
            "with g as (delete from job_blocked b where b.seq < (select max(seq) - count(*) / 10 from job_blocked) returning order_key, seq)
            update job_key k set head_seq = (select max(g.seq) from g where g.order_key = k.key) where key in (select order_key from g)",
        )
        .await;
        let last = hand_over(&mut conn).await;
        run(&mut conn, "update job_key set head_seq = 0").await;
        let blind = hand_over(&mut conn).await;
        println!(
            "pages per hand-over, {keys} keys: {} at first, {} at last, {} without knowing where to begin",
            first / keys,
            last / keys,
            blind / keys
        );
        // A few pages in all stand beside those of each job.
        for (when, pages) in [("at first", first), ("at last", last)] {
            assert!(pages <= HAND_PAGES * keys + IDLE_RESCUE_PAGES, "{keys} keys, {when}: {pages} pages");
        }
        assert!(blind > last + IDLE_RESCUE_PAGES, "{keys} keys: {blind} pages, where {last} do");
    }
}
