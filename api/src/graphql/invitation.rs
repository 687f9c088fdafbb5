//! Invitations: how people come into a tenant who have no account yet.

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::access::invitation::{self, NewInvitation, store};
use jobs::db::wall;
use rules::access::{Email, InTenant, Permissions, Principal, Role, TenantRole};
use rules::id::{InvitationId, TenantId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::apikey::TenantRoleName;
use super::page::Page;
use super::scope::{app, enter, parse};
use super::session::{LoginPayload, payload};
use crate::audit;
use crate::auth::{self, Caller, OneTime, Purpose, SignedIn, check_strength, hash_of};
use crate::error::Fault;

/// How long an invitation can be accepted, in seconds: a week.
const TTL_S: f64 = 7.0 * 24.0 * 3600.0;

/// Open invitations of one tenant.
const MAX_OPEN: i64 = 200;

/// An invitation into a tenant, without its token.
#[derive(SimpleObject)]
pub(crate) struct Invitation {
    /// Its id.
    id: ID,
    /// Who is invited.
    email: String,
    /// As what.
    role: TenantRoleName,
    /// Who invited: `user:<id>` or `key:<id>`.
    invited_by: String,
    /// When.
    created_at: DateTime<Utc>,
    /// Until when it can be accepted.
    expires_at: DateTime<Utc>,
    /// When it was accepted.
    accepted_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    revoked_at: Option<DateTime<Utc>>,
}

/// A new invitation.
#[derive(SimpleObject)]
pub(crate) struct NewInvitationPayload {
    /// To be handed to whoever is invited: it proves that the address is theirs. Shown here and never again.
    token: String,
    /// What is kept of it.
    invitation: Invitation,
}

impl From<invitation::Invitation> for Invitation {
    fn from(i: invitation::Invitation) -> Self {
        let role = i.role.parse().unwrap_or(TenantRole::Member);
        Self {
            id: i.id.into(),
            email: i.email,
            role: role.into(),
            invited_by: i.invited_by,
            created_at: i.created_at,
            expires_at: i.expires_at,
            accepted_at: i.accepted_at,
            revoked_at: i.revoked_at,
        }
    }
}

/// What can be read of invitations.
#[derive(Default)]
pub(crate) struct InvitationQuery;

/// What can be done with invitations.
#[derive(Default)]
pub(crate) struct InvitationMutation;

#[Object]
impl InvitationQuery {
    /// A tenant's invitations, newest first.
    #[graphql(guard = "SignedIn")]
    async fn invitations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Invitation>, Fault> {
        let page = Page::<Uuid>::read("invitations", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let rows = store::page(&mut conn, scope.tenant, page.after.map(InvitationId), page.limit()).await?;
        Ok(page.of(rows, |i| i.id, Invitation::from))
    }
}

#[Object]
impl InvitationMutation {
    /// Invites somebody into a tenant, with or without an account. Millrace sends no mail: the token in the
    /// answer is for whoever invites to hand on.
    #[graphql(guard = "SignedIn")]
    async fn invite_member(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        email: String,
        #[graphql(default_with = "TenantRoleName::Member")] role: TenantRoleName,
    ) -> Result<NewInvitationPayload, Fault> {
        let email: Email = email.parse()?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        scope.must_hold(Permissions::held(role.into(), None, None, app(ctx).config.wildcard))?;
        jobs::tenant::store::lock(&mut tx, scope.tenant).await?;
        if store::count_open(&mut tx, scope.tenant).await? >= MAX_OPEN {
            let told = format!("the tenant has {MAX_OPEN} open invitations; revoke one before");
            return Err(jobs::Error::exhausted(told).into());
        }
        let drawn = OneTime::draw(Purpose::Invitation);
        let new = NewInvitation {
            tenant: scope.tenant,
            email: &email,
            role: role.into(),
            hash: &drawn.hash,
            invited_by: scope.by.to_string(),
            ttl_s: TTL_S,
        };
        let made = store::insert(&mut tx, &new).await?;
        tx.commit().await?;
        Ok(NewInvitationPayload { token: drawn.text, invitation: made.into() })
    }

    /// Takes an invitation back that was not accepted yet.
    #[graphql(guard = "SignedIn")]
    async fn revoke_invitation(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
    ) -> Result<Invitation, Fault> {
        let id = parse::<InvitationId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        let revoked = store::revoke(&mut tx, scope.tenant, id).await?;
        tx.commit().await?;
        Ok(revoked.into())
    }

    /// Accepts an invitation. Who has no account gives the password of the one that is made; who has one is
    /// logged in with it. Begins a session.
    async fn accept_invitation(
        &self,
        ctx: &Context<'_>,
        token: String,
        #[graphql(desc = "Needed where there is no account yet.")] password: Option<String>,
    ) -> Result<LoginPayload, Fault> {
        let hash = hash_of(Purpose::Invitation, &token).ok_or_else(gone)?;
        let app = app(ctx);
        // Hashed before the transaction: it takes long, and nothing is to be held meanwhile.
        let hashed = match password {
            Some(password) => {
                check_strength(&password)?;
                Some(app.passwords.hash(password.into()).await?)
            }
            None => None,
        };
        let mut tx = audit::begin(ctx).await?;
        let tenant = store::tenant_of(&mut tx, &hash).await?.ok_or_else(gone)?;
        wall::enter(&mut tx, tenant).await?;
        let taken = store::accept(&mut tx, &hash).await?.ok_or_else(gone)?;
        let email: Email = taken.email.parse()?;
        let user = account(ctx, &mut tx, &email, hashed.as_deref()).await?;
        let role: TenantRole = taken.role.parse().map_err(jobs::Error::internal)?;
        jobs::tenant::store::add_member(&mut tx, TenantId(taken.tenant_id), user, role).await?;
        tx.by(user);
        let standing = auth::store::standing(&mut tx, user, None).await?.ok_or_else(gone)?;
        let granted = auth::begin(app, &mut tx, user, standing.epoch).await?;
        let told = payload(&mut tx, granted).await?;
        tx.commit().await?;
        Ok(told)
    }
}

/// The account that an invitation is for: the one that is logged in, or a new one. An account that is there
/// is never given a password here.
async fn account(
    ctx: &Context<'_>,
    conn: &mut PgConnection,
    email: &Email,
    password: Option<&str>,
) -> Result<UserId, Fault> {
    let there = jobs::access::store::user_by_email(conn, email).await;
    match (there, password) {
        (Ok(user), _) => match &ctx.data_unchecked::<Caller>().principal {
            Some(Principal::User { id, .. }) if id.0 == user.id => Ok(*id),
            _ => {
                Err(jobs::Error::conflict("there is an account with this address; log in with it first")
                    .into())
            }
        },
        (Err(error), Some(password)) if error.code == jobs::Code::NotFound => {
            let made = jobs::access::store::insert_user(conn, email, password, Role::User).await?;
            Ok(UserId(made.id))
        }
        (Err(error), None) if error.code == jobs::Code::NotFound => {
            Err(Fault::BadInput("`password` is needed: there is no account with this address yet".into()))
        }
        (Err(error), _) => Err(error.into()),
    }
}

fn gone() -> Fault {
    Fault::BadCredentials("the invitation is not valid; ask for another".into())
}
