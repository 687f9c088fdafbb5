//! The list of who may do what: every operation of the API with what it needs.

use std::collections::HashMap;
use std::sync::LazyLock;

use rules::access::Permission::{self, *};
use rules::access::{Overall, Role};

/// What an operation needs of whoever asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: it is how one gets in.
    Nothing,
    /// Credentials. What it shows or changes is the caller's own.
    Credentials,
    /// A role in the installation.
    Overall(Overall),
    /// A permission in the tenant that it names.
    Tenant(Permission),
    /// A permission in the tenant that it names, and that to execute workflows, for it has one started.
    TenantToStart(Permission),
    /// A permission in the tenant that it names; who operates the installation need not name one.
    TenantOrOperator(Permission),
}

/// Every operation. One that is missing here is closed to all, and a test names it.
pub(crate) const OPERATIONS: &[(&str, Needs)] = &[
    // Oneself.
    ("login", Needs::Nothing),
    ("loginExternal", Needs::Nothing),
    ("refreshSession", Needs::Nothing),
    ("acceptInvitation", Needs::Nothing),
    ("setupNeeded", Needs::Nothing),
    ("setUp", Needs::Nothing),
    ("logout", Needs::Credentials),
    ("sessions", Needs::Credentials),
    ("me", Needs::Credentials),
    ("changePassword", Needs::Credentials),
    // Users and tenants of the installation.
    ("users", Needs::Overall(Overall::SeeUsers)),
    ("createUser", Needs::Overall(Overall::MakeUser(Role::User))),
    ("setUserEnabled", Needs::Overall(Overall::MakeUser(Role::User))),
    ("tenants", Needs::Credentials),
    ("setTenantEnabled", Needs::Overall(Overall::MakeTenant)),
    ("setTenantModules", Needs::Overall(Overall::MakeTenant)),
    ("createTenant", Needs::Overall(Overall::MakeTenant)),
    // Who may enter a tenant.
    ("tenant", Needs::Tenant(TenantRead)),
    ("renameTenant", Needs::Tenant(TenantUpdate)),
    ("invitations", Needs::Tenant(UserList)),
    ("inviteMember", Needs::Tenant(UserCreate)),
    ("revokeInvitation", Needs::Tenant(UserCreate)),
    ("members", Needs::Tenant(UserList)),
    ("addMember", Needs::Tenant(UserCreate)),
    ("removeMember", Needs::Tenant(UserDelete)),
    ("setMemberRole", Needs::Tenant(UserUpdate)),
    ("setMemberRoles", Needs::Tenant(UserUpdate)),
    ("permissions", Needs::Tenant(PermissionList)),
    ("roles", Needs::Tenant(RoleList)),
    ("role", Needs::Tenant(RoleRead)),
    ("createRole", Needs::Tenant(RoleCreate)),
    ("updateRole", Needs::Tenant(RoleUpdate)),
    ("deleteRole", Needs::Tenant(RoleDelete)),
    ("apiKeys", Needs::Tenant(ApiKeyList)),
    ("createApiKey", Needs::Tenant(ApiKeyCreate)),
    ("setApiKeyEnabled", Needs::Tenant(ApiKeyUpdate)),
    ("rotateApiKey", Needs::Tenant(ApiKeyUpdate)),
    ("revokeApiKey", Needs::Tenant(ApiKeyDelete)),
    // Workflows and runs.
    ("workflow", Needs::Tenant(WorkflowRead)),
    ("workflows", Needs::Tenant(WorkflowList)),
    ("validateWorkflow", Needs::Credentials),
    ("createWorkflow", Needs::Tenant(WorkflowCreate)),
    ("updateWorkflow", Needs::Tenant(WorkflowUpdate)),
    ("setWorkflowEnabled", Needs::Tenant(WorkflowUpdate)),
    ("executeWorkflow", Needs::Tenant(WorkflowExecute)),
    ("run", Needs::Tenant(WorkflowRead)),
    ("runs", Needs::Tenant(WorkflowList)),
    ("cancelRun", Needs::Tenant(WorkflowExecute)),
    // Schedules.
    ("schedule", Needs::Tenant(CronRead)),
    ("schedules", Needs::Tenant(CronList)),
    ("scheduleStatus", Needs::Tenant(CronList)),
    ("previewSchedule", Needs::Credentials),
    ("createSchedule", Needs::TenantToStart(CronCreate)),
    ("updateSchedule", Needs::TenantToStart(CronUpdate)),
    ("cloneSchedule", Needs::TenantToStart(CronCreate)),
    ("setScheduleEnabled", Needs::TenantToStart(CronUpdate)),
    ("runSchedule", Needs::TenantToStart(CronUpdate)),
    ("deleteSchedule", Needs::Tenant(CronDelete)),
    // Listeners and what they heard.
    ("listener", Needs::Tenant(ListenerRead)),
    ("listeners", Needs::Tenant(ListenerList)),
    ("createListener", Needs::Tenant(ListenerCreate)),
    ("updateListener", Needs::Tenant(ListenerUpdate)),
    ("setListenerActive", Needs::Tenant(ListenerUpdate)),
    ("endOldListenerSecret", Needs::Tenant(ListenerRotate)),
    ("renameListener", Needs::Tenant(ListenerUpdate)),
    ("rotateListenerSecret", Needs::Tenant(ListenerRotate)),
    ("deleteListener", Needs::Tenant(ListenerDelete)),
    ("notice", Needs::Tenant(ListenerRead)),
    ("notices", Needs::Tenant(ListenerList)),
    ("bufferEvents", Needs::Tenant(ListenerRead)),
    ("replayNotice", Needs::Tenant(ListenerExecute)),
    // Jobs and queues.
    ("job", Needs::TenantOrOperator(JobRead)),
    ("jobs", Needs::TenantOrOperator(JobList)),
    ("whyWaiting", Needs::TenantOrOperator(JobRead)),
    ("deadLetter", Needs::TenantOrOperator(JobRead)),
    ("deadLetters", Needs::TenantOrOperator(JobList)),
    ("deadLetterGroups", Needs::TenantOrOperator(JobList)),
    ("deadLetterCount", Needs::TenantOrOperator(JobList)),
    ("deadLetterSweep", Needs::TenantOrOperator(JobRead)),
    ("deadLetterSweeps", Needs::TenantOrOperator(JobList)),
    ("redriveMatchingDeadLetters", Needs::TenantOrOperator(JobRetry)),
    ("discardMatchingDeadLetters", Needs::TenantOrOperator(JobRetry)),
    ("cancelDeadLetterSweep", Needs::TenantOrOperator(JobRetry)),
    ("redriveEditedDeadLetter", Needs::TenantOrOperator(JobRetry)),
    ("cancelJob", Needs::TenantOrOperator(JobCancel)),
    ("retryJob", Needs::TenantOrOperator(JobRetry)),
    ("redriveDeadLetters", Needs::TenantOrOperator(JobRetry)),
    ("redriveEachDeadLetter", Needs::TenantOrOperator(JobRetry)),
    ("discardDeadLetters", Needs::TenantOrOperator(JobRetry)),
    ("queues", Needs::Overall(Overall::Operate)),
    ("pauseQueue", Needs::Overall(Overall::Operate)),
    ("resumeQueue", Needs::Overall(Overall::Operate)),
    // What was done.
    ("auditLogs", Needs::TenantOrOperator(AuditList)),
    // Hosts and machines.
    ("hosts", Needs::Overall(Overall::Operate)),
    ("drainHost", Needs::Overall(Overall::Operate)),
    ("resumeHost", Needs::Overall(Overall::Operate)),
    ("acceptHost", Needs::Overall(Overall::Operate)),
    ("removeHost", Needs::Overall(Overall::Operate)),
    ("department", Needs::Tenant(DepartmentRead)),
    ("findDepartmentByName", Needs::Tenant(DepartmentRead)),
    ("departments", Needs::Tenant(DepartmentList)),
    ("createDepartment", Needs::Tenant(DepartmentCreate)),
    ("updateDepartmentName", Needs::Tenant(DepartmentUpdate)),
    ("destroyDepartment", Needs::Tenant(DepartmentDelete)),
    ("machine", Needs::Tenant(MachineRead)),
    ("machines", Needs::Tenant(MachineList)),
    ("machineOperation", Needs::Tenant(MachineRead)),
    ("machineOperations", Needs::Tenant(MachineRead)),
    ("whyMachineWaits", Needs::Tenant(MachineRead)),
    ("createMachine", Needs::Tenant(MachineCreate)),
    ("moveMachine", Needs::Tenant(MachineUpdate)),
    ("powerOn", Needs::Tenant(MachineExecute)),
    ("powerOff", Needs::Tenant(MachineExecute)),
    ("forcePowerOff", Needs::Tenant(MachineExecute)),
    ("restartMachine", Needs::Tenant(MachineExecute)),
    ("resetMachine", Needs::Tenant(MachineExecute)),
    ("suspend", Needs::Tenant(MachineExecute)),
    ("resume", Needs::Tenant(MachineExecute)),
    ("powerMachines", Needs::Tenant(MachineExecute)),
    ("destroyMachine", Needs::Tenant(MachineDelete)),
    ("machineSnapshots", Needs::Tenant(SnapshotList)),
    ("currentSnapshot", Needs::Tenant(SnapshotList)),
    ("createSnapshot", Needs::Tenant(SnapshotCreate)),
    ("restoreSnapshot", Needs::Tenant(SnapshotRestore)),
    ("forceRestoreSnapshot", Needs::Tenant(SnapshotRestore)),
    ("deleteSnapshot", Needs::Tenant(SnapshotDelete)),
    // The health of machines.
    ("getVMHealthStatus", Needs::Tenant(HealthRead)),
    ("latestVMHealthSnapshot", Needs::Tenant(HealthRead)),
    ("getLatestVMHealth", Needs::Tenant(HealthRead)),
    ("checkVMDiskSpace", Needs::Tenant(HealthRead)),
    ("vmHealthHistory", Needs::Tenant(HealthRead)),
    ("vmHealthStats", Needs::Tenant(HealthRead)),
    ("vmHealthCheckQueue", Needs::Tenant(HealthRead)),
    ("healthStatistics", Needs::Tenant(HealthRead)),
    ("healthQueueStatistics", Needs::Overall(Overall::Operate)),
    ("healthCheckQueueStats", Needs::Overall(Overall::Operate)),
    ("backgroundHealthServiceStatus", Needs::Overall(Overall::Operate)),
    ("runHealthCheck", Needs::Tenant(HealthExecute)),
    ("queueAllVMHealthChecks", Needs::Tenant(HealthExecute)),
    ("triggerHealthCheckRound", Needs::Tenant(HealthExecute)),
    ("setHealthCheck", Needs::Tenant(HealthUpdate)),
    // What happens, while it happens.
    ("runEvents", Needs::Tenant(WorkflowRead)),
    ("machineEvents", Needs::Tenant(MachineRead)),
    ("listenerEvents", Needs::Tenant(ListenerRead)),
    ("departmentEvents", Needs::Tenant(DepartmentRead)),
    ("userEvents", Needs::Credentials),
];

static BY_NAME: LazyLock<HashMap<&'static str, Needs>> =
    LazyLock::new(|| OPERATIONS.iter().copied().collect());

/// What an operation needs; none for one that is not in the list.
pub(crate) fn needs(operation: &str) -> Option<Needs> {
    BY_NAME.get(operation).copied()
}

/// The name of an operation as the list has it, for a label; none for one that is not in the list.
pub(crate) fn listed(operation: &str) -> Option<&'static str> {
    BY_NAME.get_key_value(operation).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use rules::access::{Denied, Permissions, Principal, Standing, TenantRole, in_tenant};
    use rules::id::{ApiKeyId, TenantId, UserId};
    use uuid::Uuid;

    use super::super::gate::admit;
    use super::*;

    /// Set to have the committed table rewritten in place of compared.
    const RENEW: &str = "RENEW_OPERATIONS";

    const HEAD: &str = "# Who may do what\n\n\
        Written by a test from the list in `api/src/auth/operation.rs`. `MEMBER` and `ADMIN` stand for members of the \
        tenant that the operation names; a key has what its role gives. Roles of a tenant's own grant by permission.\n\n\
        | operation | needs | nobody | stranger | MEMBER | ADMIN | key MEMBER | key ADMIN | installation ADMIN | SUPER_ADMIN |\n\
        |---|---|---|---|---|---|---|---|---|---|\n";

    /// Every operation of the schema, by name.
    async fn in_schema() -> BTreeSet<String> {
        let query = "{ __schema { queryType { fields { name } } mutationType { fields { name } } subscriptionType { fields { name } } } }";
        let told = crate::graphql::schema(true).execute(query).await.data.into_json().unwrap();
        let of = |root: &str| told["__schema"][root]["fields"].as_array().unwrap().clone();
        let fields = of("queryType").into_iter().chain(of("mutationType")).chain(of("subscriptionType"));
        fields.map(|f| f["name"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn every_operation_is_listed_once_and_nothing_else() {
        let listed: Vec<String> = OPERATIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let unique: BTreeSet<String> = listed.iter().cloned().collect();
        assert_eq!(unique.len(), listed.len(), "an operation is listed twice");
        let there = in_schema().await;
        let missing: Vec<_> = there.difference(&unique).collect();
        assert!(missing.is_empty(), "closed to all, since they have no permission: {missing:?}");
        let gone: Vec<_> = unique.difference(&there).collect();
        assert!(gone.is_empty(), "listed and not in the schema: {gone:?}");
    }

    /// Whether somebody may, who belongs to the tenant as told.
    fn may(needed: Needs, name: &str, who: Option<&Principal>, member: Option<TenantRole>) -> bool {
        let inside = |permission| {
            let may = match who {
                Some(Principal::Key { may, .. }) => Some(*may),
                _ => member.map(|role| Permissions::held(role, None, None, Default::default())),
            };
            let standing = Standing { may, disabled: false, modules: Permissions::all() };
            who.ok_or(Denied::Anonymous).and_then(|who| in_tenant(who, &standing, permission)).is_ok()
        };
        admit(name, who).is_ok()
            && match needed {
                Needs::Nothing | Needs::Credentials | Needs::Overall(_) => true,
                Needs::Tenant(permission) => inside(permission),
                Needs::TenantToStart(permission) => inside(permission) && inside(WorkflowExecute),
                Needs::TenantOrOperator(permission) => {
                    let operator = who.is_some_and(|w| rules::access::overall(w, Overall::Operate).is_ok());
                    inside(permission) || operator
                }
            }
    }

    #[test]
    fn the_committed_table_is_the_list() {
        let user = |role| Principal::User { id: UserId(Uuid::nil()), role };
        let key = |role| {
            let may = Permissions::held(role, None, None, Default::default());
            Principal::Key { id: ApiKeyId(Uuid::nil()), tenant: TenantId(Uuid::nil()), role, may }
        };
        let (member, administrator) = (Some(TenantRole::Member), Some(TenantRole::Admin));
        let columns = [
            (None, None),
            (Some(user(Role::User)), None),
            (Some(user(Role::User)), member),
            (Some(user(Role::User)), administrator),
            (Some(key(TenantRole::Member)), None),
            (Some(key(TenantRole::Admin)), None),
            (Some(user(Role::Admin)), None),
            (Some(user(Role::SuperAdmin)), None),
        ];
        let mut table = HEAD.to_owned();
        let mut rows: Vec<_> = OPERATIONS.to_vec();
        rows.sort_unstable_by_key(|(name, _)| *name);
        for (name, needed) in rows {
            let needs = match needed {
                Needs::Nothing => "nothing".to_owned(),
                Needs::Credentials => "credentials".to_owned(),
                Needs::Overall(wish) => format!("{wish:?}"),
                Needs::Tenant(permission) => format!("`{permission}`"),
                Needs::TenantToStart(permission) => format!("`{permission}` and `{WorkflowExecute}`"),
                Needs::TenantOrOperator(permission) => format!("`{permission}`, or Operate"),
            };
            write!(table, "| {name} | {needs} |").unwrap();
            for (who, role) in &columns {
                table.push_str(if may(needed, name, who.as_ref(), *role) { " yes |" } else { " · |" });
            }
            table.push('\n');
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/operations.md");
        if std::env::var_os(RENEW).is_some() {
            std::fs::write(path, &table).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == table,
            "api/operations.md differs; `{RENEW}=1 cargo test -p api` rewrites it: read the diff"
        );
    }
}
