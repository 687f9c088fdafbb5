//! The queue's statements, one step of a job's life at a time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jobs::db::PgConnection;
use jobs::payload::noop::Noop;
use jobs::queue::postgres::claim::{Want, claim};
use jobs::queue::postgres::rescue::{self, Rescued};
use jobs::queue::postgres::{ack, control, look, promote};
use jobs::queue::{Ack, Attempt, NewJob, enqueue, settle};
use rules::id::{JobId, TenantId, WorkerId};
use rules::queue::{Kind, Outcome, Pool, Priority, State, Why};
use tests::Database;
use uuid::Uuid;

pub(crate) fn noop(note: &str) -> NewJob {
    NewJob::of(&Noop { note: note.into(), ..Noop::default() }).unwrap()
}

pub(crate) async fn put(conn: &mut PgConnection, job: NewJob) -> JobId {
    let put = enqueue(conn, &[job]).await.unwrap();
    put[0].id
}

pub(crate) async fn take(conn: &mut PgConnection, limit: i32) -> Vec<Attempt> {
    take_from(conn, limit, [0; 4]).await
}

async fn take_from(conn: &mut PgConnection, limit: i32, marks: [i64; 4]) -> Vec<Attempt> {
    let want = Want { pool: Pool::Maintenance, limit, marks };
    let claimed = claim(conn, WorkerId(Uuid::new_v4()), &[Kind::Noop], &[want]).await.unwrap();
    claimed.into_iter().map(|c| c.attempt).collect()
}

pub(crate) fn ack(attempt: &Attempt, outcome: Outcome) -> Ack {
    Ack {
        id: attempt.id,
        token: attempt.token,
        outcome,
        delay: Duration::ZERO,
        ran: Duration::from_millis(3),
        keeps: None,
    }
}

pub(crate) fn failed() -> Outcome {
    Outcome::Retry { error: "no luck".into(), after: None }
}

pub(crate) async fn state(conn: &mut PgConnection, id: JobId) -> String {
    look::job(conn, id, None).await.unwrap().state
}

/// Takes back whatever ran out, as a worker does.
pub(crate) async fn rescue_all(conn: &mut PgConnection) -> Rescued {
    let mut all = rescue::rescue(conn).await.unwrap().expect("nobody else is at it");
    let doomed = rescue::doomed(conn).await.unwrap();
    let ended = rescue::rescue_ending(conn, &doomed).await.unwrap();
    all.count += ended.count;
    all.dead.extend(ended.dead);
    all.woken.extend(ended.woken);
    all
}

pub(crate) async fn expire_leases(conn: &mut PgConnection) {
    sqlx::query("update job_lease set lease_until = now() - interval '1 second'")
        .execute(conn)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_job_exists_if_and_only_if_its_cause_commits() {
    let database = Database::new().await;
    let pool = database.pool().await;
    let mut tx = pool.begin().await.unwrap();
    let id = put(&mut tx, noop("undone")).await;
    tx.rollback().await.unwrap();
    let mut conn = database.connect().await;
    assert!(look::job(&mut conn, id, None).await.is_err());
    assert!(take(&mut conn, 10).await.is_empty());

    let id = put(&mut conn, noop("kept")).await;
    assert_eq!(state(&mut conn, id).await, "READY");
    let attempts = take(&mut conn, 10).await;
    assert_eq!(attempts.len(), 1);
    assert_eq!((attempts[0].id, attempts[0].attempt), (id, 1));
    assert_eq!(state(&mut conn, id).await, "LEASED");
    let settled = settle(&mut conn, &[ack(&attempts[0], Outcome::Done)]).await.unwrap();
    assert!(settled.stale.is_empty());
    assert_eq!(state(&mut conn, id).await, "DONE");
}

#[tokio::test]
async fn urgent_jobs_go_first_and_equals_in_order() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let jobs = [
        noop("a"),
        noop("b").priority(Priority::Low),
        noop("c").priority(Priority::Urgent),
        noop("d"),
        noop("e").priority(Priority::Urgent),
    ];
    let ids: Vec<JobId> = enqueue(&mut conn, &jobs).await.unwrap().iter().map(|e| e.id).collect();
    let mut order = Vec::new();
    for _ in 0..5 {
        order.extend(take(&mut conn, 1).await.iter().map(|a| a.id));
    }
    assert_eq!(order, [ids[2], ids[4], ids[0], ids[3], ids[1]]);
}

#[tokio::test]
async fn a_uniqueness_key_returns_the_job_already_there() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let job = || noop("one").unique("k", None);
    let both = enqueue(&mut conn, &[job(), job()]).await.unwrap();
    assert_eq!((both[0].existing, both[1].existing), (false, true));
    assert_eq!(both[0].id, both[1].id);
    let other_tenant = noop("one").tenant(TenantId(Uuid::now_v7())).unique("k", None);
    assert!(!enqueue(&mut conn, &[other_tenant]).await.unwrap()[0].existing);

    // Live is enough: also while it is leased. Once it is done the key is free.
    let attempts = take(&mut conn, 10).await;
    assert_eq!(attempts.len(), 2);
    assert!(enqueue(&mut conn, &[job()]).await.unwrap()[0].existing);
    let done: Vec<Ack> = attempts.iter().map(|a| ack(a, Outcome::Done)).collect();
    settle(&mut conn, &done).await.unwrap();
    assert!(!enqueue(&mut conn, &[job()]).await.unwrap()[0].existing);
}

#[tokio::test]
async fn a_kept_key_outlives_its_job() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let job = || noop("one").unique("k", Some(Duration::from_secs(3600)));
    let id = put(&mut conn, job()).await;
    let attempts = take(&mut conn, 1).await;
    settle(&mut conn, &[ack(&attempts[0], Outcome::Done)]).await.unwrap();
    let again = enqueue(&mut conn, &[job()]).await.unwrap();
    assert_eq!((again[0].id, again[0].existing), (id, true));
    sqlx::query("update job_unique set keep_until = now() - interval '1 second'")
        .execute(&mut conn)
        .await
        .unwrap();
    assert!(!enqueue(&mut conn, &[job()]).await.unwrap()[0].existing);
}

#[tokio::test]
async fn concurrent_enqueues_of_one_key_make_one_job() {
    let database = Database::new().await;
    let pool = database.pool().await;
    let enqueues = (0..16).map(|_| {
        let pool = pool.clone();
        async move {
            let mut tx = pool.begin().await.unwrap();
            let put = enqueue(&mut tx, &[noop("one").unique("k", None)]).await.unwrap();
            tx.commit().await.unwrap();
            put[0].id
        }
    });
    let ids = futures::future::join_all(enqueues).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn one_of_a_key_runs_at_a_time_first_in_first_out() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let jobs: Vec<NewJob> = (0..4).map(|i| noop(&i.to_string()).ordered("machine:1")).collect();
    let ids: Vec<JobId> = enqueue(&mut conn, &jobs).await.unwrap().iter().map(|e| e.id).collect();
    let head = take(&mut conn, 10).await;
    assert_eq!(head.iter().map(|a| a.id).collect::<Vec<_>>(), [ids[0]]);
    assert_eq!(look::why(&mut conn, ids[1]).await.unwrap(), Some(Why::KeyBusy(ids[0].0)));

    // A retry keeps the key.
    settle(&mut conn, &[ack(&head[0], failed())]).await.unwrap();
    assert!(take(&mut conn, 10).await.is_empty());
    promote::promote(&mut conn, None).await.unwrap();
    let head = take(&mut conn, 10).await;
    assert_eq!((head[0].id, head[0].attempt), (ids[0], 2));
    let settled = settle(&mut conn, &[ack(&head[0], Outcome::Done)]).await.unwrap();
    assert_eq!(settled.woken, [Pool::Maintenance.id()]);

    // The cancelled and the dead pass the key on, too; one that waits behind leaves no gap.
    control::cancel(&mut conn, ids[2]).await.unwrap();
    let next = take(&mut conn, 10).await;
    assert_eq!(next.iter().map(|a| a.id).collect::<Vec<_>>(), [ids[1]]);
    settle(&mut conn, &[ack(&next[0], Outcome::Dead { error: "never".into() })]).await.unwrap();
    let last = take(&mut conn, 10).await;
    assert_eq!(last.iter().map(|a| a.id).collect::<Vec<_>>(), [ids[3]]);
    settle(&mut conn, &[ack(&last[0], Outcome::Done)]).await.unwrap();
    let keys: i64 = sqlx::query_scalar("select count(*) from job_key").fetch_one(&mut conn).await.unwrap();
    assert_eq!(keys, 0);
}

#[tokio::test]
async fn a_delayed_job_waits_for_its_time_and_then_for_its_key() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = put(&mut conn, noop("later").after(Duration::from_secs(3600)).ordered("k")).await;
    let first = put(&mut conn, noop("now").ordered("k")).await;
    assert!(matches!(look::why(&mut conn, id).await.unwrap(), Some(Why::NotDue(_))));
    assert_eq!(promote::promote(&mut conn, None).await.unwrap().count, 0);
    sqlx::query("update job_scheduled set run_at = now() - interval '1 second'")
        .execute(&mut conn)
        .await
        .unwrap();
    assert_eq!(promote::promote(&mut conn, None).await.unwrap().count, 1);
    assert_eq!(look::why(&mut conn, id).await.unwrap(), Some(Why::KeyBusy(first.0)));
    let head = take(&mut conn, 10).await;
    assert_eq!(head.len(), 1);
    settle(&mut conn, &[ack(&head[0], Outcome::Done)]).await.unwrap();
    assert_eq!(take(&mut conn, 10).await[0].id, id);
}

#[tokio::test]
async fn a_kind_that_nobody_knows_stays_and_says_so() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = put(&mut conn, noop("from tomorrow")).await;
    for table in ["job", "job_ready"] {
        let statement = format!("update {table} set kind = 'vm.levitate'");
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut conn).await.unwrap();
    }
    sqlx::query("insert into job_worker (id, name, pid, version, pools, kinds, slots) values (gen_random_uuid(), 'w', 1, '0', '{4}', '{queue.noop}', 1)")
        .execute(&mut conn)
        .await
        .unwrap();
    assert!(take(&mut conn, 1).await.is_empty());
    assert_eq!(look::why(&mut conn, id).await.unwrap(), Some(Why::KindUnknown));
    let known = put(&mut conn, noop("known")).await;
    assert_eq!(take(&mut conn, 1).await[0].id, known);
}

#[tokio::test]
async fn a_claim_starts_behind_its_mark_and_takes_no_more_than_it_wants() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let jobs: Vec<NewJob> = (0..10).map(|i| noop(&i.to_string())).collect();
    enqueue(&mut conn, &jobs).await.unwrap();
    let third: i64 = sqlx::query_scalar("select pos from job_ready order by pos offset 2 limit 1")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(take_from(&mut conn, 4, [third; 4]).await.len(), 4);
    assert_eq!(take_from(&mut conn, 100, [third; 4]).await.len(), 3);
    assert_eq!(take(&mut conn, 100).await.len(), 3);
}

#[tokio::test]
async fn pages_show_every_state_newest_first_and_only_the_tenants_own() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let tenant = TenantId(Uuid::now_v7());
    let mine: Vec<NewJob> = (0..5).map(|i| noop(&i.to_string()).tenant(tenant)).collect();
    let ids: Vec<i64> = enqueue(&mut conn, &mine).await.unwrap().iter().map(|e| e.id.0).collect();
    put(&mut conn, noop("another's")).await;
    let filter = look::Filter { tenant: Some(tenant), ..look::Filter::default() };
    let page = look::page(&mut conn, &filter, 3).await.unwrap();
    assert_eq!(page.iter().map(|j| j.id).collect::<Vec<_>>(), [ids[4], ids[3], ids[2]]);
    let rest = look::Filter { before: Some(ids[2]), ..filter.clone() };
    let page = look::page(&mut conn, &rest, 3).await.unwrap();
    assert_eq!(page.iter().map(|j| j.id).collect::<Vec<_>>(), [ids[1], ids[0]]);
    let taken = take(&mut conn, 1).await;
    settle(&mut conn, &[ack(&taken[0], Outcome::Done)]).await.unwrap();
    let done = look::Filter { state: Some(State::Done), ..filter };
    assert_eq!(look::page(&mut conn, &done, 10).await.unwrap().len(), 1);
    let other = look::job(&mut conn, JobId(ids[0]), Some(TenantId(Uuid::now_v7()))).await;
    assert_eq!(other.unwrap_err().to_string(), format!("there is no job {}", ids[0]));
    assert!(ack::dead_jobs(&mut conn, &ids).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_beyond_a_bound_is_refused_with_the_bound() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let huge = Noop { note: "x".repeat(300_000), ..Noop::default() };
    assert!(NewJob::of(&huge).unwrap_err().to_string().contains("at most 262144 fit"));
    let long = noop("long").ordered("k".repeat(513));
    let refused = enqueue(&mut conn, &[long]).await.unwrap_err().to_string();
    assert_eq!(refused, "a key of a `queue.noop` job has 513 bytes; it must have between 1 and 512");
    for absurd in [Utc::now() + chrono::TimeDelta::days(367), DateTime::<Utc>::MAX_UTC] {
        let refused = enqueue(&mut conn, &[noop("far").at(absurd)]).await.unwrap_err();
        assert_eq!(refused.code, jobs::Code::Invalid);
        assert_eq!(
            refused.to_string(),
            "the due time of a `queue.noop` job is more than 366 days away; name an earlier one"
        );
    }
    let kept = noop("kept").unique("k", Some(Duration::MAX));
    let refused = enqueue(&mut conn, &[kept]).await.unwrap_err().to_string();
    assert!(refused.contains("is to be kept for more than 366 days"), "{refused}");
    // The past is now, and a delay without end is cut.
    let past = noop("past").at(DateTime::<Utc>::UNIX_EPOCH);
    let put = enqueue(&mut conn, &[past, noop("late").after(Duration::MAX)]).await.unwrap();
    let (live,): (i64,) =
        sqlx::query_as("select count(*) from job_scheduled where run_at < now() + interval '367 days'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!((put.len(), live), (2, 1), "only the late one waits for its time");
}

#[tokio::test]
async fn whoever_waits_no_more_need_not_know_whether_the_job_is_still_known() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let nobodys = JobId(i64::MAX);
    assert_eq!(control::withdraw(&mut conn, nobodys).await.unwrap(), control::Cancel::Ended);
    let refused = control::cancel(&mut conn, nobodys).await.unwrap_err();
    assert_eq!(refused.code, jobs::Code::NotFound);
}
