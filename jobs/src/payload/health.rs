//! The job of a host that checks one thing of one machine.

use rules::health::{Check, UnknownCheck};
use rules::id::MachineId;
use rules::queue::{About, Job, Kind};
use serde::{Deserialize, Serialize};

/// Checks one thing of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The machine.
    pub machine_id: MachineId,
    /// The name of the [`Check`].
    pub check: String,
}

impl HealthCheck {
    /// A check of a machine.
    pub fn of(machine: MachineId, check: Check) -> Self {
        Self { machine_id: machine, check: check.as_str().to_owned() }
    }

    /// What is to be checked.
    ///
    /// # Errors
    /// When this version knows no such check.
    pub fn check(&self) -> Result<Check, UnknownCheck> {
        self.check.parse()
    }
}

impl Job for HealthCheck {
    const KIND: Kind = Kind::HealthCheck;

    fn about(&self) -> About {
        // Its machine is told by the handler, as with operations.
        About::default()
    }
}
