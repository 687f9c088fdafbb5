//! Putting machines on other hosts: never one that may run where it is.

use jobs::Code;
use jobs::machine::report;
use rules::health::Check;
use rules::id::MachineId;
use rules::machine::Action;
use tests::wait;

use super::stage::{Stage, simulated};

#[tokio::test(flavor = "multi_thread")]
async fn only_a_machine_that_is_off_is_put_on_another_host() {
    let stage = Stage::new().await;
    let (here, there) = (simulated("a"), simulated("b"));
    let first = stage.hold("a", &here).await;
    let second = stage.hold("b", &there).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    for (action, reason) in [(Action::Start, "it is RUNNING there"), (Action::Suspend, "it is PAUSED there")]
    {
        stage.done(machine, action).await;
        let stays = stage.relocate(machine, "b", false).await.unwrap_err();
        assert_eq!(stays.code, Code::Conflict);
        assert!(stays.to_string().contains(reason), "{stays}");
        // A host that answers has power, whatever anybody says.
        let stays = stage.relocate(machine, "b", true).await.unwrap_err();
        assert!(stays.to_string().contains("its host answers"), "{stays}");
    }
    assert_eq!(stage.machine(machine).await.host, "a");
    stage.done(machine, Action::Stop).await;
    let snapshot = stage.snapshot(machine, "kept").await;
    let stays = stage.relocate(machine, "b", false).await.unwrap_err().to_string();
    assert!(stays.contains("its snapshots are kept there"), "{stays}");
    stage.done(machine, Action::SnapshotDelete(snapshot)).await;
    stage.relocate(machine, "b", false).await.unwrap();
    stage.becomes(machine, "OFF").await;
    let now = stage.machine(machine).await;
    assert_eq!((now.host.as_str(), now.drift), ("b", None));
    assert_eq!(now.seen_reason.as_deref(), Some("moved from host `a`"));
    stage.done(machine, Action::Start).await;
    assert_eq!(there.acts().into_iter().map(|(_, act)| act).collect::<Vec<_>>(), ["define", "start"]);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_takes_no_machine_that_it_cannot_carry() {
    let stage = Stage::new().await;
    let here = simulated("a");
    let small = workers::hypervisor::Simulated::new("b", 8, 32, std::time::Duration::from_millis(200));
    let first = stage.hold("a", &here).await;
    let second = stage.hold("b", &small).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    stage.done(machine, Action::Stop).await;
    let stays = stage.relocate(machine, "b", false).await.unwrap_err().to_string();
    assert!(stays.contains("needs 64 MiB of memory and the host has 32"), "{stays}");
    let stays = stage.relocate(machine, "nowhere", false).await.unwrap_err();
    assert_eq!(stays.code, Code::NotFound);
    let mut conn = stage.conn().await;
    jobs::host::store::drain(&mut conn, "b", true, "tester").await.unwrap();
    let stays = stage.relocate(machine, "b", false).await.unwrap_err().to_string();
    assert!(stays.contains("`b` is being drained"), "{stays}");
    assert_eq!(stage.machine(machine).await.host, "a");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_fetched_from_a_host_that_lost_its_power() {
    let stage = Stage::new().await;
    let (here, there) = (simulated("a"), simulated("b"));
    let first = stage.hold("a", &here).await;
    let second = stage.hold("b", &there).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    here.power_off();
    let stop = stage.ask(machine, Action::Stop).await;
    let db = stage.database.pool().await;
    wait::until("the host is unreachable", async || {
        let mut conn = db.acquire().await.unwrap();
        let host = jobs::host::store::by_name(&mut conn, "a").await.unwrap();
        host.reach == "UNREACHABLE"
    })
    .await;
    // Recorded as running, and nobody can see it: only a person can know that it is not.
    let stays = stage.relocate(machine, "b", false).await.unwrap_err().to_string();
    assert!(stays.contains("vouch"), "{stays}");
    wait::until("the stop does not run", async || stage.relocate(machine, "b", true).await.is_ok()).await;
    assert_eq!(stage.ended(stop).await.state, "SUCCEEDED");
    stage.done(machine, Action::Start).await;
    assert_eq!(stage.machine(machine).await.host, "b");
    // Back again, the old host forgets it.
    here.mend();
    wait::until("the old host has forgotten it", async || {
        here.acts().into_iter().any(|(_, act)| act == "undefine")
    })
    .await;
    assert_eq!(stage.machine(machine).await.seen, "RUNNING");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_wait_are_taken_where_the_machine_is_then() {
    let stage = Stage::new().await;
    let (here, there) = (simulated("a"), simulated("b"));
    let first = stage.hold("a", &here).await;
    let second = stage.hold("b", &there).await;
    let (known, made) = stage.create("known", "a").await;
    stage.ended(made).await;
    stage.done(known, Action::Stop).await;
    stage.snapshot(known, "kept").await;
    first.stop().await;
    let (new, made) = stage.create("new", "a").await;
    let (_, of_new) = stage.ask_snapshot(new, "first").await;
    // Nothing was ever done to it: it may go, with all that waits.
    stage.relocate(new, "b", false).await.unwrap();
    let (_, of_known) = stage.ask_snapshot(known, "second").await;
    stage.relocate(known, "b", true).await.unwrap();
    for asked in [made, of_new, of_known] {
        let ended = stage.ended(asked).await;
        assert_eq!((ended.state.as_str(), ended.error), ("SUCCEEDED", None), "{}", ended.action);
    }
    let ready = |name: &str| vec![(name.to_owned(), "READY".to_owned())];
    assert_eq!(stage.snapshots(new).await, ready("first"));
    assert_eq!(stage.snapshots(known).await, ready("second"), "what the lost host kept is forgotten");
    stage.done(new, Action::Stop).await;
    for machine in [new, known] {
        let stays = stage.relocate(machine, "a", false).await.unwrap_err().to_string();
        assert!(stays.contains("its snapshots are kept there"), "{stays}");
    }
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_stays_where_an_operation_ended_that_nobody_saw_the_end_of() {
    let stage = Stage::new().await;
    let (here, there) = (simulated("a"), simulated("b"));
    let first = stage.hold("a", &here).await;
    let second = stage.hold("b", &there).await;
    let mut machines: Vec<MachineId> = Vec::new();
    for name in ["died", "overtaken", "unbegun"] {
        let (machine, made) = stage.create(name, "a").await;
        stage.ended(made).await;
        stage.done(machine, Action::Stop).await;
        machines.push(machine);
    }
    first.stop().await;
    for (machine, begins) in [(machines[0], true), (machines[2], false)] {
        let start = stage.ask(machine, Action::Start).await;
        if begins {
            stage.begun_and_left("a", start).await;
        }
        let mut tx = jobs::db::begin(&stage.database.pool().await).await.unwrap();
        assert!(report::fail(&mut tx, start, "five workers died of it").await.unwrap());
        assert!(!report::fail(&mut tx, start, "again").await.unwrap(), "it has ended");
        tx.commit().await.unwrap();
    }
    let start = stage.ask(machines[1], Action::Start).await;
    stage.begun_and_left("a", start).await;
    let destroy = stage.ask(machines[1], Action::Destroy).await;
    assert_eq!(stage.operation(start).await.superseded_by, Some(destroy.0));
    for machine in &machines[..2] {
        assert_eq!(stage.machine(*machine).await.seen, "UNKNOWN");
        let stays = stage.relocate(*machine, "b", false).await.unwrap_err();
        assert_eq!(stays.code, Code::Conflict);
        assert!(stays.to_string().contains("nobody knows whether it runs there"), "{stays}");
    }
    // One that had not begun has changed nothing.
    assert_eq!(stage.machine(machines[2]).await.seen, "OFF");
    stage.relocate(machines[2], "b", false).await.unwrap();
    // What the host shows next is what counts.
    let first = stage.hold("a", &here).await;
    stage.becomes(machines[0], "OFF").await;
    stage.relocate(machines[0], "b", false).await.unwrap();
    assert_eq!(stage.ended(destroy).await.state, "SUCCEEDED");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_that_wait_follow_their_machine_from_a_host_that_is_gone() {
    let stage = Stage::new().await;
    let (here, there) = (simulated("a"), simulated("b"));
    let first = stage.hold("a", &here).await;
    let second = stage.hold("b", &there).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    stage.done(machine, Action::Stop).await;
    first.stop().await;
    // The schedule takes it in, and its check waits for a host that nobody serves.
    let mut tx = jobs::db::begin(&stage.database.pool().await).await.unwrap();
    jobs::health::schedule::follow(&mut tx, 10).await.unwrap();
    let asked = jobs::health::ask(&mut tx, stage.tenant, machine, &[Check::State], None).await.unwrap().0;
    tx.commit().await.unwrap();
    stage.relocate(machine, "b", true).await.unwrap();
    let db = stage.database.pool().await;
    wait::until("the check is made on the other host", async || {
        let made = "select count(*) from job_history where job_id = $1 and outcome = 0";
        sqlx::query_scalar::<_, i64>(made).bind(asked[0].job.0).fetch_one(&db).await.unwrap() == 1
    })
    .await;
    second.stop().await;
}
