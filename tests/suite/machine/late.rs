//! The removal of what a machine left on a host, which comes when the machine is back there.

use rules::machine::{Action, Seen};
use tests::wait;
use workers::hypervisor::{Fault, Hypervisor};

use super::stage::{Stage, simulated};

/// Brings a machine to a second host and back to the first, which is still about to forget it: by an operation of this
/// action that waits for it, or by none.
async fn comes_back(waiting: Option<Action>) {
    let stage = Stage::new().await;
    let (here, there) = (simulated("a"), simulated("b"));
    let first = stage.hold("a", &here).await;
    let second = stage.hold("b", &there).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    stage.done(machine, Action::Stop).await;

    // What is left of it on the first is about to be removed, and nobody waits for that any more.
    here.delay_removal();
    stage.relocate(machine, "b", false).await.unwrap();
    stage.becomes(machine, "OFF").await;
    here.mend();
    wait::until("the removal is under way", async || here.late_calls() == 1).await;

    if let Some(action) = waiting {
        there.cut();
        wait::until("the second host is cut off", async || {
            let host = jobs::host::store::by_name(&mut *stage.conn().await, "b").await.unwrap();
            host.reach == "UNREACHABLE"
        })
        .await;
        stage.ask(machine, action).await;
    }
    wait::until("nobody waits for the removal", async || stage.relocate(machine, "a", false).await.is_ok())
        .await;
    wait::until("the first host has it again", async || {
        let known = stage.machine(machine).await;
        known.host == "a" && known.seen == "OFF" && known.drift.is_none()
    })
    .await;
    let late = here.catch_up();
    let error = late[0].as_ref().unwrap_err();
    assert_eq!(error.fault, Fault::Stale, "{waiting:?}: {error}");
    assert_eq!(here.look(machine).await.unwrap().state, Seen::Off, "{waiting:?}: its definition is gone");
    stage.done(machine, Action::Start).await;
    let defined = here.acts().iter().filter(|(_, act)| *act == "define").count();
    assert_eq!(defined, 1, "{waiting:?}: it was there all the while");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_comes_late_is_refused_by_what_brought_the_machine_back() {
    comes_back(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_comes_late_is_refused_by_an_operation_that_had_nothing_to_do() {
    comes_back(Some(Action::ForceOff)).await;
}
