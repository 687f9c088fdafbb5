//! Sessions: login, refresh, logout, and the first login of all.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::access::{session, store};
use rules::access::{Denied, Email, Principal, Role};
use rules::id::UserId;
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;

use super::scope::app;
use super::user::User;
use crate::audit;
use crate::auth::{self, Caller, Granted, Refreshed, SignedIn, charge, forgive, principal, same};
use crate::error::Fault;

/// Sessions of one user that are shown.
const MAX_SESSIONS: i64 = 100;

/// What a login gives.
#[derive(SimpleObject)]
pub(crate) struct LoginPayload {
    /// To be sent as `Authorization: Bearer <token>`.
    token: String,
    /// When the token ends.
    expires_at: DateTime<Utc>,
    /// Gives the next token, once. A refresh gives another; one that is used twice ends the session.
    refresh_token: String,
    /// When the session ends, however often it is refreshed.
    session_expires_at: DateTime<Utc>,
    /// Who logged in.
    user: User,
}

/// A login that goes on.
#[derive(SimpleObject)]
pub(crate) struct Session {
    /// Its id.
    id: ID,
    /// Whether it is that of this request.
    current: bool,
    /// When it began.
    created_at: DateTime<Utc>,
    /// When it was last refreshed.
    refreshed_at: DateTime<Utc>,
    /// When it ends by itself.
    expires_at: DateTime<Utc>,
}

/// What can be read of sessions.
#[derive(Default)]
pub(crate) struct SessionQuery;

/// What can be done with sessions.
#[derive(Default)]
pub(crate) struct SessionMutation;

#[Object]
impl SessionQuery {
    /// One's own sessions that go on, newest first.
    #[graphql(guard = "SignedIn")]
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Vec<Session>, Fault> {
        let user = user_id(ctx)?;
        let own = ctx.data_unchecked::<Caller>().session;
        let mut conn = app(ctx).db.acquire().await?;
        let rows = session::store::of_user(&mut conn, user, MAX_SESSIONS).await?;
        let of = |s: session::Session| Session {
            current: own.is_some_and(|own| own.0 == s.id),
            id: s.id.into(),
            created_at: s.created_at,
            refreshed_at: s.refreshed_at,
            expires_at: s.expires_at,
        };
        Ok(rows.into_iter().map(of).collect())
    }

    /// Whether the installation has no administrator yet, so that `setUp` is open to whoever has the token of
    /// the setup.
    async fn setup_needed(&self, ctx: &Context<'_>) -> Result<bool, Fault> {
        let mut conn = app(ctx).db.acquire().await?;
        Ok(auth::store::first_super_admin(&mut conn).await?.is_none())
    }
}

#[Object]
impl SessionMutation {
    /// Begins a session for an e-mail address and its password. Refused for a while after too many failures.
    async fn login(&self, ctx: &Context<'_>, email: String, password: String) -> Result<LoginPayload, Fault> {
        let app = app(ctx);
        let email: Email = email.parse()?;
        let address = ctx.data_unchecked::<Caller>().origin.address;
        let mut conn = app.db.acquire().await?;
        charge(&mut conn, &app.config.limits, &email, address).await?;
        let login = auth::store::login(&mut conn, &email).await?;
        // The connection goes back while the password is hashed: that takes long, and many may wait for it.
        drop(conn);
        let stored = login.as_ref().map(|l| l.password_hash.clone());
        let right = app.passwords.verify(password.into(), stored).await?;
        let Some(login) = login.filter(|l| right && l.disabled_at.is_none()) else {
            jobs::metrics::auth_failure("password");
            return Err(Fault::BadCredentials("the e-mail address or the password is wrong".into()));
        };
        let mut tx = audit::begin(ctx).await?;
        tx.by(login.user);
        forgive(&mut tx, &email, address).await?;
        let granted = auth::begin(app, &mut tx, login.user, login.epoch).await?;
        let payload = payload(&mut tx, granted).await?;
        tx.commit().await?;
        Ok(payload)
    }

    /// Begins a session with a token of the other issuer that the installation trusts. Who is not known yet
    /// is the user with the address that the issuer has verified.
    async fn login_external(&self, ctx: &Context<'_>, token: String) -> Result<LoginPayload, Fault> {
        let app = app(ctx);
        let subject = auth::external_subject(app, &token).await?;
        let mut tx = audit::begin(ctx).await?;
        let user = auth::external_user(&mut tx, subject).await?;
        tx.by(user);
        let standing = auth::store::standing(&mut tx, user, None).await?;
        let Some(standing) = standing.filter(|s| s.disabled_at.is_none()) else {
            return Err(auth::unknown_subject());
        };
        let granted = auth::begin(app, &mut tx, user, standing.epoch).await?;
        let payload = payload(&mut tx, granted).await?;
        tx.commit().await?;
        Ok(payload)
    }

    /// Gives the next token of a session, and the next refresh token. The one that is sent is used up.
    async fn refresh_session(&self, ctx: &Context<'_>, refresh_token: String) -> Result<LoginPayload, Fault> {
        let mut tx = audit::begin(ctx).await?;
        let granted = match auth::refresh(app(ctx), &mut tx, &refresh_token).await? {
            Refreshed::Granted(granted) => granted,
            Refreshed::Ended => {
                // The end of the session stands, though the refresh does not.
                tx.commit_refused().await?;
                return Err(auth::bad_refresh());
            }
        };
        tx.by(granted.user);
        let payload = payload(&mut tx, granted).await?;
        tx.commit().await?;
        Ok(payload)
    }

    /// Ends this session, or every session of one's own.
    #[graphql(guard = "SignedIn")]
    async fn logout(&self, ctx: &Context<'_>, #[graphql(default)] everywhere: bool) -> Result<bool, Fault> {
        let user = user_id(ctx)?;
        let mut tx = audit::begin(ctx).await?;
        match ctx.data_unchecked::<Caller>().session {
            Some(session) if !everywhere => session::store::end(&mut tx, session, "LOGOUT").await?,
            Some(_) | None => session::store::end_all(&mut tx, user).await?,
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Makes the first administrator of an installation that has none, with the token of the setup.
    async fn set_up(
        &self,
        ctx: &Context<'_>,
        setup_token: String,
        email: String,
        password: String,
    ) -> Result<User, Fault> {
        let app = app(ctx);
        let closed = || Fault::BadCredentials("the setup is closed, or the token is wrong".into());
        let expected = app.config.setup_token.as_ref().ok_or_else(closed)?;
        if !same(&SecretString::from(setup_token), expected.expose_secret()) {
            jobs::metrics::auth_failure("setup");
            return Err(closed());
        }
        let hash = auth::hashed(password.into()).await?;
        let mut tx = audit::begin(ctx).await?;
        if auth::store::first_super_admin(&mut tx).await?.is_some() {
            return Err(jobs::Error::conflict("the installation has its administrator; log in").into());
        }
        let made = store::insert_user(&mut tx, &email.parse()?, &hash, Role::SuperAdmin).await?;
        tx.by(UserId(made.id));
        tx.commit().await?;
        made.try_into()
    }
}

/// What is told of a session that begins or goes on.
pub(crate) async fn payload(conn: &mut PgConnection, granted: Granted) -> Result<LoginPayload, Fault> {
    let user = store::user(conn, granted.user).await?.try_into()?;
    Ok(LoginPayload {
        token: granted.access.token,
        expires_at: granted.access.expires_at,
        refresh_token: granted.refresh,
        session_expires_at: granted.ends_at,
        user,
    })
}

fn user_id(ctx: &Context<'_>) -> Result<UserId, Fault> {
    match principal(ctx)? {
        Principal::User { id, .. } => Ok(*id),
        Principal::Key { .. } => Err(Denied::KeyConfined.into()),
    }
}
