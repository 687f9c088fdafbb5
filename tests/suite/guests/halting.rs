//! A host's driver that stops at a given point before or after a call, for ever: there its worker is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use rules::id::{MachineId, SnapshotId};
use tokio::sync::{broadcast, watch};
use workers::hypervisor::{
    Definition, Disk, DiskOrder, Figures, HostEvent, HostReport, Hypervisor, Listed, Mark, Observed, Outcome,
    Snapshot, Standing, Trust,
};

/// Counts the points that are passed, two for each call, until the one at which nothing goes on.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<AtomicI64>);

impl Gate {
    /// A gate that lets so many points pass.
    pub(super) fn after(points: i64) -> Self {
        Self(Arc::new(AtomicI64::new(points)))
    }

    /// Whether something stands before it.
    pub(super) fn is_reached(&self) -> bool {
        self.0.load(Ordering::Acquire) < 0
    }

    async fn pass(&self) {
        if self.0.fetch_sub(1, Ordering::AcqRel) <= 0 {
            futures::future::pending().await
        }
    }
}

/// The driver behind the gate. What is no operation's passes.
#[derive(Debug)]
pub(super) struct Halting {
    pub(super) inner: Arc<dyn Hypervisor>,
    pub(super) gate: Gate,
}

impl Halting {
    fn through<'a, T: Send + 'a>(&'a self, call: BoxFuture<'a, Outcome<T>>) -> BoxFuture<'a, Outcome<T>> {
        async move {
            self.gate.pass().await;
            let answer = call.await;
            self.gate.pass().await;
            answer
        }
        .boxed()
    }
}

/// Calls that are passed on through the gate.
macro_rules! gated {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self $(, $argument: $type)*) -> BoxFuture<'_, Outcome<$answer>> {
            self.through(self.inner.$name($($argument),*))
        })*
    };
}

impl Hypervisor for Halting {
    fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing()
    }

    fn events(&self) -> broadcast::Receiver<HostEvent> {
        self.inner.events()
    }

    fn trust(&self, whom: Trust) {
        self.inner.trust(whom);
    }

    fn report(&self) -> BoxFuture<'_, Outcome<HostReport>> {
        self.inner.report()
    }

    fn list(&self) -> BoxFuture<'_, Outcome<Vec<Listed>>> {
        self.inner.list()
    }

    fn disk_owners(&self) -> BoxFuture<'_, Outcome<Vec<MachineId>>> {
        self.inner.disk_owners()
    }

    fn define<'a>(&'a self, definition: &'a Definition, mark: Mark) -> BoxFuture<'a, Outcome<Observed>> {
        self.through(self.inner.define(definition, mark))
    }

    fn figures(&self, machine: MachineId) -> BoxFuture<'_, Outcome<Figures>> {
        self.inner.figures(machine)
    }

    gated! {
        look(machine: MachineId) -> Observed;
        start(machine: MachineId, mark: Mark) -> Observed;
        shut_down(machine: MachineId, mark: Mark) -> Observed;
        force_off(machine: MachineId, mark: Mark) -> Observed;
        suspend(machine: MachineId, mark: Mark) -> Observed;
        resume(machine: MachineId, mark: Mark) -> Observed;
        reboot(machine: MachineId, mark: Mark) -> Observed;
        reset(machine: MachineId, mark: Mark) -> Observed;
        undefine(machine: MachineId, mark: Mark) -> Observed;
        leave_mark(machine: MachineId, mark: Mark) -> Observed;
        snapshots(machine: MachineId) -> Vec<Snapshot>;
        take_snapshot(machine: MachineId, snapshot: SnapshotId, mark: Mark) -> Snapshot;
        revert(machine: MachineId, snapshot: SnapshotId, mark: Mark) -> Observed;
        delete_snapshot(machine: MachineId, snapshot: SnapshotId, mark: Mark) -> ();
        create_disk(order: DiskOrder) -> Disk;
        find_disk(order: DiskOrder) -> Disk;
        delete_disks(machine: MachineId) -> ();
    }
}
