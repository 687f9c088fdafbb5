//! Users: who am I, new accounts, passwords.

use async_graphql::connection::Connection;
use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::access::store;
use rules::access::{Email, Overall, Principal, Role, overall};
use rules::id::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::apikey::TenantRoleName;
use super::page::Page;
use super::scope::{app, parse};
use crate::audit;
use crate::auth::{self, Caller, MayOverall, SignedIn, charge, check_strength, forgive, principal};
use crate::error::Fault;

/// What a user may do to the installation.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "Role", remote = "Role")]
pub(crate) enum RoleName {
    /// Works in the tenants that they are a member of.
    User,
    /// Operates queues; makes tenants and ordinary users.
    Admin,
    /// Everything, in every tenant.
    SuperAdmin,
}

/// A person who can log in.
#[derive(SimpleObject)]
pub(crate) struct User {
    /// The user's id.
    id: ID,
    /// The e-mail address, in lower case.
    email: String,
    /// What they may do to the installation.
    role: RoleName,
    /// Since when they are shut out.
    disabled_at: Option<DateTime<Utc>>,
    /// When the account was made.
    created_at: DateTime<Utc>,
}

/// Who the credentials of this request belong to: a user or an API key.
#[derive(SimpleObject)]
pub(crate) struct Me {
    /// The user, if it is one.
    user: Option<User>,
    /// The API key, if it is one.
    api_key: Option<MeKey>,
}

/// The API key of this request.
#[derive(SimpleObject)]
pub(crate) struct MeKey {
    /// Its id.
    id: ID,
    /// The only tenant that it opens.
    tenant: ID,
    /// What it may do there.
    role: TenantRoleName,
}

impl TryFrom<store::User> for User {
    type Error = Fault;

    fn try_from(user: store::User) -> Result<Self, Fault> {
        let role: Role = user.role.parse().map_err(jobs::Error::internal)?;
        Ok(Self {
            id: user.id.into(),
            email: user.email,
            role: role.into(),
            disabled_at: user.disabled_at,
            created_at: user.created_at,
        })
    }
}

/// What can be read of users.
#[derive(Default)]
pub(crate) struct UserQuery;

/// What can be done with users.
#[derive(Default)]
pub(crate) struct UserMutation;

#[Object]
impl UserQuery {
    /// Who the credentials of this request belong to.
    #[graphql(guard = "SignedIn")]
    async fn me(&self, ctx: &Context<'_>) -> Result<Me, Fault> {
        match principal(ctx)? {
            Principal::User { id, .. } => {
                let mut conn = app(ctx).db.acquire().await?;
                let user = store::user(&mut conn, *id).await?.try_into()?;
                Ok(Me { user: Some(user), api_key: None })
            }
            Principal::Key { id, tenant, role, .. } => {
                let key = MeKey { id: id.0.into(), tenant: tenant.0.into(), role: (*role).into() };
                Ok(Me { user: None, api_key: Some(key) })
            }
        }
    }

    /// The users of the installation, oldest first.
    #[graphql(guard = "MayOverall(Overall::SeeUsers)")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, User>, Fault> {
        let page = Page::<Uuid>::read("users", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let rows = store::users(&mut conn, page.after.map(UserId), page.limit()).await?;
        page.try_of(rows, |u| u.id, User::try_from)
    }
}

#[Object]
impl UserMutation {
    /// Makes a user. An administrator makes ordinary users; a super administrator makes all.
    #[graphql(guard = "SignedIn")]
    async fn create_user(
        &self,
        ctx: &Context<'_>,
        email: String,
        password: String,
        #[graphql(default_with = "RoleName::User")] role: RoleName,
    ) -> Result<User, Fault> {
        overall(principal(ctx)?, Overall::MakeUser(role.into()))?;
        let email: Email = email.parse()?;
        check_strength(&password)?;
        let hash = app(ctx).passwords.hash(password.into()).await?;
        let mut tx = audit::begin(ctx).await?;
        let made = store::insert_user(&mut tx, &email, &hash, role.into()).await?.try_into()?;
        tx.commit().await?;
        Ok(made)
    }

    /// Shuts a user out, which ends their sessions at once, or lets them in again. Who may make users of a
    /// role may do this to them; nobody does it to themselves.
    #[graphql(guard = "MayOverall(Overall::SeeUsers)")]
    async fn set_user_enabled(&self, ctx: &Context<'_>, id: ID, enabled: bool) -> Result<User, Fault> {
        let id = parse::<UserId>(&id, "id")?;
        let by = principal(ctx)?;
        if matches!(by, Principal::User { id: own, .. } if *own == id) {
            return Err(Fault::BadInput("`id` is your own; ask another administrator".into()));
        }
        let mut tx = audit::begin(ctx).await?;
        let role: Role = store::user(&mut tx, id).await?.role.parse().map_err(jobs::Error::internal)?;
        overall(by, Overall::MakeUser(role))?;
        store::set_user_disabled(&mut tx, id, !enabled).await?;
        let user = store::user(&mut tx, id).await?.try_into()?;
        tx.commit().await?;
        Ok(user)
    }

    /// Changes one's own password, which ends every session, this one too.
    #[graphql(guard = "SignedIn")]
    async fn change_password(&self, ctx: &Context<'_>, old: String, new: String) -> Result<bool, Fault> {
        let id = match principal(ctx)? {
            Principal::User { id, .. } => *id,
            Principal::Key { .. } => return Err(rules::access::Denied::KeyConfined.into()),
        };
        check_strength(&new)?;
        let app = app(ctx);
        let mut conn = app.db.acquire().await?;
        let email = own_email(&mut conn, id).await?;
        let address = ctx.data_unchecked::<Caller>().origin.address;
        // A stolen token must not serve to guess the password.
        charge(&mut conn, &app.config.limits, &email, address).await?;
        let login = auth::store::login(&mut conn, &email).await?;
        drop(conn);
        if !app.passwords.verify(old.into(), login.map(|l| l.password_hash)).await? {
            return Err(Fault::BadInput("`old` is not the present password".into()));
        }
        let hash = app.passwords.hash(new.into()).await?;
        let mut tx = audit::begin(ctx).await?;
        forgive(&mut tx, &email, address).await?;
        store::set_password(&mut tx, id, &hash).await?;
        tx.commit().await?;
        Ok(true)
    }
}

async fn own_email(conn: &mut PgConnection, id: UserId) -> Result<Email, Fault> {
    let user = store::user(conn, id).await?;
    Ok(user.email.parse()?)
}
