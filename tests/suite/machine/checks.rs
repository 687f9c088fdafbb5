//! Checks of machines: what they find, how many are made at once, and who is not held up by them.

use std::sync::Arc;
use std::time::Duration;

use jobs::health::report::{Begun, store as report};
use jobs::health::{CheckView, ask, store};
use jobs::machine::{Relocation, relocate};
use rules::health::{Check, IN_FLIGHT_IN_ALL, IN_FLIGHT_PER_MACHINE};
use rules::id::{HostId, JobId, MachineId, TenantId};
use rules::machine::Action;
use tests::{Hands, wait};
use uuid::Uuid;
use workers::hypervisor::{Readings, Simulated};
use workers::{HostConfig, WorkerConfig};

use super::stage::{Stage, simulated};

impl Stage {
    /// Has a machine checked now.
    pub(super) async fn check(&self, machine: MachineId, checks: &[Check]) -> jobs::Result<Vec<JobId>> {
        let mut tx = jobs::db::begin(&self.database.pool().await).await.unwrap();
        let (asked, _) = ask(&mut tx, self.tenant, machine, checks, None).await?;
        tx.commit().await.unwrap();
        Ok(asked.into_iter().map(|a| a.job).collect())
    }

    /// A check of a machine, once this job has made it.
    pub(super) async fn checked(&self, machine: MachineId, check: Check) -> CheckView {
        // The schedule's own first round makes the rows of the checks.
        self.follow().await;
        let jobs = self.check(machine, &[check]).await.unwrap();
        self.done_with(&jobs).await;
        self.view(machine, check).await
    }

    /// Waits until these jobs are gone.
    pub(super) async fn done_with(&self, jobs: &[JobId]) {
        let (db, ids) = (self.database.pool().await, jobs.iter().map(|j| j.0).collect::<Vec<_>>());
        wait::until("the checks are made", async || {
            let left: i64 = sqlx::query_scalar("select count(*) from job where id = any($1)")
                .bind(&ids)
                .fetch_one(&db)
                .await
                .unwrap();
            left == 0
        })
        .await;
    }

    pub(super) async fn view(&self, machine: MachineId, check: Check) -> CheckView {
        let all = store::checks(&mut *self.conn().await, machine).await.unwrap();
        all.into_iter().find(|view| view.name == check.as_str()).unwrap()
    }

    pub(super) async fn status(&self, machine: MachineId) -> String {
        store::get(&mut *self.conn().await, Some(self.tenant), machine).await.unwrap().status
    }

    /// A worker that serves these hosts, with so many slots for checks on each.
    async fn serve_all(&self, hosts: &[(&str, &Simulated)], health_slots: u32) -> Hands {
        let hosts = hosts.iter().map(|(name, host)| HostConfig {
            name: name.parse().unwrap(),
            uri: "test:///default".parse().unwrap(),
            vm_slots: 4,
            health_slots,
            hypervisor: Arc::new((*host).clone()),
        });
        let hosts: Vec<_> = hosts.collect();
        let online = hosts.len();
        let config = WorkerConfig { hosts, ..WorkerConfig::of_pools(vec![], 4, Duration::from_secs(5)) };
        let hands = Hands::with(self.database.pool().await, config);
        let db = self.database.pool().await;
        wait::until("the hosts are online", async || {
            let mut conn = db.acquire().await.unwrap();
            let all = jobs::host::store::all(&mut conn).await.unwrap();
            all.iter().filter(|h| h.state().as_str() == "ONLINE" && h.cpus.is_some()).count() == online
        })
        .await;
        hands
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_read_and_judged() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    for check in Check::ALL {
        let view = stage.checked(machine, check).await;
        assert_eq!(view.verdict.as_deref(), Some("HEALTHY"), "{view:?}");
    }
    assert_eq!(stage.status(machine).await, "HEALTHY");
    let cpu = stage.view(machine, Check::CpuUsage).await;
    assert_eq!(cpu.figures.unwrap()["cpus"], 1);

    // A minute of processor time since the last reading, which is some ten seconds old.
    let old = "update health_snapshot set checked_at = now() - interval '10 s' where name = 'CPU_USAGE'";
    sqlx::query(old).execute(&stage.database.pool().await).await.unwrap();
    host.burn(machine, 60_000_000_000);
    host.set_guest_memory(machine, Some((58_000, 65_536)));
    host.fill_disks(machine, 97);
    for (check, verdict) in
        [(Check::CpuUsage, "CRITICAL"), (Check::MemoryUsage, "WARNING"), (Check::DiskSpace, "CRITICAL")]
    {
        let view = stage.checked(machine, check).await;
        assert_eq!(view.verdict.as_deref(), Some(verdict), "{view:?}");
    }
    let overall = store::get(&mut *stage.conn().await, None, machine).await.unwrap();
    assert_eq!(overall.status, "CRITICAL");
    let reason = overall.reason.unwrap();
    assert!(reason.contains("CPU_USAGE") && reason.contains("`vda` is written to 97.0 %"), "{reason}");

    // What was bad and is no more is not held against it.
    host.set_guest_memory(machine, None);
    host.fill_disks(machine, 10);
    for check in Check::ALL {
        stage.checked(machine, check).await;
    }
    assert_eq!(stage.status(machine).await, "HEALTHY");
    let history = store::history(&mut *stage.conn().await, machine, Some(Check::DiskSpace), None, 10).await;
    let verdicts: Vec<_> = history.unwrap().into_iter().map(|r| r.verdict).collect();
    assert_eq!(verdicts, ["HEALTHY", "CRITICAL", "HEALTHY"]);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_died_is_critical_and_one_that_nobody_can_ask_about_is_unknown() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    host.crash_guest(machine);
    stage.becomes(machine, "CRASHED").await;
    let view = stage.checked(machine, Check::State).await;
    assert_eq!(view.verdict.as_deref(), Some("CRITICAL"), "{view:?}");
    assert_eq!(stage.checked(machine, Check::CpuUsage).await.verdict.as_deref(), Some("UNKNOWN"));
    assert_eq!(stage.status(machine).await, "CRITICAL");
    stage.done(machine, Action::Start).await;
    assert_eq!(stage.checked(machine, Check::State).await.verdict.as_deref(), Some("HEALTHY"));
    assert_eq!(stage.status(machine).await, "HEALTHY");
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_made_at_once_than_may_be_whoever_makes_them() {
    let stage = Stage::new().await;
    let readings = Readings::taking(Duration::from_secs(1));
    let hosts: Vec<_> = ["a", "b", "c"].map(|name| (name, simulated(name).counting(&readings))).into();
    let served: Vec<_> = hosts.iter().map(|(name, host)| (*name, host)).collect();
    // Two workers for the same hosts: one stands by, and its slots are none.
    let first = stage.serve_all(&served, 40).await;
    let second = stage.serve_all(&served, 40).await;
    let mut machines = Vec::new();
    for number in 0..50 {
        let (name, _) = hosts[number % hosts.len()];
        machines.push(stage.create(&format!("m{number}"), name).await);
    }
    for (_, made) in &machines {
        assert_eq!(stage.ended(*made).await.state, "SUCCEEDED");
    }
    let mut asked = Vec::new();
    for (machine, _) in &machines {
        asked.extend(stage.check(*machine, &Check::ALL).await.unwrap());
    }
    stage.done_with(&asked).await;
    let most = readings.most();
    assert!(most.of_one <= IN_FLIGHT_PER_MACHINE as usize, "{most:?}");
    assert!(most.in_all <= IN_FLIGHT_IN_ALL as usize, "{most:?}");
    // Many were made at once, on a busy machine too, and everything was made: processors are read twice.
    assert!(most.in_all > IN_FLIGHT_IN_ALL as usize / 4, "{most:?}");
    assert_eq!(most.ever, machines.len() * 4);
    let dead: i64 = sqlx::query_scalar("select count(*) from job_dead")
        .fetch_one(&stage.database.pool().await)
        .await
        .unwrap();
    assert_eq!(dead, 0);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_hangs_holds_up_no_operation() {
    let stage = Stage::new().await;
    let readings = Readings::taking(Duration::from_secs(600));
    let host = simulated("a").counting(&readings);
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    stage.check(machine, &Check::ALL).await.unwrap();
    wait::until("two checks hang, which is all that may", async || readings.most().of_one == 2).await;
    for action in [Action::Suspend, Action::Resume, Action::Restart, Action::ForceOff] {
        stage.done(machine, action).await;
    }
    assert!(readings.most().ever >= 2);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_a_worker_that_died_is_free_again_when_it_runs_out() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    hands.stop().await;
    stage.follow().await;
    let mut conn = stage.conn().await;
    let id = HostId(jobs::host::store::by_name(&mut conn, "a").await.unwrap().id);
    let mut begin =
        async |job: i64| report::begin(&mut conn, JobId(job), machine, Check::State, id).await.unwrap();
    for job in [-1, -2, -1] {
        // The same job may begin again: it is the one whose worker died.
        assert!(matches!(begin(job).await, Begun::Task(_)), "{job}");
    }
    assert_eq!(begin(-3).await, Begun::Full);
    let out = "update health_slot set held_until = now() - interval '1 s' where job_id = -1";
    sqlx::query(out).execute(&stage.database.pool().await).await.unwrap();
    assert!(matches!(begin(-3).await, Begun::Task(_)));
    assert_eq!(begin(-4).await, Begun::Full);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_checked_is_refused_and_nothing_is_left_of_it() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    hands.stop().await;
    let refused = async |tenant: TenantId, machine: MachineId| {
        let mut tx = jobs::db::begin(&stage.database.pool().await).await.unwrap();
        ask(&mut tx, tenant, machine, &[Check::State], None).await.unwrap_err()
    };
    let other = TenantId(Uuid::now_v7());
    assert_eq!(refused(other, machine).await.code, jobs::Code::NotFound);
    assert_eq!(refused(stage.tenant, MachineId(Uuid::now_v7())).await.code, jobs::Code::NotFound);
    stage.ask(machine, Action::Destroy).await;
    let told = refused(stage.tenant, machine).await;
    assert_eq!((told.code, told.to_string().contains("being destroyed")), (jobs::Code::Conflict, true));
    let left: i64 = sqlx::query_scalar("select count(*) from job where kind = 'health.check'")
        .fetch_one(&stage.database.pool().await)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_moved_is_checked_where_it_is() {
    let stage = Stage::new().await;
    let (a, b) = (simulated("a"), simulated("b"));
    let hands = stage.serve_all(&[("a", &a), ("b", &b)], 2).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    stage.done(machine, Action::Stop).await;
    hands.stop().await;
    stage.follow().await;
    let jobs = stage.check(machine, &[Check::State]).await.unwrap();
    let mut tx = jobs::db::begin(&stage.database.pool().await).await.unwrap();
    let wish = Relocation {
        tenant: stage.tenant,
        machine,
        host: "b",
        vouched: true,
        by: "tester",
        trace_parent: None,
    };
    drop(relocate(&mut tx, &wish).await.unwrap());
    tx.commit().await.unwrap();
    let hands = stage.serve_all(&[("a", &a), ("b", &b)], 2).await;
    stage.done_with(&jobs).await;
    wait::until("it is checked on the other host", async || {
        stage.view(machine, Check::State).await.verdict.is_some()
    })
    .await;
    hands.stop().await;
}
