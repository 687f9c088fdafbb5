//! Permissions, and the roles that a tenant makes of them.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::access::role::{NewRole, OwnRole, store};
use rules::access::{InTenant, Permission, Permissions, Title, read_grants};
use rules::id::{RoleId, TenantId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::Page;
use super::scope::{Scope, app, enter, parse};
use super::tenant::{Member, not_above};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::Fault;
use crate::state::App;

/// Roles of one tenant.
const MAX_ROLES: i64 = 100;

/// Grants of one role.
const MAX_GRANTS: usize = 100;

/// Roles of one member or key.
const MAX_ROLES_HELD: usize = 20;

/// Something that can be permitted within a tenant.
#[derive(SimpleObject)]
pub(crate) struct PermissionInfo {
    /// As grants write it: `tenant:<resource>:<verb>`.
    title: &'static str,
    /// The module that it is switched on and off with.
    module: &'static str,
    /// Whether the built-in role `MEMBER` has it; `ADMIN` has all.
    member: bool,
    /// Whether the caller has it in this tenant.
    held: bool,
}

/// A role that a tenant made for itself.
#[derive(SimpleObject)]
#[graphql(name = "OwnRole")]
pub(crate) struct RoleView {
    /// Its id.
    id: ID,
    /// Its name for people.
    title: String,
    /// What it grants, wildcards as they were written.
    grants: Vec<String>,
    /// The permissions that these come to now.
    permissions: Vec<&'static str>,
    /// Who made it: `user:<id>` or `key:<id>`.
    created_by: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

/// What can be read of roles.
#[derive(Default)]
pub(crate) struct RoleQuery;

/// What can be done with roles.
#[derive(Default)]
pub(crate) struct RoleMutation;

#[Object]
impl RoleQuery {
    /// Everything that can be permitted, in the order of the registry.
    #[graphql(guard = "SignedIn")]
    async fn permissions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
    ) -> Result<Vec<PermissionInfo>, Fault> {
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let of = |p: Permission| PermissionInfo {
            title: p.title(),
            module: p.module().as_str(),
            member: Permissions::member().has(p),
            held: scope.holds(p),
        };
        Ok(Permission::ALL.into_iter().map(of).collect())
    }

    /// The roles that a tenant made for itself, oldest first.
    #[graphql(guard = "SignedIn")]
    async fn roles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, RoleView>, Fault> {
        let page = Page::<Uuid>::read("roles", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let rows = store::page(&mut conn, scope.tenant, page.after.map(RoleId), page.limit()).await?;
        Ok(page.of(rows, |r| r.id, |r| view(app(ctx), r)))
    }

    /// One role.
    #[graphql(guard = "SignedIn")]
    async fn role(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        id: ID,
    ) -> Result<RoleView, Fault> {
        let id = parse::<RoleId>(&id, "id")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        Ok(view(app(ctx), store::get(&mut conn, scope.tenant, id).await?))
    }
}

#[Object]
impl RoleMutation {
    /// Makes a role. It grants no more than its maker holds.
    #[graphql(guard = "SignedIn")]
    async fn create_role(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        title: String,
        #[graphql(desc = "Such as `tenant:workflow:read`, `tenant:*:list` or `tenant:**`.")] grants: Vec<
            String,
        >,
    ) -> Result<RoleView, Fault> {
        let title: Title = title.parse()?;
        let given = read(app(ctx), &grants)?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        scope.must_hold(given)?;
        jobs::tenant::store::lock(&mut tx, scope.tenant).await?;
        if store::count(&mut tx, scope.tenant).await? >= MAX_ROLES {
            let told = format!("the tenant has {MAX_ROLES} roles; delete one before");
            return Err(jobs::Error::exhausted(told).into());
        }
        let new = NewRole { title: &title, grants: &grants, created_by: scope.by.to_string() };
        let made = store::insert(&mut tx, scope.tenant, &new).await?;
        tx.commit().await?;
        Ok(view(app(ctx), made))
    }

    /// Gives a role another title and other grants, which hold at once for all who have it. Whoever changes
    /// it must hold what it granted before and what it grants then.
    #[graphql(guard = "SignedIn")]
    async fn update_role(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        title: String,
        grants: Vec<String>,
    ) -> Result<RoleView, Fault> {
        let (id, title) = (parse::<RoleId>(&id, "id")?, title.parse::<Title>()?);
        let given = read(app(ctx), &grants)?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        let before = store::get(&mut tx, scope.tenant, id).await?;
        scope.must_hold(given.or(of_grants(app(ctx), &before.grants)))?;
        let saved = store::update(&mut tx, scope.tenant, id, &title, &grants).await?;
        tx.commit().await?;
        Ok(view(app(ctx), saved))
    }

    /// Deletes a role that nobody has.
    #[graphql(guard = "SignedIn")]
    async fn delete_role(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<bool, Fault> {
        let id = parse::<RoleId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        store::delete(&mut tx, scope.tenant, id).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Gives a member these roles of the tenant's own, in place of those before. With any, a `MEMBER` may do
    /// exactly what they grant; with none, what the built-in role may.
    #[graphql(guard = "SignedIn")]
    async fn set_member_roles(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        user: ID,
        roles: Vec<ID>,
    ) -> Result<Member, Fault> {
        let user = parse::<UserId>(&user, "user")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        jobs::tenant::store::lock(&mut tx, scope.tenant).await?;
        not_above(app(ctx), &mut tx, &scope, user).await?;
        let (roles, granted) = roles_of(&mut tx, scope.tenant, Some(&roles)).await?;
        let given = granted.map_or(Permissions::member(), |grants| of_grants(app(ctx), &grants));
        scope.must_hold(given)?;
        store::clear_member(&mut tx, scope.tenant, user).await?;
        store::give_member(&mut tx, scope.tenant, user, &roles).await?;
        let member = jobs::tenant::store::member(&mut tx, scope.tenant, user).await?;
        tx.commit().await?;
        Ok(member.into())
    }
}

impl Scope {
    fn holds(&self, permission: Permission) -> bool {
        self.must_hold(Permissions::only(permission)).is_ok()
    }
}

/// The roles of these ids, all of them the tenant's, with what they grant; no grants for no roles.
///
/// # Errors
/// NotFound when one is not the tenant's; Invalid for too many or for what is no id.
pub(crate) async fn roles_of(
    conn: &mut PgConnection,
    tenant: TenantId,
    ids: Option<&[ID]>,
) -> Result<(Vec<Uuid>, Option<Vec<String>>), Fault> {
    let ids = ids.unwrap_or_default();
    if ids.len() > MAX_ROLES_HELD {
        return Err(Fault::BadInput(format!("`roles` has {} entries; at most {MAX_ROLES_HELD}", ids.len())));
    }
    let mut roles = Vec::with_capacity(ids.len());
    for id in ids {
        roles.push(parse::<RoleId>(id, "roles")?.0);
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        return Ok((roles, None));
    }
    let (found, grants) = store::grants_of(conn, tenant, &roles).await?;
    if usize::try_from(found).unwrap_or_default() != roles.len() {
        return Err(jobs::Error::not_found("one of `roles` does not exist; `roles` lists them").into());
    }
    Ok((roles, Some(grants)))
}

fn read(app: &App, grants: &[String]) -> Result<Permissions, Fault> {
    if grants.len() > MAX_GRANTS {
        return Err(Fault::BadInput(format!("`grants` has {} entries; at most {MAX_GRANTS}", grants.len())));
    }
    Ok(read_grants(grants.iter().map(String::as_str), app.config.wildcard)?)
}

fn of_grants(app: &App, grants: &[String]) -> Permissions {
    Permissions::of(grants.iter().map(String::as_str), app.config.wildcard)
}

fn view(app: &App, role: OwnRole) -> RoleView {
    let permissions = of_grants(app, &role.grants).iter().map(Permission::title).collect();
    RoleView {
        id: role.id.into(),
        title: role.title,
        grants: role.grants,
        permissions,
        created_by: role.created_by,
        created_at: role.created_at,
        updated_at: role.updated_at,
    }
}
