//! The drain beside a crowd of jobs that are scheduled and jobs that have ended.

use tests::Database;

use crate::baseline::Limits;
use crate::drain::{self, Case, DEFAULT};
use crate::enqueue::clear;

/// Jobs scheduled and jobs finished that stand beside those that are drained.
const BESIDE: i64 = 1_000_000;

/// Jobs of the crowd per statement, each its own commit.
const STEP: i64 = 100_000;

const ALONE: Case = Case { what: "nothing beside", ..DEFAULT };
const CROWDED: Case = Case { what: "1,000,000 scheduled and 1,000,000 finished", ..DEFAULT };

/// Measures and prints.
pub(crate) async fn measure(database: &Database, limits: &Limits) {
    println!("## The drain beside a crowd, one queue\n");
    drain::head();
    drain::row(database, limits, &ALONE, true).await;
    fill(database).await;
    drain::row(database, limits, &CROWDED, false).await;
    clear(database).await;
    println!();
}

/// Puts scheduled and finished jobs beside those that are to be drained.
async fn fill(database: &Database) {
    let mut conn = database.connect().await;
    for from in (0..BESIDE).step_by(usize::try_from(STEP).unwrap()) {
        let to = from + STEP;
        for statement in [
            format!(
                "with j as (
                    insert into job (pool_id, queue_id, priority, max_attempts, kind, payload)
                    select 4, 4, 2, 3, 'queue.noop', '{{}}' from generate_series({from} + 1, {to}) returning id)
                insert into job_scheduled (run_at, job_id, pool_id, queue_id, priority, attempt, crashes, reason, holds_key, kind)
                select now() + id * interval '1 millisecond' + interval '30 days', id, 4, 4, 2, 0, 0, 0, false, 'queue.noop' from j"
            ),
            format!(
                "insert into job_history (job_id, created_at, run_ms, queue_id, priority, attempt, crashes, outcome, kind, payload)
                select -i, now(), 1, 4, 2, 1, 0, 0, 'queue.noop', '{{}}' from generate_series({from} + 1, {to}) i"
            ),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
        }
    }
    sqlx::raw_sql("vacuum analyze job, job_scheduled, job_history").execute(&mut conn).await.unwrap();
}
