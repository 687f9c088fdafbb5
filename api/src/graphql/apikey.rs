//! API keys: made, listed, revoked.

use async_graphql::connection::Connection;
use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::access::{NewApiKey, role, store};
use rules::access::{InTenant, Permissions, TenantRole, Title, read_grants};
use rules::apikey;
use rules::id::ApiKeyId;
use secrecy::ExposeSecret;
use sqlx::PgConnection;
use uuid::Uuid;

use super::page::Page;
use super::role::roles_of;
use super::scope::{Scope, app, enter, parse};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::Fault;
use crate::state::App;

/// Live keys of one tenant; more than any use needs, few enough to read through.
const MAX_KEYS: i64 = 200;

/// For how long two keys are good when one succeeds the other, in seconds, unless told otherwise: a day.
const OVERLAP_S: i32 = 24 * 3600;

/// The longest overlap, in seconds: thirty days.
const MAX_OVERLAP_S: i32 = 30 * 24 * 3600;

/// What somebody may do in one tenant.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "TenantRole", remote = "TenantRole")]
pub(crate) enum TenantRoleName {
    /// Builds and runs workflows and listeners.
    Member,
    /// And decides who else may.
    Admin,
}

/// A program's key, without its secret.
#[derive(SimpleObject)]
pub(crate) struct ApiKey {
    /// Its id.
    id: ID,
    /// The part of the key that is no secret, by which to recognise it.
    public_id: String,
    /// Its name for people.
    title: String,
    /// What it may do in its tenant.
    role: TenantRoleName,
    /// The tenant's own roles that it has. With any, it may do exactly what these grant.
    roles: Vec<ID>,
    /// Grants that narrow what its roles give; none does not narrow.
    scopes: Option<Vec<String>>,
    /// Who made it: `user:<id>` or `key:<id>`.
    created_by: String,
    /// When it ends by itself.
    expires_at: Option<DateTime<Utc>>,
    /// Since when it is disabled, for a while or for good.
    disabled_at: Option<DateTime<Utc>>,
    /// Since when it is revoked, which is for good.
    revoked_at: Option<DateTime<Utc>>,
    /// The key that it takes over from.
    successor_of: Option<ID>,
    /// When it was last used, to the minute.
    last_used_at: Option<DateTime<Utc>>,
    /// When it was made.
    created_at: DateTime<Utc>,
}

/// A new API key.
#[derive(SimpleObject)]
pub(crate) struct NewApiKeyPayload {
    /// To be sent as `X-API-Key`. Shown here and never again.
    secret: String,
    /// What is kept of it.
    api_key: ApiKey,
}

impl From<store::ApiKey> for ApiKey {
    fn from(k: store::ApiKey) -> Self {
        let role = k.role.parse().unwrap_or(TenantRole::Member);
        Self {
            id: k.id.into(),
            public_id: k.public_id,
            title: k.title,
            role: role.into(),
            roles: k.roles.into_iter().map(Into::into).collect(),
            scopes: k.scopes,
            created_by: k.created_by,
            expires_at: k.expires_at,
            disabled_at: k.disabled_at,
            revoked_at: k.revoked_at,
            successor_of: k.successor_of.map(Into::into),
            last_used_at: k.last_used_at,
            created_at: k.created_at,
        }
    }
}

/// What can be read of API keys.
#[derive(Default)]
pub(crate) struct ApiKeyQuery;

/// What can be done with API keys.
#[derive(Default)]
pub(crate) struct ApiKeyMutation;

#[Object]
impl ApiKeyQuery {
    /// A tenant's API keys, newest first.
    #[graphql(guard = "SignedIn")]
    async fn api_keys(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, ApiKey>, Fault> {
        let page = Page::<Uuid>::read("apiKeys", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Manage).await?;
        let rows = store::keys(&mut conn, scope.tenant, page.after.map(ApiKeyId), page.limit()).await?;
        Ok(page.of(rows, |k| k.id, ApiKey::from))
    }
}

#[Object]
impl ApiKeyMutation {
    /// Makes an API key of a tenant, which holds no more than whoever makes it. The secret is in the answer
    /// and nowhere else.
    #[graphql(guard = "SignedIn")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the operation")]
    async fn create_api_key(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        title: String,
        #[graphql(default_with = "TenantRoleName::Member")] role: TenantRoleName,
        #[graphql(desc = "Without it, the key lasts until it is revoked.")] expires_at: Option<DateTime<Utc>>,
        #[graphql(desc = "Roles of the tenant's own: the key may do exactly what these grant.")]
        roles: Option<Vec<ID>>,
        #[graphql(desc = "Grants such as `tenant:workflow:*` that narrow what its roles give.")]
        scopes: Option<Vec<String>>,
    ) -> Result<NewApiKeyPayload, Fault> {
        let title: Title = title.parse()?;
        let wildcard = app(ctx).config.wildcard;
        if let Some(scopes) = &scopes {
            read_grants(scopes.iter().map(String::as_str), wildcard)?;
        }
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        let (roles, granted) = roles_of(&mut tx, scope.tenant, roles.as_deref()).await?;
        scope.must_hold(Permissions::held(role.into(), granted.as_deref(), scopes.as_deref(), wildcard))?;
        jobs::tenant::store::lock(&mut tx, scope.tenant).await?;
        if store::count_keys(&mut tx, scope.tenant).await? >= MAX_KEYS {
            let told = format!("the tenant has {MAX_KEYS} live API keys; revoke one before");
            return Err(jobs::Error::exhausted(told).into());
        }
        let minted = apikey::mint(rand::random(), rand::random());
        let key = NewApiKey {
            tenant: scope.tenant,
            public_id: &minted.public_id,
            secret_hash: minted.hash,
            title: &title,
            role: role.into(),
            scopes: scopes.as_deref(),
            created_by: scope.by.to_string(),
            expires_at,
            successor_of: None,
        };
        let mut stored = store::insert_key(&mut tx, &key).await?;
        role::store::give_key(&mut tx, scope.tenant, ApiKeyId(stored.id), &roles).await?;
        stored.roles = roles;
        tx.commit().await?;
        Ok(NewApiKeyPayload { secret: minted.text.expose_secret().to_owned(), api_key: stored.into() })
    }

    /// Makes the successor of an API key, with the same roles, scopes and end. For the overlap both are good;
    /// then the old one ends by itself.
    #[graphql(guard = "SignedIn")]
    async fn rotate_api_key(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        #[graphql(desc = "For how many seconds the old key stays good, 0 to 2592000; a day unless given.")]
        overlap_s: Option<i32>,
    ) -> Result<NewApiKeyPayload, Fault> {
        let id = parse::<ApiKeyId>(&id, "id")?;
        let overlap_s = overlap_s.unwrap_or(OVERLAP_S);
        if !(0..=MAX_OVERLAP_S).contains(&overlap_s) {
            let told = format!("`overlapS` is {overlap_s}; it must lie between 0 and {MAX_OVERLAP_S}");
            return Err(Fault::BadInput(told));
        }
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        jobs::tenant::store::lock(&mut tx, scope.tenant).await?;
        let old = store::key(&mut tx, scope.tenant, id).await?;
        not_beyond(app(ctx), &mut tx, &scope, &old).await?;
        store::retire_key(&mut tx, scope.tenant, id, f64::from(overlap_s)).await?;
        let minted = apikey::mint(rand::random(), rand::random());
        let key = NewApiKey {
            tenant: scope.tenant,
            public_id: &minted.public_id,
            secret_hash: minted.hash,
            title: &old.title.parse()?,
            role: old.role.parse().map_err(jobs::Error::internal)?,
            scopes: old.scopes.as_deref(),
            created_by: scope.by.to_string(),
            expires_at: old.expires_at,
            successor_of: Some(id),
        };
        let mut stored = store::insert_key(&mut tx, &key).await?;
        role::store::give_key(&mut tx, scope.tenant, ApiKeyId(stored.id), &old.roles).await?;
        stored.roles = old.roles;
        tx.commit().await?;
        Ok(NewApiKeyPayload { secret: minted.text.expose_secret().to_owned(), api_key: stored.into() })
    }

    /// Disables an API key for a while, at once on every node, or enables it again.
    #[graphql(guard = "SignedIn")]
    async fn set_api_key_enabled(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        enabled: bool,
    ) -> Result<ApiKey, Fault> {
        let id = parse::<ApiKeyId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        let old = store::key(&mut tx, scope.tenant, id).await?;
        not_beyond(app(ctx), &mut tx, &scope, &old).await?;
        let key = store::set_key_enabled(&mut tx, scope.tenant, id, enabled).await?;
        tx.commit().await?;
        Ok(key.into())
    }

    /// Revokes an API key, at once and for good.
    #[graphql(guard = "SignedIn")]
    async fn revoke_api_key(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<ApiKey, Fault> {
        let id = parse::<ApiKeyId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        let revoked = store::revoke_key(&mut tx, scope.tenant, id).await?;
        tx.commit().await?;
        Ok(revoked.into())
    }
}

/// Refuses to hand out, or to wake up, a key that holds more than whoever does it.
async fn not_beyond(
    app: &App,
    conn: &mut PgConnection,
    scope: &Scope,
    key: &store::ApiKey,
) -> Result<(), Fault> {
    let grants = match key.roles.as_slice() {
        [] => None,
        roles => Some(role::store::grants_of(conn, scope.tenant, roles).await?.1),
    };
    let role = key.role.parse().map_err(jobs::Error::internal)?;
    let held = Permissions::held(role, grants.as_deref(), key.scopes.as_deref(), app.config.wildcard);
    Ok(scope.must_hold(held)?)
}
