//! Puts the domains together.

use async_graphql::{MergedObject, Schema};

use super::apikey::{ApiKeyMutation, ApiKeyQuery};
use super::audit::AuditQuery;
use super::deadletter::{DeadLetterMutation, DeadLetterQuery};
use super::department::{DepartmentMutation, DepartmentQuery};
use super::event::EventSubscription;
use super::health::{HealthMutation, HealthQuery};
use super::host::{HostMutation, HostQuery};
use super::invitation::{InvitationMutation, InvitationQuery};
use super::job::{JobMutation, JobQuery};
use super::listener::{ListenerMutation, ListenerQuery};
use super::machine::{MachineMutation, MachineQuery};
use super::notice::{NoticeMutation, NoticeQuery};
use super::operation::{OperationMutation, OperationQuery};
use super::power::PowerMutation;
use super::queue::{QueueMutation, QueueQuery};
use super::role::{RoleMutation, RoleQuery};
use super::run::{RunMutation, RunQuery};
use super::schedule::{ScheduleMutation, ScheduleQuery};
use super::session::{SessionMutation, SessionQuery};
use super::snapshot::{SnapshotMutation, SnapshotQuery};
use super::sweep::{SweepMutation, SweepQuery};
use super::tenant::{TenantMutation, TenantQuery};
use super::user::{UserMutation, UserQuery};
use super::workflow::{WorkflowMutation, WorkflowQuery};
use crate::auth::Gate;

/// Everything that can be read.
#[derive(MergedObject, Default)]
pub(crate) struct Query(
    SessionQuery,
    UserQuery,
    TenantQuery,
    InvitationQuery,
    RoleQuery,
    ApiKeyQuery,
    WorkflowQuery,
    RunQuery,
    ScheduleQuery,
    ListenerQuery,
    NoticeQuery,
    JobQuery,
    QueueQuery,
    DeadLetterQuery,
    SweepQuery,
    HostQuery,
    DepartmentQuery,
    MachineQuery,
    OperationQuery,
    SnapshotQuery,
    HealthQuery,
    AuditQuery,
);

/// Everything that can be changed.
#[derive(MergedObject, Default)]
pub(crate) struct Mutation(
    SessionMutation,
    UserMutation,
    TenantMutation,
    InvitationMutation,
    RoleMutation,
    ApiKeyMutation,
    WorkflowMutation,
    RunMutation,
    ScheduleMutation,
    ListenerMutation,
    NoticeMutation,
    JobMutation,
    QueueMutation,
    DeadLetterMutation,
    SweepMutation,
    HostMutation,
    DepartmentMutation,
    MachineMutation,
    OperationMutation,
    PowerMutation,
    SnapshotMutation,
    HealthMutation,
);

/// The schema of the API.
pub(crate) type ApiSchema = Schema<Query, Mutation, EventSubscription>;

/// How deeply the executor may recurse; above every depth that `limit` lets pass, so that it never speaks.
const RECURSION: usize = 48;

/// Directives on one field: there are two, and each is meaningful once.
const DIRECTIVES: usize = 4;

/// The schema. When it is not open to introspection, errors do not suggest names from it either.
pub(crate) fn schema(open: bool) -> ApiSchema {
    let builder = Schema::build(Query::default(), Mutation::default(), EventSubscription)
        .extension(Gate)
        .limit_recursive_depth(RECURSION)
        .limit_directives(DIRECTIVES);
    if open { builder.finish() } else { builder.disable_introspection().disable_suggestions().finish() }
}

/// The schema in its own language, as committed in `api/schema.graphql`.
pub fn sdl() -> String {
    schema(true).sdl()
}

#[cfg(test)]
mod tests {
    /// Set to have the committed schema rewritten in place of compared.
    const RENEW: &str = "RENEW_SCHEMA";

    #[test]
    fn the_committed_schema_is_the_schema() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema.graphql");
        if std::env::var_os(RENEW).is_some() {
            std::fs::write(path, super::sdl()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == super::sdl(),
            "api/schema.graphql differs from the code; `{RENEW}=1 cargo test -p api` rewrites it: read the diff"
        );
    }
}
