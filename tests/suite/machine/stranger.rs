//! A host's name is bound to its hypervisor: another that answers under it is not taken for an empty one.

use jobs::Code;
use jobs::host::Host;
use jobs::machine::operation;
use rules::machine::Action;
use tests::wait;
use workers::hypervisor::Simulated;

use super::stage::{Stage, simulated};

/// An address of a driver that keeps what it is told.
const ELSEWHERE: &str = "qemu:///system";

async fn known(stage: &Stage, name: &str) -> Host {
    jobs::host::store::by_name(&mut *stage.conn().await, name).await.unwrap()
}

/// Waits until it is said that another hypervisor answers, and returns what is said of the host.
async fn is_mistaken(stage: &Stage, name: &str) -> Host {
    wait::until("another hypervisor is noticed", async || {
        let known = jobs::host::store::by_name(&mut *stage.conn().await, name).await;
        known.is_ok_and(|host| host.stranger.is_some())
    })
    .await;
    known(stage, name).await
}

async fn accept(stage: &Stage, name: &str, identity: &str) -> jobs::Result<()> {
    jobs::host::store::accept(&mut *stage.conn().await, name, identity).await
}

/// Has a hypervisor refused, and tells why.
async fn refused(stage: &Stage, name: &str, identity: &str) -> String {
    let error = accept(stage, name, identity).await.unwrap_err();
    assert_eq!(error.code, Code::Conflict, "{error}");
    error.to_string()
}

fn named(identity: &str) -> Simulated {
    simulated("a").identified(identity)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_hypervisor_is_left_alone_until_somebody_accepts_it() {
    let stage = Stage::new().await;
    let (own, other) = (named("own"), named("other"));
    let hands = stage.serve_at("a", ELSEWHERE, &own).await;
    stage.online("a").await;
    assert_eq!(known(&stage, "a").await.identity.as_deref(), Some("own"));
    let (machine, made) = stage.create("web", "a").await;
    assert_eq!(stage.ended(made).await.state, "SUCCEEDED");
    hands.stop().await;

    // The address of another, with which the machine would be made there a second time.
    let hands = stage.serve_at("a", ELSEWHERE, &other).await;
    let told = is_mistaken(&stage, "a").await;
    assert_eq!((told.state().as_str(), told.stranger.as_deref()), ("UNREACHABLE", Some("other")));
    let reason = told.reason().unwrap_or_default().to_owned();
    assert!(reason.contains("`own`") && reason.contains("millrace host accept a"), "{reason}");
    let stop = stage.ask(machine, Action::Stop).await;
    let waits = operation::store::why(&mut *stage.conn().await, machine).await.unwrap();
    assert_eq!(waits.iter().map(|w| w.why.code()).collect::<Vec<_>>(), ["HOST_STRANGER"]);
    // An event of a machine that it happens to know is no sight of ours.
    other.crash_guest(machine);
    hands.stop().await;
    assert_eq!(other.acts(), []);
    assert_eq!(stage.machine(machine).await.seen, "RUNNING");

    // Its own again: it goes on, and nothing is left of the mistake.
    let hands = stage.serve_at("a", ELSEWHERE, &own).await;
    assert_eq!(stage.ended(stop).await.state, "SUCCEEDED");
    let now = known(&stage, "a").await;
    assert_eq!((now.identity.as_deref(), now.stranger), (Some("own"), None));
    assert!(refused(&stage, "a", "other").await.contains("no other hypervisor answers"));
    hands.stop().await;

    // Accepted, it is listed, and what it does not know is said and not made.
    let hands = stage.serve_at("a", ELSEWHERE, &other).await;
    is_mistaken(&stage, "a").await;
    let told = refused(&stage, "a", "a third").await;
    assert!(told.contains("`other` answers for host `a`, and not `a third`"), "{told}");
    hands.stop().await;
    // What was reported then may not be so any more, and nobody looks.
    assert_eq!(known(&stage, "a").await.stranger.as_deref(), Some("other"));
    assert!(refused(&stage, "a", "other").await.contains("no worker holds host `a`"));
    assert_eq!(known(&stage, "a").await.identity.as_deref(), Some("own"));
    let hands = stage.serve_at("a", ELSEWHERE, &other).await;
    wait::until("it is accepted", async || accept(&stage, "a", "other").await.is_ok()).await;
    stage.online("a").await;
    stage.becomes(machine, "ABSENT").await;
    assert_eq!(stage.machine(machine).await.drift.as_deref(), Some("shall be OFF and is ABSENT"));
    assert_eq!(other.acts(), []);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_say_who_it_is_takes_no_others_place() {
    let stage = Stage::new().await;
    let hands = stage.serve_at("a", ELSEWHERE, &named("own")).await;
    stage.online("a").await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    hands.stop().await;
    // libvirt's driver in the process, which would be told of all machines anew.
    let test = simulated("a");
    let hands = stage.serve("a", &test).await;
    let told = is_mistaken(&stage, "a").await;
    assert_eq!((told.stranger.as_deref(), told.identity.as_deref()), (Some(""), Some("own")));
    hands.stop().await;
    assert_eq!(test.acts(), []);
    assert_eq!(stage.machine(machine).await.seen, "RUNNING");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_hypervisor_is_not_two_hosts() {
    let stage = Stage::new().await;
    let own = named("own");
    let first = stage.serve_at("a", ELSEWHERE, &own).await;
    stage.online("a").await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    stage.done(machine, Action::Stop).await;
    let second = stage.serve_at("b", ELSEWHERE, &own).await;
    let told = is_mistaken(&stage, "b").await;
    assert!(told.reason().is_some_and(|reason| reason.contains("of host `a`")), "{told:?}");
    second.stop().await;
    assert!(
        own.acts().iter().all(|(_, act)| *act != "undefine"),
        "what is host a's was taken for a leftover"
    );
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_host_does_not_know_any_more_is_said_and_not_made() {
    let stage = Stage::new().await;
    let host = named("own");
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    stage.online("a").await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    hands.stop().await;
    host.lose_machines();
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    stage.becomes(machine, "ABSENT").await;
    let now = stage.machine(machine).await;
    assert_eq!(
        (now.wanted.as_str(), now.drift.as_deref()),
        ("RUNNING", Some("shall be RUNNING and is ABSENT"))
    );
    assert_eq!(host.acts_of(machine), 2, "made and started, and nothing since");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_host_leaves_its_name_to_another_hypervisor() {
    let stage = Stage::new().await;
    let hands = stage.serve_at("a", ELSEWHERE, &named("own")).await;
    stage.online("a").await;
    hands.stop().await;
    jobs::host::store::remove(&mut *stage.conn().await, "a", "tester").await.unwrap();
    let hands = stage.serve_at("a", ELSEWHERE, &named("other")).await;
    stage.online("a").await;
    assert_eq!(known(&stage, "a").await.identity.as_deref(), Some("other"));
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_the_place_of_a_hosts_own_in_between_is_asked_for_nothing() {
    let stage = Stage::new().await;
    let own = named("own");
    let hands = stage.serve_at("a", ELSEWHERE, &own).await;
    stage.online("a").await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    let before = own.acts();
    // The next connection leads elsewhere, and nothing broke that anybody would notice.
    let other = own.clone().identified("other");
    let stop = stage.ask(machine, Action::Stop).await;
    let told = is_mistaken(&stage, "a").await;
    assert_eq!(told.stranger.as_deref(), Some("other"));
    assert_eq!(other.acts(), before, "a hypervisor was asked that nobody had recognised");
    let waits = stage.operation(stop).await;
    assert!(waits.ended_at.is_none(), "{waits:?}");
    // Its own again: what waited is done.
    drop(other.identified("own"));
    assert_eq!(stage.ended(stop).await.state, "SUCCEEDED");
    hands.stop().await;
}
