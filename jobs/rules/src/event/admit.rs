//! Decides who may hear of what.

use super::{Topic, TopicKind};
use crate::access::{Denied, Permission, Principal};

/// The permission in its tenant by which a topic is heard; none for one that is no tenant's. It is that by which the
/// thing itself is read: what happens to it tells no more than it does.
pub const fn needed(kind: TopicKind) -> Option<Permission> {
    match kind {
        TopicKind::Run => Some(Permission::WorkflowRead),
        TopicKind::Machine => Some(Permission::MachineRead),
        TopicKind::Listener => Some(Permission::ListenerRead),
        TopicKind::Department => Some(Permission::DepartmentRead),
        TopicKind::User | TopicKind::Key | TopicKind::Tenant => None,
    }
}

/// The permission by which one event is heard, whatever subscription it comes with: who listens to a department hears of
/// its machines what they may read of those, and of a machine's health who may read that.
pub fn told_to(kind: TopicKind, name: &str) -> Option<Permission> {
    if name.starts_with("health:") {
        return Some(Permission::HealthRead);
    }
    // A machine that leaves a department is told of there.
    if name.starts_with("vms:") {
        return Some(Permission::MachineRead);
    }
    needed(kind)
}

/// Decides on a topic that is no tenant's: everybody hears of their own account, and nobody of another's.
///
/// # Errors
/// [`Denied::KeyConfined`] for a key, which has no account; [`Denied::Stranger`] for another's.
pub fn own(principal: &Principal, topic: Topic) -> Result<(), Denied> {
    match principal {
        Principal::Key { .. } => Err(Denied::KeyConfined),
        Principal::User { id, .. } if topic.kind == TopicKind::User && topic.id == id.0 => Ok(()),
        Principal::User { .. } => Err(Denied::Stranger),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::access::{Permissions, Role, TenantRole};
    use crate::id::{ApiKeyId, TenantId, UserId};

    #[test]
    fn an_event_is_told_to_those_who_may_read_what_it_is_about() {
        for (kind, name, needs) in [
            (TopicKind::Run, "workflow_status_update", Some(Permission::WorkflowRead)),
            (TopicKind::Listener, "listener_event", Some(Permission::ListenerRead)),
            (TopicKind::Machine, "vms:power_on", Some(Permission::MachineRead)),
            (TopicKind::Machine, "health:health_check", Some(Permission::HealthRead)),
            (TopicKind::Department, "departments:update", Some(Permission::DepartmentRead)),
            (TopicKind::Department, "vms:removed", Some(Permission::MachineRead)),
            (TopicKind::User, "users:update", None),
        ] {
            assert_eq!(told_to(kind, name), needs, "{name}");
        }
    }

    #[test]
    fn an_account_is_heard_by_its_owner_alone() {
        let me = Uuid::from_u128(1);
        let topic = |kind, id| Topic { kind, id };
        for role in [Role::User, Role::Admin, Role::SuperAdmin] {
            let user = Principal::User { id: UserId(me), role };
            assert_eq!(own(&user, topic(TopicKind::User, me)), Ok(()));
            assert_eq!(own(&user, topic(TopicKind::User, Uuid::from_u128(2))), Err(Denied::Stranger));
            for kind in TopicKind::ALL.into_iter().filter(|kind| *kind != TopicKind::User) {
                assert_eq!(own(&user, topic(kind, me)), Err(Denied::Stranger), "{kind:?}");
            }
        }
        let (id, tenant) = (ApiKeyId(me), TenantId(me));
        let key = Principal::Key { id, tenant, role: TenantRole::Admin, may: Permissions::all() };
        assert_eq!(own(&key, topic(TopicKind::User, me)), Err(Denied::KeyConfined));
    }
}
