//! Reads what a host has and what a machine uses. Runs where it may block.

use rules::id::MachineId;
use rules::machine::Capacity;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt_sys as sys;

use super::domain::{known, observe};
use super::domain_read::{host_id_in, targets_in};
use super::error::mapped;
use super::line::Contact;
use crate::hypervisor::driver::Outcome;
use crate::hypervisor::seen::{DiskFigures, Figures, HostReport, is_active};

/// What the host has, and how much of it is free. Who it is was told before, by [`identity`].
pub(super) fn report(contact: &Contact) -> Outcome<HostReport> {
    let Contact { connect, identity } = contact;
    let read = || -> Result<HostReport, Error> {
        let node = connect.node_info()?;
        Ok(HostReport {
            host_name: connect.hostname()?,
            hypervisor: connect.driver_type()?,
            identity: identity.clone(),
            capacity: Capacity { cpus: node.cpus, memory_mib: node.memory / 1_024 },
            free_memory_mib: connect.free_memory().ok().map(|bytes| bytes / (1_024 * 1_024)),
            active: connect.num_of_domains()?,
        })
    };
    read().map_err(|error| mapped("read capacity", &error))
}

/// By what the host says who it is: its id, and which of its daemons this is. The test driver has none: it keeps
/// nothing. The first to ask waits for libvirt to try out what its QEMU can, which takes seconds.
pub(super) fn identity(connect: &Connect) -> Outcome<Option<String>> {
    let failed = |error: Error| mapped("identify", &error);
    let Some(id) = host_id_in(&connect.capabilities().map_err(failed)?) else { return Ok(None) };
    let address = connect.uri().map_err(failed)?;
    let path = address.split('?').next().unwrap_or_default();
    // Daemons of users know other machines than that of the system.
    Ok(Some(if path.ends_with("/session") { format!("{id}/session") } else { id }))
}

/// What the machine uses.
pub(super) fn figures(connect: &Connect, machine: MachineId) -> Outcome<Figures> {
    let domain = known(connect, "read figures", machine)?;
    let read = || -> Result<Figures, Error> {
        let state = observe(&domain)?.state;
        let info = domain.info()?;
        let active = is_active(state);
        let targets = targets_in(&domain.xml_desc(0)?);
        let memory = if active { memory(&domain) } else { Memory::default() };
        Ok(Figures {
            state,
            cpu_time_ns: if active { info.cpu_time } else { 0 },
            cpus: info.nr_virt_cpu,
            memory_kib: info.max_mem,
            resident_kib: memory.resident_kib,
            guest_kib: memory.guest_kib,
            disks: targets.into_iter().filter_map(|target| disk(&domain, target, active)).collect(),
        })
    };
    read().map_err(|error| mapped("read figures", &error).of(machine))
}

/// What is told of a machine's memory.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    resident_kib: Option<u64>,
    guest_kib: Option<(u64, u64)>,
}

/// What the host holds for the machine, and what its guest says; none of what is not said. A guest without a
/// balloon driver says nothing.
fn memory(domain: &Domain) -> Memory {
    let Ok(stats) = domain.memory_stats(0) else { return Memory::default() };
    let told = |tag| stats.iter().find(|stat| stat.tag == tag).map(|stat| stat.val);
    // What could be had without swapping, where the guest knows it; else what nothing uses.
    let free = told(sys::VIR_DOMAIN_MEMORY_STAT_USABLE).or(told(sys::VIR_DOMAIN_MEMORY_STAT_UNUSED));
    let guest_kib = told(sys::VIR_DOMAIN_MEMORY_STAT_AVAILABLE)
        .zip(free)
        .filter(|(total, _)| *total > 0)
        .map(|(total, free)| (total.saturating_sub(free), total));
    Memory { resident_kib: told(sys::VIR_DOMAIN_MEMORY_STAT_RSS), guest_kib }
}

/// What one disk holds; none where the host does not say.
fn disk(domain: &Domain, target: String, active: bool) -> Option<DiskFigures> {
    let info = domain.block_info(&target, 0).ok()?;
    // All of it stands on the host from the beginning: what is used of it only its guest knows.
    if info.allocation == info.capacity && info.physical == info.capacity {
        return None;
    }
    let moved = if active { domain.block_stats(&target).ok() } else { None };
    let bytes = |count: i64| u64::try_from(count).unwrap_or(0);
    Some(DiskFigures {
        target,
        capacity_bytes: info.capacity,
        allocated_bytes: info.allocation,
        read_bytes: moved.as_ref().map_or(0, |moved| bytes(moved.rd_bytes)),
        written_bytes: moved.as_ref().map_or(0, |moved| bytes(moved.wr_bytes)),
    })
}
