//! Operations that wait for a daemon that is killed, ended or stopped, and are asked for all the while: through the queue,
//! on QEMU's guests and on libvirt's test driver.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use jobs::db::wall::DbRole;
use rules::id::{MachineId, OperationId};
use rules::machine::{Action, DEGRADED_WITHIN, HostState};
use tests::hypervisor_host::HypervisorHost;
use tests::{Hands, wait};
use workers::WorkerConfig;

use super::stage::{LIMIT, can, open};
use super::table::{Row, tell};
use super::witness::{Effects, Witness};
use crate::machine::ledger::{overlapping, recorded, repeated};
use crate::machine::stage::{Stage, serving_at};

/// What is asked of a machine that runs, and leaves it running. Of what waits none takes the place of another.
const ROUND: [Action; 4] = [Action::Suspend, Action::Resume, Action::ForceOff, Action::Start];

/// What is under way while a fault strikes: no start, for one that is broken off may have begun, and is begun again.
const UNDER_WAY: [Action; 8] = [
    Action::Suspend,
    Action::Resume,
    Action::Suspend,
    Action::Resume,
    Action::Suspend,
    Action::Resume,
    Action::Suspend,
    Action::Resume,
];

/// What happens to the daemon.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Killed,
    Ended,
    Stopped,
}

impl Fault {
    const ALL: [Self; 3] = [Self::Killed, Self::Ended, Self::Stopped];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Killed => "daemon killed, started",
            Self::Ended => "daemon ended, started",
            Self::Stopped => "daemon stopped, continued",
        }
    }

    /// How the host is recorded meanwhile.
    const fn state(self) -> HostState {
        match self {
            Self::Killed | Self::Ended => HostState::Unreachable,
            Self::Stopped => HostState::Degraded,
        }
    }

    fn begin(self, host: &HypervisorHost) {
        match self {
            Self::Killed => host.kill_daemon(),
            Self::Ended => host.end_daemon(),
            Self::Stopped => host.stop_daemon(),
        }
    }

    fn end(self, host: &HypervisorHost) {
        match self {
            Self::Killed | Self::Ended => host.start_daemon(),
            Self::Stopped => host.continue_daemon(),
        }
    }
}

/// A host with a daemon, and a worker that serves it.
struct Scene<'a> {
    stage: &'a Stage,
    host: &'a HypervisorHost,
    name: &'static str,
    uri: String,
    effects: Effects,
    /// Whether its machines end with its daemon, as those of the test driver do.
    forgets: bool,
}

impl Scene<'_> {
    fn worker(&self) -> WorkerConfig {
        let watched = Witness { inner: open(&self.uri, self.host.folder()), effects: self.effects.clone() };
        serving_at(self.name, &self.uri, Arc::new(watched))
    }

    /// A machine that runs.
    async fn made(&self, name: &str) -> (MachineId, OperationId) {
        let (machine, made) = self.stage.create(name, self.name).await;
        assert_eq!(self.stage.ended(made).await.state, "SUCCEEDED");
        (machine, made)
    }

    async fn ask(&self, machine: MachineId, actions: &[Action]) -> Vec<OperationId> {
        let mut asked = Vec::new();
        for action in actions {
            asked.push(self.stage.ask(machine, *action).await);
        }
        asked
    }

    /// Waits until the host is recorded so.
    async fn is_recorded(&self, state: HostState) {
        wait::until_within(LIMIT, &format!("{} is {}", self.name, state.as_str()), async || {
            let host = jobs::host::store::by_name(&mut *self.stage.conn().await, self.name).await;
            host.is_ok_and(|host| host.state() == state)
        })
        .await;
    }

    /// Strikes while operations of one machine are under way, and asks for more of it, and for another machine, before
    /// and after that is known.
    async fn strike(&self, fault: Fault) -> Row {
        let label = format!("{fault:?}");
        let (busy, made) = self.made(&format!("{label}-busy")).await;
        let mut of_busy = vec![made];
        of_busy.extend(self.ask(busy, &UNDER_WAY).await);
        self.stage.ended(of_busy[1]).await;
        fault.begin(self.host);
        let (fresh, made) = self.stage.create(&format!("{label}-fresh"), self.name).await;
        let mut of_fresh = vec![made];
        of_busy.extend(self.ask(busy, &ROUND).await);
        of_fresh.extend(self.ask(fresh, &ROUND).await);
        self.is_recorded(fault.state()).await;
        of_busy.extend(self.ask(busy, &ROUND).await);
        of_fresh.extend(self.ask(fresh, &ROUND).await);
        for operation in [of_busy.last(), of_fresh.first()].into_iter().flatten() {
            assert!(self.stage.operation(*operation).await.ended_at.is_none(), "nobody was there to do it");
        }
        fault.end(self.host);
        self.is_recorded(HostState::Online).await;
        for operation in of_busy.iter().chain(&of_fresh) {
            self.stage.ended(*operation).await;
        }
        let mut row = Row { fault: fault.as_str().to_owned(), faults: 1, ..Row::default() };
        self.judge(&mut row, &BTreeMap::from([(busy, of_busy), (fresh, of_fresh)])).await;
        // What the test driver forgot with its daemon cannot be done any more, and says so; all else was done.
        assert!(row.failed == 0 || self.forgets, "{row:?}");
        self.is_running(fresh).await;
        if row.failed == 0 {
            self.is_running(busy).await;
        }
        row
    }

    async fn judge(&self, row: &mut Row, asked: &BTreeMap<MachineId, Vec<OperationId>>) {
        let mut conn = self.stage.conn().await;
        for (machine, accepted) in asked {
            let ended = recorded(&mut conn, *machine).await;
            for operation in accepted {
                row.count(ended.iter().find(|ended| ended.id == *operation));
            }
            row.disorder += overlapping(&ended);
            let (twice, disorder) = repeated(&self.effects.of(*machine), &ended);
            row.twice += twice;
            row.disorder += disorder;
            if !self.forgets {
                let starts = ended.iter().filter(|ended| {
                    ended.state == "SUCCEEDED" && matches!(ended.action, Action::Create | Action::Start)
                });
                row.twice += self.host.starts(machine.0).abs_diff(starts.count());
            }
        }
    }

    async fn is_running(&self, machine: MachineId) {
        let driver = open(&self.uri, self.host.folder());
        super::stage::seen(&driver, machine, rules::machine::Seen::Running).await;
        self.stage.becomes(machine, "RUNNING").await;
    }
}

async fn come_through(name: &'static str, uri: impl Fn(&HypervisorHost) -> String, forgets: bool) {
    let (stage, host) = (Stage::new().await, HypervisorHost::boot(name));
    let uri = uri(&host);
    let scene = Scene { stage: &stage, host: &host, name, uri, effects: Effects::default(), forgets };
    let hands = Hands::with(stage.database.pool_as(DbRole::Worker).await, scene.worker());
    stage.online(name).await;
    let mut rows = Vec::new();
    for fault in Fault::ALL {
        rows.push(scene.strike(fault).await);
    }
    hands.stop().await;
    let title = if forgets { "test driver behind a daemon" } else { "QEMU behind a daemon" };
    tell(title, &rows);
    for row in rows {
        assert_eq!((row.lost, row.twice, row.disorder), (0, 0, 0), "{}", row.fault);
        assert_eq!(row.operations, 2 + UNDER_WAY.len() + 4 * ROUND.len(), "{}", row.fault);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_on_guests_come_through_what_happens_to_their_daemon() {
    if can("operations on guests whose daemon is gone") {
        come_through("guests", HypervisorHost::qemu, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_on_the_test_driver_come_through_what_happens_to_its_daemon() {
    if can("operations on a test driver whose daemon is gone") {
        come_through("driver", HypervisorHost::test_driver, true).await;
    }
}

/// How long after `since` the host was recorded as one that does not answer, by the database's clock.
async fn degraded_after(stage: &Stage, name: &str, since: DateTime<Utc>) -> std::time::Duration {
    let recorded: Option<DateTime<Utc>> =
        sqlx::query_scalar("select reach_since from host where name = $1 and reach = 'DEGRADED'")
            .bind(name)
            .fetch_one(&mut *stage.conn().await)
            .await
            .unwrap();
    (recorded.unwrap() - since).to_std().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_hangs_is_recorded_in_time_and_no_other_waits_for_it() {
    if !can("a host that hangs beside another in one worker") {
        return;
    }
    let stage = Stage::new().await;
    let (hung, well) = (HypervisorHost::boot("hung"), HypervisorHost::boot("well"));
    let scene = |host, name| Scene {
        stage: &stage,
        host,
        name,
        uri: HypervisorHost::qemu(host),
        effects: Effects::default(),
        forgets: false,
    };
    let (hanging, beside) = (scene(&hung, "hung"), scene(&well, "well"));
    // One process, and so one runtime, one pool of threads and one record for both.
    let mut worker = hanging.worker();
    worker.hosts.extend(beside.worker().hosts);
    for host in &mut worker.hosts {
        host.vm_slots = 2;
    }
    let hands = Hands::with(stage.database.pool_as(DbRole::Worker).await, worker);
    stage.online("hung").await;
    stage.online("well").await;
    let theirs = [hanging.made("one").await.0, hanging.made("two").await.0];
    let (other, _) = beside.made("other").await;

    let stopped_at: DateTime<Utc> =
        sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *stage.conn().await).await.unwrap();
    hung.stop_daemon();
    let mut hang = Vec::new();
    for machine in theirs {
        hang.push(stage.ask(machine, Action::Suspend).await);
    }
    let begun = async |operation| stage.operation(operation).await.started_at.is_some();
    wait::until("all slots of the host hang", async || begun(hang[0]).await && begun(hang[1]).await).await;
    // Before it is known, and after: what is asked of the other is done while the first hangs.
    stage.done(other, Action::Suspend).await;
    hanging.is_recorded(HostState::Degraded).await;
    let after = degraded_after(&stage, "hung", stopped_at).await;
    stage.done(other, Action::Resume).await;
    beside.is_recorded(HostState::Online).await;
    for operation in &hang {
        assert!(stage.operation(*operation).await.ended_at.is_none(), "its daemon hangs");
    }
    hung.continue_daemon();
    for operation in &hang {
        assert_eq!(stage.ended(*operation).await.state, "SUCCEEDED");
    }
    hanging.is_recorded(HostState::Online).await;
    hands.stop().await;
    tests::tell(&format!("a host that hangs is recorded as degraded after {after:.1?}"));
    assert!(after <= DEGRADED_WITHIN, "it took {after:?}");
}
