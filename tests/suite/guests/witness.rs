//! A host's driver that notes what its acts changed, as looks before and after each show it.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use rules::id::{MachineId, OperationId, SnapshotId};
use tokio::sync::{broadcast, watch};
use workers::hypervisor::{
    Definition, Disk, DiskOrder, Figures, HostEvent, HostReport, Hypervisor, Listed, Mark, Observed, Outcome,
    Snapshot, Standing, Trust,
};

/// A machine, what was done to it, and for which operation.
type Effect = (MachineId, &'static str, OperationId);

/// What was changed, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Effects(Arc<Mutex<Vec<Effect>>>);

impl Effects {
    /// What was changed of this machine, and for which operation.
    pub(super) fn of(&self, machine: MachineId) -> Vec<(&'static str, OperationId)> {
        let all = self.0.lock().unwrap();
        all.iter().filter(|(of, ..)| *of == machine).map(|(_, act, operation)| (*act, *operation)).collect()
    }
}

/// The driver that is watched.
#[derive(Debug)]
pub(super) struct Witness<H> {
    pub(super) inner: H,
    pub(super) effects: Effects,
}

impl<H: Hypervisor> Witness<H> {
    fn watched<'a>(
        &'a self,
        act: &'static str,
        machine: MachineId,
        mark: Mark,
        call: BoxFuture<'a, Outcome<Observed>>,
    ) -> BoxFuture<'a, Outcome<Observed>> {
        async move {
            let before = self.inner.look(machine).await;
            let answer = call.await;
            let after = match &answer {
                Ok(seen) => Ok(*seen),
                Err(_) => self.inner.look(machine).await,
            };
            if let (Ok(before), Ok(after)) = (before, after)
                && before.state != after.state
            {
                self.effects.0.lock().unwrap().push((machine, act, mark.operation));
            }
            answer
        }
        .boxed()
    }
}

/// Acts that are watched.
macro_rules! watched {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name(&self, machine: MachineId $(, $argument: $type)*, mark: Mark) -> BoxFuture<'_, Outcome<Observed>> {
            self.watched(stringify!($name), machine, mark, self.inner.$name(machine $(, $argument)*, mark))
        })*
    };
}

/// Calls that are passed on.
macro_rules! passed {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self $(, $argument: $type)*) -> BoxFuture<'_, Outcome<$answer>> {
            self.inner.$name($($argument),*)
        })*
    };
}

impl<H: Hypervisor> Hypervisor for Witness<H> {
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
        self.watched("define", definition.machine, mark, self.inner.define(definition, mark))
    }

    watched! {
        start();
        shut_down();
        force_off();
        suspend();
        resume();
        reboot();
        reset();
        undefine();
        leave_mark();
        revert(snapshot: SnapshotId);
    }

    passed! {
        report() -> HostReport;
        list() -> Vec<Listed>;
        look(machine: MachineId) -> Observed;
        snapshots(machine: MachineId) -> Vec<Snapshot>;
        take_snapshot(machine: MachineId, snapshot: SnapshotId, mark: Mark) -> Snapshot;
        delete_snapshot(machine: MachineId, snapshot: SnapshotId, mark: Mark) -> ();
        figures(machine: MachineId) -> Figures;
        create_disk(order: DiskOrder) -> Disk;
        find_disk(order: DiskOrder) -> Disk;
        disk_owners() -> Vec<MachineId>;
        delete_disks(machine: MachineId) -> ();
    }
}
