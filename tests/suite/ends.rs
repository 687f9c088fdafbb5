//! How attempts end, by the queue's statements: done, failed, dead, lost, cancelled, handed back.

use std::time::Duration;

use jobs::queue::postgres::{control, lease, look, promote, rescue};
use jobs::queue::{Ack, NewJob, enqueue, finish, settle};
use rules::id::{JobId, LeaseToken};
use rules::queue::{MAX_CRASHES, Outcome, Why};
use sqlx::Connection;
use tests::{Database, wait};
use uuid::Uuid;

use crate::queue::{ack, expire_leases, failed, noop, put, rescue_all, state, take};

#[tokio::test]
async fn exhausted_attempts_end_among_the_dead_with_every_error_and_can_be_redriven() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = put(&mut conn, noop("unlucky").unique("k", None)).await;
    for attempt in 1..=3 {
        let taken = take(&mut conn, 1).await;
        assert_eq!(taken[0].attempt, attempt);
        let settled = settle(&mut conn, &[ack(&taken[0], failed())]).await.unwrap();
        assert_eq!(settled.dead.len(), usize::from(attempt == 3));
        promote::promote(&mut conn, None).await.unwrap();
    }
    let dead = look::job(&mut conn, id, None).await.unwrap();
    assert_eq!((dead.state.as_str(), dead.error.as_deref()), ("DEAD", Some("no luck")));
    let attempts = look::attempts(&mut conn, id).await.unwrap();
    assert_eq!(attempts.iter().map(|a| (a.attempt, a.run_ms)).collect::<Vec<_>>(), [(1, 3), (2, 3), (3, 3)]);

    // While another live job holds its key it cannot come back.
    let holder = put(&mut conn, noop("other").unique("k", None)).await;
    let refused = control::redrive(&mut conn, id, 3).await.unwrap_err();
    assert!(refused.to_string().contains("holds its uniqueness key"), "{refused}");
    control::cancel(&mut conn, holder).await.unwrap();

    control::redrive(&mut conn, id, 3).await.unwrap();
    let taken = take(&mut conn, 1).await;
    assert_eq!((taken[0].id, taken[0].attempt, taken[0].max_attempts), (id, 4, 6));
    settle(&mut conn, &[ack(&taken[0], Outcome::Done)]).await.unwrap();
    assert_eq!(look::attempts(&mut conn, id).await.unwrap().len(), 3);
    let left: i64 =
        sqlx::query_scalar("select count(*) from job_attempt").fetch_one(&mut conn).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_lost_lease_can_settle_nothing() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = put(&mut conn, noop("contested")).await;
    let lost = take(&mut conn, 1).await.remove(0);
    expire_leases(&mut conn).await;
    assert_eq!(rescue_all(&mut conn).await.count, 1);
    let held = take(&mut conn, 1).await.remove(0);
    assert_eq!((held.id, held.attempt, held.crashes), (id, 1, 1));

    let stale = finish(&mut conn, &lost, Duration::ZERO).await.unwrap_err();
    assert!(stale.to_string().contains("lease"), "{stale}");
    let told = lease::renew(&mut conn, &[(lost.id, lost.token), (held.id, held.token)]).await.unwrap();
    assert_eq!(told, [lease::Renewed::Lost, lease::Renewed::Held]);
    // Both attempts of the job in one batch: only the holder's counts.
    let both = [ack(&lost, failed()), ack(&held, Outcome::Done)];
    assert_eq!(settle(&mut conn, &both).await.unwrap().stale, [id]);
    assert_eq!(state(&mut conn, id).await, "DONE");
    let attempts = look::attempts(&mut conn, id).await.unwrap();
    assert_eq!(attempts.iter().map(|a| a.crashed).collect::<Vec<_>>(), [true]);
}

#[tokio::test]
async fn a_job_under_which_workers_keep_dying_is_quarantined() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = put(&mut conn, noop("poison")).await;
    for crash in 1..=MAX_CRASHES {
        let taken = take(&mut conn, 1).await;
        assert_eq!(taken[0].attempt, 1, "a crash is not an attempt");
        expire_leases(&mut conn).await;
        let rescued = rescue_all(&mut conn).await;
        assert_eq!(rescued.dead.len(), usize::from(crash == MAX_CRASHES));
    }
    assert_eq!(state(&mut conn, id).await, "DEAD");
    let reason: String =
        sqlx::query_scalar("select reason from job_dead").fetch_one(&mut conn).await.unwrap();
    assert_eq!(reason, "poison");
    control::redrive(&mut conn, id, 1).await.unwrap();
    assert_eq!(take(&mut conn, 1).await[0].crashes, 0);
}

#[tokio::test]
async fn one_at_a_time_rescues_and_what_is_doomed_is_ended_by_who_asks_for_it() {
    let database = Database::new().await;
    let (mut one, mut other) = (database.connect().await, database.connect().await);
    let id = put(&mut one, noop("poison")).await;
    for _ in 1..MAX_CRASHES {
        take(&mut one, 1).await;
        expire_leases(&mut one).await;
        rescue_all(&mut one).await;
    }
    take(&mut one, 1).await;
    expire_leases(&mut one).await;
    let (mut first, mut second) = (one.begin().await.unwrap(), other.begin().await.unwrap());
    assert_eq!(rescue::rescue(&mut first).await.unwrap().unwrap().count, 0, "it is not to run again");
    assert!(rescue::rescue(&mut second).await.unwrap().is_none());
    assert_eq!(rescue::doomed(&mut first).await.unwrap(), [id.0]);
    second.rollback().await.unwrap();
    assert_eq!(rescue::rescue_ending(&mut first, &[id.0]).await.unwrap().dead.len(), 1);
    assert_eq!(rescue::rescue_ending(&mut other, &[id.0]).await.unwrap().count, 0, "another is at it");
    first.commit().await.unwrap();
    assert_eq!(rescue::doomed(&mut other).await.unwrap(), Vec::<i64>::new());
}

#[tokio::test]
async fn cancelling_ends_what_waits_and_tells_what_runs() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let ready = put(&mut conn, noop("ready")).await;
    let later = put(&mut conn, noop("later").after(Duration::from_secs(60))).await;
    for id in [ready, later] {
        assert!(matches!(control::cancel(&mut conn, id).await.unwrap(), control::Cancel::Cancelled(_)));
        assert_eq!(state(&mut conn, id).await, "CANCELLED");
        assert_eq!(control::cancel(&mut conn, id).await.unwrap(), control::Cancel::Ended);
    }
    let running = put(&mut conn, noop("running")).await;
    let taken = take(&mut conn, 1).await;
    assert_eq!(control::cancel(&mut conn, running).await.unwrap(), control::Cancel::Cancelling);
    let told = lease::renew(&mut conn, &[(taken[0].id, taken[0].token)]).await.unwrap();
    assert_eq!(told, [lease::Renewed::CancelRequested]);
    settle(&mut conn, &[ack(&taken[0], Outcome::Cancelled)]).await.unwrap();
    assert_eq!(state(&mut conn, running).await, "CANCELLED");
    let unknown = control::cancel(&mut conn, JobId(1 << 40)).await.unwrap_err();
    assert_eq!(unknown.to_string(), format!("there is no job {}", 1i64 << 40));
}

#[tokio::test]
async fn a_paused_queue_is_left_alone_until_it_is_resumed() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    control::pause(&mut conn, "maintenance", "tester").await.unwrap();
    let id = put(&mut conn, noop("waits")).await;
    assert!(take(&mut conn, 1).await.is_empty());
    assert_eq!(look::why(&mut conn, id).await.unwrap(), Some(Why::QueuePaused));
    control::resume(&mut conn, "maintenance").await.unwrap();
    assert_eq!(look::why(&mut conn, id).await.unwrap(), Some(Why::NoWorker));
    assert_eq!(take(&mut conn, 1).await[0].id, id);
    assert!(control::pause(&mut conn, "nowhere", "tester").await.is_err());
}

#[tokio::test]
async fn cancelling_within_a_line_beside_the_end_of_its_head_strands_nobody() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let jobs: Vec<NewJob> = (0..3).map(|i| noop(&i.to_string()).ordered("k")).collect();
    let ids: Vec<JobId> = enqueue(&mut conn, &jobs).await.unwrap().iter().map(|e| e.id).collect();
    let head = take(&mut conn, 1).await;
    let pool = database.pool().await;
    let mut cancelling = pool.begin().await.unwrap();
    control::cancel(&mut cancelling, ids[1]).await.unwrap();
    // The head's acknowledgement meets the next in line while that one is being cancelled.
    let ack = [ack(&head[0], Outcome::Done)];
    let mut other = database.connect().await;
    let settling = async { settle(&mut other, &ack).await.unwrap() };
    let committing = async {
        wait::until("the acknowledgement waits", || async {
            let waiting: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
                .fetch_one(&pool).await.unwrap();
            waiting > 0
        })
        .await;
        cancelling.commit().await.unwrap();
    };
    futures::join!(settling, committing);
    assert_eq!(take(&mut conn, 10).await.iter().map(|a| a.id).collect::<Vec<_>>(), [ids[2]]);
}

#[tokio::test]
async fn an_acknowledgement_that_ends_jobs_in_several_ways_locks_their_keys_in_order() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let of = |key: &str| noop(key).ordered(key);
    enqueue(&mut conn, &[of("a"), of("b")]).await.unwrap();
    let taken = take(&mut conn, 2).await;
    // The done are passed on before the dead, and here the done one has the later key.
    let acks = [ack(&taken[1], Outcome::Done), ack(&taken[0], Outcome::Dead { error: "never".into() })];
    let pool = database.pool().await;
    let mut enqueuing = pool.begin().await.unwrap();
    put(&mut enqueuing, of("a")).await;
    let settling = async { settle(&mut conn, &acks).await };
    let going_on = async {
        wait::until("the acknowledgement waits", || async {
            let waiting: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
                .fetch_one(&pool).await.unwrap();
            waiting > 0
        })
        .await;
        let put = enqueue(&mut enqueuing, &[of("b")]).await;
        enqueuing.commit().await.and(put.map_err(|e| sqlx::Error::Protocol(e.to_string())))
    };
    let (settled, put) = futures::join!(settling, going_on);
    put.expect("the one that enqueues is not in the way");
    assert_eq!(settled.unwrap().dead.len(), 1);
    // Both keys have gone to the next in line.
    let mut conn = database.connect().await;
    assert_eq!(take(&mut conn, 10).await.len(), 2);
}

#[tokio::test]
async fn a_lease_that_is_being_settled_holds_up_no_renewal() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    enqueue(&mut conn, &[noop("a"), noop("b")]).await.unwrap();
    let taken = take(&mut conn, 2).await;
    let pool = database.pool().await;
    let mut settling = pool.begin().await.unwrap();
    settle(&mut settling, &[ack(&taken[0], Outcome::Done)]).await.unwrap();
    let leases: Vec<_> = taken.iter().map(|a| (a.id, a.token)).collect();
    let told = lease::renew(&mut conn, &leases).await.unwrap();
    assert_eq!(told, [lease::Renewed::Settling, lease::Renewed::Held]);
    settling.commit().await.unwrap();
    let told = lease::renew(&mut conn, &leases).await.unwrap();
    assert_eq!(told, [lease::Renewed::Lost, lease::Renewed::Held]);
}

#[tokio::test]
async fn what_is_cancelled_while_it_runs_does_not_come_back() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    for outcome in [failed(), Outcome::Snooze { after: Duration::ZERO }, Outcome::Released] {
        let id = put(&mut conn, noop("unwanted")).await;
        let taken = take(&mut conn, 1).await;
        control::cancel(&mut conn, id).await.unwrap();
        settle(&mut conn, &[ack(&taken[0], outcome)]).await.unwrap();
        assert_eq!(state(&mut conn, id).await, "CANCELLED");
    }
    // One that waits after a failed attempt takes the attempt's record with it.
    let id = put(&mut conn, noop("unlucky")).await;
    let taken = take(&mut conn, 1).await;
    settle(&mut conn, &[ack(&taken[0], failed())]).await.unwrap();
    control::cancel(&mut conn, id).await.unwrap();
    assert_eq!(look::attempts(&mut conn, id).await.unwrap().len(), 1);
    let left: i64 =
        sqlx::query_scalar("select count(*) from job_attempt").fetch_one(&mut conn).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn an_error_that_postgres_cannot_keep_is_kept_without_what_it_cannot() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = put(&mut conn, noop("odd")).await;
    let taken = take(&mut conn, 1).await;
    let odd = Outcome::Dead { error: "nothing\0ness".into() };
    settle(&mut conn, &[ack(&taken[0], odd)]).await.unwrap();
    let view = look::job(&mut conn, id, None).await.unwrap();
    assert_eq!(view.error.as_deref(), Some("nothing␀ness"));
}

#[tokio::test]
async fn handing_back_and_snoozing_cost_no_attempt() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let id = put(&mut conn, noop("patient")).await;
    for outcome in [Outcome::Released, Outcome::Snooze { after: Duration::ZERO }] {
        let taken = take(&mut conn, 1).await;
        assert_eq!((taken[0].id, taken[0].attempt), (id, 1));
        settle(&mut conn, &[ack(&taken[0], outcome)]).await.unwrap();
        promote::promote(&mut conn, None).await.unwrap();
    }
    let taken = take(&mut conn, 1).await;
    assert_eq!(taken[0].attempt, 1);
    let after = Duration::from_secs(3_600);
    let mut later = ack(&taken[0], Outcome::Snooze { after });
    later.delay = after;
    settle(&mut conn, &[later]).await.unwrap();
    let why = look::why(&mut conn, id).await.unwrap();
    assert!(matches!(why, Some(Why::PutOff(_))), "{why:?}");
}

#[tokio::test]
async fn one_batch_may_hold_every_outcome() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let jobs: Vec<NewJob> = (0..7).map(|i| noop(&i.to_string())).collect();
    enqueue(&mut conn, &jobs).await.unwrap();
    let taken = take(&mut conn, 10).await;
    let outcomes = [
        Outcome::Done,
        failed(),
        Outcome::Dead { error: "never".into() },
        Outcome::Snooze { after: Duration::ZERO },
        Outcome::Cancelled,
        Outcome::Released,
        Outcome::Done,
    ];
    let mut acks: Vec<Ack> = taken.iter().zip(outcomes).map(|(a, o)| ack(a, o)).collect();
    acks.reverse();
    acks[0].token = LeaseToken(Uuid::new_v4());
    let settled = settle(&mut conn, &acks).await.unwrap();
    assert_eq!(settled.stale, [taken[6].id]);
    assert_eq!(settled.dead.iter().map(|d| d.id).collect::<Vec<_>>(), [taken[2].id]);
    let mut states = Vec::new();
    for attempt in &taken {
        states.push(state(&mut conn, attempt.id).await);
    }
    assert_eq!(states, ["DONE", "SCHEDULED", "DEAD", "SCHEDULED", "CANCELLED", "READY", "LEASED"]);
}
