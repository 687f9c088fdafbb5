//! Order keys under workers: one at a time, in order, and no line keeps others waiting.

use std::time::Duration;

use jobs::db::{PgConnection, PgPool};
use jobs::payload::noop::Noop;
use jobs::queue::postgres::claim::{Want, claim};
use jobs::queue::postgres::{control, look};
use jobs::queue::wake::Hint;
use jobs::queue::{Ack, NewJob, Settled, Taker, enqueue, settle_and_take};
use rules::id::{JobId, WorkerId};
use rules::queue::{Kind, Outcome, Pool, Priority, Queue};
use rustix::process::Signal;
use tests::{Cutter, Database, Hands, Millrace, wait};
use uuid::Uuid;
use workers::WorkerConfig;

use crate::queue::{ack, noop, put, state, take};

/// Notes every turn: when a job of a key is leased and when its lease ends, and in which transaction.
const LEDGER: &str = "
    create table turn (seq bigserial, key text, job_id bigint, begins boolean, tx bigint default txid_current());
    create function note_turn() returns trigger language plpgsql as $$
    declare
        v_id bigint := case tg_op when 'INSERT' then new.job_id else old.job_id end;
    begin
        insert into turn (key, job_id, begins) select j.order_key, v_id, tg_op = 'INSERT' from job j where j.id = v_id and j.order_key is not null;
        return null;
    end $$;
    create trigger turns after insert or delete on job_lease for each row execute function note_turn();
    select wall_furnish_v1();";

async fn ledger() -> Database {
    let database = Database::new().await;
    sqlx::raw_sql(LEDGER).execute(&mut *database.desk().await).await.unwrap();
    database
}

async fn number(db: &PgPool, statement: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement.to_owned())).fetch_one(db).await.unwrap()
}

/// Turns that began in the transaction that ended the one before.
const HANDED: &str = "select count(*) from turn b join turn e on e.key = b.key and e.tx = b.tx and not e.begins and e.job_id <> b.job_id where b.begins";

/// In each key one turn ended before the next began, and the jobs had theirs in the order of their ids.
async fn in_turn(db: &PgPool) {
    let turns: Vec<(String, i64, bool)> =
        sqlx::query_as("select key, job_id, begins from turn order by key, seq").fetch_all(db).await.unwrap();
    for pair in turns.windows(2) {
        let [(key, job, begins), (next_key, next, next_begins)] = pair else { unreachable!() };
        if key != next_key {
            assert!(!begins && *next_begins, "the last turn of {key} has ended");
            continue;
        }
        assert_ne!(begins, next_begins, "job {next} of {key} after {job}");
        assert!(job == next || (!begins && job < next), "job {next} of {key} after {job}");
    }
    for table in ["job", "job_key", "job_blocked", "job_ready", "job_lease"] {
        assert_eq!(number(db, &format!("select count(*) from {table}")).await, 0, "{table}");
    }
}

fn timed(sleep_ms: u64) -> NewJob {
    NewJob::of(&Noop { sleep_ms, ..Noop::default() }).unwrap()
}

fn worker(database: &Database) -> Millrace {
    Millrace::start(&["worker", "--pools", "maintenance"], &[("DATABASE_URL", database.url())])
}

/// Works as an executable did before keys were handed over, until nothing is left.
async fn as_before(db: PgPool) {
    let mut conn = db.acquire().await.unwrap();
    loop {
        let claimed: Vec<(i64, Uuid)> = sqlx::query_as(
            "select job_id, token from job_claim_v2(gen_random_uuid(), 30000, '{queue.noop}', '{4}', '{3}', '{0,0,0,0}',
                array(select gen_random_uuid() from generate_series(1, 3))) order by job_id",
        )
        .fetch_all(&mut *conn)
        .await
        .unwrap();
        let (ids, tokens): (Vec<i64>, Vec<Uuid>) = claimed.into_iter().unzip();
        tokio::task::yield_now().await;
        sqlx::query("select job_done_v1($1, $2, array_fill(1, array[cardinality($1)]))")
            .bind(ids)
            .bind(tokens)
            .execute(&mut *conn)
            .await
            .unwrap();
        if number(&db, "select count(*) from job").await == 0 {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_keep_their_order_under_many_workers_old_and_new() {
    let database = ledger().await;
    let db = database.pool().await;
    let mut conn = database.connect().await;
    let jobs: Vec<NewJob> = (0..800)
        .map(|i| {
            let fail = (i % 23 == 0).then(|| "no luck".to_owned());
            let job = Noop { settles: i % 11 == 0, fail, retry_after_ms: Some(1), ..Noop::default() };
            NewJob::of(&job).unwrap().ordered((i % 20).to_string())
        })
        .collect();
    let put = enqueue(&mut conn, &jobs).await.unwrap();
    let mut hands = Vec::new();
    for _ in 0..3 {
        hands.push(Hands::start(&database, &[Pool::Maintenance]).await);
    }
    let old = tokio::spawn(as_before(database.pool().await));
    // Some are called off while their turn may be coming.
    let mut cancelled = 0;
    for job in put.iter().step_by(17) {
        let became = control::cancel(&mut conn, job.id).await.unwrap();
        cancelled += u32::from(matches!(became, control::Cancel::Cancelled(_)));
    }
    wait::until("all have ended", || async { number(&db, "select count(*) from job").await == 0 }).await;
    old.await.unwrap();
    for hands in hands {
        hands.stop().await;
    }
    in_turn(&db).await;
    let ended =
        number(&db, "select (select count(*) from job_history) + (select count(*) from job_dead)").await;
    let (handed, passed) =
        (number(&db, HANDED).await, number(&db, "select count(*) from turn where begins").await);
    println!("{ended} ended, {cancelled} of them cancelled; {handed} of {passed} turns were handed over");
    assert_eq!(ended, 800);
    assert!(handed > 0 && handed < passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_keeps_neither_another_key_nor_a_higher_priority_waiting() {
    let database = ledger().await;
    let db = database.pool().await;
    let mut conn = database.connect().await;
    let line: Vec<NewJob> = (0..300).map(|_| timed(5).ordered("line")).collect();
    enqueue(&mut conn, &line).await.unwrap();
    let config = WorkerConfig::of_pools(vec![Pool::Maintenance], 1, Duration::from_secs(5));
    let hands = Hands::with(database.pool().await, config);
    wait::until("the line moves", || async { number(&db, HANDED).await > 10 }).await;
    let urgent = timed(0).priority(Priority::Urgent).ordered("urgent");
    let other = timed(0).ordered("other");
    hands.wake.send(&enqueue(&mut conn, &[urgent, other]).await.unwrap());
    let here = number(&db, "select max(seq) from turn").await;
    for key in ["urgent", "other"] {
        let began = format!("select coalesce(min(seq), 0) from turn where key = ':{key}' and begins");
        wait::until("it has its turn", || async { number(&db, &began).await > 0 }).await;
        let before = format!(
            "select count(*) from turn where key = ':line' and begins and seq > {here} and seq < ({began})"
        );
        let before = number(&db, &before).await;
        println!("{before} of the line had their turn before `{key}`");
        // Twenty of five milliseconds fill a slice of a hundred; a second one may have begun by now.
        assert!(before <= 44, "{before} of the line had their turn before `{key}`");
    }
    assert!(number(&db, "select count(*) from job_blocked").await > 0, "the line was not through already");
    wait::until_within(Duration::from_secs(90), "all are done", || async {
        number(&db, "select count(*) from job").await == 0
    })
    .await;
    hands.stop().await;
    in_turn(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_ends_a_line_in_its_middle_and_a_resumption_goes_on() {
    let database = ledger().await;
    let db = database.pool().await;
    let mut conn = database.connect().await;
    let line: Vec<NewJob> = (0..120).map(|_| timed(3).ordered("line")).collect();
    enqueue(&mut conn, &line).await.unwrap();
    let hands = Hands::start(&database, &[Pool::Maintenance]).await;
    wait::until("the line moves", || async { number(&db, HANDED).await > 5 }).await;
    control::pause(&mut conn, "maintenance", "tester").await.unwrap();
    wait::until("nothing runs", || async { number(&db, "select count(*) from job_lease").await == 0 }).await;
    let left = number(&db, "select count(*) from job").await;
    assert!(left > 0);
    assert_eq!(number(&db, "select count(*) from job_ready").await, 1, "the next waits for the resumption");
    assert_eq!(number(&db, "select count(*) from job_blocked").await, left - 1);
    control::resume(&mut conn, "maintenance").await.unwrap();
    hands.wake.hint(Hint::Resumed);
    wait::until("all are done", || async { number(&db, "select count(*) from job").await == 0 }).await;
    hands.stop().await;
    in_turn(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_amid_a_line_costs_it_nothing_but_time() {
    let database = ledger().await;
    let db = database.pool().await;
    let mut conn = database.connect().await;
    let jobs: Vec<NewJob> = (0..400).map(|i| timed(4).ordered((i % 4).to_string())).collect();
    enqueue(&mut conn, &jobs).await.unwrap();
    let mut first = worker(&database);
    wait::until_within(Duration::from_secs(60), "the lines move", || async {
        number(&db, HANDED).await > 20
    })
    .await;
    first.signal(Signal::KILL);
    first.ended(Duration::from_secs(10)).await;
    let left = number(&db, "select count(*) from job").await;
    assert!(left > 0 && number(&db, "select count(*) from job_lease").await <= 4);
    let mut second = worker(&database);
    // As if the time of the dead one's leases had passed.
    let away = "update job_lease set lease_until = now() - interval '1 second'
        where worker_id = (select id from job_worker where pid = $1)";
    sqlx::query(away).bind(i32::try_from(first.pid()).unwrap()).execute(&db).await.unwrap();
    wait::until_within(Duration::from_secs(90), "all are done", || async {
        number(&db, "select count(*) from job").await == 0
    })
    .await;
    assert!(second.stop(Duration::from_secs(30)).await.success(), "{}", second.log());
    assert_eq!(number(&db, "select count(*) from job_history").await, 400);
    assert_eq!(number(&db, "select count(distinct job_id) from job_history").await, 400);
    in_turn(&db).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_whose_answer_was_lost_is_handed_back_and_costs_nothing() {
    // A line keeps its slot for a tenth of a second. On a machine that is slower than that the second is claimed
    // like any other job, and what was cut off was no hand-over.
    const TRIES: u32 = 10;
    for _ in 0..TRIES {
        if an_answer_is_lost_on_its_way().await {
            return;
        }
    }
    panic!("in {TRIES} tries the second of the line was never handed over");
}

/// Cuts off the answer that leases the second of a line, and sees that all went on without it. Tells whether it
/// was the answer to a hand-over.
async fn an_answer_is_lost_on_its_way() -> bool {
    const WORD: &str = "handed and never heard of";
    let database = ledger().await;
    let db = database.pool().await;
    let mut conn = database.desk().await;
    put(&mut conn, noop("first").ordered("line")).await;
    let second = put(&mut conn, noop(WORD).ordered("line")).await;
    let third = put(&mut conn, noop("third").ordered("line")).await;
    let cutter = Cutter::start(&database, WORD).await;
    let config = WorkerConfig::of_pools(vec![Pool::Maintenance], 2, Duration::from_secs(5));
    let hands = Hands::with(PgPool::connect(cutter.url()).await.unwrap(), config);
    wait::until("the answer that leases the second is cut off", || async { cutter.cuts() == 1 }).await;
    let was_handed = number(&db, HANDED).await == 1;
    assert_eq!(state(&mut conn, second).await, "LEASED");
    wait::until_within(Duration::from_secs(60), "the line goes on", || async {
        state(&mut conn_of(&database).await, third).await == "DONE"
    })
    .await;
    hands.stop().await;
    let clean = "select count(*) from job_history where attempt = 1 and crashes = 0 and outcome = 0";
    assert_eq!(number(&db, clean).await, 3);
    assert!(look::attempts(&mut conn, second).await.unwrap().is_empty());
    in_turn(&db).await;
    was_handed
}

async fn conn_of(database: &Database) -> PgConnection {
    database.connect().await
}

/// Leases the head of a line of which the next is `next`, and ends it with a slot kept in `pool`.
async fn hand_over(conn: &mut PgConnection, next: NewJob, pool: Pool, kinds: &[Kind]) -> (JobId, Settled) {
    put(conn, noop("head").ordered("line")).await;
    let next = put(conn, next.ordered("line")).await;
    let head = take(conn, 1).await;
    let done = Ack { keeps: Some(pool), ..ack(&head[0], Outcome::Done) };
    let taker = Taker { worker: WorkerId(Uuid::from_u128(7)), kinds };
    let settled = settle_and_take(conn, &[done], taker).await.unwrap();
    assert!(settled.stale.is_empty());
    (next, settled)
}

#[tokio::test]
async fn the_next_of_a_key_is_handed_over_whole() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let (next, settled) = hand_over(&mut conn, noop("next"), Pool::Maintenance, &[Kind::Noop]).await;
    let [handed] = &settled.handed[..] else { panic!("{settled:?}") };
    assert!(settled.woken.is_empty());
    assert_eq!((handed.attempt.id, handed.attempt.attempt, handed.attempt.keyed), (next, 1, true));
    assert_eq!(handed.attempt.payload::<Noop>().unwrap().note, "next");
    assert_eq!(state(&mut conn, next).await, "LEASED");
    let (worker, token): (Uuid, Uuid) =
        sqlx::query_as("select worker_id, token from job_lease").fetch_one(&mut conn).await.unwrap();
    assert_eq!((worker, token), (Uuid::from_u128(7), handed.attempt.token.0));
    // The last of a line leaves no key behind.
    let last = Ack { keeps: Some(Pool::Maintenance), ..ack(&handed.attempt, Outcome::Done) };
    let taker = Taker { worker: WorkerId(worker), kinds: &[Kind::Noop] };
    assert!(settle_and_take(&mut conn, &[last], taker).await.unwrap().handed.is_empty());
    let keys: i64 = sqlx::query_scalar("select count(*) from job_key").fetch_one(&mut conn).await.unwrap();
    assert_eq!(keys, 0);
}

#[tokio::test]
async fn what_may_not_be_handed_over_becomes_ready() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let beside: i32 =
        sqlx::query_scalar("insert into job_queue (name, pool_id) values ('beside', 4) returning id")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    control::pause(&mut conn, "beside", "tester").await.unwrap();
    let paused = || noop("paused").queue(Queue { id: beside, pool_id: 4 });
    for (next, pool, kinds) in [
        (paused(), Pool::Maintenance, &[Kind::Noop][..]),
        (noop("another pool"), Pool::Dag, &[Kind::Noop]),
        (noop("unknown kind"), Pool::Maintenance, &[]),
    ] {
        let (next, settled) = hand_over(&mut conn, next, pool, kinds).await;
        assert!(settled.handed.is_empty());
        assert_eq!((state(&mut conn, next).await.as_str(), &settled.woken[..]), ("READY", &[4][..]));
        sqlx::raw_sql("truncate job, job_ready, job_key").execute(&mut conn).await.unwrap();
    }
}

#[tokio::test]
async fn a_next_that_is_being_cancelled_is_waited_for_and_stepped_over() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    put(&mut conn, noop("head").ordered("line")).await;
    let next = put(&mut conn, noop("next").ordered("line")).await;
    let last = put(&mut conn, noop("last").ordered("line")).await;
    let want = Want { pool: Pool::Maintenance, limit: 1, marks: [0; 4] };
    let worker = WorkerId(Uuid::new_v4());
    let head = claim(&mut conn, worker, &[Kind::Noop], &[want]).await.unwrap();
    assert!(head[0].attempt.keyed);
    let pool = database.pool().await;
    let mut tx = pool.begin().await.unwrap();
    control::cancel(&mut tx, next).await.unwrap();
    let done = Ack { keeps: Some(Pool::Maintenance), ..ack(&head[0].attempt, Outcome::Done) };
    let ending = tokio::spawn(async move {
        let taker = Taker { worker, kinds: &[Kind::Noop] };
        loop {
            // It does not wait for long, and says so.
            match settle_and_take(&mut conn, std::slice::from_ref(&done), taker).await {
                Ok(settled) => return settled,
                Err(error) => assert_eq!(error.code, jobs::Code::Interrupted, "{error}"),
            }
        }
    });
    wait::until("the acknowledgement waits for the cancellation", || async {
        number(&pool, "select count(*) from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.query like '%job_done_soon_v1%'")
            .await
            > 0
    })
    .await;
    tx.commit().await.unwrap();
    let settled = ending.await.unwrap();
    assert_eq!(settled.handed.iter().map(|h| h.attempt.id).collect::<Vec<_>>(), [last]);
}
