//! By what a machine's operations are ordered.

use rules::id::MachineId;

/// The order key of a machine's operations: one at a time, in the order of their commits.
pub fn order_key(machine: MachineId) -> String {
    format!("machine:{machine}")
}
