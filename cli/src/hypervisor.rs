//! The hosts that a worker serves: what they are told on the command line, and what speaks to them.

use std::sync::Arc;

use jobs::config::Reader;
use rules::machine::{HostUri, Name};
use workers::HostConfig;
use workers::hypervisor::Hypervisor;

/// The name of the host that `up` serves.
pub(crate) const LOCAL: &str = "local";

/// The address of the host that `up` serves: libvirt's driver inside this process.
pub(crate) const LOCAL_URI: &str = "test:///default";

/// How many operations run on a host at once unless configured otherwise.
const VM_SLOTS: u32 = 8;

/// How many checks and listings run on a host at once unless configured otherwise.
const HEALTH_SLOTS: u32 = 4;

/// The storage pool in which disks are made unless configured otherwise.
const DISK_POOL: &str = "millrace";

/// The folder of that pool unless configured otherwise.
const DISK_FOLDER: &str = "/var/lib/millrace/disks";

/// A host that a worker shall serve.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    /// Its name.
    pub(crate) name: Name,
    /// The address of its hypervisor.
    pub(crate) uri: HostUri,
}

/// All settings of the hosts that a worker serves.
#[derive(Debug, Clone)]
pub(crate) struct HostSettings {
    served: Served,
    vm_slots: u32,
    health_slots: u32,
    kvm: bool,
    disk_pool: String,
    disk_folder: String,
}

/// Whether this executable can speak to hosts at all.
pub(crate) const fn is_built_in() -> bool {
    cfg!(feature = "libvirt")
}

impl HostSettings {
    /// Reads `HOST_VM_SLOTS`, `HOST_HEALTH_SLOTS`, `HOST_KVM`, `HOST_DISK_POOL` and `HOST_DISK_FOLDER`; name
    /// and address come from the command line.
    pub(crate) fn read(reader: &mut Reader<'_>, served: Served) -> Self {
        if !is_built_in() {
            reader.fault(format!(
                "host `{}` cannot be served: this executable was built without libvirt; build one with it",
                served.name
            ));
        }
        let folder = reader.text("HOST_DISK_FOLDER").unwrap_or_else(|| DISK_FOLDER.into());
        if !folder.starts_with('/') {
            reader.fault(format!("`HOST_DISK_FOLDER` is `{folder}`; name it from the root"));
        }
        Self {
            served,
            vm_slots: reader.number("HOST_VM_SLOTS", VM_SLOTS, 1..=256),
            health_slots: reader.number("HOST_HEALTH_SLOTS", HEALTH_SLOTS, 1..=256),
            kvm: reader.flag("HOST_KVM", false),
            disk_pool: reader.text("HOST_DISK_POOL").unwrap_or_else(|| DISK_POOL.into()),
            disk_folder: folder,
        }
    }

    /// Begins to speak to the host. One that cannot be reached is reached when it is back.
    pub(crate) fn open(self) -> HostConfig {
        let hypervisor = self.hypervisor();
        HostConfig {
            name: self.served.name,
            uri: self.served.uri,
            vm_slots: self.vm_slots,
            health_slots: self.health_slots,
            hypervisor,
        }
    }

    #[cfg(feature = "libvirt")]
    fn hypervisor(&self) -> Arc<dyn Hypervisor> {
        use workers::hypervisor::{Libvirt, LibvirtSettings};
        Arc::new(Libvirt::open(LibvirtSettings {
            uri: self.served.uri.clone(),
            kvm: self.kvm,
            pool: self.disk_pool.clone(),
            folder: self.disk_folder.clone(),
        }))
    }

    /// A host that is never reached; [`HostSettings::read`] has refused before.
    #[cfg(not(feature = "libvirt"))]
    fn hypervisor(&self) -> Arc<dyn Hypervisor> {
        let host =
            workers::hypervisor::Simulated::new(self.served.name.as_str(), 0, 0, std::time::Duration::ZERO);
        tracing::error!(
            kvm = self.kvm,
            pool = self.disk_pool,
            folder = self.disk_folder,
            "built without libvirt"
        );
        host.cut();
        Arc::new(host)
    }
}
