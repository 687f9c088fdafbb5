//! Allows or denies, with the reason.

use super::{Principal, Role, TenantRole};

/// What somebody wants to do in one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InTenant {
    /// Read what is the tenant's.
    Look,
    /// Build, run, cancel, replay.
    Work,
    /// Decide who may enter: members and keys.
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
    /// They belong to the tenant, and this takes its administrator.
    #[error("this needs the role `ADMIN` in the tenant; ask one of its administrators")]
    NeedsTenantRole(TenantRole),
    /// This takes a higher role in the installation.
    #[error("this needs the role `{}`; ask somebody who holds it", .0.as_str())]
    NeedsRole(Role),
    /// A key never reaches beyond its tenant.
    #[error("an API key cannot do this; log in as a user")]
    KeyConfined,
}

/// Decides on something within a tenant. `standing` is the principal's membership there, if any; that of a
/// key is its own role in its own tenant and nothing elsewhere.
///
/// # Errors
/// [`Denied`] with the reason; [`Denied::Stranger`] before any other, so that nobody learns of a tenant
/// by asking.
pub fn in_tenant(
    principal: &Principal,
    standing: Option<TenantRole>,
    disabled: bool,
    wish: InTenant,
) -> Result<(), Denied> {
    if let Principal::User { role: Role::SuperAdmin, .. } = principal {
        return Ok(());
    }
    let role = standing.ok_or(Denied::Stranger)?;
    if disabled {
        return Err(Denied::TenantDisabled);
    }
    let needed = match wish {
        InTenant::Look | InTenant::Work => TenantRole::Member,
        InTenant::Manage => TenantRole::Admin,
    };
    if role >= needed { Ok(()) } else { Err(Denied::NeedsTenantRole(needed)) }
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
    use crate::id::{ApiKeyId, TenantId, UserId};

    const WISHES: [InTenant; 3] = [InTenant::Look, InTenant::Work, InTenant::Manage];

    fn user(role: Role) -> Principal {
        Principal::User { id: UserId(Uuid::nil()), role }
    }

    fn key(role: TenantRole) -> Principal {
        Principal::Key { id: ApiKeyId(Uuid::nil()), tenant: TenantId(Uuid::nil()), role }
    }

    #[test]
    fn a_stranger_learns_nothing_whatever_they_wish() {
        for wish in WISHES {
            for disabled in [false, true] {
                for who in [user(Role::User), user(Role::Admin), key(TenantRole::Admin)] {
                    assert_eq!(in_tenant(&who, None, disabled, wish), Err(Denied::Stranger));
                }
            }
        }
    }

    #[test]
    fn a_member_works_and_only_an_administrator_manages() {
        for who in [user(Role::User), user(Role::Admin), key(TenantRole::Member)] {
            let member = Some(TenantRole::Member);
            assert_eq!(in_tenant(&who, member, false, InTenant::Look), Ok(()));
            assert_eq!(in_tenant(&who, member, false, InTenant::Work), Ok(()));
            let refused = Err(Denied::NeedsTenantRole(TenantRole::Admin));
            assert_eq!(in_tenant(&who, member, false, InTenant::Manage), refused);
            assert_eq!(in_tenant(&who, Some(TenantRole::Admin), false, InTenant::Manage), Ok(()));
        }
    }

    #[test]
    fn a_disabled_tenant_is_closed_to_all_but_the_super_administrator() {
        for wish in WISHES {
            let closed = in_tenant(&user(Role::Admin), Some(TenantRole::Admin), true, wish);
            assert_eq!(closed, Err(Denied::TenantDisabled));
            assert_eq!(in_tenant(&user(Role::SuperAdmin), None, true, wish), Ok(()));
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
