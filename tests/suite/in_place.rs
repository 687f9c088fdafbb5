//! The helpers for those who write jobs: what was enqueued, one job in place, and a queue that is drained.

use std::time::Duration;

use jobs::payload::noop::Noop;
use jobs::queue::NewJob;
use rules::queue::{Kind, Outcome};
use tests::Database;
use tests::queue::{drain, enqueued, perform_next};

use crate::queue::{put, state};

fn of(payload: &Noop) -> NewJob {
    NewJob::of(payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_is_executed_in_place_and_no_other() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let first = Noop { note: "first".into(), ..Noop::default() };
    let settles = Noop { settles: true, ..Noop::default() };
    let failing = Noop { fail: Some("no luck".into()), ..Noop::default() };
    let ids = [
        put(&mut conn, of(&first)).await,
        put(&mut conn, of(&settles)).await,
        put(&mut conn, of(&failing).max_attempts(1)).await,
    ];
    assert_eq!(enqueued::<Noop>(&mut conn).await, [first, settles.clone(), failing.clone()]);

    assert_eq!(perform_next(&database, Kind::Noop).await, Some(Outcome::Done));
    assert_eq!(state(&mut conn, ids[0]).await, "DONE");
    assert_eq!(enqueued::<Noop>(&mut conn).await, [settles, failing]);
    assert_eq!(perform_next(&database, Kind::Noop).await, None, "it acknowledges itself");
    assert_eq!(state(&mut conn, ids[1]).await, "DONE");
    let failed = perform_next(&database, Kind::Noop).await;
    assert_eq!(failed, Some(Outcome::Retry { error: "no luck".into(), after: None }));
    assert_eq!(state(&mut conn, ids[2]).await, "DEAD");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_queue_has_nothing_left_to_do_now() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let mut done = Vec::new();
    for number in 0..6 {
        let job = of(&Noop::default());
        let job = if number % 2 == 0 { job.ordered("line") } else { job };
        done.push(put(&mut conn, job).await);
    }
    let later = put(&mut conn, of(&Noop::default()).after(Duration::from_secs(3_600))).await;
    drain(&database).await;
    for id in done {
        assert_eq!(state(&mut conn, id).await, "DONE");
    }
    assert_eq!(state(&mut conn, later).await, "SCHEDULED");
}
