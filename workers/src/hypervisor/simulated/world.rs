//! What the simulated host knows, and how its acts change it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use chrono::{DateTime, Utc};
use rules::id::{MachineId, OperationId, SnapshotId};
use rules::machine::{Capacity, Seen};

use super::host::Crash;
use crate::hypervisor::act::{Act, Decision, is_stale};
use crate::hypervisor::definition::{Definition, Disk, DiskOrder, owner_of, snapshot_name, volumes_of};
use crate::hypervisor::driver::Outcome;
use crate::hypervisor::error::{Fault, HypervisorError};
use crate::hypervisor::seen::{
    DiskFigures, Figures, HostReport, Listed, Mark, Observed, Reason, Snapshot, is_active,
};

/// Processor time that a running machine is said to have used per look, in nanoseconds.
const CPU_TIME_PER_LOOK_NS: u64 = 1_000_000;
/// What a disk of the simulated host is said to hold, in bytes.
const DISK_BYTES: u64 = 1 << 30;

#[derive(Debug, Clone)]
pub(super) struct Machine {
    definition: Definition,
    seen: Observed,
    snapshots: BTreeMap<SnapshotId, Taken>,
    current: Option<SnapshotId>,
    looks: u64,
    pub(super) load: Load,
}

/// What a machine is said to use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Processor time, besides that of looking, in nanoseconds.
    pub(super) burnt_ns: u64,
    pub(super) guest_kib: Option<(u64, u64)>,
    pub(super) disk_percent: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self { burnt_ns: 0, guest_kib: None, disk_percent: 50 }
    }
}

#[derive(Debug, Clone)]
struct Taken {
    at: DateTime<Utc>,
    state: Seen,
    parent: Option<SnapshotId>,
    definition: Definition,
}

/// One host's state.
#[derive(Debug)]
pub(super) struct World {
    host_name: String,
    pub(super) identity: Option<String>,
    cpus: u32,
    pub(super) memory_mib: u64,
    pub(super) machines: BTreeMap<MachineId, Machine>,
    disks: BTreeMap<String, Disk>,
    pub(super) crashes: VecDeque<Crash>,
    /// Where the next call of this name fails.
    pub(super) crash_at: Option<(&'static str, Crash)>,
    /// The act of which the next call comes late, and those that are still to come.
    pub(super) late_at: Option<Act>,
    pub(super) late: Vec<(Act, MachineId, Mark)>,
    pub(super) deaf: BTreeSet<MachineId>,
    pub(super) is_cut: bool,
    /// Every act that took effect, with the operation that it was for and its time.
    pub(super) acts: Vec<(MachineId, &'static str, OperationId, Instant)>,
    /// Counts up by a second per snapshot, so that times are the same at every run.
    clock: i64,
}

fn fault(fault: Fault, act: &'static str, machine: MachineId) -> HypervisorError {
    HypervisorError::new(fault, act).of(machine)
}

impl World {
    pub(super) fn new(host_name: &str, cpus: u32, memory_mib: u64) -> Self {
        Self {
            host_name: host_name.to_owned(),
            identity: None,
            cpus,
            memory_mib,
            machines: BTreeMap::new(),
            disks: BTreeMap::new(),
            crashes: VecDeque::new(),
            crash_at: None,
            late_at: None,
            late: Vec::new(),
            deaf: BTreeSet::new(),
            is_cut: false,
            acts: Vec::new(),
            clock: 0,
        }
    }

    /// Where a call of this name fails now, if it does.
    pub(super) fn next_crash(&mut self, act: &'static str) -> Option<Crash> {
        let here = self.crash_at.take_if(|(name, _)| *name == act);
        here.map(|(_, crash)| crash).or_else(|| self.crashes.pop_front())
    }

    pub(super) fn look(&self, machine: MachineId) -> Observed {
        self.machines.get(&machine).map_or(Observed::ABSENT, |known| known.seen)
    }

    pub(super) fn list(&self) -> Vec<Listed> {
        let line = |(machine, known): (&MachineId, &Machine)| Listed {
            machine: *machine,
            host_name: Definition::host_name(*machine),
            observed: known.seen,
        };
        self.machines.iter().map(line).collect()
    }

    pub(super) fn report(&self) -> HostReport {
        let active = self.machines.values().filter(|known| is_active(known.seen.state));
        HostReport {
            host_name: self.host_name.clone(),
            hypervisor: "SIMULATED".to_owned(),
            identity: self.identity.clone(),
            capacity: Capacity { cpus: self.cpus, memory_mib: self.memory_mib },
            free_memory_mib: Some(self.free_mib()),
            active: u32::try_from(active.count()).unwrap_or(u32::MAX),
        }
    }

    fn free_mib(&self) -> u64 {
        let active = self.machines.values().filter(|known| is_active(known.seen.state));
        let used: u64 = active.map(|known| u64::from(known.definition.memory_mib)).sum();
        self.memory_mib.saturating_sub(used)
    }

    pub(super) fn set(&mut self, machine: MachineId, state: Seen, reason: Reason) {
        if let Some(known) = self.machines.get_mut(&machine) {
            known.seen.state = state;
            known.seen.reason = reason;
        }
    }

    pub(super) fn each_off(&mut self, reason: Reason) {
        let active = self.machines.values_mut().filter(|known| is_active(known.seen.state));
        active.for_each(|known| known.seen = Observed { state: Seen::Off, reason, ..known.seen });
    }

    fn known(&mut self, act: &'static str, machine: MachineId, mark: Option<Mark>) -> Outcome<&mut Machine> {
        let known = self.machines.get_mut(&machine).ok_or_else(|| fault(Fault::NoMachine, act, machine))?;
        if mark.is_some_and(|mark| is_stale(&known.seen, mark)) {
            return Err(fault(Fault::Stale, act, machine));
        }
        Ok(known)
    }

    pub(super) fn define(&mut self, definition: &Definition, mark: Mark) -> Outcome<Observed> {
        definition.check()?;
        definition.fits(self.memory_mib)?;
        let machine = definition.machine;
        let seen = self.look(machine);
        if seen.state != Seen::Absent && is_stale(&seen, mark) {
            return Err(fault(Fault::Stale, "define", machine));
        }
        if seen.mark == Some(mark)
            && self.machines.get(&machine).is_some_and(|known| known.definition == *definition)
        {
            return Ok(seen);
        }
        let fresh = Observed { state: Seen::Off, reason: Reason::Unknown, mark: Some(mark) };
        let known = self.machines.entry(machine).or_insert_with(|| Machine {
            definition: definition.clone(),
            seen: fresh,
            snapshots: BTreeMap::new(),
            current: None,
            looks: 0,
            load: Load::default(),
        });
        known.definition = definition.clone();
        known.seen.mark = Some(mark);
        let seen = known.seen;
        self.acts.push((machine, "define", mark.operation, Instant::now()));
        Ok(seen)
    }

    pub(super) fn perform(&mut self, act: Act, machine: MachineId, mark: Mark) -> Outcome<Observed> {
        let seen = self.look(machine);
        if act.decide(machine, &seen, mark)? == Decision::Do {
            let needed =
                self.machines.get(&machine).map_or(0, |known| u64::from(known.definition.memory_mib));
            if act == Act::Start && needed > self.free_mib() {
                return Err(fault(Fault::Exhausted, "start", machine));
            }
            self.acts.push((machine, act.as_str(), mark.operation, Instant::now()));
            let is_deaf = self.deaf.contains(&machine);
            match act {
                Act::Start => self.set(machine, Seen::Running, Reason::Booted),
                Act::ShutDown if is_deaf => {}
                Act::ShutDown => self.set(machine, Seen::Off, Reason::ShutDown),
                Act::ForceOff => self.set(machine, Seen::Off, Reason::ForcedOff),
                Act::Suspend => self.set(machine, Seen::Paused, Reason::Suspended),
                Act::Resume => self.set(machine, Seen::Running, Reason::Resumed),
                Act::Reboot => self.set(machine, Seen::Running, Reason::Booted),
                // The state stays: a held machine is reset and held.
                Act::Reset => {}
                Act::Undefine => drop(self.machines.remove(&machine)),
                // Reverting needs the snapshot's name; see `revert`.
                Act::Revert | Act::Mark => {}
            }
        }
        if let Some(known) = self.machines.get_mut(&machine) {
            known.seen.mark = Some(mark);
        }
        act.judge(machine, self.look(machine))
    }

    pub(super) fn snapshots(&mut self, machine: MachineId) -> Outcome<Vec<Snapshot>> {
        let known = self.known("list snapshots", machine, None)?;
        Ok(known.snapshots.keys().filter_map(|id| known.snapshot(*id)).collect())
    }

    pub(super) fn take_snapshot(
        &mut self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> Outcome<Snapshot> {
        let act = "take snapshot";
        let at = DateTime::from_timestamp(self.clock, 0).unwrap_or_default();
        let known = self.known(act, machine, Some(mark))?;
        known.seen.mark = Some(mark);
        if !known.snapshots.contains_key(&snapshot) {
            let taken = Taken {
                at,
                state: known.seen.state,
                parent: known.current,
                definition: known.definition.clone(),
            };
            known.snapshots.insert(snapshot, taken);
            known.current = Some(snapshot);
            self.clock += 1;
            self.acts.push((machine, act, mark.operation, Instant::now()));
        }
        let known = self.known(act, machine, None)?;
        known.snapshot(snapshot).ok_or_else(|| fault(Fault::NoThing, act, machine))
    }

    pub(super) fn revert(
        &mut self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> Outcome<Observed> {
        let seen = self.look(machine);
        if Act::Revert.decide(machine, &seen, mark)? == Decision::Reached {
            return Ok(seen);
        }
        let known = self.known("revert", machine, Some(mark))?;
        let Some(taken) = known.snapshots.get(&snapshot) else {
            return Err(fault(Fault::NoThing, "revert", machine).because(snapshot.to_string()));
        };
        known.definition = taken.definition.clone();
        known.seen = Observed { state: taken.state, reason: Reason::Reverted, mark: Some(mark) };
        known.current = Some(snapshot);
        let seen = known.seen;
        self.acts.push((machine, "revert", mark.operation, Instant::now()));
        Ok(seen)
    }

    pub(super) fn delete_snapshot(
        &mut self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> Outcome<()> {
        let known = self.known("delete snapshot", machine, Some(mark))?;
        known.seen.mark = Some(mark);
        let Some(gone) = known.snapshots.remove(&snapshot) else { return Ok(()) };
        let children = known.snapshots.values_mut().filter(|taken| taken.parent == Some(snapshot));
        children.for_each(|taken| taken.parent = gone.parent);
        if known.current == Some(snapshot) {
            known.current = gone.parent;
        }
        self.acts.push((machine, "delete snapshot", mark.operation, Instant::now()));
        Ok(())
    }

    pub(super) fn figures(&mut self, machine: MachineId) -> Outcome<Figures> {
        let known = self.known("read figures", machine, None)?;
        known.looks += u64::from(known.seen.state == Seen::Running);
        let disks = known.definition.disks.iter().zip('a'..).map(|(_, letter)| DiskFigures {
            target: format!("vd{letter}"),
            capacity_bytes: DISK_BYTES,
            allocated_bytes: DISK_BYTES / 100 * known.load.disk_percent,
            read_bytes: known.looks,
            written_bytes: known.looks,
        });
        Ok(Figures {
            state: known.seen.state,
            cpu_time_ns: known.looks * CPU_TIME_PER_LOOK_NS + known.load.burnt_ns,
            cpus: u32::from(known.definition.cpus),
            memory_kib: u64::from(known.definition.memory_mib) * 1_024,
            resident_kib: Some(u64::from(known.definition.memory_mib) * 512),
            guest_kib: known.load.guest_kib,
            disks: disks.collect(),
        })
    }

    pub(super) fn create_disk(&mut self, order: DiskOrder) -> Outcome<Disk> {
        let path = format!("/simulated/{}", order.volume());
        let disk = Disk { path: path.clone(), format: order.format };
        Ok(self.disks.entry(path).or_insert(disk).clone())
    }

    pub(super) fn find_disk(&self, order: DiskOrder) -> Outcome<Disk> {
        let found = self.disks.get(&format!("/simulated/{}", order.volume())).cloned();
        found.ok_or_else(|| fault(Fault::NoDisk, "find disk", order.machine))
    }

    pub(super) fn disk_owners(&self) -> Vec<MachineId> {
        let owners = self.disks.keys().filter_map(|path| owner_of(path.rsplit('/').next()?));
        owners.collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn disks(&self) -> Vec<Disk> {
        self.disks.values().cloned().collect()
    }

    pub(super) fn unmount(&mut self) -> Vec<Disk> {
        std::mem::take(&mut self.disks).into_values().collect()
    }

    pub(super) fn mount(&mut self, disks: Vec<Disk>) {
        self.disks.extend(disks.into_iter().map(|disk| (disk.path.clone(), disk)));
    }

    pub(super) fn delete_disks(&mut self, machine: MachineId) -> Outcome<()> {
        let state = self.look(machine).state;
        if state != Seen::Absent {
            return Err(fault(Fault::WrongState(state), "delete disks", machine));
        }
        let prefix = format!("/simulated/{}", volumes_of(machine));
        self.disks.retain(|path, _| !path.starts_with(&prefix));
        Ok(())
    }
}

impl Machine {
    fn snapshot(&self, id: SnapshotId) -> Option<Snapshot> {
        let taken = self.snapshots.get(&id)?;
        Some(Snapshot {
            id: Some(id),
            host_name: snapshot_name(id),
            taken_at: taken.at,
            state: taken.state,
            parent: taken.parent.map(snapshot_name),
            is_current: self.current == Some(id),
        })
    }
}
