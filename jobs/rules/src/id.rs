//! Identifiers, one type each, so that one kind of id cannot be passed for another.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

uuid_id!(
    /// A tenant: the owner of every row that is not the installation's own.
    TenantId
);
uuid_id!(
    /// A person who can log in.
    UserId
);
uuid_id!(
    /// A key by which a program is let in.
    ApiKeyId
);
uuid_id!(
    /// A login and all that follows of it: a family of refresh tokens.
    SessionId
);
uuid_id!(
    /// An invitation into a tenant.
    InvitationId
);
uuid_id!(
    /// A role that a tenant made for itself.
    RoleId
);
uuid_id!(
    /// A workflow as users edit it; a run pins one version of it.
    WorkflowId
);
uuid_id!(
    /// One execution of a workflow.
    RunId
);
uuid_id!(
    /// Something that hears notices from outside, such as a webhook.
    ListenerId
);
uuid_id!(
    /// One raw notice that a listener heard.
    NoticeId
);
uuid_id!(
    /// One action of a listener's pipeline.
    ActionId
);
uuid_id!(
    /// A schedule: starts a workflow when it is due.
    ScheduleId
);
uuid_id!(
    /// One firing of a schedule.
    FiringId
);
uuid_id!(
    /// A department of a tenant: the owner of machines.
    DepartmentId
);
uuid_id!(
    /// A host: a hypervisor that carries machines.
    HostId
);
uuid_id!(
    /// A machine. The hypervisor knows it by the same id.
    MachineId
);
uuid_id!(
    /// One operation on a machine.
    OperationId
);
uuid_id!(
    /// A snapshot of a machine. The hypervisor knows it by the same id.
    SnapshotId
);
uuid_id!(
    /// A sweep of dead letters: one action on all that match.
    SweepId
);
uuid_id!(
    /// A worker process, drawn anew at each start: never a host or pod name, which come back.
    WorkerId
);
uuid_id!(
    /// The right to one attempt of one job. Random, so that a token lost in a crash is never
    /// handed out again, as a counter could be.
    LeaseToken
);

/// A job: the durable unit of work. Drawn from a sequence, in order of creation, with gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub i64);

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
