//! What a test asks of the queue: what was enqueued, one job in place, and everything at once.

use jobs::db::PgConnection;
use jobs::db::wall::DbRole;
use jobs::queue::Wake;
use jobs::queue::postgres::claim::{Want, claim};
use rules::id::WorkerId;
use rules::queue::{Home, Job, Kind, Outcome, Pool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::{Context, perform_in_place};

use crate::{Database, Hands, wait};

/// The pools that belong to no host.
const POOLS: [Pool; 4] = [Pool::Dag, Pool::Events, Pool::Audit, Pool::Maintenance];

/// The payloads of the live jobs of a kind, in the order in which they were put in: to be compared with what should be.
///
/// # Panics
/// When the database cannot be reached, or a payload cannot be read.
pub async fn enqueued<J: Job>(conn: &mut PgConnection) -> Vec<J> {
    let payloads: Vec<serde_json::Value> =
        sqlx::query_scalar("select payload from job where kind = $1 order by id")
            .bind(J::KIND.as_str())
            .fetch_all(conn)
            .await
            .expect("the test's database answers");
    payloads.into_iter().map(|p| serde_json::from_value(p).expect("a payload of its kind")).collect()
}

/// Executes the next ready job of a kind in this task, as a worker would, and tells what it came to; none where its handler
/// has acknowledged it in its own transaction. Other jobs stay where they are, so a test sees what this one alone does.
///
/// # Panics
/// When none is ready, or the kind belongs to a host.
pub async fn perform_next(database: &Database, kind: Kind) -> Option<Outcome> {
    let Home::Pool(pool) = kind.home() else { panic!("a `{kind}` job needs its host") };
    let db = database.pool_as(DbRole::Worker).await;
    let wake = Wake::start(&db, &CancellationToken::new());
    let want = Want { pool, limit: 1, marks: [0; 4] };
    let mut conn = db.acquire().await.expect("the test's database answers");
    let claimed = claim(&mut conn, WorkerId(Uuid::new_v4()), &[kind], &[want]).await.expect("it answers");
    drop(conn);
    let attempt = claimed.into_iter().next().unwrap_or_else(|| panic!("no `{kind}` job is ready")).attempt;
    perform_in_place(&Context::new(db, wake), &attempt).await.expect("its result is taken")
}

/// Lets workers execute what is there, and what comes of it, until nothing is ready, due or at work. What waits for a
/// later time stays, and so do jobs of hosts.
///
/// # Panics
/// When that takes longer than [`wait::LIMIT`].
pub async fn drain(database: &Database) {
    let hands = Hands::start(database, &POOLS).await;
    wait::until("the queue is drained", async || {
        let left = "select exists (select from job_lease) or exists (select from job_scheduled where run_at <= now())
            or exists (select from job_ready r where r.pool_id = any($1))";
        let pools: Vec<i32> = POOLS.iter().map(|pool| pool.id()).collect();
        let left: bool = sqlx::query_scalar(left)
            .bind(pools)
            .fetch_one(&mut *database.desk().await)
            .await
            .expect("the test's database answers");
        !left
    })
    .await;
    hands.stop().await;
}
