//! How a sweep goes on step by step: whoever takes over goes on, none is taken twice and none is lost, no faster than asked for.

use std::time::Duration;

use jobs::db::PgConnection;
use jobs::db::wall::DbRole;
use jobs::queue::Attempt;
use jobs::queue::postgres::claim::{Want, claim};
use jobs::queue::postgres::letters::{self as found, Bound};
use jobs::retention::remove_sweeps;
use jobs::sweep::{self, SweepView, Wish, go_on};
use jobs::{Code, Result};
use rules::id::{SweepId, WorkerId};
use rules::queue::letter::Letters;
use rules::queue::sweep::SweepAction;
use rules::queue::{Kind, Pool};
use tests::{Database, Hands, Millrace, wait};
use uuid::Uuid;

use super::groups::pages;
use super::stage::{letters, number};
use crate::plans::run;
use crate::queue::{expire_leases, rescue_all};

/// Begins a sweep of all letters, so many in a second at most.
async fn begin(conn: &mut PgConnection, action: SweepAction, rate: u16) -> SweepView {
    let letters = Letters::default();
    let wish =
        Wish { tenant: None, action, letters, attempts: Some(2), rate, by: "user:1", trace_parent: None };
    run(conn, "begin").await;
    let begun = sweep::ask(conn, wish).await.unwrap().0;
    run(conn, "commit").await;
    begun
}

async fn take(conn: &mut PgConnection) -> Attempt {
    let want = Want { pool: Pool::Maintenance, limit: 1, marks: [0; 4] };
    let claimed = claim(conn, WorkerId(Uuid::new_v4()), &[Kind::LetterSweep], &[want]).await.unwrap();
    claimed.into_iter().next().expect("the sweep's job is ready").attempt
}

/// One batch, committed or not.
async fn batch(
    conn: &mut PgConnection,
    attempt: &Attempt,
    sweep: &SweepView,
    commits: bool,
) -> Result<sweep::Went> {
    run(conn, "begin").await;
    let went = go_on(conn, attempt, SweepId(sweep.id)).await;
    run(conn, if commits && went.is_ok() { "commit" } else { "rollback" }).await;
    went
}

async fn now(conn: &mut PgConnection, sweep: &SweepView) -> SweepView {
    sweep::get(conn, None, SweepId(sweep.id)).await.unwrap()
}

/// Lets the second that is under way pass for a sweep.
async fn next_second(conn: &mut PgConnection) {
    run(conn, "update letter_sweep set second_at = second_at - interval '1 second'").await;
}

const READY: &str = "select count(*) from job_ready where kind = 'queue.noop'";
const DEAD: &str = "select count(*) from job_dead";

#[tokio::test]
async fn a_sweep_goes_on_where_a_dead_worker_left_it_and_takes_no_letter_twice() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    letters(&mut conn, None, 1_000_000, 250, "no luck with N").await;
    let begun = begin(&mut conn, SweepAction::Redrive, 1_000).await;
    let first = take(&mut conn).await;
    let went = batch(&mut conn, &first, &begun, true).await.unwrap();
    assert_eq!((went.taken, went.wait, went.over), (100, None, false));
    assert_eq!(went.woken, [Pool::Maintenance.id()]);
    // What stood in another's way for too long is undone and told, so that it costs the job an attempt.
    let mut holder = database.connect().await;
    run(&mut holder, "begin; select from job_dead where job_id = 1000120 for update").await;
    run(&mut conn, "set lock_timeout = '50ms'").await;
    assert_eq!(batch(&mut conn, &first, &begun, true).await.unwrap_err().code, Code::Interrupted);
    run(&mut conn, "reset lock_timeout").await;
    run(&mut holder, "rollback").await;
    assert_eq!(now(&mut conn, &begun).await.done, 100);
    // Its worker dies within the next batch, and comes back to life when the lease has run out.
    assert_eq!(batch(&mut conn, &first, &begun, false).await.unwrap().taken, 100);
    assert_eq!(number(&mut conn, READY).await, 100);
    expire_leases(&mut conn).await;
    assert_eq!(batch(&mut conn, &first, &begun, true).await.unwrap_err().code, Code::Conflict);
    rescue_all(&mut conn).await;
    // One that was taken dies anew meanwhile.
    run(&mut conn, "delete from job_ready where job_id = 1000003; delete from job where id = 1000003").await;
    letters(&mut conn, None, 1_000_003, 1, "no luck with N").await;
    run(&mut conn, "update job_dead set died_at = now() where job_id = 1000003").await;
    let second = take(&mut conn).await;
    let stranger = batch(&mut conn, &first, &begun, true).await.unwrap_err();
    assert_eq!(stranger.code, Code::Conflict, "a stranger by now");
    assert_eq!(batch(&mut conn, &second, &begun, true).await.unwrap().taken, 100);
    let last = batch(&mut conn, &second, &begun, true).await.unwrap();
    assert_eq!((last.taken, last.over), (50, true));
    assert!(batch(&mut conn, &second, &begun, true).await.unwrap().over, "its end is told again");
    assert_eq!((number(&mut conn, READY).await, number(&mut conn, DEAD).await), (249, 1));
    let least = "select min(max_attempts)::bigint from job where kind = 'queue.noop'";
    assert_eq!(number(&mut conn, least).await, 3);
    let ended = now(&mut conn, &begun).await;
    assert_eq!((ended.state.as_str(), ended.done, ended.matched), ("DONE", 250, 250));
    assert_eq!(number(&mut conn, "select count(*) from audit_intake").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_within_a_batch_and_another_goes_on() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    letters(&mut conn, None, 1_000_000, 250, "no luck with N").await;
    // Somebody has one of the second batch in hand, so that whoever sweeps stands within it.
    let mut holder = database.connect().await;
    run(&mut holder, "begin; select from job_dead where job_id = 1000150 for update").await;
    let begun = begin(&mut conn, SweepAction::Discard, 1_000).await;
    let mut killed =
        Millrace::start(&["worker", "--pools", "maintenance"], &[("DATABASE_URL", database.url())]);
    wait::until("it waits within the second batch", async || {
        let mut desk = database.desk().await;
        let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        now(&mut desk, &begun).await.done == 100 && number(&mut desk, waits).await > 0
    })
    .await;
    killed.kill();
    run(&mut holder, "rollback").await;
    expire_leases(&mut conn).await;
    rescue_all(&mut conn).await;
    assert_eq!(number(&mut conn, DEAD).await, 150, "nothing of what was not committed");
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    wait::until("another is through with it", async || {
        now(&mut *database.desk().await, &begun).await.state == "DONE"
    })
    .await;
    hands.stop().await;
    let ended = now(&mut conn, &begun).await;
    assert_eq!((ended.done, ended.refused, number(&mut conn, DEAD).await), (250, 0, 0));
    let kept =
        "select count(distinct job_id) + count(*) from job_history where outcome = 4 and kind = 'queue.noop'";
    assert_eq!(number(&mut conn, kept).await, 500, "each once");
}

#[tokio::test]
async fn a_sweep_keeps_its_rate_is_stopped_and_tells_why_it_does_not_go_on() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    letters(&mut conn, None, 1_000_000, 40, "no luck with N").await;
    let begun = begin(&mut conn, SweepAction::Discard, 10).await;
    let attempt = take(&mut conn).await;
    // A second's worth, and then nothing, whoever asks and however often.
    let went = batch(&mut conn, &attempt, &begun, true).await.unwrap();
    assert_eq!((went.taken, went.wait), (10, Some(Duration::from_secs(1))));
    let went = batch(&mut conn, &attempt, &begun, true).await.unwrap();
    assert!(
        went.taken == 0 && !went.over && went.wait.is_some_and(|wait| wait <= Duration::from_secs(1)),
        "{went:?}"
    );
    next_second(&mut conn).await;
    assert_eq!(batch(&mut conn, &attempt, &begun, true).await.unwrap().taken, 10);
    let stopped = sweep::cancel(&mut conn, None, SweepId(begun.id), "user:2").await.unwrap();
    assert_eq!((stopped.state.as_str(), stopped.done, stopped.ended_at.is_some()), ("CANCELLED", 20, true));
    next_second(&mut conn).await;
    let went = batch(&mut conn, &attempt, &begun, true).await.unwrap();
    assert_eq!((went.taken, went.over), (0, true));
    assert_eq!(number(&mut conn, DEAD).await, 20);
    assert_eq!(number(&mut conn, "select count(*) from job_history where outcome = 4").await, 20);
    let again = sweep::cancel(&mut conn, None, SweepId(begun.id), "user:2").await;
    assert_eq!(again.unwrap_err().code, Code::Conflict);

    // One whose job dies says so, and goes on when that is redriven.
    let begun = begin(&mut conn, SweepAction::Discard, 10).await;
    let attempt = take(&mut conn).await;
    let dead = jobs::queue::DeadJob {
        id: attempt.id,
        kind: Kind::LetterSweep.to_string(),
        tenant: None,
        payload: serde_json::from_str(attempt.payload.get()).unwrap(),
        error: "no luck".into(),
        trace_parent: None,
        died_at: chrono::Utc::now(),
    };
    sweep::job_died(&mut conn, Kind::LetterSweep, &dead).await.unwrap();
    let failed = now(&mut conn, &begun).await;
    let told = format!("its job {} died: no luck; redrive that job and it goes on", attempt.id);
    assert_eq!((failed.state.as_str(), failed.error.as_deref()), ("FAILED", Some(told.as_str())));
    assert_eq!(batch(&mut conn, &attempt, &begun, true).await.unwrap().taken, 10);
    let again = now(&mut conn, &begun).await;
    assert_eq!((again.state.as_str(), again.done, again.error), ("RUNNING", 10, None));

    // One whose job is gone without a word is found by the workers' upkeep, and by no other sign.
    let hands = Hands::start(&database, &[Pool::Audit]).await;
    run(&mut conn, "delete from job_lease; delete from job").await;
    wait::until("it is shown as failed", async || {
        now(&mut *database.desk().await, &begun).await.state == "FAILED"
    })
    .await;
    hands.stop().await;
    let failed = now(&mut conn, &begun).await.error.unwrap();
    assert!(failed.contains("is gone; stop this sweep"), "{failed}");

    // What has ended goes when it is old, and with it what failed and cannot go on.
    assert_eq!(remove_sweeps(&mut conn, 1).await.unwrap(), 0);
    run(&mut conn, "update letter_sweep set asked_at = now() - interval '2 days'").await;
    assert_eq!(remove_sweeps(&mut conn, 1).await.unwrap(), 1, "that which failed; the other ended lately");
    run(&mut conn, "update letter_sweep set ended_at = now() - interval '2 days'").await;
    assert_eq!(remove_sweeps(&mut conn, 1).await.unwrap(), 1);
}

/// Dead letters among which a batch is taken.
const CROWD: i64 = 12_000;

/// Pages that one letter of a batch may touch: leave the dead letters, enter the history, or the queue.
const BATCH_PAGES: i64 = 90;

#[tokio::test]
async fn a_batch_touches_as_few_pages_among_many_and_two_at_once_wait_for_each_other_in_no_circle() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    letters(&mut conn, None, 1_000_000, CROWD, "no luck with N").await;
    // Keys that stand in the other order than the ids, and one that two want.
    run(&mut conn, "update job_dead set unique_key = 'u' || (1000200 - job_id), order_key = 'o' || (1000200 - job_id) % 7 where job_id < 1000200;
        update job_dead set unique_key = 'u150' where job_id = 1000060; analyze job_dead").await;
    // Counted for as far as somebody waits, and said so.
    let bound = Bound { window: 100, windows: 3, time: Duration::from_secs(60) };
    let counted = found::count(&mut conn, None, &Letters::default(), bound).await.unwrap();
    assert_eq!((counted.count, counted.complete), (300, false));
    let late = Bound { time: Duration::ZERO, ..Bound::USUAL };
    assert!(!found::count(&mut conn, None, &Letters::default(), late).await.unwrap().complete);
    let nowhere = Letters { search: Some("nowhere".into()), ..Letters::default() };
    let leaf = found::page(&mut conn, None, &nowhere, None, 10, bound).await.unwrap();
    assert_eq!((leaf.letters.len(), leaf.reached), (0, Some(1_000_000 + CROWD - 300)));
    let rest = found::page(&mut conn, None, &nowhere, Some(1_000_250), 10, bound).await.unwrap();
    assert_eq!(rest.reached, None, "to the end");

    let begun = begin(&mut conn, SweepAction::Redrive, 1_000).await;
    let attempt = take(&mut conn).await;
    let mut worker = database.pool_as(DbRole::Worker).await.acquire().await.unwrap().detach();
    for _ in 0..2 {
        let (went, pages) = pages(&mut worker, async |c| go_on(c, &attempt, SweepId(begun.id)).await).await;
        println!("{} letters: {pages} pages", went.taken);
        assert!(went.taken == 100 && pages < 100 * BATCH_PAGES, "{pages} pages");
    }
    // A filter that hardly anything fits looks at ten times a batch, and goes on in the next.
    let rare =
        Letters { search: Some("with 11990".into()), until: Some(chrono::Utc::now()), ..Letters::default() };
    let given = serde_json::to_value(&rare).unwrap();
    sqlx::query("update letter_sweep set filter = $1").bind(given).execute(&mut conn).await.unwrap();
    let (went, pages) = pages(&mut worker, async |c| go_on(c, &attempt, SweepId(begun.id)).await).await;
    assert!(went.taken == 0 && !went.over && pages < 1_500, "{went:?}: {pages} pages");

    // Half of the ids to one, half to another, whose keys stand crosswise.
    let redrive = async |odd: i64| {
        let mut conn = database.connect().await;
        for round in 0..4 {
            let ids: Vec<i64> = (0..25).map(|i| 1_000_000 + round * 50 + 2 * i + odd).collect();
            let became: Vec<String> = sqlx::query_scalar(
                "select became from job_redrive_many_v1($1, array_fill(1::smallint, array[cardinality($1)]))",
            )
            .bind(&ids)
            .fetch_all(&mut conn)
            .await
            .unwrap();
            assert_eq!(became.len(), 25);
        }
    };
    tokio::join!(redrive(0), redrive(1));
    assert_eq!(number(&mut conn, DEAD).await, CROWD - 199, "of two that want one key one stays");
    assert_eq!(number(&mut conn, "select count(*) from job_key").await, 7);
    assert_eq!(
        number(&mut conn, "select count(*) from job_ready where kind = 'queue.noop'").await,
        7,
        "the first of each key"
    );
}
