//! An operation that is entered, and what people see of it then.

use chrono::{DateTime, Utc};
use rules::id::{JobId, MachineId, OperationId, TenantId};
use rules::machine::{Action, OperationState};

use super::Operation;

/// An operation that is entered.
#[derive(Debug, Clone, Copy)]
pub(in crate::machine) struct NewOperation<'a> {
    pub(in crate::machine) id: OperationId,
    pub(in crate::machine) tenant: TenantId,
    pub(in crate::machine) machine: MachineId,
    pub(in crate::machine) action: Action,
    pub(in crate::machine) by: &'a str,
    pub(in crate::machine) reason: Option<&'a str>,
}

impl NewOperation<'_> {
    /// What people see of it once it is entered.
    pub(in crate::machine) fn entered(&self, generation: i64, job: JobId, at: DateTime<Utc>) -> Operation {
        Operation {
            id: self.id.0,
            tenant_id: self.tenant.0,
            machine_id: self.machine.0,
            action: self.action.name().as_str().into(),
            snapshot_id: self.action.snapshot().map(|s| s.0),
            state: OperationState::Waiting.as_str().into(),
            generation,
            job_id: Some(job.0),
            reason: self.reason.map(Into::into),
            error: None,
            superseded_by: None,
            requested_by: self.by.into(),
            created_at: at,
            started_at: None,
            ended_at: None,
        }
    }

    /// What people see of it once it is entered in whose place another stands.
    pub(in crate::machine) fn joined(
        &self,
        generation: i64,
        other: OperationId,
        at: DateTime<Utc>,
    ) -> Operation {
        Operation {
            state: OperationState::Superseded.as_str().into(),
            job_id: None,
            superseded_by: Some(other.0),
            ended_at: Some(at),
            ..self.entered(generation, JobId(0), at)
        }
    }
}
