//! Makes the calls of an operation, each within its time, and sorts what can go wrong.

use jobs::machine::report::Task;
use rules::machine::{Call, Errand, Seen};

use crate::host::Hold;
use crate::host::reason;
use crate::hypervisor::{
    Boot, Class, Definition, DiskFormat, DiskOrder, Fault, HypervisorError, Mark, Observed,
};

/// What is seen of an operation's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) seen: Seen,
    pub(crate) reason: Option<String>,
    /// Whether the snapshot is there that the operation names.
    pub(crate) snapshot_there: bool,
    /// Whether the machine carries the mark of the operation or of a later one.
    pub(crate) marked: bool,
}

/// What is to be done about the disks of a machine that is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disks {
    /// Make those that are not there: the machine never was.
    Make,
    /// Find them: they are somebody's, and an empty one must not take the place of one that is lost.
    Find,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The machine was not as it was seen: look again.
    Changed(String),
    /// It was not done, and may succeed later.
    Later(String),
    /// Nobody knows whether it was done; it may succeed later.
    Unsure(String),
    /// It can never succeed.
    Final(String),
    /// The host cannot be spoken to.
    HostLost(String),
}

/// Looks at the machine, and for the snapshot where the operation names one.
pub(crate) async fn look(hold: &Hold, task: &Task) -> Result<Looked, Failed> {
    let seen = within(Errand::Look, hold.hypervisor().look(task.machine)).await?;
    let mut looked = told(task, &seen);
    if let Some(id) = task.action.snapshot().filter(|_| looked.seen != Seen::Absent) {
        let all = within(Errand::Read, hold.hypervisor().snapshots(task.machine)).await?;
        looked.snapshot_there = all.iter().any(|snapshot| snapshot.id == Some(id));
    }
    Ok(looked)
}

/// What is seen of a machine, but for snapshots.
fn told(task: &Task, seen: &Observed) -> Looked {
    let marked = seen.mark.is_some_and(|mark| mark.generation >= task.generation);
    Looked { seen: seen.state, reason: reason(seen), snapshot_there: false, marked }
}

/// Makes one call. Where it looked again after it had acted, and no snapshot is to be looked for, what it saw is as good as
/// another look and is returned.
pub(crate) async fn make(
    hold: &Hold,
    task: &Task,
    call: Call,
    disks: Disks,
) -> Result<Option<Looked>, Failed> {
    let (host, id, mark) = (hold.hypervisor(), task.machine, mark(task));
    let seen = match call {
        Call::Define => define(hold, task, disks).await.map(|()| None),
        Call::Start => within(Errand::Act, host.start(id, mark)).await.map(Some),
        Call::AskToStop => within(Errand::Act, host.shut_down(id, mark)).await.map(Some),
        Call::ForceOff => within(Errand::Act, host.force_off(id, mark)).await.map(Some),
        Call::Suspend => within(Errand::Act, host.suspend(id, mark)).await.map(Some),
        Call::Resume => within(Errand::Act, host.resume(id, mark)).await.map(Some),
        Call::Reset => within(Errand::Act, host.reset(id, mark)).await.map(Some),
        Call::Undefine => within(Errand::Act, host.undefine(id, mark)).await.map(Some),
        Call::Mark => within(Errand::Act, host.leave_mark(id, mark)).await.map(Some),
        Call::SnapshotCreate(snapshot) => {
            within(Errand::Copy, host.take_snapshot(id, snapshot, mark)).await.map(|_| None)
        }
        Call::SnapshotRevert(snapshot) => {
            within(Errand::Copy, host.revert(id, snapshot, mark)).await.map(Some)
        }
        Call::SnapshotDelete(snapshot) => {
            within(Errand::Copy, host.delete_snapshot(id, snapshot, mark)).await.map(|()| None)
        }
    }?;
    Ok(seen.filter(|_| task.action.snapshot().is_none()).map(|seen| told(task, &seen)))
}

/// Deletes what a machine leaves behind that its host does not know any more.
pub(crate) async fn clean_up(hold: &Hold, task: &Task) -> Result<(), Failed> {
    within(Errand::Disk, hold.hypervisor().delete_disks(task.machine)).await
}

/// Takes back what was made of a machine whose creation has failed for good: its definition, as long as it does not
/// run, and its disks.
pub(crate) async fn undo(hold: &Hold, task: &Task) -> Result<(), Failed> {
    let seen = within(Errand::Look, hold.hypervisor().look(task.machine)).await?;
    match seen.state {
        Seen::Absent => {}
        Seen::Off | Seen::Crashed => make(hold, task, Call::Undefine, Disks::Find).await.map(drop)?,
        Seen::Unknown
        | Seen::Running
        | Seen::Blocked
        | Seen::Paused
        | Seen::ShuttingDown
        | Seen::Sleeping => return Err(Failed::Final(format!("the machine is {}", seen.state))),
    }
    clean_up(hold, task).await
}

async fn define(hold: &Hold, task: &Task, wish: Disks) -> Result<(), Failed> {
    if wish == Disks::Make {
        fits(hold, task).await?;
    }
    let mut disks = Vec::new();
    if task.spec.disk_gib > 0 {
        let order = DiskOrder {
            machine: task.machine,
            slot: 0,
            size_mib: u64::from(task.spec.disk_gib) * 1024,
            format: DiskFormat::Qcow2,
        };
        let host = hold.hypervisor();
        disks.push(match wish {
            Disks::Make => within(Errand::Disk, host.create_disk(order)).await?,
            Disks::Find => within(Errand::Disk, host.find_disk(order)).await?,
        });
    }
    let definition = Definition {
        machine: task.machine,
        name: task.spec.name.to_string(),
        cpus: task.spec.vcpus,
        memory_mib: task.spec.memory_mib,
        boot: Boot::Disk,
        disks,
        links: Vec::new(),
    };
    within(Errand::Act, hold.hypervisor().define(&definition, mark(task))).await.map(drop)
}

/// Refuses what the host can never run, before anything is made of it.
async fn fits(hold: &Hold, task: &Task) -> Result<(), Failed> {
    let report = within(Errand::Look, hold.hypervisor().report()).await?;
    if !hold.is_told_by_own(&report) {
        return Err(Failed::HostLost("another hypervisor told what it has".to_owned()));
    }
    match report.capacity.refuses(&task.spec) {
        Some(reason) => Err(Failed::Final(format!("it does not fit on its host: {reason}"))),
        None => Ok(()),
    }
}

const fn mark(task: &Task) -> Mark {
    Mark { operation: task.id, generation: task.generation }
}

async fn within<T>(
    errand: Errand,
    call: impl Future<Output = Result<T, HypervisorError>>,
) -> Result<T, Failed> {
    let limit = errand.awaited_for();
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(Failed::Unsure(format!("the host did not answer within {} s", limit.as_secs()))),
    }
}

fn failed(error: &HypervisorError) -> Failed {
    let told = error.to_string();
    match (error.fault, error.class()) {
        (Fault::WrongState(_) | Fault::NoMachine | Fault::NoThing, _) => Failed::Changed(told),
        // Refused before a guest is there: for want of memory, or for a disk that another has.
        (Fault::Exhausted | Fault::Locked, _) => Failed::Later(told),
        (_, Class::Retryable) => Failed::Unsure(told),
        (_, Class::Final) => Failed::Final(told),
        (_, Class::HostLost) => Failed::HostLost(told),
    }
}
