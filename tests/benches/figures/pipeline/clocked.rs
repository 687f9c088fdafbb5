//! A host's driver that notes when libvirt was called for which operation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use rules::id::{MachineId, OperationId, SnapshotId};
use rules::machine::HostUri;
use tokio::sync::{broadcast, watch};
use workers::hypervisor::{
    Definition, Disk, DiskOrder, Figures, HostEvent, HostReport, Hypervisor, Libvirt, Listed, Mark, Observed,
    Outcome, Snapshot, Standing, Trust,
};

/// One call that switched a machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    pub(super) machine: MachineId,
    pub(super) operation: OperationId,
    pub(super) generation: i64,
    pub(super) called: Instant,
    pub(super) returned: Instant,
    /// Whether libvirt did it.
    pub(super) done: bool,
}

/// What was done on all hosts.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    acts: Arc<Mutex<Vec<Act>>>,
    count: Arc<AtomicUsize>,
}

impl Ledger {
    /// How many calls there were.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Every call, in the order of their ends.
    pub(super) fn acts(&self) -> Vec<Act> {
        self.acts.lock().unwrap().clone()
    }

    /// Forgets what was done so far.
    pub(super) fn clear(&self) {
        self.acts.lock().unwrap().clear();
        self.count.store(0, Ordering::Relaxed);
    }
}

/// The driver behind the clock.
#[derive(Debug)]
pub(super) struct Clocked {
    pub(super) uri: HostUri,
    pub(super) inner: Libvirt,
    pub(super) ledger: Ledger,
}

impl Clocked {
    fn noted<'a>(
        &'a self,
        machine: MachineId,
        mark: Mark,
        call: BoxFuture<'a, Outcome<Observed>>,
    ) -> BoxFuture<'a, Outcome<Observed>> {
        async move {
            let called = Instant::now();
            let seen = call.await;
            let (operation, generation) = (mark.operation, mark.generation);
            let (returned, done) = (Instant::now(), seen.is_ok());
            let act = Act { machine, operation, generation, called, returned, done };
            self.ledger.acts.lock().unwrap().push(act);
            self.ledger.count.fetch_add(1, Ordering::Relaxed);
            seen
        }
        .boxed()
    }
}

/// Calls that are passed on as they come.
macro_rules! passed {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self $(, $argument: $type)*) -> BoxFuture<'_, Outcome<$answer>> {
            self.inner.$name($($argument),*)
        })*
    };
}

/// Calls that switch a machine, and are noted.
macro_rules! noted {
    ($($name:ident;)*) => {
        $(fn $name(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
            self.noted(machine, mark, self.inner.$name(machine, mark))
        })*
    };
}

impl Hypervisor for Clocked {
    fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing()
    }

    fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.inner.events()
    }

    fn trust(&self, whom: Trust) {
        self.inner.trust(whom);
    }

    fn define<'a>(&'a self, definition: &'a Definition, mark: Mark) -> BoxFuture<'a, Outcome<Observed>> {
        self.inner.define(definition, mark)
    }

    noted! { start; force_off; shut_down; suspend; resume; reboot; reset; }

    passed! {
        report() -> HostReport;
        list() -> Vec<Listed>;
        look(machine: MachineId) -> Observed;
        undefine(machine: MachineId, mark: Mark) -> Observed;
        leave_mark(machine: MachineId, mark: Mark) -> Observed;
        snapshots(machine: MachineId) -> Vec<Snapshot>;
        take_snapshot(machine: MachineId, snapshot: SnapshotId, mark: Mark) -> Snapshot;
        revert(machine: MachineId, snapshot: SnapshotId, mark: Mark) -> Observed;
        delete_snapshot(machine: MachineId, snapshot: SnapshotId, mark: Mark) -> ();
        figures(machine: MachineId) -> Figures;
        create_disk(order: DiskOrder) -> Disk;
        find_disk(order: DiskOrder) -> Disk;
        disk_owners() -> Vec<MachineId>;
        delete_disks(machine: MachineId) -> ();
    }
}
