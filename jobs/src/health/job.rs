//! The job that makes a check.

use rules::health::Check;
use rules::id::{MachineId, TenantId};
use rules::queue::{HostNo, Priority};

use crate::Result;
use crate::payload::health::HealthCheck;
use crate::queue::NewJob;

/// The job that makes a check on this host: at most one is live of each check of a machine.
pub(super) fn job(
    tenant: TenantId,
    machine: MachineId,
    check: Check,
    host: HostNo,
    priority: Priority,
) -> Result<NewJob> {
    Ok(NewJob::on_host(&HealthCheck::of(machine, check), host)?
        .tenant(tenant)
        .unique(format!("{machine}:{check}"), None)
        .priority(priority))
}
