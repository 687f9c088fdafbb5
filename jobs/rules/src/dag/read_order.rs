//! Reads nodes that order something of a machine.

use super::fault::Reason;
use super::fields::Fields;
use super::order::{Ordered, SnapshotAct, SnapshotWish, Wish};
use super::read::output_variable;
use super::task::{OrderTask, Task};
use crate::health::Check;
use crate::machine::{ActionName, MAX_DISK_GIB, MAX_MEMORY_MIB, MAX_VCPUS, MIN_MEMORY_MIB, Os};

/// The name of what came of an operation in `ctx` when the node does not say.
const OPERATION_VARIABLE: &str = "operationResult";
/// The name of what a check found in `ctx` when the node does not say.
const HEALTH_VARIABLE: &str = "healthResult";

/// What a new machine has when the node does not say: as `createMachine` gives.
const VCPUS: u64 = 2;
const MEMORY_MIB: u64 = 2_048;
const DISK_GIB: u64 = 20;

#[derive(Clone, Copy)]
enum Operation {
    Create,
    Act(ActionName),
    Snapshot(SnapshotAct),
}

/// The operations of machines by the names that they have in the API.
const OPERATIONS: [(&str, Operation); 12] = [
    ("createMachine", Operation::Create),
    ("powerOn", Operation::Act(ActionName::Start)),
    ("powerOff", Operation::Act(ActionName::Stop)),
    ("forcePowerOff", Operation::Act(ActionName::ForceOff)),
    ("restartMachine", Operation::Act(ActionName::Restart)),
    ("resetMachine", Operation::Act(ActionName::Reset)),
    ("suspend", Operation::Act(ActionName::Suspend)),
    ("resume", Operation::Act(ActionName::Resume)),
    ("destroyMachine", Operation::Act(ActionName::Destroy)),
    ("createSnapshot", Operation::Snapshot(SnapshotAct::Create)),
    ("restoreSnapshot", Operation::Snapshot(SnapshotAct::Restore)),
    ("deleteSnapshot", Operation::Snapshot(SnapshotAct::Delete)),
];

/// Reads a `machineOperation`.
pub(super) fn operation(config: &mut Fields<'_, '_>) -> Option<Task> {
    let variable = output_variable(config, OPERATION_VARIABLE);
    let Some(operation) = config.word("operation", &OPERATIONS) else {
        config.forgive_the_rest();
        return None;
    };
    let ordered = match operation {
        Operation::Create => Ordered::Create(wish(config)?),
        Operation::Act(action) => {
            config.required("machineId")?;
            Ordered::Act(action, config.template("machineId")?)
        }
        Operation::Snapshot(act) => {
            config.required("machineId");
            config.required("snapshotName");
            let (machine, name) = (config.template("machineId"), config.template("snapshotName"));
            let description = match act {
                SnapshotAct::Create => config.get("description").and_then(|_| config.template("description")),
                SnapshotAct::Restore | SnapshotAct::Delete => None,
            };
            Ordered::Snapshot(SnapshotWish { act, machine: machine?, name: name?, description })
        }
    };
    Some(Task::Order(Box::new(OrderTask { ordered, output_variable: variable })))
}

fn wish(config: &mut Fields<'_, '_>) -> Option<Wish> {
    let systems = [
        ("WINDOWS10", Os::Windows10),
        ("WINDOWS11", Os::Windows11),
        ("UBUNTU", Os::Ubuntu),
        ("FEDORA", Os::Fedora),
    ];
    config.required("name");
    let name = config.template("name");
    let os = config.word("os", &systems);
    let vcpus = config.whole("vcpus", 1..=u64::from(MAX_VCPUS), VCPUS);
    let memory = u64::from(MIN_MEMORY_MIB)..=u64::from(MAX_MEMORY_MIB);
    let memory_mib = config.whole("memoryMib", memory, MEMORY_MIB);
    let disk_gib = config.whole("diskGib", 0..=u64::from(MAX_DISK_GIB), DISK_GIB);
    let department = config.get("departmentId").and_then(|_| config.template("departmentId"));
    let host = config.get("host").and_then(|_| config.template("host"));
    Some(Wish { name: name?, os: os?, vcpus, memory_mib, disk_gib, department, host })
}

/// Reads a `healthCheck`.
pub(super) fn check(config: &mut Fields<'_, '_>) -> Option<Task> {
    let variable = output_variable(config, HEALTH_VARIABLE);
    config.required("machineId");
    let machine = config.template("machineId");
    let name = config.text("checkName")?;
    let check = match name.parse::<Check>() {
        Ok(check) => check,
        Err(unknown) => {
            config.fault("checkName", Reason::Unknown, unknown.to_string());
            return None;
        }
    };
    let ordered = Ordered::Check(check, machine?);
    Some(Task::Order(Box::new(OrderTask { ordered, output_variable: variable })))
}
