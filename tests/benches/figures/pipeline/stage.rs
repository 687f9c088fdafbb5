//! An API, a worker and libvirt's test driver for each of many hosts, in one process; and machines on them.

use std::sync::Arc;
use std::time::Duration;

use api::RateLimit;
use jobs::db::PgPool;
use jobs::db::wall::DbRole;
use jobs::machine::{NewMachine, create};
use rules::id::{MachineId, TenantId};
use rules::machine::{Draft, HostUri, Os};
use tests::{Client, Database, Door, Hands};
use uuid::Uuid;
use workers::hypervisor::{Hypervisor, Libvirt, LibvirtSettings};
use workers::{HostConfig, WorkerConfig};

use super::clocked::{Clocked, Ledger};
use super::measure::Size;
use crate::machines::{host_name, until};

/// Connections of the API and of the worker, each: as many as a process has by default.
const CONNECTIONS: u32 = 16;

/// Slots of each host: operations, and checks.
const VM_SLOTS: u32 = 8;
const HEALTH_SLOTS: u32 = 4;

/// What each host has. The test driver never looks whether it suffices; Millrace does.
const NODE: &str = "<node><cpu><active>64</active></cpu><memory>67108864</memory></node>";

/// All that is measured.
pub(super) struct Stage {
    pub(super) db: PgPool,
    pub(super) tenant: TenantId,
    pub(super) door: Door,
    pub(super) admin: Client,
    pub(super) ledger: Ledger,
    pub(super) machines: Vec<MachineId>,
    hosts: Vec<Arc<Clocked>>,
    hands: Hands,
    // Whence the hosts were read.
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Sets everything up, machines running.
    pub(super) async fn set(database: &Database, size: &Size) -> Self {
        let db = database.pool().await;
        let tenant = TenantId(Uuid::now_v7());
        sqlx::query("insert into tenant (id, slug, title) values ($1, 'pipeline', 'Pipeline')")
            .bind(tenant.0)
            .execute(&db)
            .await
            .unwrap();
        let api = database.pool_of(DbRole::Api, CONNECTIONS).await;
        let door = Door::through(database, api, |config| {
            // One address and one user ask for everything.
            (config.limits.rates.address, config.limits.rates.user) = (RateLimit::Off, RateLimit::Off);
        })
        .await;
        let admin = door.admin().await;
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::default();
        let hosts: Vec<Arc<Clocked>> = (0..size.hosts)
            .map(|number| {
                // Each file is a driver of its own, which keeps its machines for as long as its one connection.
                let file = folder.path().join(format!("{}.xml", host_name(number)));
                std::fs::write(&file, NODE).unwrap();
                let uri: HostUri = format!("test://{}", file.display()).parse().unwrap();
                let inner = Libvirt::open(LibvirtSettings::of(uri.clone()));
                Arc::new(Clocked { uri, inner, ledger: ledger.clone() })
            })
            .collect();
        let config = WorkerConfig {
            hosts: hosts.iter().enumerate().map(|(number, host)| serving(number, host)).collect(),
            ..WorkerConfig::of_pools(vec![], 4, Duration::from_secs(5))
        };
        let hands = Hands::with(database.pool_of(DbRole::Worker, CONNECTIONS).await, config);
        let ready =
            format!("select count(*) = {} from host where cpus is not null and reach = 'ONLINE'", size.hosts);
        until(&db, &ready).await;
        let machines = made(&db, &hands, tenant, size).await;
        until(&db, "select not exists (select from machine_operation where ended_at is null)").await;
        ledger.clear();
        Self { db, tenant, door, admin, ledger, machines, hosts, hands, _folder: folder }
    }

    /// Says what is measured.
    pub(super) fn print_settings(&self, size: &Size) {
        let build =
            if cfg!(debug_assertions) { "a debug build, which measures nothing" } else { "a release build" };
        println!(
            "{} machines on {} hosts, each a test driver of libvirt of its own (`test:///…`), all in one process with \
             the API and the worker that serves them; HTTP and GraphQL over loopback, an administrator's token, rate \
             limits off, all other limits as by default; {CONNECTIONS} connections to Postgres for the API and \
             {CONNECTIONS} for the worker; {VM_SLOTS} slots a host; {}.\n",
            size.machines, size.hosts, build
        );
        println!(
            "Throughput: {} callers, documents of {} mutations or mutations of up to {} machines, {} operations ahead of libvirt for each machine at \
             most, {} s. Latency: documents of one mutation, {} s for each rate.\n",
            size.callers,
            size.fields,
            size.listed,
            size.ahead,
            size.span.as_secs(),
            size.span.as_secs()
        );
    }

    /// What libvirt's drivers show of each machine, whether it is on.
    pub(super) async fn are_on(&self) -> Vec<bool> {
        let mut on = Vec::new();
        for (number, machine) in self.machines.iter().enumerate() {
            let seen = self.hosts[number % self.hosts.len()].look(*machine).await.unwrap();
            on.push(workers::hypervisor::is_active(seen.state));
        }
        on
    }

    /// Takes everything down.
    pub(super) async fn strike(self) {
        self.hands.stop().await;
        self.door.close().await;
    }
}

fn serving(number: usize, host: &Arc<Clocked>) -> HostConfig {
    HostConfig {
        name: host_name(number).parse().unwrap(),
        uri: host.uri.clone(),
        vm_slots: VM_SLOTS,
        health_slots: HEALTH_SLOTS,
        hypervisor: Arc::clone(host) as Arc<dyn Hypervisor>,
    }
}

async fn made(db: &PgPool, hands: &Hands, tenant: TenantId, size: &Size) -> Vec<MachineId> {
    let mut machines = Vec::new();
    for number in 0..size.machines {
        let name = format!("m{number}");
        let draft = Draft { name: &name, vcpus: 1, memory_mib: 64, disk_gib: 0, os: Os::Ubuntu };
        let (spec, host) = (draft.check().unwrap(), host_name(number % size.hosts));
        let (department, trace_parent) = (None, None);
        let new =
            NewMachine { tenant, department, host: Some(&host), spec: &spec, by: "bench", trace_parent };
        let mut tx = jobs::db::begin(db).await.unwrap();
        let (machine, asked) = create(&mut tx, &new).await.unwrap();
        tx.commit().await.unwrap();
        asked.tell(&hands.wake);
        machines.push(machine);
    }
    machines
}
