//! What goes wrong around a run: letters left lying, jobs that die or vanish, words that come twice, workers
//! that are killed.

use std::time::Duration;

use jobs::dag::drive::{self, Arrival};
use jobs::dag::{start, store};
use jobs::payload::run::RunNode;
use jobs::queue::finish;
use jobs::queue::postgres::control;
use rules::dag::{Change, wire};
use rules::id::JobId;
use serde_json::json;
use tests::{Millrace, wait};

use super::stage::{Stage, chain, end, flow, succeeded};

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_nobody_looks_after_is_found() {
    let stage = Stage::of(chain(2)).await;
    let (run, node) = stage.begun().await;
    // Somebody holds the run; a completion comes meanwhile, and whoever holds it dies before looking.
    let pool = stage.database.pool().await;
    let mut holder = pool.begin().await.unwrap();
    assert!(store::lock(&mut holder, run).await.unwrap().is_some());
    let mut tx = pool.begin().await.unwrap();
    finish(&mut tx, &node, Duration::ZERO).await.unwrap();
    let change = Change::Succeeded { node: "n1".into(), attempt: 1, handle: Some("success".into()) };
    let arrival = Arrival { change, output: Some(json!("by letter")) };
    let moved = drive::deliver(&mut tx, &stage.graphs, run, arrival).await.unwrap();
    assert!(moved.enqueued.is_empty());
    tx.commit().await.unwrap();
    holder.rollback().await.unwrap();
    assert_eq!((stage.count("run_inbox").await, stage.count("job").await), (1, 0));
    let hands = stage.hands().await;
    let view = stage.ended(run).await;
    assert_eq!((view.status.as_str(), view.output), ("COMPLETED", Some(json!({"last": "by letter"}))));
    hands.stop().await;
    assert_eq!(stage.count("run_inbox").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_began_is_found() {
    let stage = Stage::of(chain(1)).await;
    let run = stage.start(json!({})).await;
    let mut conn = stage.database.connect().await;
    let advance = stage.take(&mut conn).await.remove(0);
    finish(&mut conn, &advance, Duration::ZERO).await.unwrap();
    sqlx::query("update run set created_at = now() - interval '2 minutes'").execute(&mut conn).await.unwrap();
    let hands = stage.hands().await;
    assert_eq!(stage.ended(run).await.status, "COMPLETED");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_job_is_poison_fails_its_run() {
    let stage = Stage::of(chain(2)).await;
    let (run, node) = stage.begun().await;
    let mut conn = stage.database.connect().await;
    sqlx::query(
        "update job_lease set crashes = 4, lease_until = now() - interval '1 second' where job_id = $1",
    )
    .bind(node.id.0)
    .execute(&mut conn)
    .await
    .unwrap();
    let hands = stage.hands().await;
    let view = stage.ended(run).await;
    assert_eq!(view.status, "FAILED");
    assert!(view.error.as_ref().unwrap().starts_with("node `n1` failed: its job died"), "{:?}", view.error);
    hands.stop().await;
    assert_eq!(stage.count("job_dead where reason = 'poison'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_job_is_cancelled_fails_its_run() {
    let delay = json!({"id": "d", "type": "delay", "config": {"delayType": "fixed", "delayMinutes": 60}});
    let stage = Stage::of(flow(vec![delay, end("e", &[])], &["s d", "d e"])).await;
    let hands = stage.hands().await;
    let run = stage.start(json!({})).await;
    wait::until("it waits", async || stage.count("job_scheduled").await == 1).await;
    let mut conn = stage.database.connect().await;
    let wake: i64 =
        sqlx::query_scalar("select job_id from job_scheduled").fetch_one(&mut conn).await.unwrap();
    // Nobody may do it by hand, and should it happen all the same the run is not left waiting.
    let refused = control::cancel(&mut conn, JobId(wake)).await.unwrap_err();
    assert!(refused.to_string().contains("cancel its run instead"), "{refused}");
    control::withdraw(&mut conn, JobId(wake)).await.unwrap();
    let view = stage.ended(run).await;
    assert_eq!(view.error.as_deref(), Some("node `d` failed: its wake-up was cancelled"));
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_and_repeated_words_change_nothing() {
    let stage = Stage::of(chain(2)).await;
    let (run, node) = stage.begun().await;
    let mut conn = stage.database.connect().await;
    finish(&mut conn, &node, Duration::ZERO).await.unwrap();
    let word = |node: &str, attempt| Arrival {
        change: Change::Succeeded { node: node.into(), attempt, handle: Some("success".into()) },
        output: Some(json!(attempt)),
    };
    let mut next = 0;
    for (node, attempt) in [("n1", 1), ("n1", 1), ("n1", 9), ("n2", 7), ("nowhere", 1)] {
        next +=
            drive::deliver(&mut conn, &stage.graphs, run, word(node, attempt)).await.unwrap().enqueued.len();
    }
    assert_eq!(next, 1);
    let payload: RunNode = stage.take(&mut conn).await[0].payload().unwrap();
    assert_eq!((payload.node_id.as_str(), payload.attempt), ("n2", 1));
    assert_eq!(succeeded(&stage.log(run).await, "n1"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_cannot_be_read_stops_no_run_and_is_tried_again() {
    let stage = Stage::of(chain(2)).await;
    let run = stage.start(json!({})).await;
    let mut conn = stage.database.connect().await;
    sqlx::query("insert into run_inbox (run_id, change, created_at) values ($1, '{\"change\": \"of tomorrow\"}', now() - interval '1 minute')")
        .bind(run.0)
        .execute(&mut conn)
        .await
        .unwrap();
    let hands = stage.hands().await;
    assert_eq!(stage.ended(run).await.status, "COMPLETED");
    wait::until("all is quiet", async || stage.count("job").await == 0).await;
    assert_eq!(stage.count("run_inbox where aside_until > now()").await, 1);
    assert_eq!(start::sweep(&mut conn).await.unwrap().len(), 0, "it is left alone for a while");

    // The next version can read it.
    let change = wire::write_change(&Change::CancelRequested { by: "user:1".into() });
    sqlx::query("update run_inbox set change = $1, aside_until = now()")
        .bind(change)
        .execute(&mut conn)
        .await
        .unwrap();
    wait::until("it is taken", async || stage.count("run_inbox").await == 0).await;
    hands.stop().await;
    assert_eq!((stage.count("job_dead").await, stage.count("job_attempt").await), (0, 0));
}

#[tokio::test]
async fn the_log_of_a_run_only_grows() {
    let stage = Stage::of(chain(1)).await;
    let (run, _) = stage.begun().await;
    let mut conn = stage.database.connect().await;
    for forbidden in ["update run_log set at = now()", "delete from run_log", "delete from run"] {
        assert!(sqlx::query(forbidden).execute(&mut conn).await.is_err(), "{forbidden}");
    }
    assert!(stage.log(run).await.len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_outlive_workers_that_are_killed() {
    const RUNS: usize = 12;
    let stage = Stage::of(chain(20)).await;
    let worker = || Millrace::start(&["worker", "--pools", "dag"], &[("DATABASE_URL", stage.database.url())]);
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(stage.start(json!({})).await);
    }
    // Killed in the midst of steps, again and again, each time after some of the way.
    let mut conn = stage.database.connect().await;
    for part in 1..=3 {
        let mut killed = worker();
        let some = 4 + part * RUNS as i64 * 10;
        wait::until("some of the way is gone", async || stage.count("run_log").await >= some).await;
        killed.kill();
        // What the dead held comes back at once, as it would when its leases run out.
        sqlx::query("update job_lease set lease_until = now()").execute(&mut conn).await.unwrap();
    }
    let mut last = worker();
    for run in &runs {
        let view = stage.ended(*run).await;
        assert_eq!((view.status.as_str(), view.output), ("COMPLETED", Some(json!({"last": 1}))));
        let log = stage.log(*run).await;
        assert!((1..=20).all(|i| succeeded(&log, &format!("n{i}")) == 1), "a step's effect came twice");
    }
    last.kill();
    assert_eq!(stage.count("run_inbox").await, 0);
    let swept = start::sweep(&mut conn).await.unwrap();
    assert!(swept.is_empty());
}
