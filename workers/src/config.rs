//! What a worker process is told: its pools, its slots, its grace.

use std::sync::Arc;
use std::time::Duration;

use jobs::config::Reader;
use rules::access::Wildcard;
use rules::health::{Levels, Thresholds};
use rules::machine::{HostUri, Name};
use rules::queue::{Class, Pool};

use crate::host::Hosts;
use crate::hypervisor::Hypervisor;

/// How many jobs of one pool run at once unless configured otherwise. Handlers wait for the database
/// more than they compute, so this is well above the cores of a small machine.
pub const SLOTS: u32 = 32;

/// Settings of a worker process.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The pools that it serves, each once.
    pub pools: Vec<Pool>,
    /// How many jobs of each pool run at once.
    pub slots: u32,
    /// The hosts that it serves.
    pub hosts: Vec<HostConfig>,
    /// From which figures on the health of a machine is no longer good.
    pub thresholds: Thresholds,
    /// How `*` in grants is read, where a workflow acts with its author's rights.
    pub wildcard: Wildcard,
    /// How long running jobs may go on after the shutdown before they are handed back.
    pub grace: Duration,
}

/// A host that a worker process serves.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Its name, by which every worker of it is known.
    pub name: Name,
    /// The address of its hypervisor.
    pub uri: HostUri,
    /// How many operations run on it at once, at least 1.
    pub vm_slots: u32,
    /// How many checks and listings run on it at once, at least 1.
    pub health_slots: u32,
    /// What speaks to it.
    pub hypervisor: Arc<dyn Hypervisor>,
}

/// A pool and how many of its jobs run at once in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Post {
    pub(crate) pool: Pool,
    pub(crate) slots: u32,
}

impl WorkerConfig {
    /// A worker of these pools that serves no host.
    pub fn of_pools(pools: Vec<Pool>, slots: u32, grace: Duration) -> Self {
        Self {
            pools,
            slots,
            hosts: Vec::new(),
            thresholds: Thresholds::default(),
            wildcard: Wildcard::default(),
            grace,
        }
    }

    /// Every pool with its slots: the fixed ones, and those of the hosts.
    pub(crate) fn posts(&self, hosts: &Hosts) -> Vec<Post> {
        let fixed = self.pools.iter().map(|pool| Post { pool: *pool, slots: self.slots });
        let of_hosts = hosts.all().flat_map(|hold| {
            [(Class::Vm, hold.config.vm_slots), (Class::Health, hold.config.health_slots)]
                .map(|(class, slots)| Post { pool: hold.no.pool(class), slots })
        });
        fixed.chain(of_hosts).collect()
    }

    /// Reads `WORKER_SLOTS`, `SHUTDOWN_GRACE_SECONDS`, `PERMISSION_WILDCARD` and the thresholds of health; the pools and the hosts come
    /// from the command line.
    pub fn read(reader: &mut Reader<'_>, pools: Vec<Pool>) -> Self {
        let slots = reader.number("WORKER_SLOTS", SLOTS, 1..=1_000);
        let grace = reader.seconds("SHUTDOWN_GRACE_SECONDS", jobs::shutdown::GRACE.as_secs(), 0..=3_600);
        let wildcard = reader.parsed("PERMISSION_WILDCARD", Wildcard::default());
        Self { pools, slots, hosts: Vec::new(), thresholds: thresholds(reader), wildcard, grace }
    }
}

/// Reads from which percentages on a figure is a warning, and critical.
fn thresholds(reader: &mut Reader<'_>) -> Thresholds {
    let default = Thresholds::default();
    let cpu = (
        reader.number("HEALTH_CPU_WARNING", default.cpu.warning(), 1..=100),
        reader.number("HEALTH_CPU_CRITICAL", default.cpu.critical(), 1..=100),
    );
    let memory = (
        reader.number("HEALTH_MEMORY_WARNING", default.memory.warning(), 1..=100),
        reader.number("HEALTH_MEMORY_CRITICAL", default.memory.critical(), 1..=100),
    );
    let disk = (
        reader.number("HEALTH_DISK_WARNING", default.disk.warning(), 1..=100),
        reader.number("HEALTH_DISK_CRITICAL", default.disk.critical(), 1..=100),
    );
    let mut levels = |name: &str, (warning, critical), default| {
        Levels::new(warning, critical).unwrap_or_else(|bad| {
            reader.fault(format!("`HEALTH_{name}_WARNING` and `HEALTH_{name}_CRITICAL`: {bad}"));
            default
        })
    };
    Thresholds {
        cpu: levels("CPU", cpu, default.cpu),
        memory: levels("MEMORY", memory, default.memory),
        disk: levels("DISK", disk, default.disk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_that_make_no_sense_are_refused_by_name() {
        let mut reader = Reader::new(&|_| None);
        assert_eq!(thresholds(&mut reader), Thresholds::default());
        assert!(reader.finish().is_ok());
        let look_up = |name: &str| (name == "HEALTH_CPU_WARNING").then(|| "95".to_owned());
        let mut reader = Reader::new(&look_up);
        thresholds(&mut reader);
        let told = reader.finish().unwrap_err().to_string();
        assert!(told.contains("`HEALTH_CPU_CRITICAL`"), "{told}");
    }
}
