//! What dead workers hold is taken back, whoever else holds what it needs to end.

use jobs::queue::NewJob;
use rules::queue::{MAX_CRASHES, Pool};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tests::{Database, Hands, wait};

use crate::queue::{noop, put, state, take};

async fn run(conn: &mut PgConnection, statement: &str) -> u64 {
    sqlx::query(AssertSqlSafe(statement.to_owned())).execute(conn).await.unwrap().rows_affected()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_key_keeps_only_what_ends_under_it_and_all_others_are_rescued() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let line = |key: &str| -> NewJob { noop(key).ordered(key) };
    let poison = [put(&mut conn, line("held")).await, put(&mut conn, line("free")).await];
    let behind = [put(&mut conn, line("held")).await, put(&mut conn, line("free")).await];
    let cancelled = put(&mut conn, line("cancelled")).await;
    let mut living = vec![put(&mut conn, line("living")).await];
    for number in 0..20 {
        living.push(put(&mut conn, noop(&number.to_string())).await);
    }
    assert_eq!(take(&mut conn, 30).await.len(), 3 + living.len());
    let ids = format!("{}, {}", poison[0], poison[1]);
    run(&mut conn, &format!("update job_lease set crashes = {} where job_id in ({ids})", MAX_CRASHES - 1))
        .await;
    run(&mut conn, &format!("update job_lease set cancel_requested = true where job_id = {cancelled}")).await;
    run(&mut conn, "update job_lease set lease_until = now() - interval '1 second'").await;

    let mut holder = database.connect().await;
    let mut lock = holder.begin().await.unwrap();
    let keys = "select from job_key where key like '%held' or key like '%living' for update";
    assert_eq!(run(&mut lock, keys).await, 2);
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    // The first of the living has a key that is held too, and its result waits for that.
    for id in living.iter().skip(1).copied().chain([behind[1]]) {
        wait::until(&format!("{id} is done"), async || {
            state(&mut *database.desk().await, id).await == "DONE"
        })
        .await;
    }
    for (id, end) in [(poison[1], "DEAD"), (cancelled, "CANCELLED")] {
        wait::until(&format!("{id} is {end}"), async || state(&mut *database.desk().await, id).await == end)
            .await;
    }
    assert_eq!(state(&mut conn, poison[0]).await, "LEASED", "its end needs the key");
    assert_eq!(state(&mut conn, behind[0]).await, "BLOCKED");
    lock.rollback().await.unwrap();
    for (id, end) in [(poison[0], "DEAD"), (behind[0], "DONE"), (living[0], "DONE")] {
        wait::until(&format!("{id} is {end}"), async || state(&mut *database.desk().await, id).await == end)
            .await;
    }
    hands.stop().await;
}
