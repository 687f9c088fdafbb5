//! Tenants and their members.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::db::wall;
use jobs::tenant::store;
use rules::access::{
    Denied, Email, InTenant, Module, Overall, Permissions, Principal, Role, Slug, TenantRole, Title,
};
use rules::id::{TenantId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::apikey::TenantRoleName;
use super::page::Page;
use super::scope::{Scope, app, enter, parse};
use crate::audit;
use crate::auth::{MayOverall, SignedIn, principal};
use crate::error::Fault;
use crate::state::App;

/// An owner of workflows, listeners and all that comes of them.
#[derive(SimpleObject)]
pub(crate) struct Tenant {
    /// Its id.
    id: ID,
    /// Its name in addresses, such as those of its webhooks.
    slug: String,
    /// Its name for people.
    title: String,
    /// Since when it is closed.
    disabled_at: Option<DateTime<Utc>>,
    /// When it was made.
    created_at: DateTime<Utc>,
}

/// A user's place in a tenant.
#[derive(SimpleObject)]
pub(crate) struct Member {
    /// Who.
    user_id: ID,
    /// Their e-mail address.
    email: String,
    /// What they may do in the tenant.
    role: TenantRoleName,
    /// The tenant's own roles that they have. With any, they may do exactly what these grant; without, what
    /// their built-in role may.
    roles: Vec<ID>,
    /// Since when.
    created_at: DateTime<Utc>,
}

impl From<store::Tenant> for Tenant {
    fn from(t: store::Tenant) -> Self {
        Self {
            id: t.id.into(),
            slug: t.slug,
            title: t.title,
            disabled_at: t.disabled_at,
            created_at: t.created_at,
        }
    }
}

impl From<store::Member> for Member {
    fn from(m: store::Member) -> Self {
        let role = m.role.parse().unwrap_or(TenantRole::Member);
        Self {
            user_id: m.user_id.into(),
            email: m.email,
            role: role.into(),
            roles: m.roles.into_iter().map(Into::into).collect(),
            created_at: m.created_at,
        }
    }
}

/// What can be read of tenants.
#[derive(Default)]
pub(crate) struct TenantQuery;

/// What can be done with tenants.
#[derive(Default)]
pub(crate) struct TenantMutation;

#[Object]
impl TenantQuery {
    /// The tenants that the principal may enter, oldest first.
    #[graphql(guard = "SignedIn")]
    async fn tenants(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Tenant>, Fault> {
        let page = Page::<Uuid>::read("tenants", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let rows = match principal(ctx)? {
            Principal::User { id, role } => {
                let after = page.after.map(TenantId);
                if *role == Role::SuperAdmin {
                    wall::enter_all(&mut conn).await?;
                    store::page(&mut conn, after, page.limit()).await?
                } else {
                    store::of_user(&mut conn, *id, after, page.limit()).await?
                }
            }
            Principal::Key { tenant, .. } => {
                wall::enter(&mut conn, *tenant).await?;
                let own = store::find(&mut conn, *tenant, None).await?.map(|found| found.tenant);
                own.into_iter().filter(|t| page.after.is_none_or(|after| t.id > after)).collect()
            }
        };
        Ok(page.of(rows, |t| t.id, Tenant::from))
    }

    /// One tenant.
    #[graphql(guard = "SignedIn")]
    async fn tenant(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
    ) -> Result<Tenant, Fault> {
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let found = store::find(&mut conn, scope.tenant, None).await?;
        Ok(found.ok_or(Fault::Denied(Denied::Stranger))?.tenant.into())
    }

    /// The members of a tenant.
    #[graphql(guard = "SignedIn")]
    async fn members(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Member>, Fault> {
        let page = Page::<Uuid>::read("members", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let rows = store::members(&mut conn, scope.tenant, page.after.map(UserId), page.limit()).await?;
        Ok(page.of(rows, |m| m.user_id, Member::from))
    }
}

#[Object]
impl TenantMutation {
    /// Makes a tenant, of which one becomes the first administrator.
    #[graphql(guard = "MayOverall(Overall::MakeTenant)")]
    async fn create_tenant(&self, ctx: &Context<'_>, slug: String, title: String) -> Result<Tenant, Fault> {
        let (slug, title): (Slug, Title) = (slug.parse()?, title.parse()?);
        let mut tx = audit::begin(ctx).await?;
        let id = TenantId(Uuid::now_v7());
        wall::enter(&mut tx, id).await?;
        let tenant = store::insert(&mut tx, id, &slug, &title).await?;
        if let Principal::User { id: user, .. } = principal(ctx)? {
            store::add_member(&mut tx, id, *user, TenantRole::Admin).await?;
        }
        tx.commit().await?;
        Ok(tenant.into())
    }

    /// Gives a tenant another title.
    #[graphql(guard = "SignedIn")]
    async fn rename_tenant(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        title: String,
    ) -> Result<Tenant, Fault> {
        let title: Title = title.parse()?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        let saved = store::set_title(&mut tx, scope.tenant, &title).await?;
        tx.commit().await?;
        Ok(saved.into())
    }

    /// Closes a tenant to its own, at once, or opens it again. What runs goes on.
    #[graphql(guard = "MayOverall(Overall::MakeTenant)")]
    async fn set_tenant_enabled(&self, ctx: &Context<'_>, id: ID, enabled: bool) -> Result<Tenant, Fault> {
        let id = parse::<TenantId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        wall::enter(&mut tx, id).await?;
        let saved = store::set_enabled(&mut tx, id, enabled).await?;
        tx.commit().await?;
        Ok(saved.into())
    }

    /// Switches modules on for a tenant, and all others off.
    #[graphql(guard = "MayOverall(Overall::MakeTenant)")]
    async fn set_tenant_modules(
        &self,
        ctx: &Context<'_>,
        id: ID,
        #[graphql(desc = "Such as `workflow`; none given means all that the deployment has.")]
        modules: Option<Vec<String>>,
    ) -> Result<Tenant, Fault> {
        let id = parse::<TenantId>(&id, "id")?;
        for name in modules.iter().flatten() {
            name.parse::<Module>().map_err(|unknown| Fault::BadInput(unknown.to_string()))?;
        }
        let mut tx = audit::begin(ctx).await?;
        wall::enter(&mut tx, id).await?;
        let saved = store::set_modules(&mut tx, id, modules.as_deref()).await?;
        tx.commit().await?;
        Ok(saved.into())
    }

    /// Takes a user into a tenant.
    #[graphql(guard = "SignedIn")]
    async fn add_member(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        email: String,
        #[graphql(default_with = "TenantRoleName::Member")] role: TenantRoleName,
    ) -> Result<Member, Fault> {
        let email: Email = email.parse()?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        scope.must_hold(held(app(ctx), role.into(), None))?;
        let user = jobs::access::store::user_by_email(&mut tx, &email).await?;
        store::add_member(&mut tx, scope.tenant, UserId(user.id), role.into()).await?;
        let member = store::member(&mut tx, scope.tenant, UserId(user.id)).await?;
        tx.commit().await?;
        Ok(member.into())
    }

    /// Takes a user out of a tenant. The last administrator stays.
    #[graphql(guard = "SignedIn")]
    async fn remove_member(&self, ctx: &Context<'_>, tenant: Option<ID>, user: ID) -> Result<bool, Fault> {
        let user = parse::<UserId>(&user, "user")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        store::lock(&mut tx, scope.tenant).await?;
        not_above(app(ctx), &mut tx, &scope, user).await?;
        store::remove_member(&mut tx, scope.tenant, user).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Gives a member another built-in role. The last administrator stays one.
    #[graphql(guard = "SignedIn")]
    async fn set_member_role(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        user: ID,
        role: TenantRoleName,
    ) -> Result<Member, Fault> {
        let user = parse::<UserId>(&user, "user")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        scope.must_hold(held(app(ctx), role.into(), None))?;
        store::lock(&mut tx, scope.tenant).await?;
        not_above(app(ctx), &mut tx, &scope, user).await?;
        store::set_role(&mut tx, scope.tenant, user, role.into()).await?;
        let member = store::member(&mut tx, scope.tenant, user).await?;
        tx.commit().await?;
        Ok(member.into())
    }
}

/// Refuses to decide about somebody who holds more than the one who decides. Somebody who does not belong to
/// the tenant holds nothing, and is told apart later.
pub(crate) async fn not_above(
    app: &App,
    conn: &mut PgConnection,
    scope: &Scope,
    user: UserId,
) -> Result<(), Fault> {
    let found = store::find(conn, scope.tenant, Some(user)).await?;
    if let Some(found) = found
        && let Some(role) = found.role
    {
        scope.must_hold(held(app, role, found.grants.as_deref()))?;
    }
    Ok(())
}

fn held(app: &App, role: TenantRole, grants: Option<&[String]>) -> Permissions {
    Permissions::held(role, grants, None, app.config.wildcard)
}
