//! A host in memory that does what it is told and fails when it is told: for tests of what comes after
//! a crash.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use super::readings::Readings;
use super::world::World;
use crate::hypervisor::act::Act;
use crate::hypervisor::definition::{Definition, Disk, DiskOrder};
use crate::hypervisor::driver::{HostEvent, Hypervisor, Outcome, Standing, Trust};
use crate::hypervisor::error::{Fault, HypervisorError};
use crate::hypervisor::seen::{Figures, HostReport, Listed, Mark, Observed, Reason, Snapshot};
use rules::id::{MachineId, OperationId, SnapshotId};
use rules::machine::{Reach, Seen};

/// How many events wait for a slow receiver before it has to list everything.
const EVENTS: usize = 1_024;

/// Where a call is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Crash {
    /// The connection breaks before anything is done.
    Before,
    /// All is done and the connection breaks before the answer.
    After,
    /// Nothing is done and nothing is answered.
    HangBefore,
    /// All is done and nothing is answered.
    HangAfter,
}

/// A host in memory. Clones are further connections to the same host: what one worker left, the next finds. Each
/// trusts by itself.
#[derive(Debug)]
pub struct Simulated {
    world: Arc<Mutex<World>>,
    standing: watch::Sender<Standing>,
    events: broadcast::Sender<HostEvent>,
    deadline: Duration,
    /// What readings of figures take, where that matters.
    readings: Option<Readings>,
    trust: Mutex<Trust>,
}

impl Clone for Simulated {
    fn clone(&self) -> Self {
        Self {
            world: Arc::clone(&self.world),
            standing: self.standing.clone(),
            events: self.events.clone(),
            deadline: self.deadline,
            readings: self.readings.clone(),
            trust: Mutex::new(Trust::Anyone),
        }
    }
}

impl Simulated {
    /// An empty host of this name with these processors and this much memory, in MiB. A call that hangs
    /// is given up after the deadline.
    pub fn new(host_name: &str, cpus: u32, memory_mib: u64, deadline: Duration) -> Self {
        Self {
            world: Arc::new(Mutex::new(World::new(host_name, cpus, memory_mib))),
            standing: watch::Sender::new(Standing { reach: Reach::Online, why: String::new() }),
            events: broadcast::Sender::new(EVENTS),
            deadline,
            readings: None,
            trust: Mutex::new(Trust::Anyone),
        }
    }

    /// The same host, on which readings of figures take their time and are counted.
    #[must_use]
    pub fn counting(mut self, readings: &Readings) -> Self {
        self.readings = Some(readings.clone());
        self
    }

    /// The same host, which says by this who it is; to workers that speak to it already it is another from then on.
    #[must_use]
    pub fn identified(self, identity: &str) -> Self {
        self.world().identity = Some(identity.to_owned());
        self
    }

    /// Makes the next call fail here; several are used one after the other.
    pub fn crash_next(&self, crash: Crash) {
        self.world().crashes.push_back(crash);
    }

    /// Makes the next call of this name fail here.
    pub fn crash_at(&self, act: &'static str, crash: Crash) {
        self.world().crash_at = Some((act, crash));
    }

    /// Leaves the host this much memory, in MiB.
    pub fn set_memory(&self, mib: u64) {
        self.world().memory_mib = mib;
    }

    /// Cuts the connection until [`Simulated::mend`]; machines go on.
    pub fn cut(&self) {
        self.world().is_cut = true;
        let why = "the connection was cut".to_owned();
        self.standing.send_replace(Standing { reach: Reach::Unreachable, why: why.clone() });
        self.tell(HostEvent::Lost(why));
    }

    /// Brings the connection back. What happened meanwhile was not told.
    pub fn mend(&self) {
        self.world().is_cut = false;
        self.standing.send_replace(Standing { reach: Reach::Online, why: String::new() });
        self.tell(HostEvent::Connected);
    }

    /// Takes the power from the host: every machine is off, connections are cut.
    pub fn power_off(&self) {
        self.world().each_off(Reason::Restarted);
        self.cut();
    }

    /// Makes the host forget all machines, as the in-process driver does when its process ends.
    pub fn lose_machines(&self) {
        self.world().machines.clear();
    }

    /// Takes the storage away, as a folder that is mounted no more; what was on it comes back by
    /// [`Simulated::mount`].
    pub fn unmount(&self) -> Vec<Disk> {
        self.world().unmount()
    }

    /// Brings disks back.
    pub fn mount(&self, disks: Vec<Disk>) {
        self.world().mount(disks);
    }

    /// The disks on its storage.
    pub fn disks(&self) -> Vec<Disk> {
        self.world().disks()
    }

    /// Makes the guest deaf to requests, or hear again.
    pub fn set_deaf(&self, machine: MachineId, deaf: bool) {
        let mut world = self.world();
        if deaf {
            world.deaf.insert(machine);
        } else {
            world.deaf.remove(&machine);
        }
    }

    /// Ends the guest as a fault of its own would.
    pub fn crash_guest(&self, machine: MachineId) {
        self.world().set(machine, Seen::Crashed, Reason::Crashed);
        self.tell(HostEvent::Changed(machine));
    }

    /// Every act that took effect, in order.
    pub fn acts(&self) -> Vec<(MachineId, &'static str)> {
        self.world().acts.iter().map(|(machine, act, ..)| (*machine, *act)).collect()
    }

    /// Every act that took effect, in order, with the operation that it was for.
    pub fn acts_by_operation(&self) -> Vec<(MachineId, &'static str, OperationId)> {
        self.world().acts.iter().map(|(machine, act, operation, _)| (*machine, *act, *operation)).collect()
    }

    /// When each act took effect, with the operation that it was for, in order.
    pub fn act_times(&self) -> Vec<(OperationId, Instant)> {
        self.world().acts.iter().map(|(_, _, operation, at)| (*operation, *at)).collect()
    }

    /// How many of the failures that were ordered have not happened yet.
    pub fn crashes_due(&self) -> usize {
        self.world().crashes.len()
    }

    /// How many acts took effect on this machine.
    pub fn acts_of(&self, machine: MachineId) -> usize {
        self.world().acts.iter().filter(|(of, ..)| *of == machine).count()
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: HostEvent) {
        // Nobody listening is no fault.
        drop(self.events.send(event));
    }

    /// Runs one call on the world as long as it is trusted.
    async fn call<T>(
        &self,
        act: &'static str,
        work: impl FnOnce(&mut World) -> Outcome<T> + Send,
    ) -> Outcome<T> {
        let trust = self.trust.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.call_anyone(act, move |world| {
            trust.admit(act, world.identity.as_deref())?;
            work(world)
        })
        .await
    }

    /// Runs one call on the world, with the next crash if one is due.
    async fn call_anyone<T>(
        &self,
        act: &'static str,
        work: impl FnOnce(&mut World) -> Outcome<T> + Send,
    ) -> Outcome<T> {
        let lost = || HypervisorError::new(Fault::Unreachable, act).because("the connection broke");
        let late = || HypervisorError::new(Fault::Deadline(self.deadline), act);
        let (crash, done) = {
            let mut world = self.world();
            if world.is_cut {
                return Err(lost());
            }
            match world.next_crash(act) {
                Some(crash @ (Crash::Before | Crash::HangBefore)) => (Some(crash), None),
                crash => (crash, Some(work(&mut world))),
            }
        };
        match (crash, done) {
            (None, Some(done)) => done,
            (Some(Crash::HangBefore | Crash::HangAfter), _) => {
                tokio::time::sleep(self.deadline).await;
                Err(late())
            }
            (Some(Crash::Before | Crash::After) | None, _) => Err(lost()),
        }
    }

    async fn perform(&self, act: Act, machine: MachineId, mark: Mark) -> Outcome<Observed> {
        if self.postpones(act, machine, mark) {
            tokio::time::sleep(self.deadline).await;
            return Err(HypervisorError::new(Fault::Deadline(self.deadline), act.as_str()).of(machine));
        }
        let seen = self.call(act.as_str(), |world| world.perform(act, machine, mark)).await;
        self.tell(HostEvent::Changed(machine));
        seen
    }
}

impl Hypervisor for Simulated {
    fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.events.subscribe()
    }

    fn trust(&self, whom: Trust) {
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner) = whom;
    }

    fn report(&self) -> BoxFuture<'_, Outcome<HostReport>> {
        self.call_anyone("read capacity", |world| Ok(world.report())).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Outcome<Vec<Listed>>> {
        self.call("list", |world| Ok(world.list())).boxed()
    }

    fn look(&self, machine: MachineId) -> BoxFuture<'_, Outcome<Observed>> {
        self.call("look", move |world| Ok(world.look(machine))).boxed()
    }

    fn define<'a>(&'a self, definition: &'a Definition, mark: Mark) -> BoxFuture<'a, Outcome<Observed>> {
        async move {
            let seen = self.call("define", |world| world.define(definition, mark)).await;
            self.tell(HostEvent::Changed(definition.machine));
            seen
        }
        .boxed()
    }

    fn start(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Start, machine, mark).boxed()
    }

    fn shut_down(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::ShutDown, machine, mark).boxed()
    }

    fn force_off(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::ForceOff, machine, mark).boxed()
    }

    fn suspend(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Suspend, machine, mark).boxed()
    }

    fn resume(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Resume, machine, mark).boxed()
    }

    fn reboot(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Reboot, machine, mark).boxed()
    }

    fn reset(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Reset, machine, mark).boxed()
    }

    fn undefine(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Undefine, machine, mark).boxed()
    }

    fn leave_mark(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
        self.perform(Act::Mark, machine, mark).boxed()
    }

    fn snapshots(&self, machine: MachineId) -> BoxFuture<'_, Outcome<Vec<Snapshot>>> {
        self.call("list snapshots", move |world| world.snapshots(machine)).boxed()
    }

    fn take_snapshot(
        &self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> BoxFuture<'_, Outcome<Snapshot>> {
        self.call("take snapshot", move |world| world.take_snapshot(machine, snapshot, mark)).boxed()
    }

    fn revert(
        &self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> BoxFuture<'_, Outcome<Observed>> {
        async move {
            let seen = self.call("revert", move |world| world.revert(machine, snapshot, mark)).await;
            self.tell(HostEvent::Changed(machine));
            seen
        }
        .boxed()
    }

    fn delete_snapshot(
        &self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> BoxFuture<'_, Outcome<()>> {
        self.call("delete snapshot", move |world| world.delete_snapshot(machine, snapshot, mark)).boxed()
    }

    fn figures(&self, machine: MachineId) -> BoxFuture<'_, Outcome<Figures>> {
        async move {
            if let Some(readings) = &self.readings {
                readings.read(machine).await;
            }
            self.call("read figures", move |world| world.figures(machine)).await
        }
        .boxed()
    }

    fn create_disk(&self, order: DiskOrder) -> BoxFuture<'_, Outcome<Disk>> {
        self.call("create disk", move |world| world.create_disk(order)).boxed()
    }

    fn find_disk(&self, order: DiskOrder) -> BoxFuture<'_, Outcome<Disk>> {
        self.call("find disk", move |world| world.find_disk(order)).boxed()
    }

    fn disk_owners(&self) -> BoxFuture<'_, Outcome<Vec<MachineId>>> {
        self.call("list disks", |world| Ok(world.disk_owners())).boxed()
    }

    fn delete_disks(&self, machine: MachineId) -> BoxFuture<'_, Outcome<()>> {
        self.call("delete disks", move |world| world.delete_disks(machine)).boxed()
    }
}
