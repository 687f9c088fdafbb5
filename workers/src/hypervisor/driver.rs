//! The trait behind which every hypervisor stands.

use std::fmt;

use futures::future::BoxFuture;
use tokio::sync::{broadcast, watch};

use rules::id::{MachineId, SnapshotId};
use rules::machine::Reach;

use super::definition::{Definition, Disk, DiskOrder};
use super::error::{Fault, HypervisorError};
use super::seen::{Figures, HostReport, Listed, Mark, Observed, Snapshot};

/// What a call came to.
pub type Outcome<T> = Result<T, HypervisorError>;

/// How well a host answers, as its own connection tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How well.
    pub reach: Reach,
    /// Why not better; empty when online.
    pub why: String,
}

impl Standing {
    /// How a host stands until somebody has tried to reach it.
    pub fn opening() -> Self {
        Self { reach: Reach::Unreachable, why: "not connected yet".to_owned() }
    }
}

/// Who may be asked to do something, or how a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Whoever answers: nobody has said whom to trust.
    Anyone,
    /// Only the hypervisor that says by this who it is; none for one that says nothing.
    Own(Option<String>),
    /// No hypervisor.
    Nobody,
}

impl Trust {
    /// Refuses an act of a hypervisor that is not trusted, by what it says who it is.
    ///
    /// # Errors
    /// [`Fault::Unrecognised`]; nothing was asked of it.
    pub fn admit(&self, act: &'static str, answers: Option<&str>) -> Outcome<()> {
        let why = match self {
            Self::Anyone => return Ok(()),
            Self::Own(own) if own.as_deref() == answers => return Ok(()),
            Self::Own(own) => {
                let name = |who: Option<&str>| {
                    who.map_or_else(|| "one that does not say who it is".to_owned(), |id| format!("`{id}`"))
                };
                format!("{} answers instead of {}", name(answers), name(own.as_deref()))
            }
            Self::Nobody => "nobody knows yet who answers".to_owned(),
        };
        Err(HypervisorError::new(Fault::Unrecognised, act).because(why))
    }
}

/// What a host tells of itself. None is replayed: after [`HostEvent::Connected`], and after a receiver
/// lagged, only a full listing tells what is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEvent {
    /// The connection is there, again or for the first time: list everything.
    Connected,
    /// The connection is gone.
    Lost(String),
    /// Something happened to this machine: look at it.
    Changed(MachineId),
}

/// One host that runs machines.
///
/// Every call may be repeated: a worker can die between the act and its record. An act looks, does what
/// is missing and looks again; what it returns is what it saw last. An act that finds its end already
/// reached does nothing. Acts that leave no trace in the state (`reboot`, `reset`, `revert`) are known by
/// the [`Mark`] that they leave on the machine, and a call with a mark that is there already does nothing; so
/// an operation makes at most one of them, before any other call of its own.
/// A mark of a lower generation than the machine carries is refused as stale.
///
/// Calls that are dropped may still take effect; the next look tells.
pub trait Hypervisor: Send + Sync + fmt::Debug {
    /// How the host stands. The receiver wakes at each change.
    fn standing(&self) -> watch::Receiver<Standing>;

    /// What the host tells of itself from now on.
    fn events(&self) -> broadcast::Receiver<HostEvent>;

    /// From now on only whoever is trusted is asked for anything but its [`Hypervisor::report`]. It is looked at for
    /// each call: another hypervisor may answer to the same address at any time, and by any new connection.
    fn trust(&self, whom: Trust);

    /// What the host has, and how much of it is free; told by whoever answers, trusted or not.
    fn report(&self) -> BoxFuture<'_, Outcome<HostReport>>;

    /// All machines of the host, those of others included.
    fn list(&self) -> BoxFuture<'_, Outcome<Vec<Listed>>>;

    /// What is seen of one machine; [`Observed::ABSENT`] if the host does not know it.
    fn look(&self, machine: MachineId) -> BoxFuture<'_, Outcome<Observed>>;

    /// Makes the machine known as defined, or replaces its definition; what runs goes on as it began.
    fn define<'a>(&'a self, definition: &'a Definition, mark: Mark) -> BoxFuture<'a, Outcome<Observed>>;

    /// Boots a machine that is off. One that is held still or asleep is refused: it is to be resumed.
    fn start(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>>;

    /// Asks the guest to shut down. Returns at once, with what is seen then: a guest may take its time,
    /// and one that does not listen never ends. A paused guest cannot hear it.
    fn shut_down(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>>;

    /// Ends the machine as by pulling its plug. Absent and off count as done.
    fn force_off(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>>;

    /// Holds the guest.
    fn suspend(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>>;

    /// Lets a held guest go on, and wakes one that sleeps.
    fn resume(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>>;

    /// Asks the guest to restart. Returns at once.
    fn reboot(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>>;

    /// Restarts the guest as by its reset button. One that is held stays held.
    fn reset(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>>;

    /// Forgets a machine that is off, with its snapshots and its saved memory; its disks are left, see
    /// [`Hypervisor::delete_disks`]. Absent counts as done.
    fn undefine(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>>;

    /// Leaves the mark on the machine and nothing else, so that what was ordered before it is refused from then on.
    fn leave_mark(&self, machine: MachineId, mark: Mark) -> BoxFuture<'_, Outcome<Observed>>;

    /// The snapshots of a machine, by name.
    fn snapshots(&self, machine: MachineId) -> BoxFuture<'_, Outcome<Vec<Snapshot>>>;

    /// Takes a snapshot, or finds it taken.
    fn take_snapshot(
        &self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> BoxFuture<'_, Outcome<Snapshot>>;

    /// Brings the machine back to a snapshot; it is then in the state in which that was taken.
    fn revert(
        &self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> BoxFuture<'_, Outcome<Observed>>;

    /// Deletes a snapshot; those that build on it stay. A snapshot that is not there counts as done.
    fn delete_snapshot(
        &self,
        machine: MachineId,
        snapshot: SnapshotId,
        mark: Mark,
    ) -> BoxFuture<'_, Outcome<()>>;

    /// What the machine uses.
    fn figures(&self, machine: MachineId) -> BoxFuture<'_, Outcome<Figures>>;

    /// Makes a disk, or finds the one of the same machine and slot.
    fn create_disk(&self, order: DiskOrder) -> BoxFuture<'_, Outcome<Disk>>;

    /// Finds a disk that was made before, and never makes it: [`Fault::NoDisk`](super::Fault) where it is not on the
    /// host's storage now.
    fn find_disk(&self, order: DiskOrder) -> BoxFuture<'_, Outcome<Disk>>;

    /// The machines for which the host has disks, as far as it knows without looking anew; each once.
    fn disk_owners(&self) -> BoxFuture<'_, Outcome<Vec<MachineId>>>;

    /// Deletes all disks that were made for the machine, which must be absent. None counts as done.
    fn delete_disks(&self, machine: MachineId) -> BoxFuture<'_, Outcome<()>>;
}
