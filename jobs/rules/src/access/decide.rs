//! Allows or denies, with the reason.

use super::{Module, Permission, Permissions, Principal, Role};

/// What a permission amounts to, in three steps; whoever may decide may also work and look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InTenant {
    /// Read what is the tenant's.
    Look,
    /// Build, run, cancel, replay.
    Work,
    /// Decide who may enter and what they may do, or take away for good.
    Manage,
}

/// What somebody wants to do to the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Overall {
    /// See and steer queues and jobs, whoever's they are.
    Operate,
    /// Make a tenant.
    MakeTenant,
    /// See who the users are.
    SeeUsers,
    /// Make a user of this role, shut one out, let one in again.
    MakeUser(Role),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody showed credentials.
    #[error("this needs a login; send `Authorization: Bearer <token>` or `X-API-Key`")]
    Anonymous,
    /// The tenant is none of theirs, which must look as if it did not exist.
    #[error("there is no such tenant")]
    Stranger,
    /// They belong to the tenant, which is disabled.
    #[error("the tenant is disabled; ask an administrator of the installation")]
    TenantDisabled,
    /// They belong to the tenant, and their roles or scopes do not hold this.
    #[error("this needs the permission `{0}`; ask one of the tenant's administrators")]
    NeedsPermission(Permission),
    /// The part of the product is switched off here.
    #[error("the module `{}` is switched off here; ask an administrator of the installation", .0.as_str())]
    SwitchedOff(Module),
    /// This takes a higher role in the installation.
    #[error("this needs the role `{}`; ask somebody who holds it", .0.as_str())]
    NeedsRole(Role),
    /// A key never reaches beyond its tenant.
    #[error("an API key cannot do this; log in as a user")]
    KeyConfined,
    /// The operation is in no list of who may do what, and so closed to all.
    #[error("nobody may do this; the operation has no permission")]
    Unlisted,
}

/// How somebody stands to a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What their membership, or their key, holds there; none when they do not belong to it.
    pub may: Option<Permissions>,
    /// Whether the tenant is closed.
    pub disabled: bool,
    /// What the modules allow that are switched on for it.
    pub modules: Permissions,
}

/// Decides on something within a tenant, and tells all that the principal holds there, whatever modules
/// are switched on.
///
/// # Errors
/// [`Denied`] with the reason; [`Denied::Stranger`] before any other, so that nobody learns of a tenant
/// by asking.
pub fn in_tenant(
    principal: &Principal,
    standing: &Standing,
    needed: Permission,
) -> Result<Permissions, Denied> {
    let may = match principal {
        Principal::User { role: Role::SuperAdmin, .. } => Permissions::all(),
        Principal::User { .. } | Principal::Key { .. } => {
            let may = standing.may.ok_or(Denied::Stranger)?;
            if standing.disabled {
                return Err(Denied::TenantDisabled);
            }
            may
        }
    };
    if !may.has(needed) {
        return Err(Denied::NeedsPermission(needed));
    }
    if !standing.modules.has(needed) {
        return Err(Denied::SwitchedOff(needed.module()));
    }
    Ok(may)
}

/// Decides on something that concerns the whole installation.
///
/// # Errors
/// [`Denied`] with the reason.
pub fn overall(principal: &Principal, wish: Overall) -> Result<(), Denied> {
    let role = match principal {
        Principal::User { role, .. } => *role,
        Principal::Key { .. } => return Err(Denied::KeyConfined),
    };
    let needed = match wish {
        Overall::Operate | Overall::MakeTenant | Overall::SeeUsers | Overall::MakeUser(Role::User) => {
            Role::Admin
        }
        Overall::MakeUser(Role::Admin | Role::SuperAdmin) => Role::SuperAdmin,
    };
    if role >= needed { Ok(()) } else { Err(Denied::NeedsRole(needed)) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::access::TenantRole;
    use crate::id::{ApiKeyId, TenantId, UserId};

    const MEMBERS: Permission = Permission::UserCreate;

    fn user(role: Role) -> Principal {
        Principal::User { id: UserId(Uuid::nil()), role }
    }

    fn key(role: TenantRole) -> Principal {
        Principal::Key {
            id: ApiKeyId(Uuid::nil()),
            tenant: TenantId(Uuid::nil()),
            role,
            may: Permissions::all(),
        }
    }

    fn standing(may: Option<Permissions>) -> Standing {
        Standing { may, disabled: false, modules: Permissions::all() }
    }

    #[test]
    fn a_stranger_learns_nothing_whatever_they_wish() {
        for permission in Permission::ALL {
            for disabled in [false, true] {
                for who in [user(Role::User), user(Role::Admin), key(TenantRole::Admin)] {
                    let standing = Standing { disabled, modules: Permissions::NONE, ..standing(None) };
                    assert_eq!(in_tenant(&who, &standing, permission), Err(Denied::Stranger));
                }
            }
        }
    }

    #[test]
    fn what_is_not_held_is_denied_by_its_name() {
        for who in [user(Role::User), user(Role::Admin), key(TenantRole::Member)] {
            for permission in Permission::ALL {
                let standing = standing(Some(Permissions::member()));
                let held = Permissions::member().has(permission);
                let expected =
                    if held { Ok(Permissions::member()) } else { Err(Denied::NeedsPermission(permission)) };
                assert_eq!(in_tenant(&who, &standing, permission), expected);
            }
            assert!(in_tenant(&who, &standing(Some(Permissions::all())), MEMBERS).is_ok());
        }
    }

    #[test]
    fn a_disabled_tenant_is_closed_to_all_but_the_super_administrator() {
        let closed = Standing { disabled: true, ..standing(Some(Permissions::all())) };
        for permission in Permission::ALL {
            assert_eq!(in_tenant(&user(Role::Admin), &closed, permission), Err(Denied::TenantDisabled));
            assert!(in_tenant(&user(Role::SuperAdmin), &closed, permission).is_ok());
        }
    }

    #[test]
    fn a_module_that_is_off_is_off_for_everybody() {
        let modules = Permissions::of_modules(&[Module::Tenant, Module::Listener]);
        let standing = Standing { modules, ..standing(Some(Permissions::all())) };
        for who in [user(Role::User), user(Role::SuperAdmin), key(TenantRole::Admin)] {
            let refused = in_tenant(&who, &standing, Permission::WorkflowRead);
            assert_eq!(refused, Err(Denied::SwitchedOff(Module::Workflow)));
            assert_eq!(in_tenant(&who, &standing, Permission::ListenerRead), Ok(Permissions::all()));
        }
    }

    #[test]
    fn the_installation_is_closed_to_keys_and_ordinary_users() {
        for wish in [Overall::Operate, Overall::MakeTenant, Overall::SeeUsers, Overall::MakeUser(Role::User)]
        {
            assert_eq!(overall(&key(TenantRole::Admin), wish), Err(Denied::KeyConfined));
            assert_eq!(overall(&user(Role::User), wish), Err(Denied::NeedsRole(Role::Admin)));
            assert_eq!(overall(&user(Role::Admin), wish), Ok(()));
        }
        for made in [Role::Admin, Role::SuperAdmin] {
            let refused = Err(Denied::NeedsRole(Role::SuperAdmin));
            assert_eq!(overall(&user(Role::Admin), Overall::MakeUser(made)), refused);
            assert_eq!(overall(&user(Role::SuperAdmin), Overall::MakeUser(made)), Ok(()));
        }
    }
}
