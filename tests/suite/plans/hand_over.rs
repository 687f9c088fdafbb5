//! What the passing on of order keys costs, however long the line.

use jobs::db::PgConnection;
use tests::Database;

use super::growth::{BATCH, IDLE_RESCUE_PAGES, pages, run};

/// Pages that an acknowledgement may touch per job when it also passes the job's order key on: take the next
/// from behind the key, lease it, read the job.
const HAND_PAGES: i64 = 80;

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
