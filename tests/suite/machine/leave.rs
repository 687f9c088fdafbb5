//! A host is drained, emptied and removed, and comes back.

use jobs::Code;
use jobs::machine::{NewMachine, create, operation};
use jobs::queue::postgres::look;
use jobs::queue::wake::Hint;
use rules::id::{JobId, MachineId};
use rules::machine::Action;
use rules::queue::{Trouble, Why};
use tests::wait;

use super::stage::{Stage, simulated, spec};

async fn drain(stage: &Stage, host: &str, on: bool) {
    let mut tx = jobs::db::begin(&stage.database.pool().await).await.unwrap();
    jobs::host::store::drain(&mut tx, host, on, "tester").await.unwrap();
    tx.commit().await.unwrap();
}

async fn codes(stage: &Stage, machine: MachineId) -> Vec<&'static str> {
    let waiting = operation::store::why(&mut *stage.conn().await, machine).await.unwrap();
    waiting.iter().map(|w| w.why.code()).collect()
}

async fn remove(stage: &Stage, host: &str) -> jobs::Result<()> {
    let mut tx = jobs::db::begin(&stage.database.pool().await).await.unwrap();
    jobs::host::store::remove(&mut tx, host, "tester").await?;
    tx.commit().await.unwrap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_host_starts_nothing_until_it_is_resumed() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    let (crashed, made) = stage.create("crashed", "a").await;
    stage.ended(made).await;
    drain(&stage, "a", true).await;
    let suspend = stage.ask(machine, Action::Suspend).await;
    let mut conn = stage.conn().await;
    assert_eq!(codes(&stage, machine).await, ["HOST_DRAINING"]);
    // The job says the same, whoever asks the queue alone.
    let job = JobId(stage.operation(suspend).await.job_id.unwrap());
    let Some(Why::HostDown(down)) = look::why(&mut conn, job).await.unwrap() else { panic!("{job}") };
    let since = jobs::host::store::by_name(&mut conn, "a").await.unwrap().draining_at;
    assert_eq!((down.host.as_str(), down.trouble, down.since), ("a", Trouble::Draining, since));
    let spec = spec("other");
    let new = NewMachine {
        tenant: stage.tenant,
        department: None,
        host: Some("a"),
        spec: &spec,
        by: "tester",
        trace_parent: None,
    };
    assert_eq!(create(&mut conn, &new).await.unwrap_err().code, Code::Conflict);
    assert_eq!(stage.operation(suspend).await.state, "WAITING");
    // What waits keeps nobody from knowing what the machine is.
    let other = stage.ask(crashed, Action::Suspend).await;
    host.crash_guest(crashed);
    stage.becomes(crashed, "CRASHED").await;
    assert_eq!(stage.operation(other).await.state, "WAITING");
    drain(&stage, "a", false).await;
    hands.wake.hint(Hint::Resumed);
    assert_eq!(stage.ended(suspend).await.state, "SUCCEEDED");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_host_is_emptied() {
    let stage = Stage::new().await;
    let (here, there) = (simulated("a"), simulated("b"));
    let first = stage.hold("a", &here).await;
    let second = stage.hold("b", &there).await;
    let mut machines = Vec::new();
    for name in ["moves", "forced", "ends"] {
        let (machine, made) = stage.create(name, "a").await;
        stage.ended(made).await;
        machines.push(machine);
    }
    let [moves, forced, ends] = machines[..] else { panic!("{machines:?}") };
    drain(&stage, "a", true).await;
    // What waits for the drain's end is not waited for.
    let restart = stage.ask(forced, Action::Restart).await;
    let force = stage.ask(forced, Action::ForceOff).await;
    assert_eq!(stage.operation(restart).await.superseded_by, Some(force.0));
    assert_eq!(stage.ended(force).await.state, "SUCCEEDED");
    let snapshot = stage.snapshot(moves, "kept").await;
    stage.done(moves, Action::SnapshotDelete(snapshot)).await;
    stage.done(moves, Action::Stop).await;
    stage.done(ends, Action::Destroy).await;
    for (machine, seen) in [(moves, "OFF"), (forced, "OFF"), (ends, "ABSENT")] {
        assert_eq!(stage.machine(machine).await.seen, seen);
    }
    // A start waits, and is done where the machine goes.
    let start = stage.ask(moves, Action::Start).await;
    assert_eq!(codes(&stage, moves).await, ["HOST_DRAINING"]);
    stage.relocate(moves, "b", false).await.unwrap();
    assert_eq!(stage.ended(start).await.state, "SUCCEEDED");
    // So is what passes a drain, from the one host's queue into the other's.
    second.stop().await;
    let stop = stage.ask(moves, Action::Stop).await;
    stage.relocate(moves, "a", true).await.unwrap_err();
    drain(&stage, "a", false).await;
    stage.relocate(moves, "a", true).await.unwrap();
    drain(&stage, "a", true).await;
    assert_eq!(stage.ended(stop).await.state, "SUCCEEDED");
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_goes_when_nothing_is_left_on_it_and_comes_back_by_its_name() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    assert_eq!(remove(&stage, "nowhere").await.unwrap_err().code, Code::NotFound);
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    let stays = remove(&stage, "a").await.unwrap_err();
    assert_eq!(stays.code, Code::Conflict);
    assert!(stays.to_string().contains("carries 1 machine(s): web;"), "{stays}");
    stage.done(machine, Action::Destroy).await;
    let stays = remove(&stage, "a").await.unwrap_err().to_string();
    assert!(stays.contains("a worker serves host `a`"), "{stays}");
    hands.stop().await;
    // An operation in its queue is somebody's; a listing that waits is nobody's.
    let db = stage.database.pool().await;
    let put = |kind: &str| {
        format!(
            "with j as (insert into job (pool_id, queue_id, priority, max_attempts, kind, payload)
                select pool_id, id, 2, 3, '{kind}', '{{}}' from job_queue where name = case '{kind}' when 'machine.operate' then 'vm@a' else 'health@a' end
                returning *)
            insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind) select id, pool_id, queue_id, 2, 0, 0, kind from j returning job_id"
        )
    };
    let query = |kind: &str| sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(put(kind)));
    let operation = query("machine.operate").fetch_one(&db).await.unwrap();
    query("host.reconcile").fetch_one(&db).await.unwrap();
    let stays = remove(&stage, "a").await.unwrap_err().to_string();
    assert!(stays.contains("1 job(s) wait or run"), "{stays}");
    sqlx::query("select job_cancel_v1($1)").bind(operation).execute(&db).await.unwrap();
    remove(&stage, "a").await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i64>("select count(*) from job").fetch_one(&db).await.unwrap(), 0);
    // Nobody sees it, and nothing enters it; what was there still names it.
    let mut conn = stage.conn().await;
    assert_eq!(jobs::host::store::all(&mut conn).await.unwrap(), []);
    assert_eq!(remove(&stage, "a").await.unwrap_err().code, Code::NotFound);
    let queues = jobs::queue::postgres::count::queues(&mut conn).await.unwrap();
    assert!(queues.iter().all(|q| !q.name.ends_with("@a")), "{queues:?}");
    assert_eq!(stage.machine(machine).await.host, "a");
    let enters = "insert into machine (id, tenant_id, host_id, name, spec, wanted, created_by) select gen_random_uuid(), tenant_id, host_id, 'late', spec, 'OFF', 'x' from machine";
    let refused = sqlx::query(enters).execute(&db).await.unwrap_err();
    assert!(jobs::db::violates(&refused, "machine_host_is_there"), "{refused}");
    // Back by its name, with its number, whichever version registers it.
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    assert_eq!(stage.ended(made).await.state, "SUCCEEDED");
    stage.done(machine, Action::Destroy).await;
    hands.stop().await;
    remove(&stage, "a").await.unwrap();
    sqlx::query("select host_register_v1(gen_random_uuid(), 'a', 'test:///default', 1, 1)")
        .execute(&db)
        .await
        .unwrap();
    let all = jobs::host::store::all(&mut conn).await.unwrap();
    assert_eq!((all.len(), all[0].no), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_machine_slips_into_a_host_while_it_is_removed() {
    let stage = Stage::new().await;
    let host = simulated("a");
    stage.hold("a", &host).await.stop().await;
    let mut conn = stage.conn().await;
    let spec = spec("late");
    let new = NewMachine {
        tenant: stage.tenant,
        department: None,
        host: Some("a"),
        spec: &spec,
        by: "tester",
        trace_parent: None,
    };
    // Entered and not committed: the removal waits for it, and finds it.
    let db = stage.database.pool().await;
    let mut entering = jobs::db::begin(&db).await.unwrap();
    drop(create(&mut entering, &new).await.unwrap());
    let other = db.clone();
    let removing = tokio::spawn(async move {
        let mut tx = jobs::db::begin(&other).await.unwrap();
        jobs::host::store::remove(&mut tx, "a", "tester").await
    });
    let waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    wait::until("the removal waits", async || {
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&db).await.unwrap() == 1
    })
    .await;
    entering.commit().await.unwrap();
    let stays = removing.await.unwrap().unwrap_err().to_string();
    assert!(stays.contains("late"), "{stays}");
    assert_eq!(jobs::host::store::all(&mut conn).await.unwrap().len(), 1);
}
