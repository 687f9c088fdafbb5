//! The gap between the end of an operation and the acknowledgement of its job: a worker that dies in it.

use std::sync::Arc;

use rules::machine::Action;
use tests::wait;
use workers::hypervisor::Hypervisor;

use super::mortal::{Mortal, expire};
use super::stage::{Stage, simulated};

/// Holds up what ends the lease of an operation's job, for as long as somebody has the lock: an operation's pool has
/// an even number.
const HELD_UP: &str = "
    create function held_up() returns trigger language plpgsql as $$
    begin
        if old.pool_id >= 1000000 and old.pool_id % 2 = 0 then
            perform pg_advisory_xact_lock(42);
        end if;
        return old;
    end $$;
    create trigger held_up before delete on job_lease for each row execute function held_up();";

/// The sessions that wait for the lock.
const WAITING: &str = "select l.pid from pg_locks l join pg_database d on d.oid = l.database
    where l.locktype = 'advisory' and l.objid = 42 and not l.granted and d.datname = current_database()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_whose_acknowledgement_is_lost_ran_once_and_the_next_follows() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let db = stage.database.pool().await;
    // Known before anything is asked of it.
    stage.hold("a", &host).await.stop().await;
    sqlx::raw_sql(HELD_UP).execute(&db).await.unwrap();
    let mut door = stage.database.connect().await;
    sqlx::query("select pg_advisory_lock(42)").execute(&mut door).await.unwrap();
    let (machine, made) = stage.create("web", "a").await;
    let stop = stage.ask(machine, Action::Stop).await;
    let start = || {
        let host = host.clone();
        Mortal::start(stage.database.url(), "a", move || Arc::new(host) as Arc<dyn Hypervisor>)
    };
    let waiting = async || sqlx::query_scalar::<_, i32>(WAITING).fetch_all(&db).await.unwrap();
    let mut worker = start();
    assert_eq!(stage.ended(made).await.state, "SUCCEEDED");
    wait::until("the acknowledgement is held up", async || !waiting().await.is_empty()).await;
    assert_eq!(stage.operation(stop).await.state, "WAITING");

    // Whatever was on its way never commits.
    worker.kill();
    for pid in waiting().await {
        sqlx::query("select pg_terminate_backend($1)").bind(pid).execute(&db).await.unwrap();
    }
    wait::until("nobody waits any more", async || waiting().await.is_empty()).await;
    sqlx::query("select pg_advisory_unlock(42)").execute(&mut door).await.unwrap();
    let unacknowledged: i64 = sqlx::query_scalar("select count(*) from job_lease where pool_id % 2 = 0")
        .fetch_one(&db)
        .await
        .unwrap();
    assert_eq!(unacknowledged, 1, "the acknowledgement is not lost");
    expire(&db, "a").await;
    let _second = start();
    assert_eq!(stage.ended(stop).await.state, "SUCCEEDED");
    let acts: Vec<_> = host.acts().into_iter().map(|(_, act)| act).collect();
    assert_eq!(acts, ["define", "start", "shut down"]);
}
