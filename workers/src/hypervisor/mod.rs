//! What speaks to the programs that run machines: one trait, real hosts behind it, and a simulated one
//! that fails on demand.
//!
//! A handler calls [`Hypervisor`] and knows nothing of what is behind it. Every call may be repeated, and
//! its success is judged by the state that is seen afterwards.

mod act;
mod definition;
mod driver;
mod error;
#[cfg(feature = "libvirt")]
mod libvirt;
mod seen;
mod simulated;

pub use definition::{
    Boot, DISKS, Definition, Disk, DiskFormat, DiskOrder, LINKS, Link, NAME_BYTES, snapshot_name, snapshot_of,
};
pub use driver::{HostEvent, Hypervisor, Outcome, Standing, Trust};
pub use error::{Class, Fault, HypervisorError, Origin};
#[cfg(feature = "libvirt")]
pub use libvirt::{Libvirt, LibvirtSettings, Platform, domain_xml};
pub use seen::{DiskFigures, Figures, HostReport, Listed, Mark, Observed, Reason, Snapshot, is_active};
pub use simulated::{Crash, Most, Readings, Simulated};
