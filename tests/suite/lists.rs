//! A tenant's jobs are found among a hundred thousand of others without walking these.

use jobs::db::PgConnection;
use jobs::queue::postgres::look::{self, Filter};
use rules::id::{JobId, TenantId};
use tests::Database;
use uuid::Uuid;

use crate::plans::run;

/// Pages that a tenant's list of jobs, or three looks at single ones, may touch.
const LIST_PAGES: i64 = 400;

/// How often a list is measured: a session plans anew for the first five times.
const PLANS: usize = 8;

/// Pages of the queue's tables that this session's transaction has touched.
async fn touched(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "select sum(pg_stat_get_xact_blocks_fetched(oid))::bigint from pg_class
        where relkind in ('r', 'i') and relnamespace = 'public'::regnamespace",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_tenants_finished_jobs_are_found_among_a_hundred_thousand_of_others() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (busy, quiet) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
    run(
        &mut conn,
        &format!(
            "insert into job_history (job_id, finished_at, created_at, run_ms, queue_id, priority, attempt, crashes, outcome, kind, tenant_id, payload)
            select i, now() + (i % 10) * interval '1 day', now(), 1, 4, 2, 1, 0, 0, 'queue.noop',
                case when i <= 3 then '{}' else '{}' end::uuid, '{{}}'
            from generate_series(1, 100000) i",
            quiet.0, busy.0
        ),
    )
    .await;
    run(&mut conn, "analyze").await;
    for _ in 0..PLANS {
        run(&mut conn, "begin").await;
        // What Postgres has not reported yet of the statements before stands in this count, too.
        let before = touched(&mut conn).await;
        let of_quiet = Filter { tenant: Some(quiet), ..Filter::default() };
        assert_eq!(look::page(&mut conn, &of_quiet, 50).await.unwrap().rows.len(), 3);
        let listed = touched(&mut conn).await - before;
        assert_eq!(look::job(&mut conn, JobId(2), Some(quiet)).await.unwrap().id, 2);
        assert!(look::job(&mut conn, JobId(90_000), Some(quiet)).await.is_err(), "it is another tenant's");
        assert!(look::job(&mut conn, JobId(900_000), None).await.is_err(), "there is none");
        let looked = touched(&mut conn).await - before - listed;
        run(&mut conn, "rollback").await;
        println!("a tenant's list: {listed} pages; three looks: {looked} pages");
        assert!(listed < LIST_PAGES && looked < LIST_PAGES, "{listed} and {looked} pages");
    }
}
