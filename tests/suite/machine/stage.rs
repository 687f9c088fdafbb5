//! A tenant with simulated hosts on a database of its own, and what tests of machines ask of it.

use std::sync::Arc;
use std::time::Duration;

use jobs::db::wall::DbRole;
use jobs::machine::operation::Operation;
use jobs::machine::{
    Machine, NewMachine, Relocation, Request, create, operation, relocate, report, request, store,
};
use jobs::queue::Wake;
use rules::id::{HostId, MachineId, OperationId, SnapshotId, TenantId};
use rules::machine::{Action, Draft, OperationState, Os, Spec};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tests::{Database, Hands, wait};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use workers::hypervisor::{Hypervisor, Simulated};
use workers::{HostConfig, WorkerConfig};

/// How long a call of a simulated host hangs that hangs.
const HANGS: Duration = Duration::from_millis(200);

/// A tenant on a database of its own.
pub(crate) struct Stage {
    pub(crate) database: Database,
    pub(crate) tenant: TenantId,
    wake: Wake,
    shutdown: CancellationToken,
}

/// A host in memory that answers, with 8 processors and 16 GiB.
pub(crate) fn simulated(name: &str) -> Simulated {
    Simulated::new(name, 8, 16 * 1024, HANGS)
}

/// A worker of this host alone.
pub(crate) fn serving(name: &str, hypervisor: Arc<dyn Hypervisor>) -> WorkerConfig {
    serving_at(name, "test:///default", hypervisor)
}

/// A worker of the host at this address alone.
pub(crate) fn serving_at(name: &str, uri: &str, hypervisor: Arc<dyn Hypervisor>) -> WorkerConfig {
    let (name, uri) = (name.parse().unwrap(), uri.parse().unwrap());
    let host = HostConfig { name, uri, vm_slots: 8, health_slots: 2, hypervisor };
    WorkerConfig { hosts: vec![host], ..WorkerConfig::of_pools(vec![], 4, Duration::from_secs(5)) }
}

/// A specification of a small machine.
pub(crate) fn spec(name: &str) -> Spec {
    Draft { name, vcpus: 1, memory_mib: 64, disk_gib: 1, os: Os::Ubuntu }.check().unwrap()
}

/// A listing passes over what somebody holds at that moment, and the next comes half a minute later.
const LISTED_WITHIN: Duration = Duration::from_secs(75);

impl Stage {
    pub(crate) async fn new() -> Self {
        let database = Database::new().await;
        let tenant = TenantId(Uuid::now_v7());
        let mut conn = database.desk().await;
        sqlx::query("insert into tenant (id, slug, title) values ($1, 'stage', 'Stage')")
            .bind(tenant.0)
            .execute(&mut *conn)
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let wake = Wake::start(&database.pool().await, &shutdown);
        Self { database, tenant, wake, shutdown }
    }

    /// A worker that serves this host.
    pub(crate) async fn serve(&self, name: &str, host: &Simulated) -> Hands {
        Hands::with(self.database.pool_as(DbRole::Worker).await, serving(name, Arc::new(host.clone())))
    }

    /// A worker that serves this host at this address.
    pub(crate) async fn serve_at(&self, name: &str, uri: &str, host: &Simulated) -> Hands {
        let db = self.database.pool_as(DbRole::Worker).await;
        Hands::with(db, serving_at(name, uri, Arc::new(host.clone())))
    }

    /// A worker that serves this host, once it holds it and knows what it has.
    pub(crate) async fn hold(&self, name: &str, host: &Simulated) -> Hands {
        let hands = self.serve(name, host).await;
        self.online(name).await;
        hands
    }

    /// Waits until a host is held and what it has is known.
    pub(crate) async fn online(&self, name: &str) {
        let db = self.database.pool().await;
        wait::until(&format!("host {name} is online"), async || {
            let mut conn = db.acquire().await.unwrap();
            let all = jobs::host::store::all(&mut conn).await.unwrap();
            all.iter().any(|h| h.name == name && h.state().as_str() == "ONLINE" && h.cpus.is_some())
        })
        .await;
    }

    pub(crate) async fn conn(&self) -> PoolConnection<Postgres> {
        self.database.desk().await
    }

    /// Asks for a machine on this host.
    pub(crate) async fn create(&self, name: &str, host: &str) -> (MachineId, OperationId) {
        let spec = spec(name);
        let new = NewMachine {
            tenant: self.tenant,
            department: None,
            host: Some(host),
            spec: &spec,
            by: "tester",
            trace_parent: None,
        };
        let mut tx = jobs::db::begin(&self.database.pool().await).await.unwrap();
        let (machine, asked) = create(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        asked.tell(&self.wake);
        (machine, asked.operation)
    }

    /// Asks something of a machine.
    pub(crate) async fn try_ask(&self, machine: MachineId, action: Action) -> jobs::Result<OperationId> {
        let wish =
            Request { tenant: self.tenant, machine, action, by: "tester", reason: None, trace_parent: None };
        let mut tx = jobs::db::begin(&self.database.pool().await).await.unwrap();
        let asked = request(&mut tx, &wish).await?;
        tx.commit().await.unwrap();
        asked.tell(&self.wake);
        Ok(asked.operation)
    }

    pub(crate) async fn ask(&self, machine: MachineId, action: Action) -> OperationId {
        self.try_ask(machine, action).await.unwrap()
    }

    /// Asks for a snapshot of this name.
    pub(crate) async fn ask_snapshot(&self, machine: MachineId, name: &str) -> (SnapshotId, OperationId) {
        let name = name.parse().unwrap();
        let mut tx = jobs::db::begin(&self.database.pool().await).await.unwrap();
        let taken =
            jobs::machine::snapshot::create(&mut tx, self.tenant, machine, &name, "", "tester", None).await;
        let (id, asked) = taken.unwrap();
        tx.commit().await.unwrap();
        asked.tell(&self.wake);
        (id, asked.operation)
    }

    /// Takes a snapshot of this name, and waits until it is taken.
    pub(crate) async fn snapshot(&self, machine: MachineId, name: &str) -> SnapshotId {
        let (id, asked) = self.ask_snapshot(machine, name).await;
        assert_eq!(self.ended(asked).await.state, "SUCCEEDED");
        id
    }

    /// The snapshots of a machine by name, each with its state.
    pub(crate) async fn snapshots(&self, machine: MachineId) -> Vec<(String, String)> {
        let mut conn = self.conn().await;
        let all = jobs::machine::snapshot::store::of_machine(&mut conn, self.tenant, machine).await.unwrap();
        all.into_iter().map(|snapshot| (snapshot.name, snapshot.state)).collect()
    }

    /// Puts a machine on another host.
    pub(crate) async fn relocate(&self, machine: MachineId, host: &str, vouched: bool) -> jobs::Result<()> {
        let wish =
            Relocation { tenant: self.tenant, machine, host, vouched, by: "tester", trace_parent: None };
        let mut tx = jobs::db::begin(&self.database.pool().await).await.unwrap();
        let relocated = relocate(&mut tx, &wish).await?;
        tx.commit().await.unwrap();
        relocated.tell(&self.wake);
        Ok(())
    }

    pub(crate) async fn machine(&self, id: MachineId) -> Machine {
        store::get(&mut *self.conn().await, Some(self.tenant), id).await.unwrap()
    }

    pub(crate) async fn operation(&self, id: OperationId) -> Operation {
        operation::store::get(&mut *self.conn().await, Some(self.tenant), id).await.unwrap()
    }

    /// Waits for an operation's end.
    pub(crate) async fn ended(&self, id: OperationId) -> Operation {
        let db = self.database.pool().await;
        wait::until(&format!("operation {id} ends"), async || {
            let mut conn = db.acquire().await.unwrap();
            let found = operation::store::get(&mut conn, None, id).await.unwrap();
            OperationState::from_name(&found.state).unwrap().has_ended()
        })
        .await;
        self.operation(id).await
    }

    /// Asks something and waits until it is done.
    pub(crate) async fn done(&self, machine: MachineId, action: Action) {
        let id = self.ask(machine, action).await;
        let ended = self.ended(id).await;
        assert_eq!((ended.state.as_str(), ended.error), ("SUCCEEDED", None), "{action}");
    }

    /// Begins an operation as a worker of this host, which dies before it sees anything.
    pub(crate) async fn begun_and_left(&self, host: &str, operation: OperationId) {
        let mut conn = self.conn().await;
        let host = HostId(jobs::host::store::by_name(&mut conn, host).await.unwrap().id);
        let (name, lease) = (jobs::host::lease_name(host), Duration::from_secs(60));
        let claim = jobs::lease::acquire(&mut conn, &name, Uuid::new_v4(), lease).await.unwrap().unwrap();
        let beginning = report::Beginning { operation, host, claim: claim.clone() };
        let begun = report::store::begin(&mut conn, &[beginning]).await.unwrap();
        assert!(matches!(begun[..], [report::Begun::Task(_)]), "{begun:?}");
        jobs::lease::release(&mut conn, &claim).await.unwrap();
    }

    /// Lets an operation end as that of a job that died does.
    pub(crate) async fn fails(&self, operation: OperationId) {
        let mut tx = jobs::db::begin(&self.database.pool().await).await.unwrap();
        assert!(report::fail(&mut tx, operation, "five workers died of it").await.unwrap());
        tx.commit().await.unwrap();
    }

    /// Waits until a machine is seen so.
    pub(crate) async fn becomes(&self, id: MachineId, seen: &str) {
        let db = self.database.pool().await;
        wait::until_within(LISTED_WITHIN, &format!("machine {id} is seen {seen}"), async || {
            let mut conn = db.acquire().await.unwrap();
            store::get(&mut conn, None, id).await.unwrap().seen == seen
        })
        .await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
