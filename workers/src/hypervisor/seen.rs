//! What was seen of a host and its machines.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::definition::{MachineId, SnapshotName};

/// Whether a machine is there and whether its guest executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Power {
    /// The host does not know it.
    Absent,
    /// Defined and not running.
    Off,
    /// Its guest executes.
    Running,
    /// Its guest is held; its memory is kept.
    Paused,
    /// Its guest has been asked to shut down and has not finished.
    Stopping,
    /// Its guest is dead and the host still keeps what is left of it; only force ends that.
    Crashed,
}

impl Power {
    /// The name in tables, messages and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Off => "off",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Crashed => "crashed",
        }
    }

    /// Whether the host holds memory for it.
    pub const fn is_active(self) -> bool {
        match self {
            Self::Absent | Self::Off => false,
            Self::Running | Self::Paused | Self::Stopping | Self::Crashed => true,
        }
    }
}

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
    pub operation: Uuid,
    /// The machine's generation for which it was ordered. A lower one than the machine carries is refused.
    pub generation: i64,
}

/// What was seen of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its state.
    pub power: Power,
    /// Why it is in it.
    pub reason: Reason,
    /// What was last done to it by us; none when it is absent or was made by somebody else.
    pub mark: Option<Mark>,
}

impl Seen {
    /// What is seen of a machine that the host does not know.
    pub const ABSENT: Self = Self { power: Power::Absent, reason: Reason::Unknown, mark: None };
}

/// One line of a host's full listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The machine.
    pub machine: MachineId,
    /// Its name on the host.
    pub host_name: String,
    /// What was seen of it.
    pub seen: Seen,
}

/// A restore point of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// The operation that took it, if it was one of ours.
    pub operation: Option<Uuid>,
    /// When it was taken, by the host's clock.
    pub taken_at: DateTime<Utc>,
    /// The state in which it brings the machine back.
    pub power: Power,
    /// The snapshot that it builds on.
    pub parent: Option<String>,
    /// Whether the machine continues from it.
    pub current: bool,
}

/// What a host has to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// The name that the host gives itself.
    pub host_name: String,
    /// The kind of hypervisor, such as `QEMU` or `TEST`.
    pub hypervisor: String,
    /// Processors on which guests run.
    pub cpus: u32,
    /// Memory, in MiB.
    pub memory_mib: u64,
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
    pub power: Power,
    /// Processor time that it has used since its start, in nanoseconds.
    pub cpu_time_ns: u64,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory that it may use, in KiB.
    pub memory_kib: u64,
    /// Memory that the host holds for it, in KiB; none where the host does not say.
    pub resident_kib: Option<u64>,
    /// Its disks; empty where the host does not say.
    pub disks: Vec<DiskFigures>,
}
