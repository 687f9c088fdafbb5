//! The jobs of a host: perform an operation on a machine, compare what is there with what is recorded.

use rules::id::{HostId, OperationId};
use rules::queue::{About, Job, Kind};
use serde::{Deserialize, Serialize};

/// Performs one operation on a machine. What it does stands in the operation's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineOperate {
    /// The operation.
    pub operation_id: OperationId,
}

/// Compares every machine of a host with what is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReconcile {
    /// The host.
    pub host_id: HostId,
}

impl Job for MachineOperate {
    const KIND: Kind = Kind::MachineOperate;

    fn about(&self) -> About {
        About { operation: Some(self.operation_id), ..About::default() }
    }
}

impl Job for HostReconcile {
    const KIND: Kind = Kind::HostReconcile;

    fn about(&self) -> About {
        About { host: Some(self.host_id), ..About::default() }
    }
}
