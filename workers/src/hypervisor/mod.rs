//! What speaks to the programs that run machines: one trait, real hosts behind it, and a simulated one
//! that fails on demand.
//!
//! A handler calls [`Hypervisor`] and knows nothing of what is behind it. Every call may be repeated, and
//! its success is judged by the state that is seen afterwards.

mod act;
mod definition;
mod driver;
mod error;
mod seen;
mod simulated;

pub use definition::{
    Boot, CPUS, DISKS, Definition, Disk, DiskFormat, DiskOrder, LEAST_MEMORY_MIB, LINKS, Link, MEMORY_MIB,
    MachineId, NAME_BYTES, SNAPSHOT_NAME_BYTES, SnapshotName, SnapshotOrder,
};
pub use driver::{HostEvent, Hypervisor, Outcome, Standing};
pub use error::{Class, Fault, HypervisorError, Origin};
pub use seen::{Capacity, DiskFigures, Figures, Listed, Mark, Power, Reason, Seen, Snapshot};
pub use simulated::{Crash, Simulated};
