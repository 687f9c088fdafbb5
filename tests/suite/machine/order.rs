//! The order of operations: one at a time, first in first out, and what may overtake.

use rules::machine::Action;
use tests::wait;

use super::stage::{Stage, simulated};

#[tokio::test(flavor = "multi_thread")]
async fn twenty_operations_are_done_in_order() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    let mut asked = Vec::new();
    for i in 0..20 {
        let action = if i % 2 == 0 { Action::Suspend } else { Action::Resume };
        asked.push(stage.ask(machine, action).await);
    }
    let mut last = None;
    for operation in asked {
        let ended = stage.ended(operation).await;
        assert_eq!(ended.state, "SUCCEEDED");
        assert!(ended.started_at >= last, "one began before the one before it ended");
        last = ended.ended_at;
    }
    let acts: Vec<_> = host.acts().into_iter().map(|(_, act)| act).skip(2).collect();
    assert_eq!(acts, ["suspend", "resume"].repeat(10));
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_twice_is_one_and_says_so() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    hands.stop().await;
    let first = stage.ask(machine, Action::Stop).await;
    let second = stage.ask(machine, Action::Stop).await;
    let joined = stage.operation(second).await;
    assert_eq!((joined.state.as_str(), joined.superseded_by), ("SUPERSEDED", Some(first.0)));
    // By force in place of asking.
    let force = stage.ask(machine, Action::ForceOff).await;
    assert_eq!(stage.operation(first).await.superseded_by, Some(force.0));
    let hands = stage.hold("a", &host).await;
    assert_eq!(stage.ended(force).await.state, "SUCCEEDED");
    let acts: Vec<_> = host.acts().into_iter().map(|(_, act)| act).skip(2).collect();
    assert_eq!(acts, ["force off"]);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroying_overtakes_what_waits_and_what_runs() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    host.set_deaf(machine, true);
    let stop = stage.ask(machine, Action::Stop).await;
    let db = stage.database.pool().await;
    wait::until("the stop runs", async || {
        let mut conn = db.acquire().await.unwrap();
        jobs::machine::operation::store::get(&mut conn, None, stop).await.unwrap().state == "RUNNING"
    })
    .await;
    let waits = stage.ask(machine, Action::Start).await;
    let destroy = stage.ask(machine, Action::Destroy).await;
    // The machine may be gone already, and then nobody can ask for it.
    let again = stage.try_ask(machine, Action::Destroy).await.ok();
    let refused = stage.try_ask(machine, Action::Start).await.unwrap_err();
    assert!(matches!(refused.code, jobs::Code::Conflict | jobs::Code::NotFound), "{refused}");
    assert_eq!(stage.ended(destroy).await.state, "SUCCEEDED");
    for operation in [stop, waits].into_iter().chain(again) {
        let ended = stage.operation(operation).await;
        assert_eq!((ended.state.as_str(), ended.superseded_by), ("SUPERSEDED", Some(destroy.0)));
    }
    assert_eq!(stage.machine(machine).await.seen, "ABSENT");
    let acts: Vec<_> = host.acts().into_iter().map(|(_, act)| act).collect();
    assert_eq!(acts.iter().filter(|act| **act == "start").count(), 1, "{acts:?}");
    hands.stop().await;
}
