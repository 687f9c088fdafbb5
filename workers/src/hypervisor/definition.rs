//! What a machine and its disks are to be, in values that cannot be mistaken for text.

use rules::id::{MachineId, SnapshotId};
use rules::machine::{MAX_MEMORY_MIB, MAX_VCPUS};

use super::error::{Fault, HypervisorError};

/// The most bytes of a machine's name.
pub const NAME_BYTES: usize = 255;
/// What the names of our snapshots begin with.
const SNAPSHOT_PREFIX: &str = "millrace-";
/// The most disks of one machine: `vda` to `vdp`.
pub const DISKS: usize = 16;
/// The most network links of one machine.
pub const LINKS: usize = 8;
/// How a disk's contents are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskFormat {
    /// Grows as it is written and holds snapshots.
    Qcow2,
    /// Byte for byte; no snapshots inside.
    Raw,
}

impl DiskFormat {
    /// The word that libvirt and the file's ending use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// A disk of a machine that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Where it is on the host, absolute.
    pub path: String,
    /// How it is laid out.
    pub format: DiskFormat,
}

/// A disk that is to exist. Machine and slot are its identity: ordered twice, it is made once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskOrder {
    /// Whose disk it is.
    pub machine: MachineId,
    /// Which of its disks, from 0; below [`DISKS`].
    pub slot: u8,
    /// How much the guest may write, in MiB; at least 1.
    pub size_mib: u64,
    /// How it is laid out.
    pub format: DiskFormat,
}

impl DiskOrder {
    /// The name of its volume, the same at every call.
    pub fn volume(&self) -> String {
        format!("{}{}.{}", volumes_of(self.machine), self.slot, self.format.as_str())
    }
}

/// What the names of all volumes of this machine begin with, and of no other's.
pub(crate) fn volumes_of(machine: MachineId) -> String {
    format!("{machine}-disk")
}

/// The machine whose volume is called so; none if it is not one of ours.
pub(crate) fn owner_of(volume: &str) -> Option<MachineId> {
    Some(MachineId(volume.split_once("-disk")?.0.parse().ok()?))
}

/// What a machine's network card is plugged into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// A network that libvirt keeps, by name.
    Network(String),
    /// A bridge of the host, by name.
    Bridge(String),
}

/// From what a machine boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// From its first disk, then from the network.
    Disk,
    /// From a kernel on the host.
    Kernel {
        /// The kernel, absolute.
        kernel: String,
        /// The first file system, absolute.
        initrd: Option<String>,
        /// The kernel's arguments.
        arguments: String,
    },
}

/// What a machine is to be. Defining the same id again replaces what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The machine.
    pub machine: MachineId,
    /// What people call it. Kept with the machine and never used as its name on the host.
    pub name: String,
    /// Virtual processors, 1 to [`MAX_VCPUS`].
    pub cpus: u16,
    /// Memory, in MiB, 1 to [`MAX_MEMORY_MIB`].
    pub memory_mib: u32,
    /// From what it boots.
    pub boot: Boot,
    /// Its disks in order, at most [`DISKS`].
    pub disks: Vec<Disk>,
    /// Its network cards in order, at most [`LINKS`].
    pub links: Vec<Link>,
}

impl Definition {
    /// The machine's name on the host: made of its id, so that no two collide and none is hostile.
    pub fn host_name(machine: MachineId) -> String {
        format!("millrace-{machine}")
    }

    /// Refuses what no host could carry out.
    ///
    /// # Errors
    /// [`Fault::Refused`], naming the field, its bound and what to change.
    pub fn check(&self) -> Result<(), HypervisorError> {
        let refuse = |reason: String| {
            Err(HypervisorError::new(Fault::Refused, "define").of(self.machine).because(reason))
        };
        if self.name.is_empty() || self.name.len() > NAME_BYTES {
            return refuse(format!(
                "the name has {} bytes; it must have 1 to {NAME_BYTES}, choose another",
                self.name.len()
            ));
        }
        if !(1..=MAX_VCPUS).contains(&self.cpus) {
            return refuse(format!("{} processors were asked for; 1 to {MAX_VCPUS} are possible", self.cpus));
        }
        if !(1..=MAX_MEMORY_MIB).contains(&self.memory_mib) {
            return refuse(format!(
                "{} MiB of memory were asked for; 1 to {MAX_MEMORY_MIB} are possible",
                self.memory_mib
            ));
        }
        if self.disks.len() > DISKS || self.links.len() > LINKS {
            return refuse(format!("at most {DISKS} disks and {LINKS} network cards are possible"));
        }
        if let Some(character) = self.texts().flat_map(str::chars).find(|c| !is_xml(*c)) {
            return refuse(format!(
                "a text contains {character:?}, which no definition can carry; remove it"
            ));
        }
        if let Some(path) = self.paths().find(|path| !path.starts_with('/')) {
            return refuse(format!("the path {path:?} is not absolute; name the file from the root"));
        }
        Ok(())
    }

    /// Refuses what is larger than the whole host, whose memory is given in MiB.
    ///
    /// # Errors
    /// [`Fault::Refused`] with both figures.
    pub fn fits(&self, host_memory_mib: u64) -> Result<(), HypervisorError> {
        if u64::from(self.memory_mib) <= host_memory_mib {
            return Ok(());
        }
        Err(HypervisorError::new(Fault::Refused, "define").of(self.machine).because(format!(
            "{} MiB of memory were asked for and the host has {host_memory_mib}; ask for less or choose \
             another host",
            self.memory_mib
        )))
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        let (kernel, initrd) = match &self.boot {
            Boot::Disk => (None, None),
            Boot::Kernel { kernel, initrd, .. } => (Some(kernel.as_str()), initrd.as_deref()),
        };
        self.disks.iter().map(|disk| disk.path.as_str()).chain(kernel).chain(initrd)
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let arguments = match &self.boot {
            Boot::Disk => None,
            Boot::Kernel { arguments, .. } => Some(arguments.as_str()),
        };
        let links = self.links.iter().map(|link| match link {
            Link::Network(name) | Link::Bridge(name) => name.as_str(),
        });
        self.paths().chain(links).chain(arguments).chain(Some(self.name.as_str()))
    }
}

/// Whether XML 1.0 can carry this character.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// A snapshot's name on the host: made of its id, so that no two collide and none is hostile. A name of
/// digits alone would be taken by QEMU for the number of another snapshot.
pub fn snapshot_name(snapshot: SnapshotId) -> String {
    format!("{SNAPSHOT_PREFIX}{snapshot}")
}

/// The snapshot of this name on the host; none if it is not one of ours.
pub fn snapshot_of(name: &str) -> Option<SnapshotId> {
    name.strip_prefix(SNAPSHOT_PREFIX)?.parse().ok()
}
