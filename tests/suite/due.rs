//! What falls due is promoted, whoever holds the order keys of others, and no promotion keeps workers from their work.

use std::time::Duration;

use jobs::db::PgConnection;
use jobs::queue::postgres::promote::{BATCH, promote};
use jobs::queue::postgres::{control, look};
use jobs::queue::{NewJob, enqueue, settle};
use rules::id::JobId;
use rules::queue::{Outcome, Pool, Why};
use sqlx::{AssertSqlSafe, Connection};
use tests::{Database, Hands, wait};

use crate::queue::{ack, noop, put, state, take};

/// Longer than any test.
const LATER: Duration = Duration::from_secs(3_600);

fn later(key: &str) -> NewJob {
    noop(key).after(LATER).ordered(key)
}

async fn run(conn: &mut PgConnection, statement: &str) -> u64 {
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(conn).await.unwrap().rows_affected()
}

/// Lets all that waits for its time fall due.
async fn fall_due(conn: &mut PgConnection) {
    run(conn, "update job_scheduled set run_at = now() - interval '1 second'").await;
}

async fn until(database: &Database, id: JobId, end: &str) {
    wait::until(&format!("job {id} is {end}"), async || state(&mut *database.desk().await, id).await == end)
        .await;
}

/// A job under this key that is leased, so that the key has a row and nobody works on it.
async fn leased(conn: &mut PgConnection, key: &str) -> jobs::queue::Attempt {
    put(conn, noop(key).ordered(key)).await;
    take(conn, 1).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_key_keeps_only_what_falls_due_under_it() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let head = leased(&mut conn, "held").await;
    let held = [put(&mut conn, later("held")).await, put(&mut conn, later("held")).await];
    let made = put(&mut conn, later("made")).await;
    let free = put(&mut conn, later("free")).await;
    let plain = put(&mut conn, noop("plain").after(LATER)).await;
    fall_due(&mut conn).await;

    // One key is locked, and one is just being made, so that nobody can see it.
    let mut other = database.connect().await;
    let mut holder = other.begin().await.unwrap();
    assert_eq!(run(&mut holder, "select from job_key where key like '%held' for update").await, 1);
    let first = put(&mut holder, noop("made").ordered("made")).await;
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    for id in [free, plain] {
        until(&database, id, "DONE").await;
    }
    // Work goes on while it is held, and not for the one claim alone.
    for number in 0..3 {
        let now = put(&mut conn, noop(&number.to_string())).await;
        until(&database, now, "DONE").await;
    }
    for id in [held[0], held[1], made] {
        assert_eq!(state(&mut conn, id).await, "SCHEDULED", "job {id}");
    }
    assert_eq!(look::why(&mut conn, held[0]).await.unwrap(), Some(Why::KeyBusy(head.id.0)));
    holder.commit().await.unwrap();
    settle(&mut conn, &[ack(&head, Outcome::Done)]).await.unwrap();
    for id in [first, made, held[0], held[1]] {
        until(&database, id, "DONE").await;
    }
    hands.stop().await;
}

#[tokio::test]
async fn a_long_line_under_a_held_key_hides_nothing_and_keeps_its_order() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let head = leased(&mut conn, "held").await;
    // More than one look of a promotion takes, all of them due first.
    let line: Vec<NewJob> = (0..2 * BATCH + 7).map(|_| later("held")).collect();
    let line: Vec<JobId> = enqueue(&mut conn, &line).await.unwrap().iter().map(|e| e.id).collect();
    run(&mut conn, "update job_scheduled set run_at = now() - interval '1 minute'").await;
    let plain = put(&mut conn, noop("plain").after(LATER)).await;
    run(&mut conn, &format!("update job_scheduled set run_at = now() where job_id = {plain}")).await;

    let mut other = database.connect().await;
    let mut holder = other.begin().await.unwrap();
    run(&mut holder, "select from job_key for update").await;
    let promoted = promote(&mut conn, None).await.unwrap();
    assert_eq!(promoted.count, 1, "what is left is not counted, or it would be tried again at once");
    assert_eq!(state(&mut conn, plain).await, "READY");
    holder.rollback().await.unwrap();

    let (mut after, mut moved) = (promoted.last, 0);
    while moved < line.len() {
        let promoted = promote(&mut conn, after).await.unwrap();
        assert!(promoted.count > 0, "{moved} of {} were moved", line.len());
        moved += usize::try_from(promoted.count).unwrap();
        after = promoted.last.map(|last| last - Duration::from_secs(1));
    }
    let blocked: Vec<i64> =
        sqlx::query_scalar("select job_id from job_blocked order by seq").fetch_all(&mut conn).await.unwrap();
    assert!(blocked.iter().eq(line.iter().map(|id| &id.0)));
    control::cancel(&mut conn, line[0]).await.unwrap();
    settle(&mut conn, &[ack(&head, Outcome::Done)]).await.unwrap();
    let taken = take(&mut conn, 2).await;
    assert_eq!(taken.iter().map(|a| a.id).collect::<Vec<_>>(), [plain, line[1]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_fails_keeps_no_ready_job_waiting() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    run(
        &mut conn,
        "create or replace function job_promote_v2(p_after timestamptz, p_limit integer, out promoted integer, out woken integer[],
            out last_run_at timestamptz, out next_run_at timestamptz)
        language plpgsql as $$ begin raise exception 'it fails'; end $$",
    )
    .await;
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    for number in 0..3 {
        let id = put(&mut conn, noop(&number.to_string())).await;
        until(&database, id, "DONE").await;
    }
    hands.stop().await;
}
