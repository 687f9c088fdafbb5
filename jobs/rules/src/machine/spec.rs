//! What a machine is made of, checked before anything is made of it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{BadName, Name};

/// The most virtual processors of one machine.
pub const MAX_VCPUS: u16 = 256;

/// The least memory of one machine, in MiB.
pub const MIN_MEMORY_MIB: u32 = 16;

/// The most memory of one machine, in MiB: 4 TiB.
pub const MAX_MEMORY_MIB: u32 = 4 * 1024 * 1024;

/// The largest disk of one machine, in GiB: 64 TiB.
pub const MAX_DISK_GIB: u32 = 64 * 1024;

/// What a machine is made of. Stored as JSON: fields are added with a default and never change meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Its name, one of its kind in its tenant.
    pub name: Name,
    /// Virtual processors, 1 to [`MAX_VCPUS`].
    pub vcpus: u16,
    /// Memory in MiB, [`MIN_MEMORY_MIB`] to [`MAX_MEMORY_MIB`].
    pub memory_mib: u32,
    /// Its disk in GiB, up to [`MAX_DISK_GIB`]; 0 for a machine without one.
    pub disk_gib: u32,
    /// What it shall run.
    pub os: Os,
}

/// What a machine shall run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Os {
    /// Windows 10.
    Windows10,
    /// Windows 11.
    Windows11,
    /// Ubuntu.
    Ubuntu,
    /// Fedora.
    Fedora,
}

/// What somebody asks for, before it is checked.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    /// Its name.
    pub name: &'a str,
    /// Virtual processors.
    pub vcpus: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
    /// Its disk in GiB.
    pub disk_gib: i64,
    /// What it shall run.
    pub os: Os,
}

/// One thing that is wrong with a draft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSpec {
    /// The name.
    #[error("`name`: {0}")]
    Name(BadName),
    /// The processors.
    #[error("`vcpus` is {0}; a machine has 1 to {MAX_VCPUS}")]
    Vcpus(i64),
    /// The memory.
    #[error("`memoryMib` is {0}; a machine has {MIN_MEMORY_MIB} to {MAX_MEMORY_MIB}")]
    Memory(i64),
    /// The disk.
    #[error("`diskGib` is {0}; a disk has 1 to {MAX_DISK_GIB}, and 0 means none")]
    Disk(i64),
}

impl Draft<'_> {
    /// The specification, or everything that is wrong with it.
    ///
    /// # Errors
    /// Every fault, in the order of the fields.
    pub fn check(&self) -> Result<Spec, Vec<BadSpec>> {
        let mut faults = Vec::new();
        let name = Name::from_str(self.name).map_err(|bad| faults.push(BadSpec::Name(bad))).ok();
        let vcpus = u16::try_from(self.vcpus).ok().filter(|n| (1..=MAX_VCPUS).contains(n));
        if vcpus.is_none() {
            faults.push(BadSpec::Vcpus(self.vcpus));
        }
        let memory_mib =
            u32::try_from(self.memory_mib).ok().filter(|n| (MIN_MEMORY_MIB..=MAX_MEMORY_MIB).contains(n));
        if memory_mib.is_none() {
            faults.push(BadSpec::Memory(self.memory_mib));
        }
        let disk_gib = u32::try_from(self.disk_gib).ok().filter(|n| *n <= MAX_DISK_GIB);
        if disk_gib.is_none() {
            faults.push(BadSpec::Disk(self.disk_gib));
        }
        match (name, vcpus, memory_mib, disk_gib) {
            (Some(name), Some(vcpus), Some(memory_mib), Some(disk_gib)) => {
                Ok(Spec { name, vcpus, memory_mib, disk_gib, os: self.os })
            }
            _ => Err(faults),
        }
    }
}

impl Os {
    /// Every system.
    pub const ALL: [Self; 4] = [Self::Windows10, Self::Windows11, Self::Ubuntu, Self::Fedora];

    /// The name that users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Windows10 => "WINDOWS10",
            Self::Windows11 => "WINDOWS11",
            Self::Ubuntu => "UBUNTU",
            Self::Fedora => "FEDORA",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(name: &str) -> Draft<'_> {
        Draft { name, vcpus: 2, memory_mib: 2048, disk_gib: 20, os: Os::Ubuntu }
    }

    #[test]
    fn a_specification_survives_its_stored_form() {
        let spec = draft("web-1").check().unwrap();
        let stored = serde_json::to_value(&spec).unwrap();
        assert_eq!(stored["os"], "UBUNTU");
        assert_eq!(serde_json::from_value::<Spec>(stored).unwrap(), spec);
        for os in Os::ALL {
            assert_eq!(serde_json::to_value(os).unwrap(), os.as_str());
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let bad = Draft { vcpus: 0, memory_mib: 1, disk_gib: -1, ..draft("a/b\n") };
        assert_eq!(
            bad.check().unwrap_err(),
            [BadSpec::Name(BadName), BadSpec::Vcpus(0), BadSpec::Memory(1), BadSpec::Disk(-1)]
        );
        let huge = Draft { vcpus: i64::MAX, memory_mib: i64::MAX, disk_gib: i64::MAX, ..draft("a") };
        assert_eq!(huge.check().unwrap_err().len(), 3);
        let quoted = "x\"'<domain>".repeat(1000);
        assert_eq!(draft(&quoted).check().unwrap_err(), [BadSpec::Name(BadName)]);
    }
}
