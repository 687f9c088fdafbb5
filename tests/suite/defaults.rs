//! Defaults of the database that would change what the queue's statements mean change nothing.

use jobs::config::DatabaseConfig;
use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue};
use rules::queue::Pool;
use tests::{Database, Hands, wait};

/// Jobs that run at once under few keys, so that their acknowledgements wait for each other.
const JOBS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_whatever_isolation_and_durability_the_database_has_by_default() {
    let database = Database::new().await;
    let mut keeper = database.connect().await;
    for default in ["default_transaction_isolation to 'serializable'", "synchronous_commit to off"] {
        let statement = format!(
            "do $$ begin execute format('alter database %I set {}', current_database()); end $$",
            default.replace('\'', "''")
        );
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut keeper).await.unwrap();
    }
    let config = DatabaseConfig { url: database.url().to_owned().into(), connections: 8 };
    let db = jobs::db::connect(&config).await.unwrap();
    let pinned: (String, String) = sqlx::query_as(
        "select current_setting('transaction_isolation'), current_setting('synchronous_commit')",
    )
    .fetch_one(&db)
    .await
    .unwrap();
    assert_eq!(pinned, ("read committed".into(), "on".into()));
    // That the defaults were there to be overruled.
    let (theirs,): (String,) = sqlx::query_as("select current_setting('transaction_isolation')")
        .fetch_one(&database.pool().await)
        .await
        .unwrap();
    assert_eq!(theirs, "serializable");

    let jobs: Vec<NewJob> = (0..JOBS)
        .map(|n| {
            let job = Noop { settles: n % 2 == 0, ..Noop::default() };
            NewJob::of(&job).unwrap().ordered(format!("key-{}", n % 4))
        })
        .collect();
    let enqueued = enqueue(&mut db.acquire().await.unwrap(), &jobs).await.unwrap();
    let config = workers::WorkerConfig::of_pools(vec![Pool::Maintenance], 16, wait::LIMIT);
    let hands = Hands::with(db.clone(), config);
    hands.wake.send(&enqueued);
    wait::until("all have run", || async {
        let (done, tried): (i64, i64) =
            sqlx::query_as("select count(*), count(*) filter (where attempt > 1) from job_history")
                .fetch_one(&db)
                .await
                .unwrap();
        assert_eq!(tried, 0, "a job was tried again");
        done == JOBS as i64
    })
    .await;
    hands.stop().await;
}
