//! What was seen of a host and its machines.

use chrono::{DateTime, Utc};
use rules::id::{MachineId, OperationId, SnapshotId};
use rules::machine::{Capacity, Seen};

/// Why a machine is in the state that was seen, as far as the host tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The host does not say, or says something that is not told apart.
    Unknown,
    /// It was booted.
    Booted,
    /// It was brought back to a snapshot.
    Reverted,
    /// It came from another host.
    MigratedIn,
    /// It went to another host.
    MigratedOut,
    /// It was suspended by somebody.
    Suspended,
    /// It was resumed.
    Resumed,
    /// Its guest shut down.
    ShutDown,
    /// It was forced off.
    ForcedOff,
    /// Its guest or the program that ran it died.
    Crashed,
    /// It could not be started.
    Failed,
    /// Its disk or its host had an input or output error.
    DiskError,
    /// The guest sleeps by its own wish.
    Asleep,
    /// The host or its daemon came back and found it so.
    Restarted,
}

impl Reason {
    /// The name in tables, messages and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Booted => "booted",
            Self::Reverted => "reverted",
            Self::MigratedIn => "migrated in",
            Self::MigratedOut => "migrated out",
            Self::Suspended => "suspended",
            Self::Resumed => "resumed",
            Self::ShutDown => "shut down",
            Self::ForcedOff => "forced off",
            Self::Crashed => "crashed",
            Self::Failed => "failed",
            Self::DiskError => "disk error",
            Self::Asleep => "asleep",
            Self::Restarted => "restarted",
        }
    }
}

/// The last operation that was carried out on a machine, written on the machine itself: whoever comes
/// after a crash reads from it what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The operation.
    pub operation: OperationId,
    /// The machine's generation for which it was ordered. A lower one than the machine carries is refused.
    pub generation: i64,
}

/// What was seen of one machine at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// Its state.
    pub state: Seen,
    /// Why it is in it.
    pub reason: Reason,
    /// What was last done to it by us; none when it is absent or was made by somebody else.
    pub mark: Option<Mark>,
}

impl Observed {
    /// What is seen of a machine that the host does not know.
    pub const ABSENT: Self = Self { state: Seen::Absent, reason: Reason::Unknown, mark: None };
}

/// Whether the host holds memory for a machine in this state.
pub const fn is_active(state: Seen) -> bool {
    match state {
        Seen::Unknown | Seen::Absent | Seen::Off | Seen::Crashed => false,
        Seen::Running | Seen::Blocked | Seen::Paused | Seen::ShuttingDown | Seen::Sleeping => true,
    }
}

/// One line of a host's full listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The machine.
    pub machine: MachineId,
    /// Its name on the host.
    pub host_name: String,
    /// What was seen of it.
    pub observed: Observed,
}

/// A restore point of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The snapshot, if it is one of ours.
    pub id: Option<SnapshotId>,
    /// Its name on the host.
    pub host_name: String,
    /// When it was taken, by the host's clock.
    pub taken_at: DateTime<Utc>,
    /// The state in which it brings the machine back.
    pub state: Seen,
    /// The name on the host of the snapshot that it builds on.
    pub parent: Option<String>,
    /// Whether the machine continues from it.
    pub is_current: bool,
}

/// What a host tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostReport {
    /// The name that the host gives itself.
    pub host_name: String,
    /// The kind of hypervisor, such as `QEMU` or `TEST`.
    pub hypervisor: String,
    /// By what it says who it is: the same for as long as its machines are; none where it keeps none or does not say.
    pub identity: Option<String>,
    /// What it has for machines.
    pub capacity: Capacity,
    /// Memory that nothing uses, in MiB; none where the host does not say.
    pub free_memory_mib: Option<u64>,
    /// Machines of any owner that are active.
    pub active: u32,
}

/// What one disk of a machine has done and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFigures {
    /// The disk as the guest knows it, such as `vda`.
    pub target: String,
    /// What the guest may write, in bytes.
    pub capacity_bytes: u64,
    /// What it takes on the host, in bytes.
    pub allocated_bytes: u64,
    /// Bytes read since the start.
    pub read_bytes: u64,
    /// Bytes written since the start.
    pub written_bytes: u64,
}

/// What a machine uses, at one moment. Two of these, some time apart, give a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Its state when the figures were taken.
    pub state: Seen,
    /// Processor time that it has used since its start, in nanoseconds.
    pub cpu_time_ns: u64,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory that it may use, in KiB.
    pub memory_kib: u64,
    /// Memory that the host holds for it, in KiB; none where the host does not say.
    pub resident_kib: Option<u64>,
    /// Memory that its guest uses, of how much it has, in KiB; none where the guest does not say.
    pub guest_kib: Option<(u64, u64)>,
    /// Its disks; empty where the host does not say.
    pub disks: Vec<DiskFigures>,
}
