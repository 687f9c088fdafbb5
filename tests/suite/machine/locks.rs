//! The order of locks: whoever ends jobs of machines, and whoever changes many checks, never waits for what
//! another holds who waits for him.

use std::time::Duration;

use jobs::db::PgConnection;
use rules::id::MachineId;
use rules::machine::Action;
use rules::queue::Pool;
use sqlx::{AssertSqlSafe, Connection, PgPool};
use tests::{Hands, wait};
use workers::WorkerConfig;

use super::stage::{Stage, simulated};

async fn run(db: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(db).await.unwrap();
}

/// Waits until somebody waits for a lock of this database.
async fn somebody_waits(db: &PgPool) {
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    wait::until("somebody waits for a lock", async || {
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(db).await.unwrap() > 0
    })
    .await;
}

/// Whether the rows of this selection can be locked now.
async fn is_free(conn: &mut PgConnection, rows: &str) -> bool {
    let mut tx = conn.begin().await.unwrap();
    let locked = sqlx::query(AssertSqlSafe(format!("{rows} for update nowait"))).fetch_all(&mut *tx).await;
    tx.rollback().await.unwrap();
    locked.is_ok()
}

/// A machine that was made, and a stop of it that nobody has begun; the hand that made it is gone.
async fn with_a_stop_that_waits(stage: &Stage) -> MachineId {
    let hands = stage.hold("a", &simulated("a")).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    hands.stop().await;
    stage.ask(machine, Action::Stop).await;
    machine
}

/// While somebody has the order key of a machine's jobs, whoever is about to end one of them waits for it, and
/// holds the machine by then: in the order of whoever asks something of the machine.
async fn holds_the_machine_first(stage: &Stage, machine: MachineId, hands: impl AsyncFnOnce() -> Hands) {
    let db = stage.database.pool().await;
    let mut conn = stage.conn().await;
    let mut key = conn.begin().await.unwrap();
    sqlx::query("select key from job_key for update").fetch_one(&mut *key).await.unwrap();
    let hands = hands().await;
    somebody_waits(&db).await;
    let row = format!("select id from machine where id = '{machine}'");
    assert!(!is_free(&mut *stage.conn().await, &row).await, "the machine is not held");
    key.rollback().await.unwrap();
    let failed = "select count(*) from machine_operation where state = 'FAILED'";
    wait::until("the operation has failed", async || {
        sqlx::query_scalar::<_, i64>(failed).fetch_one(&db).await.unwrap() == 1
    })
    .await;
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_that_finds_poison_holds_the_machine_before_its_key() {
    let stage = Stage::new().await;
    let machine = with_a_stop_that_waits(&stage).await;
    let db = stage.database.pool().await;
    run(
        &db,
        "insert into job_lease (job_id, token, worker_id, lease_until, pool_id, queue_id, priority, attempt, crashes, kind)
            select job_id, gen_random_uuid(), gen_random_uuid(), now() - interval '1 s', pool_id, queue_id, priority, 1, 4, kind
            from job_ready where kind = 'machine.operate';
        delete from job_ready where kind = 'machine.operate'",
    )
    .await;
    let upkeep = WorkerConfig::of_pools(vec![Pool::Maintenance], 1, Duration::from_secs(5));
    holds_the_machine_first(&stage, machine, async || Hands::with(db.clone(), upkeep)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_attempt_that_fails_holds_the_machine_before_its_key() {
    let stage = Stage::new().await;
    let machine = with_a_stop_that_waits(&stage).await;
    let other = simulated("b");
    let second = stage.hold("b", &other).await;
    // As though a hand in the database had moved it alone: its job finds it elsewhere, and fails.
    run(
        &stage.database.pool().await,
        "update machine set host_id = (select id from host where name = 'b'); update job set max_attempts = 1",
    )
    .await;
    let first = simulated("a");
    holds_the_machine_first(&stage, machine, async || stage.serve("a", &first).await).await;
    second.stop().await;
}

/// Two machines with checks, of which the rows of the first lie behind those of the second.
async fn with_checks(stage: &Stage, db: &PgPool) -> [MachineId; 2] {
    let hands = stage.hold("a", &simulated("a")).await;
    let mut machines = Vec::new();
    for name in ["one", "two"] {
        let (machine, made) = stage.create(name, "a").await;
        stage.ended(made).await;
        machines.push(machine);
    }
    hands.stop().await;
    let mut tx = jobs::db::begin(db).await.unwrap();
    assert_eq!(jobs::health::schedule::follow(&mut tx, 10).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let [first, second] = machines[..] else { panic!("{machines:?}") };
    run(db, "update health_check set due_at = now() + interval '1 h'").await;
    run(db, &format!("update health_check set interval_s = interval_s + 1 where machine_id = '{first}'"))
        .await;
    [first, second]
}

fn checks_of(machine: MachineId) -> String {
    format!("select name from health_check where machine_id = '{machine}'")
}

#[tokio::test(flavor = "multi_thread")]
async fn many_checks_are_locked_in_their_order() {
    let stage = Stage::new().await;
    let db = stage.database.pool().await;
    let [first, second] = with_checks(&stage, &db).await;
    // By the schedule, which is told of them the other way round; and by whoever wants all of them made.
    let follow = format!(
        "select health_follow_v2(array['{second}', '{first}']::uuid[], array['{tenant}', '{tenant}']::uuid[], array['RUNNING', 'RUNNING'],
            array['RUNNING', 'RUNNING'], array[true, true], array['UNKNOWN', 'UNKNOWN'], array[null, null]::text[],
            array[0, 0], array['STATE'], 300)",
        tenant = stage.tenant
    );
    for many in [Some(follow), None] {
        let mut conn = stage.conn().await;
        let mut held = conn.begin().await.unwrap();
        sqlx::query(AssertSqlSafe(format!("{} for update", checks_of(first))))
            .fetch_all(&mut *held)
            .await
            .unwrap();
        let (other, tenant) = (db.clone(), stage.tenant);
        let changing = tokio::spawn(async move {
            match many {
                Some(follow) => run(&other, &follow).await,
                None => {
                    let mut tx = jobs::db::begin(&other).await.unwrap();
                    assert_eq!(jobs::health::store::hasten(&mut tx, tenant).await.unwrap(), 10);
                    tx.commit().await.unwrap();
                }
            }
        });
        somebody_waits(&db).await;
        assert!(is_free(&mut *stage.conn().await, &checks_of(second)).await, "held out of order");
        held.rollback().await.unwrap();
        changing.await.unwrap();
    }
}
