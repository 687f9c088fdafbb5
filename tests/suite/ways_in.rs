//! Every way into the queue leads to the same rows, and one that is abandoned leaves nothing broken.

use std::time::Duration;

use jobs::db::PgConnection;
use jobs::queue::{NewJob, enqueue, enqueue_all};
use rules::id::{JobId, TenantId};
use rules::queue::{Pool, Priority};
use tests::{Database, wait};
use uuid::Uuid;

use crate::queue::{noop, put, take};

/// What a job is and where it stands, without what is drawn anew for each.
async fn rows(conn: &mut PgConnection, ids: &[JobId]) -> Vec<String> {
    sqlx::query_scalar(
        "select (to_jsonb(j) - 'id' - 'created_at')::text || (to_jsonb(r) - 'job_id' - 'pos' - 'ready_at')::text
        from unnest($1::bigint[]) with ordinality u(id, o) join job j on j.id = u.id join job_ready r on r.job_id = u.id
        where r.ready_at = j.created_at order by u.o",
    )
    .bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())
    .fetch_all(conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn every_way_in_leads_to_the_same_rows() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let tenant = TenantId(Uuid::now_v7());
    let traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let jobs: Vec<NewJob> = (0..150)
        .map(|i| {
            let job = noop(&format!("{i} \u{e9} \"quoted\"")).max_attempts(1 + i % 7);
            let job = job.priority(Priority::ALL[usize::from(i % 4)]);
            if i % 2 == 0 { job } else { job.tenant(tenant).trace(Some(traced.into())) }
        })
        .collect();
    let ids = |enqueued: Vec<jobs::queue::Enqueued>| {
        assert!(enqueued.iter().all(|e| !e.existing && e.pool == Pool::Maintenance.id()));
        enqueued.into_iter().map(|e| e.id).collect::<Vec<_>>()
    };
    let pool = database.pool().await;
    let mut ways: Vec<Vec<JobId>> = Vec::new();
    // The function for all sorts.
    ways.push(ids(enqueue(&mut conn, &jobs).await.unwrap()));
    // One by one, as statements of their own and in a transaction.
    let mut alone = Vec::new();
    for job in &jobs {
        alone.extend(ids(enqueue(&mut conn, std::slice::from_ref(job)).await.unwrap()));
    }
    ways.push(alone);
    let mut tx = jobs::db::begin(&pool).await.unwrap();
    let mut within = Vec::new();
    for job in &jobs {
        within.extend(ids(enqueue(&mut tx, std::slice::from_ref(job)).await.unwrap()));
    }
    ways.push(within);
    ways.push(ids(enqueue(&mut tx, &jobs).await.unwrap()));
    tx.commit().await.unwrap();
    // Copied, and too few to be copied.
    ways.push(ids(enqueue_all(&pool, jobs.clone()).await.unwrap()));
    // A role that row policies apply to may not copy, and gets there all the same.
    let worker = database.pool_as(jobs::db::wall::DbRole::Worker).await;
    ways.push(ids(enqueue_all(&worker, jobs.clone()).await.unwrap()));
    let mut few = ids(enqueue_all(&pool, jobs[..9].to_vec()).await.unwrap());
    few.extend(ids(enqueue_all(&pool, jobs[9..].to_vec()).await.unwrap()));
    ways.push(few);
    let expected = rows(&mut conn, &ways[0]).await;
    assert_eq!(expected.len(), jobs.len());
    for way in &ways {
        assert!(way.is_sorted());
        assert_eq!(rows(&mut conn, way).await, expected);
    }
    let taken = take(&mut conn, 2_000).await;
    assert_eq!(taken.len(), jobs.len() * ways.len());

    // What the transaction does not keep, no way keeps.
    let mut tx = jobs::db::begin(&pool).await.unwrap();
    let gone = ids(enqueue(&mut tx, &jobs).await.unwrap());
    tx.rollback().await.unwrap();
    assert!(rows(&mut conn, &gone).await.is_empty());

    // What Postgres cannot keep is refused, and of the others nothing stays.
    let mut bad = jobs.clone();
    bad.push(noop("\0"));
    assert!(enqueue(&mut conn, &bad).await.is_err());
    assert!(enqueue(&mut conn, &bad[jobs.len()..]).await.is_err());
    assert!(enqueue_all(&pool, bad).await.is_err());
    assert!(take(&mut conn, 1_000).await.is_empty());
    // The connection serves on.
    assert_eq!(ids(enqueue(&mut pool.acquire().await.unwrap(), &jobs[..1]).await.unwrap()).len(), 1);
}

#[tokio::test]
async fn an_abandoned_copy_comes_to_its_end_and_breaks_no_connection() {
    let database = Database::new().await;
    let pool = database.pool().await;
    let jobs = vec![noop("many"); 5_000];
    for wait_us in (0..40).map(|i| i * 500) {
        let putting = enqueue_all(&pool, jobs.clone());
        drop(tokio::time::timeout(Duration::from_micros(wait_us), putting).await);
        let mut conn = pool.acquire().await.unwrap();
        let one: i32 = sqlx::query_scalar("select 1").fetch_one(&mut *conn).await.unwrap();
        assert_eq!(one, 1);
        put(&mut conn, noop("one")).await;
    }
    // Once begun it is done whole; the last one had time to begin.
    wait::until("what was begun is there, whole", || async {
        let count: i64 = sqlx::query_scalar("select count(*) from job_ready").fetch_one(&pool).await.unwrap();
        count > 40 && (count - 40) % 5_000 == 0
    })
    .await;
}
