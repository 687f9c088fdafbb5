//! What the tests on real hypervisors share in setting up.

use std::path::Path;
use std::time::Duration;

use rules::id::{MachineId, OperationId};
use rules::machine::{Reach, Seen};
use tests::{hypervisor_host, wait};
use uuid::Uuid;
use workers::hypervisor::{Boot, Definition, Disk, Hypervisor, Libvirt, LibvirtSettings, Mark};

/// How long a host may take to be seen as it is: connecting, keepalives and a busy machine together.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// Whether the test can be done here; says loudly why not.
pub(super) fn can(test: &str) -> bool {
    match hypervisor_host::missing() {
        None => true,
        Some(why) => {
            tests::tell(&format!("NOT TESTED: {test}: {why}"));
            false
        }
    }
}

/// Speaks to the host at this address, with disks in this folder.
pub(super) fn open(uri: &str, folder: &Path) -> Libvirt {
    Libvirt::open(LibvirtSettings {
        uri: uri.parse().unwrap(),
        kvm: false,
        pool: "millrace".to_owned(),
        folder: folder.join("disks").display().to_string(),
    })
}

/// A machine with these disks that boots nothing, and so hears no request.
pub(super) fn machine(disks: Vec<Disk>) -> Definition {
    Definition {
        machine: MachineId(Uuid::new_v4()),
        name: "a \"real\" <guest> & 'more'\non two lines".to_owned(),
        cpus: 1,
        memory_mib: 32,
        boot: Boot::Disk,
        disks,
        links: Vec::new(),
    }
}

/// The mark of a new operation at this generation.
pub(super) fn mark(generation: i64) -> Mark {
    Mark { operation: OperationId(Uuid::new_v4()), generation }
}

/// Waits until the host stands so.
pub(super) async fn stands(host: &dyn Hypervisor, reach: Reach) {
    let mut standing = host.standing();
    let told = tokio::time::timeout(LIMIT, standing.wait_for(|now| now.reach == reach)).await;
    assert!(told.is_ok(), "it should be {reach:?} and is {:?}", *host.standing().borrow());
}

/// Waits until the machine is seen so.
pub(super) async fn seen(host: &dyn Hypervisor, machine: MachineId, state: Seen) {
    wait::until_within(LIMIT, &format!("the machine is {state}"), || async {
        host.look(machine).await.is_ok_and(|observed| observed.state == state)
    })
    .await;
}
