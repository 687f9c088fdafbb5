//! The schedule of checks: what is due, what is parked, what is said when nobody answers, who enqueues.

use std::time::Duration;

use ::scheduler::SchedulerConfig;
use jobs::health::schedule::{enqueue_due, follow};
use jobs::health::store;
use rules::health::Check;
use rules::id::MachineId;
use rules::machine::Action;
use tests::wait;
use tokio_util::sync::CancellationToken;

use super::stage::{Stage, simulated};

impl Stage {
    /// Takes in what became of machines, as the scheduler's duty does. Returns how many it was behind of.
    pub(super) async fn follow(&self) -> usize {
        let mut tx = jobs::db::begin(&self.database.pool().await).await.unwrap();
        let followed = follow(&mut tx, 500).await.unwrap();
        tx.commit().await.unwrap();
        followed
    }

    /// Puts what is due into the queue. Returns how many jobs that made.
    async fn enqueue(&self) -> usize {
        let mut tx = jobs::db::begin(&self.database.pool().await).await.unwrap();
        let put = enqueue_due(&mut tx, 500, || 0.5).await.unwrap();
        tx.commit().await.unwrap();
        put.enqueued.iter().filter(|job| !job.existing).count()
    }

    /// As if all the time until the next checks had passed.
    async fn all_due(&self) {
        let mut conn = self.conn().await;
        store::hasten(&mut conn, self.tenant).await.unwrap();
    }

    async fn count(&self, from: &'static str) -> i64 {
        let query = sqlx::AssertSqlSafe(format!("select count(*) from {from}"));
        sqlx::query_scalar(query).fetch_one(&self.database.pool().await).await.unwrap()
    }

    async fn due(&self, machine: MachineId) -> usize {
        let all = store::checks(&mut *self.conn().await, machine).await.unwrap();
        all.iter().filter(|check| check.due_at.is_some()).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_enqueued_once_however_often_and_by_whom() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    let queue =
        "update job_queue set paused_at = case when paused_at is null then now() end where name = 'health@a'";
    sqlx::query(queue).execute(&stage.database.pool().await).await.unwrap();
    assert_eq!(stage.follow().await, 1);
    assert_eq!(stage.follow().await, 0, "it is not behind any more");
    stage.all_due().await;
    // Two rounds at once, as of two leaders that both think they lead.
    let (one, two) = tokio::join!(stage.enqueue(), stage.enqueue());
    assert_eq!(one + two, Check::ALL.len());
    assert_eq!(stage.enqueue().await, 0, "the next are due later");
    // Due again while the last ones still wait: the same jobs will do.
    stage.all_due().await;
    assert_eq!(stage.enqueue().await, 0);
    let asked = stage.check(machine, &Check::ALL).await.unwrap();
    assert_eq!(stage.count("job where kind = 'health.check'").await, Check::ALL.len() as i64);
    sqlx::query(queue).execute(&stage.database.pool().await).await.unwrap();
    stage.done_with(&asked).await;
    assert_eq!(stage.count("health_result").await, Check::ALL.len() as i64);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_off_parks_its_checks_until_it_is_on() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    stage.follow().await;
    assert_eq!(stage.due(machine).await, Check::ALL.len());
    stage.done(machine, Action::Stop).await;
    stage.follow().await;
    assert_eq!((stage.status(machine).await.as_str(), stage.due(machine).await), ("PARKED", 0));
    stage.all_due().await;
    assert_eq!(stage.enqueue().await, 0, "nobody hastens what is parked");
    // Asked for by name it is checked all the same, and stays parked.
    let view = stage.checked(machine, Check::State).await;
    assert_eq!(view.verdict.as_deref(), Some("HEALTHY"));
    assert_eq!(stage.status(machine).await, "PARKED");
    stage.done(machine, Action::Start).await;
    stage.follow().await;
    assert_eq!((stage.status(machine).await.as_str(), stage.due(machine).await), ("UNKNOWN", 5));
    assert_eq!(stage.enqueue().await, Check::ALL.len());
    wait::until("it is healthy again", async || stage.status(machine).await == "HEALTHY").await;
    // Destroyed, it is forgotten; what was found is kept for its time.
    stage.done(machine, Action::Destroy).await;
    stage.follow().await;
    assert_eq!(stage.count("machine_health").await, 0);
    assert_eq!(stage.count("health_check").await + stage.count("health_snapshot").await, 0);
    assert!(stage.count("health_result").await > 0);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_host_that_does_not_answer_it_is_said_once_that_nothing_is_known() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    for check in Check::ALL {
        stage.checked(machine, check).await;
    }
    assert_eq!(stage.status(machine).await, "HEALTHY");
    let before = stage.count("health_result").await;
    host.cut();
    let db = stage.database.pool().await;
    wait::until("the host is unreachable", async || {
        let mut conn = db.acquire().await.unwrap();
        jobs::host::store::by_name(&mut conn, "a").await.unwrap().reach == "UNREACHABLE"
    })
    .await;
    for _ in 0..3 {
        stage.follow().await;
        stage.all_due().await;
        assert_eq!(stage.enqueue().await, 0);
    }
    let told = store::get(&mut *stage.conn().await, None, machine).await.unwrap();
    assert_eq!(told.status, "UNKNOWN");
    assert_eq!(told.reason.as_deref(), Some("its host `a` does not answer"));
    for check in Check::ALL {
        assert_eq!(stage.view(machine, check).await.verdict.as_deref(), Some("UNKNOWN"), "{check}");
    }
    assert_eq!(stage.count("health_result").await, before + Check::ALL.len() as i64, "once of each");
    assert_eq!(stage.count("health_result where verdict = 'CRITICAL'").await, 0);
    host.mend();
    wait::until("the host is back", async || {
        let mut conn = db.acquire().await.unwrap();
        jobs::host::store::by_name(&mut conn, "a").await.unwrap().reach == "ONLINE"
    })
    .await;
    stage.follow().await;
    stage.all_due().await;
    assert_eq!(stage.enqueue().await, Check::ALL.len());
    wait::until("it is healthy again", async || stage.status(machine).await == "HEALTHY").await;
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_schedulers_check_every_machine_once() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let mut machines = Vec::new();
    for number in 0..4 {
        machines.push(stage.create(&format!("m{number}"), "a").await);
    }
    for (_, made) in &machines {
        stage.ended(*made).await;
    }
    stage.follow().await;
    stage.all_due().await;
    let shutdown = CancellationToken::new();
    let config = SchedulerConfig { lease: Duration::from_millis(1500), ..SchedulerConfig::default() };
    let mut running = Vec::new();
    for _ in 0..2 {
        let db = stage.database.pool().await;
        running.push(tokio::spawn(::scheduler::run(db, config.clone(), shutdown.clone())));
    }
    for (machine, _) in &machines {
        wait::until("the machine is healthy", async || stage.status(*machine).await == "HEALTHY").await;
    }
    wait::until("no check is left", async || stage.count("job where kind = 'health.check'").await == 0).await;
    shutdown.cancel();
    for running in running {
        running.await.unwrap().unwrap();
    }
    assert_eq!(stage.count("health_result").await, (machines.len() * Check::ALL.len()) as i64);
    hands.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_switched_off_is_not_made_and_says_nothing() {
    let stage = Stage::new().await;
    let host = simulated("a");
    let hands = stage.hold("a", &host).await;
    let (machine, made) = stage.create("web", "a").await;
    stage.ended(made).await;
    stage.follow().await;
    host.fill_disks(machine, 99);
    stage.checked(machine, Check::State).await;
    stage.checked(machine, Check::DiskSpace).await;
    assert_eq!(stage.status(machine).await, "CRITICAL");
    let mut conn = stage.conn().await;
    store::set(&mut conn, stage.tenant, machine, Check::DiskSpace, Some(false), Some(60)).await.unwrap();
    assert_eq!(stage.status(machine).await, "HEALTHY");
    stage.all_due().await;
    assert_eq!(stage.enqueue().await, Check::ALL.len() - 1);
    let view = stage.view(machine, Check::DiskSpace).await;
    assert_eq!((view.enabled, view.interval_s, view.due_at), (false, 60, None));
    hands.stop().await;
}
