//! A tenant's jobs are found among a hundred thousand of others without walking these.

use jobs::db::PgConnection;
use jobs::queue::postgres::look::{self, Filter};
use rules::id::{JobId, TenantId};
use rules::queue::State;
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

const BUSY: TenantId = TenantId(Uuid::from_u128(1));
const QUIET: TenantId = TenantId(Uuid::from_u128(2));

#[tokio::test]
async fn a_tenants_finished_jobs_are_found_among_a_hundred_thousand_of_others() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    run(
        &mut conn,
        &format!(
            "insert into job_history (job_id, finished_at, created_at, run_ms, queue_id, priority, attempt, crashes, outcome, kind, tenant_id, payload)
            select i, now() + (i % 10) * interval '1 day', now(), 1, 4, 2, 1, 0, 0, 'queue.noop',
                case when i <= 3 then '{}' else '{}' end::uuid, '{{}}'
            from generate_series(1, 100000) i",
            QUIET.0, BUSY.0
        ),
    )
    .await;
    run(&mut conn, "analyze").await;
    for _ in 0..PLANS {
        run(&mut conn, "begin").await;
        // What Postgres has not reported yet of the statements before stands in this count, too.
        let before = touched(&mut conn).await;
        let of_quiet = Filter { tenant: Some(QUIET), ..Filter::default() };
        assert_eq!(look::page(&mut conn, &of_quiet, 50).await.unwrap().rows.len(), 3);
        let listed = touched(&mut conn).await - before;
        assert_eq!(look::job(&mut conn, JobId(2), Some(QUIET)).await.unwrap().id, 2);
        assert!(look::job(&mut conn, JobId(90_000), Some(QUIET)).await.is_err(), "it is another tenant's");
        assert!(look::job(&mut conn, JobId(900_000), None).await.is_err(), "there is none");
        let looked = touched(&mut conn).await - before - listed;
        run(&mut conn, "rollback").await;
        println!("a tenant's list: {listed} pages; three looks: {looked} pages");
        assert!(listed < LIST_PAGES && looked < LIST_PAGES, "{listed} and {looked} pages");
    }
}

#[tokio::test]
async fn a_tenants_waiting_jobs_are_found_among_a_hundred_thousand_of_others() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    // Without any analysis, as these tables are: of what is waiting now it tells nothing.
    run(
        &mut conn,
        &format!(
            "insert into job (id, pool_id, queue_id, priority, max_attempts, kind, tenant_id, payload)
            select i, 4, 4, 2, 5, 'queue.noop', case when i <= 4 then '{}' else '{}' end::uuid, '{{}}' from generate_series(1, 100000) i;
            insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind)
            select i, 4, 4, 2, 0, 0, 'queue.noop' from generate_series(1, 100000) i where i not in (2, 3, 4);
            insert into job_scheduled (run_at, job_id, pool_id, queue_id, priority, attempt, crashes, reason, holds_key, kind)
            values (now() + interval '1 hour', 2, 4, 4, 2, 0, 0, 0, false, 'queue.noop');
            insert into job_blocked (order_key, job_id, pool_id, queue_id, priority, attempt, crashes, kind)
            values ('line', 3, 4, 4, 2, 0, 0, 'queue.noop');
            insert into job_lease (job_id, token, worker_id, lease_until, pool_id, queue_id, priority, attempt, crashes, kind)
            values (4, gen_random_uuid(), gen_random_uuid(), now() + interval '30 seconds', 4, 4, 2, 1, 0, 'queue.noop')",
            QUIET.0, BUSY.0
        ),
    )
    .await;
    let all = Filter { tenant: Some(QUIET), ..Filter::default() };
    for _ in 0..PLANS {
        run(&mut conn, "begin").await;
        let before = touched(&mut conn).await;
        let page = look::page(&mut conn, &all, 50).await.unwrap().rows;
        let told: Vec<_> = page.iter().map(|job| (job.id, job.state.as_str())).collect();
        assert_eq!(told, [(4, "LEASED"), (3, "BLOCKED"), (2, "SCHEDULED"), (1, "READY")]);
        for (id, state) in [(1, State::Ready), (2, State::Scheduled), (3, State::Blocked), (4, State::Leased)]
        {
            let of_state = Filter { state: Some(state), ..all.clone() };
            let page = look::page(&mut conn, &of_state, 50).await.unwrap().rows;
            assert_eq!(page.iter().map(|job| job.id).collect::<Vec<_>>(), [id]);
        }
        let listed = touched(&mut conn).await - before;
        run(&mut conn, "rollback").await;
        println!("five of a tenant's lists: {listed} pages");
        assert!(listed < LIST_PAGES, "{listed} pages");
    }
}
