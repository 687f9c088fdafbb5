//! Every verb of the benchmark does with a few jobs what its figures are taken of.

use std::collections::BTreeMap;
use std::time::Duration;

use tests::{Database, wait};

use super::millrace::Millrace;
use super::starts::Spans;
use super::verbs::{Peer, many, one_by_one, pace};

/// The jobs in the queue, those that ended, and those that ended well.
async fn jobs(database: &Database) -> (i64, i64, i64) {
    let statement =
        "select (select count(*) from job), count(*), count(*) filter (where outcome = 0 and attempt = 1)
        from job_history";
    sqlx::query_as(statement).fetch_one(&mut *database.desk().await).await.unwrap()
}

#[tokio::test]
async fn jobs_that_the_benchmark_puts_in_are_drained_and_kept() {
    let database = Database::new().await;
    let peer = Millrace::open(database.url(), Millrace::CONNECTIONS).await;
    peer.setup().await;
    let one = one_by_one::<Millrace>(database.url(), 40, 4, wait::LIMIT).await;
    assert_eq!((one.jobs, one.cut), (40, false));
    assert!(one.seconds > 0.0);
    assert_eq!(many::<Millrace>(database.url(), 1_500).await.jobs, 1_500);
    assert_eq!(jobs(&database).await, (1_540, 0, 0));
    let drained = peer.drain(1_540, wait::LIMIT).await;
    assert_eq!((drained.jobs, drained.cut), (1_540, false));
    assert_eq!(jobs(&database).await, (0, 1_540, 1_540), "no drain is over before the last job is");
}

#[tokio::test]
async fn the_start_of_a_handler_is_seen_after_the_call_that_put_its_job_in() {
    let _seen = tracing::subscriber::set_default(Spans);
    // Where one subscriber is all that there is, whoever meets a span first decides for all threads whether it is wanted,
    // and other tests have none. With a second one all subscribers are asked; what was decided before is decided anew.
    let _second = tracing::Dispatch::new(Spans);
    let database = Database::new().await;
    let worker = Millrace::open(database.url(), Millrace::CONNECTIONS).await;
    tracing::callsite::rebuild_interest_cache();
    let calls = tokio::spawn(calls(database.url().to_owned()));
    let began: BTreeMap<u64, u64> = worker.idle(10, wait::LIMIT, || ()).await.into_iter().collect();
    let calls = calls.await.unwrap();
    assert_eq!(calls.len(), 10);
    assert_eq!(began.len(), 10);
    for (job, from, to) in calls {
        assert!(from < to && from < began[&job], "{job} was called at {from} and began at {began:?}");
    }
}

async fn calls(url: String) -> Vec<(u64, u64, u64)> {
    pace::<Millrace>(&url, 10, Duration::from_millis(2)).await
}
