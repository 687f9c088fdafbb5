//! The hosts on which the contract is tried, and machines for them.

use std::sync::Arc;
use std::time::Duration;

use rules::id::{MachineId, OperationId};
use rules::machine::Seen;
use uuid::Uuid;
use workers::hypervisor::{Boot, Definition, Hypervisor, Mark, Simulated};
#[cfg(feature = "libvirt")]
use workers::hypervisor::{Libvirt, LibvirtSettings};

/// How long a simulated call hangs.
const HANG: Duration = Duration::from_millis(20);

/// A host under test.
pub(super) struct Host {
    pub(super) name: &'static str,
    pub(super) driver: Arc<dyn Hypervisor>,
}

/// A simulated host of 8 processors and 8 GiB.
pub(super) fn simulated() -> Simulated {
    Simulated::new("simulated", 8, 8_192, HANG)
}

/// Every host that is there without a daemon: the simulated one; libvirt's test driver, whose machines all of
/// the process share; and two of its hosts that have nothing in common.
pub(super) fn all() -> Vec<Host> {
    let mut hosts = vec![Host { name: "simulated", driver: Arc::new(simulated()) }];
    #[cfg(feature = "libvirt")]
    {
        hosts.push(Host { name: "test:///default", driver: Arc::new(libvirt("test:///default")) });
        for (name, file) in [("test:///one.xml", "one.xml"), ("test:///two.xml", "two.xml")] {
            hosts.push(Host { name, driver: Arc::new(libvirt(&node(file))) });
        }
    }
    #[cfg(not(feature = "libvirt"))]
    tests::tell("NOT TESTED: hosts of libvirt, because this build knows none (feature `libvirt`)");
    hosts
}

/// A host behind libvirt, by its address.
#[cfg(feature = "libvirt")]
pub(super) fn libvirt(uri: &str) -> Libvirt {
    Libvirt::open(LibvirtSettings {
        uri: uri.parse().unwrap(),
        kvm: false,
        pool: "millrace".to_owned(),
        folder: "/var/lib/millrace-test/disks".to_owned(),
    })
}

/// The address of a host of the test driver whose machines are its connection's alone.
#[cfg(feature = "libvirt")]
pub(super) fn node(file: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    // Written anew by each test, and whole at once: another may be reading it.
    let fresh = path.with_extension(Uuid::new_v4().to_string());
    std::fs::write(&fresh, "<node><cpu><active>8</active><memory>8388608</memory></cpu></node>").unwrap();
    std::fs::rename(&fresh, &path).unwrap();
    format!("test://{}", path.display())
}

/// A machine that nobody has yet.
pub(super) fn machine() -> Definition {
    Definition {
        machine: MachineId(Uuid::new_v4()),
        name: "a machine".to_owned(),
        cpus: 1,
        memory_mib: 64,
        boot: Boot::Disk,
        disks: Vec::new(),
        links: Vec::new(),
    }
}

/// The mark of a new operation at this generation.
pub(super) fn mark(generation: i64) -> Mark {
    Mark { operation: OperationId(Uuid::new_v4()), generation }
}

/// A new machine of this host in this state.
pub(super) async fn machine_in(host: &dyn Hypervisor, state: Seen) -> MachineId {
    let definition = machine();
    let id = definition.machine;
    if state != Seen::Absent {
        host.define(&definition, mark(1)).await.unwrap();
    }
    match state {
        Seen::Absent | Seen::Off => {}
        Seen::Running => drop(host.start(id, mark(1)).await.unwrap()),
        Seen::Paused => {
            host.start(id, mark(1)).await.unwrap();
            host.suspend(id, mark(1)).await.unwrap();
        }
        other => panic!("no host without a real guest shows {other}"),
    }
    assert_eq!(host.look(id).await.unwrap().state, state);
    id
}
