//! Disks: made once, found from then on, and gone with the machine whose creation failed or that is destroyed.

use jobs::Code;
use jobs::machine::{NewMachine, create};
use rules::machine::{Action, Draft, HostUri, Name, Os};
use tests::wait;
use workers::hypervisor::Crash;

use super::stage::{Stage, simulated, spec};

/// An address of a driver that keeps what it is told.
const ELSEWHERE: &str = "qemu:///system";

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_made_is_found_and_an_empty_one_never_takes_its_place() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    stage.online("a").await;
    let (machine, made) = stage.create("web", "a").await;
    assert_eq!(stage.ended(made).await.state, "SUCCEEDED");
    hands.stop().await;
    // Its definitions are lost, and the folder of its disks is not mounted.
    host.lose_machines();
    let disks = host.unmount();
    assert_eq!(disks.len(), 1);
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    stage.becomes(machine, "ABSENT").await;
    let start = stage.ask(machine, Action::Start).await;
    let ended = stage.ended(start).await;
    let error = ended.error.unwrap_or_default();
    assert_eq!(ended.state, "FAILED");
    assert!(error.contains("its disk is not on this host's storage; mount it or restore it"), "{error}");
    assert_eq!(host.disks(), [], "an empty disk took the place of one that was lost");

    host.mount(disks.clone());
    stage.done(machine, Action::Start).await;
    assert_eq!((host.disks(), stage.machine(machine).await.drift), (disks, None));
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_never_reached_takes_no_machine() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    stage.done(machine, Action::Stop).await;
    let (name, uri): (Name, HostUri) = ("nobody".parse().unwrap(), ELSEWHERE.parse().unwrap());
    jobs::host::store::register(&mut *stage.conn().await, &name, &uri, 8, 2).await.unwrap();
    let spec = spec("db");
    let new = NewMachine {
        tenant: stage.tenant,
        department: None,
        host: Some("nobody"),
        spec: &spec,
        by: "tester",
        trace_parent: None,
    };
    let error = create(&mut *stage.conn().await, &new).await.unwrap_err();
    let told = error.to_string();
    assert_eq!((error.code, told.contains("start its worker first")), (Code::Conflict, true), "{told}");
    let error = stage.relocate(machine, "nobody", false).await.unwrap_err();
    assert_eq!(error.code, Code::Conflict, "{error}");
    hands.stop().await;
}

/// A machine that somebody asked for while its host was said to have more than it has.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_does_not_fit_leaves_nothing_and_can_be_removed() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let db = stage.database.pool().await;
    stage.hold("a", &host).await.stop().await;
    sqlx::query("update host set cpus = 256, memory_mib = 4194304").execute(&db).await.unwrap();
    let draft = Draft { name: "huge", vcpus: 200, memory_mib: 4 * 1024 * 1024, disk_gib: 1, os: Os::Ubuntu };
    let spec = draft.check().unwrap();
    let new = NewMachine {
        tenant: stage.tenant,
        department: None,
        host: Some("a"),
        spec: &spec,
        by: "tester",
        trace_parent: None,
    };
    let mut tx = jobs::db::begin(&db).await.unwrap();
    let (machine, asked) = create(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    let ended = stage.ended(asked.operation).await;
    let error = ended.error.unwrap_or_default();
    assert_eq!((ended.state.as_str(), error.contains("does not fit")), ("FAILED", true), "{error}");
    assert_eq!((host.disks(), host.acts_of(machine)), (vec![], 0));
    let now = stage.machine(machine).await;
    assert_eq!(now.drift.as_deref(), Some("shall be RUNNING and is ABSENT"));
    stage.done(machine, Action::Destroy).await;
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_of_a_machine_that_cannot_start_is_taken_back() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let db = stage.database.pool().await;
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    stage.online("a").await;
    // All of the host's memory is taken.
    let draft = Draft { name: "full", vcpus: 1, memory_mib: 16 * 1024, disk_gib: 0, os: Os::Ubuntu };
    let full = draft.check().unwrap();
    let new = NewMachine {
        tenant: stage.tenant,
        department: None,
        host: Some("a"),
        spec: &full,
        by: "tester",
        trace_parent: None,
    };
    let mut tx = jobs::db::begin(&db).await.unwrap();
    let (_, asked) = create(&mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(stage.ended(asked.operation).await.state, "SUCCEEDED");
    hands.stop().await;
    // Its first attempt is its last.
    let (machine, made) = stage.create("web", "a").await;
    sqlx::query("update job set max_attempts = 1 where kind = 'machine.operate'").execute(&db).await.unwrap();
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    let ended = stage.ended(made).await;
    let error = ended.error.unwrap_or_default();
    assert_eq!((ended.state.as_str(), error.contains("too little left")), ("FAILED", true), "{error}");
    assert_eq!(host.disks(), []);
    let acts: Vec<_> = host.acts().into_iter().filter(|(of, _)| *of == machine).map(|(_, act)| act).collect();
    assert_eq!(acts, ["define", "undefine"]);
    assert_eq!(stage.machine(machine).await.seen, "ABSENT");
    hands.stop().await;
}

/// A creation that starts its machine, whose guest switches itself off before anybody looks, and that cannot start it
/// again for want of memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_on_which_a_guest_has_run_is_not_taken_back() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let db = stage.database.pool().await;
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    stage.online("a").await;
    hands.stop().await;
    let (machine, made) = stage.create("web", "a").await;
    // Its worker dies in the call that starts it: the call is done, and nobody hears of it.
    host.crash_at("start", Crash::After);
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    wait::until("its guest runs", async || host.acts().contains(&(machine, "start"))).await;
    hands.stop().await;
    let disks = host.disks();
    host.crash_guest(machine);
    host.set_memory(0);
    sqlx::query("update job set max_attempts = 1 where kind = 'machine.operate'").execute(&db).await.unwrap();
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    let ended = stage.ended(made).await;
    let error = ended.error.unwrap_or_default();
    assert_eq!((ended.state.as_str(), error.contains("its guest may have run")), ("FAILED", true), "{error}");
    assert_eq!(host.disks(), disks, "a disk was deleted on which a guest has run");
    assert_eq!(disks.len(), 1);
    hands.stop().await;
    // Nor does an empty one take its place, where definitions are lost and the folder is not mounted.
    host.set_memory(16 * 1024);
    host.lose_machines();
    host.unmount();
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    stage.becomes(machine, "ABSENT").await;
    let start = stage.ask(machine, Action::Start).await;
    let error = stage.ended(start).await.error.unwrap_or_default();
    assert!(error.contains("its disk is not on this host's storage"), "{error}");
    assert_eq!(host.disks(), [], "an empty disk took the place of one on which a guest has run");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_came_to_be_after_its_machine_was_destroyed_is_swept_and_said() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    stage.online("a").await;
    let (gone, made) = stage.create("gone", "a").await;
    let (kept, other) = stage.create("kept", "a").await;
    for operation in [made, other] {
        assert_eq!(stage.ended(operation).await.state, "SUCCEEDED");
    }
    let before = host.disks();
    stage.done(gone, Action::Destroy).await;
    hands.stop().await;
    // The call that made it ended only now, with the worker that made it dead; and nobody's file lies there too.
    let nobodys = workers::hypervisor::Disk { path: "/simulated/notes.txt".to_owned(), ..before[0].clone() };
    host.mount([before, vec![nobodys]].concat());
    let hands = stage.serve_at("a", ELSEWHERE, &host).await;
    wait::until("the disk is swept", async || host.disks().len() == 2).await;
    hands.stop().await;
    assert!(host.disks().iter().any(|disk| disk.path.contains(&kept.to_string())), "{:?}", host.disks());
    let told: Vec<(String, String)> = sqlx::query_as(
        "select actor, arguments::text from audit_intake where tenant_id = $1 and operation = 'host.reconcile'",
    )
    .bind(stage.tenant.0)
    .fetch_all(&stage.database.pool().await)
    .await
    .unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    let (actor, arguments) = &told[0];
    assert_eq!(actor, "host:a");
    assert!(arguments.contains(&gone.to_string()) && arguments.contains("it is destroyed"), "{arguments}");
}
