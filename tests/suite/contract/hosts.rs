//! The hosts on which the contract is tried, and machines for them.

use std::sync::Arc;
use std::time::Duration;

use rules::id::{MachineId, OperationId};
use rules::machine::Seen;
use uuid::Uuid;
use workers::hypervisor::{Boot, Definition, Hypervisor, Mark, Simulated};

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

/// Every host that is there without a daemon.
pub(super) fn all() -> Vec<Host> {
    vec![Host { name: "simulated", driver: Arc::new(simulated()) }]
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
