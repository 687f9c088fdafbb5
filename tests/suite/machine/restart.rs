//! `millrace up` and the driver inside it, which forgets all machines with the process; and a listing that fails.

use std::time::Duration;

use jobs::machine::{NewMachine, Request, create, operation, request, store};
use rules::id::{MachineId, OperationId, TenantId};
use rules::machine::Action;
use tests::{Database, Millrace, wait};
use uuid::Uuid;
use workers::hypervisor::Crash;

use super::stage::{Stage, simulated, spec};

/// How long a drain may take.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The name of the host that `up` serves.
const LOCAL: &str = "local";

async fn up(database: &Database, home: &str) -> Millrace {
    let variables = [("MILLRACE_HOME", home), ("PORT", "0"), ("DATABASE_URL", database.url())];
    let mut up = Millrace::start(&["up"], &variables);
    up.printed("millrace is up").await;
    wait::until("the host is online", async || {
        let host = jobs::host::store::by_name(&mut *database.desk().await, LOCAL).await;
        host.is_ok_and(|host| host.state().as_str() == "ONLINE" && host.cpus.is_some())
    })
    .await;
    up
}

async fn ended(database: &Database, id: OperationId) -> operation::Operation {
    wait::value(&format!("operation {id} ends"), async || {
        let found = operation::store::get(&mut *database.desk().await, None, id).await.unwrap();
        found.ended_at.is_some().then_some(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_a_restart_of_up_forgot_are_defined_again_and_no_job_is_lost() {
    if cfg!(not(feature = "libvirt")) {
        tests::tell("NOT TESTED: a restart of `up`, because this build knows no libvirt (feature `libvirt`)");
        return;
    }
    let database = Database::empty().await;
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home").display().to_string();
    let mut first = up(&database, &home).await;
    let tenant = TenantId(Uuid::now_v7());
    let mut conn = database.connect().await;
    sqlx::query("insert into tenant (id, slug, title) values ($1, 'acme', 'Acme')")
        .bind(tenant.0)
        .execute(&mut conn)
        .await
        .unwrap();
    let db = database.pool().await;
    let mut machines: Vec<MachineId> = Vec::new();
    for name in ["one", "two", "three"] {
        let spec = spec(name);
        let (department, trace_parent) = (None, None);
        let new =
            NewMachine { tenant, department, host: Some(LOCAL), spec: &spec, by: "tester", trace_parent };
        let mut tx = jobs::db::begin(&db).await.unwrap();
        let (machine, asked) = create(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        let made = ended(&database, asked.operation).await;
        assert_eq!(made.state, "SUCCEEDED", "{made:?}");
        machines.push(machine);
    }
    assert!(first.stop(STOP_LIMIT).await.success(), "{}", first.log());

    // Asked while nothing runs; it is found when something does.
    let mut tx = jobs::db::begin(&db).await.unwrap();
    let (machine, action) = (machines[0], Action::Start);
    let wish = Request { tenant, machine, action, by: "tester", reason: None, trace_parent: None };
    let waiting = request(&mut tx, &wish).await.unwrap().operation;
    tx.commit().await.unwrap();

    let mut second = up(&database, &home).await;
    let started = ended(&database, waiting).await;
    assert_eq!((started.state.as_str(), started.error), ("SUCCEEDED", None));
    for machine in &machines[1..] {
        let now = wait::value("it is defined again", async || {
            let now = store::get(&mut *database.desk().await, None, *machine).await.unwrap();
            (now.seen_reason.as_deref() == Some("host restarted")).then_some(now)
        })
        .await;
        assert_eq!((now.seen.as_str(), now.wanted.as_str(), now.drift), ("OFF", "OFF", None));
        let asked = operation::store::page(&mut conn, *machine, None, 10).await.unwrap();
        let told: Vec<_> =
            asked.iter().map(|o| (o.action.as_str(), o.reason.as_deref(), o.state.as_str())).collect();
        assert!(told.contains(&("DEFINE", Some("host restarted"), "SUCCEEDED")), "{told:?}");
    }
    let now = store::get(&mut conn, None, machines[0]).await.unwrap();
    assert_eq!(
        (now.seen.as_str(), now.wanted.as_str()),
        ("RUNNING", "RUNNING"),
        "what was asked is what it is"
    );
    let lost: i64 = sqlx::query_scalar(
        "select (select count(*) from machine_operation where state <> 'SUCCEEDED')
            + (select count(*) from job_dead where kind like 'machine.%')",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(lost, 0);
    assert!(second.stop(STOP_LIMIT).await.success(), "{}", second.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_fails_on_a_host_that_answers_changes_nothing() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    hands.stop().await;
    let before = stage.machine(machine).await;
    let listings = async || -> i64 {
        let ended = "select count(*) from job_history where kind = 'host.reconcile'";
        sqlx::query_scalar(ended).fetch_one(&mut *stage.conn().await).await.unwrap()
    };
    let (done, acts) = (listings().await, host.acts().len());
    // The driver in the process, of which lost machines would be defined again.
    host.lose_machines();
    for crash in [Crash::Before, Crash::HangBefore] {
        host.crash_at("list", crash);
        let already = listings().await;
        let hands = stage.hold("a", &host).await;
        wait::until("a listing ends", async || listings().await > already).await;
        hands.stop().await;
        let now = stage.machine(machine).await;
        assert_eq!(
            (now.seen, now.seen_at, now.drift),
            (before.seen.clone(), before.seen_at, before.drift.clone())
        );
    }
    let operations = operation::store::page(&mut *stage.conn().await, machine, None, 10).await.unwrap();
    assert_eq!((operations.len(), host.acts().len()), (1, acts), "nothing was asked, nothing was done");
    assert_eq!(listings().await, done + 2);

    let hands = stage.hold("a", &host).await;
    stage.becomes(machine, "OFF").await;
    hands.stop().await;
}
