//! What somebody may do in a tenant now who is known by what was written beside their deed.

use rules::access::{Denied, Module, Permission, Permissions, Principal, Standing, Wildcard, in_tenant};
use rules::id::{ApiKeyId, TenantId, UserId};
use sqlx::PgConnection;

use super::acting::store::{Fitness, acting_key};
use super::role::store as roles;
use super::store;
use crate::tenant::store as tenants;
use crate::{Code, Error, Result};

/// Refuses what whoever is written as `user:<id>` or `key:<id>` may not do in a tenant now: a workflow acts with
/// the rights that its author has, and not with those that they had. `what` they saved is told in the refusal. For a key
/// that is no good any more acts the one that took over from it, if that is good.
///
/// # Errors
/// Denied with the reason; Unavailable when nobody answers.
pub async fn may(
    conn: &mut PgConnection,
    tenant: TenantId,
    by: &str,
    what: &str,
    needed: Permission,
    wildcard: Wildcard,
) -> Result<()> {
    let refuse = |why: String| {
        let told =
            format!("`{by}`, who saved {what}, {why}; {what} acts again once somebody who may has saved it");
        Error::new(Code::Denied, told)
    };
    let (principal, user) = match read(conn, tenant, by, wildcard).await? {
        Ok(found) => found,
        Err(why) => return Err(refuse(why)),
    };
    let Some(found) = tenants::find(conn, tenant, user).await? else {
        return Err(refuse("has no tenant any more".into()));
    };
    let may = match &principal {
        Principal::User { .. } => {
            found.role.map(|role| Permissions::held(role, found.grants.as_deref(), None, wildcard))
        }
        Principal::Key { may, .. } => Some(*may),
    };
    let modules = match found.modules {
        Some(on) => {
            let on: Vec<Module> =
                on.iter().filter_map(|name| name.parse().ok()).chain([Module::Tenant]).collect();
            Permissions::of_modules(&on)
        }
        None => Permissions::all(),
    };
    let standing = Standing { may, disabled: found.tenant.disabled_at.is_some(), modules };
    match in_tenant(&principal, &standing, needed) {
        Ok(_) => Ok(()),
        Err(Denied::Stranger) => Err(refuse("does not belong to the tenant any more".into())),
        Err(denied) => Err(refuse(format!("may not do this now: {denied}"))),
    }
}

/// Who that is, or why it is nobody who may act.
async fn read(
    conn: &mut PgConnection,
    tenant: TenantId,
    by: &str,
    wildcard: Wildcard,
) -> Result<std::result::Result<(Principal, Option<UserId>), String>> {
    let gone = || Ok(Err("is gone or shut out".to_owned()));
    match by.split_once(':') {
        Some(("user", id)) => {
            let Ok(id) = id.parse::<UserId>() else { return gone() };
            let user = match store::user(conn, id).await {
                Ok(user) if user.disabled_at.is_none() => user,
                Ok(_) => return gone(),
                Err(error) if error.code == Code::NotFound => return gone(),
                Err(error) => return Err(error),
            };
            let role = user.role.parse().map_err(Error::internal)?;
            Ok(Ok((Principal::User { id, role }, Some(id))))
        }
        Some(("key", id)) => {
            let Ok(id) = id.parse::<ApiKeyId>() else { return gone() };
            let Some(key) = acting_key(conn, tenant, id).await? else { return gone() };
            let bad = match key.fitness {
                Fitness::Good => None,
                Fitness::Revoked => Some("is revoked"),
                Fitness::Resting => Some("is disabled"),
                Fitness::Expired => Some("has expired"),
            };
            if let Some(bad) = bad {
                let who =
                    if key.id == id { String::new() } else { format!("was rotated, and `key:{}` ", key.id) };
                return Ok(Err(format!("{who}{bad}")));
            }
            let own = match key.roles.as_slice() {
                [] => None,
                roles => Some(roles::grants_of(conn, tenant, roles).await?.1),
            };
            let may = Permissions::held(key.role, own.as_deref(), key.scopes.as_deref(), wildcard);
            Ok(Ok((Principal::Key { id: key.id, tenant, role: key.role, may }, None)))
        }
        Some(_) | None => gone(),
    }
}
