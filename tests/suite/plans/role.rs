//! What the role of workers costs: nothing.

use jobs::db::PgConnection;
use tests::Database;

use super::growth::{TABLES, acknowledge, finish, lease, pages, run};

/// Pages of everything that happens to a batch of jobs, one number for each statement.
async fn all_pages(conn: &mut PgConnection) -> Vec<i64> {
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
    let done = finish(conn).await;
    lease(conn).await;
    let settle = acknowledge(conn).await;
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
        for table in TABLES.into_iter().chain(["job_key"]) {
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
