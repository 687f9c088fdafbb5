//! Leases: one holder at a time by the database's clock, and no commit under a lost one.

use std::time::{Duration, Instant};

use jobs::db::wall::DbRole;
use jobs::lease::{acquire, fence, holding, release, renew};
use sqlx::Connection;
use tests::{Database, wait};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_lease_has_one_holder_and_the_next_holding_the_next_epoch() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (one, other) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(holding(&mut conn, "it").await.unwrap(), None);

    let claim = acquire(&mut conn, "it", one, LONG).await.unwrap().unwrap();
    assert_eq!(claim.epoch, 1);
    assert_eq!(acquire(&mut conn, "it", other, LONG).await.unwrap(), None);
    assert_eq!(acquire(&mut conn, "it", one, LONG).await.unwrap(), None, "not even by its holder");
    assert!(acquire(&mut conn, "another", other, LONG).await.unwrap().is_some());
    assert!(renew(&mut conn, &claim, LONG).await.unwrap());

    release(&mut conn, &claim).await.unwrap();
    let next = acquire(&mut conn, "it", other, LONG).await.unwrap().unwrap();
    assert_eq!(next.epoch, 2);
    let seen = holding(&mut conn, "it").await.unwrap().unwrap();
    assert_eq!((seen.holder, seen.epoch, seen.live), (other, 2, true));

    // Whatever the first still does under its claim comes too late.
    assert!(!renew(&mut conn, &claim, LONG).await.unwrap());
    assert!(!fence(&mut conn, &claim).await.unwrap());
    release(&mut conn, &claim).await.unwrap();
    assert!(fence(&mut conn, &next).await.unwrap());
}

#[tokio::test]
async fn an_expired_lease_is_lost_before_anybody_takes_it() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let claim = acquire(&mut conn, "it", Uuid::new_v4(), SHORT).await.unwrap().unwrap();
    let mut tx = conn.begin().await.unwrap();
    assert!(fence(&mut tx, &claim).await.unwrap());
    tx.rollback().await.unwrap();
    wait::until("the lease expires", || async {
        let mut look = database.connect().await;
        !holding(&mut look, "it").await.unwrap().unwrap().live
    })
    .await;
    assert!(!renew(&mut conn, &claim, LONG).await.unwrap());
    assert!(!fence(&mut conn, &claim).await.unwrap());
}

#[tokio::test]
async fn nobody_takes_the_lease_between_the_fence_and_the_commit() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let claim = acquire(&mut conn, "it", Uuid::new_v4(), SHORT).await.unwrap().unwrap();
    let mut tx = conn.begin().await.unwrap();
    sqlx::query("create table work (x int)").execute(&mut *tx).await.unwrap();
    assert!(fence(&mut tx, &claim).await.unwrap());

    let mut rival = database.connect().await;
    let taking = tokio::spawn(async move { (acquire(&mut rival, "it", Uuid::new_v4(), LONG).await, rival) });
    let pool = database.pool().await;
    // Expired or not, the rival either finds it held or waits for the row; it never gets past us.
    wait::until("the rival waits, or is refused", || async {
        let waits: i64 = sqlx::query_scalar("select count(*) from pg_locks where not granted")
            .fetch_one(&pool)
            .await
            .unwrap();
        waits > 0 || taking.is_finished()
    })
    .await;
    tx.commit().await.unwrap();
    let (taken, mut rival) = taking.await.unwrap();
    if taken.unwrap().is_none() {
        wait::until("the lease expires", || async {
            !holding(&mut pool.acquire().await.unwrap(), "it").await.unwrap().unwrap().live
        })
        .await;
        assert!(acquire(&mut rival, "it", Uuid::new_v4(), LONG).await.unwrap().is_some());
    }
    assert_eq!(holding(&mut rival, "it").await.unwrap().unwrap().epoch, 2);
    assert!(!fence(&mut conn, &claim).await.unwrap());
}

#[tokio::test]
async fn a_holder_that_falls_silent_between_the_fence_and_the_commit_keeps_the_next_waiting_for_seconds() {
    let database = Database::new().await;
    let pool = database.pool_as(DbRole::Worker).await;
    let mut tx = pool.begin().await.unwrap();
    let claim = acquire(&mut database.connect().await, "it", Uuid::new_v4(), SHORT).await.unwrap().unwrap();
    assert!(fence(&mut tx, &claim).await.unwrap());
    let began = Instant::now();
    wait::until("another takes it", || async {
        let mut rival = database.connect().await;
        acquire(&mut rival, "it", Uuid::new_v4(), LONG).await.unwrap().is_some()
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(tx.commit().await.is_err(), "what was fenced is undone");
    // The limit is that transaction's alone.
    let of = "select current_setting('idle_in_transaction_session_timeout')";
    let claim = acquire(&mut database.connect().await, "other", Uuid::new_v4(), LONG).await.unwrap().unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let mut tx = conn.begin().await.unwrap();
    assert!(fence(&mut tx, &claim).await.unwrap());
    let within: String = sqlx::query_scalar(of).fetch_one(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let after: String = sqlx::query_scalar(of).fetch_one(&mut *conn).await.unwrap();
    assert_eq!((within.as_str(), after.as_str()), ("5s", "30s"));
}
